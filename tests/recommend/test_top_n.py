"""The best unseen items of each user, against sorting all scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lakerank.recommend.models import top_n
from lakerank.recommend.models.top_n import best_unseen, longest_vector, top_unseen


def ranked(
    p_UK: np.ndarray, o_U: np.ndarray, q_IK: np.ndarray, seen: set[tuple[int, int]], top: int
) -> list[list[int]]:
    """The same by sorting float64 scores."""
    with np.errstate(invalid="ignore"):
        scores = o_U[:, None].astype(float) + p_UK.astype(float) @ q_IK.astype(float).T
    return [
        sorted(
            (i for i in range(len(q_IK)) if np.isfinite(scores[u, i]) and (u, i) not in seen),
            key=lambda i: (-scores[u, i], i),
        )[:top]
        for u in range(len(p_UK))
    ]


def found(p_UK: np.ndarray, o_U: np.ndarray, q_IK: np.ndarray, seen: set[tuple[int, int]], top: int) -> list[list[int]]:
    pairs = np.array(sorted(seen), np.int32).reshape(-1, 2)
    positions, scores = best_unseen(p_UK, o_U, q_IK, longest_vector(q_IK), pairs[:, 0], pairs[:, 1], top)
    assert positions.shape == scores.shape == (len(p_UK), min(top, len(q_IK)))
    assert ((positions == -1) == (scores == -np.inf)).all()
    return [row[row >= 0].tolist() for row in positions]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_n, "ITEMS_AT_ONCE", 16)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("seed", range(30))
def test_equals_sorting_with_equal_scores_seen_items_and_missing_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_users, n_items, k = int(rng.integers(1, 6)), int(rng.integers(1, 200)), int(rng.integers(1, 4))
    p_UK = rng.integers(-2, 3, (n_users, k)).astype(np.float32)  # whole numbers: sums are exact, many are equal
    q_IK = rng.integers(-2, 3, (n_items, k)).astype(np.float32)
    q_IK[rng.random(n_items) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    seen = {(int(u), int(i)) for u, i in zip(rng.integers(0, n_users, 99), rng.integers(0, n_items, 99), strict=True)}
    o_U, top = rng.integers(-3, 4, n_users).astype(float), int(rng.integers(1, 30))
    assert found(p_UK, o_U, q_IK, seen, top) == ranked(p_UK, o_U, q_IK, seen, top)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 64, 700])
def test_differences_below_float32_decide(dtype: type, k: int) -> None:
    """All items nearly the same: a product in float32 cannot tell them apart, their order is that of float64."""
    rng = np.random.default_rng(k)
    p_UK = rng.standard_normal((3, k)).astype(dtype)
    q_IK = (rng.standard_normal(k) + 1e-7 * rng.standard_normal((3000, k))).astype(dtype)
    positions, scores = best_unseen(p_UK, np.zeros(3), q_IK, longest_vector(q_IK), *np.empty((2, 0), np.int32), 10)
    exact = p_UK.astype(float) @ q_IK.astype(float).T
    best = -np.sort(-exact, axis=1)[:, :10]
    np.testing.assert_allclose(scores, best, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.take_along_axis(exact, positions, 1), best, rtol=1e-12, atol=1e-12)
    rough = np.argsort(-(p_UK.astype(np.float32) @ q_IK.astype(np.float32).T), axis=1, kind="stable")[:, :10]
    if k > 1:
        assert (rough != positions).any()  # otherwise this shows nothing


def test_a_large_offset_makes_scores_equal_and_the_first_items_win() -> None:
    p_UK, q_IK = np.ones((1, 1), np.float32), np.arange(50, dtype=np.float32)[:, None]
    assert found(p_UK, np.array([2.0**60]), q_IK, {(0, 1)}, 3) == [[0, 2, 3]]


def test_the_batch_a_user_is_in_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    p_UK, q_IK = rng.standard_normal((70, 33), np.float32), rng.standard_normal((2000, 33), np.float32)
    none = np.empty(0, np.int32)
    whole = best_unseen(p_UK, np.ones(70), q_IK, longest_vector(q_IK), none, none, 7)
    for u in (0, 13, 69):
        alone = best_unseen(p_UK[u : u + 1], np.ones(1), q_IK, longest_vector(q_IK), none, none, 7)
        for one, all_of_them in zip(alone, whole, strict=True):
            np.testing.assert_array_equal(one[0], all_of_them[u])


def test_nothing_left_is_nothing() -> None:
    q_IK = np.ones((3, 2), np.float32)
    assert found(np.ones((2, 2), np.float32), np.zeros(2), q_IK, {(0, 0), (0, 1), (0, 2)}, 5) == [[], [0, 1, 2]]
    assert found(np.full((1, 2), np.nan, np.float32), np.zeros(1), q_IK, set(), 5) == [[]]
    assert found(np.ones((1, 2), np.float32), np.array([np.nan]), q_IK, set(), 5) == [[]]
    assert found(np.ones((1, 2), np.float32), np.zeros(1), np.empty((0, 2), np.float32), set(), 5) == [[]]
    assert found(np.empty((0, 2), np.float32), np.zeros(0), q_IK, set(), 5) == []


@pytest.mark.connect
@pytest.mark.parametrize(("few", "text"), [(0, False), (0, True), (10_000, False)])
def test_many_batches_of_users_meet_what_they_have_seen(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, few: int, text: bool
) -> None:
    """Pairs read in several pieces, repeated, of unknown users and items and without ids, for several batches."""
    monkeypatch.setattr(top_n, "USERS_AT_ONCE", 8)
    monkeypatch.setattr(top_n, "FEW_USERS", few)
    rng = np.random.default_rng(1)
    n_users, n_items = 60, 40
    name = (lambda kind, n: f"{kind}{n:03}") if text else (lambda kind, n: n)
    kind = "string" if text else "bigint"
    p_UK, q_IK = (
        rng.integers(-3, 4, (n_users, 2)).astype(np.float32),
        rng.integers(-3, 4, (n_items, 2)).astype(np.float32),
    )
    pairs = [(int(u), int(i)) for u, i in zip(rng.integers(0, 70, 900), rng.integers(0, 50, 900), strict=True)]
    named = [(name("u", u), name("i", i)) for u, i in pairs] + [(None, name("i", 1)), (name("u", 1), None)]
    seen = spark.createDataFrame(named, f"user_id {kind}, item_id {kind}").repartition(3)
    rows = [(name("u", u), [float(x) for x in p]) for u, p in enumerate(p_UK)]
    users = spark.createDataFrame(rows, f"user_id {kind}, vector array<float>")

    def taste(batch: pa.Table) -> tuple[np.ndarray, np.ndarray, pa.Array]:
        n = batch.num_rows
        p = batch.column("vector").combine_chunks().flatten().to_numpy().reshape(n, 2)
        return p, np.zeros(n), pa.array(["why"] * n)

    items = pa.array([name("i", i) for i in range(n_items)])
    got: dict = {}
    for row in top_unseen(users, seen, items, q_IK, taste, 4).sort("user_id", "rank").collect():
        got.setdefault(row["user_id"], []).append((row["rank"], row["item_id"]))
    known = {(u, i) for u, i in pairs if u < n_users and i < n_items}
    wanted = ranked(p_UK, np.zeros(n_users), q_IK, known, 4)
    assert got == {
        name("u", u): [(rank, name("i", i)) for rank, i in enumerate(best, start=1)]
        for u, best in enumerate(wanted)
        if best
    }

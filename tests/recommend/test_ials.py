"""Preferences behind clicks and counts: objective, blocks, folding in, explanations; most of it without Spark."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import lake_tables
import numpy as np
import pyarrow as pa
import pytest
import resident
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import EXPLANATIONS, LFM_METRICS, LFM_MODELS, RATINGS, RECOMMENDATIONS
from lakerank.recommend.latent_factors import als, bpr
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.preference import PairwiseScorer, PreferenceScorer
from lakerank.recommend.latent_factors.run_state import RatingBlocks, Run
from lakerank.recommend.models.user_histories import Biases, Histories
from spark_jobs import lfm, recommend

Clicks = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
SETTINGS = LfmConfig("ials", factors=6, epochs=5, reg=0.02, unobserved=0.1, alpha=0.2, width=0)


def clicks(users: int = 60, items: int = 40, seed: int = 2) -> dict[str, Clicks]:
    """Two camps that click on the items of their own; a tenth is held out."""
    rng = np.random.default_rng(seed)
    camp = np.arange(users)[:, None] % 2 == np.arange(items)[None, :] % 2
    seen = rng.random((users, items)) < np.where(camp, 0.4, 0.03)
    seen[np.arange(users), np.arange(users) % items] = True
    seen[np.arange(items) % users, np.arange(items)] = True
    u, i = np.nonzero(seen)
    counts = rng.integers(1, 6, len(u)).astype(np.float32)
    held = rng.random(len(u)) < 0.1
    held &= (np.bincount(u, ~held)[u] > 0) & (np.bincount(i, ~held)[i] > 0)
    return {"train": (u[~held], i[~held], counts[~held]), "test": (u[held], i[held], counts[held])}


def rows_of(run: Run, epoch: int, side: str) -> NDArray[np.float32]:
    return als._all_rows(run, f"epoch-{epoch}", side)


def objective(config: LfmConfig, made: Clicks, x: NDArray[Any], y: NDArray[Any]) -> float:
    """The loss by its definition, over all pairs."""
    u, i, r = made
    seen = np.zeros((len(x), len(y)), bool)
    weight, wanted = np.full(seen.shape, config.unobserved), np.zeros(seen.shape)
    seen[u, i] = True
    weight[u, i], wanted[u, i] = 1 + config.alpha * np.abs(r), r > 0
    loss = float((weight * (wanted - x.astype(np.float64) @ y.T) ** 2).sum())
    for rows, counts, others in ((x, seen.sum(axis=1), len(y)), (y, seen.sum(axis=0), len(x))):
        d = counts + config.unobserved * others
        loss += config.reg * float((d**config.reg_power) @ np.square(rows, dtype=np.float64).sum(axis=1))
    return loss


@pytest.mark.parametrize("width", [0, 2, 4])
def test_the_objective_is_the_loss_over_all_pairs_and_falls(tmp_path: Path, width: int) -> None:
    made, config = clicks(), dataclasses.replace(SETTINGS, width=width, reg_power=0.8)
    data = resident.blocks_of(tmp_path / "data", made, blocks=3)
    run, curve, kept = resident.trained(tmp_path / "run", data, config)
    assert kept == [5]
    told = [line.objective * data.counts["train"] for line in curve]
    assert told[-1] == pytest.approx(
        objective(config, made["train"], rows_of(run, 5, "user"), rows_of(run, 5, "item")), rel=1e-5
    )
    assert all(after < before for before, after in itertools.pairwise(told))
    assert curve[-1].train_rmse is None
    assert curve[-1].test_rmse is None


def test_blocks_change_nothing_but_the_first_factors(tmp_path: Path) -> None:
    """From the same start one block and three end at the same rows: the Gram matrix is a sum over blocks."""
    made = clicks()
    found = []
    for blocks in (1, 3):
        data = resident.blocks_of(tmp_path / f"data-{blocks}", made, blocks=blocks)
        config = dataclasses.replace(SETTINGS, epochs=40, reg=0.2)  # so that the start is forgotten
        run, curve, _ = resident.trained(tmp_path / f"run-{blocks}", data, config)
        found.append(rows_of(run, 40, "user") @ rows_of(run, 40, "item").T)
        assert curve[-1].test_ndcg is not None
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)


def test_resumed_is_the_same_to_the_bit(tmp_path: Path) -> None:
    data = resident.blocks_of(tmp_path / "data", clicks(), blocks=2)
    config = dataclasses.replace(SETTINGS, width=4)
    whole, *_ = resident.trained(tmp_path / "whole", data, config)
    resident.trained(tmp_path / "halves", data, dataclasses.replace(config, epochs=2))
    halves, curve, _ = resident.trained(tmp_path / "halves", data, config)
    assert [line.epoch for line in curve] == [1, 2, 3, 4, 5]
    for side in ("user", "item"):
        np.testing.assert_array_equal(rows_of(whole, 5, side), rows_of(halves, 5, side))


def test_held_out_clicks_are_ranked_as_by_hand(tmp_path: Path) -> None:
    made = clicks()
    data = resident.blocks_of(tmp_path / "data", made, blocks=2)
    run, curve, _ = resident.trained(tmp_path / "run", data, SETTINGS)
    scores = rows_of(run, 5, "user") @ rows_of(run, 5, "item").T
    scores[made["train"][0], made["train"][1]] = -np.inf
    gains = []
    for user in np.unique(made["test"][0]):
        wanted = set(made["test"][1][made["test"][0] == user].tolist())
        best = np.argsort(-scores[user], kind="stable")[:10]
        gain = sum(1 / np.log2(n + 2) for n, item in enumerate(best) if item in wanted)
        gains.append(gain / sum(1 / np.log2(n + 2) for n in range(min(10, len(wanted)))))
    assert curve[-1].test_ndcg == pytest.approx(np.mean(gains), abs=1e-6)
    assert curve[-1].test_ndcg > 0.2


def test_an_unknown_item_held_out_counts_as_missed() -> None:
    assert als.ranking_quality(np.array([3, 1, 2]), np.array([1, -1])) == pytest.approx(
        ((1 / np.log2(3)) / (1 + 1 / np.log2(3)), 1.0)
    )
    assert als.ranking_quality(np.array([3, 1]), np.array([-1])) == (0.0, 0.0)


def scorer_of(run: Run, made: Clicks, epoch: int = 5) -> PreferenceScorer:
    q = rows_of(run, epoch, "item").astype(np.float64)
    popularity = np.bincount(made[1], minlength=len(q)) / len(q)
    arrays = {"q": q, "gram": als.gram_of(q)}
    return PreferenceScorer(
        pa.array(np.arange(len(q))), arrays, run.config, Biases(3.0, np.zeros(len(q)), 1, 5), popularity
    )


def block_of(made: Clicks, items: int = 40) -> Histories:
    u, i, r = made
    table = pa.table({"user_id": u, "item_id": i, "rating": r})
    return Histories.of(pa.array(np.unique(u)), pa.array(np.arange(items)), table)


@pytest.mark.parametrize("more", [{}, {"nonnegative": True}, {"unobserved": 1.0, "reg_scale": "ratings"}])
def test_folding_in_gives_the_users_of_training_and_explains_them(tmp_path: Path, more: dict[str, Any]) -> None:
    made = clicks()["train"]
    made[2][::7] *= -1  # clicks that say no
    data = resident.blocks_of(tmp_path / "data", {"train": made}, blocks=2)
    run, *_ = resident.trained(tmp_path / "run", data, dataclasses.replace(SETTINGS, **more))
    scorer, block = scorer_of(run, made), block_of(made)
    np.testing.assert_allclose(scorer.users(block), rows_of(run, 5, "user"), rtol=1e-3, atol=1e-4)
    scores = scorer.scores(block)
    for row in (0, 7, 31):
        for position in (0, 5, 22):
            reasons = scorer.explain(block, row, position)
            assert sum(reason.value for reason in reasons) == pytest.approx(scores[row, position], abs=1e-6)
            own = set(block.part(row, row + 1).positions.tolist())
            assert {reason.because for reason in reasons} <= own | {-1}
    nobody = Histories(
        pa.array([99]), np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.int64)
    )
    assert np.argmax(scorer.scores(nobody)[0]) == np.argmax(scorer.popularity)


def test_older_choices_count_as_seen_to_a_share_and_as_unseen_to_the_rest() -> None:
    rng = np.random.default_rng(5)
    q, config = rng.standard_normal((9, 4)), dataclasses.replace(SETTINGS, recency=0.7, alpha=0.5)
    table = pa.table(
        {"user_id": [0] * 4, "item_id": [1, 3, 5, 8], "rating": [1.0, 3.0, -2.0, 1.0], "seconds": [40, 10, 30, 20]}
    )
    block = Histories.of(pa.array([0]), pa.array(np.arange(9)), table)
    share = np.zeros(9)
    share[[1, 5, 8, 3]] = (1.0 + np.arange(4)) ** -0.7
    weight, wanted = np.zeros(9), np.zeros(9)
    weight[[1, 3, 5, 8]], wanted[[1, 3, 8]] = [1.5, 2.5, 2.0, 1.5], 1
    seen, ridge = share * weight, config.reg * (share.sum() + config.unobserved * 9)
    a = (q.T * (seen + (1 - share) * config.unobserved)) @ q + ridge * np.eye(4)
    expected = np.linalg.solve(a, q.T @ (seen * wanted))
    np.testing.assert_allclose(als.fold_in_users(config, block, q, als.gram_of(q))[0], expected, rtol=1e-5)
    popularity, biases = np.zeros(9), Biases(3.0, np.zeros(9), 1, 5)
    arrays = {"q": q, "gram": als.gram_of(q)}
    scorer = PreferenceScorer(pa.array(np.arange(9)), arrays, config, biases, popularity)
    reasons = scorer.explain(block, 0, 6)
    assert sum(reason.value for reason in reasons) == pytest.approx(float(q[6] @ expected), abs=1e-6)
    assert {reason.because for reason in reasons} == {1, 3, 8, -1}


def tastes(users: int, change: bool, timed: bool = True) -> Histories:
    """Ten choices of one of two camps of 30 items, then, with `change`, three of the other, one a day."""
    rng = np.random.default_rng(7)
    rows = {"user_id": [], "item_id": [], "rating": [], "seconds": []}
    for user in range(users):
        camp = user % 2
        chosen = [rng.permutation(30)[:10] + 30 * camp, rng.permutation(30)[10:13] + 30 * ((camp + change) % 2)]
        if not change:
            chosen[1] = np.setdiff1d(np.arange(30) + 30 * camp, chosen[0])[:3]
        items = np.concatenate(chosen)
        rows["user_id"] += [user] * 13
        rows["item_id"] += items.tolist()
        rows["rating"] += [1.0] * 13
        rows["seconds"] += (np.arange(13) * 86_400 * timed).tolist()
    return Histories.of(pa.array(np.arange(users)), pa.array(np.arange(60)), pa.table(rows))


def test_recency_is_chosen_by_what_users_chose_last() -> None:
    rng = np.random.default_rng(8)
    q = 0.3 * rng.standard_normal((60, 4))
    q[:30, 0] += 1
    q[30:, 1] += 1
    config = dataclasses.replace(SETTINGS, factors=4, recency=None)
    assert als.choose_recency(config, tastes(80, change=True), q) > 0
    assert als.choose_recency(config, tastes(80, change=True, timed=False), q) == 0
    assert als.choose_recency(config, tastes(20, change=True), q) == 0  # too few to choose by
    steady = tastes(80, change=False)
    only = q * [1, 1, 0, 0]  # nothing but the camp can be told
    only[:30, 0], only[30:, 1], only[:30, 1], only[30:, 0] = 1, 1, 0, 0
    assert als.choose_recency(config, steady, only) == 0


PAIRS = LfmConfig("bpr", factors=6, epochs=60, lr=0.2, init="normal:0.5")


def test_a_step_on_a_pair_is_the_gradient_of_its_loss() -> None:
    """One seen item, one unseen: the only pair that can be drawn; two steps, as AdaGrad scales them."""
    rng = np.random.default_rng(4)
    x, y = (rng.standard_normal((n, 3)).astype(np.float32) for n in (1, 2))
    b = rng.standard_normal(2).astype(np.float32)
    slots = [np.full((n, 1, 2), 4, np.float32) for n in (1, 2)]
    pair = np.zeros(1, np.int32), np.ones(1, np.int32)
    weights = np.float32(0.2), np.float32(0.05), np.float32(0.01)

    def loss(x: NDArray[Any], y: NDArray[Any], b: NDArray[Any]) -> float:
        margin = x[0] @ (y[1] - y[0]) + b[1] - b[0]
        return float(np.log1p(np.exp(-margin)) + 0.025 * ((x**2).sum() + (y**2).sum()) + 0.005 * (b**2).sum())

    before = [array.astype(np.float64) for array in (x, y, b)]
    slopes = []
    for n, array in enumerate(before):
        slope = np.empty(array.shape)
        for at in np.ndindex(array.shape):
            ends = [[one.copy() for one in before] for _ in range(2)]
            ends[0][n][at] += 1e-6
            ends[1][n][at] -= 1e-6
            slope[at] = (loss(*ends[0]) - loss(*ends[1])) / 2e-6
        slopes.append(slope)
    keys = bpr.seen_keys(*pair, 2)
    told, count = bpr.train_pairs(*pair, keys, np.uint64(5), (0, 1, 2), x, y, b, *slots, *weights, (True, True, True))
    margin = before[0][0] @ (before[1][1] - before[1][0]) + before[2][1] - before[2][0]
    assert (told, count) == (pytest.approx(np.log1p(np.exp(-margin)), rel=1e-5), 1)
    for array, was, slope in zip((x, y, b), before, slopes, strict=True):
        np.testing.assert_allclose(array, was - 0.2 / 2 * slope, rtol=1e-4, atol=1e-5)


def test_pairs_rank_and_resume_to_the_bit(tmp_path: Path) -> None:
    made = clicks()
    data = resident.blocks_of(tmp_path / "data", made, blocks=2)
    whole, curve, _ = resident.trained(tmp_path / "whole", data, PAIRS)
    assert curve[-1].objective < 0.6 * curve[0].objective
    assert curve[-1].train_rmse is None
    popular = np.bincount(made["train"][1], minlength=40)
    scores = np.tile(popular, (60, 1)).astype(float)
    scores[made["train"][0], made["train"][1]] = -np.inf
    by_popularity = np.mean(
        [
            als.ranking_quality(np.argsort(-scores[u], kind="stable")[:10], made["test"][1][made["test"][0] == u])[0]
            for u in np.unique(made["test"][0])
        ]
    )
    assert curve[-1].test_ndcg > 1.3 * by_popularity
    resident.trained(tmp_path / "halves", data, dataclasses.replace(PAIRS, epochs=20))
    halves, *_ = resident.trained(tmp_path / "halves", data, PAIRS)
    for side in ("user", "item"):
        np.testing.assert_array_equal(whole.all_rows("epoch-60", side), halves.all_rows("epoch-60", side))


def test_users_are_folded_into_pairs_one_by_one(tmp_path: Path) -> None:
    made = clicks()["train"]
    data = resident.blocks_of(tmp_path / "data", {"train": made}, blocks=2)
    run, *_ = resident.trained(tmp_path / "run", data, PAIRS)
    items = run.all_rows("epoch-60", "item").astype(np.float64)
    arrays = {"q": items[:, :-1], "item_bias": items[:, -1]}
    scorer = PairwiseScorer(pa.array(np.arange(40)), arrays, PAIRS, Biases(3.0, np.zeros(40), 1, 5), np.zeros(40))
    block = block_of(made)
    scores = scorer.scores(block)
    own = np.arange(60)[:, None] % 2 == np.arange(40)[None, :] % 2
    assert np.mean(scores[own]) > np.mean(scores[~own]) + 1
    np.testing.assert_allclose(scorer.scores(block.part(7, 8))[0], scores[7], rtol=1e-12)
    reasons = scorer.explain(block, 7, 3)
    assert sum(reason.value for reason in reasons) == pytest.approx(scores[7, 3], abs=1e-6)


def sizes(n: int, users: int, items: int) -> RatingBlocks:
    return RatingBlocks("", 1, users, items, {"train": n}, 0.0, 0.0, 0.0, 0.0, False)


def test_weights_follow_the_size_of_the_ratings() -> None:
    free = LfmConfig("ials")
    small, large = (als.sized(free, sizes(*size)) for size in ((90_000, 671, 8_736), (33_600_000, 571_000, 41_000)))
    assert (small.reg, small.unobserved) == pytest.approx((0.01, 0.25))
    assert large.reg < 0.008
    assert large.unobserved == pytest.approx(40 * 33.6e6 / (571e3 * 41e3))
    given = als.sized(LfmConfig("ials", reg=0.3, unobserved=0.5), sizes(90_000, 671, 8_736))
    assert (given.reg, given.unobserved) == (0.3, 0.5)
    assert als.sized(LfmConfig("als", reg=0.0), sizes(9, 3, 3)).reg == 0.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "ials", "average": 3}, "--average: --model ials has factors alone"),
        ({"model": "bpr", "optimizer": "adam"}, "--optimizer adam: --model bpr goes with adagrad"),
        ({"model": "als", "bias": True}, "--bias: --model als has factors alone"),
        ({"model": "mf", "nonnegative": True}, "--nonnegative goes with --model als and ials, not mf"),
        ({"model": "bpr", "recency": 0.4}, "--recency 0.4 goes with --model ials, not bpr"),
    ],
)
def test_settings_that_have_no_meaning_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        LfmConfig(**settings)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("lake")
    made = clicks()["train"]
    rows = [(u + 1, i + 1, r, None) for u, i, r in zip(*(column.tolist() for column in made), strict=True)]
    lake_tables.put(TableRef(str(folder / "ratings")), RATINGS, rows)
    return str(folder)


@pytest.mark.slow
def test_the_job_trains_recommends_explains_and_goes_on(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--lake", lake, "--model", "ials", "--factors", "6", "--blocks", "2"]
    assert lfm.main([*flags, "--epochs", "2"]) == 0
    first = capsys.readouterr().out
    assert "test nDCG@10 0." in first
    assert "RMSE" not in first
    assert lfm.main([*flags, "--epochs", "4", "--resume", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["resumed_from"], told["train_rmse"], told["test_rmse"]) == (2, None, None)
    assert told["test_ndcg"] > 0.2
    curve = sorted(lake_tables.rows(LFM_METRICS, lake), key=lambda row: row["epoch"])
    assert [row["train_rmse"] for row in curve] == [None] * 4
    assert all(after["objective"] < before["objective"] for before, after in itertools.pairwise(curve))
    (row,) = lake_tables.rows(LFM_MODELS, lake)
    settings = json.loads(row["settings"])
    assert (row["train_rmse"], row["model"]) == (None, "ials")
    assert settings["unobserved"] > 0  # what followed the size is kept
    assert recommend.main(["--lake", lake, "--top", "3", "--explain"]) == 0
    capsys.readouterr()
    best = {(row["user_id"], row["rank"]): row for row in lake_tables.rows(RECOMMENDATIONS, lake)}
    camps = [row["item_id"] % 2 == row["user_id"] % 2 for row in best.values()]
    assert np.mean(camps) > 0.8
    sums: dict[tuple[int, int], float] = {}
    for row in lake_tables.rows(EXPLANATIONS, lake):
        sums[row["user_id"], row["rank"]] = sums.get((row["user_id"], row["rank"]), 0.0) + row["contribution"]
    assert sums == pytest.approx({key: row["score"] for key, row in best.items()}, rel=1e-5, abs=1e-5)
    more = [(99, 1, 1.0, None), (99, 3, 2.0, None)]
    old = [tuple(row) for row in lake_tables.rows(RATINGS, lake)]
    lake_tables.put(TableRef(f"{lake}/ratings"), RATINGS, [*old, *more])
    assert lfm.main(["--lake", lake, "--update", "--json"]) == 0
    updated = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert updated["epochs"] == 3

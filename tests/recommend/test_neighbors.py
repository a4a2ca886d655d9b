"""Similarities against brute force over all pairs, and what neighbours make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from histories_made import dense, one_user, random_training
from scipy import sparse

from lakerank.cli.errors import UserError
from lakerank.recommend.models.item_weights import ItemWeights
from lakerank.recommend.models.user_histories import recency_weights
from lakerank.recommend.neighbors import solver as nearest_module
from lakerank.recommend.neighbors.solver import Similarity, nearest
from lakerank.spark.array_store import BlockStore

# (values of row a, of row b, NaN where none; all values by rows) → similarity before shrinking.
Pair = Callable[[np.ndarray, np.ndarray], float]


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    return float((~np.isnan(a) & ~np.isnan(b)).sum() / (~np.isnan(a) | ~np.isnan(b)).sum())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def over_common(a: np.ndarray, b: np.ndarray) -> float:
    both = ~np.isnan(a) & ~np.isnan(b)
    length = np.linalg.norm(a[both]) * np.linalg.norm(b[both])
    return float(a[both] @ b[both] / length) if length > 1e-6 else 0.0


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    both = ~np.isnan(a) & ~np.isnan(b)
    return over_common(a - a[both].mean(), b - b[both].mean()) if both.any() else 0.0


def tf_idf(x: np.ndarray) -> np.ndarray:
    return np.sqrt(x) * np.log(len(x) / (1.0 + (~np.isnan(x)).sum(axis=0))).clip(0)


def bm25(x: np.ndarray) -> np.ndarray:
    length = np.nansum(x, axis=1)
    norm = 0.2 + 0.8 * length / length.mean()
    return x * 101.0 / (100.0 * norm[:, None] + x) * np.log(len(x) / (1.0 + (~np.isnan(x)).sum(axis=0))).clip(0)


def ones(x: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(x), np.nan, 1.0)


CASES: dict[str, tuple[Similarity, Callable[[np.ndarray], np.ndarray], Pair]] = {
    "jaccard": (Similarity("jaccard"), ones, jaccard),
    "cosine": (Similarity("cosine"), ones, cosine),
    "cosine of ratings": (Similarity("cosine", values="ratings"), lambda x: x, cosine),
    "adjusted cosine": (Similarity("adjusted-cosine"), lambda x: x - np.nanmean(x, axis=0), over_common),
    "pearson": (Similarity("pearson"), lambda x: x, pearson),
    "tf-idf": (Similarity("cosine", "tf-idf", "ratings"), tf_idf, cosine),
    "bm25": (Similarity("cosine", "bm25", "ratings"), bm25, lambda a, b: float(np.nan_to_num(a) @ np.nan_to_num(b))),
    "popularity": (
        Similarity("cosine", popularity=0.8),
        ones,
        lambda a, b: float(np.nansum(a * b) / (np.nansum(a) ** 0.8 * np.nansum(b) ** 0.2)),
    ),
}


def brute_force(x: np.ndarray, how: Similarity, weigh: Callable[[np.ndarray], np.ndarray], pair: Pair) -> np.ndarray:
    """(R, R) row i: the similarities in the list of i."""
    n, weighed = len(x), weigh(x)
    full = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            common = int((~np.isnan(x[i]) & ~np.isnan(x[j])).sum())
            if i != j and common >= how.min_support:
                full[i, j] = max(pair(weighed[i], weighed[j]) * common / (common + how.shrink), 0.0)
        kept = sorted(np.flatnonzero(full[i]), key=lambda j: (-round(full[i, j], 12), j))[: how.top]
        full[i, [j for j in range(n) if j not in kept]] = 0.0
    return full


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_equals_brute_force(name: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how, weigh, pair = CASES[name]
    monkeypatch.setattr(nearest_module, "STEPS_AT_ONCE", 300)  # several blocks
    training = random_training(seed)
    for x, rows in ((training.matrix.T.tocsr(), dense(training).T), (training.matrix, dense(training))):
        store = BlockStore.open(str(tmp_path / str(x.shape[0])), "")
        found = nearest(None, x, how, store)  # so little work needs no Spark
        assert found.blocks > 1
        wanted = brute_force(rows, how, weigh, pair)
        np.testing.assert_allclose(found.matrix().toarray(), wanted.T, atol=2e-6)
        assert (wanted > 0).sum() > 20  # else this shows nothing


def test_keeps_the_best_of_equal_ones_the_first(tmp_path: Path) -> None:
    x = sparse.csr_matrix(np.ones((6, 4)))  # all alike
    found = nearest(None, x, Similarity("jaccard", shrink=0.0, top=2), BlockStore.open(str(tmp_path), ""))
    kept = found.store.get("found/0")
    assert kept["positions"].tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1], [0, 1]]
    assert (kept["similar"] == 1.0).all()
    assert (kept["support"] == 4).all()


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="--weighting bm25 goes with --measure cosine"):
        Similarity("jaccard", "bm25")


def test_recency_follows_the_place_and_not_the_seconds() -> None:
    block = one_user([0, 1, 2, 3], [1, 1, 1, 1], [5, 900, 5, 7])
    np.testing.assert_allclose(recency_weights(block, 1.0), [1 / 3, 1.0, 1 / 3, 1 / 2])
    assert (recency_weights(one_user([0, 1], [1, 1], [0, 0]), 1.0) == 1.0).all()


@pytest.fixture
def scorer(tmp_path: Path) -> ItemWeights:
    training = random_training(7)
    rng = np.random.default_rng(7)
    weights = sparse.csr_matrix(np.where(rng.random((20, 20)) < 0.4, rng.random((20, 20)), 0.0))
    weights.setdiag(0)
    weights.eliminate_zeros()
    store = BlockStore.open(str(tmp_path), "")
    return ItemWeights.make("neighbors", training.items, training.block, weights, store, 0.5, rates=True)


def test_scores_are_weights_of_what_was_rated(scorer: ItemWeights) -> None:
    block, w = random_training(7).block, scorer._matrix.toarray()
    x = np.zeros((30, 20))
    x[block.rows, block.positions] = recency_weights(block, 0.5)
    wanted = x @ w + 1e-6 * scorer.popularity
    np.testing.assert_allclose(scorer.scores(block), wanted, rtol=1e-12)


def test_a_predicted_rating_is_the_mean_of_neighbours_deviations(scorer: ItemWeights) -> None:
    w, biases = scorer._matrix.toarray(), scorer.biases
    block = one_user([2, 5], [5.0, 1.0], [1, 1])
    b_u = sum(r - biases.mean - biases.of_items[j] for j, r in ((2, 5.0), (5, 1.0))) / (2 + 5.0)
    left = {j: r - biases.mean - biases.of_items[j] - b_u for j, r in ((2, 5.0), (5, 1.0))}
    for i in range(20):
        share = sum(w[j, i] * left[j] for j in left) / (sum(w[j, i] for j in left) + 1.0)
        assert scorer.ratings(block)[0, i] == pytest.approx(biases.mean + b_u + biases.of_items[i] + share, abs=1e-6)


def test_users_without_ratings_get_the_popular_items(scorer: ItemWeights) -> None:
    block = one_user([], [], [])
    assert not scorer.is_warm(block)[0]
    order = np.argsort(-scorer.scores(block)[0], kind="stable")
    assert order.tolist() == np.argsort(-scorer.popularity, kind="stable").tolist()


def test_likeness_is_the_weights_for_an_item(scorer: ItemWeights) -> None:
    like = scorer.item_similarity(np.array([3, 4]))
    column = scorer._matrix.toarray()[:, 3]
    assert np.isneginf(like[0, column == 0]).all()
    np.testing.assert_allclose(like[0, column != 0], column[column != 0], rtol=1e-6)


def test_arrays_from_ratings_in_any_order() -> None:
    block = random_training(1).block
    assert block.users.to_pylist() == sorted(block.users.to_pylist())
    for u in range(len(block)):
        mine = block.positions[block.starts[u] : block.starts[u + 1]]
        assert (np.diff(mine) > 0).all()
    newest = block.newest(2)
    for u in range(len(block)):
        lo, hi = block.starts[u], block.starts[u + 1]
        best = sorted(zip((-block.seconds[lo:hi]).tolist(), block.positions[lo:hi].tolist(), strict=True))[:2]
        mine = newest.positions[newest.starts[u] : newest.starts[u + 1]].tolist()
        assert mine == sorted(position for _, position in best)
    table = pa.table({"user_id": [20, 10, 99], "item_id": [5, 7, 5], "rating": [1.0, 2.0, 3.0]})
    block = type(block).of(pa.array([10, 20]), pa.array([5, 6]), table)
    assert (block.counts.tolist(), block.positions.tolist(), block.seconds.tolist()) == ([0, 1], [0], [0])

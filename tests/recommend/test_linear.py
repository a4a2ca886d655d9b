"""EASE against the normal equations it solves."""

from __future__ import annotations

import numpy as np
import pytest
from histories_made import random_training
from scipy import sparse

from lakerank.recommend.ease import solver
from lakerank.recommend.ease.solver import Ease

REG = 3.0


def all_columns(solved: Ease, n_items: int) -> np.ndarray:
    return np.concatenate([solved.columns(0, 7), solved.columns(7, n_items)], axis=1)


def regression(x: np.ndarray, speakers: list[int], item: int) -> np.ndarray:
    """Ridge regression of an item on others, by solving its own system."""
    a = x[:, speakers]
    return np.linalg.solve(a.T @ a + REG * np.eye(len(speakers)), a.T @ x[:, item])


@pytest.mark.parametrize(("users", "items"), [(12, 20), (60, 20)])
def test_every_item_is_regressed_on_all_others(users: int, items: int) -> None:
    training = random_training(3, users, items)
    solved = Ease.solve(training.matrix, REG, 100)
    assert solved.dual == (users < items)
    weights = all_columns(solved, items)
    x = (training.matrix.toarray() > 0).astype(float)
    for item in range(items):
        others = [j for j in range(items) if j != item]
        np.testing.assert_allclose(weights[others, item], regression(x, others, item), atol=1e-10)
        assert weights[item, item] == 0


def test_beyond_the_limit_the_most_rated_items_speak_for_all() -> None:
    training = random_training(5, 60, 20)
    solved = Ease.solve(training.matrix, REG, 8)
    x = (training.matrix.toarray() > 0).astype(float)
    core = solved.core.tolist()
    assert sorted(x.sum(axis=0)[core])[0] >= max(x.sum(axis=0)[[j for j in range(20) if j not in core]])
    weights = all_columns(solved, 20)
    for item in range(20):
        speakers = [j for j in core if j != item]
        at = [core.index(j) for j in speakers]
        np.testing.assert_allclose(weights[at, item], regression(x, speakers, item), atol=1e-10)


def test_large_matrices_are_inverted_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    training = random_training(3, 60, 20)
    exact = all_columns(Ease.solve(training.matrix, REG, 100), 20)
    monkeypatch.setattr(solver, "DOUBLE_UP_TO", 10)
    monkeypatch.setattr(solver, "COLUMNS_AT_ONCE", 6)
    single = Ease.solve(training.matrix, REG, 100)
    assert single.inverse.dtype == np.float32
    np.testing.assert_allclose(all_columns(single, 20), exact, atol=1e-5)


def test_keeps_the_largest_weights_of_each_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "COLUMNS_AT_ONCE", 6)
    training = random_training(3, 60, 20)
    solved = Ease.solve(training.matrix, REG, 100)
    full, kept = all_columns(solved, 20), solved.largest(4).toarray()
    for item in range(20):
        best = np.argsort(-np.abs(full[:, item]))[:4]
        wanted = np.zeros(20)
        wanted[best] = full[best, item]
        np.testing.assert_allclose(kept[:, item], wanted, rtol=1e-6)


def test_the_upper_half_of_an_inverse_is_filled() -> None:
    a = np.random.default_rng(0).random((2100, 3))  # more than two blocks
    found = solver.inverted(np.asfortranarray(a @ a.T), 2.0)
    np.testing.assert_allclose(found[:5] @ (a @ a.T + 2 * np.eye(2100)), np.eye(2100)[:5], atol=1e-8)


def test_a_matrix_that_is_not_positive_definite_is_an_error() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        solver.inverted(np.asfortranarray(-np.eye(3)), 0.5)


def test_ratings_of_zero_count_as_given() -> None:
    x = sparse.csr_matrix((np.array([0.0, 1.0]), np.array([0, 1]), np.array([0, 2, 2])), shape=(2, 2))
    assert Ease.solve(x, REG, 10).columns(0, 2)[1, 0] > 0

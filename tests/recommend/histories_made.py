"""Random ratings for tests of models on arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lakerank.recommend.models.training_matrix import TrainingMatrix
from lakerank.recommend.models.user_histories import Histories


def random_training(seed: int, users: int = 30, items: int = 20, share: float = 0.3) -> TrainingMatrix:
    """Ratings in random order; every user and item occurs."""
    rng = np.random.default_rng(seed)
    given = rng.random((users, items)) < share
    given[np.arange(users), rng.integers(0, items, users)] = True
    given[rng.integers(0, users, items), np.arange(items)] = True
    u, i = np.nonzero(given)
    order = rng.permutation(len(u))
    ratings = rng.integers(1, 11, len(u)) / 2.0
    seconds = rng.integers(1, 9, len(u))  # few: some are rated in the same second
    return TrainingMatrix.of(
        pa.chunked_array([10 * u[order]]), pa.chunked_array([100 + i[order]]), ratings.astype(np.float32), seconds
    )


def dense(training: TrainingMatrix) -> np.ndarray:
    """(users, items) ratings, NaN where there is none."""
    block, full = training.block, np.full((len(training.block), len(training.items)), np.nan)
    full[block.rows, block.positions] = block.ratings
    return full


def one_user(positions: list[int], ratings: list[float], seconds: list[int], user: int = 1) -> Histories:
    """A block of one user."""
    return Histories(
        pa.array([user]),
        np.array([0, len(positions)]),
        np.array(positions, np.int32),
        np.array(ratings, np.float32),
        np.array(seconds, np.int64),
    )

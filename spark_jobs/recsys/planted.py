"""Ratings made from known factors: for demos, tests and benchmarks where the truth must be known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Planted:
    """Generated ratings and the model they came from.

    Attributes:
        users, items: int32 (N), indexes from 0; each pair occurs once.
        ratings: float32 (N), half stars from 0.5 to 5.
        seconds: int64 (N), Unix time.
        user_factors, item_factors: float32 (U, K) and (I, K).
        oracle_rmse: what the planted model itself scores on these ratings: noise and rounding alone.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    seconds: NDArray[np.int64]
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    oracle_rmse: float


def plant(n_users: int, n_items: int, n_ratings: int, rank: int = 8, noise: float = 0.5, seed: int = 0) -> Planted:
    """Generate ratings r = 3.5 + b_u + b_i + p_u·q_i + noise, rounded to half stars.

    Items are drawn with power-law popularity and users with log-normal activity, as in real data.

    Args:
        n_users, n_items: sizes.
        n_ratings: wanted; repeated pairs are dropped, so a few per cent fewer come out on dense data.
        rank: K of the planted factors.
        noise: standard deviation in stars.
        seed: the same seed gives the same ratings.
    """
    rng = np.random.default_rng(seed)
    activity = rng.lognormal(0.0, 1.0, n_users)
    popularity = (1.0 + np.arange(n_items)) ** -0.8
    rng.shuffle(popularity)
    draws = int(n_ratings * 1.5)
    pairs = rng.choice(n_users, draws, p=activity / activity.sum()).astype(np.int64) * n_items
    pairs += rng.choice(n_items, draws, p=popularity / popularity.sum())
    _, first = np.unique(pairs, return_index=True)
    pairs = pairs[np.sort(first)][:n_ratings]
    users, items = (pairs // n_items).astype(np.int32), (pairs % n_items).astype(np.int32)
    p_UK = rng.standard_normal((n_users, rank), dtype=np.float32) * np.float32(rank**-0.25)
    q_IK = rng.standard_normal((n_items, rank), dtype=np.float32) * np.float32(0.8 * rank**-0.25)
    b_U, b_I = rng.normal(0, 0.35, n_users), rng.normal(0, 0.35, n_items)
    truth = 3.5 + b_U[users] + b_I[items] + np.einsum("nk,nk->n", p_UK[users], q_IK[items])
    rounded = np.round(2 * (truth + rng.normal(0, noise, len(pairs)))) / 2
    ratings = np.clip(rounded, 0.5, 5.0).astype(np.float32)
    return Planted(
        users=users,
        items=items,
        ratings=ratings,
        seconds=np.sort(rng.integers(1_400_000_000, 1_600_000_000, len(pairs))),
        user_factors=p_UK,
        item_factors=q_IK,
        oracle_rmse=float(np.sqrt(np.mean((np.clip(truth, 0.5, 5.0) - ratings) ** 2))),
    )

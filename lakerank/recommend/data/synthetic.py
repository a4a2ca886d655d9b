"""Ratings made from known factors: for demos, tests and benchmarks where the truth must be known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Ratings whose true values are computed at a time: bounds memory at 20 million ratings.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class GeneratedRatings:
    """Generated ratings and the model they came from.

    Attributes:
        users, items: int32 (N), indexes from 0; each pair occurs once.
        ratings: float32 (N), half stars from 0.5 to 5.
        seconds: int64 (N), Unix time.
        user_factors, item_factors: float32 (U, K) and (I, K).
        oracle_rmse: what the synthetic model itself scores on these ratings: noise and rounding alone.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    seconds: NDArray[np.int64]
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    oracle_rmse: float


def generate_ratings(
    n_users: int,
    n_items: int,
    n_ratings: int,
    rank: int = 8,
    noise: float = 0.5,
    seed: int = 0,
    taste: float = 0.8,
    exact: bool = False,
) -> GeneratedRatings:
    """Generate ratings r = 3.5 + b_u + b_i + p_u·q_i + noise, rounded to half stars.

    Items are drawn with power-law popularity and users with log-normal activity, as in real data.

    Args:
        n_users, n_items: sizes.
        n_ratings: wanted; repeated pairs are dropped, so a few per cent fewer come out on dense data.
        rank: K of the synthetic factors.
        noise: standard deviation in stars.
        seed: the same seed gives the same ratings.
        taste: standard deviation of p_u·q_i in stars.
        exact: give `n_ratings` to the last one, let each user and each item occur, and draw them with
            MovieLens-20M's skew (`_draw_exactly`).

    Raises:
        ValueError: `exact`, and so many ratings cannot be had or cannot reach every user and item.
    """
    rng = np.random.default_rng(seed)
    pairs = (_draw_exactly if exact else _draw)(rng, n_users, n_items, n_ratings)
    users, items = (pairs // n_items).astype(np.int32), (pairs % n_items).astype(np.int32)
    del pairs
    p_UK = rng.standard_normal((n_users, rank), dtype=np.float32) * np.float32(rank**-0.25)
    q_IK = rng.standard_normal((n_items, rank), dtype=np.float32) * np.float32(taste * rank**-0.25)
    b_U, b_I = rng.normal(0, 0.35, n_users), rng.normal(0, 0.35, n_items)
    truth = 3.5 + b_U[users] + b_I[items]
    for lo in range(0, len(users), _CHUNK):
        some = slice(lo, lo + _CHUNK)
        truth[some] += np.einsum("nk,nk->n", p_UK[users[some]], q_IK[items[some]])
    rounded = np.round(2 * (truth + rng.normal(0, noise, len(users)))) / 2
    ratings = np.clip(rounded, 0.5, 5.0).astype(np.float32)
    return GeneratedRatings(
        users=users,
        items=items,
        ratings=ratings,
        seconds=np.sort(rng.integers(1_400_000_000, 1_600_000_000, len(users))),
        user_factors=p_UK,
        item_factors=q_IK,
        oracle_rmse=float(np.sqrt(np.mean((np.clip(truth, 0.5, 5.0) - ratings) ** 2))),
    )


def _draw(rng: np.random.Generator, n_users: int, n_items: int, n_ratings: int) -> NDArray[np.int64]:
    """Draw distinct pairs user · n_items + item, about `n_ratings` of them."""
    activity = rng.lognormal(0.0, 1.0, n_users)
    popularity = (1.0 + np.arange(n_items)) ** -0.8
    rng.shuffle(popularity)
    return _first_seen(_pairs(rng, activity, popularity, int(n_ratings * 1.5)))[:n_ratings]


def _draw_exactly(rng: np.random.Generator, n_users: int, n_items: int, n_ratings: int) -> NDArray[np.int64]:
    """Draw exactly `n_ratings` distinct pairs that reach every user and item, in random order.

    Popularity is (rank + 0.011 I)⁻², activity log-normal with σ = 1.2: MovieLens-20M's median item has 18 ratings
    and its first 67,310, its median user 68 and the average one 144.

    Raises:
        ValueError: there are not so many pairs with room to draw them, or fewer ratings than users + items.
    """
    if not n_users + n_items <= n_ratings <= n_users * n_items // 4:
        raise ValueError(
            f"{n_ratings} ratings of {n_users} users and {n_items} items: the number must be at least users + items "
            "and at most a quarter of users × items"
        )
    activity = rng.lognormal(0.0, 1.2, n_users)
    popularity = (1.0 + np.arange(n_items) + 0.011 * n_items) ** -2.0
    rng.shuffle(popularity)
    each_user = np.arange(n_users) * n_items + _chosen(rng, popularity, n_users)
    each_item = np.arange(n_items) + _chosen(rng, activity, n_items) * n_items
    pairs = _first_seen(np.concatenate([each_user, each_item]))
    while len(pairs) < n_ratings:
        # Far more than are missing: many will be repeats. Those that are too many are cut off, never the first ones.
        draws = n_ratings - len(pairs) + n_ratings // 3
        pairs = _first_seen(np.append(pairs, _pairs(rng, activity, popularity, draws)))
    return rng.permutation(pairs[:n_ratings])


def _pairs(
    rng: np.random.Generator, activity: NDArray[np.floating[Any]], popularity: NDArray[np.floating[Any]], draws: int
) -> NDArray[np.int64]:
    users = _chosen(rng, activity, draws)
    return users * len(popularity) + _chosen(rng, popularity, draws)


def _chosen(rng: np.random.Generator, weights: NDArray[np.floating[Any]], draws: int) -> NDArray[np.int64]:
    """Draw indexes with these weights."""
    return rng.choice(len(weights), draws, p=weights / weights.sum()).astype(np.int64)


def _first_seen(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each value once, in the order of its first occurrence."""
    _, first = np.unique(pairs, return_index=True)
    return pairs[np.sort(first)]

"""Ranked lists against what users liked: one value for each user.

Shape suffixes: U users, N recommendations, P pairs of user and relevant item.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Hits = NDArray[np.bool_]
Counts = NDArray[np.int64]


def hits(top_UN: NDArray[np.int32], rows_P: NDArray[Any], items_P: NDArray[Any], n_items: int) -> tuple[Hits, Counts]:
    """Which recommendations are relevant, and how many relevant items each user has.

    Args:
        top_UN: positions of the recommended items, best first; −1 fills the end.
        rows_P, items_P: the relevant pairs, by position, each once; an item of −1 or beyond `n_items` cannot be
            recommended, but counts.
        n_items: items that positions may stand for.

    Returns:
        bool (U, N) and int64 (U).
    """
    relevant = np.bincount(rows_P, minlength=len(top_UN)).astype(np.int64)
    can_be = (np.asarray(items_P) >= 0) & (np.asarray(items_P) < n_items)
    keys = np.sort(np.asarray(rows_P, np.int64)[can_be] * n_items + np.asarray(items_P, np.int64)[can_be])
    if not len(keys):
        return np.zeros(top_UN.shape, bool), relevant
    asked = np.arange(len(top_UN), dtype=np.int64)[:, None] * n_items + top_UN
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return (keys[place] == asked) & (top_UN >= 0), relevant


def discounted_gain(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """(U) nDCG: Σ 1/log2(place + 1) over the hits ÷ the same over min(N, relevant) first places
    (Järvelin and Kekäläinen 2002, binary gains)."""
    gains = 1.0 / np.log2(np.arange(2.0, hit_UN.shape[1] + 2.0))
    ideal = np.concatenate([[1.0], np.cumsum(gains)])  # nobody without relevant items has a hit: 0 / 1
    return np.asarray(hit_UN @ gains / ideal[np.minimum(relevant_U, hit_UN.shape[1])], np.float64)


def recall(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """(U) hits ÷ relevant items."""
    return np.asarray(hit_UN.sum(axis=1) / np.maximum(relevant_U, 1), np.float64)


def recall_capped(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """(U) hits ÷ min(N, relevant items)."""
    return np.asarray(hit_UN.sum(axis=1) / np.clip(relevant_U, 1, hit_UN.shape[1]), np.float64)


def precision(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """(U) hits ÷ N, also where fewer than N were recommended."""
    return np.asarray(hit_UN.mean(axis=1), np.float64)


def average_precision(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """(U) Σ over the hits of the precision down to there ÷ relevant items."""
    so_far = np.cumsum(hit_UN, axis=1) / np.arange(1, hit_UN.shape[1] + 1)
    return np.asarray((so_far * hit_UN).sum(axis=1) / np.maximum(relevant_U, 1), np.float64)


def reciprocal_rank(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """(U) 1 ÷ place of the first hit; 0 without one."""
    return np.asarray(hit_UN.any(axis=1) / (hit_UN.argmax(axis=1) + 1.0), np.float64)


def hit_rate(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """(U) 1 if there is any hit, else 0."""
    return np.asarray(hit_UN.any(axis=1), np.float64)


BY_USER: dict[str, Callable[[Hits, Counts], Floats]] = {
    "ndcg": discounted_gain,
    "recall": recall,
    "recall-capped": recall_capped,
    "precision": precision,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hr": hit_rate,
}

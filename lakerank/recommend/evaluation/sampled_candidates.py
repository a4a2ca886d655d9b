"""Ranking each test item among a few the user has not rated: the protocol of He et al. 2017.

*Neural collaborative filtering* (WWW 2017) ranks a user's last item among it and 99 sampled ones. Its figures are
comparable with each other only: sampled measures may order models otherwise than full rankings do (Krichene and Rendle
2020, *On sampled metrics for item recommendation*).

Shape suffixes: P test pairs, C candidates of a pair.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.cli.errors import UserError


def draw_negatives(
    rows_P: NDArray[Any], rated: tuple[NDArray[Any], NDArray[Any]], n_users: int, n_items: int, n: int, seed: int
) -> NDArray[np.int32]:
    """(P, n) distinct items for each test pair, none of which its user has rated, test items included.

    Args:
        rows_P: the user of each test pair.
        rated: users and items of all rated pairs, training and test.
        n_users, n_items: sizes.
        n: how many.
        seed: of the draws.

    Raises:
        UserError: a user has rated so much that there are not n others.
    """
    order = np.argsort(rated[0], kind="stable")
    items = np.asarray(rated[1])[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(rated[0], minlength=n_users))])
    generator = np.random.default_rng(seed)
    drawn = np.empty((len(rows_P), n), np.int32)
    for k, u in enumerate(rows_P):
        own = np.unique(items[starts[u] : starts[u + 1]])
        if n_items - len(own) < n:
            raise UserError(
                f"--candidates {n}: a user has rated {len(own)} of {n_items} items, so there are not that many others"
            )
        # The x-th item that is not among `own`: x plus the number of own items up to there.
        free = generator.choice(n_items - len(own), n, replace=False)
        drawn[k] = free + np.searchsorted(own - np.arange(len(own)), free, side="right")
    return drawn


def ranked(scores_PC: NDArray[np.float64], ids_PC: NDArray[np.int32], top: int) -> NDArray[np.int32]:
    """(P, min(top, C)) the candidates of highest score, best first, equal ones by item."""
    by_item = np.argsort(ids_PC, axis=1, kind="stable")
    scores = np.take_along_axis(scores_PC, by_item, axis=1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(np.take_along_axis(ids_PC, by_item, axis=1), best, axis=1).astype(np.int32)

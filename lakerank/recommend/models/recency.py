"""How much a rating says of what a user wants next: the newer, the more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.models.user_histories import Histories


def recency_weights(block: Histories, power: float) -> NDArray[np.float64]:
    """(P) (1 + number of the user's ratings that are newer)^−power; ratings of the same second count alike.

    Where there are no times all weights are 1. A power law of the place fits sessions, in which seconds pass, and
    years, alike.
    """
    order = np.lexsort((-block.seconds, block.rows))
    rows, seconds = block.rows[order], block.seconds[order]
    at = np.arange(len(order))
    first = np.ones(len(order), np.bool_)
    first[1:] = (rows[1:] != rows[:-1]) | (seconds[1:] != seconds[:-1])
    newer = np.maximum.accumulate(np.where(first, at, 0)) - block.starts[rows]
    weights = np.empty(len(order))
    weights[order] = (1.0 + newer) ** -power
    return weights

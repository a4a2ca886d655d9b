"""Paired bootstrap of RMSEs: the certainty that one recommender's error is lower than another's.

A rating that is tested in several folds is one observation with several errors, not several observations: ratings
are drawn, and each brings all its folds along. Otherwise ten folds would make intervals √10 times too narrow for
ratings that all of them test. Every contestant is scored on the same draw, so what is hard for all of them cancels.
(Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 8 and 16.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_DRAWS_AT_ONCE = 1 << 22  # numbers drawn at a time: 32 MiB


@dataclass(frozen=True)
class Difference:
    """RMSE of a minus RMSE of b, in rating units: below 0 if a is the better one.

    Attributes:
        value: on the ratings as they are.
        low, high: 95 % percentile interval.
        p: two-sided, at least 2 / (resamples + 1).
    """

    value: float
    low: float
    high: float
    p: float


def bootstrap_rmse(
    squared_NC: NDArray[np.float64], tests_N: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Compute the RMSEs of all contestants on the same draws of ratings, (resamples, C).

    Args:
        squared_NC: squared errors of contestant c for rating n, summed over the folds that test it.
        tests_N: how many folds test rating n; ratings that none does must be left out.
        resamples: draws of N ratings with replacement.
        seed: of the draws.
    """
    n = len(tests_N)
    sums_NC1 = np.column_stack([squared_NC, tests_N])
    generator = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // n)
    found = []
    for begin in range(0, resamples, step):
        rows = min(step, resamples - begin)
        drawn = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        times_RN = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        totals = times_RN.astype(np.float64) @ sums_NC1
        found.append(np.sqrt(totals[:, :-1] / totals[:, -1:]))
    return np.concatenate(found)


def pooled_rmse(squared_NC: NDArray[np.float64], tests_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the RMSE of each contestant over all folds' test ratings, (C)."""
    return np.asarray(np.sqrt(squared_NC.sum(axis=0) / tests_N.sum()))


def difference(a: float, b: float, a_R: NDArray[np.float64], b_R: NDArray[np.float64]) -> Difference:
    """Compare two contestants, from their pooled RMSEs and their columns of `bootstrap_rmse`."""
    drawn = a_R - b_R
    low, high = np.percentile(drawn, [2.5, 97.5])
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(a - b, float(low), float(high), min(1.0, 2 * (tail + 1) / (len(drawn) + 1)))

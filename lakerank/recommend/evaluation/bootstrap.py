"""How sure a mean over users is: bootstrap of users, the same draws for all models.

A user's test items depend on one another, so users are drawn, and each brings all their items (Efron and Tibshirani
1993, *An introduction to the bootstrap*, chapters 8 and 16). Two models are compared on the same draws: what is hard
for both cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_NUMBERS_AT_ONCE = 1 << 22  # weights held at a time: 32 MiB


@dataclass(frozen=True)
class Sums:
    """A measure as Σ top ÷ Σ bottom over users, (U) each; of that the root for an RMSE."""

    top: Floats
    bottom: Floats
    root: bool = False

    def value(self) -> float:
        """NaN where no user counts."""
        return float(_ratio(np.array([self.top.sum()]), np.array([self.bottom.sum()]), self.root)[0])

    def of(self, chosen: NDArray[np.bool_]) -> Sums:
        """The same for some of the users (U)."""
        return Sums(np.where(chosen, self.top, 0.0), np.where(chosen, self.bottom, 0.0), self.root)


def _ratio(top: Floats, bottom: Floats, root: bool) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(bottom == 0, np.nan, top / np.where(bottom == 0, 1.0, bottom))
        return np.sqrt(value) if root else value


def resampled(measures: list[Sums], resamples: int, seed: int) -> Floats:
    """Values of all measures on the same draws of users, (resamples, measures).

    Args:
        measures: all with the same users.
        resamples: draws of U users with replacement.
        seed: of the draws.
    """
    if not measures:
        return np.empty((resamples, 0))
    n = len(measures[0].top)
    sums_US = np.column_stack([column for m in measures for column in (m.top, m.bottom)])
    generator = np.random.default_rng(seed)
    step = max(1, _NUMBERS_AT_ONCE // max(n, 1))
    found = []
    for begin in range(0, resamples, step):
        rows = min(step, resamples - begin)
        drawn = generator.multinomial(n, np.full(n, 1.0 / n), size=rows) if n else np.zeros((rows, 0))
        found.append(drawn.astype(np.float64) @ sums_US)
    totals = np.concatenate(found) if found else np.empty((0, sums_US.shape[1]))
    columns = [_ratio(totals[:, 2 * k], totals[:, 2 * k + 1], m.root) for k, m in enumerate(measures)]
    return np.column_stack(columns)


def interval(drawn: Floats) -> tuple[float, float]:
    """95 % percentile interval; draws without a value are left out, and NaN comes back if none has one."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)

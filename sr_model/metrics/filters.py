"""Small separable filters in NumPy: validation also runs where SciPy is not installed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def correlate(y_HW: Floats, rows: Floats, columns: Floats) -> Floats:
    """Correlate down the rows with one filter and along the columns with the other, where they fit wholly.

    Args:
        y_HW: (H, W).
        rows: odd number n of taps.
        columns: odd number m of taps.

    Returns:
        (H − n + 1, W − m + 1).
    """
    high, wide = y_HW.shape[0] - len(rows) + 1, y_HW.shape[1] - len(columns) + 1
    down = np.zeros((high, y_HW.shape[1]))
    for at, tap in enumerate(rows):
        down += tap * y_HW[at : at + high]
    out = np.zeros((high, wide))
    for at, tap in enumerate(columns):
        out += tap * down[:, at : at + wide]
    return out


def gaussian(radius: int, sigma: float) -> Floats:
    """Taps of a Gaussian, 2·radius + 1 of them, of sum 1."""
    taps: Floats = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    return taps

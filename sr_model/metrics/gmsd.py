"""Gradient magnitude similarity deviation (Xue et al., IEEE TIP 2014): how unevenly edges were lost."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sr_model.metrics.base import both_lumas, correlate

_C = 170.0  # the paper's constant for a range of 255


def gmsd_y(hr_HWC: NDArray[np.uint8], sr_HWC: NDArray[np.uint8], border: int = 4) -> float:
    """Compute GMSD on Y; 0 for equal pictures, higher is worse.

    Args:
        hr_HWC: the true picture, (H, W, 3) uint8 RGB.
        sr_HWC: the made one, of the same shape.
        border: pixels cut off on each side.

    Returns:
        The deviation; NaN below 2 × 2 pixels after halving.

    Raises:
        ValueError: different shapes, or nothing left.
    """
    hr, sr = both_lumas(hr_HWC, sr_HWC, border)
    if min(hr.shape) < 4:
        return math.nan
    g_hr, g_sr = _gradient(_halved(hr)), _gradient(_halved(sr))
    similarity = (2 * g_hr * g_sr + _C) / (g_hr**2 + g_sr**2 + _C)
    return float(np.std(similarity, ddof=1))


def _halved(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average 2 × 2 pixels; beyond the picture there is black, as in the authors' program."""
    even = np.pad(y, ((0, y.shape[0] % 2), (0, y.shape[1] % 2)))
    return (even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]) / 4


def _gradient(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the magnitude of gradients by Prewitt's operator; beyond the picture there is black."""
    padded = np.pad(y, 1)
    steep, mean = np.array([1.0, 0.0, -1.0]), np.full(3, 1 / 3)
    return np.hypot(correlate(padded, steep, mean), correlate(padded, mean, steep))

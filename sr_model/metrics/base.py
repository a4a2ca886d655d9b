"""Helpers that metrics share: luma, separable filters, and the error of a metric that cannot be had here.

The filters are NumPy's alone: validation also runs where SciPy is not installed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# ITU-R BT.601, studio range: black is 16, white 235. MATLAB's rgb2ycbcr has the same numbers.
_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255


def luma(rgb_HWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute Y of (H, W, 3) uint8 RGB: (H, W) float64 in 16…235, not rounded."""
    out: NDArray[np.float64] = rgb_HWC.astype(np.float64) @ _WEIGHTS + 16
    return out


def cropped_luma(rgb_HWC: NDArray[np.uint8], border: int) -> NDArray[np.float64]:
    """Compute `luma` without `border` pixels on each side.

    Raises:
        ValueError: nothing would be left.
    """
    height, width = rgb_HWC.shape[:2]
    if min(height, width) <= 2 * border:
        raise ValueError(f"{height} × {width}: nothing is left without a border of {border} pixels")
    return luma(rgb_HWC[border : height - border, border : width - border])


def both_lumas(
    hr_HWC: NDArray[np.uint8], sr_HWC: NDArray[np.uint8], border: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute `cropped_luma` of two pictures that must be of one size.

    Raises:
        ValueError: they are not.
    """
    if hr_HWC.shape != sr_HWC.shape:
        raise ValueError(f"pictures of different shapes: {hr_HWC.shape} and {sr_HWC.shape}")
    return cropped_luma(hr_HWC, border), cropped_luma(sr_HWC, border)


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
    """Return the taps of a Gaussian, 2·radius + 1 of them, of sum 1."""
    taps: Floats = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    return taps


class Unavailable(Exception):
    """Tell that something a metric needs is not here; the message says what, and how to get it."""

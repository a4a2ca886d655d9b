"""Brightness as the super-resolution literature measures it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# ITU-R BT.601, studio range: black is 16, white 235. MATLAB's rgb2ycbcr has the same numbers.
_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255


def luma(rgb_HWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Y of (H, W, 3) uint8 RGB: (H, W) float64 in 16…235, not rounded."""
    out: NDArray[np.float64] = rgb_HWC.astype(np.float64) @ _WEIGHTS + 16
    return out


def cropped_luma(rgb_HWC: NDArray[np.uint8], border: int) -> NDArray[np.float64]:
    """`luma` without `border` pixels on each side.

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
    """`cropped_luma` of two pictures that must be of one size.

    Raises:
        ValueError: they are not.
    """
    if hr_HWC.shape != sr_HWC.shape:
        raise ValueError(f"pictures of different shapes: {hr_HWC.shape} and {sr_HWC.shape}")
    return cropped_luma(hr_HWC, border), cropped_luma(sr_HWC, border)

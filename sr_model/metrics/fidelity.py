"""PSNR and SSIM on Y: how near a made picture is to the true one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sr_model.metrics.base import both_lumas, correlate, gaussian

_PEAK = 255.0
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2  # Wang et al. 2004, section III-B
_RADIUS, _SIGMA = 5, 1.5
_TAPS = gaussian(_RADIUS, _SIGMA)


def psnr_y(hr_HWC: NDArray[np.uint8], sr_HWC: NDArray[np.uint8], border: int = 4) -> float:
    """Compute the peak signal-to-noise ratio on Y in dB; infinite for equal pictures.

    Args:
        hr_HWC: the true picture, (H, W, 3) uint8 RGB.
        sr_HWC: the made one, of the same shape.
        border: pixels cut off on each side.

    Raises:
        ValueError: different shapes, or nothing left.
    """
    hr, sr = both_lumas(hr_HWC, sr_HWC, border)
    error = float(np.mean((hr - sr) ** 2))
    return 10 * math.log10(_PEAK**2 / error) if error else math.inf


def ssim_y(hr_HWC: NDArray[np.uint8], sr_HWC: NDArray[np.uint8], border: int = 4) -> float:
    """Compute structural similarity on Y (Wang et al. 2004): 11 × 11 Gaussian, σ = 1.5, whole windows only; 1 is equal.

    Args:
        hr_HWC: the true picture, (H, W, 3) uint8 RGB.
        sr_HWC: the made one, of the same shape.
        border: pixels cut off on each side.

    Returns:
        The mean; NaN for pictures in which no window fits.

    Raises:
        ValueError: different shapes, or nothing left.
    """
    hr, sr = both_lumas(hr_HWC, sr_HWC, border)
    if min(hr.shape) <= 2 * _RADIUS:
        return math.nan
    mean_h, mean_s = _window(hr), _window(sr)
    var_h = _window(hr * hr) - mean_h**2
    var_s = _window(sr * sr) - mean_s**2
    both = _window(hr * sr) - mean_h * mean_s
    top = (2 * mean_h * mean_s + _C1) * (2 * both + _C2)
    return float(np.mean(top / ((mean_h**2 + mean_s**2 + _C1) * (var_h + var_s + _C2))))


def _window(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the Gaussian mean in each window that lies within the picture."""
    return correlate(x, _TAPS, _TAPS)

"""Losses that compare pixels. All take (N, 3, H, W) in [-1, 1] and return a scalar, the mean over everything."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_EPSILON = 1e-3  # Charbonnier's; where the loss turns from square to absolute
_LUMA = (65.481 / 219, 128.553 / 219, 24.966 / 219)  # ITU-R BT.601 as MATLAB's rgb2ycbcr has it, summing to 1


def mse(sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
    """Compute the mean squared error, which PSNR measures (SRGAN, equation 4)."""
    return F.mse_loss(sr_NCHW, hr_NCHW)


def l1(sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
    """Compute the mean absolute error: sharper than mse at the same PSNR (Lim et al. 2017, EDSR)."""
    return F.l1_loss(sr_NCHW, hr_NCHW)


def charbonnier(sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
    """Compute the mean of sqrt(d² + ε²) − ε: l1 without the kink (Charbonnier et al. 1994; Lai et al. 2017, LapSRN)."""
    square = (sr_NCHW - hr_NCHW).square()
    # The same number without subtracting two near ones, so that equal pictures give exactly 0 in every precision.
    return (square / (torch.sqrt(square + _EPSILON**2) + _EPSILON)).mean()


def luma(sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
    """Compute the luma's mean absolute error, on which the field measures PSNR; for nets that leave colour alone."""
    weights = torch.tensor(_LUMA, dtype=sr_NCHW.dtype, device=sr_NCHW.device).view(1, 3, 1, 1)
    return ((sr_NCHW - hr_NCHW) * weights).sum(1).abs().mean()

"""Tiny: residual blocks on the luma of the small picture, one ×4 pixel shuffle; below 100,000 parameters."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        # Begins near the identity; with full-size steps the first thousand updates are spent on undoing them.
        self.conv2.weight.data.mul_(0.3)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return cast(Tensor, x_NCHW + self.conv2(F.relu(self.conv1(x_NCHW))))


class Tiny(nn.Module):
    """Generator ×4 for a CPU.

    Eyes see detail in brightness, so the net computes only the missing luma, at the small picture's size, and
    adds it to all three channels of the bicubically enlarged picture (ESPCN, Shi et al. 2016, works so too).

    Args:
        blocks: residual blocks of two 3×3 convs.
        width: channels.
    """

    scale = 4
    luma: Tensor

    def __init__(self, blocks: int = 5, width: int = 32) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, width, 3, padding=1)
        self.body = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, 16, 3, padding=1)
        self.tail.weight.data.mul_(0.1)  # begins as the bicubic picture
        nn.init.zeros_(cast(Tensor, self.tail.bias))
        self.register_buffer("luma", torch.tensor(_LUMA).view(1, 3, 1, 1), persistent=False)

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        """Upscale (N, 3, h, w) in [-1, 1] to (N, 3, 4h, 4w)."""
        y_N1HW = (lr_NCHW * self.luma).sum(1, keepdim=True)
        detail = F.pixel_shuffle(self.tail(self.body(F.relu(self.head(y_N1HW)))), 4)
        base = F.interpolate(lr_NCHW, scale_factor=4, mode="bicubic", align_corners=False)
        return base + detail

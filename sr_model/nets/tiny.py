"""Tiny: all work at the low resolution, one ×4 pixel shuffle at the end; below 100,000 parameters."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Tiny(nn.Module):
    """Generator ×4 for a CPU: 3×3 convs at the input's size, one pixel shuffle, plus the interpolated input.

    Args:
        depth: 3×3 convs between the first and the last.
        width: channels.
    """

    scale = 4

    def __init__(self, depth: int = 6, width: int = 32) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.tail = nn.Conv2d(width, 48, 3, padding=1)

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        """(N, 3, h, w) in [-1, 1] to (N, 3, 4h, 4w)."""
        x = F.relu(self.head(lr_NCHW))
        first = x
        for conv in self.body:
            x = F.relu(conv(x))
        detail = F.pixel_shuffle(self.tail(x + first), 4)
        out: Tensor = detail + F.interpolate(lr_NCHW, scale_factor=4, mode="bilinear", align_corners=False)
        return out

"""SRResNet, the generator of SRGAN (Ledig et al. 2017, figure 4): residual blocks, then two ×2 pixel shuffles.

With 5 blocks and ReLU it is the seed's variant, with 16 and PReLU the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sr_model.nets.init import initialise


class ResidualBlock(nn.Module):
    """conv 3×3, BN, activation, conv 3×3, BN, plus the input."""

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(
            # BN brings the bias.
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            activation,
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return features of the input's shape."""
        out: Tensor = x_NCHW + self.body(x_NCHW)
        return out


class SRResNet(nn.Module):
    """Generator ×4: 9×9 conv, residual blocks under a long skip, two ×2 pixel shuffles, 9×9 conv, tanh.

    Args:
        blocks: residual blocks; the seed has 5, the paper 16.
        width: channels.
        init: `normal002` is the seed's N(0, 0.02), BN gamma N(1, 0.02); `default` is PyTorch's.
    """

    scale = 4

    def __init__(self, blocks: int = 16, width: int = 64, init: str = "normal002") -> None:
        super().__init__()

        def activation() -> nn.Module:
            return nn.PReLU() if blocks >= 16 else nn.ReLU()

        self.head = nn.Sequential(nn.Conv2d(3, width, 9, padding=4), activation())
        self.body = nn.Sequential(
            *(ResidualBlock(width, activation()) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.upsample = nn.Sequential(
            nn.Conv2d(width, 4 * width, 3, padding=1),
            nn.PixelShuffle(2),
            activation(),
            nn.Conv2d(width, 4 * width, 3, padding=1),
            nn.PixelShuffle(2),
            activation(),
        )
        self.tail = nn.Conv2d(width, 3, 9, padding=4)
        initialise(self, init)

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        """Upscale (N, 3, h, w) in [-1, 1] to (N, 3, 4h, 4w) in (-1, 1)."""
        head = self.head(lr_NCHW)
        return torch.tanh(self.tail(self.upsample(head + self.body(head))))

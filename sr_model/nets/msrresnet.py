"""MSRResNet: SRResNet without batch normalisation, on top of the interpolated input (Wang et al. 2018, ESRGAN).

The baseline that BasicSR trains: without BN there are no colour shifts between training and inference.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PlainBlock(nn.Module):
    """conv 3×3, ReLU, conv 3×3, plus the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            # Small at the start, so that the block begins near the identity (ESRGAN, appendix).
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(0.1)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return features of the input's shape."""
        out: Tensor = x_NCHW + self.conv2(F.relu(self.conv1(x_NCHW)))
        return out


class MSRResNet(nn.Module):
    """Generator ×4: 3×3 conv, plain residual blocks, two ×2 pixel shuffles, two 3×3 convs, plus bilinear ×4.

    Args:
        blocks: residual blocks.
        width: channels.
    """

    scale = 4

    def __init__(self, blocks: int = 16, width: int = 64) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(PlainBlock(width) for _ in range(blocks)))
        self.up1 = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.up2 = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.tail = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        """Upscale (N, 3, h, w) in [-1, 1] to (N, 3, 4h, 4w)."""
        x = F.leaky_relu(self.head(lr_NCHW), 0.1)
        x = self.body(x)
        x = F.leaky_relu(F.pixel_shuffle(self.up1(x), 2), 0.1)
        x = F.leaky_relu(F.pixel_shuffle(self.up2(x), 2), 0.1)
        x = self.tail(F.leaky_relu(self.conv(x), 0.1))
        out: Tensor = x + F.interpolate(lr_NCHW, scale_factor=4, mode="bilinear", align_corners=False)
        return out

"""`degrade.downscale` for batches on a device. Apart from it, so that cutting patches needs no PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sr_model.degrade import resize_weights


class Degrade(nn.Module):
    """`downscale(…, "matlab")` for a batch, on any device.

    Args:
        scale: the factor.
    """

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self._made: dict[tuple[int, torch.device, torch.dtype], Tensor] = {}

    def forward(self, hr_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) uint8 or float in 0…255 to (N, C, H/scale, W/scale) float in 0…255, rounded.

        float64 stays float64 and then equals `downscale` exactly; anything else is computed in float32.
        """
        x = hr_NCHW if hr_NCHW.dtype == torch.float64 else hr_NCHW.float()
        with torch.autocast(x.device.type, enabled=False):
            rows, columns = self._matrix(x.shape[2], x), self._matrix(x.shape[3], x)
            x = torch.floor(rows @ x + 0.5).clamp(0, 255)
            return torch.floor(x @ columns.T + 0.5).clamp(0, 255)

    def _matrix(self, n: int, like: Tensor) -> Tensor:
        key = (n, like.device, like.dtype)
        if key not in self._made:
            self._made[key] = torch.from_numpy(resize_weights(n, n // self.scale)).to(like)
        return self._made[key]

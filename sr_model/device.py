"""The device a command computes on, and batches on their way to it: bytes become LR and HR tensors.

Apart from `degrade`, so that making patches needs no PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lakerank.cli.errors import UserError
from sr_model.degrade import resize_weights

if TYPE_CHECKING:
    from sr_model.data.stream import Batch


def pick_device(wanted: str) -> str:
    """Return the device PyTorch is told, `cpu` or `cuda`, for `auto`, `cpu` or `cuda`.

    Raises:
        UserError: a GPU is wanted where there is none.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise UserError("--device cuda: PyTorch sees no GPU here; use --device cpu")
    return "cuda" if there and wanted != "cpu" else "cpu"


def has_bfloat16() -> bool:
    """Tell whether the processor computes in bfloat16 (AVX-512 BF16 or AMX); else it would be slower than float32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private, so that they may be missing one day
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in checks)


class Degrade(nn.Module):
    """Downscale a batch as `downscale(…, "matlab")` does a picture, on any device.

    Args:
        scale: the factor.
    """

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self._made: dict[tuple[int, torch.device, torch.dtype], Tensor] = {}

    def forward(self, hr_NCHW: Tensor) -> Tensor:
        """Downscale (N, C, H, W) uint8 or float in 0…255 to (N, C, H/scale, W/scale) float in 0…255, rounded.

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


def to_device(batch: Batch, device: torch.device, degrade: nn.Module) -> tuple[Tensor, Tensor]:
    """Return LR and HR on the device, (N, 3, ·, ·) float32 in [-1, 1], channels last.

    Where LR is not stored it is made from the HR crop there. Then the outermost LR pixels come from mirrored
    instead of neighbouring HR pixels, the same way a picture's own edge does.

    Args:
        batch: uint8.
        device: where to.
        degrade: HR in 0…255 to LR in 0…255 (`Degrade`).
    """
    hr = _put(batch.hr, device)
    lr = degrade(hr) if batch.lr is None else _put(batch.lr, device)
    return lr / 127.5 - 1, hr / 127.5 - 1


def _put(images_NHWC: NDArray[np.uint8] | Tensor, device: torch.device) -> Tensor:
    """Move images to the device as float32 NCHW; the bytes travel, not the floats."""
    if isinstance(images_NHWC, Tensor):
        return images_NHWC.to(device).permute(0, 3, 1, 2).float()
    bytes_NHWC = torch.from_numpy(images_NHWC)
    if device.type == "cuda":
        bytes_NHWC = bytes_NHWC.pin_memory().to(device, non_blocking=True)
    return bytes_NHWC.permute(0, 3, 1, 2).float()

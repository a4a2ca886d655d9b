"""From a batch of bytes to what networks take."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sr_model.data.stream import Batch


def to_device(batch: Batch, device: torch.device, degrade: nn.Module) -> tuple[Tensor, Tensor]:
    """LR and HR on the device, (N, 3, ·, ·) float32 in [-1, 1], channels last.

    Where LR is not stored it is made from the HR crop there. Then the outermost LR pixels come from mirrored
    instead of neighbouring HR pixels, the same way a picture's own edge does.

    Args:
        batch: uint8.
        device: where to.
        degrade: HR in 0…255 to LR in 0…255 (`sr_model.data.degrade_batches.Degrade`).
    """
    hr = _put(batch.hr, device)
    lr = degrade(hr) if batch.lr is None else _put(batch.lr, device)
    return lr / 127.5 - 1, hr / 127.5 - 1


def _put(images_NHWC: NDArray[np.uint8] | Tensor, device: torch.device) -> Tensor:
    """As float32 NCHW; the bytes travel, not the floats."""
    if isinstance(images_NHWC, Tensor):
        return images_NHWC.to(device).permute(0, 3, 1, 2).float()
    bytes_NHWC = torch.from_numpy(images_NHWC)
    if device.type == "cuda":
        bytes_NHWC = bytes_NHWC.pin_memory().to(device, non_blocking=True)
    return bytes_NHWC.permute(0, 3, 1, 2).float()

"""A stream of patches by its cache: read from files all the time, or once into the device's memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakerank.cli.errors import UserError
from sr_model.data.stream import PatchStream

if TYPE_CHECKING:
    import torch

CACHES = ("none", "device")


def open_stream(
    path: str | Path, *, cache: str = "none", device: torch.device | None = None, **settings: Any
) -> PatchStream:
    """Open a folder of patches as a stream of batches.

    Args:
        path: a folder that make_patches finished (its `train` or `valid`).
        cache: `device` reads everything once and keeps it in the device's memory; the batches are the same.
        device: which, for that; None: the CPU.
        settings: as `PatchStream` takes them.

    Raises:
        UserError: see `PatchStream`; or an unknown cache.
    """
    if cache not in CACHES:
        raise UserError(f"cache {cache}: must be one of {', '.join(CACHES)}")
    if cache == "none":
        return PatchStream(path, **settings)
    import torch  # optional: streaming from files needs no PyTorch, and neither does PatchStream

    from sr_model.data.resident import ResidentStream

    return ResidentStream(path, device=device or torch.device("cpu"), **settings)

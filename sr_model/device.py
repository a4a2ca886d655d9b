"""Where a command computes."""

from __future__ import annotations

import torch

from lakerank.cli.errors import UserError


def pick_device(wanted: str) -> str:
    """`auto`, `cpu` or `cuda` to what PyTorch is told.

    Raises:
        UserError: a GPU is wanted where there is none.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise UserError("--device cuda: PyTorch sees no GPU here; use --device cpu")
    return "cuda" if there and wanted != "cpu" else "cpu"

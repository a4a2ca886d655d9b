"""Generators on whole pictures: picture files, tiles, the upscaler, and the settings of every way to upscale.

Imports no PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass

from lakerank.cli.settings import Range, Settings, flag
from sr_model.zoo import CHECKPOINT_HELP, DEFAULT

SMALLEST_TILE = 32  # below it the margin is nearly all of the work


@dataclass(frozen=True)
class InferenceSettings(Settings):
    """Settings of a generator that upscales pictures."""

    checkpoint: str = flag(DEFAULT, CHECKPOINT_HELP, metavar="NAME|FILE")
    tile: int = flag(
        256,
        "side of a tile in input pixels, 0: whole pictures; halved where GPU memory ends",
        check=lambda v: v == 0 or v >= SMALLEST_TILE,
        must=f"be 0 (whole pictures) or at least {SMALLEST_TILE}",
    )
    self_ensemble: bool = flag(False, "mean of 8 turned and mirrored inputs: a little better, 8 times slower")
    quality: int = flag(95, "of jpeg and webp; webp is lossless at 100", within=Range(1, 100))

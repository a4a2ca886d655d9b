"""Pairs of LR and HR pictures from a folder, and what a generator makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lakerank.cli.errors import UserError
from sr_model.degrade import check_method, downscale, modcrop
from sr_model.images import SUFFIXES, BrokenImage, decode_rgb, read_file
from sr_model.metrics import MetricSettings, Score, make_metrics
from sr_model.nets.ensemble import SelfEnsemble
from sr_model.training.samples import to_uint8

_LR_FOLDERS = ("LR_x{0}", "LR_bicubic/X{0}", "LR_bicubic", "X{0}", "LR")


_LARGE = 1 << 18  # LR pixels of a picture that is enlarged whole; 512 × 512 becomes 2048 × 2048


@dataclass(frozen=True)
class Pair:
    """Hold a picture to be made, and what it is made from.

    Attributes:
        name: the file's, without what marks it as HR.
        lr: (h, w, 3) uint8 RGB.
        hr: (scale·h, scale·w, 3) uint8 RGB.
    """

    name: str
    lr: NDArray[np.uint8]
    hr: NDArray[np.uint8]


def load_pairs(folder: Path | str, scale: int = 4, degradation: str = "matlab") -> list[Pair]:
    """Load all pairs of a folder, sorted by name.

    Three layouts are known:

    - `x_HR.png` with `x_LR.png` beside it, as Set5 and Set14 come;
    - folders `HR` (or one whose name ends in `_HR`, as DIV2K's) and `LR_x4`, `LR_bicubic/X4`, …; an LR picture is
      called as its HR one, `x4` may follow;
    - HR pictures alone: LR is made from them.

    HR is cut to multiples of the scale. Grey pictures become RGB with three equal channels.

    Args:
        folder: where they are.
        scale: the factor.
        degradation: how LR is made where it is not given: `matlab` or `pillow`.

    Raises:
        UserError: no folder, no pictures, a broken one, or LR and HR that do not fit.
    """
    folder = Path(folder)
    check_method(degradation)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with HR pictures (or HR and LR)")
    pairs = [_pair(name, hr, lr, scale, degradation) for name, hr, lr in _found(folder, scale)]
    if not pairs:
        raise UserError(f"{folder}: holds no pictures ({', '.join(SUFFIXES)})")
    return pairs


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _found(folder: Path, scale: int) -> list[tuple[str, Path, Path | None]]:
    """List name, HR file, and LR file if there is one."""
    here = _pictures(folder)
    marked = [path for path in here if path.stem.endswith("_HR")]
    if marked:
        return [(path.stem.removesuffix("_HR"), path, _beside(path)) for path in marked]
    if here:
        return [(path.stem, path, None) for path in here]
    hr_folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.split("_")[-1] == "HR")
    if not hr_folders:
        return []
    stem = hr_folders[0].name.removesuffix("HR")
    lr_folders = [folder / (stem + name.format(scale)) for name in _LR_FOLDERS]
    lr_folder = next((path for path in lr_folders if path.is_dir() and _pictures(path)), None)
    return [(path.stem, path, _named_alike(path, lr_folder, scale)) for path in _pictures(hr_folders[0])]


def _beside(hr: Path) -> Path | None:
    lr = hr.with_name(hr.stem.removesuffix("_HR") + "_LR" + hr.suffix)
    return lr if lr.is_file() else None


def _named_alike(hr: Path, lr_folder: Path | None, scale: int) -> Path | None:
    if lr_folder is None:
        return None
    for path in _pictures(lr_folder):
        if path.stem in (hr.stem, f"{hr.stem}x{scale}"):
            return path
    raise UserError(f"{hr}: has no LR picture in {lr_folder}; add it, or remove that folder so that LR is made")


def _pair(name: str, hr_path: Path, lr_path: Path | None, scale: int, degradation: str) -> Pair:
    hr = modcrop(_read(hr_path), scale)
    if min(hr.shape[:2]) < 1:
        raise UserError(f"{hr_path}: smaller than {scale} × {scale} pixels; remove it")
    lr = _read(lr_path) if lr_path else downscale(hr, scale, degradation)
    if (lr.shape[0] * scale, lr.shape[1] * scale) != hr.shape[:2]:
        raise UserError(
            f"{lr_path}: is {lr.shape[1]} × {lr.shape[0]}, but {hr_path.name} is {hr.shape[1]} × {hr.shape[0]}; "
            f"LR must be {scale} times smaller"
        )
    return Pair(name, lr, hr)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return decode_rgb(read_file(path))
    except (BrokenImage, OSError) as error:
        raise UserError(f"{path}: cannot be used ({error}); repair or remove it") from error


def super_resolve(generator: nn.Module, lr_HWC: NDArray[np.uint8], self_ensemble: bool = False) -> NDArray[np.uint8]:
    """Upscale a picture by the generator, on the generator's device; large ones tile by tile.

    Args:
        generator: in evaluation mode.
        lr_HWC: (h, w, 3) uint8 RGB.
        self_ensemble: see `SelfEnsemble`.

    Returns:
        (scale·h, scale·w, 3) uint8 RGB.
    """
    device = next(generator.parameters()).device
    x = torch.from_numpy(lr_HWC.astype(np.float32)).permute(2, 0, 1)[None].to(device) / 127.5 - 1
    with torch.inference_mode():
        made = _upscaled(SelfEnsemble(generator) if self_ensemble else generator, x)
    sr_HWC: NDArray[np.uint8] = to_uint8(made)[0]
    return sr_HWC


def _upscaled(generator: nn.Module, x_NCHW: Tensor) -> Tensor:
    if x_NCHW.shape[2] * x_NCHW.shape[3] <= _LARGE:
        out: Tensor = generator(x_NCHW)
        return out
    from sr_model.inference.tiles import (
        upscale_tiled,  # the few large pictures pay for it, not every start of a training
    )

    tile = 0 if getattr(generator, "whole", False) else 256
    made = upscale_tiled(generator, x_NCHW[0].permute(1, 2, 0).float().cpu().numpy(), tile)
    return torch.from_numpy(np.ascontiguousarray(made.transpose(2, 0, 1)))[None]


def validate(
    generator: nn.Module, pairs: Sequence[Pair], names: Sequence[str] = ("psnr_y", "ssim_y"), border: int = 4
) -> dict[str, float]:
    """Compute the mean scores of a generator over pairs; its mode is as before afterwards.

    Args:
        generator: LR to HR.
        pairs: from `load_pairs`.
        names: keys of `METRICS`.
        border: pixels cut off on each side before measuring.
    """
    scores, _ = make_metrics(names, MetricSettings(border))
    training = generator.training
    generator.eval()
    try:
        rows = [score_one(scores, pair.hr, super_resolve(generator, pair.lr)) for pair in pairs]
    finally:
        generator.train(training)
    return mean_scores(rows)


def score_one(scores: Mapping[str, Score], hr: NDArray[np.uint8], sr: NDArray[np.uint8]) -> dict[str, float]:
    """Compute every metric of one picture."""
    return {name: score(hr, sr) for name, score in scores.items()}


def mean_scores(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Compute the mean of each metric over the pictures it could be computed for (some are too small for NIQE)."""
    means: dict[str, float] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows if not math.isnan(row[name])]
        means[name] = sum(values) / len(values) if values else math.nan
    return means

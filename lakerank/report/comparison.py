"""The picture of recommenders side by side: a PNG with a panel for each metric."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lakerank.report.words import decimals

COLUMNS = 4
SETTINGS: Any = {"axes.spines.top": False, "axes.spines.right": False, "grid.alpha": 0.3, "axes.axisbelow": True}
INK, FIRST = "#2368b0", "#777777"


def comparison_png(scores: Sequence[tuple[str, str, float, tuple[float, float] | None]], title: str) -> bytes:
    """Each metric of each model as a point, with its interval.

    Args:
        scores: model, metric, value, interval or None. Models and metrics stand in the order they come; the first
            model, which the others are compared with, is grey and a line through all.
        title: above all.
    """
    models = list(dict.fromkeys(model for model, *_ in scores))
    metrics = list(dict.fromkeys(metric for _, metric, *_ in scores))
    found = {(metric, model): (value, within) for model, metric, value, within in scores}
    rows = -(-len(metrics) // COLUMNS)
    with matplotlib.rc_context(SETTINGS):
        canvas = Canvas(figsize=(3.1 * COLUMNS, (0.9 + 0.28 * len(models)) * rows + 0.4), layout="constrained")
        canvas.suptitle(title)
        grid = canvas.subplots(rows, COLUMNS, sharey=True, squeeze=False)
        for axes, metric in zip(grid.flat, metrics, strict=False):
            for place, model in enumerate(models):
                if (metric, model) not in found:
                    continue
                value, within = found[metric, model]
                colour = INK if place else FIRST
                if within is not None and np.isfinite(within).all():
                    axes.plot(within, (place, place), color=colour, linewidth=1.6)
                axes.plot([value], [place], color=colour, marker="o", markersize=5)
                if not place:
                    axes.axvline(value, color=FIRST, alpha=0.5, linewidth=0.8, linestyle=(0, (2, 3)))
            axes.set_title(metric, fontsize=10)
            axes.grid(axis="x")
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: decimals(value) if value else "0"))
            axes.set_yticks(range(len(models)), models)
        for axes in grid.flat[len(metrics) :]:
            axes.set_visible(False)
        grid.flat[0].set_ylim(len(models) - 0.5, -0.5)
        file = io.BytesIO()
        canvas.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()

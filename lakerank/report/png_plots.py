"""PNG files that jobs write beside their tables: recommenders side by side, and the trials of a search for settings."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lakerank.report.page import decimals

COLUMNS = 4
SETTINGS: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
BLUE, ORANGE, GREY = "#2368b0", "#b8520d", "#777777"
# Colour and mark of each end that a trial can come to.
STYLES = {"complete": (BLUE, "o"), "pruned": (ORANGE, "x"), "failed": (GREY, "v")}


def comparison_png(scores: Sequence[tuple[str, str, float, tuple[float, float] | None]], title: str) -> bytes:
    """Draw each metric of each model as a point, with its interval.

    Args:
        scores: model, metric, value, interval or None. Models and metrics stand in the order they come; the first
            model, which the others are compared with, is grey and a line through all.
        title: above all.

    Returns:
        A PNG file.
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
            for row, model in enumerate(models):
                if (metric, model) not in found:
                    continue
                value, within = found[metric, model]
                colour = BLUE if row else GREY
                if within is not None and np.isfinite(within).all():
                    axes.plot(within, (row, row), color=colour, linewidth=1.6)
                axes.plot([value], [row], color=colour, marker="o", markersize=5)
                if not row:
                    axes.axvline(value, color=GREY, alpha=0.5, linewidth=0.8, linestyle=(0, (2, 3)))
            axes.set_title(metric, fontsize=10)
            axes.grid(axis="x")
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: decimals(value) if value else "0"))
            axes.set_yticks(range(len(models)), models)
        for axes in grid.flat[len(metrics) :]:
            axes.set_visible(False)
        grid.flat[0].set_ylim(len(models) - 0.5, -0.5)
        return _png(canvas)


def trials_png(
    states: Sequence[str],
    values: Sequence[float | None],
    settings: Mapping[str, Sequence[float]],
    logarithmic: Collection[str],
) -> bytes:
    """Draw the validation RMSE of every trial, in the order they ran and against each setting.

    Failed trials, and those far above the median, stand on the upper edge.

    Args:
        states: how each trial ended: complete, pruned or failed.
        values: lowest validation RMSE of each, in rating units; None if it finished no epoch.
        settings: name → its value in each trial.
        logarithmic: names of settings whose axis is logarithmic.

    Returns:
        A PNG file.
    """
    rmse = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    rmse[np.array(states) == "failed"] = np.nan
    known = rmse[np.isfinite(rmse)]
    best, middle = (float(known.min()), float(np.median(known))) if len(known) else (0.0, 1.0)
    room = max(3 * (middle - best), 0.01)  # in a narrow field the differences that matter could not be seen
    top = best + min(room, max(float(known.max()) - best, 0.01) if len(known) else 1.0)
    drawn = np.minimum(np.where(np.isfinite(rmse), rmse, top), top)
    complete = np.array(states) == "complete"
    numbers = np.arange(1, len(states) + 1)
    panels = {"trial": numbers, **{name: np.array(column) for name, column in settings.items()}}
    rows = -(-len(panels) // COLUMNS)
    with matplotlib.rc_context(SETTINGS):
        canvas = Canvas(figsize=(3.0 * COLUMNS, 2.9 * rows), layout="constrained")
        grid = canvas.subplots(rows, COLUMNS, sharey=True, squeeze=False)
        for axes, (name, xs) in zip(grid.flat, panels.items(), strict=False):
            for state, (colour, mark) in STYLES.items():
                those = np.array(states) == state
                if those.any():
                    axes.scatter(xs[those], drawn[those], color=colour, marker=mark, s=22, label=state)
            axes.set_xlabel(name.replace("_", " "))
            axes.grid(axis="y")
            if name in logarithmic:
                axes.set_xscale("log")
                wide = max(xs) > 30 * min(xs)  # then there is no room for more than powers of ten
                axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: decimals(value)))
                axes.xaxis.set_minor_formatter(NullFormatter())
        first = grid.flat[0]
        if complete.any():
            so_far = np.minimum.accumulate(np.where(complete, rmse, np.inf))
            found = np.isfinite(so_far)
            first.step(numbers[found], np.minimum(so_far[found], top), where="post", color=BLUE, label="best")
        first.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        first.set_ylim(best - 0.05 * (top - best), top + 0.05 * (top - best))
        first.legend()
        for row in grid:
            row[0].set_ylabel("validation RMSE")
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        return _png(canvas)


def _png(canvas: Canvas) -> bytes:
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()

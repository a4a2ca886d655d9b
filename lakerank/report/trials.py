"""The picture of a search for settings: a PNG, to be looked at without the report."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lakerank.report.words import decimals

# Colour and mark of each end that a trial can come to.
STYLES = {"complete": ("#2368b0", "o"), "pruned": ("#b8520d", "x"), "failed": ("#777777", "v")}
COLUMNS = 4
SETTINGS: Any = {"axes.spines.top": False, "axes.spines.right": False, "grid.alpha": 0.3, "legend.frameon": False}


def trials_png(
    states: Sequence[str],
    values: Sequence[float | None],
    settings: Mapping[str, Sequence[float]],
    logarithmic: Collection[str],
) -> bytes:
    """Validation RMSE of every trial, in the order they ran and against each setting.

    Failed trials, and those far above the median, stand on the upper edge.

    Args:
        states: how each trial ended: complete, pruned or failed.
        values: lowest validation RMSE of each, in rating units; None if it finished no epoch.
        settings: name → its value in each trial.
        logarithmic: names of settings whose axis is logarithmic.
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
        for axes, (name, places) in zip(grid.flat, panels.items(), strict=False):
            for state, (colour, mark) in STYLES.items():
                those = np.array(states) == state
                if those.any():
                    axes.scatter(places[those], drawn[those], color=colour, marker=mark, s=22, label=state)
            axes.set_xlabel(name.replace("_", " "))
            axes.grid(axis="y")
            if name in logarithmic:
                axes.set_xscale("log")
                wide = max(places) > 30 * min(places)  # then there is no room for more than powers of ten
                axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: decimals(value)))
                axes.xaxis.set_minor_formatter(NullFormatter())
        first = grid.flat[0]
        if complete.any():
            so_far = np.minimum.accumulate(np.where(complete, rmse, np.inf))
            found = np.isfinite(so_far)
            first.step(numbers[found], np.minimum(so_far[found], top), where="post", color="#2368b0", label="best")
        first.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        first.set_ylim(best - 0.05 * (top - best), top + 0.05 * (top - best))
        first.legend()
        for row in grid:
            row[0].set_ylabel("validation RMSE")
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        file = io.BytesIO()
        canvas.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()

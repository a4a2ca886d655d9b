"""Pictures of the speed benchmark, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lfm_speed_engines import Run
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

COLOURS = {"ours": "#0072b2", "als": "#d55e00", "libmf": "#009e73"}  # Okabe and Ito's, safe for the colour-blind
LABELS = {"ours": "ours", "als": "MLlib ALS", "libmf": "LIBMF"}
STYLES = ("-", "--", ":", "-.")


def draw_curves(runs: Sequence[Run], oracle: float | None, file: Path) -> None:
    """Test RMSE over seconds: a line per engine and number of factors; each point of a peer is a run of its own."""
    figure, axes = _axes("seconds, from Delta to Delta (LIBMF: training alone)", "test RMSE")
    ranks = sorted({run.settings["factors"] for run in runs})
    for (engine, factors), group in groupby(runs, lambda run: (run.engine, run.settings["factors"])):
        points = sorted(point for run in group for point in run.curve)
        seconds, rmse = zip(*points, strict=True)
        style = STYLES[ranks.index(factors) % len(STYLES)]
        label = f"{LABELS[engine]}, K = {factors}"
        axes.plot(seconds, rmse, style, marker="o", markersize=3, color=COLOURS[engine], label=label)
    if oracle is not None:
        axes.axhline(oracle, color="black", linewidth=1, label="the synthetic truth")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


def draw_memory(mib: Sequence[float], file: Path) -> None:
    """Plot resident memory after each epoch."""
    figure, axes = _axes("epoch", "resident memory of driver and workers, MiB")
    axes.plot(range(1, len(mib) + 1), mib, color=COLOURS["ours"])
    axes.set_ylim(bottom=0)
    figure.savefig(file, dpi=150)


def _axes(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure, axes

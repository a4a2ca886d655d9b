"""The picture of bench_lfm_quality.py: a line for each contestant, a dot for each fold, the mean as a stroke."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

OURS, PEER = "#c0392b", "#34495e"


def draw(found: dict[str, Any], target: Path, what: str) -> None:
    """Write a PNG, the lowest RMSE on top.

    Args:
        found: contestants as `bench_lfm_quality.measure` returns them.
        target: the file.
        what: the data, for the title.
    """
    lines = sorted(found.values(), key=lambda line: -line["rmse_known"])
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for y, line in enumerate(lines):
        colour = OURS if line["ours"] else PEER
        scores = [fold["rmse_known"] for fold in line["folds"]]
        axes.plot(scores, [y] * len(scores), "o", color=colour, alpha=0.45, markeredgewidth=0)
        axes.plot([line["rmse_known"]] * 2, [y - 0.3, y + 0.3], color=colour, linewidth=2)
        axes.annotate(f"{line['rmse_known']:.4f}", (line["rmse_known"], y + 0.32), ha="center", fontsize=8)
    axes.set_yticks(range(len(lines)), [line["title"] for line in lines])
    axes.set_ylim(-0.6, len(lines) - 0.2)
    axes.set_xlabel("test RMSE of each fold, over ratings whose user and item are in training (left is better)")
    axes.set_title(what)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=150)

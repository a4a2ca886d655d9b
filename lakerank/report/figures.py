"""Figures of the report: plain numbers become an SVG that reads well on light and on dark pages.

Matplotlib draws with placeholder colours; in the SVG they become `currentColor` and the page's CSS variables,
so one picture follows the reader's colour scheme. Text stays text, in the page's own font.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from lakerank.report.page import Figure, decimals, percent, power, short, thousands, tidy, tidy_middle, width_em

# Placeholders that no palette uses, and what they become. `--series-n` are set in the page's CSS.
INK, FIRST, SECOND, THIRD = "#010203", "#010204", "#010205", "#010206"
COLOURS = {INK: "currentColor", FIRST: "var(--series-1)", SECOND: "var(--series-2)", THIRD: "var(--series-3)"}
# 5.2 in are 374 SVG units: on a phone (390 px) the text comes out near 9 px, at half a desktop page larger.
NARROW, WIDE = 5.2, 9.4
FONT = 10.0
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # titles may hold dollar signs
    "font.size": FONT,
    "axes.labelsize": FONT,
    "legend.fontsize": FONT,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": FONT,
    "axes.unicode_minus": True,
    "grid.linewidth": 0.6,
    "grid.alpha": 0.15,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}
FEW = 40  # points that can still carry a marker each
LABEL = 30  # characters of a name beside a bar

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def learning_curve(
    epochs: Sequence[int], curves: Mapping[str, Sequence[float | None]], kept: int | None, measure: str = "RMSE"
) -> Figure:
    """Draw the RMSE, or the nDCG@10, of each epoch.

    Args:
        epochs: from 1.
        curves: values by part (train, valid, test); parts without any value are left out.
        kept: the epoch whose factors were kept, if known.
        measure: RMSE, or one of which more is better.
    """
    styles = {"train": (SECOND, "--", "s"), "valid": (THIRD, ":", "^"), "test": (FIRST, "-", "o")}
    shown = {part: _numbers(values) for part, values in curves.items()}
    shown = {part: values for part, values in shown.items() if np.isfinite(values).any()}
    with _drawing("learning-curve") as drawing:
        axes = drawing.axes
        for part, values in shown.items():
            colour, dashes, marker = styles[part]
            dots = {"marker": marker, "markersize": 3.5} if len(epochs) <= FEW else {}
            axes.plot(epochs, values, color=colour, linestyle=dashes, linewidth=1.6, label=part, **dots)
        if kept is not None and kept in epochs:
            axes.axvline(kept, color=INK, alpha=0.4, linewidth=0.8, linestyle=(0, (2, 3)))
        everything = np.concatenate([values[np.isfinite(values)] for values in shown.values()] or [np.ones(1)])
        if everything.min() > 0 and everything.max() > 10 * everything.min():
            _log_axis(axes, "y", decimals)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch")
        axes.set_ylabel("RMSE, in rating units" if measure == "RMSE" else measure)
        axes.grid(axis="y")
        if len(shown) > 0:
            axes.legend()
    said, error = [], measure == "RMSE"
    for part, values in shown.items():
        best = int(np.nanargmin(values) if error else np.nanargmax(values))
        end = f"{decimals(values[-1])} at the end" if np.isfinite(values[-1]) else "no number at the end"
        extreme = "lowest" if error else "highest"
        said.append(f"{part} {end}, {extreme} {decimals(values[best])} in epoch {epochs[best]}")
    gap = ""
    if error and "test" in shown and int(np.nanargmin(shown["test"])) < len(epochs) - 1:
        gap = " The test curve has turned up while the train curve falls: the last epochs fit noise."
    mark = f" The dotted line marks epoch {kept}, whose factors were kept." if kept in epochs else ""
    told = f"{measure}: {'; '.join(said) or 'no value'}. {'Lower' if error else 'Higher'} is better.{gap}{mark}"
    return drawing.done("Error per epoch" if error else "Ranking per epoch", told)


def epoch_seconds(epochs: Sequence[int], seconds: Sequence[float], rates: Sequence[float]) -> Figure:
    """Draw the wall-clock time of each epoch; `rates` are ratings visited per second."""
    with _drawing("epoch-seconds") as drawing:
        axes = drawing.axes
        if len(epochs) <= FEW:
            axes.bar(epochs, seconds, color=FIRST, width=0.7)
        else:
            axes.plot(epochs, seconds, color=FIRST, linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch")
        axes.set_ylabel("seconds")
        axes.grid(axis="y")
    first = ""
    if len(seconds) > 1 and seconds[0] > 1.5 * float(np.median(seconds[1:])):
        first = f" The first took {decimals(seconds[0])} s: work done once counts in it."
    return drawing.done(
        "Time per epoch",
        f"{decimals(float(np.sum(seconds)))} s in all, {decimals(float(np.median(seconds)))} s in the median epoch; "
        f"at best {thousands(round(max(rates)))} ratings a second.{first}",
    )


def rating_histogram(bars: Sequence[tuple[float, float, int]], mean: float) -> Figure:
    """Draw how often each rating was given.

    Args:
        bars: (lowest, highest, how many); lowest = highest where a bar stands for one value.
        mean: the mean rating.
    """
    low, high = np.array([bar[0] for bar in bars]), np.array([bar[1] for bar in bars])
    counts = np.array([bar[2] for bar in bars])
    values = bool((low == high).all())
    middles = (low + high) / 2
    step = float(np.diff(middles).min()) if len(bars) > 1 else 1.0
    with _drawing("rating-histogram") as drawing:
        axes = drawing.axes
        axes.bar(middles, counts, width=(0.8 if values else 0.95) * step, color=FIRST)
        if values and len(bars) <= 12:
            axes.set_xticks(middles, [f"{value:g}" for value in middles])
        axes.axvline(mean, color=INK, alpha=0.6, linewidth=1, linestyle=(0, (2, 3)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y)))
        axes.set_xlabel("rating")
        axes.set_ylabel("ratings given")
        axes.grid(axis="y")
    top = int(np.argmax(counts))
    name = f"{low[top]:g}" if values else f"{low[top]:.3g} to {high[top]:.3g}"
    return drawing.done(
        "How people rate",
        f"The most frequent rating is {name}, {percent(counts[top] / counts.sum())} of all; "
        f"the mean is {mean:.2f} (dotted line).",
    )


def activity(per_user: Sequence[tuple[int, int]], per_item: Sequence[tuple[int, int]]) -> Figure:
    """Draw how many users gave, and items got, at least so many ratings.

    Args:
        per_user: (ratings, how many users have exactly so many), in any order.
        per_item: the same for items.
    """
    with _drawing("activity") as drawing:
        said = [
            _at_least(drawing.axes, pairs, what, i)
            for i, (what, pairs) in enumerate((("users", per_user), ("items", per_item)))
        ]
        _both_logarithmic(drawing.axes, "ratings, at least", "users or items that have them")
    (user_median, user_share), (item_median, item_share) = said
    return drawing.done(
        "Few have many ratings",
        f"Half of the users gave {thousands(user_median)} ratings or more, half of the items got "
        f"{thousands(item_median)} or more. The busiest 1 % of users gave {percent(user_share)} of all ratings, the "
        f"most rated 1 % of items got {percent(item_share)}. Both axes are logarithmic.",
    )


def degrees(links_in: Sequence[tuple[int, int]], links_out: Sequence[tuple[int, int]]) -> Figure:
    """Draw how many nodes have at least so many links.

    Args:
        links_in: (links, how many nodes are linked exactly so often), in any order; nodes without are not listed.
        links_out: the same for links of a node to others.
    """
    with _drawing("degrees") as drawing:
        (median_in, share_in), (median_out, _) = (
            _at_least(drawing.axes, pairs, what, i)
            for i, (what, pairs) in enumerate((("links to a node", links_in), ("links of a node", links_out)))
        )
        _both_logarithmic(drawing.axes, "links, at least", "nodes that have them")
    return drawing.done(
        "Few have many links",
        f"Half of the nodes that are linked at all are linked {thousands(median_in)} times or more, half of those that "
        f"link do so {thousands(median_out)} times or more. The most linked 1 % get {percent(share_in)} of all links. "
        "Both axes are logarithmic: a straight line is a power law, as webs have it.",
    )


def _at_least(axes: Any, pairs: Sequence[tuple[int, int]], what: str, series: int) -> tuple[int, float]:
    """Draw how many have at least n; return the median holder's n, and the share of all that the top 1 % have."""
    n, holders = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T
    at_least = holders[::-1].cumsum()[::-1]
    median = int(n[np.searchsorted(holders.cumsum(), holders.sum() / 2)])
    few = max(1, round(holders.sum() / 100))
    top = np.minimum(holders, np.maximum(0, few - (at_least - holders)))
    seen = np.unique(np.geomspace(1, len(n), 200).round().astype(int)) - 1
    chosen = np.union1d(seen, len(n) - 1 - seen)
    colour, dashes = ((FIRST, "-"), (SECOND, "--"))[series]
    dots = {"marker": "o", "markersize": 3} if len(chosen) <= FEW else {}
    axes.plot(n[chosen], at_least[chosen], color=colour, linestyle=dashes, linewidth=1.6, label=what, **dots)
    return median, float((top * n).sum() / (holders * n).sum())


def _both_logarithmic(axes: Any, across: str, upwards: str) -> None:
    _log_axis(axes, "x", power)
    _log_axis(axes, "y", power)
    axes.set_xlabel(across)
    axes.set_ylabel(upwards)
    axes.grid()
    axes.legend()


def sr_curve(seconds: Sequence[float], psnr: Sequence[float]) -> Figure:
    """Draw the validation PSNR of a super-resolution network (dB, on Y) over the seconds it was trained for."""
    with _drawing("sr-curve") as drawing:
        axes = drawing.axes
        dots = {"marker": "o", "markersize": 3} if len(seconds) <= FEW else {}
        axes.plot(seconds, psnr, color=FIRST, linewidth=1.6, **dots)
        axes.set_xlabel("seconds of training")
        axes.set_ylabel("validation PSNR, dB")
        axes.grid(axis="y")
    best = int(np.argmax(psnr))
    return drawing.done(
        "Learning curve",
        f"{psnr[-1]:.2f} dB after {decimals(seconds[-1])} s; the best, {psnr[best]:.2f} dB, after "
        f"{decimals(seconds[best])} s. Higher is better.",
    )


def top_ranks(names: Sequence[str], ranks: Sequence[float], nodes: int) -> Figure:
    """Draw the nodes with the highest PageRank, best first; `nodes` is how many there are in all."""
    labels = [_label(name) for name in names]
    height = 0.6 + 0.2 * len(names)  # inches
    # Measured by us: Matplotlib's font lacks many scripts and would reserve too little room for them.
    left = (max(map(width_em, labels)) * FONT + 6) / 72 / NARROW
    with _drawing("top-ranks", height=height, layout=None) as drawing:
        axes = drawing.canvas.add_axes((left, 0.5 / height, 0.99 - left, 1 - 0.5 / height))
        rows = np.arange(len(names))
        axes.barh(rows, ranks, color=FIRST, height=0.72)
        axes.set_yticks(rows, labels)
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set_xlim(0, max(ranks) * 1.2)  # room for the numbers
        for row, rank in zip(rows, ranks, strict=True):
            axes.annotate(
                f"{rank:.3g}", (rank, row), (3, 0), textcoords="offset points", va="center", size=FONT - 1, color=INK
            )
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("PageRank (probability)")
        axes.grid(axis="x")
    return drawing.done(
        "Highest ranks",
        f"The {thousands(len(names))} highest of {thousands(nodes)} nodes hold {percent(float(np.sum(ranks)))} of all "
        f"rank. Each bar is the probability of finding the random surfer there; the average node has "
        f"{1 / nodes:.3g}.",
    )


def convergence(iterations: Sequence[int], deltas: Sequence[float]) -> Figure:
    """Draw how much all ranks together changed in each iteration."""
    changes = _numbers(deltas)
    drawn = changes > 0  # a logarithmic axis has no zero
    with _drawing("convergence") as drawing:
        axes = drawing.axes
        dots = {"marker": "o", "markersize": 3} if len(iterations) <= FEW else {}
        axes.plot(np.array(iterations)[drawn], changes[drawn], color=FIRST, linewidth=1.6, **dots)
        if drawn.any():
            _log_axis(axes, "y", power)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("iteration")
        axes.set_ylabel("sum of changes (L1)")
        axes.grid(axis="y")
    pace = ""
    positive = changes[drawn]
    if len(positive) > 2:
        tail = positive[len(positive) // 2 :] if len(positive) > 4 else positive
        factor = float((tail[-1] / tail[0]) ** (1 / (len(tail) - 1)))
        pace = f" Towards the end each iteration leaves {percent(factor)} of the change before it."
    return drawing.done(
        "Convergence",
        f"After {thousands(len(iterations))} iterations the ranks still changed by {decimals(float(changes[-1]))} in "
        f"sum.{pace} A straight line downwards is what to expect.",
    )


def factor_map(names: Sequence[str], factors: NDArray[np.floating[Any]], weights: Sequence[float]) -> Figure:
    """Draw items placed by the two directions in which their factors differ most.

    Args:
        names: of the items, most important first: there is not room for all labels.
        factors: items × K.
        weights: what a dot's area stands for (number of ratings), above 0.
    """
    points, shares = principal_axes(factors)
    clean = [tidy(name, 200) for name in names]
    ends = [int(i) for axis in (0, 1) for i in (points[:, axis].argmin(), points[:, axis].argmax())]
    size = np.array(weights, dtype=float)
    with _drawing("factor-map", WIDE, 6.0, layout=None) as drawing:
        axes = drawing.canvas.add_axes((0.075, 0.085, 0.92, 0.905))
        for i, (x, y) in enumerate(points):
            area = 8 + 60 * size[i] / size.max()
            axes.scatter([x], [y], s=area, color=FIRST, alpha=0.65, linewidths=0, gid=f"dot-{i}")
        axes.margins(0.06)
        axes.set_xlabel(f"first direction ({percent(shares[0])} of the variance)")
        axes.set_ylabel(f"second direction ({percent(shares[1])} of the variance)")
        axes.grid()
        # The extremes first, as the caption names them; then the most rated.
        order = list(dict.fromkeys((*ends, *range(len(names)))))
        placed = _place_labels(axes, [_label(name) for name in names], points, order)
    tips = {f"dot-{i}": name for i, name in enumerate(clean)}
    left, right, low, high = (clean[i] for i in ends)
    return drawing.done(
        "Items in the space of taste",
        f"Items that are liked by the same people lie close together. Shown are the {thousands(len(names))} most rated "
        f"items, larger dots for more ratings; {placed} have their name beside them, where there is room, the others "
        f"show it under the pointer. Far left: {left}; far right: {right}; lowest: {low}; highest: {high}.",
        wide=True,
        tips=tips,
    )


def principal_axes(factors: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Project factors to two dimensions (PCA by SVD), the sign fixed so that repeats look alike.

    Returns:
        Points (items × 2) and the two shares of the variance.
    """
    centred = np.asarray(factors, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    directions = np.vstack([directions, np.zeros((2, centred.shape[1]))])[:2]
    for direction in directions:
        if direction[np.abs(direction).argmax()] < 0:
            direction *= -1
    variance = lengths**2
    shares = [*(variance / variance.sum() if variance.sum() > 0 else variance), 0.0, 0.0]
    return centred @ directions.T, (float(shares[0]), float(shares[1]))


def _label(name: str) -> str:
    """Cut a name in the middle to the width of `LABEL` Latin letters."""
    clean = tidy(name, 200)
    per_letter = width_em(clean) / max(1, len(clean))
    return tidy_middle(clean, int(LABEL * width_em("x") / max(per_letter, width_em("x"))))


def _place_labels(axes: Any, names: Sequence[str], points: NDArray[np.float64], order: Sequence[int]) -> int:
    """Write the names that have room, in this order; return how many. Boxes are in points (1/72 in)."""
    axes.autoscale_view()  # limits are settled late, and transData alone does not ask for it
    dpi = 72 / axes.figure.dpi
    area = axes.get_window_extent()
    left, bottom, right, top = (edge * dpi for edge in (area.x0, area.y0, area.x1, area.y1))
    dots = axes.transData.transform(points) * dpi
    size = FONT - 1
    taken = [(x - 2.5, y - 2.5, x + 2.5, y + 2.5) for x, y in dots]
    placed = 0
    for i in order:
        name, (x, y) = names[i], dots[i]
        wide, high = width_em(name) * size, size * 1.15
        sides = (
            ((5.0, 0.0), "left", "center", (x + 4, y - high / 2)),
            ((-5.0, 0.0), "right", "center", (x - 4 - wide, y - high / 2)),
            ((0.0, 5.0), "center", "bottom", (x - wide / 2, y + 4)),
            ((0.0, -5.0), "center", "top", (x - wide / 2, y - 4 - high)),
            ((4.0, 4.0), "left", "bottom", (x + 3, y + 3)),
            ((4.0, -4.0), "left", "top", (x + 3, y - 3 - high)),
            ((-4.0, 4.0), "right", "bottom", (x - 3 - wide, y + 3)),
            ((-4.0, -4.0), "right", "top", (x - 3 - wide, y - 3 - high)),
        )
        for offset, across, along, (x0, y0) in sides:
            box = (x0, y0, x0 + wide, y0 + high)
            inside = x0 >= left and y0 >= bottom and box[2] <= right and box[3] <= top
            if inside and not any(_meet(box, other) for j, other in enumerate(taken) if j != i):
                axes.annotate(
                    name, points[i], offset, textcoords="offset points", ha=across, va=along, size=size, color=INK
                )
                taken.append(box)
                placed += 1
                break
    return placed


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Convert None to NaN, which is not drawn."""
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _log_axis(axes: Any, which: str, label: Any) -> None:
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    {"x": axes.set_xscale, "y": axes.set_yscale}[which]("log")
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    axis.set_minor_formatter(NullFormatter())


class _Drawing:
    """A canvas under way; `done` makes it a figure."""

    def __init__(self, name: str, width: float, height: float, layout: Literal["constrained"] | None) -> None:
        self.name = name
        self.canvas = Canvas(figsize=(width, height), layout=layout)
        self._axes: Any = None
        self.svg = ""

    @property
    def axes(self) -> Any:
        """The only axes of most figures."""
        if self._axes is None:
            self._axes = self.canvas.subplots()
        return self._axes

    def done(self, title: str, caption: str, wide: bool = False, tips: Mapping[str, str] | None = None) -> Figure:
        """Return the finished figure; `tips` are names shown when the pointer rests on an element."""
        return Figure(self.name, title, inline(self.svg, self.name, title, tips or {}), caption, wide)


@contextmanager
def _drawing(
    name: str, width: float = NARROW, height: float = 3.3, layout: Literal["constrained"] | None = "constrained"
) -> Iterator[_Drawing]:
    """Draw inside; at the end the SVG is written. Settings are not left behind for others."""
    settings: Any = {**SETTINGS, "svg.hashsalt": name}  # Any: typed by key since Matplotlib 3.11
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # The reader's browser has glyphs that Matplotlib's own font, used for measuring only, lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        drawing = _Drawing(name, width, height, layout)
        yield drawing
        file = io.StringIO()
        drawing.canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        drawing.svg = file.getvalue()


def inline(svg: str, name: str, title: str, tips: Mapping[str, str]) -> str:
    """Make an SVG file fit to stand in an HTML page with others.

    Its ids get the figure's name in front, so two figures cannot clash; namespaces, metadata (which hold
    addresses), fixed sizes, fonts and page-wide style rules go; placeholder colours become the page's.

    Args:
        svg: a file as Matplotlib writes it.
        name: unique on the page.
        title: read by screen readers in place of the picture.
        tips: id in the file → text shown under the pointer.
    """
    root = ElementTree.fromstring(svg)  # noqa: S314 - Matplotlib has just written it
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("}metadata") or child.tag.endswith("}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.attrib = {
            key.removeprefix(_XLINK): _attribute(key.removeprefix(_XLINK), value, name)
            for key, value in element.attrib.items()
            if not (key == "transform" and value.startswith("rotate(-0 "))
        }
        element.text = element.text if (element.text or "").strip() else None
        element.tail = None
        if tip := tips.get(element.get("id", "").removeprefix(f"{name}-")):
            label = ElementTree.Element("title")
            label.text = tip
            element.insert(0, label)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": title}
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    if key == "style":
        pairs = [part.split(":", 1) for part in value.split(";") if ":" in part]
        kept = [(k.strip(), COLOURS.get(v.strip(), v.strip())) for k, v in pairs if k.strip() != "font-family"]
        value = "; ".join(f"{k}: {v}" for k, v in itertools.chain.from_iterable(_font(k, v) for k, v in kept))
    return re.sub(r"url\(#", f"url(#{name}-", value)


def _font(key: str, value: str) -> list[tuple[str, str]]:
    """Rewrite fonts: older Matplotlib writes `font: 700 9px 'DejaVu Sans', …`: only the size is wanted."""
    if key != "font":
        return [(key, value)]
    return [("font-size", found.group(0))] if (found := re.search(r"[\d.]+px", value)) else []

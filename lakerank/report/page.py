"""The report as data, how numbers and names are written on it, and how it becomes one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

Cell = str | int | float | None
# The page's only script, there if it has a slider; its hash is in the page's policy, so no other can run.
SLIDE = """document.querySelectorAll(".compare input").forEach(slider =>
  slider.addEventListener("input", () => slider.parentNode.style.setProperty("--at", slider.value + "%")));
"""
# Marks that turn the direction of all text after them, also beyond the title they stand in.
_TURNS = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LONGEST_CELL = 300  # characters; a raw line of input or a title can be of any length


@dataclass(frozen=True)
class Figure:
    """A picture and what to read from it.

    Attributes:
        name: unique on the page; part of every id in the SVG.
        title: short, for the heading and for screen readers.
        svg: markup made by `figures`; it is put on the page as it is.
        caption: what to read from the picture, with its numbers.
        wide: whether it takes the page's whole width.
    """

    name: str
    title: str
    svg: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Slider:
    """Two pictures of the same size, one above the other; a slider says how much of each is seen.

    Attributes:
        title: heading, and what the slider is called.
        before: PNG, seen on the left.
        after: PNG, seen on the right.
        caption: what to look for.
    """

    title: str
    before: bytes
    after: bytes
    caption: str
    wide: bool = True


@dataclass(frozen=True)
class Table:
    """Rows to look up; None is shown as a dash.

    Attributes:
        title: heading of the table.
        head: column names.
        rows: cells; text is shortened if very long.
        caption: one or two sentences below the title.
        numbers: names of the columns to set right; their cells may be text that is a number already.
        folded: shown closed, to be opened by a click (the numbers behind a figure).
        wide: whether it takes the page's whole width.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    numbers: tuple[str, ...] = ()
    folded: bool = False
    wide: bool = False


Block = Figure | Slider | Table


@dataclass(frozen=True)
class Headline:
    """A headline number: `value` is ready to be read, `detail` says more in a few words."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: headline numbers it contributes, a sentence, figures and tables."""

    key: str
    title: str
    note: str = ""
    blocks: tuple[Block, ...] = ()
    headlines: tuple[Headline, ...] = ()


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    lake: str
    sections: tuple[Section, ...]
    made: datetime
    versions: dict[str, str] = field(default_factory=dict)
    tables: Table | None = None

    @property
    def headlines(self) -> tuple[Headline, ...]:
        """Headline numbers of all sections, in their order."""
        return tuple(headline for section in self.sections for headline in section.headlines)


def show_cell(cell: Cell) -> str:
    """Format a table cell: thousands separated, few decimals, a dash where there is nothing."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    if isinstance(cell, str):
        return tidy(cell, LONGEST_CELL)
    return thousands(cell) if isinstance(cell, int) else decimals(cell)


def render(page: Page) -> str:
    """Render the page as HTML. All text is escaped, whatever is in titles, ids and reasons."""
    # Always on: the template's name does not end in .html, which is what Jinja's own choice goes by.
    environment = Environment(
        loader=PackageLoader("lakerank.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = show_cell
    environment.filters["inline"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
    environment.tests["figure"] = lambda block: isinstance(block, Figure)
    environment.tests["slider"] = lambda block: isinstance(block, Slider)
    slides = any(isinstance(block, Slider) for section in page.sections for block in section.blocks)
    script = SLIDE if slides else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(page=page, script=script, digest=digest)


def tidy(text: str, longest: int) -> str:
    """Return one line without control characters (XML forbids most), cut at the end to `longest` characters."""
    plain = re.sub(r"\s+", " ", text)
    kept = "".join(c for c in plain if c not in _TURNS and not _unprintable(c)).strip()
    return kept if len(kept) <= longest else kept[: longest - 1].rstrip() + "…"


def tidy_middle(text: str, longest: int) -> str:
    """Shorten like `tidy`, but cut in the middle: addresses differ at their ends."""
    kept = tidy(text, max(longest, len(text)))
    if len(kept) <= longest:
        return kept
    head = (longest - 1) // 2
    return f"{kept[:head]}…{kept[len(kept) - (longest - 1 - head) :]}"


def _unprintable(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff"


def thousands(n: int) -> str:
    """Write a count with separators: 1234567 → 1,234,567."""
    return f"{n:,}"


def decimals(x: float) -> str:
    """Write four significant digits, an exponent only where a plain number would be long: 0.8731, 41.2, 3.1e-07."""
    if not math.isfinite(x):
        return str(x)
    if x != 0 and (abs(x) < 1e-4 or abs(x) >= 1e7):
        return f"{x:.3g}"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.4g}"


def short(x: float) -> str:
    """Write a tick label: 1500 → 1.5k, 2000000 → 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:.3g}{letter}"
    return f"{x:.3g}"


def power(x: float) -> str:
    """Write a tick of a logarithmic axis: 1e-08 → 10⁻⁸; nothing between the powers of ten."""
    exponent = round(math.log10(x)) if x > 0 else 0
    if x <= 0 or not math.isclose(x, 10.0**exponent, rel_tol=1e-6):
        return ""
    return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPT)


def percent(share: float) -> str:
    """Write a share as per cent, 0.1234 → 12 %; small shares keep a digit."""
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def width_em(text: str) -> float:
    """Estimate how wide a text is set, in units of its font size; a little more than most fonts need."""
    return sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.57 for c in text)

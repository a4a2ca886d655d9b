"""A report as data, and how it becomes one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass, field
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from lakerank.report.words import decimals, thousands, tidy

Cell = str | int | float | None
# The page's only script, there if it has a slider; its hash is in the page's policy, so no other can run.
SLIDE = """document.querySelectorAll(".compare input").forEach(slider =>
  slider.addEventListener("input", () => slider.parentNode.style.setProperty("--at", slider.value + "%")));
"""
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
class Fact:
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
    facts: tuple[Fact, ...] = ()


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
    def facts(self) -> tuple[Fact, ...]:
        """Headline numbers of all sections, in their order."""
        return tuple(fact for section in self.sections for fact in section.facts)


def show_cell(cell: Cell) -> str:
    """What a table cell says: thousands separated, few decimals, a dash where there is nothing."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    if isinstance(cell, str):
        return tidy(cell, LONGEST_CELL)
    return thousands(cell) if isinstance(cell, int) else decimals(cell)


def render(page: Page) -> str:
    """The page as HTML. All text is escaped, whatever is in titles, ids and reasons."""
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

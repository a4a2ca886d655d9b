"""Run the notebooks outside Databricks, or turn them into .ipynb files for JupyterLab.

python scripts/notebooks.py run notebooks/01_pagerank.py lake=build/lake links=seed
python scripts/notebooks.py convert notebooks/*.py        # beside them, where their relative paths hold
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lakerank.cli.errors import UserError
from lakerank.spark.notebook import stand_ins

HEAD, CELL, MAGIC = "# Databricks notebook source", "# COMMAND ----------", "# MAGIC"
PREPARE = """from lakerank.spark.notebook import stand_ins

# Values of widgets, by name; all have defaults.
globals().update(stand_ins({given}))"""


class Cell(NamedTuple):
    """A cell: `md` (text), `pip` (installs what this environment has) or `python`, and the line it begins in."""

    kind: str
    text: str
    line: int


def cells_of(source: str, name: str) -> list[Cell]:
    """Read the cells of a notebook in Databricks' source format.

    Raises:
        UserError: it is in another format.
    """
    lines = source.splitlines()
    if not lines or lines[0] != HEAD:
        raise UserError(f"{name}: does not begin with `{HEAD}`: no notebook in Databricks' source format")
    cells, begun = [], 1
    for end in (*(i for i, line in enumerate(lines) if line == CELL), len(lines)):
        body = lines[begun:end]
        text = "\n".join(body).strip()
        if text.startswith(MAGIC):
            text = "\n".join(line.removeprefix(MAGIC).removeprefix(" ") for line in text.splitlines())
            kind, _, rest = text.partition("\n") if text.startswith("%md\n") else text.partition(" ")
            if kind not in ("%md", "%pip"):
                raise UserError(f"{name}, line {begun + 1}: {kind} is not known here, only %md and %pip")
            cells.append(Cell(kind[1:], rest.strip(), begun + 1))
        elif text:
            first = next(i for i, line in enumerate(body) if line.strip())
            cells.append(Cell("python", text, begun + first + 1))
        begun = end + 1
    return cells


def run(path: Path, given: Mapping[str, str], out: Path) -> list[Path]:
    """Execute the cells in order; HTML that is shown becomes files in `out`, which are returned."""
    pages: list[Path] = []

    def show(markup: str, text: str) -> None:
        print(text)
        if "<html" in markup:
            pages.append(out / f"{path.stem}-{len(pages) + 1}.html")
            pages[-1].parent.mkdir(parents=True, exist_ok=True)
            pages[-1].write_text(markup, encoding="utf-8")
            print(f"see {pages[-1]}")

    cells = cells_of(path.read_text(encoding="utf-8"), str(path))
    out = out.resolve()
    names = {"__name__": "__main__"} | stand_ins(given, show)
    with contextlib.chdir(path.parent):  # as Databricks and JupyterLab do
        for cell in cells:
            if cell.kind == "md":
                print(f"\n{cell.text}\n")
            elif cell.kind == "python":
                # Empty lines before it: a traceback names the line of the file.
                exec(compile("\n" * (cell.line - 1) + cell.text, str(path), "exec"), names)  # noqa: S102 - ours
    return pages


def convert(path: Path, given: Mapping[str, str] | None = None) -> nbformat.NotebookNode:
    """Convert the notebook for JupyterLab: a first cell stands in for Databricks."""
    cells = cells_of(path.read_text(encoding="utf-8"), str(path))
    made = [new_code_cell(PREPARE.replace("{given}", repr(dict(given or {}))))]
    made += [new_markdown_cell(c.text) if c.kind == "md" else new_code_cell(c.text) for c in cells if c.kind != "pip"]
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number}"  # the same file each time
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=made, metadata={"kernelspec": kernel})


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "convert"))
    parser.add_argument("arguments", nargs="+", metavar="FILE|NAME=VALUE", help="notebooks; run: values of widgets")
    parser.add_argument("--out", default="build/notebooks", help="run: folder for HTML (default: build/notebooks)")
    args = parser.parse_args()
    files = [Path(word) for word in args.arguments if "=" not in word]
    given = dict(word.split("=", 1) for word in args.arguments if "=" in word)
    try:
        for file in files:
            if args.what == "run":
                run(file, given, Path(args.out))
                continue
            made = file.with_suffix(".ipynb")
            nbformat.write(convert(file, given), os.fspath(made))
            print(made)
    except (UserError, OSError) as error:
        print(f"notebooks: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Databricks' notebook globals, for the same notebook run elsewhere: `spark`, `dbutils`, `display`, `displayHTML`.

The notebooks in `notebooks/` are written for Databricks, which has these names ready. In JupyterLab and in
`scripts/notebooks.py` they come from here. Widgets have no controls there: each has its default or a value given.
"""

from __future__ import annotations

import html
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.publications import Publications
from lakerank.lake.schemas import RELATIONS
from lakerank.spark.session import get_spark

SHOWN_ROWS = 1000  # of a frame, as on Databricks
Show = Callable[[str, str], None]


def table(spark: SparkSession, lake: str, name: str) -> DataFrame:
    """Read one of the lake's tables, by its name.

    Raises:
        UserError: it is not there, or none of ours.
    """
    if name not in RELATIONS:
        raise UserError(f"{name} is no table of a lake: {', '.join(sorted(RELATIONS))}")
    relation = RELATIONS[name]
    return Publications.read(lake, lambda: spark).table(relation).read(spark, relation)


class Widgets:
    """`dbutils.widgets`: the parameters of a notebook, all text."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given, self._values = given, dict[str, str]()

    def text(self, name: str, default: str, label: str = "") -> None:
        """Add a parameter and its default."""
        self._values[name] = self._given.get(name, default)

    def dropdown(self, name: str, default: str, choices: Sequence[str], label: str = "") -> None:
        """Add a parameter with a choice of values.

        Raises:
            UserError: the value given is none of them.
        """
        self.text(name, default)
        if self._values[name] not in choices:
            raise UserError(f"widget {name}: must be one of {', '.join(choices)}, not {self._values[name]!r}")

    def get(self, name: str) -> str:
        """Return its value.

        Raises:
            UserError: there is no such widget.
        """
        if name not in self._values:
            raise UserError(f"there is no widget {name}; there are {', '.join(self._values) or 'none'}")
        return self._values[name]


class DBUtils:
    """`dbutils`, of which the notebooks use the widgets."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.widgets = Widgets(given)


def show_in_jupyter(markup: str, text: str) -> None:
    """Put HTML below a cell, framed so that its styles stay its own."""
    shown: Any = importlib.import_module("IPython.display")  # only where there is Jupyter
    style = "width: 100%; height: 36rem; border: 0"
    framed = f'<div><iframe srcdoc="{html.escape(markup)}" style="{style}"></iframe></div>'
    shown.display(shown.HTML(framed if "<html" in markup else markup))


def stand_ins(given: Mapping[str, str] | None = None, show: Show = show_in_jupyter) -> dict[str, Any]:
    """Return the names a notebook finds on Databricks.

    Args:
        given: values of widgets, by name; the others have their defaults.
        show: takes what is to be shown, as HTML and as plain text.
    """

    def display(shown: Any) -> None:
        """Show a frame of Spark or pandas as a table, anything else as text."""
        if isinstance(shown, DataFrame):
            shown = shown.limit(SHOWN_ROWS).toPandas()
        if isinstance(shown, pd.DataFrame):
            show(shown.to_html(index=False), shown.to_string(index=False, max_rows=20))
        else:
            show(f"<pre>{html.escape(str(shown))}</pre>", str(shown))

    def display_html(markup: str) -> None:
        show(markup, f"({len(markup):,} characters of HTML)")

    return {
        "spark": get_spark("lakerank-notebook"),
        "dbutils": DBUtils(given or {}),
        "display": display,
        "displayHTML": display_html,
    }

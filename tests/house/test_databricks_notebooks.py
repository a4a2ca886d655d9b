"""On Databricks a notebook's `%pip install` must leave the runtime's own Spark as it is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest
from tests_root import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALLS = [
    (file.name, line)
    for file in sorted((ROOT / "notebooks").glob("*.py"))
    for line in re.findall(r"^# MAGIC %pip install (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
]


def requirements(extras: list[str]) -> Iterator[str]:
    """Names that the base install and some extras ask for, those of extras named by extras included."""
    for line in [
        *PROJECT["dependencies"],
        *(one for extra in extras for one in PROJECT["optional-dependencies"][extra]),
    ]:
        if inner := re.match(r"lakerank\[(.*)\]", line):
            yield from requirements(inner[1].split(","))
        else:
            yield re.split(r"[\[<>=!~; ]", line)[0].lower()


def test_each_notebook_installs_something() -> None:
    assert len({name for name, _ in INSTALLS}) == len(list((ROOT / "notebooks").glob("0*.py")))


@pytest.mark.parametrize(("name", "line"), INSTALLS)
def test_no_notebook_installs_pyspark(name: str, line: str) -> None:
    if "--no-deps" in line:
        assert "pyspark" not in line
        return
    what = re.fullmatch(r"(?:--quiet )?\.\.(?:\[(.*)\])?", line)
    assert what, f"{name}: {line}"
    asked = set(requirements(what[1].split(",") if what[1] else []))
    # Petastorm's own metadata ask for pyspark.
    assert not asked & {"pyspark", "delta-spark", "petastorm"}, f"{name}: {line}"

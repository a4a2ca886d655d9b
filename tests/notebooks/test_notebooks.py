"""Every notebook runs from start to end, as it stands and as an .ipynb in a kernel of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from pyspark.sql import SparkSession
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.spark.notebook import Widgets, table

sys.path.insert(0, str(ROOT / "scripts"))
import notebooks

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
SMALL = {"epochs": "2", "factors": "4", "compare": "popular", "top": "3", "seconds": "2"}
# What each must have shown: a name of a table's column or of a section of the report.
SHOWN = {
    "01_pagerank": ("spider trap", "off by at most", "harmonic"),
    "02_search": ("PageRank", "how is link spam found", "duplicate_of", " idf "),
    "03_latent_factors": ("factors", "epoch"),
    "04_recommend": ("is_like", "contribution", "ndcg@10"),
    "05_super_resolution": ("bicubic", "trained here", "psnr_y"),
}


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Widgets for a run in seconds, in a lake of this module."""
    folder = tmp_path_factory.mktemp("notebooks")
    ratings = folder / "ratings"
    command = [sys.executable, str(ROOT / "examples" / "make_ratings.py"), str(ratings), "--users", "40"]
    subprocess.run([*command, "--items", "30"], check=True)
    return SMALL | {"lake": f"{folder}/lake", "work": f"{folder}/sr"} | {"ratings": str(ratings)}


def given(notebook: Path, values: dict[str, str]) -> dict[str, str]:
    source = {"source": values["ratings"]} if notebook.stem == "03_latent_factors" else {}
    return {name: value for name, value in values.items() if name != "ratings"} | source


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_start_to_end(
    notebook: Path, values: dict[str, str], spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path.cwd()
    pages = notebooks.run(notebook, given(notebook, values), tmp_path)
    assert Path.cwd() == before
    printed = capsys.readouterr().out
    for words in SHOWN[notebook.stem]:
        assert words in printed, words
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert "missing" not in html
        assert "<svg" in html or "<table" in html


def test_the_notebooks_left_their_tables(values: dict[str, str], spark: SparkSession) -> None:
    for name in ("ranks", "hits", "harmonic", "pages", "index_documents", "item_factors", "explanations"):
        assert table(spark, values["lake"], name).head(1), name


def test_as_ipynb_in_one_kernel(values: dict[str, str], tmp_path: Path) -> None:
    # One after another in the same kernel: it starts Spark once.
    lake = values | {"lake": f"{tmp_path}/lake", "work": f"{tmp_path}/sr"}
    whole = notebooks.convert(NOTEBOOKS[0], given(NOTEBOOKS[0], lake))
    for notebook in NOTEBOOKS[1:]:
        whole.cells += notebooks.convert(notebook, given(notebook, lake)).cells
    for number, cell in enumerate(whole.cells):
        cell["id"] = f"cell-{number}"
    nbformat.validate(whole)
    client = NotebookClient(whole, timeout=600, resources={"metadata": {"path": str(ROOT / "notebooks")}})
    done = client.execute()
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    shown = json.dumps(done)
    for words in ("srcdoc", "spider trap", "is_like", "data:image/png"):
        assert words in shown, words


def test_conversion_is_the_same_twice_and_without_installs() -> None:
    for notebook in NOTEBOOKS:
        made = notebooks.convert(notebook)
        assert made == notebooks.convert(notebook)
        sources = [cell.source for cell in made.cells]
        assert not [text for text in sources if "%pip" in text or "MAGIC" in text or "COMMAND" in text]
        assert sources[1].startswith("# ")
        assert "stand_ins({})" in sources[0]


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"x\.py: does not begin with `# Databricks notebook source`"):
        notebooks.cells_of("print(1)\n", "x.py")
    with pytest.raises(UserError, match=r"x\.py, line 2: %sql is not known here"):
        notebooks.cells_of("# Databricks notebook source\n# MAGIC %sql SELECT 1\n", "x.py")


def test_an_error_names_the_line_of_the_file(spark: SparkSession, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("# Databricks notebook source\nx = 1\n\n# COMMAND ----------\n\n\nx / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        notebooks.run(broken, {}, tmp_path)
    assert caught.traceback[-1].lineno == 6  # from 0
    assert caught.traceback[-1].path == broken


def test_widgets_check_what_is_given() -> None:
    widgets = Widgets({"lake": "main.films", "engine": "fast"})
    widgets.text("lake", "lake")
    widgets.text("top", "10")
    assert (widgets.get("lake"), widgets.get("top")) == ("main.films", "10")
    with pytest.raises(UserError, match="widget engine: must be one of auto, native, not 'fast'"):
        widgets.dropdown("engine", "auto", ["auto", "native"])
    with pytest.raises(UserError, match="there is no widget query; there are lake, top"):
        widgets.get("query")


def test_a_table_that_is_none_is_named(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rank is no table of a lake: "):
        table(spark, str(tmp_path), "rank")
    with pytest.raises(UserError, match="no Delta table `ranks`"):
        table(spark, str(tmp_path), "ranks")

"""What answering queries needs of texts and of the index is there where pyspark is not installed."""

from __future__ import annotations

import subprocess
import sys

from tests_root import ROOT

MODULES = (
    "text", "text.analyzer", "text.languages", "index", "index.fields", "index.coding", "index.segment",
    "index.index_input",
)  # fmt: skip


def test_text_and_index_import_without_pyspark() -> None:
    names = [f"lakerank.search.{module}" for module in MODULES]
    script = f"import sys, importlib; sys.modules['pyspark'] = None; [importlib.import_module(n) for n in {names}]"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_pages_are_indexed_without_pyspark() -> None:
    script = """
import sys
sys.modules["pyspark"] = None
import pyarrow as pa
from lakerank.search.index.index_input import current_documents, index_input_arrow
from lakerank.search.index.segment import SegmentBuilder
pages = pa.table(
    {"page_id": pa.array([1]), "content_hash": ["h"], "language": ["en"], "noindex": [False], "title": ["Otters"],
     "duplicate_of": pa.array([None], pa.int64()), "headings": [["Otters"]], "text": ["They swim."]}
)
now = current_documents(pages, {1: ["otters"]}, None, "")
builder = SegmentBuilder(1)
names = ["page_id", "title", "headings", "text", "language"]
builder.add(index_input_arrow(pages.select(names), now, {1: ["otters"]}))
assert [row["term"] for batch in builder.finish() for row in batch.to_pylist()] == ["", "otters", "swim", "they"]
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)

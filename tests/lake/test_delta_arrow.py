"""Arrow tables into Delta and out again, by either reader, with what stood there before."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowSink, ArrowTable
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import INDEX_DOCUMENTS, PAGES, RANKS, RELATIONS
from lakerank.lake.table_log import TableLog


def no_spark() -> SparkSession:
    raise AssertionError("a folder needs no session")


def documents(*rows: tuple[int, float | None]) -> pa.Table:
    made = [
        {"page_id": page, "segment": 1, "ordinal": 0, "lengths": [1, 2], "key": page, "pagerank": rank}
        for page, rank in rows
    ]
    return pa.Table.from_pylist(made, INDEX_DOCUMENTS.arrow_schema())


def content(ref: TableRef) -> dict[int, float | None]:
    rows = ArrowTable(ref, INDEX_DOCUMENTS, no_spark).read(["page_id", "pagerank"]).to_pylist()
    return {row["page_id"]: row["pagerank"] for row in rows}


def test_every_table_has_arrow_types() -> None:
    assert all(len(relation.arrow_schema()) == len(relation.columns) for relation in RELATIONS.values())
    assert PAGES.arrow_schema().field("headings").type == pa.list_(pa.string())


def test_write_append_merge_without_a_session(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "index_documents"))
    ArrowSink(ref, INDEX_DOCUMENTS, no_spark, "one").write(documents((1, 0.1), (2, None)))
    ArrowSink(ref, INDEX_DOCUMENTS, no_spark).append(documents((3, 0.3)))
    assert content(ref) == {1: 0.1, 2: None, 3: 0.3}
    ArrowSink(ref, INDEX_DOCUMENTS, no_spark, "three").merge(documents((2, 0.2), (4, 0.4)), [1, 77])
    assert content(ref) == {2: 0.2, 3: 0.3, 4: 0.4}
    now = ArrowTable(ref, INDEX_DOCUMENTS, no_spark)
    assert (now.version, now.rows) == (2, 3)
    assert [commit.stamp for commit in TableLog(ref, no_spark).since(-1)] == ["one", "", "three"]
    ArrowSink(ref, INDEX_DOCUMENTS, no_spark).merge(documents(), [3])
    assert content(ref) == {2: 0.2, 4: 0.4}
    ArrowSink(ref, INDEX_DOCUMENTS, no_spark).write(documents((9, None)))
    assert content(ref) == {9: None}


@pytest.mark.connect
def test_spark_and_arrow_write_the_same_table(spark: SparkSession, tmp_path: Path) -> None:
    page: dict[str, Any] = {
        "page_id": 1, "url": "u", "title": "t", "headings": ["a", "b"], "text": "x", "content_hash": "h",
        "noindex": False, "source": "s", "fetched_at": datetime(2026, 1, 2, tzinfo=UTC),
    }  # fmt: skip
    ref = TableRef(str(tmp_path / "pages"))
    ArrowSink(ref, PAGES, no_spark).write(pa.Table.from_pylist([page], PAGES.arrow_schema()))
    first = ref.read(spark, PAGES).collect()
    TableSink(ref, PAGES, "by Spark").write(ref.read(spark, PAGES).localCheckpoint())
    assert ref.read(spark, PAGES).collect() == first
    assert TableLog(ref, no_spark).commit(1).stamp == "by Spark"
    ArrowSink(ref, PAGES, no_spark).append(pa.Table.from_pylist([page | {"page_id": 2}], PAGES.arrow_schema()))
    assert sorted(row["page_id"] for row in ref.read(spark, PAGES).collect()) == [1, 2]


def test_wrong_tables_are_refused_by_column(tmp_path: Path) -> None:
    sink = ArrowSink(TableRef(str(tmp_path / "ranks")), RANKS, no_spark)
    with pytest.raises(UserError, match="column `pagerank` is missing"):
        sink.write(pa.table({"id": [1]}))
    with pytest.raises(UserError, match=r"`ranks.pagerank` is null; nothing was written"):
        sink.write(pa.table({"id": [1], "pagerank": pa.nulls(1, pa.float64())}))
    with pytest.raises(UserError, match="column `pagerank` is not as `ranks` needs it"):
        sink.write(pa.table({"id": [1], "pagerank": ["much"]}))
    assert not (tmp_path / "ranks").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        ArrowSink(TableRef(str(tmp_path / "file" / "ranks")), RANKS, no_spark).write(
            pa.table({"id": [1], "pagerank": [1.0]})
        )
    ArrowSink(TableRef(str(tmp_path / "ranks")), RANKS, no_spark).write(pa.table({"id": ["a"], "pagerank": [1.0]}))
    assert ArrowTable(TableRef(str(tmp_path / "ranks")), RANKS, no_spark).read(["id"]).to_pylist() == [{"id": "a"}]


def test_a_missing_deltalake_is_one_sentence_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(UserError, match=r"^`deltalake` is not installed: pip install 'lakerank\[search\]'$"):
        ArrowTable(TableRef(str(tmp_path)), RANKS, no_spark)


WITHOUT_PYSPARK = """
import sys
sys.modules["pyspark"] = None
import pyarrow as pa
import lakerank.cli.command, lakerank.cli.download, lakerank.spark.array_cache, lakerank.spark.jit
import lakerank.spark.arrow_ipc, lakerank.spark.array_store
from lakerank.lake.delta_arrow import ArrowSink, ArrowTable, in_folder
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import RANKS

def no_spark():
    raise AssertionError

ref = TableRef(sys.argv[1])
ArrowSink(ref, RANKS, no_spark, "stamp").write(pa.table({"id": [1, 2], "pagerank": [0.25, 0.75]}))
assert ArrowTable(ref, RANKS, no_spark).read(["pagerank"], [("id", "=", 2)]).to_pylist() == [{"pagerank": 0.75}]
assert in_folder(ref, lambda types: {"n": "id"}, 10).to_pylist() == [{"n": 1}, {"n": 2}]
import os
os._exit(0)  # libraries that end their threads at exit may abort then, on a busy machine
"""


def test_tables_are_read_and_written_where_pyspark_is_not_installed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_PYSPARK, str(tmp_path / "ranks")], check=True, cwd=ROOT)

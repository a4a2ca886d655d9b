"""Arrow tables into Delta and out again, by either reader, with what stood there before."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowSink, ArrowTable, FilesGoneError, NoSessionError, in_folder
from lakerank.lake.delta_arrow import no_spark as refuse_a_session
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.publications import Publications, publishing
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


def commit_of(table: Path, *actions: Any) -> None:
    """Add a commit with these actions to a table's log."""
    log = table / "_delta_log"
    version = 1 + max(int(path.stem) for path in log.glob("*.json"))
    info = {"commitInfo": {"operation": "UPGRADE PROTOCOL"}}
    (log / f"{version:020}.json").write_text("".join(f"{json.dumps(action)}\n" for action in (info, *actions)))


def with_feature(name: str) -> Callable[[Path], None]:
    """Switch a feature of readers on, as `ALTER TABLE … SET TBLPROPERTIES` does; no row changes."""
    names = {"readerFeatures": [name], "writerFeatures": [name]}
    return lambda table: commit_of(table, {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7} | names})


def map_columns(table: Path) -> None:
    """Switch column mapping on, with other names in the files than in the table, as `RENAME COLUMN` leaves them."""
    actions = [json.loads(line) for line in sorted((table / "_delta_log").glob("*.json"))[0].read_text().splitlines()]
    meta = next(action["metaData"] for action in actions if "metaData" in action)
    schema = json.loads(meta["schemaString"])
    for n, field in enumerate(schema["fields"], start=1):
        field["metadata"] = {"delta.columnMapping.id": n, "delta.columnMapping.physicalName": f"col-{n}"}
    settings = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": str(len(schema["fields"]))}
    files = DeltaTable(str(table)).to_pyarrow_table()
    new = "mapped.parquet"
    pyarrow.parquet.write_table(files.rename_columns([f"col-{n + 1}" for n in range(files.num_columns)]), table / new)
    rest = {"modificationTime": 0, "dataChange": False}
    olds = [Path(unquote(uri)).name for uri in DeltaTable(str(table)).file_uris()]
    commit_of(
        table,
        {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}},
        {"metaData": meta | {"schemaString": json.dumps(schema), "configuration": settings}},
        *({"remove": {"path": old, "deletionTimestamp": 0, "dataChange": False}} for old in olds),
        {"add": {"path": new, "partitionValues": {}, "size": (table / new).stat().st_size, **rest}},
    )


FEATURES: dict[str, Callable[[Path], None]] = {
    "deletion vectors": with_feature("deletionVectors"),
    "v2 checkpoints": with_feature("v2Checkpoint"),
    "column mapping": map_columns,
}


@pytest.mark.parametrize("where", ["publications", "index_documents"])
@pytest.mark.parametrize("feature", FEATURES)
def test_tables_with_features_are_read_and_written_without_a_session(tmp_path: Path, where: str, feature: str) -> None:
    def publish(table: pa.Table) -> None:
        with publishing(no_spark, str(tmp_path), "index") as run:
            run.write(INDEX_DOCUMENTS, table)

    def published() -> TableRef:
        return Publications.read(str(tmp_path), no_spark).table(INDEX_DOCUMENTS)

    publish(documents((1, 0.25), (2, None)))
    FEATURES[feature](tmp_path / where)
    assert content(published()) == {1: 0.25, 2: None}
    table = ArrowTable(published(), INDEX_DOCUMENTS, no_spark)
    assert table.rows == 2
    table.require_files()
    assert table.read(["lengths", "key"], [("page_id", "in", [2, 7]), ("segment", ">=", 1)]).to_pylist() == [
        {"lengths": [1, 2], "key": 2}
    ]
    assert len(table.read(["key"], [("page_id", "=", 7)])) == 0
    found = in_folder(TableRef(table.ref.location), lambda types: {"rank": "pagerank"}, 10)
    assert found is not None
    assert found["rank"].to_pylist() == [0.25, None]
    if where == "publications" or feature != "column mapping":  # of mapped tables delta-rs changes no columns
        publish(documents((3, 0.5)))
        assert content(published()) == {3: 0.5}
    ref = published()
    with publishing(no_spark, str(tmp_path), "index") as run:
        run.change(
            INDEX_DOCUMENTS,
            ref,
            lambda stamp: ArrowSink(ref, INDEX_DOCUMENTS, no_spark, stamp).append(documents((9, 1))),
        )
    assert 9 in content(published())


@pytest.mark.parametrize("where", ["publications", "ranks"])
def test_a_feature_that_delta_rs_does_not_know_is_read_by_spark_or_said(tmp_path: Path, where: str) -> None:
    with publishing(no_spark, str(tmp_path), "ranks") as run:
        run.write(RANKS, pa.table({"id": [1], "pagerank": [1.0]}))
    with_feature("anotherFeature")(tmp_path / where)
    with pytest.raises(AssertionError, match="a folder needs no session"):  # so one is asked for
        ArrowTable(Publications.read(str(tmp_path), no_spark).table(RANKS), RANKS, no_spark)
    with pytest.raises(NoSessionError) as caught:
        ArrowTable(Publications.read(str(tmp_path), refuse_a_session).table(RANKS), RANKS, refuse_a_session)
    assert str(caught.value).startswith(f"{tmp_path / where}: it has a feature that delta-rs does not know (")
    assert "anotherFeature" in str(caught.value)
    for write in (
        ArrowSink(TableRef(str(tmp_path / where)), RANKS, refuse_a_session).append,
        lambda rows: ArrowSink(TableRef(str(tmp_path / where)), RANKS, refuse_a_session).merge(rows, []),
    ):
        with pytest.raises(NoSessionError, match="it has a feature that delta-rs does not know"):
            write(pa.table({"id": [1], "pagerank": [1.0]}))


def test_files_gone_from_a_table_with_features_are_said(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "ranks"))
    ArrowSink(ref, RANKS, no_spark).write(pa.table({"id": [1], "pagerank": [1.0]}))
    map_columns(tmp_path / "ranks")
    (tmp_path / "ranks" / "mapped.parquet").unlink()
    asks: list[Callable[[ArrowTable], Any]] = [lambda t: t.read(["id"]), lambda t: t.rows, ArrowTable.require_files]
    for ask in asks:
        with pytest.raises(FilesGoneError, match=r"files of version 1 are gone .*: run pagerank again"):
            ask(ArrowTable(ref, RANKS, no_spark))


@pytest.mark.parametrize("name", ["a%20b", "x[y]", "50%25"])
def test_folders_that_delta_rs_takes_for_others_are_sparks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / name)
    monkeypatch.chdir(tmp_path / name)
    for lake in (str(tmp_path / name), f"file://{tmp_path / name}", ".", str(tmp_path / "link")):
        ref = TableRef.find("", RANKS, lake)
        assert ref.needs_spark
        with pytest.raises(NoSessionError, match=r"delta-rs cannot open a place with `.+` in its name, so it is read"):
            ArrowTable.find(ref, RANKS, refuse_a_session)
        with pytest.raises(NoSessionError, match="delta-rs cannot open a place with"):
            ArrowSink(ref, RANKS, refuse_a_session).write(pa.table({"id": [1], "pagerank": [1.0]}))
    assert not list((tmp_path / "a b").iterdir())
    assert not TableRef(str(tmp_path / "100% é?#" / "ranks")).needs_spark


def test_a_folder_with_a_catalogs_name_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = r"lake\.old\.publications: it is in a catalog{}, so it is read and written through Spark: run this with"
    with pytest.raises(NoSessionError, match=said.format("")):
        Publications.read("lake.old", refuse_a_session)
    (tmp_path / "lake.old").mkdir()
    with pytest.raises(NoSessionError, match=said.format(r" \(for the folder lake\.old write \./lake\.old\)")):
        Publications.read("lake.old", refuse_a_session)
    assert Publications.read("./lake.old", refuse_a_session).rows == []


def test_compacting_after_publishing_never_fails_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    ref = TableRef(str(tmp_path / "ranks"))
    ArrowSink(ref, RANKS, no_spark).write(pa.table({"id": [1], "pagerank": [1.0]}))
    monkeypatch.setattr("deltalake.table.TableOptimizer.compact", full)
    ArrowSink.compact(ref)
    ArrowSink.compact(TableRef(str(tmp_path / "nothing")))


PROPERTIES = {
    "deletion vectors": "'delta.enableDeletionVectors' = 'true'",
    "UniForm": "'delta.columnMapping.mode' = 'name', 'delta.enableIcebergCompatV2' = 'true'",
    "type widening": "'delta.enableTypeWidening' = 'true'",
}


@pytest.mark.slow
@pytest.mark.parametrize("feature", PROPERTIES)
def test_tables_that_spark_gave_features_are_read_and_written(
    spark: SparkSession, tmp_path: Path, feature: str
) -> None:
    ref = TableRef(str(tmp_path / "index_documents"))
    sink = ArrowSink(ref, INDEX_DOCUMENTS, lambda: spark)
    sink.write(documents((1, 0.25), (2, None), (3, 0.5)))
    spark.sql(f"ALTER TABLE {ref.sql} SET TBLPROPERTIES ({PROPERTIES[feature]})").collect()
    spark.sql(f"DELETE FROM {ref.sql} WHERE page_id = 2").collect()
    reader = (lambda: spark) if feature == "type widening" else no_spark

    def found() -> dict[int, float | None]:
        table = ArrowTable(ref, INDEX_DOCUMENTS, reader)
        rows = table.read(["page_id", "pagerank"]).to_pylist()
        assert table.rows == len(rows)
        table.require_files()
        return {row["page_id"]: row["pagerank"] for row in rows}

    assert found() == {1: 0.25, 3: 0.5}
    sink.append(documents((4, 0.75)))
    assert found() == {1: 0.25, 3: 0.5, 4: 0.75}
    sink.merge(documents((3, 0.125), (5, None)), [1, 77])
    assert found() == {3: 0.125, 4: 0.75, 5: None}
    version = ArrowTable(ref, INDEX_DOCUMENTS, reader).version
    sink.write(documents((9, 1.0)))
    assert found() == {9: 1.0}
    ArrowSink.restore(ref, version, lambda: spark, "stamp")
    assert found() == {3: 0.125, 4: 0.75, 5: None}
    assert TableLog(ref, no_spark).find("stamp") is not None
    assert ref.read(spark, INDEX_DOCUMENTS).count() == 3


@pytest.mark.slow
def test_a_lake_that_delta_rs_takes_for_another_is_used_through_spark(spark: SparkSession, tmp_path: Path) -> None:
    lake = tmp_path / "a%20b"
    for value in (0.25, 0.5):
        with publishing(lambda: spark, str(lake), "ranks") as run:
            run.write(RANKS, pa.table({"id": [1], "pagerank": [value]}))
        table = ArrowTable(Publications.read(str(lake), lambda: spark).table(RANKS), RANKS, lambda: spark)
        assert table.read(["pagerank"]).to_pylist() == [{"pagerank": value}]
    assert not (tmp_path / "a b").exists()
    for file in (lake / "ranks").glob("*.parquet"):
        file.unlink()
    for ask in (lambda: table.read(["id"]), table.require_files):  # Delta counts rows without reading them
        with pytest.raises(FilesGoneError, match=r"ranks: files of version 1 are gone .*: run pagerank again"):
            ask()

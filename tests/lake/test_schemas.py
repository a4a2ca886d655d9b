"""What is derived from a table's one list of columns: schemas, checks of frames and Arrow tables, Delta's comments."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowSink
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import INDEX_DOCUMENTS, LFM_MODELS, PAGES, RANKS, RATINGS, RELATIONS, Relation
from lakerank.lake.table_log import Commit, TableLog


def no_spark() -> SparkSession:
    raise AssertionError("a folder needs no session")


def comments(spark: SparkSession, ref: TableRef) -> tuple[str, dict[str, str]]:
    """The table's comment and those of its columns, as Spark tells them."""
    table = spark.sql(f"DESCRIBE DETAIL {ref.sql}").first()
    columns = spark.sql(f"DESCRIBE TABLE {ref.sql}").collect()
    return table["description"], {row["col_name"]: row["comment"] for row in columns}


def meanings(relation: Relation) -> tuple[str, dict[str, str]]:
    return relation.meaning, {column.name: column.meaning for column in relation.columns}


def document(page: int) -> dict[str, object]:
    return {"page_id": page, "segment": 1, "ordinal": 0, "lengths": [1, 2], "key": page}


def test_names_and_ddl() -> None:
    assert RANKS.names == ("id", "pagerank")
    assert RANKS.ddl() == "`id` bigint, `pagerank` double"
    assert RANKS.ddl("pagerank", "id", id_type="string") == "`pagerank` double, `id` string"
    assert RANKS.column("id").meaning == "node"
    with pytest.raises(KeyError, match="ranks has no column host"):
        RANKS.ddl("host")


def test_arrow_and_spark_schemas_are_of_the_same_types(spark: SparkSession) -> None:
    for relation in RELATIONS.values():
        for id_type in ("bigint", "string"):
            arrow = relation.arrow_schema(id_type=id_type)
            assert spark.createDataFrame(arrow.empty_table()).schema == relation.schema(id_type=id_type), relation.name
    assert PAGES.arrow_schema("url", "headings").field("headings").type == pa.list_(pa.string())
    said = PAGES.arrow_schema("title", comments=True).field("title").metadata
    assert said == {b"comment": PAGES.column("title").meaning.encode()}


def test_every_table_is_described() -> None:
    for relation in RELATIONS.values():
        assert relation.meaning, relation.name
        assert len(set(relation.names)) == len(relation.columns), relation.name
        assert set(relation.keys) <= set(relation.names), relation.name
        assert all(column.meaning for column in relation.columns), relation.name


def test_arrow_tables_are_checked_as_frames_are() -> None:
    good = pa.table({"more": [1], "rated_at": pa.nulls(1), "rating": [3.5], "item_id": [2], "user_id": ["ann"]})
    checked = RATINGS.check(good, "here")
    assert checked.schema == RATINGS.arrow_schema(id_type="string").set(1, pa.field("item_id", pa.int64()))
    with pytest.raises(UserError, match=r"here: column `rating` is missing; `ratings` needs .*, and|and this has more"):
        RATINGS.check(good.drop(["rating"]), "here")
    with pytest.raises(UserError, match="here: column `rating` is not as `ratings` needs it"):
        RATINGS.check(good.set_column(2, "rating", [["good"]]), "here")
    with pytest.raises(UserError, match=r"here: `ratings.rating` is null; nothing was written"):
        RATINGS.enforce(good.set_column(2, "rating", [pa.nulls(1, pa.float32())]), "here")


def newest(spark: SparkSession, ref: TableRef) -> Commit:
    log = TableLog(ref, lambda: spark)
    return log.commit(log.newest)


@pytest.mark.connect
def test_spark_writes_what_a_table_means_and_it_stays(spark: SparkSession, tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "lfm models"))
    for run, clause in (("a", "run_id = 'a'"), ("a", "run_id = 'a'"), ("b", "run_id = 'b'"), ("c", "")):
        row = spark.createDataFrame([(run, 1.0, 1.0, 5.0, 1, "{}", "mf", 0.8, None, "here", 0)], LFM_MODELS.schema())
        TableSink(ref, LFM_MODELS, stamp=run).write(row, replace_where=clause)
        assert comments(spark, ref) == meanings(LFM_MODELS)
        assert newest(spark, ref).stamp == run
    assert ref.version(spark) == 3  # one commit for each, the first included
    assert ref.read(spark, LFM_MODELS).count() == 1


@pytest.mark.connect(slow=True)
def test_spark_appends_and_merges_under_the_same_comments(spark: SparkSession, tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "index_documents"))
    sink = TableSink(ref, INDEX_DOCUMENTS, "stamp")
    for page in (1, 2):
        sink.append(spark.createDataFrame(pa.Table.from_pylist([document(page)], INDEX_DOCUMENTS.arrow_schema())))
        assert comments(spark, ref) == meanings(INDEX_DOCUMENTS)
    assert (ref.version(spark), newest(spark, ref).stamp) == (1, "stamp")
    more = pa.Table.from_pylist([document(2), document(3)], INDEX_DOCUMENTS.arrow_schema())
    sink.merge(spark.createDataFrame(more.append_column("gone", pa.array([True, False]))), "gone")
    assert comments(spark, ref) == meanings(INDEX_DOCUMENTS)
    assert sorted(row["page_id"] for row in ref.frame(spark).collect()) == [1, 3]


def test_arrow_writes_what_a_table_means_and_it_stays(spark: SparkSession, tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "index_documents"))
    sink = ArrowSink(ref, INDEX_DOCUMENTS, no_spark)
    rows = pa.Table.from_pylist([document(1)], INDEX_DOCUMENTS.arrow_schema())
    for write in (sink.write, sink.append, sink.write, lambda table: sink.merge(table, [7])):
        write(rows)
        assert comments(spark, ref) == meanings(INDEX_DOCUMENTS)
    TableSink(ref, INDEX_DOCUMENTS).write(spark.createDataFrame(rows))
    assert comments(spark, ref) == meanings(INDEX_DOCUMENTS)


def test_a_catalog_keeps_the_comments_too(spark: SparkSession) -> None:
    spark.sql("CREATE DATABASE IF NOT EXISTS described")
    sink = TableSink(TableRef.find("", RANKS, "spark_catalog.described"), RANKS)
    for _ in range(2):
        sink.write(spark.createDataFrame([(1, 1.0)], RANKS.schema()))
        assert comments(spark, sink.ref) == meanings(RANKS)
    spark.sql("DROP DATABASE described CASCADE")


def test_remains_of_a_failed_write_are_no_obstacle(spark: SparkSession, tmp_path: Path) -> None:
    sink = TableSink(TableRef(str(tmp_path / "ranks")), RANKS)
    with pytest.raises(UserError, match=r"`ranks\.pagerank` is null; nothing was written"):
        sink.write(spark.createDataFrame([(1, 0.5), (2, None)], RANKS.schema()))
    assert not sink.ref.exists(spark)
    sink.write(spark.createDataFrame([(1, 1.0)], RANKS.schema()))
    assert sink.ref.read(spark, RANKS).collect() == [(1, 1.0)]
    assert comments(spark, sink.ref) == meanings(RANKS)

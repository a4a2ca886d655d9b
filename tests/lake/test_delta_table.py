"""Contracts and sinks: what is refused, by column; what a second write changes: nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import TableRef, TableSink, is_catalog_name
from lakerank.lake.schemas import LFM_MODELS, RANKS, RATINGS
from lakerank.lake.schemas.relation import Column, Relation
from lakerank.lake.table_log import TableLog


@pytest.mark.parametrize(
    ("text", "catalog"),
    [
        ("main.movies.ratings", True),
        ("movies.ratings", True),
        ("./lake/ratings", False),
        ("links.tsv", False),
        ("web.links.gz", False),
        ("s3://bucket/a.b.c", False),
        ("ratings", False),
    ],
)
def test_catalog_names_and_paths_are_told_apart(text: str, catalog: bool) -> None:
    assert is_catalog_name(text) is catalog


def test_names_are_looked_up_in_the_lake() -> None:
    assert TableRef.find("", RATINGS, "./lake/").location == "./lake/ratings"
    assert TableRef.find("", RATINGS, "lake").location == "lake/ratings"
    assert TableRef.find("", RATINGS, "./data.v1").location == "./data.v1/ratings"
    assert TableRef.find("", RATINGS, "main.movies").location == "main.movies.ratings"
    assert TableRef.find("/elsewhere", RATINGS, "./lake").location == "/elsewhere"
    assert TableRef("main.movies.ratings").sql == "`main`.`movies`.`ratings`"


@pytest.mark.connect
def test_writing_twice_is_writing_once(spark: SparkSession, tmp_path: Path) -> None:
    sink = TableSink(TableRef(str(tmp_path / "ranks")), RANKS, stamp="run-1")
    frame = spark.createDataFrame([(1, 0.25), (2, 0.75)], "id int, pagerank double")
    for _ in range(2):
        sink.write(frame)
    assert sorted(map(tuple, sink.ref.read(spark, RANKS).collect())) == [(1, 0.25), (2, 0.75)]
    assert dict(sink.ref.frame(spark).dtypes) == {"id": "bigint", "pagerank": "double"}  # widened on the way
    assert [commit.stamp for commit in TableLog(sink.ref, lambda: spark).since(-1)] == ["run-1", "run-1"]


def test_a_relative_folder_is_found_again(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sink = TableSink(TableRef("lake/ranks"), RANKS)
    sink.write(spark.createDataFrame([(1, 1.0)], "id bigint, pagerank double"))
    assert sink.ref.exists(spark)
    assert TableLog(sink.ref, lambda: spark).commit(0).stamp == ""
    assert (tmp_path / "lake" / "ranks" / "_delta_log").is_dir()


@pytest.mark.connect
def test_a_failed_write_leaves_the_old_table(spark: SparkSession, tmp_path: Path) -> None:
    sink = TableSink(TableRef(str(tmp_path / "ranks")), RANKS)
    sink.write(spark.createDataFrame([(1, 1.0)], "id bigint, pagerank double"))
    with pytest.raises(UserError, match=r"`ranks\.pagerank` is null; nothing was written"):
        sink.write(spark.createDataFrame([(1, 0.5), (2, None)], "id bigint, pagerank double"))
    assert sink.ref.read(spark, RANKS).collect() == [(1, 1.0)]


def test_replace_where_touches_only_its_rows(spark: SparkSession, tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "lfm_models"))
    for run, mean in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        row = spark.createDataFrame([(run, mean, 1.0, 5.0, 1, "{}", "mf", 0.8, None, "here", 0)], LFM_MODELS.schema())
        TableSink(ref, LFM_MODELS).write(row, replace_where=f"run_id = '{run}'")
    assert {(r["run_id"], r["mean"]) for r in ref.read(spark, LFM_MODELS).collect()} == {("a", 3.0), ("b", 2.0)}


def test_wrong_columns_are_named(spark: SparkSession, tmp_path: Path) -> None:
    good = spark.createDataFrame([(1, 2, 3.5, None)], RATINGS.schema())
    with pytest.raises(UserError, match=r"here: column `rating` is missing; `ratings` needs .*, and|and this has"):
        RATINGS.check(good.drop("rating"), "here")
    with pytest.raises(UserError, match="column `rating` is string, but `ratings` needs float"):
        RATINGS.check(good.withColumn("rating", F.lit("x")), "here")
    with pytest.raises(UserError, match="column `user_id` is double, but `ratings` needs bigint or string"):
        RATINGS.check(good.withColumn("user_id", F.lit(1.5)), "here")
    with pytest.raises(UserError, match="`ratings` has no column `mood`"):
        TableSink(TableRef(str(tmp_path / "x")), RATINGS).write(good.withColumn("mood", F.lit(1)))
    text_ids = good.withColumn("user_id", F.lit("ann"))
    assert dict(RATINGS.check(text_ids, "here").dtypes)["user_id"] == "string"
    assert RATINGS.check(good.withColumn("more", F.lit(1)), "here").columns == [c.name for c in RATINGS.columns]


def test_missing_table_says_which_job_makes_it(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Delta table `ratings` at .*: run ingest_ratings first"):
        TableRef(str(tmp_path / "ratings")).read(spark, RATINGS)
    spark.range(3).write.parquet(str(tmp_path / "parquet"))
    with pytest.raises(UserError, match="no Delta table"):
        TableRef(str(tmp_path / "parquet")).read(spark, RATINGS)


def test_catalog_table(spark: SparkSession) -> None:
    spark.sql("CREATE DATABASE IF NOT EXISTS shelf")
    sink = TableSink(TableRef.find("", RANKS, "spark_catalog.shelf"), RANKS)
    sink.write(spark.createDataFrame([("a", 1.0)], "id string, pagerank double"))
    assert sink.ref.location == "spark_catalog.shelf.ranks"
    assert sink.ref.read(spark, RANKS).collect() == [("a", 1.0)]
    spark.sql("DROP DATABASE shelf CASCADE")


def test_a_schema_that_is_not_there_is_named(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(1, 1.0)], "id bigint, pagerank double")
    for lake in ("spark_catalog.nowhere", "nowhere.movies"):
        with pytest.raises(UserError, match=rf"no schema {lake}: create it first, or write \./{lake}"):
            TableSink(TableRef.find("", RANKS, lake), RANKS).write(frame)


def test_a_file_where_the_lake_should_be_is_named(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "lake").touch()
    with pytest.raises(UserError, match=rf"cannot write, since {tmp_path}/lake is a file; choose another --lake"):
        TableSink(TableRef(str(tmp_path / "lake" / "ranks")), RANKS).write(
            spark.createDataFrame([(1, 1.0)], "id bigint, pagerank double")
        )


def test_a_place_that_cannot_be_written_is_named(spark: SparkSession) -> None:
    with pytest.raises(UserError, match=r"/proc/nowhere/ranks: cannot write"):
        TableSink(TableRef("/proc/nowhere/ranks"), RANKS).write(
            spark.createDataFrame([(1, 1.0)], "id bigint, pagerank double")
        )


def test_an_older_table_gets_the_columns_that_have_come_since(spark: SparkSession, tmp_path: Path) -> None:
    old = Relation("grown", "A table.", (Column("run_id", "string", "run"), Column("x", "int", "value")), (), "", "")
    new = dataclasses.replace(old, columns=(*old.columns, Column("y", "double", "new", nullable=True)))
    ref = TableRef(str(tmp_path / "grown"))
    TableSink(ref, old).write(spark.createDataFrame([("a", 1)], old.schema()))
    TableSink(ref, new).write(spark.createDataFrame([("b", 2, 0.5)], new.schema()), "run_id = 'b'")
    assert sorted(tuple(row) for row in ref.read(spark, new).collect()) == [("a", 1, None), ("b", 2, 0.5)]

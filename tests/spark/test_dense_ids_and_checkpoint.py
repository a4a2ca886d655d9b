"""Dense numbering over several partitions, and plans that stay short."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.spark.checkpoint import CHECKPOINT_PREFIX, checkpoint
from lakerank.spark.dense_ids import dense_index


@pytest.mark.connect
def test_ids_are_numbered_in_order_across_partitions(spark: SparkSession) -> None:
    ids = random.Random(0).sample(range(10**12), 5000)
    frame = spark.createDataFrame([(i,) for i in [*ids, *ids[:100]]], "id bigint").repartition(7)
    indexed, n = dense_index(frame)
    assert n == 5000
    assert [(row["id"], row["ix"]) for row in indexed.sort("ix").collect()] == [
        (i, ix) for ix, i in enumerate(sorted(ids))
    ]


def test_text_nulls_and_nothing(spark: SparkSession) -> None:
    indexed, n = dense_index(spark.createDataFrame([("b",), (None,), ("a",), ("b",)], "name string"))
    assert n == 2
    assert sorted(map(tuple, indexed.collect())) == [("a", 0), ("b", 1)]
    empty, none = dense_index(spark.createDataFrame([], "name string"))
    assert none == 0
    assert empty.columns == ["name", "ix"]


def test_where_checkpoints_are_refused_a_folder_serves(
    spark: SparkSession, tmp_path: Path, no_checkpoints: None
) -> None:
    frame = spark.range(7)
    with pytest.raises(UserError, match="give --scratch"):
        checkpoint(frame)
    assert sorted(row["id"] for row in checkpoint(frame, str(tmp_path)).collect()) == list(range(7))
    (made,) = tmp_path.iterdir()
    assert made.name.startswith(CHECKPOINT_PREFIX)


def test_a_cut_frame_has_no_history_and_keeps_its_rows(spark: SparkSession) -> None:
    frame = spark.range(100).withColumn("x", F.rand())
    for _ in range(5):
        frame = frame.withColumn("x", F.col("x") + 1)
    short = checkpoint(frame)
    assert short.collect() == short.collect()  # computed once: rand() would differ
    plan = spark._jvm.PythonSQLUtils.explainString(short._jdf.queryExecution(), "simple")  # type: ignore[union-attr]
    assert "rand" not in plan

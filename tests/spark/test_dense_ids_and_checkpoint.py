"""Dense numbering over several partitions, and plans that stay short."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.spark.checkpoint import CHECKPOINT_PREFIX, checkpoint, remove_checkpoints
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


class RefusedFrame:
    """A frame of a Spark that refuses local checkpoints; it notes where its rows went."""

    def __init__(self) -> None:
        self.write = self.read = self.sparkSession = self
        self.paths: list[Path] = []

    def localCheckpoint(self, eager: bool) -> None:
        raise PySparkException("NOT_SUPPORTED")

    def parquet(self, path: str) -> None:
        folder = Path(path.removeprefix("file://"))
        if folder not in self.paths:
            self.paths.append(folder)
            folder.mkdir(parents=True)


def test_checkpoints_in_a_folder_go_with_their_process(tmp_path: Path) -> None:
    write = (
        "import os, sys; sys.path[:0] = [sys.argv[2]]\n"
        "from test_dense_ids_and_checkpoint import RefusedFrame, checkpoint\n"
        "frame = RefusedFrame(); checkpoint(frame, sys.argv[1]); checkpoint(frame, 'file://' + sys.argv[1])\n"
        "assert len(frame.paths) == 2 and frame.paths[0].is_dir()\n"
    )
    command = [sys.executable, "-c", write, str(tmp_path), str(Path(__file__).parent)]
    subprocess.run([*command[:2], f"{write}os.kill(os.getpid(), 9)", *command[3:]], check=False)
    (left,) = tmp_path.iterdir()
    mine = RefusedFrame()
    checkpoint(mine, str(tmp_path))  # type: ignore[arg-type]
    assert not left.exists()
    subprocess.run(command, check=True)
    assert list(tmp_path.iterdir()) == [mine.paths[0].parent]  # another process has removed its own alone
    remove_checkpoints()
    assert not mine.paths[0].exists()

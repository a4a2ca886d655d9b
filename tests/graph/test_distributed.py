"""What makes the distributed plan cheap, seen in Spark's own plan."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_jobs.graph import distributed
from spark_jobs.graph.contract import Graph


@pytest.mark.connect
def test_an_iteration_moves_the_mail_and_not_the_links(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    edges = spark.createDataFrame(pa.table({"src": [1, 2, 3, 4, 5], "dst": [2, 3, 1, 1, 9]}))
    numbered = spark.createDataFrame(pa.table({"id": [1, 2, 3, 4, 5, 9], "number": [0, 1, 2, 3, 4, 5]}))
    packed = distributed.pack_blocks(Graph(edges), numbered, 6, 3)
    assert spark.conf.get("spark.sql.adaptive.enabled") == "true"  # put back
    mail = distributed._first_mail(Graph(edges), numbered, 6, 3)
    sent = distributed.exchange(packed, mail, 6, 3, 0.85)
    sent.explain()
    plan = capsys.readouterr().out
    moved = re.findall(r"Exchange .*", plan)
    assert len(moved) == 1, plan
    assert "REPARTITION_BY_NUM" in moved[0]  # a number of our own, which adaptive execution leaves alone
    # One task per block, and nobody waits for two.
    where = packed.selectExpr("block", "spark_partition_id() AS p").collect()
    assert sorted((row["block"], row["p"]) for row in where) == [(0, 0), (1, 1), (2, 2)]
    assert [row["edges"] for row in packed.orderBy("block").collect()] == [2, 2, 1]

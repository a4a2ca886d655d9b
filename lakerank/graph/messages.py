"""The mail that blocks of the distributed plan send one another, and the first they get."""

from __future__ import annotations

from math import fsum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.graph.base import Graph, no_teleport, unknown_teleport
from lakerank.graph.csr_block import block_size

# Mail to `block`. From another block (or itself) `origin`: `values` for the destinations `at` (empty: for all,
# in order) and the mass `dangling` that the origin's dangling nodes hold. From STATE: the block's own ranks
# `values` (empty: those of the teleport vector) and teleport shares `at` (empty: uniform), their last L1 change
# `delta`, how much rounding moved what was sent (`rounding`), and the memory of the worker.
STATE = -1
MAIL = (
    "block int, origin int, at binary, values binary, dangling double, delta double, rounding double, worker_mib double"
)
_ARROW = pa.schema(
    [
        ("block", pa.int32()),
        ("origin", pa.int32()),
        ("at", pa.binary()),
        ("values", pa.binary()),
        ("dangling", pa.float64()),
        ("delta", pa.float64()),
        ("rounding", pa.float64()),
        ("worker_mib", pa.float64()),
    ]
)


def first_mail(graph: Graph, numbered: DataFrame, nodes: int, blocks: int, damping: float) -> DataFrame:
    """A state for each block: its part of the teleport vector and of the ranks to begin with, if they are given."""
    spark = numbered.sparkSession
    if graph.teleport is None and graph.start is None:
        rows = [(block, STATE, b"", b"", 0.0, 0.0, 0.0, 0.0) for block in range(blocks)]
        return spark.createDataFrame(rows, MAIL)
    uniform = F.lit(1.0 / nodes)
    first = numbered.withColumn("share", uniform)
    if graph.teleport is not None:
        first = numbered.join(_teleport_shares(graph.teleport, numbered), "id", "left")
    share = F.coalesce(F.col("share"), F.lit(0.0))
    rank = F.lit(None).cast("double")
    if graph.start is not None:
        known = graph.start.where("pagerank > 0").select("id", F.col("pagerank").alias("rank"))
        first = first.join(known, "id", "left")
        rank = F.coalesce(F.col("rank"), (1 - damping) * share)
    rows_of = first.select(
        (F.col("number") % blocks).cast("int").alias("block"), "number", share.alias("share"), rank.alias("rank")
    )
    # Every block gets a row of number −1, so that none lacks its state.
    nobody = F.lit(-1).cast("bigint"), F.lit(0.0), F.lit(0.0)
    rows_of = rows_of.union(spark.range(blocks).select(F.col("id").cast("int"), *nobody))
    total = 1.0
    if graph.start is not None:
        total = fsum(row["rank"] for row in rows_of.groupBy("block").agg(F.sum("rank").alias("rank")).collect())
    named, begun = graph.teleport is not None, total if graph.start is not None and total > 0 else 0.0
    return rows_of.groupBy("block").applyInArrow(
        lambda t: _first_state(t, nodes=nodes, blocks=blocks, named=named, total=begun), MAIL
    )


def _teleport_shares(teleport: DataFrame, numbered: DataFrame) -> DataFrame:
    """`id`, `share`: the teleport vector, sum 1.

    Raises:
        UserError: an id is no node, or no weight is above 0.
    """
    shares = teleport.groupBy("id").agg(F.sum("weight").alias("weight"))
    unknown = shares.join(numbered, "id", "left_anti").orderBy("id").head(1)
    if unknown:
        raise unknown_teleport(unknown[0]["id"])
    top = shares.agg(F.max("weight")).collect()[0][0]
    if not top:
        raise no_teleport()
    scaled = shares.select("id", (F.col("weight") / top).alias("weight"))
    total = scaled.agg(F.sum("weight")).collect()[0][0]
    return scaled.select("id", (F.col("weight") / total).alias("share"))


def _first_state(table: pa.Table, *, nodes: int, blocks: int, named: bool, total: float) -> pa.Table:
    block = table.column("block")[0].as_py()
    table = table.filter(pc.greater_equal(table.column("number"), 0))
    place = table.column("number").to_numpy() // blocks
    share, rank = np.zeros(block_size(nodes, blocks, block)), np.zeros(block_size(nodes, blocks, block))
    share[place] = table.column("share").to_numpy()
    if total:
        rank[place] = table.column("rank").to_numpy()
        rank /= total
    at, values = share.tobytes() if named else b"", rank.tobytes() if total else b""
    return as_mail([(block, STATE, at, values, 0.0, 0.0, 0.0, 0.0)])


def as_mail(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Rows of `MAIL`, each with all its columns."""
    names = _ARROW.names
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=_ARROW)

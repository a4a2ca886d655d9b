"""From parsed inputs to the graph an engine is given, and the printed table of the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from spark_jobs.graph.contract import Graph
from spark_jobs.graph.edge_lists import EDGE, NODE, Parsed
from spark_jobs.lake.errors import UserError


def assemble(edges: Parsed, nodes: Parsed | None, teleport: Parsed | None, weighted: bool) -> Graph:
    """One graph with ids of one type: bigint if those of edges and nodes are whole numbers, else text.

    Raises:
        UserError: a teleport id cannot be one of the graph's.
    """
    numeric = edges.numeric and (nodes is None or nodes.numeric)
    starts = None
    if teleport is not None:
        text = teleport.as_text(NODE)
        if numeric and not teleport.numeric:
            whole = F.col("id").try_cast("bigint").cast("string")
            odd = text.where(whole.isNull() | (whole != F.col("id"))).head(1)
            raise UserError(f"teleport: id {odd[0]['id']!r} is not a node of the graph")
        starts = teleport.rows if numeric else text
    return Graph(
        edges.rows if numeric else edges.as_text(EDGE),
        None if nodes is None else nodes.rows if numeric else nodes.as_text(NODE),
        starts,
        weighted,
        edges.count,
    )


def top_nodes(ranks: DataFrame, count: int) -> list[Row]:
    """The `count` nodes with the highest rank, `id` and `pagerank`; equal ranks in order of id."""
    return ranks.orderBy(F.desc("pagerank"), "id").limit(count).collect()


def names_of(links: DataFrame, ids: Sequence[Any]) -> dict[Any, str]:
    """The addresses of some nodes, if the links table has the columns `src_url` and `dst_url`."""
    if not ids or not {"src", "dst", "src_url", "dst_url"} <= set(links.columns):
        return {}
    both = links.select(F.col("src").alias("id"), F.col("src_url").alias("url")).union(links.select("dst", "dst_url"))
    named = both.where(F.col("id").isin(list(ids))).groupBy("id").agg(F.min("url").alias("url")).collect()
    return {row["id"]: row["url"] for row in named if row["url"]}


def as_table(top: Sequence[Row], names: Mapping[Any, str]) -> str:
    """The best nodes as lines of text: place, rank, name or id."""
    lines = [f"{'place':>5}  {'pagerank':>12}  node"]
    for place, row in enumerate(top, start=1):
        lines.append(f"{place:>5}  {row['pagerank']:>12.6g}  {names.get(row['id'], row['id'])}")
    return "\n".join(lines)


def convergence(history: Sequence[tuple[int, float, float]]) -> str:
    """Every iteration of a short run, every tenth and the last of a long one, as lines of text."""
    step = 1 if len(history) <= 10 else 10
    shown = [entry for entry in history if entry[0] == 1 or entry[0] % step == 0 or entry is history[-1]]
    return "\n".join(
        f"  iteration {number:>4}   l1 change {delta:.3e}   dangling {dangling:.4f}"
        for number, delta, dangling in shown
    )


def metrics(spark: SparkSession, history: Sequence[tuple[int, float, float]]) -> DataFrame:
    """The history as a frame: `iteration` int, `l1_delta` and `dangling` double."""
    number, delta, dangling = (list(column) for column in zip(*history, strict=True))
    columns = {"iteration": pa.array(number, pa.int32()), "l1_delta": delta, "dangling": dangling}
    return spark.createDataFrame(pa.table(columns))

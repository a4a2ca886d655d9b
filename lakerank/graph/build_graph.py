"""From parsed inputs to the graph an engine is given, and the printed table of the best."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph.base import Graph, RankResult
from lakerank.graph.driver_plan import ON_DRIVER
from lakerank.graph.edge_lists import EDGE, NODE, Parsed


def assemble(
    edges: Parsed, nodes: Parsed | None, teleport: Parsed | None, weighted: bool, start: DataFrame | None = None
) -> Graph:
    """One graph with ids of one type: bigint if those of edges and nodes are whole numbers, else text.

    Args:
        edges: links.
        nodes: nodes to rank even if no link touches them.
        teleport: where the surfer starts afresh.
        weighted: whether the weights of links count.
        start: `id`, `pagerank`: ranks to begin with; ids that cannot be the graph's are left out.

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
        None if start is None else _of_type(start, numeric),
    )


def _of_type(ranks: DataFrame, numeric: bool) -> DataFrame:
    """Ranks with ids as numbers, or as text."""
    kind = "bigint" if numeric else "string"
    return ranks.select(F.col("id").try_cast(kind).alias("id"), "pagerank").where("id IS NOT NULL")


def top_nodes(ranks: Any, count: int) -> list[dict[str, Any]]:
    """The `count` nodes with the highest rank, `id` and `pagerank`, of a frame or an Arrow table; equal ranks in order
    of id."""
    if isinstance(ranks, pa.Table):
        order = [("pagerank", "descending"), ("id", "ascending")]
        return cast(list[dict[str, Any]], ranks.take(pc.select_k_unstable(ranks, count, order)).to_pylist())
    return [row.asDict() for row in ranks.orderBy(F.desc("pagerank"), "id").limit(count).collect()]


def certain_places(best: Sequence[Mapping[str, Any]], bound: float | None, count: int) -> int | None:
    """How many of the first places the exact ranks give to the same nodes, whatever the error; None if unknown.

    Both vectors sum to 1, so what some nodes have too much others have too little: no rank is off by more than half
    the L1 error, and no difference of two by more than all of it.

    Args:
        best: the `count` + 1 nodes with the highest rank, or all there are.
        bound: of the L1 error.
        count: how many places are asked for.
    """
    if bound is None:
        return None
    ranks = [row["pagerank"] for row in best]
    for place, (rank, after) in enumerate(itertools.pairwise(ranks)):
        if rank - after <= bound:
            return place
    return min(count, len(ranks))


def in_words(result: RankResult, bound: float | None, certain: int | None, before: int | None) -> str:
    """How exact the ranks are, what they cost, and what earlier ranks saved, as lines of text."""
    lines = []
    if bound is not None:
        places = f"; the first {certain} places are certain" if certain else ""
        lines.append(f"pagerank: off by at most {bound:.1e} in sum, no rank by more than {bound / 2:.1e}{places}")
    if before is not None:
        lines.append(f"pagerank: {result.iterations} iterations, {before} in the run before")
    if result.worker_mib is not None:
        who = "the driver's Python" if result.engine == ON_DRIVER else "a worker"
        lines.append(f"pagerank: {who} held at most {result.worker_mib:,.0f} MiB")
    return "\n".join(lines)


def names_of(links: DataFrame, ids: Sequence[Any]) -> dict[Any, str]:
    """The addresses of some nodes, if the links table has the columns `src_url` and `dst_url`."""
    if not ids or not {"src", "dst", "src_url", "dst_url"} <= set(links.columns):
        return {}
    both = links.select(F.col("src").alias("id"), F.col("src_url").alias("url")).union(links.select("dst", "dst_url"))
    named = both.where(F.col("id").isin(list(ids))).groupBy("id").agg(F.min("url").alias("url")).collect()
    return {row["id"]: row["url"] for row in named if row["url"]}


def as_table(top: Sequence[Mapping[str, Any]], names: Mapping[Any, str]) -> str:
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


def metrics(history: Sequence[tuple[int, float, float]]) -> pa.Table:
    """The history as a table: `iteration` int, `l1_delta` and `dangling` double."""
    number, delta, dangling = (list(column) for column in zip(*history, strict=True))
    return pa.table({"iteration": pa.array(number, pa.int32()), "l1_delta": delta, "dangling": dangling})

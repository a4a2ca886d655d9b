"""PageRank for users of GraphFrames: their call, their parameter names, their columns, without GraphX.

    g.pageRank(resetProbability=0.15, maxIter=20)            # before
    pagerank(g, resetProbability=0.15, maxIter=20)           # after
    pagerank(vertices, edges, resetProbability=0.15, tol=1e-8)  # also where there is no GraphFrame, as on serverless

Parallel edges count as often as they are listed, and ends of edges that are no vertices take part but are not returned,
both as in GraphX. Ranks are those GraphX converges to: it lets the mass of sinks leak and rescales at the end
(`graphframes_engine` says why that is the same).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph.base import Graph, PageRankConfig, RankResult
from lakerank.graph.engines import run_native

_WHOLE = ("tinyint", "smallint", "int", "bigint")
_UNTIL_DONE = 1000  # iterations at most when `tol` decides


@dataclass(frozen=True)
class Ranked:
    """What GraphFrames' `pageRank` returns, as two frames.

    Attributes:
        vertices: as given, with `pagerank` double.
        edges: as given, with `weight` double: the part of its source's rank that each edge carries.
        result: how it converged: iterations, last change, bound of the error (`RankResult.error_bound`).
    """

    vertices: DataFrame
    edges: DataFrame
    result: RankResult


def pagerank(
    vertices: Any,
    edges: DataFrame | None = None,
    *,
    resetProbability: float = 0.15,
    sourceId: Any = None,
    maxIter: int | None = None,
    tol: float | None = None,
    weightCol: str | None = None,
    sumToN: bool = False,
    scratch: str = "",
) -> Ranked:
    """Rank the vertices of a graph.

    Args:
        vertices: a GraphFrame, or its vertices: `id` (whole numbers or text) and any other columns.
        edges: `src`, `dst` and any other columns; left out if `vertices` is a GraphFrame.
        resetProbability: of starting afresh, 0 to 1; 1 − damping.
        sourceId: start afresh at this vertex only (personal PageRank); None: anywhere.
        maxIter: do so many iterations at most. Exactly one of `maxIter` and `tol`.
        tol: stop when ranks of sum 1 change by less than this, L1. (GraphX asks it of each vertex by itself.)
        weightCol: column of `edges` with a number ≥ 0 that says how much an edge counts; None: all alike.
        sumToN: ranks sum to the number of vertices, as GraphFrames has it, rather than to 1.
        scratch: folder for intermediate results where local checkpoints are refused, as on serverless.

    Raises:
        UserError: a column is missing or of the wrong type, both or neither of `maxIter` and `tol` are given, a weight
            cannot be used, or there is no vertex `sourceId`.
    """
    if edges is None:
        if isinstance(vertices, DataFrame) or not hasattr(vertices, "edges"):
            raise UserError("pagerank: give vertices and edges, or a GraphFrame")
        vertices, edges = vertices.vertices, vertices.edges
    if (maxIter is None) == (tol is None):
        raise UserError("pagerank: exactly one of maxIter or tol must be set")
    config = PageRankConfig(
        1 - resetProbability, 0.0 if tol is None else tol, _UNTIL_DONE if maxIter is None else maxIter, scratch=scratch
    )
    id_type = _id_type(vertices, edges)
    graph = _graph(vertices, edges, id_type, sourceId, weightCol)
    result = run_native(graph, config)
    if weightCol is None and result.edges < graph.edges.count():  # parallel edges count as often as they are listed
        each = graph.edges.withColumn("weight", F.lit(1.0))
        result = run_native(replace(graph, edges=each, weighted=True), config)
    scale = F.lit(float(result.nodes)) if sumToN else F.lit(1.0)
    ranks = result.ranks.select(F.col("id").alias("_id"), (F.col("pagerank") * scale).alias("pagerank"))
    kept = vertices.drop("pagerank")
    ranked = kept.join(ranks, kept["id"].cast(id_type) == ranks["_id"]).drop("_id")
    return Ranked(ranked, edges.withColumn("weight", _share(weightCol)), result)


def _graph(vertices: DataFrame, edges: DataFrame, id_type: str, source: Any, weight: str | None) -> Graph:
    ends = [F.col(name).cast(id_type).alias(name) for name in ("src", "dst")]
    if weight is not None:
        ends.append(F.col(weight).cast("double").alias("weight"))
    links, nodes = edges.select(*ends), vertices.select(F.col("id").cast(id_type).alias("id"))
    teleport = None
    if source is not None:
        start = nodes.where(F.col("id") == F.lit(source)).distinct()
        if not start.head(1):
            raise UserError(f"pagerank: sourceId {source!r} is no vertex")
        teleport = start.withColumn("weight", F.lit(1.0))
    if weight is not None and (bad := links.where(_unusable(F.col("weight"))).head(1)):
        raise UserError(f"pagerank: edge {bad[0]['src']} → {bad[0]['dst']}: `{weight}` is {bad[0]['weight']}, not ≥ 0")
    return Graph(links, nodes, teleport, weight is not None)


def _unusable(weight: Column) -> Column:
    odd: Column = weight.isNull() | F.isnan(weight) | (weight < 0) | (weight == float("inf"))
    return odd


def _share(weight: str | None) -> Column:
    """The part of its source's rank that an edge carries."""
    each = F.lit(1.0) if weight is None else F.col(weight).cast("double")
    return F.try_divide(each, F.sum(each).over(Window.partitionBy("src")))


def _id_type(vertices: DataFrame, edges: DataFrame) -> str:
    """`bigint` if all ids are whole numbers, `string` if all are text.

    Raises:
        UserError: a column is missing, or of another type, or the types differ.
    """
    types = set()
    for frame, what, name in ((vertices, "vertices", "id"), (edges, "edges", "src"), (edges, "edges", "dst")):
        kind = dict(frame.dtypes).get(name)
        if kind not in (*_WHOLE, "string"):
            raise UserError(f"{what}: column `{name}` must be whole numbers or text, not {kind or 'missing'}")
        types.add("string" if kind == "string" else "bigint")
    if len(types) > 1:
        raise UserError("pagerank: ids of vertices and edges must be all whole numbers or all text")
    return types.pop()

"""Adapter for GraphFrames, whose PageRank is GraphX's. The only place that looks into the JVM.

GraphX starts every node at 1, lets the mass of dangling nodes leak away and rescales at the end. With P the
matrix of followed links, its fixed point solves x = d·P·x + (1 − d)·1. Ours solves
x = d·P·x + (d·m + 1 − d)·1/n, where m, the dangling mass, is a number: the same equation but for a factor on
the right, so the same vector once both are scaled to sum 1.

After k steps GraphX is off by at most 2·n·dᵏ before scaling, which divides by at least n·(1 − d), and scaling
at most doubles the error; one step of ours then changes the ranks by at most twice their error. So
k = log(tol·(1 − d) / 8) / log d steps are enough. How much one step of ours does change them is measured
afterwards, in Spark SQL, and reported as the last change: `converged` is what was found, not what was hoped.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph.base import Graph, PageRankConfig, RankResult, no_nodes
from lakerank.graph.iterate import StoppingRule
from lakerank.spark.checkpoint import checkpoint
from lakerank.spark.dense_ids import dense_index

PACKAGE = "io.graphframes:graphframes-spark4_2.13:0.12.3"
_CONNECT_PLUGINS = "spark.connect.extensions.relation.classes"
# What GraphX calls the frames that it keeps.
_KEPT = ("VertexRDD", "EdgeRDD")
_JAVA_CLASS = "org.graphframes.GraphFramePythonAPI"  # what graphframes-py itself loads


def _jvm(spark: SparkSession) -> Any:
    return getattr(spark, "_jvm", None) if hasattr(type(spark), "_jvm") or "_jvm" in vars(spark) else None


def missing(spark: SparkSession) -> str:
    """Say why GraphFrames cannot be used in this session; empty if it can."""
    try:
        import graphframes  # noqa: F401
    except ImportError:
        return "the Python package graphframes-py is not installed"
    jvm = _jvm(spark)
    if jvm is None:  # Spark Connect: its classes cannot be seen, but the server says which plugins it has
        if "graphframes" in (spark.conf.get(_CONNECT_PLUGINS, "") or "").lower():
            return ""
        return f"this Spark Connect server has no GraphFrames plugin ({_CONNECT_PLUGINS})"
    try:
        jvm.Thread.currentThread().getContextClassLoader().loadClass(_JAVA_CLASS)
    except Exception:  # py4j wraps ClassNotFoundException
        return f"its classes are not on the class path (spark-submit --packages {PACKAGE})"
    return ""


def lacks(graph: Graph, config: PageRankConfig) -> str:
    """Say what is asked that GraphX cannot do; empty if nothing."""
    if graph.weighted:
        return "it ignores edge weights"
    if graph.teleport is not None:
        return "it knows no teleport vector"
    if graph.warm_start is not None:
        return "it cannot start from earlier ranks"
    if type(config.rule) is not StoppingRule:
        return "it has a stopping rule of its own"
    if config.damping >= 1:
        return "it loses the dangling mass for good when damping is 1"
    return ""


def steps_needed(damping: float, tol: float, max_iter: int) -> int:
    """Return the iterations after which GraphX's ranks are within `tol` by the bound above, at most `max_iter`."""
    if damping == 0:
        return 1
    if tol == 0:
        return max_iter
    enough = math.ceil(math.log(tol * (1 - damping) / 8) / math.log(damping))
    return max(1, min(max_iter, enough))


def run(graph: Graph, config: PageRankConfig) -> RankResult:
    """Compute PageRank by GraphFrames.

    Raises:
        UserError: weights, a teleport vector, earlier ranks or damping 1 are asked for, or the graph has no nodes.
    """
    if reason := lacks(graph, config):
        raise UserError(f"--engine graphframes: {reason}; use --engine native")
    from graphframes import GraphFrame

    # Numbers in place of text: for text GraphFrames keeps a frame of numbers of its own, which nobody can release.
    edges, vertices, names = graph.edges.select("src", "dst").distinct(), graph.ids, None
    if graph.id_type == "string":
        names = checkpoint(dense_index(vertices, config.scratch)[0], config.scratch)
        vertices = names.select(F.col("ix").alias("id"))
        for end in ("src", "dst"):
            edges = edges.join(names.withColumnRenamed("id", end), end).drop(end).withColumnRenamed("ix", end)
    edges, vertices = checkpoint(edges.select("src", "dst"), config.scratch), checkpoint(vertices, config.scratch)
    nodes, links = vertices.count(), edges.count()
    if not nodes:
        raise no_nodes()
    steps = steps_needed(config.damping, config.tol, config.max_iter)
    with warnings.catch_warnings(), releasing(edges.sparkSession):
        warnings.simplefilter("ignore", DeprecationWarning)
        ranked = GraphFrame(vertices, edges).pageRank(resetProbability=1 - config.damping, maxIter=steps)
        raw = checkpoint(ranked.vertices.select("id", "pagerank"), config.scratch)
    total = raw.agg(F.sum("pagerank")).collect()[0][0]
    ranks = raw.select("id", (F.col("pagerank") / total).alias("pagerank"))
    delta, dangling = change_of_one_step(ranks, edges, nodes, config.damping)
    if names is not None:
        ranks = ranks.withColumnRenamed("id", "ix").join(names, "ix").select("id", "pagerank")
    history = [(steps, delta, dangling)]
    return RankResult(ranks, steps, history, nodes, links, "graphframes", StoppingRule(config.tol).is_met(delta))


@contextmanager
def releasing(spark: SparkSession) -> Iterator[None]:
    """Release what GraphX keeps in memory within: it leaves that to the garbage collector of the driver's Java.

    What somebody else's GraphX has begun to keep meanwhile goes, too; it would be computed again. On Spark Connect,
    where nobody sees it, the server's garbage collector has to do.
    """
    before = set(_kept(spark))
    yield
    for number, frame in _kept(spark).items():
        if number not in before:
            frame.unpersist(False)


def _kept(spark: SparkSession) -> dict[int, Any]:
    """Return by number what GraphX keeps in memory."""
    if _jvm(spark) is None:
        return {}
    every = spark._jsc.sc().getPersistentRDDs()
    numbers, found = every.keysIterator(), {}
    while numbers.hasNext():
        number = numbers.next()
        frame = every.apply(number)
        if any(name in str(frame.name()) for name in _KEPT):
            found[int(number)] = frame
    return found


def change_of_one_step(ranks: DataFrame, edges: DataFrame, nodes: int, damping: float) -> tuple[float, float]:
    """Measure how far one iteration of ours moves `ranks` in L1, and the mass of its dangling nodes.

    Args:
        ranks: `id`, `pagerank`, sum 1.
        edges: `src`, `dst`, each link once.
        nodes: n, rows of `ranks`.
        damping: d.
    """
    links = edges.groupBy(F.col("src").alias("id")).count()
    giving = ranks.join(links, "id", "left")
    dangling_mass = giving.where("count IS NULL").agg(F.coalesce(F.sum("pagerank"), F.lit(0.0))).collect()[0][0]
    shares = giving.where("count IS NOT NULL").select(
        F.col("id").alias("src"), (F.col("pagerank") / F.col("count")).alias("share")
    )
    received = edges.join(shares, "src").groupBy(F.col("dst").alias("id")).agg(F.sum("share").alias("got"))
    everywhere = (damping * dangling_mass + 1 - damping) / nodes
    after = F.coalesce(F.col("got"), F.lit(0.0)) * damping + everywhere
    moved = ranks.join(received, "id", "left").agg(F.sum(F.abs(after - F.col("pagerank")))).collect()[0][0]
    return float(moved), float(dangling_mass)

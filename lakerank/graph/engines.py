"""The PageRank engines by name, which one to take, and `rank_links`, which reads, chooses and computes.

Our own engine (`native`) needs nothing but Spark, knows weights and teleport vectors, and runs on Spark Connect. It has
three plans with the same packed links and the same compiled loop: in this process, in one task of a worker, and
distributed with one Spark job per iteration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph import distributed_plan, graphframes_engine, local_plan, store
from lakerank.graph.base import Engine, Graph, PageRankConfig, RankResult
from lakerank.graph.build_graph import host_graph, weigh_inside
from lakerank.spark.checkpoint import checkpoint


def run_native(graph: Graph, config: PageRankConfig) -> RankResult:
    """Compute PageRank by the plan that fits the graph's size.

    Raises:
        UserError: no nodes, a teleport id that is no node, or a teleport vector without weight.
    """
    if graph.rows is None:
        graph = dataclasses.replace(graph, rows=graph.edges.count())
    if graph.rows is not None and graph.rows <= config.one_task_edges:
        return local_plan.run(graph, config)
    return distributed_plan.run(graph, config)


ENGINES: dict[str, Engine] = {
    "graphframes": graphframes_engine.run,
    "native": run_native,
}
CHOICES = ("auto", *ENGINES)


def choose_engine(spark: SparkSession, wanted: str, graph: Graph, config: PageRankConfig) -> tuple[str, str]:
    """Return the name of the engine to use and the reason in words.

    Args:
        spark: the session, asked whether GraphFrames' classes are there.
        wanted: one of `CHOICES`; `auto` takes ours, which is exact, faster, and needs nothing but Spark.
        graph: weights and a teleport vector decide what an engine must be able to do.
        config: so does a damping of 1.

    Raises:
        UserError: the engine asked for is not there or cannot do it, or has no such name.
    """
    if wanted not in CHOICES:
        raise UserError(f"--engine must be one of {', '.join(CHOICES)}, not {wanted!r}")
    if wanted == "auto":
        return "native", "GraphFrames only if you ask for it"
    if wanted == "graphframes":
        if cannot := graphframes_engine.lacks(graph, config):
            raise UserError(f"--engine graphframes: {cannot}; use --engine native")
        if absent := graphframes_engine.missing(spark):
            raise UserError(f"--engine graphframes: {absent}; or use --engine native")
    return wanted, "you asked for it"


def say(text: str) -> None:
    """Print a line at once, before the long computation that it announces."""
    print(text, flush=True)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Hold the ranks of the links a user named.

    Attributes:
        result: what the engine found.
        engine: its name.
        location: where the links were read.
        rejected: relation `edges_rejected`; None if every row could be used.
        rejected_count: rows of it.
        host_ranks: relation `host_ranks`; None if hosts were not asked for.
    """

    result: RankResult
    engine: str
    location: str
    rejected: DataFrame | None = None
    rejected_count: int = 0
    host_ranks: DataFrame | None = None


def rank_links(
    spark: SparkSession,
    args: store.LinkArgs,
    config: PageRankConfig,
    *,
    engine: str = "auto",
    teleport: str = "",
    warm_start: str = "",
    driver_edges: int = 0,
    inside: float | None = None,
    tell: Callable[[str], Any] = say,
) -> Ranking:
    """Compute PageRank of the links that `args` names, by the engine and plan that suit them.

    Args:
        spark: the session.
        args: where the links and nodes are.
        config: settings of the computation.
        engine: one of `CHOICES`.
        teleport: file or table of ids (and weights) where the surfer starts afresh; empty: anywhere.
        warm_start: table of earlier ranks; empty: none.
        driver_edges: up to so many links of a table in a folder are read and ranked in this process; 0: never.
        inside: how much links inside a host count, 0 to 1, those to other hosts counting 1; then hosts are ranked, too.
            None: links count alike.
        tell: takes lines of text on what is being done.

    Raises:
        UserError: an input is missing or cannot be used, or the engine cannot do what is asked.
    """
    location = store.links_location(spark, args, store.EXAMPLE)
    if engine != "graphframes" and inside is None and not teleport and location != store.EXAMPLE:
        links_at, nodes_at, ranks_at = (
            store.published_at(spark, args.lake, where) if where else None
            for where in (location, args.nodes, warm_start)
        )
        assert links_at is not None
        local = store.read_on_driver(links_at, nodes_at, ranks_at, args.weights, driver_edges)
        if local is not None:
            tell(f"pagerank: links from {location}; engine native (on the driver, where they fit)")
            return Ranking(local_plan.run_on_driver(local, config), "native", location)
    links = store.read_links(spark, args, location, teleport=teleport, warm_start=warm_start, example=True)
    if links.ignored_columns:
        tell("pagerank: further columns are ignored; with --weights the third is the weight")
    graph, hosts = links.graph, None
    if inside is not None:
        hosts = checkpoint(store.hosts_of(spark, args.lake, links), config.scratch)
        graph = weigh_inside(graph, hosts, inside)
    name, reason = choose_engine(spark, engine, graph, config)
    tell(f"pagerank: links from {location}; engine {name} ({reason})")
    try:
        result = ENGINES[name](graph, config)
    except UserError as error:
        raise UserError(f"{teleport if 'teleport' in str(error) else location}: {error}") from error
    host_ranks = None if hosts is None else _host_ranks(links.graph, hosts, result.ranks, config)
    return Ranking(result, name, location, links.rejected, links.rejected_count, host_ranks)


def _host_ranks(graph: Graph, hosts: DataFrame, ranks: DataFrame, config: PageRankConfig) -> DataFrame:
    """Rank the hosts of a graph's pages, and add up the ranks of each one's pages: relation `host_ranks`."""
    ranked = run_native(host_graph(graph, hosts), config).ranks.withColumnRenamed("id", "host")
    sums = F.count("*").alias("pages"), F.sum("pagerank").alias("page_ranks")
    pages = ranks.join(hosts, "id").groupBy("host").agg(*sums)
    both: DataFrame = ranked.join(pages, "host")
    return both.select("host", "pagerank", "pages", "page_ranks")

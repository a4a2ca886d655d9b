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

from lakerank.cli.errors import UserError
from lakerank.graph import distributed_plan, graphframes_engine, local_plan, store
from lakerank.graph.base import Engine, Graph, PageRankConfig, RankResult


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
        wanted: one of `CHOICES`; `auto` takes GraphFrames if it is there and can do what is asked.
        graph: weights and a teleport vector decide what an engine must be able to do.
        config: so does a damping of 1.

    Raises:
        UserError: the engine asked for is not there or cannot do it, or has no such name.
    """
    if wanted not in CHOICES:
        raise UserError(f"--engine must be one of {', '.join(CHOICES)}, not {wanted!r}")
    if wanted not in ("auto", "graphframes"):
        return wanted, "you asked for it"
    cannot = graphframes_engine.lacks(graph, config)
    absent = graphframes_engine.missing(spark)
    if wanted == "graphframes":
        if cannot:
            raise UserError(f"--engine graphframes: {cannot}; use --engine native")
        if absent:
            raise UserError(f"--engine graphframes: {absent}; or use --engine native")
        return wanted, "you asked for it"
    if cannot or absent:
        return "native", f"GraphFrames: {cannot or absent}"
    return "graphframes", "it is on the class path and can do what is asked"


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
    """

    result: RankResult
    engine: str
    location: str
    rejected: DataFrame | None = None
    rejected_count: int = 0


def rank_links(
    spark: SparkSession,
    args: store.LinkArgs,
    config: PageRankConfig,
    *,
    engine: str = "auto",
    teleport: str = "",
    warm_start: str = "",
    driver_edges: int = 0,
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
        tell: takes lines of text on what is being done.

    Raises:
        UserError: an input is missing or cannot be used, or the engine cannot do what is asked.
    """
    location = store.links_location(spark, args, store.EXAMPLE)
    native = engine == "native" or (engine == "auto" and bool(graphframes_engine.missing(spark)))
    if native and not teleport and location != store.EXAMPLE:
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
    name, reason = choose_engine(spark, engine, links.graph, config)
    tell(f"pagerank: links from {location}; engine {name} ({reason})")
    try:
        result = ENGINES[name](links.graph, config)
    except UserError as error:
        raise UserError(f"{teleport if 'teleport' in str(error) else location}: {error}") from error
    return Ranking(result, name, location, links.rejected, links.rejected_count)

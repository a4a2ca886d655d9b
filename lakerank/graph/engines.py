"""The PageRank engines by name, and which one to take."""

from __future__ import annotations

from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.graph import graphframes_engine, native
from lakerank.graph.base import Engine, Graph, PageRankConfig, RankResult

__all__ = ["CHOICES", "ENGINES", "Engine", "Graph", "PageRankConfig", "RankResult", "choose_engine", "is_native"]

ENGINES: dict[str, Engine] = {
    "graphframes": graphframes_engine.run,
    "native": native.run,
}
CHOICES = ("auto", *ENGINES)


def is_native(spark: SparkSession, wanted: str) -> bool:
    """Whether it is our own engine whatever the graph is."""
    return wanted == "native" or (wanted == "auto" and bool(graphframes_engine.missing(spark)))


def choose_engine(spark: SparkSession, wanted: str, graph: Graph, config: PageRankConfig) -> tuple[str, str]:
    """The name of the engine to use and the reason in words.

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

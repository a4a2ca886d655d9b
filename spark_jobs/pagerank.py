"""PageRank of a web of links: which nodes a surfer who follows links at random is found at most.

Reads the links table, any edge list (tsv, csv, spaces; # comments; .gz; Parquet; Delta) or the built-in
three-page example, and writes `ranks`, `pagerank_metrics` and, where lines were wrong, `edges_rejected`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.graph import edge_lists
from spark_jobs.graph.assemble import (
    as_table,
    assemble,
    certain_places,
    convergence,
    in_words,
    metrics,
    names_of,
    top_nodes,
)
from spark_jobs.graph.engines import CHOICES, ENGINES, Graph, PageRankConfig, choose_engine
from spark_jobs.graph.examples import SEED, as_frame
from spark_jobs.lake.args import JobArgs, flag
from spark_jobs.lake.contracts import EDGES_REJECTED, LINKS, PAGERANK_METRICS, RANKS
from spark_jobs.lake.errors import UserError
from spark_jobs.lake.inputs import open_input
from spark_jobs.lake.job import run_job
from spark_jobs.lake.tables import TableRef, TableSink

EXAMPLE = "seed"


@dataclass(frozen=True)
class PageRankArgs(JobArgs):
    """Settings of the job."""

    links: str = flag("", f"links table or edge-list file, or `{EXAMPLE}` (default: the lake's links, else {EXAMPLE})")
    nodes: str = flag("", "file or table of node ids, to rank those without links too", metavar="FILE")
    out: str = flag("", "where to write the ranks (default: the lake's ranks table)")
    engine: str = flag("auto", "auto takes GraphFrames where it is and can, else native", choices=CHOICES)
    damping: float = flag(0.85, "probability of following a link", check=lambda v: 0 <= v <= 1, must="be 0 to 1")
    tol: float = flag(1e-8, "stop when ranks change less, L1", check=lambda v: 0 <= v < 1, must="be 0 to below 1")
    max_iter: int = flag(100, "stop after so many iterations", check=lambda v: v >= 1, must="be at least 1")
    teleport: str = flag("", "file or table of ids (and weights) where the surfer starts afresh", metavar="FILE")
    start: str = flag("", "table of earlier ranks to start with: saves iterations", metavar="TABLE")
    weights: bool = flag(False, "the third column (or `weight`) of the links is their weight")
    separator: str = flag("auto", "of text columns", choices=("auto", *edge_lists.SEPARATORS))
    header: str = flag(
        "auto",
        "first line names the columns; auto: if its words are known names (source, dst, …) or its ids are "
        "not whole numbers while all others are",
        choices=edge_lists.HEADERS,
    )
    top: int = flag(20, "print so many nodes", check=lambda v: v >= 0, must="be at least 0")
    one_task_edges: int = flag(100_000_000, "up to so many links one task does it all, without shuffles")
    block_edges: int = flag(4_000_000, "links per block beyond that", check=lambda v: v >= 1, must="be at least 1")
    scratch: str = flag("", "folder for intermediate results where Spark's local checkpoints are refused")


def read(spark: SparkSession, args: PageRankArgs, where: str, ids: Sequence[str], weight: str) -> edge_lists.Parsed:
    """Open and parse what a flag names."""
    return edge_lists.parse(open_input(spark, where), ids, weight, args.separator, args.header)


def load(spark: SparkSession, args: PageRankArgs) -> tuple[Graph, str, DataFrame | None, int]:
    """The graph, where its links came from, the rejected lines if there are any, and how many."""
    lake_links = TableRef.find("", LINKS, args.lake)
    where = args.links or (lake_links.location if lake_links.exists(spark) else EXAMPLE)
    if where == EXAMPLE:
        example = as_frame(spark, SEED)
        edges = edge_lists.from_rows(example, EXAMPLE, example.columns)
        if args.weights:
            raise UserError("--weights: the built-in example has none; give --links")
    else:
        edges = read(spark, args, where, edge_lists.EDGE, "yes" if args.weights else "no")
    if edges.wider and not args.weights:
        print("pagerank: further columns are ignored; with --weights the third is the weight")
    nodes = read(spark, args, args.nodes, edge_lists.NODE, "no") if args.nodes else None
    teleport = None
    if args.teleport:
        teleport = read(spark, args, args.teleport, edge_lists.NODE, "optional").all_of(args.teleport)
    count = edges.rejected_count + (nodes.rejected_count if nodes else 0)
    rejected = edges.rejected.union(nodes.rejected) if nodes else edges.rejected
    start = TableRef(args.start).read(spark, RANKS) if args.start else None
    return assemble(edges, nodes, teleport, args.weights, start), where, rejected if count else None, count


def earlier_iterations(spark: SparkSession, curve: TableRef, tol: float) -> int | None:
    """How many iterations the run before needed for this tolerance; None if it did not get there."""
    if not curve.exists(spark):
        return None
    reached = curve.read(spark, PAGERANK_METRICS).where(F.col("l1_delta") < tol)
    first = reached.agg(F.min("iteration")).collect()[0][0]
    return None if first is None else int(first)


def run(spark: SparkSession, args: PageRankArgs) -> Mapping[str, Any]:
    """Rank the nodes; returns the summary."""
    started = time.monotonic()
    config = PageRankConfig(args.damping, args.tol, args.max_iter, args.one_task_edges, args.block_edges, args.scratch)
    graph, where, rejected, rejected_count = load(spark, args)
    engine, reason = choose_engine(spark, args.engine, graph, config)
    print(f"pagerank: links from {where}; engine {engine} ({reason})", flush=True)
    try:
        result = ENGINES[engine](graph, config)
    except UserError as error:
        raise UserError(f"{args.teleport}: {error}" if "teleport" in str(error) else f"{where}: {error}") from error

    ranks, curve = TableRef.find(args.out, RANKS, args.lake), TableRef.find("", PAGERANK_METRICS, args.lake)
    before = earlier_iterations(spark, curve, config.tol) if args.start else None
    TableSink(ranks, RANKS).write(result.ranks)
    TableSink(curve, PAGERANK_METRICS).write(metrics(spark, result.history))
    bad_lines = TableRef.find("", EDGES_REJECTED, args.lake)
    if rejected is not None or bad_lines.exists(spark):
        none = spark.createDataFrame([], EDGES_REJECTED.schema())
        TableSink(bad_lines, EDGES_REJECTED).write(none if rejected is None else rejected)
    print(convergence(result.history))
    if rejected_count:
        print(f"pagerank: {rejected_count} lines rejected, see {bad_lines.location}")
    if not result.converged:
        print(
            f"pagerank: WARNING: not converged: the last of {result.iterations} iterations still changed the "
            f"ranks by {result.l1_delta:.3e} (tol {config.tol:g}); raise --max-iter",
            file=sys.stderr,
        )
    bound = result.error_bound(args.damping)
    best = top_nodes(ranks.read(spark, RANKS), args.top + 1)
    certain, best = certain_places(best, bound, args.top), best[: args.top]
    links = TableRef(where).frame(spark) if TableRef(where).exists(spark) else graph.edges
    print(as_table(best, names_of(links, [row["id"] for row in best])))
    print(in_words(result, bound, certain, before))
    print(f"pagerank: {result.nodes} nodes, {result.edges} links, ranks in {ranks.location}")
    return {
        "engine": engine,
        "plan": result.engine,
        "iterations": result.iterations,
        "iterations_saved": None if before is None else before - result.iterations,
        "l1_delta": result.l1_delta,
        "converged": result.converged,
        "nodes": result.nodes,
        "edges": result.edges,
        "rejected": rejected_count,
        "seconds": round(time.monotonic() - started, 3),
        "error_bound": bound,
        "worker_peak_mib": result.worker_mib and round(result.worker_mib),
        "top": [[row["id"], row["pagerank"]] for row in best],
        "top_certain": certain,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_job(run, PageRankArgs, "pagerank", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

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

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.graph import driver_plan, edge_lists
from lakerank.graph.build_graph import (
    as_table,
    assemble,
    certain_places,
    convergence,
    in_words,
    metrics,
    names_of,
    top_nodes,
)
from lakerank.graph.engines import CHOICES, ENGINES, Graph, PageRankConfig, RankResult, choose_engine, is_native
from lakerank.graph.examples import SEED, as_frame
from lakerank.lake.delta_arrow import ArrowSink, in_folder
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.input_files import open_input
from lakerank.lake.schemas import EDGES_REJECTED, LINKS, PAGERANK_METRICS, RANKS
from lakerank.spark.job import run_job

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
    driver_edges: int = flag(20_000_000, "up to so many links of a table in a folder the driver does it all; 0: never")
    one_task_edges: int = flag(100_000_000, "up to so many links one task does it all, without shuffles")
    block_edges: int = flag(4_000_000, "links per block beyond that", check=lambda v: v >= 1, must="be at least 1")
    scratch: str = flag("", "folder for intermediate results where Spark's local checkpoints are refused")


def read(spark: SparkSession, args: PageRankArgs, where: str, ids: Sequence[str], weight: str) -> edge_lists.Parsed:
    """Open and parse what a flag names."""
    return edge_lists.parse(open_input(spark, where), ids, weight, args.separator, args.header)


def place(spark: SparkSession, args: PageRankArgs) -> str:
    """Where the links are."""
    lake_links = TableRef.find("", LINKS, args.lake)
    return args.links or (lake_links.location if lake_links.exists(spark) else EXAMPLE)


def load(spark: SparkSession, args: PageRankArgs, where: str) -> tuple[Graph, DataFrame | None, int]:
    """The graph, the rejected lines if there are any, and how many."""
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
    return assemble(edges, nodes, teleport, args.weights, start), rejected if count else None, count


def rank(
    spark: SparkSession, args: PageRankArgs, where: str, config: PageRankConfig
) -> tuple[str, RankResult, DataFrame | None, int]:
    """Compute: the engine's name, what it found, the rejected lines if there are any, and how many."""
    if is_native(spark, args.engine) and not args.teleport and where != EXAMPLE:
        here = driver_plan.tables(in_folder, where, args.nodes, args.start, args.weights, args.driver_edges)
        if here is not None:
            print(f"pagerank: links from {where}; engine native (on the driver, where they fit)", flush=True)
            return "native", driver_plan.run(here, config), None, 0
    graph, rejected, count = load(spark, args, where)
    engine, reason = choose_engine(spark, args.engine, graph, config)
    print(f"pagerank: links from {where}; engine {engine} ({reason})", flush=True)
    try:
        return engine, ENGINES[engine](graph, config), rejected, count
    except UserError as error:
        raise UserError(f"{args.teleport if 'teleport' in str(error) else where}: {error}") from error


def write_ranks(spark: SparkSession, ref: TableRef, ranks: Any) -> Any:
    """Write them; returns where the best are looked for."""
    if isinstance(ranks, pa.Table):
        ArrowSink(ref, RANKS, lambda: spark).write(ranks)
        return ranks
    TableSink(ref, RANKS).write(ranks)
    return ref.read(spark, RANKS)


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
    where = place(spark, args)
    engine, result, rejected, rejected_count = rank(spark, args, where, config)
    ranks, curve = TableRef.find(args.out, RANKS, args.lake), TableRef.find("", PAGERANK_METRICS, args.lake)
    before = earlier_iterations(spark, curve, config.tol) if args.start else None
    written = write_ranks(spark, ranks, result.ranks)
    ArrowSink(curve, PAGERANK_METRICS, lambda: spark).write(metrics(result.history))
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
    best = top_nodes(written, args.top + 1)
    certain, best = certain_places(best, bound, args.top), best[: args.top]
    links = TableRef(where)
    names = names_of(links.frame(spark), [row["id"] for row in best]) if links.exists(spark) else {}
    print(as_table(best, names))
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

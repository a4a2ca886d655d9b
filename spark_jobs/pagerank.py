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

from pyspark.sql import SparkSession

from lakerank.cli.settings import AT_LEAST_ONE, FRACTION_BELOW_ONE, NOT_NEGATIVE, PROBABILITY, flag
from lakerank.graph.base import PageRankConfig
from lakerank.graph.engines import CHOICES, rank_links
from lakerank.graph.store import EXAMPLE, LinkArgs, names_of, previous_iterations, write_ranking
from lakerank.graph.summary import RankSummary
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class PageRankArgs(LinkArgs):
    """Settings of the job."""

    links: str = flag("", f"links table or edge-list file, or `{EXAMPLE}` (default: the lake's links, else {EXAMPLE})")
    out: str = flag("", "where to write the ranks (default: the lake's ranks table)")
    engine: str = flag("auto", "auto: native; graphframes only if you ask for it", choices=CHOICES)
    damping: float = flag(0.85, "probability of following a link", within=PROBABILITY)
    tol: float = flag(1e-8, "stop when ranks change less, L1", within=FRACTION_BELOW_ONE)
    max_iter: int = flag(
        0, "stop after so many iterations; 0: as many as --damping and --tol can take", within=NOT_NEGATIVE
    )
    teleport: str = flag("", "file or table of ids (and weights) where the surfer starts afresh", metavar="FILE")
    by_host: bool = flag(False, "links inside a host count less, and hosts are ranked, too, in host_ranks")
    inside_weight: float = flag(0.1, "by host: how much links inside one count", within=PROBABILITY)
    warm_start: str = flag("", "table of earlier ranks to start with: saves iterations", metavar="TABLE")
    top: int = flag(20, "print so many nodes", within=NOT_NEGATIVE)
    driver_edges: int = flag(20_000_000, "up to so many links of a table in a folder the driver does it all; 0: never")
    one_task_edges: int = flag(100_000_000, "up to so many links one task does it all, without shuffles")
    block_edges: int = flag(4_000_000, "links per block beyond that", within=AT_LEAST_ONE)


def run(spark: SparkSession, args: PageRankArgs) -> Mapping[str, Any]:
    """Rank the nodes; returns the summary."""
    started = time.monotonic()
    config = PageRankConfig(args.damping, args.tol, args.max_iter, args.one_task_edges, args.block_edges, args.scratch)
    found = rank_links(
        spark, args, config, engine=args.engine, teleport=args.teleport, warm_start=args.warm_start,
        driver_edges=args.driver_edges, inside=args.inside_weight if args.by_host else None,
    )  # fmt: skip
    result = found.result
    previous = previous_iterations(spark, args.lake, args.tol) if args.warm_start else None
    tables = write_ranking(spark, result.ranks, result.history, found.rejected, args.out, args.lake, found.host_ranks)
    summary = RankSummary.of(result, tables.rows, args.top, args.damping, previous)
    if found.rejected_count:
        print(f"pagerank: {found.rejected_count} lines rejected, see {tables.rejected}")
    if not result.converged:
        print(
            f"pagerank: WARNING: not converged: the last of {result.iterations} iterations still changed the "
            f"ranks by {result.l1_delta:.3e} (tol {args.tol:g}); raise --max-iter",
            file=sys.stderr,
        )
    print(summary.text(names_of(spark, args.lake, found.location, [row["id"] for row in summary.top])))
    if found.host_ranks is not None:
        print("pagerank: ranks of their hosts in the lake's host_ranks")
    print(f"pagerank: {result.nodes} nodes, {result.edges} links, ranks in {tables.ranks}")
    seconds = round(time.monotonic() - started, 3)
    return {"engine": found.engine, **summary.as_json(), "rejected": found.rejected_count, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_job(run, PageRankArgs, "pagerank", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Compute measures of links beside PageRank: centralities, personal ranks, components, communities, degrees.

Reads links as pagerank does and writes the table of the measure: `hits`, `harmonic`, `personal_ranks`, `components`,
`communities` or `degrees`.
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
from lakerank.graph.centrality import EXACT_WORK
from lakerank.graph.measures import MEASURES, first_rows, iterations_at_most, measure_links
from lakerank.graph.store import LinkArgs, names_of
from lakerank.graph.summary import as_rows
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class CentralityArgs(LinkArgs):
    """Settings of the job."""

    measure: str = flag("harmonic", "what to compute", choices=tuple(MEASURES))
    weights: bool = flag(False, "personal: the third column (or `weight`) of the links is their weight")
    seeds: str = flag("", "personal: text file of surfer and id (and weight), one a line", metavar="FILE")
    out: str = flag("", "where to write (default: the measure's table in the lake)")
    damping: float = flag(0.85, "personal: probability of following a link", within=PROBABILITY)
    tol: float = flag(1e-8, "stop when values change less, L1", within=FRACTION_BELOW_ONE)
    max_iter: int = flag(0, "stop after so many iterations; 0: 1000, communities 20", within=NOT_NEGATIVE)
    most_work: float = flag(
        EXACT_WORK, "harmonic: exact while that means to look at fewer links in all, else estimated"
    )
    keep: int = flag(100, "personal: keep so many nodes of each surfer; 0: all", within=NOT_NEGATIVE)
    top: int = flag(10, "print so many nodes, components or communities", within=NOT_NEGATIVE)
    one_task_edges: int = flag(
        100_000_000, "components, communities: up to so many links one task does it all", within=NOT_NEGATIVE
    )
    block_edges: int = flag(4_000_000, "links per block beyond that", within=AT_LEAST_ONE)


def run(spark: SparkSession, args: CentralityArgs) -> Mapping[str, Any]:
    """Measure and write the centralities; return the summary."""
    started = time.monotonic()
    most = iterations_at_most(args.measure, args.max_iter)
    config = PageRankConfig(args.damping, args.tol, most, args.one_task_edges, args.block_edges, args.scratch)
    found, links = measure_links(
        spark, args, args.measure, config, seeds=args.seeds, keep=args.keep, most_work=args.most_work
    )
    relation, _ = MEASURES[args.measure]
    out = TableRef.find(args.out, relation, args.lake)
    TableSink(out, relation).write(found.values)
    best = first_rows(out.read(spark, relation), args.measure, args.top)
    if best:
        print(as_rows(best, names_of(spark, args.lake, links.location, [row["id"] for row in best])))
    if links.rejected_count:
        print(f"centrality: {links.rejected_count} lines were not used; pagerank lists them in edges_rejected")
    nodes = found.summary["nodes"]
    print(f"centrality: {relation.name} of {nodes:.0f} nodes, links from {links.location}, in {out.location}")
    seconds = round(time.monotonic() - started, 3)
    return {"measure": args.measure, "rejected": links.rejected_count, "seconds": seconds, **found.summary}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_job(run, CentralityArgs, "centrality", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

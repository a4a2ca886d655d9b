"""Link spam: which pages owe their rank to a farm of pages made for it, and ranks in which farms count for nothing.

Reads the links table or an edge list, as pagerank does, and if you like a list of pages known to be good; writes
`trust_ranks`, `spam_report` and `trusted_ranks`, which build_index takes for its ranks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.graph import edge_lists
from lakerank.graph.base import Graph, PageRankConfig
from lakerank.graph.build_graph import assemble, names_of
from lakerank.graph.spam import distributed, one_task
from lakerank.graph.spam.report import as_text, worst
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.input_files import links_place, open_input
from lakerank.lake.schemas import SPAM_REPORT, TRUST_RANKS, TRUSTED_RANKS
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class LinkSpamArgs(JobArgs):
    """Settings of the job."""

    links: str = flag("", "links table or edge-list file (default: the lake's links)")
    nodes: str = flag("", "file or table of page ids, to rank those without links too", metavar="FILE")
    seeds: str = flag(
        "", "file or table of ids of pages known to be good (default: a good part is found)", metavar="FILE"
    )
    out: str = flag("", "where to write the defended ranks (default: the lake's trusted_ranks table)")
    damping: float = flag(0.85, "probability of following a link", check=lambda v: 0 <= v < 1, must="be 0 to below 1")
    tol: float = flag(1e-8, "stop when ranks change less, L1", check=lambda v: 0 <= v < 1, must="be 0 to below 1")
    max_iter: int = flag(100, "stop after so many iterations", check=lambda v: v >= 1, must="be at least 1")
    smallest: int = flag(50, "clusters of fewer pages are no farms", check=lambda v: v >= 2, must="be at least 2")
    weights: bool = flag(False, "the third column (or `weight`) of the links is their weight")
    separator: str = flag("auto", "of text columns", choices=("auto", *edge_lists.SEPARATORS))
    header: str = flag("auto", "whether the first line names the columns, as in pagerank", choices=edge_lists.HEADERS)
    top: int = flag(20, "print so many pages", check=lambda v: v >= 0, must="be at least 0")
    one_task_edges: int = flag(20_000_000, "up to so many links farms are looked for; beyond, TrustRank only")
    scratch: str = flag("", "folder for intermediate results where Spark's local checkpoints are refused")


def read(spark: SparkSession, args: LinkSpamArgs, where: str, ids: Sequence[str], weight: str) -> edge_lists.Parsed:
    """Open and parse what a flag names."""
    return edge_lists.parse(open_input(spark, where), ids, weight, args.separator, args.header, nofollow=True)


def load(spark: SparkSession, args: LinkSpamArgs) -> tuple[Graph, str, int]:
    """The graph with the seeds as its teleport rows, where its links came from, and how many lines were wrong."""
    where = links_place(spark, args.links, args.lake)
    edges = read(spark, args, where, edge_lists.EDGE, "yes" if args.weights else "no")
    nodes = read(spark, args, args.nodes, edge_lists.NODE, "no") if args.nodes else None
    seeds = None
    if args.seeds:
        seeds = read(spark, args, args.seeds, edge_lists.NODE, "optional").all_of(args.seeds)
    try:
        graph = assemble(edges, nodes, seeds, args.weights)
    except UserError as error:
        raise UserError(f"{args.seeds}: {str(error).removeprefix('teleport: ')}") from error
    return graph, where, edges.rejected_count + (nodes.rejected_count if nodes else 0)


def run(spark: SparkSession, args: LinkSpamArgs) -> Mapping[str, Any]:
    """Find farms and write ranks without them; returns the summary."""
    started = time.monotonic()
    graph, where, rejected = load(spark, args)
    config = one_task.SpamConfig(args.damping, args.tol, args.max_iter, args.smallest, args.scratch)
    rows = graph.edges.count() if graph.rows is None else graph.rows
    try:
        if rows <= args.one_task_edges:
            found = one_task.run(graph, config)
        else:
            print(f"link_spam: {rows} links: TrustRank and spam mass only; to find farms raise --one-task-edges")
            engine = PageRankConfig(args.damping, args.tol, args.max_iter, args.one_task_edges, scratch=args.scratch)
            found = distributed.run(graph, config, engine)
    except UserError as error:
        raise UserError(f"{args.seeds or where}: {str(error).removeprefix('seeds: ')}") from error

    pages, report = (TableRef.find("", relation, args.lake) for relation in (TRUST_RANKS, SPAM_REPORT))
    ranks = TableRef.find(args.out, TRUSTED_RANKS, args.lake)
    TableSink(pages, TRUST_RANKS).write(found.pages)
    TableSink(report, SPAM_REPORT).write(found.report)
    TableSink(ranks, TRUSTED_RANKS).write(found.pages.selectExpr("id", "trusted_rank AS pagerank"))
    shown = worst(found.report, args.top)
    links = TableRef(where).frame(spark) if TableRef(where).exists(spark) else graph.edges
    print(as_text(shown, names_of(links, [row["id"] for row in shown])))
    counts = found.counts
    if rejected:
        print(f"link_spam: {rejected} lines were not used; pagerank lists them in edges_rejected")
    print(
        f"link_spam: {counts['farms']} farms with {counts['flagged']} of {counts['nodes']} pages; "
        f"{counts['cut']} links from other pages into them were cut; defended ranks in {ranks.location}"
    )
    return {
        "plan": found.plan,
        **counts,
        "rejected": rejected,
        "seconds": round(time.monotonic() - started, 3),
        "top": [[row["id"], row["farm"], row["pagerank"], row["trusted_rank"]] for row in shown],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_job(run, LinkSpamArgs, "link_spam", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

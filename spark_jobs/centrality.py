"""What else a web of links says of its nodes: hubs and authorities, harmonic centrality, personal ranks for many.

Reads links as pagerank does and writes the table of the measure: `hits`, `harmonic` or `personal_ranks`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.graph import edge_lists, measures
from lakerank.graph.base import Graph, PageRankConfig
from lakerank.graph.build_graph import assemble, names_of
from lakerank.graph.harmonic import EXACT_WORK
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.input_files import links_place, open_input
from lakerank.lake.schemas import HARMONIC, HITS, PERSONAL_RANKS
from lakerank.spark.job import run_job

MEASURES = {"hits": HITS, "harmonic": HARMONIC, "personal": PERSONAL_RANKS}
_SORTED_BY = {"hits": "authority", "harmonic": "harmonic", "personal": "pagerank"}


@dataclass(frozen=True)
class CentralityArgs(JobArgs):
    """Settings of the job."""

    measure: str = flag("harmonic", "what to compute", choices=tuple(MEASURES))
    links: str = flag("", "links table or edge-list file (default: the lake's links)")
    nodes: str = flag("", "file or table of node ids, to measure those without links too", metavar="FILE")
    seeds: str = flag("", "personal: text file of surfer and id (and weight), one a line", metavar="FILE")
    out: str = flag("", "where to write (default: the measure's table in the lake)")
    damping: float = flag(
        0.85, "personal: probability of following a link", check=lambda v: 0 <= v <= 1, must="be 0 to 1"
    )
    tol: float = flag(1e-8, "stop when values change less, L1", check=lambda v: 0 <= v < 1, must="be 0 to below 1")
    max_iter: int = flag(1000, "stop after so many iterations", check=lambda v: v >= 1, must="be at least 1")
    weights: bool = flag(False, "personal: the third column (or `weight`) of the links is their weight")
    most_work: float = flag(
        EXACT_WORK, "harmonic: exact while that means to look at fewer links in all, else estimated"
    )
    keep: int = flag(100, "personal: keep so many nodes of each surfer; 0: all", check=lambda v: v >= 0, must="be ≥ 0")
    separator: str = flag("auto", "of text columns", choices=("auto", *edge_lists.SEPARATORS))
    header: str = flag("auto", "whether the first line names the columns, as in pagerank", choices=edge_lists.HEADERS)
    top: int = flag(10, "print so many nodes", check=lambda v: v >= 0, must="be at least 0")
    scratch: str = flag("", "folder for intermediate results where Spark's local checkpoints are refused")


def read(spark: SparkSession, args: CentralityArgs, where: str, ids: Sequence[str], weight: str) -> edge_lists.Parsed:
    """Open and parse what a flag names."""
    return edge_lists.parse(open_input(spark, where), ids, weight, args.separator, args.header)


def load(spark: SparkSession, args: CentralityArgs) -> tuple[Graph, str, int]:
    """The graph, where its links came from, and how many lines were wrong."""
    where = links_place(spark, args.links, args.lake)
    edges = read(spark, args, where, edge_lists.EDGE, "yes" if args.weights else "no")
    nodes = read(spark, args, args.nodes, edge_lists.NODE, "no") if args.nodes else None
    rejected = edges.rejected_count + (nodes.rejected_count if nodes else 0)
    return assemble(edges, nodes, None, args.weights), where, rejected


def read_seeds(spark: SparkSession, args: CentralityArgs, graph: Graph) -> DataFrame:
    """`source` string, `id` of the graph's type, `weight`."""
    if not args.seeds:
        raise UserError("--measure personal: give --seeds, a file of surfer and id, one a line")
    seeds = read(spark, args, args.seeds, edge_lists.EDGE, "optional").all_of(args.seeds)
    text = seeds.as_text(edge_lists.EDGE).select(F.col("src").alias("source"), F.col("dst").alias("id"), "weight")
    if graph.id_type == "string":
        return text
    odd = text.where(F.col("id").try_cast("bigint").isNull()).head(1)
    if odd:
        raise UserError(f"{args.seeds}: id {odd[0]['id']!r} is not a node of the graph")
    return text.withColumn("id", F.col("id").cast("bigint"))


def run(spark: SparkSession, args: CentralityArgs) -> Mapping[str, Any]:
    """Measure; returns the summary."""
    started = time.monotonic()
    config = PageRankConfig(args.damping, args.tol, args.max_iter, scratch=args.scratch)
    graph, where, rejected = load(spark, args)
    try:
        if args.measure == "hits":
            found = measures.hubs_and_authorities(graph, config)
        elif args.measure == "harmonic":
            found = measures.harmonic_centrality(graph, args.scratch, args.most_work)
        else:
            found = measures.personal_pagerank(graph, read_seeds(spark, args, graph), config, args.keep)
    except UserError as error:
        text = str(error)
        raise UserError(f"{args.seeds}: {text[7:]}" if text.startswith("seeds: ") else text) from error
    relation = MEASURES[args.measure]
    out = TableRef.find(args.out, relation, args.lake)
    TableSink(out, relation).write(found.values)
    best = out.read(spark, relation).orderBy(F.desc(_SORTED_BY[args.measure]), "id").limit(args.top).collect()
    links = TableRef(where)
    names = names_of(links.frame(spark), [row["id"] for row in best]) if links.exists(spark) else {}
    for row in best:
        cells = (names.get(value, value) if key == "id" else value for key, value in row.asDict().items())
        print("  " + "  ".join(f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in cells))
    if rejected:
        print(f"centrality: {rejected} lines were not used; pagerank lists them in edges_rejected")
    print(f"centrality: {relation.name} of {found.facts['nodes']:.0f} nodes, links from {where}, in {out.location}")
    seconds = round(time.monotonic() - started, 3)
    return {"measure": args.measure, "rejected": rejected, "seconds": seconds, **found.facts}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_job(run, CentralityArgs, "centrality", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

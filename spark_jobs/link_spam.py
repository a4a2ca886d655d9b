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

from lakerank.cli.settings import FRACTION_BELOW_ONE, NOT_NEGATIVE, Range, flag
from lakerank.graph.spam.plans import SpamConfig, as_text, defend_links, worst
from lakerank.graph.store import LinkArgs, names_of
from lakerank.lake.publications import publishing
from lakerank.lake.schemas import SPAM_REPORT, TRUST_RANKS, TRUSTED_RANKS
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class LinkSpamArgs(LinkArgs):
    """Settings of the job."""

    seeds: str = flag(
        "", "file or table of ids of pages known to be good (default: a good part is found)", metavar="FILE"
    )
    out: str = flag("", "where to write the defended ranks (default: the lake's trusted_ranks table)")
    damping: float = flag(0.85, "probability of following a link", within=FRACTION_BELOW_ONE)
    tol: float = flag(1e-8, "stop when ranks change less, L1", within=FRACTION_BELOW_ONE)
    max_iter: int = flag(
        0, "stop after so many iterations; 0: as many as --damping and --tol can take", within=NOT_NEGATIVE
    )
    smallest: int = flag(50, "clusters of fewer pages are no farms", within=Range(2))
    top: int = flag(20, "print so many pages", within=NOT_NEGATIVE)
    one_task_edges: int = flag(20_000_000, "up to so many links farms are looked for; beyond, TrustRank only")


def run(spark: SparkSession, args: LinkSpamArgs) -> Mapping[str, Any]:
    """Find farms and write ranks without them; returns the summary."""
    started = time.monotonic()
    config = SpamConfig(args.damping, args.tol, args.max_iter, args.smallest, args.one_task_edges, args.scratch)
    found, links = defend_links(spark, args, config, seeds=args.seeds)
    with publishing(lambda: spark, args.lake, "link_spam") as tables:
        tables.write(TRUST_RANKS, found.pages)
        tables.write(SPAM_REPORT, found.report)
        ranks = tables.write(TRUSTED_RANKS, found.pages.selectExpr("id", "trusted_rank AS pagerank"), args.out)
    top = worst(found.report, args.top)
    print(as_text(top, names_of(spark, args.lake, links.location, [row["id"] for row in top])))
    counts = found.counts
    if links.rejected_count:
        print(f"link_spam: {links.rejected_count} lines were not used; pagerank lists them in edges_rejected")
    print(
        f"link_spam: {counts['farms']} farms with {counts['flagged']} of {counts['nodes']} pages; "
        f"{counts['links_cut']} links from other pages into them were cut; defended ranks in {ranks.location}"
    )
    return {
        "plan": found.plan,
        **counts,
        "rejected": links.rejected_count,
        "seconds": round(time.monotonic() - started, 3),
        "top": [[row["id"], row["farm"], row["pagerank"], row["trusted_rank"]] for row in top],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_job(run, LinkSpamArgs, "link_spam", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

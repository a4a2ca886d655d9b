"""Pages to an inverted index: postings with positions, by segments, updated by what has changed.

Reads pages, links (for the texts of links) and ranks; writes `index_postings` and `index_documents`. The second run
indexes only pages that are new or changed. The guide is docs/search-engine.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.settings import AT_LEAST_ONE, PROBABILITY, JobArgs, flag
from lakerank.search.index.store import IndexTables
from lakerank.search.index.update import STATUSES, IndexOptions, plan_update, run_update
from lakerank.search.text.languages import NONE, SNOWBALL, known
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class Args(JobArgs):
    """Settings of the job."""

    pages: str = flag("", "table of pages (default: the lake's)")
    links: str = flag("", "table of links, for the texts of links (default: the lake's, if it is there)")
    ranks: str = flag("", "table of ranks (default: the lake's, if it is there)")
    language: str = flag(
        "",
        f"analyse all pages in this language: {', '.join(SNOWBALL)}, or {NONE} (default: each page in its own)",
        check=lambda code: not code or known(code),
        must=f"be one of {', '.join(SNOWBALL)}, {NONE}",
    )
    rebuild: bool = flag(False, "index all pages anew, whatever has changed")
    update_share: float = flag(0.3, "build anew if a larger share of the pages has changed", within=PROBABILITY)
    max_segments: int = flag(64, "build anew if the index has more", within=AT_LEAST_ONE)


def run(spark: SparkSession, args: Args) -> Mapping[str, Any]:
    """Find what has changed, index it, fold it in."""
    started = time.monotonic()
    tables = IndexTables.open(spark, args.lake, args.pages, args.links, args.ranks)
    options = IndexOptions(args.language, args.rebuild, args.update_share, args.max_segments)
    plan = plan_update(tables, options)
    print(f"build_index: {plan.describe()}", flush=True)
    total = run_update(tables, plan, options)
    seconds = time.monotonic() - started
    print(f"build_index: {total:,} pages in the index of {args.lake}")
    return {
        "pages": total,
        "rebuilt": bool(plan.rebuild),
        "why": plan.rebuild,
        "seconds": round(seconds, 3),
        **{status: plan.count(status) for status in STATUSES},
        "documents_per_second": round((total if plan.rebuild else plan.count(*STATUSES)) / seconds, 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    return run_job(run, Args, "build_index", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

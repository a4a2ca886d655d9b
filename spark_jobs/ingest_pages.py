"""Read web pages into the lake: folders of HTML, archives, and collections of documents.

Writes the tables pages, links, redirects and pages_rejected. The guide is docs/pages.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.settings import NOT_NEGATIVE, POSITIVE, JobArgs, flag
from lakerank.search.pages.ingest import DRIVER_BYTES, folder_address, read_pages, source_files
from lakerank.search.pages.read_file import ReadOptions
from lakerank.search.pages.store import PageStore
from lakerank.search.pages.tables import RecordCounts
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class Args(JobArgs):
    """Settings of the job."""

    source: str = flag(
        "",
        "folders and files of HTML, WARC, ARC, JSON Lines, TREC, SMART, with commas between them",
        metavar="PATH[,PATH…]",
    )
    base_url: str = flag("", "address that HTML files are below: its path and theirs make their own", metavar="URL")
    mode: str = flag(
        "replace", "replace: these pages only; merge: beside those of earlier runs", choices=("replace", "merge")
    )
    near_duplicates: float = flag(
        0.8,
        "Jaccard similarity from which a page is a copy; 0 marks none",
        check=lambda v: v == 0 or 0.1 <= v <= 1,
        must="be 0.1 to 1, or 0",
    )
    max_page_bytes: int = flag(10 << 20, "larger pages are rejected", within=POSITIVE)
    driver_bytes: int = flag(
        DRIVER_BYTES,
        "read by workers but put together on the driver, if the input is not larger (packed files count fivefold)",
        within=NOT_NEGATIVE,
    )
    scratch: str = flag("", "folder for intermediate results where Spark's local checkpoints are refused")


def run(spark: SparkSession, args: Args) -> Mapping[str, Any]:
    """Read the source, write its pages, links, redirects and what was rejected."""
    started = time.monotonic()
    files, store = source_files(args.source, args.base_url), PageStore(spark, args.lake)
    options = ReadOptions(folder_address(args.base_url), args.max_page_bytes)
    print(f"ingest_pages: {len(files):,} files, {sum(file.size for file in files) / 1e6:,.1f} MB", flush=True)
    earlier = store.tables() if args.mode == "merge" else None
    read = read_pages(spark, files, options, earlier=earlier, driver_bytes=args.driver_bytes, scratch=args.scratch)
    _print_counts(read.counts, time.monotonic() - started)
    copies, counts = store.write(read, args.near_duplicates, args.scratch, args.mode == "merge")
    seconds = time.monotonic() - started
    print(f"{counts['pages']:>12,} pages in the lake, {copies:,} of them copies; {counts['links']:,} links")
    return {
        "pages": counts["pages"],
        "links": counts["links"],
        "redirects": read.n_redirects,
        "rejected": counts["pages_rejected"],
        "duplicates": copies,
        "pages_read": read.counts.pages,
        "same_address": read.counts.pages - read.counts.addresses,
        "passed_over": read.counts.skipped,
        "seconds": round(seconds, 2),
        "documents_per_second": round(read.counts.pages / seconds, 1),
    }


def _print_counts(found: RecordCounts, seconds: float) -> None:
    print(f"{found.pages:>12,} pages, {found.links:,} links on them, {found.redirects:,} redirects")
    print(f"{found.rejected:>12,} rejected, see pages_rejected; {seconds:.1f} s so far")
    if found.pages != found.addresses:
        print(f"{found.pages - found.addresses:>12,} pages whose address came again: the newest counts")
    for why, n in found.skipped.items():
        print(f"{n:>12,} passed over: {why}")
    if not found.pages:
        print("ingest_pages: WARNING: there is no page in this source", file=sys.stderr)
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    return run_job(run, Args, "ingest_pages", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Read ratings into the lake: every MovieLens edition, any CSV or Parquet file with three or four columns, or a table.

Writes the tables ratings, ratings_rejected and, where the source has them, items and tags. The guide is
docs/ratings.md.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.download import EDITIONS, MIRROR
from lakerank.cli.errors import UserError
from lakerank.cli.settings import POSITIVE, JobArgs, flag
from lakerank.lake.file_feed import follow_files
from lakerank.recommend.data.cleaning import COUNTS
from lakerank.recommend.data.store import (
    MODES,
    ReadOptions,
    add_feed_file,
    download_folder,
    open_source,
    read_source,
    tables_left,
    write_ratings,
)
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class Args(JobArgs):
    """Settings of the job."""

    source: str = flag("", "MovieLens folder or .zip, CSV (also .gz) or Parquet file, or Delta table", metavar="PATH")
    dataset: str = flag(
        "",
        f"MovieLens edition to download, or to check --source against: {', '.join(EDITIONS)}",
        metavar="NAME",
        check=lambda name: not name or name in EDITIONS,
        must=f"be one of {', '.join(EDITIONS)}",
    )
    columns: str = flag(
        "",
        "which column is what: user=…,item=…,rating=…[,time=…], with --counts rating only if there is one; names, or "
        "positions from 1 with --header no",
        metavar="MAP",
    )
    header: str = flag("yes", "whether a CSV file's first line holds the names", choices=("yes", "no"))
    separator: str = flag("", "between CSV fields; \\t is tab (default: told from the first line)")
    scale: str = flag("", "lowest and highest rating, as 0.5,5 (default: the edition's, else any)", metavar="L,H")
    mode: str = flag(
        "",
        "overwrite: the tables become what is read; append: add ratings of users and items that are not rated yet; "
        "merge: these, and let newer ratings replace older ones (default: overwrite; with --follow merge)",
        choices=["", *MODES],
    )
    follow: str = flag(
        "",
        "once: read the files that have come into the folder --source since the last time; always: and go on waiting",
        choices=["", "once", "always"],
    )
    every: float = flag(30.0, "seconds between two looks at the folder, with --follow always", within=POSITIVE)
    counts: str = flag(
        "",
        "clicks, plays, purchases: rows of the same user and item become one, whose rating is the sum of their counts "
        "(1 a row without a count column), the last count, or the number of days",
        choices=("", *COUNTS),
    )
    mirror: str = flag(MIRROR, "address of the folder that has the zips of --dataset", metavar="URL")

    def options(self) -> ReadOptions:
        """Return the options of reading the files."""
        return ReadOptions(self.columns, self.header == "yes", self.separator, self.scale, self.counts)


def run(spark: SparkSession, args: Args) -> Mapping[str, Any]:
    """Read and check the rows, write the tables, report the counts."""
    started = time.monotonic()
    if args.counts and (args.follow or args.mode in ("append", "merge")):
        raise UserError("--counts makes one count of a whole log: read all of it, with --mode overwrite")
    scratch = download_folder(args.lake)
    if args.follow:
        return read_feed(spark, args, str(scratch))
    with open_source(args.source, args.dataset, args.mirror, scratch, bool(args.columns), args.lake) as source:
        if source.note:
            print(source.note)
        checked = read_source(spark, source, args.options(), str(scratch))
        if checked.layout:
            print(f"{source.label}: {checked.layout}")
        summary = write_ratings(
            spark, args.lake, checked, source.label, str(scratch), args.mode or "overwrite", args.counts
        )
    for name in tables_left(spark, args.lake, checked) if args.mode in ("", "overwrite") else ():
        print(f"note: this source has no {name}; the table of an earlier run stays as it is")
    report(summary)
    return summary | {"seconds": round(time.monotonic() - started, 2)}


def read_feed(spark: SparkSession, args: Args, scratch: str) -> Mapping[str, Any]:
    """Read what has come into a folder; report the counts of each file.

    Raises:
        UserError: `--mode overwrite` or `--dataset` is asked for, too.
    """
    if args.mode == "overwrite" or args.dataset:
        raise UserError("--follow adds the files of a folder to the lake: it goes with --mode merge or append only")
    args.options().check()
    started, totals = time.monotonic(), Counter({"files": 0, "read": 0, "kept": 0, "rejected": 0})

    def merge(file: str) -> None:
        summary = add_feed_file(spark, args.lake, file, args.options(), scratch, args.mode or "merge")
        print(f"ingest_ratings: {file}")
        report(summary)
        if summary["problem"]:
            print(f"note: {summary['problem']}; mend it and give it under another name", file=sys.stderr, flush=True)
        totals.update({"files": 1} | {name: summary[name] for name in ("read", "kept", "rejected")})

    follow_files(spark, args.source, args.lake, merge, args.every if args.follow == "always" else None)
    print(f"ingest_ratings: {totals['files']} new files in {args.source}")
    return dict(totals) | {"seconds": round(time.monotonic() - started, 2)}


def report(summary: Mapping[str, Any]) -> None:
    """Print how many rows were read, kept and rejected, and why."""
    kept = f"{summary['kept']:,} kept"
    if summary.get("counted"):
        kept = f"{summary['kept'] + summary['counted']:,} in {summary['kept']:,} counts"
    print(f"{summary['read']:>12,} ratings read = {kept} + {summary['rejected']:,} rejected")
    for reason, n in {**summary["rejected_by_reason"], **summary["rejected_elsewhere"]}.items():
        print(f"{n:>12,} rejected: {reason}")
    print(f"{summary['users']:>12,} users, {summary['items']:,} items, {summary['tags']:,} tags", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_job(run, Args, "ingest_ratings", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

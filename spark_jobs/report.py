"""Show what is in the lake on one HTML page: numbers, curves, ranks, recommendations, a map of taste.

Reads whatever tables there are; a section whose table is missing says which job makes it. The page needs no
network and no server: open the file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.files import write_file
from lakerank.cli.settings import JobArgs, flag
from lakerank.report.page import render
from lakerank.report.sections import report_page
from lakerank.report.store import read_lake, report_file
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class ReportArgs(JobArgs):
    """Settings of the report job."""

    out: str = flag("", "HTML file to write (default: report/index.html in the lake)", metavar="FILE")
    show_users: str = flag("", "ids of users whose recommendations to show, separated by commas (default: three)")
    sr: str = flag(
        "", "folder that sr_model.train or evaluate wrote (default: super-resolution in the lake)", metavar="DIR"
    )


def run(spark: SparkSession, args: ReportArgs) -> dict[str, Any]:
    """Read the tables, make the page, write it."""
    begun = time.perf_counter()
    path = report_file(args.lake, args.out)
    users = list(dict.fromkeys(user.strip() for user in args.show_users.split(",") if user.strip()))
    lake = read_lake(spark, args.lake, args.sr)
    page = report_page(lake, args.lake, users=users)
    write_file(path, render(page), "--out")
    seconds = round(time.perf_counter() - begun, 3)
    filled = [section.key for section in page.sections if section.blocks]
    print(f"report: {len(lake.tables)} tables, sections {', '.join(filled) or 'none'} ({seconds:.1f} s)")
    print(path)
    return {"path": str(path), "tables": list(lake.written), "sections": filled, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_job(run, ReportArgs, "report", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

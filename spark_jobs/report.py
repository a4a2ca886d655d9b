"""Show what is in the lake on one HTML page: numbers, curves, ranks, recommendations, a map of taste.

Reads whatever tables there are; a section whose table is missing says which job makes it. The page needs no
network and no server: open the file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.delta_table import TableRef, has_scheme, is_catalog_name
from lakerank.lake.schemas import (
    ID,
    LFM_METRICS,
    RANKS,
    RECOMMENDATIONS,
    RECOMMENDER_METRICS,
    RELATIONS,
    Column,
    Relation,
)
from lakerank.report import summaries
from lakerank.report.page import Page, Table, render
from lakerank.report.sections import SECTIONS, Lake
from lakerank.report.sr_results import read_sr_results
from lakerank.spark.job import run_job

# Of web pages only the titles are wanted; any table with these two columns will do.
TITLES = Relation(
    "pages",
    "Titles of web pages.",
    (Column("page_id", ID, "page"), Column("title", "string", "as shown", nullable=True)),
    ("page_id",),
    "ingest_pages",
    "pages",
)


@dataclass(frozen=True)
class ReportArgs(JobArgs):
    """Settings of the report job."""

    out: str = flag("", "HTML file to write (default: report/index.html in the lake)", metavar="FILE")
    show_users: str = flag("", "ids of users whose recommendations to show, separated by commas (default: three)")
    sr: str = flag(
        "", "folder that sr_model.train or evaluate wrote (default: super-resolution in the lake)", metavar="DIR"
    )


def out_file(args: ReportArgs) -> Path:
    """Where the page goes; a folder that exists gets an index.html.

    Raises:
        UserError: the lake is no local folder and `--out` is not given.
    """
    place = TableRef.find("", RANKS, args.lake).location
    if has_scheme(args.out) or (not args.out and (is_catalog_name(place) or has_scheme(place))):
        raise UserError(f"the report is a local file and {args.out or args.lake} is not local: give --out FILE")
    path = Path(args.out) if args.out else Path(args.lake.removeprefix("file:")) / "report" / "index.html"
    return (path / "index.html" if path.is_dir() else path).resolve()


def existing(spark: SparkSession, lake: str) -> tuple[dict[str, DataFrame], dict[str, TableRef]]:
    """The lake's tables, checked, and where they are.

    Raises:
        UserError: there is none, or one is not as its contract says.
    """
    relations = RELATIONS | {TITLES.name: TITLES}
    refs = {name: TableRef.find("", relation, lake) for name, relation in relations.items()}
    refs = {name: ref for name, ref in refs.items() if ref.exists(spark)}
    if not refs:
        raise UserError(f"no tables in {lake}: run ingest_ratings or pagerank first")
    return {name: relations[name].check(ref.frame(spark), ref.location) for name, ref in refs.items()}, refs


def written(spark: SparkSession, refs: Mapping[str, TableRef]) -> tuple[tuple[str, int, str, str], ...]:
    """Per table: its name, newest version, when that was written, and the run that did, if it said so."""
    newest = {name: spark.sql(f"DESCRIBE HISTORY {ref.sql} LIMIT 1").collect()[0] for name, ref in refs.items()}
    return tuple(
        (name, row["version"], f"{row['timestamp']:%Y-%m-%d %H:%M:%S}", row["userMetadata"] or "")
        for name, row in sorted(newest.items())
    )


def check_users(tables: dict[str, DataFrame], users: Sequence[str]) -> None:
    """Raise a UserError for a user without recommendations; a mistyped id is not shown as an empty table."""
    if users and RECOMMENDATIONS.name in tables:
        known = summaries.of_users(tables[RECOMMENDATIONS.name], users).select("user_id").distinct()
        have = {str(row["user_id"]) for row in summaries.few(known)}
        if missing := [user for user in users if user not in have]:
            raise UserError(f"--show-users: there are no recommendations for user {', '.join(missing)}")


def installed(package: str) -> str:
    """Version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def page_of(
    spark: SparkSession, lake: str, keys: Sequence[str] = (), users: Sequence[str] = (), sr: str = ""
) -> tuple[str, Page]:
    """The report as HTML, and what is in it; a notebook shows a part of it.

    Args:
        spark: the session.
        lake: the lake whose tables are looked at.
        keys: the sections to show, by their keys (`ranks`, `learning`, …); empty: all.
        users: whose recommendations to show; empty: three typical users.
        sr: folder of results of super-resolution; empty: `super-resolution` in the lake.

    Raises:
        UserError: there are no tables, or none of a user, or results cannot be read.
    """
    tables, refs = existing(spark, lake)
    check_users(tables, users)
    listed = written(spark, refs)
    stamps = {name: stamp for name, _, _, stamp in listed}
    seen = Lake(
        tables,
        stamps.get(LFM_METRICS.name, ""),
        users,
        stamps.get(RECOMMENDER_METRICS.name, ""),
        read_sr_results(Path(sr or f"{lake.removeprefix('file:')}/super-resolution")),
    )
    producer = {name: relation.producer for name, relation in RELATIONS.items()}
    page = Page(
        "lakerank report",
        lake,
        tuple(part.section(seen, producer) for part in SECTIONS if not keys or part.key in keys),
        datetime.now(UTC),
        {"lakerank": installed("lakerank"), "Spark": spark.version, "Delta": installed("delta-spark")},
        Table("Tables this page was made from", ("table", "version", "written", "run"), listed, numbers=("version",)),
    )
    return render(page), page


def run(spark: SparkSession, args: ReportArgs) -> dict[str, Any]:
    """Look at the tables, make the sections, write the page."""
    begun = time.perf_counter()
    path = out_file(args)
    users = list(dict.fromkeys(user.strip() for user in args.show_users.split(",") if user.strip()))
    html, page = page_of(spark, args.lake, (), users, args.sr)
    write_file(path, html, "--out")
    seconds = round(time.perf_counter() - begun, 3)
    shown = [section.key for section in page.sections if section.blocks]
    names = [str(row[0]) for row in page.tables.rows] if page.tables else []
    print(f"report: {len(names)} tables, sections {', '.join(shown) or 'none'} ({seconds:.1f} s)")
    print(path)
    return {"path": str(path), "tables": names, "sections": shown, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return run_job(run, ReportArgs, "report", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

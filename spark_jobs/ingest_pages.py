"""Read web pages into the lake: folders of HTML, WARC and WARC.gz files, or both.

Writes the tables pages, links, redirects and pages_rejected. The guide is docs/pages.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.binary_files import SourceFile, as_parts, list_files
from lakerank.lake.delta_arrow import ArrowSink, ArrowTable
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import LINKS, PAGES, PAGES_REJECTED, REDIRECTS, RELATIONS, Relation
from lakerank.search.near_duplicates import copies_among, mark_duplicates
from lakerank.search.pages import tables_arrow, tables_spark, urls
from lakerank.search.pages.read_file import HTML_NAMES, Reading
from lakerank.search.pages.rows import gather_parts, read_parts
from lakerank.spark.checkpoint import checkpoint
from lakerank.spark.job import run_job
from lakerank.spark.session import cores

_PART_BYTES = 64 << 20  # of input: a part is read by one task, and begun again if that fails
_PACKING = 5  # times as large is what a packed file holds
_PARTS_PER_CORE = 3  # so that a slow part does not leave the other cores idle for long


@dataclass(frozen=True)
class Args(JobArgs):
    """Settings of the job."""

    source: str = flag("", "folders, HTML and WARC files, with commas between them", metavar="PATH[,PATH…]")
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
    max_page_bytes: int = flag(10 << 20, "larger pages are rejected", check=lambda v: v > 0, must="be above 0")
    driver_bytes: int = flag(
        512 << 20,
        "read by workers but put together on the driver, if the input is not larger (packed files count fivefold)",
        check=lambda v: v >= 0,
        must="be at least 0",
    )
    scratch: str = flag("", "folder for intermediate results where Spark's local checkpoints are refused")


@dataclass(frozen=True)
class Outcome:
    """What was read, and how many redirects and copies there are in the lake."""

    found: tables_spark.Survey
    redirects: int
    copies: int


def files_of(args: Args) -> list[SourceFile]:
    """All files of the sources, each once."""
    sources = [source.strip() for source in args.source.split(",") if source.strip()]
    if not sources:
        raise UserError("say what to read: --source PATH (a folder, HTML or WARC files)")
    files = list({file.path: file for source in sources for file in list_files(source)}.values())
    if not files:
        raise UserError(f"{args.source}: there is no file in it")
    page = next((file for file in files if file.relative.lower().endswith(HTML_NAMES)), None)
    if page and not args.base_url:
        raise UserError(
            f"{page.path}: HTML files need --base-url, the address they are below, as https://site.org/doc/"
        )
    return files


def base_of(args: Args) -> str:
    """The base address in standard form; it is a folder, with or without the slash at its end."""
    if not args.base_url:
        return ""
    base = urls.page_address(args.base_url)
    if base is None:
        raise UserError(f"--base-url {args.base_url}: not an http or https address, as https://site.org/doc/")
    return base if base.endswith("/") else base + "/"


def with_earlier(spark: SparkSession, args: Args, new: dict[str, DataFrame], files: DataFrame) -> dict[str, DataFrame]:
    """The new rows beside those of earlier runs that they do not replace."""
    out = dict(new)
    fresh = new["pages"].select("page_id", "url")
    for name, relation in RELATIONS.items():
        if name not in new or not (table := TableRef.find("", relation, args.lake)).exists(spark):
            continue
        old = table.read(spark, relation)
        if name == "pages":
            old = old.join(fresh.select("page_id"), "page_id", "left_anti")
        elif name == "links":
            old = old.join(fresh.select(F.col("page_id").alias("src")), "src", "left_anti")
        elif name == "redirects":  # canonical ones are told by the pages
            old = old.where("kind <> 'canonical'").join(fresh.select("url"), "url", "left_anti")
            old = old.join(new[name].select("url"), "url", "left_anti")
        else:
            old = old.join(files, "source", "left_anti")
        out[name] = old.select(*new[name].columns).unionByName(new[name])
    return out


def run(spark: SparkSession, args: Args) -> Mapping[str, Any]:
    """Read, settle which page counts, resolve links, mark copies, write."""
    started = time.monotonic()
    files = files_of(args)
    size = sum(file.size for file in files)
    number = max(_PARTS_PER_CORE * cores(spark), size // _PART_BYTES)
    print(f"ingest_pages: {len(files):,} files, {size / 1e6:,.1f} MB", flush=True)
    parts = as_parts(spark, files, number)
    how = Reading(base_of(args), args.max_page_bytes)
    unpacked = sum(file.size * (_PACKING if file.path.endswith(".gz") else 1) for file in files)
    small = args.mode == "replace" and unpacked <= args.driver_bytes
    plan = _on_driver if small else _over_workers
    return _summary(spark, args, plan(spark, args, parts, how, started), started)


def _on_driver(spark: SparkSession, args: Args, parts: DataFrame, how: Reading, started: float) -> Outcome:
    """Workers read; all else is done here, because each further Spark job would cost more than it saves."""
    rows = gather_parts(parts, how)
    found = tables_arrow.survey(rows)
    _say(found, time.monotonic() - started)
    new = tables_arrow.settle(rows)

    def write(relation: Relation, table: pa.Table) -> None:
        ArrowSink(TableRef.find("", relation, args.lake), relation, lambda: spark).write(table)

    with ThreadPoolExecutor(1) as beside:
        links_written = beside.submit(write, LINKS, new.links)
        copies = copies_among(new.pages, args.near_duplicates) if args.near_duplicates else None
        write(REDIRECTS, new.redirects)
        write(PAGES_REJECTED, new.rejected)
        links_written.result()
    # Last: a job that was killed before leaves the old pages, and run again does the same again.
    write(PAGES, new.pages if copies is None else tables_arrow.with_duplicates(new.pages, copies))
    return Outcome(found, len(new.redirects), 0 if copies is None else len(copies))


def _over_workers(spark: SparkSession, args: Args, parts: DataFrame, how: Reading, started: float) -> Outcome:
    """Everything as DataFrame operations; nothing but counts comes here."""
    rows = checkpoint(read_parts(parts, how), args.scratch)
    found = tables_spark.survey(rows)
    _say(found, time.monotonic() - started)
    read = tables_spark.newest_pages(rows, unique=found.pages == found.addresses)
    new = {
        "pages": tables_spark.as_pages(read),
        "links": tables_spark.raw_links(read),
        "redirects": tables_spark.told_redirects(rows),
        "pages_rejected": tables_spark.rejected_rows(rows),
    }
    if args.mode == "merge":
        names = parts.select(F.explode("files.path").alias("source"))
        new = {name: checkpoint(frame, args.scratch) for name, frame in with_earlier(spark, args, new, names).items()}
    pages = new["pages"]
    ends, redirects = spark.createDataFrame([], REDIRECTS.schema()), 0
    if found.redirects or found.canonical or args.mode == "merge":
        ends = checkpoint(tables_spark.redirects(new["redirects"], pages), args.scratch)
        redirects = ends.count()
    if redirects:
        ends = checkpoint(tables_spark.follow(ends), args.scratch)

    def write(relation: Relation, frame: DataFrame) -> None:
        TableSink(TableRef.find("", relation, args.lake), relation).write(frame)

    def write_links() -> None:
        write(REDIRECTS, ends)
        write(PAGES_REJECTED, new["pages_rejected"])
        write(LINKS, tables_spark.resolved(new["links"], ends) if redirects else new["links"])

    # Copies are looked for on one core if there are not too many pages: meanwhile the others write.
    with ThreadPoolExecutor(1) as beside:
        links_written = beside.submit(write_links)
        copies = mark_duplicates(pages, args.near_duplicates, scratch=args.scratch) if args.near_duplicates else None
        links_written.result()
    write(PAGES, pages if copies is None else tables_spark.with_duplicates(pages, copies))  # last, see above
    return Outcome(found, redirects, 0 if copies is None else copies.count())


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_job(run, Args, "ingest_pages", __doc__, argv)


def _say(found: tables_spark.Survey, seconds: float) -> None:
    print(f"{found.pages:>12,} pages, {found.links:,} links on them, {found.redirects:,} redirects", flush=True)
    print(f"{found.rejected:>12,} rejected, see pages_rejected; {seconds:.1f} s so far")
    if found.pages != found.addresses:
        print(f"{found.pages - found.addresses:>12,} pages whose address came again: the newest counts")
    for why, n in found.skipped.items():
        print(f"{n:>12,} passed over: {why}")
    if not found.pages:
        print("ingest_pages: WARNING: there is no page in this source", file=sys.stderr)
    sys.stdout.flush()


def _summary(spark: SparkSession, args: Args, done: Outcome, started: float) -> dict[str, Any]:
    found, copies = done.found, done.copies
    counted = {
        relation.name: ArrowTable(TableRef.find("", relation, args.lake), relation, lambda: spark).rows
        for relation in (PAGES, LINKS, PAGES_REJECTED)
    }
    seconds = time.monotonic() - started
    print(f"{counted['pages']:>12,} pages in the lake, {copies:,} of them copies; {counted['links']:,} links")
    return {
        "pages": counted["pages"],
        "links": counted["links"],
        "redirects": done.redirects,
        "rejected": counted["pages_rejected"],
        "duplicates": copies,
        "pages_read": found.pages,
        "same_address": found.pages - found.addresses,
        "passed_over": found.skipped,
        "seconds": round(seconds, 2),
        "documents_per_second": round(found.pages / seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())

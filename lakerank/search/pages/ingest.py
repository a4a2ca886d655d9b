"""Read the pages of a source: list its files, let workers read them, and make the tables of what they found.

Workers always read; what they found is put together on the driver if it fits there, else by Spark, which `read_pages`
decides.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.binary_files import SourceFile, as_parts, list_files
from lakerank.lake.schemas import LINKS, PAGES, PAGES_REJECTED, REDIRECTS
from lakerank.search.near_duplicates import mark_duplicates
from lakerank.search.pages import tables, urls
from lakerank.search.pages.read_file import HTML_NAMES, ReadOptions, read_file
from lakerank.search.pages.records import DDL, PAGE, SCHEMA, Record, batches_of, rejected_record
from lakerank.search.pages.tables import RecordCounts
from lakerank.spark.arrow_ipc import map_packed
from lakerank.spark.checkpoint import checkpoint
from lakerank.spark.session import cores

DRIVER_BYTES = 512 << 20
_PART_BYTES = 64 << 20  # of input: a part is read by one task, and begun again if that fails
_PARTS_PER_CORE = 3  # so that a slow part does not leave the other cores idle for long
_UNPACKED = 5  # times as large is what a gzip file holds
_THRESHOLDS = (100_000, 20, 50)  # of the collector's generations
_SAY_EVERY = 10.0  # seconds
Rows: TypeAlias = "pa.Table | DataFrame"
_Work = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class PageTables:
    """The tables read from a source, all as Arrow tables or all as frames.

    Attributes:
        counts: of what was read.
        pages: rows of `pages`, nothing known of duplicates yet.
        links, redirects, rejected: rows of `links`, `redirects`, `pages_rejected`.
        n_redirects: rows of `redirects`.
    """

    counts: RecordCounts
    pages: Rows
    links: Rows
    redirects: Rows
    rejected: Rows
    n_redirects: int

    def pages_with_copies(self, threshold: float, scratch: str = "") -> tuple[Rows, int]:
        """Find near-duplicates among the pages.

        Args:
            threshold: Jaccard similarity from which on a page is a copy, 0.1 to 1; 0 marks none.
            scratch: see `lakerank.spark.checkpoint`.

        Returns:
            The pages with `duplicate_of` and `similarity`, and how many copies there are.
        """
        if not threshold:
            return self.pages, 0
        if isinstance(self.pages, pa.Table):
            found: Any = mark_duplicates(self.pages, threshold)
            return tables.with_copies_arrow(self.pages, found), len(found)
        copies = mark_duplicates(self.pages, threshold, scratch=scratch)
        return tables.with_copies_spark(self.pages, copies), copies.count()


def source_files(source: str, base_url: str) -> list[SourceFile]:
    """List the files of a source, each once.

    Args:
        source: folders and files, with commas between them.
        base_url: address that HTML files are below, or empty.

    Raises:
        UserError: no source, no file in it, or HTML files without an address.
    """
    paths = [path.strip() for path in source.split(",") if path.strip()]
    if not paths:
        raise UserError("say what to read: --source PATH (a folder, HTML or WARC files)")
    files = list({file.path: file for path in paths for file in list_files(path)}.values())
    if not files:
        raise UserError(f"{source}: there is no file in it")
    page = next((file for file in files if file.relative.lower().endswith(HTML_NAMES)), None)
    if page and not base_url:
        raise UserError(
            f"{page.path}: HTML files need --base-url, the address they are below, as https://site.org/doc/"
        )
    return files


def folder_address(base_url: str) -> str:
    """Return a base address in standard form, a folder with the slash at its end; empty for none.

    Raises:
        UserError: it is no http or https address.
    """
    if not base_url:
        return ""
    base = urls.page_address(base_url)
    if base is None:
        raise UserError(f"--base-url {base_url}: not an http or https address, as https://site.org/doc/")
    return base if base.endswith("/") else base + "/"


def read_pages(
    spark: SparkSession,
    files: Sequence[SourceFile],
    options: ReadOptions,
    *,
    earlier: Mapping[str, DataFrame] | None = None,
    driver_bytes: int = DRIVER_BYTES,
    scratch: str = "",
) -> PageTables:
    """Read files and make the four tables of what they hold.

    Args:
        spark: session whose workers read.
        files: HTML, WARC and JSON Lines.
        options: base address and limits.
        earlier: tables of the lake by name, whose rows stay beside the new ones where these do not replace them.
        driver_bytes: if the input is not larger (gzip files count fivefold), the tables are made on the driver, where
            a further Spark job would cost more than it saves.
        scratch: see `lakerank.spark.checkpoint`.
    """
    number = max(_PARTS_PER_CORE * cores(spark), sum(file.size for file in files) // _PART_BYTES)
    parts, work = as_parts(spark, list(files), number), _read_parts(options)
    unpacked = sum(file.size * (_UNPACKED if file.path.endswith(".gz") else 1) for file in files)
    if earlier is None and unpacked <= driver_bytes:
        return tables_on_driver(map_packed(parts, work, SCHEMA))
    names = parts.select(F.explode("files.path").alias("source"))
    return tables_by_spark(checkpoint(parts.mapInArrow(work, DDL), scratch), earlier, names, scratch)


def tables_on_driver(records: pa.Table) -> PageTables:
    """Make the tables with Arrow."""
    pages = tables.newest_pages_arrow(records)
    step = tables.gather_redirects_arrow(tables.read_redirects_arrow(records), pages)
    redirects = tables.follow_redirects_arrow(step)
    return PageTables(
        tables.count_records_arrow(records),
        tables.page_rows_arrow(pages),
        tables.resolve_links_arrow(tables.link_rows_arrow(pages), redirects),
        redirects,
        tables.rejected_rows_arrow(records),
        len(redirects),
    )


def tables_by_spark(
    records: DataFrame, earlier: Mapping[str, DataFrame] | None, sources: DataFrame, scratch: str
) -> PageTables:
    """Make the tables as DataFrame operations; nothing but counts comes to the driver.

    Args:
        records: checkpointed.
        earlier: see `read_pages`.
        sources: `source`, the files that were read.
        scratch: see `lakerank.spark.checkpoint`.
    """
    counts = tables.count_records_spark(records)
    newest = tables.newest_pages_spark(records, unique=counts.pages == counts.addresses)
    new = {
        PAGES.name: tables.page_rows_spark(newest),
        LINKS.name: tables.link_rows_spark(newest),
        REDIRECTS.name: tables.read_redirects_spark(records),
        PAGES_REJECTED.name: tables.rejected_rows_spark(records),
    }
    if earlier is not None:
        new = {name: checkpoint(frame, scratch) for name, frame in _with_earlier(new, earlier, sources).items()}
    pages, links = new[PAGES.name], new[LINKS.name]
    redirects, n_redirects = records.sparkSession.createDataFrame([], REDIRECTS.schema()), 0
    if counts.redirects or counts.canonical or earlier is not None:
        redirects = checkpoint(tables.gather_redirects_spark(new[REDIRECTS.name], pages), scratch)
        n_redirects = redirects.count()
    if n_redirects:
        redirects = checkpoint(tables.follow_redirects_spark(redirects), scratch)
        links = tables.resolve_links_spark(links, redirects)
    return PageTables(counts, pages, links, redirects, new[PAGES_REJECTED.name], n_redirects)


def _with_earlier(
    new: Mapping[str, DataFrame], earlier: Mapping[str, DataFrame], sources: DataFrame
) -> dict[str, DataFrame]:
    """Put the new rows beside those of earlier runs that they do not replace."""
    fresh = new[PAGES.name].select("page_id", "url")
    merged = dict(new)
    for name, old in earlier.items():
        if name == PAGES.name:
            old = old.join(fresh.select("page_id"), "page_id", "left_anti")
        elif name == LINKS.name:
            old = old.join(fresh.select(F.col("page_id").alias("src")), "src", "left_anti")
        elif name == REDIRECTS.name:  # canonical ones are told by the pages
            old = old.where("kind <> 'canonical'").join(fresh.select("url"), "url", "left_anti")
            old = old.join(new[name].select("url"), "url", "left_anti")
        else:
            old = old.join(sources, "source", "left_anti")
        merged[name] = old.select(*new[name].columns).unionByName(new[name])
    return merged


def _read_parts(options: ReadOptions) -> _Work:
    """Return the function that a task runs: parts of the source to records."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with _fewer_collections():
            for batch in batches:
                for part in batch.to_pylist():
                    yield from batches_of(_records_of_part(part, options))

    return work


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """Let Python look for cycles of references less often: a page makes thousands of objects and next to no cycles.

    With the usual thresholds a tenth of the time of reading goes into looking at links that are waiting for Arrow.
    """
    usual = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _records_of_part(part: dict[str, Any], options: ReadOptions) -> Iterator[Record]:
    """Read all files of a part; says now and then how far it is."""
    total, done, pages = sum(file["size"] for file in part["files"]), 0, 0
    begun = said = time.monotonic()
    for file in part["files"]:
        bad = file["problem"] and [rejected_record(file["path"], 0, None, file["problem"])]
        for record in bad or read_file(file["path"], file["relative"], options):
            pages += record["kind"] == PAGE
            yield record
        done += file["size"]
        if time.monotonic() - said > _SAY_EVERY:
            said = time.monotonic()
            rate, left = pages / (said - begun), (said - begun) * (total - done) / max(done, 1)
            message = f"part {part['part'] + 1}: {pages:,} pages, {rate:.0f}/s, about {left:.0f} s left"
            print(f"ingest_pages: {message}", file=sys.stderr, flush=True)

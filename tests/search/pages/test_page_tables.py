"""Tables made with Arrow on the driver are those Spark makes, in every odd case."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from lakerank.search.near_duplicates import mark_duplicates
from lakerank.search.pages import tables
from lakerank.search.pages.ingest import tables_by_spark, tables_on_driver
from lakerank.search.pages.records import to_batch

DAY = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 4)]
WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


def page(url: str, *targets: str, **more: Any) -> dict[str, Any]:
    links = [(target, f"to {target}", False, "main", 1.0) for target in targets]
    empty = {"title": "", "headings": [], "text": WORDS, "content_hash": "h", "noindex": False}
    return {"kind": "page", "source": "a", "source_offset": 0, "url": url, "links": links, **empty, **more}


def moved(url: str, target: str, kind: str = "http") -> dict[str, Any]:
    return {"kind": "redirect", "source": "a", "source_offset": 1, "url": url, "target_url": target, "reason": kind}


RECORDS_OF_ALL_KINDS = [
    page("p", "r0", "x", "q", "gone", fetched_at=DAY[0], text="older " + WORDS),
    page("p", "r0", "x", "q", "gone", fetched_at=DAY[2]),
    page("p", fetched_at=DAY[1], source="b"),
    page("q", "p", canonical_url="p", text=WORDS + " seventeen"),  # its canonical address is a page: counts
    page("s", "q", canonical_url="nowhere"),  # is none: does not count
    page("t", "t2", canonical_url="t", text="words of its own"),
    page("u", "s", "u2", text=""),
    page("w", fetched_at=None, source="a"),
    page("w", "p", fetched_at=None, source="b", source_offset=7),
    page("w", "p", "p", fetched_at=None, source="b", source_offset=None),
    *(moved(f"r{i}", f"r{i + 1}") for i in range(20)),  # longer than what is followed
    moved("x", "y"),
    moved("y", "x"),  # a circle
    moved("z", "z"),
    moved("p", "elsewhere"),  # was read as a page: does not count
    moved("u2", "q", "refresh"),
    moved("u2", "b"),  # of two the HTTP answer counts
    moved("s", "t", "refresh"),
    moved("t2", "a9"),
    moved("t2", "a10"),  # of two alike the first by alphabet
    {"kind": "rejected", "source": "bad", "source_offset": None, "url": None, "reason": "broken"},
    {"kind": "skipped", "source": "css", "source_offset": 0, "reason": "not HTML"},
]


def rows_of(table: pa.Table) -> list[str]:
    return sorted(str(row) for row in table.to_pylist())


def test_driver_and_workers_make_the_same_tables(spark: SparkSession) -> None:
    batch = to_batch(RECORDS_OF_ALL_KINDS)
    records = pa.Table.from_batches([batch.slice(0, 5), batch.slice(5)])
    frame = spark.createDataFrame(records).localCheckpoint()
    sources = spark.createDataFrame([], "source string")
    mine, theirs = tables_on_driver(records), tables_by_spark(frame, None, sources, "")
    assert (mine.counts, mine.n_redirects) == (theirs.counts, theirs.n_redirects)
    assert rows_of(mine.redirects) == rows_of(theirs.redirects.toArrow())
    assert rows_of(mine.links) == rows_of(theirs.links.toArrow())
    assert rows_of(mine.rejected) == rows_of(theirs.rejected.toArrow())
    pages = theirs.pages
    names = ["page_id", "url", "title", "source", "text", "canonical_url", "duplicate_of"]
    assert rows_of(mine.pages.select(names)) == rows_of(pages.select(names).toArrow())
    copies = mark_duplicates(mine.pages, 0.5)
    assert len(copies) > 2
    assert rows_of(copies) == rows_of(mark_duplicates(pages, 0.5).toArrow())
    marked = tables.with_copies_spark(pages, spark.createDataFrame(copies))
    names = ["page_id", "duplicate_of", "similarity"]
    assert rows_of(tables.with_copies_arrow(mine.pages, copies).select(names)) == rows_of(
        marked.select(names).toArrow()
    )


def test_no_rows_make_empty_tables() -> None:
    none = tables_on_driver(pa.Table.from_batches([to_batch(RECORDS_OF_ALL_KINDS)]).slice(0, 0))
    assert [len(table) for table in (none.pages, none.links, none.redirects, none.rejected)] == [0] * 4
    assert len(mark_duplicates(none.pages)) == 0

"""Tables put together on the driver: every odd case of `assemble`'s, side by side with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from lakerank.search.near_duplicates import copies_among, mark_duplicates
from lakerank.search.pages import tables_arrow, tables_spark
from lakerank.search.pages.rows import _batch

DAY = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 4)]
WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


def page(url: str, *targets: str, **more: Any) -> dict[str, Any]:
    links = [(target, f"to {target}", False, "main", 1.0) for target in targets]
    empty = {"title": "", "headings": [], "text": WORDS, "content_hash": "h", "noindex": False}
    return {"kind": "page", "source": "a", "source_offset": 0, "url": url, "links": links, **empty, **more}


def moved(url: str, target: str, kind: str = "http") -> dict[str, Any]:
    return {"kind": "redirect", "source": "a", "source_offset": 1, "url": url, "target_url": target, "reason": kind}


ROWS_OF_ALL_KINDS = [
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
    batch = _batch(ROWS_OF_ALL_KINDS)
    rows = pa.Table.from_batches([batch.slice(0, 5), batch.slice(5)])
    frame = spark.createDataFrame(rows).localCheckpoint()
    assert tables_arrow.survey(rows) == tables_spark.survey(frame)
    mine = tables_arrow.settle(rows)
    pages = tables_spark.newest_pages(frame, unique=False)
    ends = tables_spark.follow(tables_spark.redirects(tables_spark.told_redirects(frame), pages)).localCheckpoint()
    links = tables_spark.resolved(tables_spark.raw_links(pages), ends)
    assert rows_of(mine.redirects) == rows_of(ends.toArrow())
    assert rows_of(mine.links) == rows_of(links.toArrow())
    assert rows_of(mine.rejected) == rows_of(tables_spark.rejected_rows(frame).toArrow())
    marked = tables_spark.as_pages(pages)
    names = ["page_id", "url", "title", "source", "text", "canonical_url", "duplicate_of"]
    assert rows_of(mine.pages.select(names)) == rows_of(marked.select(names).toArrow())
    copies = copies_among(mine.pages, 0.5)
    assert len(copies) > 2
    assert rows_of(copies) == rows_of(mark_duplicates(pages, 0.5).toArrow())
    marked = tables_spark.with_duplicates(marked, spark.createDataFrame(copies))
    names = ["page_id", "duplicate_of", "similarity"]
    assert rows_of(tables_arrow.with_duplicates(mine.pages, copies).select(names)) == rows_of(
        marked.select(names).toArrow()
    )


def test_no_rows_make_empty_tables() -> None:
    none = tables_arrow.settle(pa.Table.from_batches([_batch(ROWS_OF_ALL_KINDS)]).slice(0, 0))
    assert [len(table) for table in (none.pages, none.links, none.redirects, none.rejected)] == [0] * 4
    assert len(copies_among(none.pages)) == 0

"""Files → rows on Spark: each task reads its share and hands over Arrow batches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame

from lakerank.search.pages.read_file import PAGE, Reading, Row, read_file
from lakerank.search.pages.urls import page_id
from lakerank.spark.arrow_ipc import map_packed

_LINK = pa.struct(
    [
        ("dst", pa.int64()),
        ("dst_url", pa.string()),
        ("anchor", pa.string()),
        ("nofollow", pa.bool_()),
        ("zone", pa.string()),
        ("weight", pa.float64()),
    ]
)
_SCHEMA = pa.schema(
    [("page_id", pa.int64())]
    + [(name, pa.string()) for name in ("kind", "source", "url", "doc_id", "title", "description", "text", "language")]
    + [(name, pa.string()) for name in ("content_hash", "canonical_url", "target_url", "reason")]
    + [
        ("source_offset", pa.int64()),
        ("headings", pa.list_(pa.string())),
        ("fetched_at", pa.timestamp("us", tz="UTC")),
        ("noindex", pa.bool_()),
        ("links", pa.list_(_LINK)),
    ]
)
ROWS = (
    "page_id bigint, kind string, source string, url string, doc_id string, title string, description string, "
    "text string, language string, content_hash string, canonical_url string, target_url string, reason string, "
    "source_offset bigint, headings array<string>, fetched_at timestamp, noindex boolean, "
    "links array<struct<dst: bigint, dst_url: string, anchor: string, nofollow: boolean, zone: string, weight: double>>"
)
_known_id = lru_cache(maxsize=1 << 16)(page_id)  # menus lead from all pages to the same ones
_BATCH = 200  # rows; a page's row is some 30 KB
_BATCH_BYTES = 32 << 20  # of text
_SAY_EVERY = 10.0  # seconds


def read_parts(parts: DataFrame, how: Reading) -> DataFrame:
    """The rows (`ROWS`) of all files. `kind` says what a row is: page, redirect, rejected or skipped.

    Args:
        parts: see `lake.files.as_parts`.
        how: base address and limits.
    """
    return parts.mapInArrow(_work(how), ROWS)


def gather_parts(parts: DataFrame, how: Reading) -> pa.Table:
    """`read_parts`, gathered on the driver."""
    return map_packed(parts, _work(how), _SCHEMA)


def _work(how: Reading) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for part in batch.to_pylist():
                yield from _batches(_part_rows(part, how))

    return work


def _part_rows(part: dict[str, Any], how: Reading) -> Iterator[Row]:
    """All rows of a part; says now and then how far it is."""
    total, done, pages = sum(file["size"] for file in part["files"]), 0, 0
    begun = said = time.monotonic()
    for file in part["files"]:
        for row in read_file(file["path"], file["relative"], how):
            pages += row["kind"] == PAGE
            yield row
        done += file["size"]
        if time.monotonic() - said > _SAY_EVERY:
            said = time.monotonic()
            rate, left = pages / (said - begun), (said - begun) * (total - done) / max(done, 1)
            message = f"part {part['part'] + 1}: {pages:,} pages, {rate:.0f}/s, about {left:.0f} s left"
            print(f"ingest_pages: {message}", file=sys.stderr, flush=True)


def _batches(rows: Iterator[Row]) -> Iterator[pa.RecordBatch]:
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row.get("text") or "") + 100 * len(row.get("links") or ())
        if len(held) >= _BATCH or size > _BATCH_BYTES:
            yield _batch(held)
            held, size = [], 0
    if held:
        yield _batch(held)


def _batch(rows: list[Row]) -> pa.RecordBatch:
    """Rows as columns; a page's links, the most of it, without a dictionary for each."""
    arrays = [pa.array([page_id(row["url"]) if row["kind"] == PAGE else None for row in rows], pa.int64())]
    arrays += [pa.array([row.get(field.name) for row in rows], field.type) for field in _SCHEMA if not _made(field)]
    links = [row.get("links") for row in rows]
    flat = list(zip(*(link for of_page in links for link in of_page or ()), strict=True)) or [()] * (len(_LINK) - 1)
    flat.insert(0, tuple(map(_known_id, flat[0])))
    columns = [pa.array(values, field.type) for values, field in zip(flat, _LINK, strict=True)]
    ends = [0]
    for of_page in links:
        ends.append(ends[-1] + len(of_page or ()))
    arrays.append(
        pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.StructArray.from_arrays(columns, fields=list(_LINK)))
    )
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _made(field: pa.Field) -> bool:
    """Whether a column is made of all rows at once."""
    return field.name in ("page_id", "links")

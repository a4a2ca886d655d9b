"""Records: what the files of a source hold, before the tables `pages`, `links`, `redirects`, `pages_rejected` are made.

A record is a page, a redirect, something that cannot be used, or something passed over, as `kind` says. Its columns are
those of `pages`, so that a new column of `pages` needs nothing here: a field of `Document` with its name fills it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from lakerank.lake.bad_records import batches_without_bad, storable
from lakerank.lake.schemas import LINKS, PAGES, Column
from lakerank.search.pages.document import Document
from lakerank.search.pages.urls import link_id, page_id

PAGE, REDIRECT, REJECTED, SKIPPED = "page", "redirect", "rejected", "skipped"
COPY_COLUMNS = ("duplicate_of", "similarity")  # of `pages`: found out when all pages are there
Record = dict[str, Any]

_LINK = replace(LINKS, columns=tuple(column for column in LINKS.columns if column.name not in ("src", "src_url")))
_RECORD = replace(
    PAGES,
    columns=(
        Column("kind", "string", "page, redirect, rejected or skipped"),
        *(column for column in PAGES.columns if column.name not in COPY_COLUMNS),
        Column("target_url", "string", "where a redirect leads", nullable=True),
        Column("reason", "string", "kind of a redirect; why something is rejected or skipped", nullable=True),
    ),
)
SCHEMA = _RECORD.arrow_schema().append(pa.field("links", pa.list_(pa.struct(list(_LINK.arrow_schema())))))
DDL = f"{_RECORD.ddl()}, links array<struct<{_LINK.ddl()}>>"
_MADE = ("page_id", "links")  # columns made of all records of a batch at once
_BATCH_RECORDS = 200  # a page's record is some 30 KB
_BATCH_BYTES = 32 << 20  # about, of all that the records say
_OTHER_BYTES = 8  # of a value that is no text


def page_record(
    source: str, offset: int | None, url: str, page: Document, *, fetched_at: datetime | None = None, doc_id: str = ""
) -> Record:
    """Build the record of a page.

    Args:
        source: file it was read from.
        offset: byte of it in that file, or None for a file that is one page.
        url: address in standard form.
        page: what it says.
        fetched_at: when it was fetched, UTC.
        doc_id: its id in a collection, or empty.
    """
    where = {"kind": PAGE, "source": source, "source_offset": offset, "url": url}
    return {**where, "doc_id": doc_id or None, "fetched_at": fetched_at, **vars(page)}


def redirect_record(
    source: str, offset: int | None, url: str, target: str, kind: str, fetched_at: datetime | None
) -> Record:
    """Build the record of a redirect from `url` to `target`; `kind` is http or refresh."""
    where = {"kind": REDIRECT, "source": source, "source_offset": offset, "url": url}
    return {**where, "target_url": target, "reason": kind, "fetched_at": fetched_at}


def rejected_record(source: str, offset: int, url: str | None, reason: str) -> Record:
    """Build the record of something that cannot be used, with the reason."""
    return {"kind": REJECTED, "source": source, "source_offset": offset, "url": url, "reason": reason}


def skipped_record(source: str, offset: int, reason: str) -> Record:
    """Build the record of something that is passed over, with the reason."""
    return {"kind": SKIPPED, "source": source, "source_offset": offset, "reason": reason}


def batches_of(records: Iterable[Record]) -> Iterator[pa.RecordBatch]:
    """Gather records into Arrow batches of `SCHEMA`, of at most 200 records and about 32 MiB."""
    held: list[Record] = []
    size = 0
    for record in records:
        held.append(record)
        size += _size(record)
        if len(held) >= _BATCH_RECORDS or size > _BATCH_BYTES:
            yield from batches_without_bad(held, to_batch, _not_stored)
            held, size = [], 0
    yield from batches_without_bad(held, to_batch, _not_stored)


def _size(value: Any) -> int:
    """Return about how many bytes a record, or a value of one, will take: of all its texts, and of its links."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else _OTHER_BYTES


def _not_stored(record: Record, reason: str) -> Record:
    """Build the rejected record of one that Arrow refuses, of nothing but what Arrow takes."""
    offset, url = record.get("source_offset"), record.get("url")
    where = storable(str(record["source"])), offset if isinstance(offset, int) and abs(offset) < 1 << 62 else 0
    return rejected_record(*where, storable(url) if isinstance(url, str) else None, storable(reason))


def to_batch(records: Sequence[Record]) -> pa.RecordBatch:
    """Turn records into columns (`SCHEMA`); a page's links, the most of it, without a dictionary for each."""
    columns = {
        field.name: pa.array([record.get(field.name) for record in records], field.type)
        for field in SCHEMA
        if field.name not in _MADE
    }
    ids = [page_id(record["url"]) if record["kind"] == PAGE else None for record in records]
    columns["page_id"] = pa.array(ids, pa.int64())
    columns["links"] = _link_lists([record.get("links") or () for record in records])
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _link_lists(links: list[Any]) -> pa.ListArray:
    """Turn the links of each record into a column of lists of structs; `dst` is the id of `dst_url`."""
    fields = list(SCHEMA.field("links").type.value_type)
    flat = list(zip(*(link for of_page in links for link in of_page), strict=True)) or [()] * (len(fields) - 1)
    flat.insert(0, tuple(map(link_id, flat[0])))
    columns = [pa.array(values, field.type) for values, field in zip(flat, fields, strict=True)]
    ends = [0]
    for of_page in links:
        ends.append(ends[-1] + len(of_page))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.StructArray.from_arrays(columns, fields=fields))

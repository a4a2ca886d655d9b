"""What a file holds: pages, redirects, and what cannot be used, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from lakerank.lake.binary_files import chunks
from lakerank.search.pages import jsonl, urls, warc
from lakerank.search.pages.byte_reader import DamageError, Feed
from lakerank.search.pages.document import Document, parse
from lakerank.search.pages.encodings import decode
from lakerank.search.pages.gzip_members import MAGIC, unpack
from lakerank.search.pages.http_response import BodyError, body_of, read_answer

PAGE, REDIRECT, REJECTED, SKIPPED = "page", "redirect", "rejected", "skipped"
HTML_NAMES = (".html", ".htm", ".xhtml", ".shtml")
WARC_NAMES = (".warc", ".warc.gz")
_HTML_TYPES = frozenset(("text/html", "application/xhtml+xml"))
_WANTED = frozenset(("response", "resource"))
_SNIFFED = 1024  # bytes in which a file without a known name must show that it is HTML
_SIGNS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<title", b"<h1", b"<table", b"<div", b"<p>", b"<a ")
_HTTP_HEAD = 1 << 18  # headers of an answer, beside the page
Row = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """How to read: the base address of files, and the most bytes of a page."""

    base_url: str
    max_page_bytes: int


def read_file(path: str, relative: str, how: Reading) -> Iterator[Row]:
    """The rows of one file (columns as in `rows.ROWS`); what cannot be read is a row too.

    Args:
        path: the file.
        relative: its path below the folder that was named.
        how: see there.
    """
    try:
        pieces = chunks(path)
        first = next(pieces, b"")
        rest = chain((first,), pieces)
        if relative.lower().endswith(jsonl.NAMES):
            yield from _collection_rows(path, rest, how)
        elif relative.lower().endswith(WARC_NAMES) or first.startswith((b"WARC/", MAGIC)):
            yield from _warc_rows(path, rest, how)
        else:
            yield from _file_rows(path, relative, rest, how)
    except OSError as error:
        yield rejected(path, 0, None, f"cannot be read: {error.strerror or error}")


def rejected(source: str, offset: int, url: str | None, reason: str) -> Row:
    """Something that cannot be used."""
    return {"kind": REJECTED, "source": source, "source_offset": offset, "url": url, "reason": reason}


def _skipped(source: str, offset: int, why: str) -> Row:
    return {"kind": SKIPPED, "source": source, "source_offset": offset, "reason": why}


def _file_rows(path: str, relative: str, pieces: Iterator[bytes], how: Reading) -> Iterator[Row]:
    """A file of HTML."""
    url = urls.of_file(relative, how.base_url) if how.base_url else None
    data = b""
    named = relative.lower().endswith(HTML_NAMES)
    for piece in pieces:
        if not data and not named and not _looks_like_html(piece):
            yield _skipped(path, 0, "not HTML")
            return
        data += piece
        if len(data) > how.max_page_bytes:
            yield rejected(path, 0, url, f"more than {how.max_page_bytes} bytes (--max-page-bytes)")
            return
    if not how.base_url:
        yield rejected(path, 0, None, "HTML without an address (--base-url)")
    elif url is None:
        yield rejected(path, 0, None, "its name makes no address")
    else:
        yield from _page_rows(path, None, url, data, "", "", None)


def _looks_like_html(data: bytes) -> bool:
    head = data[:_SNIFFED].replace(b"\0", b"").lower()  # UTF-16 too
    return any(sign in head for sign in _SIGNS)


def _collection_rows(path: str, pieces: Iterator[bytes], how: Reading) -> Iterator[Row]:
    """JSON Lines, packed or not; of packed ones offsets count unpacked bytes."""
    first = next(pieces, b"")
    rest = chain((first,), pieces)
    try:
        plain = _unpacked(rest) if first.startswith(MAGIC) else rest
        for offset, line in jsonl.lines(plain, how.max_page_bytes):
            if line is None:
                yield rejected(path, offset, None, f"more than {how.max_page_bytes} bytes (--max-page-bytes)")
            elif line.strip():
                try:
                    page = jsonl.document(line, how.base_url)
                except ValueError as error:
                    yield rejected(path, offset, None, str(error))
                else:
                    yield {"kind": PAGE, "source": path, "source_offset": offset, **page}
    except DamageError as error:
        yield rejected(path, error.offset, None, str(error))


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in unpack(pieces):
        if piece.damage:
            raise DamageError(piece.offset, piece.damage)
        yield piece.data


def _warc_rows(path: str, pieces: Iterator[bytes], how: Reading) -> Iterator[Row]:
    """A WARC file, packed or not."""
    first = next(pieces, b"")
    if not first:
        yield rejected(path, 0, None, "the file is empty")
        return
    feed = Feed(unpack(chain((first,), pieces)), first.startswith(MAGIC[:2]))
    for record in warc.records(feed, how.max_page_bytes + _HTTP_HEAD, _WANTED):
        if isinstance(record, warc.Bad):
            yield rejected(path, record.offset, record.url, record.reason)
        else:
            yield from _record_rows(path, record, how)


def _record_rows(path: str, record: warc.Record, how: Reading) -> Iterator[Row]:
    """A response (or a stored resource)."""
    headers, offset = record.headers, record.offset
    written = headers.get("url", "")
    url = urls.page_address(written)
    if url is None:
        if written.lower().startswith(("http:", "https:")) or not urls.parse(written):
            yield rejected(path, offset, written or None, "WARC-Target-URI is missing or no address")
        else:  # dns:, ftp:, metadata of crawlers
            yield _skipped(path, offset, "not http")
        return
    when = _time(headers.get("warc-date", ""))
    answer = read_answer(record.block) if headers["warc-type"].lower() == "response" else None
    if answer is None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if headers["warc-type"].lower() == "response":
            yield rejected(path, offset, url, "no HTTP answer in it")
        elif kind in _HTML_TYPES:
            yield from _page_rows(path, offset, url, record.block, "", "", when)
        else:
            yield _skipped(path, offset, "not HTML")
        return
    if 300 <= answer.status < 400 and (to := urls.page_address(answer.headers.get("location", ""), url)):
        yield _redirect(path, offset, url, to, "http", when)
        return
    if not 200 <= answer.status < 300:
        yield _skipped(path, offset, "HTTP status other than 2xx")
        return
    if answer.media_type not in _HTML_TYPES and (answer.media_type or not _looks_like_html(answer.body)):
        yield _skipped(path, offset, "not HTML")
        return
    try:
        body = body_of(answer, how.max_page_bytes)
    except BodyError as error:
        yield rejected(path, offset, url, str(error))
        return
    yield from _page_rows(path, offset, url, body, answer.charset, answer.headers.get("x-robots-tag", ""), when)


def _page_rows(
    path: str, offset: int | None, url: str, data: bytes, charset: str, robots: str, when: datetime | None
) -> Iterator[Row]:
    """A page, and where it leads if it refreshes at once; or why it is none."""
    if not data.strip():
        yield rejected(path, offset or 0, url, "the page is empty")
        return
    html = decode(data, charset)
    if "<" not in html:
        yield rejected(path, offset or 0, url, "not HTML: there is no tag in it")
        return
    page = parse(html, url, robots)
    yield _page(path, offset, url, page, when)
    if page.refresh and page.refresh != url:
        yield _redirect(path, offset, url, page.refresh, "refresh", when)


def _page(path: str, offset: int | None, url: str, page: Document, when: datetime | None) -> Row:
    return {
        "kind": PAGE,
        "source": path,
        "source_offset": offset,
        "url": url,
        "title": page.title,
        "headings": page.headings,
        "description": page.description,
        "text": page.text,
        "language": page.language,
        "fetched_at": when,
        "content_hash": page.content_hash,
        "canonical_url": page.canonical_url,
        "noindex": page.noindex,
        "links": page.links,
    }


def _redirect(path: str, offset: int | None, url: str, target: str, kind: str, when: datetime | None) -> Row:
    return {
        "kind": REDIRECT,
        "source": path,
        "source_offset": offset,
        "url": url,
        "target_url": target,
        "reason": kind,
        "fetched_at": when,
    }


def _time(text: str) -> datetime | None:
    """WARC-Date (UTC, ISO 8601), or None if it is none."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)

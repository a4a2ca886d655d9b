"""Read a file of HTML, WARC, ARC or a collection: its pages, its redirects, and what cannot be used, as records."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import NamedTuple

from lakerank.lake.bad_records import attempt, reason_of, storable
from lakerank.lake.binary_files import chunks, peek
from lakerank.lake.input_files import packed_by, without_packing
from lakerank.search.pages import arc, urls, warc
from lakerank.search.pages.byte_reader import MAGIC, ByteReader, DamageError, unpack
from lakerank.search.pages.collection_formats import JSON_NAMES, Parse, Split, collection_form
from lakerank.search.pages.document import Document, content_hash, parse_html
from lakerank.search.pages.encodings import decode_html
from lakerank.search.pages.page_tree import collapse_spaces
from lakerank.search.pages.records import Record, page_record, redirect_record, rejected_record, skipped_record
from lakerank.search.text.languages import language_of

HTML_NAMES = (".html", ".htm", ".xhtml", ".shtml")
WARC_NAMES, ARC_NAMES = (".warc", ".wet", ".wat"), (".arc",)
_HTML_TYPES = frozenset(("text/html", "application/xhtml+xml"))
_WANTED = frozenset(("response", "resource", "conversion"))
_REDIRECTS = frozenset((300, 301, 302, 303, 307, 308))  # 304 says that nothing has changed
_SNIFFED = 1024  # bytes in which a file without a known name must show that it is HTML
_SIGNS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<title", b"<h1", b"<table", b"<div", b"<p>", b"<a ")
_LONGEST_TITLE = 200  # characters of the first line of a text without markup


@dataclass(frozen=True)
class ReadOptions:
    """How to read: the base address of files (empty: none), and the most bytes of a page."""

    base_url: str
    max_page_bytes: int


class _Archive(NamedTuple):
    """How a form of archives is read, and what its records begin with."""

    read_records: Callable[[ByteReader, int, frozenset[str]], Iterator[warc.Record | warc.BadRecord]]
    mark: bytes


_WARC, _ARC = _Archive(warc.read_records, warc.MARK), _Archive(arc.read_records, arc.MARK)


def read_file(path: str, relative: str, options: ReadOptions) -> Iterator[Record]:
    """Read the records of one file; what cannot be read is a record too.

    Args:
        path: the file.
        relative: its path below the folder that was named.
        options: base address and limits.
    """
    try:
        pieces = chunks(path)
        first = next(pieces, b"")
        rest = chain((first,), pieces)
        packed = first.startswith(MAGIC[:2])
        start = _unpacked_start(first) if packed else first
        name = relative.lower().removesuffix(".gz")
        form, (packing, _) = collection_form(name, start), packed_by(start)
        if packing and without_packing(name).endswith((*HTML_NAMES, *WARC_NAMES, *ARC_NAMES, *JSON_NAMES)):
            yield rejected_record(path, 0, None, f"packed by {packing}, which is not read: pack it with gzip")
        elif form is not None:
            yield from _documents(path, rest, form, packed, options)
        elif name.endswith(ARC_NAMES) or start.startswith(arc.BEGINS):
            yield from _archive_records(path, rest, _ARC, options)
        elif name.endswith(WARC_NAMES) or start.startswith(warc.BEGINS) or (packed and not _is_html(name, start)):
            yield from _archive_records(path, rest, _WARC, options)
        else:
            relative = relative[: len(name)] if packed else relative
            yield from _html_records(path, relative, _unpacked(rest) if packed else rest, options)
    except DamageError as error:
        yield rejected_record(path, error.offset, None, str(error))
    except OSError as error:
        yield rejected_record(path, 0, None, f"cannot be read: {error.strerror or error}")
    except Exception as error:  # of the reader itself: no record is to blame, but the other files must be read
        yield rejected_record(path, 0, None, reason_of(error))


def _unpacked_start(first: bytes) -> bytes:
    """Unpack the first bytes of a gzip file, as far as they can be."""
    try:
        return zlib.decompressobj(wbits=31).decompress(first, _SNIFFED)
    except zlib.error:
        return b""


def _is_html(name: str, start: bytes) -> bool:
    return name.endswith(HTML_NAMES) or _looks_like_html(start)


def _html_records(path: str, relative: str, pieces: Iterator[bytes], options: ReadOptions) -> Iterator[Record]:
    """Read a file of HTML."""
    url = urls.of_file(relative, options.base_url) if options.base_url else None
    data = b""
    named = relative.lower().endswith(HTML_NAMES)
    for piece in pieces:
        if not data and not named and not _looks_like_html(piece):
            yield skipped_record(path, 0, "not HTML")
            return
        data += piece
        if len(data) > options.max_page_bytes:
            yield rejected_record(path, 0, url, _too_large(options))
            return
    if not options.base_url:
        yield rejected_record(path, 0, None, "HTML without an address (--base-url)")
    elif url is None:
        yield rejected_record(path, 0, None, "its name makes no address")
    else:
        page = attempt(lambda: list(_page_records(path, None, url, data, "", "", None)), len(data))
        yield from [rejected_record(path, 0, url, page)] if isinstance(page, str) else page


def _looks_like_html(data: bytes) -> bool:
    head = data[:_SNIFFED].replace(b"\0", b"").lower()  # UTF-16 too
    return any(sign in head for sign in _SIGNS)


def _documents(
    path: str, pieces: Iterator[bytes], form: tuple[Split, Parse], packed: bool, options: ReadOptions
) -> Iterator[Record]:
    """Read a collection of documents, packed or not; of packed ones offsets count unpacked bytes."""
    split, parse = form
    try:
        for offset, data in split(_unpacked(pieces) if packed else pieces, options.max_page_bytes):
            if data is None:
                yield rejected_record(path, offset, None, _too_large(options))
            elif data.strip():
                found = attempt(partial(_document_record, path, offset, data, parse, options), len(data))
                yield rejected_record(path, offset, None, found) if isinstance(found, str) else found
    except DamageError as error:
        yield rejected_record(path, error.offset, None, str(error))


def _document_record(path: str, offset: int, data: bytes, parse: Parse, options: ReadOptions) -> Record:
    """Read a document of a collection."""
    try:
        url, doc_id, page = parse(data, options.base_url)
    except ValueError as error:
        return rejected_record(path, offset, None, str(error))
    return page_record(path, offset, url, page, doc_id=doc_id)


def _too_large(options: ReadOptions) -> str:
    return warc.TOO_LARGE.format(options.max_page_bytes)


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in unpack(pieces):
        if piece.damage:
            raise DamageError(piece.offset, piece.damage)
        yield piece.data


def _archive_records(path: str, pieces: Iterator[bytes], archive: _Archive, options: ReadOptions) -> Iterator[Record]:
    """Read a WARC or ARC file, packed or not."""
    first = next(pieces, b"")
    if not first:
        yield rejected_record(path, 0, None, "the file is empty")
        return
    unpacked = unpack(chain((first,), pieces))
    reader = ByteReader(unpacked, first.startswith(MAGIC[:2]), partial(peek, path), archive.mark)
    for record in archive.read_records(reader, options.max_page_bytes + warc.HTTP_HEADERS, _WANTED):
        if isinstance(record, warc.BadRecord):
            yield rejected_record(path, record.offset, record.url, record.reason)
        else:
            found = attempt(partial(_response_list, path, record, options), len(record.block))
            url = record.headers.get("url")
            yield from [rejected_record(path, record.offset, url, found)] if isinstance(found, str) else found


def _response_list(path: str, record: warc.Record, options: ReadOptions) -> list[Record]:
    return list(_response_records(path, record, options))


def _response_records(path: str, record: warc.Record, options: ReadOptions) -> Iterator[Record]:
    """Read a response (or a stored resource)."""
    headers, offset = record.headers, record.offset
    if (without := _without_page(headers)) is not None:
        yield from [skipped_record(path, offset, without)] if without else []
        return
    written = headers.get("url", "")
    url = urls.page_address(written)
    if url is None:
        if written.lower().startswith(("http:", "https:")) or not urls.parse(written):
            yield rejected_record(path, offset, written or None, "WARC-Target-URI is missing or no address")
        else:  # dns:, ftp:, metadata of crawlers
            yield skipped_record(path, offset, "not http")
        return
    when = _time(headers.get("warc-date", ""))
    response = warc.parse_response(record.block) if headers["warc-type"].lower() == "response" else None
    if response is None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if headers["warc-type"].lower() == "response":
            yield rejected_record(path, offset, url, "no HTTP answer in it")
        elif kind == "text/plain" and headers["warc-type"].lower() == "conversion":
            yield _text_record(path, offset, url, record.block, when)
        elif kind in _HTML_TYPES:
            yield from _page_records(path, offset, url, record.block, "", "", when)
        else:
            yield skipped_record(path, offset, "not HTML")
        return
    location = response.headers.get("location", "").strip()
    if response.status in _REDIRECTS and location and (to := urls.page_address(location, url)):
        yield redirect_record(path, offset, url, to, "http", when)
        return
    if not 200 <= response.status < 300:
        yield skipped_record(path, offset, "HTTP status other than 2xx")
        return
    if response.media_type not in _HTML_TYPES and (response.media_type or not _looks_like_html(response.body)):
        yield skipped_record(path, offset, "not HTML")
        return
    try:
        body = warc.decode_body(response, options.max_page_bytes)
    except warc.BodyError as error:
        yield rejected_record(path, offset, url, str(error))
        return
    yield from _page_records(path, offset, url, body, response.charset, response.headers.get("x-robots-tag", ""), when)


def _without_page(headers: dict[str, str]) -> str | None:
    """Return why a record holds no page, empty if that is not worth a word; None for one that may hold one."""
    kind = headers["warc-type"].lower()
    if kind == "revisit":
        return "revisit: its content stands in another record"
    if kind == "metadata":
        return "metadata of pages (WAT): links without text" if "json" in headers.get("content-type", "") else ""
    return None


def _text_record(path: str, offset: int, url: str, data: bytes, when: datetime | None) -> Record:
    """Build the record of a page of which only the text was stored (WET), its title in the first line."""
    lines = [line for line in map(collapse_spaces, storable(data.decode("utf-8", "replace")).splitlines()) if line]
    if not lines:
        return rejected_record(path, offset, url, "the page is empty")
    title, text = lines[0] if len(lines[0]) <= _LONGEST_TITLE else "", "\n".join(lines)
    language, said = language_of(text, None), content_hash(title, [], None, text)
    page = Document(title=title, text=text, language=language, content_hash=said)
    return page_record(path, offset, url, page, fetched_at=when)


def _page_records(
    path: str, offset: int | None, url: str, data: bytes, charset: str, robots: str, when: datetime | None
) -> Iterator[Record]:
    """Read a page, and where it leads if it refreshes at once; or say why it is none."""
    if not data.strip():
        yield rejected_record(path, offset or 0, url, "the page is empty")
        return
    html = decode_html(data, charset)
    if "<" not in html:
        yield rejected_record(path, offset or 0, url, "not HTML: there is no tag in it")
        return
    page = parse_html(html, url, robots)
    yield page_record(path, offset, url, page, fetched_at=when)
    if page.refresh and page.refresh != url:
        yield redirect_record(path, offset, url, page.refresh, "refresh", when)


def _time(text: str) -> datetime | None:
    """Parse a WARC-Date (UTC, ISO 8601); None if it is none."""
    try:
        when = datetime.fromisoformat(text.strip())
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):  # the second: in UTC it lies outside the years 1 to 9999
        return None

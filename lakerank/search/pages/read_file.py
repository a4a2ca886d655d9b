"""Read a file of HTML, WARC or JSON Lines: its pages, its redirects, and what cannot be used, as records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from urllib.parse import quote

from lakerank.lake.bad_records import attempt, reason_of, storable
from lakerank.lake.binary_files import chunks, peek
from lakerank.search.pages import urls, warc
from lakerank.search.pages.byte_reader import MAGIC, ByteReader, DamageError, unpack
from lakerank.search.pages.document import Document, content_hash, parse_html
from lakerank.search.pages.encodings import decode_html
from lakerank.search.pages.records import Record, page_record, redirect_record, rejected_record, skipped_record
from lakerank.search.text.languages import language_of

HTML_NAMES = (".html", ".htm", ".xhtml", ".shtml")
WARC_NAMES = (".warc", ".warc.gz")
JSON_NAMES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_HTML_TYPES = frozenset(("text/html", "application/xhtml+xml"))
_WANTED = frozenset(("response", "resource"))
_REDIRECTS = frozenset((300, 301, 302, 303, 307, 308))  # 304 says that nothing has changed
_SNIFFED = 1024  # bytes in which a file without a known name must show that it is HTML
_SIGNS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<title", b"<h1", b"<table", b"<div", b"<p>", b"<a ")
_JSON_OPTIONAL = ("title", "url", "language")
_URN = "urn:document:"  # address of a document that has none


@dataclass(frozen=True)
class ReadOptions:
    """How to read: the base address of files (empty: none), and the most bytes of a page."""

    base_url: str
    max_page_bytes: int


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
        if relative.lower().endswith(JSON_NAMES):
            yield from _json_records(path, rest, options)
        elif relative.lower().endswith(WARC_NAMES) or first.startswith((b"WARC/", MAGIC)):
            yield from _warc_records(path, rest, options)
        else:
            yield from _html_records(path, relative, rest, options)
    except OSError as error:
        yield rejected_record(path, 0, None, f"cannot be read: {error.strerror or error}")
    except Exception as error:  # of the reader itself: no record is to blame, but the other files must be read
        yield rejected_record(path, 0, None, reason_of(error))


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
            yield rejected_record(path, 0, url, f"more than {options.max_page_bytes} bytes (--max-page-bytes)")
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


def _json_records(path: str, pieces: Iterator[bytes], options: ReadOptions) -> Iterator[Record]:
    """Read JSON Lines, packed or not; of packed ones offsets count unpacked bytes."""
    first = next(pieces, b"")
    rest = chain((first,), pieces)
    try:
        plain = _unpacked(rest) if first.startswith(MAGIC) else rest
        for offset, line in json_lines(plain, options.max_page_bytes):
            if line is None:
                yield rejected_record(
                    path, offset, None, f"more than {options.max_page_bytes} bytes (--max-page-bytes)"
                )
            elif line.strip():
                found = attempt(partial(_json_record, path, offset, line, options), len(line))
                yield rejected_record(path, offset, None, found) if isinstance(found, str) else found
    except DamageError as error:
        yield rejected_record(path, error.offset, None, str(error))


def _json_record(path: str, offset: int, line: bytes, options: ReadOptions) -> Record:
    """Read a line of a collection."""
    try:
        url, doc_id, page = parse_json(line, options.base_url)
    except ValueError as error:
        return rejected_record(path, offset, None, str(error))
    return page_record(path, offset, url, page, doc_id=doc_id)


def json_lines(pieces: Iterable[bytes], most: int) -> Iterator[tuple[int, bytes | None]]:
    """Split into lines, each with the byte it begins at; None for one of more than `most` bytes, which is not kept."""
    held, begin, size = bytearray(), 0, 0
    for piece in pieces:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            size += end - start
            yield begin, None if size > most else bytes(held + piece[start:end])
            begin, size, start = begin + size + 1, 0, end + 1
            held.clear()
        size += len(piece) - start
        if size <= most:
            held += piece[start:]
        else:
            held.clear()
    if size:
        yield begin, None if size > most else bytes(held)


def parse_json(line: bytes, base_url: str) -> tuple[str, str, Document]:
    """Parse a line of a collection: an object with `id`, `text`, perhaps `title`, `url` and `language`.

    Args:
        line: UTF-8 JSON.
        base_url: that documents without an address are below, or empty: they get a URN.

    Returns:
        Address, id, and what it says.

    Raises:
        ValueError: it is no JSON object, or has no id or text; the message says so.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON") from error
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    name, text = found.get("id", found.get("_id")), found.get("text")
    if isinstance(name, str):
        name = storable(name)
    if name is None or isinstance(name, list | dict | bool) or not str(name).strip():
        raise ValueError("no `id`")
    if not isinstance(text, str):
        raise ValueError("no `text`")
    text = storable(text)  # JSON can say halves of characters, and NUL, which nothing after us takes
    title, given, declared = (storable(found[key]) if isinstance(found.get(key), str) else "" for key in _JSON_OPTIONAL)
    url = urls.page_address(given) if given else None
    if url is None:
        quoted = quote(str(name), safe="")
        url = (urls.page_address(quoted, base_url) if base_url else None) or _URN + quoted
    page = Document(
        title=title, text=text, language=language_of(text, declared), content_hash=content_hash(title, [], None, text)
    )
    return url, str(name), page


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in unpack(pieces):
        if piece.damage:
            raise DamageError(piece.offset, piece.damage)
        yield piece.data


def _warc_records(path: str, pieces: Iterator[bytes], options: ReadOptions) -> Iterator[Record]:
    """Read a WARC file, packed or not."""
    first = next(pieces, b"")
    if not first:
        yield rejected_record(path, 0, None, "the file is empty")
        return
    packed = first.startswith(MAGIC[:2])
    reader = ByteReader(unpack(chain((first,), pieces)), packed, None if packed else partial(peek, path))
    for record in warc.read_records(reader, options.max_page_bytes + warc.HTTP_HEADERS, _WANTED):
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

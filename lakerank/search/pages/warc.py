"""WARC records, one after the other, whatever stands between them (ISO 28500; written for files found in the wild)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lakerank.search.pages.byte_reader import DamageError, Feed

_BEGINS = b"WARC/"
_VERSIONS = b"WARC/1."
_LONGEST_LINE, _MOST_LINES = 1 << 16, 200
_BETWEEN = 4  # bytes: two line ends close a record


class Record(NamedTuple):
    """A record; `headers` have small letters. A record that was left out for its size has no `block`."""

    offset: int
    headers: dict[str, str]
    block: bytes


class Bad(NamedTuple):
    """A record or stretch that cannot be used."""

    offset: int
    url: str | None
    reason: str


def records(feed: Feed, max_bytes: int, wanted: frozenset[str]) -> Iterator[Record | Bad]:
    """The records of the wanted kinds (`WARC-Type`), and what is wrong with the others.

    After damage the next line that begins with `WARC/1.` counts, or the next gzip member.

    Args:
        feed: an unpacked file.
        max_bytes: larger records are bad.
        wanted: kinds of records whose content is kept.
    """
    lost = False
    while True:
        offset, headers = feed.offset, dict[str, str]()
        try:
            if not feed.go_on():
                return
            offset = feed.offset
            line = feed.line(_LONGEST_LINE)
            if not line.strip():
                continue
            if not line.startswith(_BEGINS):
                if not lost:
                    yield Bad(offset, None, "no WARC record where one should begin")
                feed.put_back(line)
                lost = True
                feed.seek(_VERSIONS)
                continue
            lost = False
            problem = _headers(feed, headers)
            found = problem or _block(feed, headers, max_bytes, wanted)
        except DamageError as damage:
            feed.clear()
            yield Bad(max(offset, damage.offset) if not headers else offset, headers.get("url"), damage.reason)
            lost = True
            continue
        if isinstance(found, str):
            yield Bad(offset, headers.get("url"), found)
            lost = True
            _seek(feed)
        elif found is not None:
            yield Record(offset, headers, found)


def _seek(feed: Feed) -> None:
    try:
        feed.seek(_VERSIONS)
    except DamageError:  # the place is lost anyway
        feed.clear()


def _headers(feed: Feed, headers: dict[str, str]) -> str:
    """Fill `headers`; what is wrong with them, or empty."""
    name = ""
    for _ in range(_MOST_LINES):
        line = feed.line(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            return "WARC headers are cut off or have a line that is too long"
        if not line.strip():
            break
        text = line.decode("utf-8", "replace").strip()
        if line[:1] in b" \t" and name:  # continued
            headers[name] += " " + text
            continue
        name, colon, value = text.partition(":")
        name = name.strip().lower()
        if not colon:
            return "WARC headers have a line without a colon"
        headers[name] = value.strip()
    else:
        return "WARC headers have too many lines"
    if target := headers.get("warc-target-uri", ""):
        headers["url"] = target.removeprefix("<").removesuffix(">")  # wget writes it so
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        return "Content-Length is missing or no number"
    return ""


def _block(feed: Feed, headers: dict[str, str], max_bytes: int, wanted: frozenset[str]) -> bytes | str | None:
    """The record's content; what is wrong with it; or None for a record of another kind."""
    length = int(headers["content-length"])
    keep = headers.get("warc-type", "").lower() in wanted
    if length > max_bytes:
        passed = feed.skip(length)
        if passed < length:
            return "the record ends before its Content-Length"
        return f"more than {max_bytes} bytes (--max-page-bytes)" if keep else None
    block = feed.take(length)
    if len(block) < length:
        feed.put_back(block)
        return "the record ends before its Content-Length"
    end = feed.take(_BETWEEN)
    feed.put_back(end)
    if end.strip(b"\r\n") and not end.lstrip(b"\r\n").startswith(_BEGINS[: len(end.lstrip(b"\r\n"))]):
        feed.put_back(block)  # so that a record within it is found
        return "Content-Length is wrong: no record ends there"
    return block if keep else None

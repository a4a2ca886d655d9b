"""ARC files: what the Internet Archive wrote before WARC, a line of header before each response (versions 1 and 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lakerank.search.pages.byte_reader import ByteReader, DamageError
from lakerank.search.pages.warc import TOO_LARGE, BadRecord, Record

BEGINS = b"filedesc://"
MARK = b""  # in a packed file each gzip member begins a record
_LONGEST_LINE = 1 << 16
# Address, IP address, date, media type, in version 2 five fields more, length. Addresses may have blanks in them. Three
# patterns, none of which goes back: in one, a line of 64 KB that nearly fits would take time with its square.
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*+:")
_MIDDLE = re.compile(rb" (?:[0-9.]++|[0-9A-Fa-f:]++|-) (\d{8,17}) ")
_LENGTH = re.compile(rb"(?<!\d)\d{1,15}\Z")
_NEXT = re.compile(rb"[\r\n]*(?:\Z|[A-Za-z][A-Za-z0-9+.-]*:\S)")
_LOOK = 64  # bytes behind a record in which the next must show


def read_records(reader: ByteReader, max_bytes: int, wanted: frozenset[str]) -> Iterator[Record | BadRecord]:
    """Read the responses, as records that look like those of WARC files; after damage the next header line counts.

    Args:
        reader: of an unpacked file.
        max_bytes: larger records are bad.
        wanted: as for WARC files; all records here are responses.
    """
    lost = False
    while True:
        offset, url = reader.offset, None
        try:
            if not reader.next_record():
                return
            offset = reader.offset
            line = reader.line(_LONGEST_LINE)
            if not line.strip():
                continue
            header = _header(line)
            if header is None:
                if not lost:
                    yield BadRecord(offset, None, "no ARC record where one should begin")
                lost = True
                continue
            url, date, length = header
            if length > max_bytes:
                yield BadRecord(offset, url, TOO_LARGE.format(max_bytes))
                lost = not _pass_over(reader, length)
                continue
            there = reader.fill(length)
            if there < length:
                yield BadRecord(offset, url, "the record ends before its Archive-length")
                lost = True
                continue
            reader.fill(length + _LOOK)
            if not _NEXT.match(reader.glance(length, _LOOK)):
                yield BadRecord(offset, url, "Archive-length is wrong: no record ends there")
                lost = True
                continue
            block, lost = reader.take(length), False
        except DamageError as damage:
            reader.clear()
            yield BadRecord(offset if url else max(offset, damage.offset), url, damage.reason)
            lost = True
            continue
        if url is not None and not url.startswith(BEGINS.decode()):
            yield Record(offset, {"warc-type": "response", "url": url, "warc-date": date}, block)


def _header(line: bytes) -> tuple[str, str, int] | None:
    """Return address, date and length of a line that begins a record; None of one that does not."""
    line = line.rstrip(b"\r\n")
    if not _SCHEME.match(line):
        return None
    middle = _MIDDLE.search(line)
    length = _LENGTH.search(line, max(middle.end(), len(line) - 16)) if middle else None
    if middle is None or length is None:
        return None
    return line[: middle.start()].decode("utf-8", "replace"), _date(middle[1].decode()), int(length[0])


def _pass_over(reader: ByteReader, length: int) -> bool:
    """Pass over a record that is too large if its length can be right; tell whether it was."""
    end = reader.look_ahead(length, _LOOK)
    if end is not None and (end == b"" or not _NEXT.match(end)):
        return False
    return reader.skip(length) == length


def _date(digits: str) -> str:
    """Turn a date of fourteen digits into ISO 8601."""
    padded = digits[:14].ljust(14, "0")
    return f"{padded[:4]}-{padded[4:6]}-{padded[6:8]}T{padded[8:10]}:{padded[10:12]}:{padded[12:14]}Z"

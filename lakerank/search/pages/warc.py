"""WARC files: records one after the other, whatever stands between them, and the HTTP responses stored in them.

ISO 28500, written for files found in the wild.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from lakerank.search.pages.byte_reader import MAGIC, ByteReader, DamageError

BEGINS = MARK = b"WARC/"
_VERSIONS = b"WARC/1."
_LONGEST_LINE, _MOST_LINES = 1 << 16, 200
TOO_LARGE = "more than {} bytes (--max-page-bytes)"
_TOLD = frozenset(("revisit", "metadata"))  # hold no page, and are counted
_TOO_SHORT = "the record ends before its Content-Length"
_NO_END = "Content-Length is wrong: no record ends there"
_BETWEEN = 4  # bytes: two line ends close a record
_CUT_OFF = "WARC headers are cut off: another record begins among them"
_VERSION_AT_END = re.compile(rb"WARC/1\.\d\s*\Z")
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?\s+(\d{3})")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_FED = 1 << 13  # bytes unpacked at a time: of those after a gzip member's end zlib makes a copy
_CHUNK_SIZE = re.compile(rb"\s*([0-9A-Fa-f]{1,12})\s*(?:;[^\r\n]*)?\r?\n")
HTTP_HEADERS = 1 << 18  # bytes in which the headers of a response must end


class Record(NamedTuple):
    """A record; `headers` have small letters. One of a kind that holds no page (revisit, metadata) has no `block`."""

    offset: int
    headers: dict[str, str]
    block: bytes


class BadRecord(NamedTuple):
    """A record or stretch that cannot be used."""

    offset: int
    url: str | None
    reason: str


def read_records(reader: ByteReader, max_bytes: int, wanted: frozenset[str]) -> Iterator[Record | BadRecord]:
    """Read the records of the wanted kinds (`WARC-Type`), and say what is wrong with the others.

    After damage the next line that begins with `WARC/1.` counts, or the next gzip member.

    Args:
        reader: of an unpacked file.
        max_bytes: larger records are bad.
        wanted: kinds of records whose content is kept.
    """
    lost = False
    while True:
        offset, headers = reader.offset, dict[str, str]()
        try:
            if not reader.next_record():
                return
            offset, alone = reader.offset, reader.begins_member
            line = reader.line(_LONGEST_LINE)
            if not line.strip():
                continue
            if not line.startswith(BEGINS):
                if not lost:
                    yield BadRecord(offset, None, "no WARC record where one should begin")
                reader.put_back(line)
                lost = True
                reader.seek(_VERSIONS)
                continue
            lost = False
            problem = _headers(reader, headers)
            found = problem or _block(reader, headers, max_bytes, wanted, alone)
        except DamageError as damage:
            reader.clear()
            yield BadRecord(max(offset, damage.offset) if not headers else offset, headers.get("url"), damage.reason)
            lost = True
            continue
        if isinstance(found, str):
            yield BadRecord(offset, headers.get("url"), found)
            lost = True
            _seek(reader)
        elif found is not None:
            yield Record(offset, headers, found)
        elif headers.get("warc-type", "").lower() in _TOLD:
            yield Record(offset, headers, b"")


def _seek(reader: ByteReader) -> None:
    try:
        reader.seek(_VERSIONS)
    except DamageError:  # the position is lost anyway
        reader.clear()


def _headers(reader: ByteReader, headers: dict[str, str]) -> str:
    """Fill `headers`; return what is wrong with them, or an empty text.

    Where a header is cut off, the next record begins with its version, at the beginning of a line or in the middle of
    one; it is put back.
    """
    name, behind = "", b""  # behind: lines from such a version on that stands where a value might end, too
    for _ in range(_MOST_LINES):
        line = reader.line(_LONGEST_LINE)
        version = 0 if line.startswith(_VERSIONS) else _version_at_end(line)
        if version >= 0 and b":" not in line[:version]:
            reader.put_back(line[version:])
            return _CUT_OFF
        behind += line if behind else line[version:] if version > 0 else b""
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
        if behind and name == "warc-type" and name in headers:
            reader.put_back(behind)
            return _CUT_OFF
        headers[name] = value.strip()
    else:
        return "WARC headers have too many lines"
    if target := headers.get("warc-target-uri", ""):
        headers["url"] = target.removeprefix("<").removesuffix(">")  # wget writes it so
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        return "Content-Length is missing or no number"
    return ""


def _version_at_end(line: bytes) -> int:
    """Return where the first line of another record begins in a line that was cut off; -1 if none does."""
    found = _VERSION_AT_END.search(line)
    return found.start() if found else -1


def _block(
    reader: ByteReader, headers: dict[str, str], max_bytes: int, wanted: frozenset[str], alone: bool
) -> bytes | str | None:
    """Return the record's content; what is wrong with it, as text; or None for a record of another kind.

    Args:
        reader: at the content.
        headers: of the record.
        max_bytes, wanted: as in `read_records`.
        alone: whether a gzip member begins with the record.
    """
    length = int(headers["content-length"])
    keep = headers.get("warc-type", "").lower() in wanted
    if length > max_bytes:
        return _pass_over(reader, length, alone) or (TOO_LARGE.format(max_bytes) if keep else None)
    # Nothing is taken before the length is known to be right: a record within it must be found if it is wrong.
    if reader.fill(length) < length:
        return _TOO_SHORT
    reader.fill(length + _BETWEEN)
    if not _ends(reader.glance(length, _BETWEEN)):
        return _NO_END
    if keep:
        return reader.take(length)
    reader.skip(length)
    return None


def _pass_over(reader: ByteReader, length: int, alone: bool) -> str:
    """Pass over a record that is too large to be kept; return what is wrong with its length, or an empty text.

    A false length must not swallow the rest of the file. A plain file tells by what stands where the record should
    end; in a packed one the next line that begins a record counts, unless the record fills a gzip member of its own.
    """
    end = reader.look_ahead(length - 1, 1 + _BETWEEN)
    if end == b"":
        return _TOO_SHORT
    if end is not None and not _ends(end[1:]):
        return _NO_END
    passed = reader.skip(length, b"" if end is not None else _VERSIONS)
    if passed < length and alone and 0 < reader.member_size() - length <= _MOST_LINES * _LONGEST_LINE:
        passed += reader.skip(length - passed)  # it fills its member: what looked like a record stands within it
    return "" if passed == length else _TOO_SHORT


def _ends(after: bytes) -> bool:
    """Tell whether a record may end before these four bytes: line ends, and perhaps the next record."""
    rest = after.lstrip(b"\r\n")
    return not rest or rest.startswith(BEGINS[: len(rest)])


class BodyError(Exception):
    """Why a body cannot be had."""


@dataclass(frozen=True)
class HttpResponse:
    """An HTTP response as it was stored: `headers` have small letters, the last of equal names counts (robots: all)."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """Return the media type of the Content-Type, e.g. `text/html`; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """Return the charset of the Content-Type; empty if there is none."""
        found = _CHARSET.search(self.headers.get("content-type", ""))
        return found[1] if found else ""


def parse_response(block: bytes) -> HttpResponse | None:
    """Parse a stored response, its body still as it was sent; None if it is none."""
    status = _STATUS.match(block)
    if status is None:
        return None
    ends = [(at, len(mark)) for mark in (b"\r\n\r\n", b"\n\n") if (at := block.find(mark, 0, HTTP_HEADERS)) >= 0]
    end, width = min(ends, default=(len(block), 0))
    headers: dict[str, str] = {}
    for line in block[:end].decode("utf-8", "replace").split("\n")[1:]:
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if colon and name == "x-robots-tag" and name in headers:
            headers[name] += "," + value.strip()
        elif colon:
            headers[name] = value.strip()
    return HttpResponse(int(status[1]), headers, block[end + width :])


def decode_body(response: HttpResponse, max_bytes: int) -> bytes:
    """Decode a response's body: join its chunks and unpack it.

    Crawlers often store a body unpacked and leave the header as it was: what does not look packed or cut into chunks
    is taken as it stands.

    Raises:
        BodyError: it is damaged, packed in a way nobody knows, or larger than `max_bytes`.
    """
    body = response.body
    if "chunked" in response.headers.get("transfer-encoding", "").lower() and _CHUNK_SIZE.match(body):
        body = _join_chunks(body)
    for kind in reversed(response.headers.get("content-encoding", "").lower().replace(" ", "").split(",")):
        body = _unpack(body, kind, max_bytes)
    if len(body) > max_bytes:
        raise BodyError(TOO_LARGE.format(max_bytes))
    return body


def _join_chunks(body: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while found := _CHUNK_SIZE.match(body, at):
        size, at = int(found[1], 16), found.end()
        if size == 0:
            return b"".join(parts)
        if at + size > len(body):
            break
        parts.append(body[at : at + size])
        at += size
        at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
    raise BodyError("the body's chunks are cut off or have a wrong size")


def _unpack(body: bytes, kind: str, max_bytes: int) -> bytes:
    if kind in ("", "identity", "none", "utf-8") or body[:64].lstrip()[:1] == b"<":
        return body
    try:
        if kind in ("gzip", "x-gzip"):
            return _inflate(body, 31, max_bytes) if body.startswith(b"\x1f\x8b") else body
        if kind == "deflate":  # zlib's form by the standard, but many servers send it bare
            zlib_form = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
            return _inflate(body, 15 if zlib_form else -15, max_bytes)
        if kind in ("br", "zstd"):
            with pa.CompressedInputStream(pa.BufferReader(body), "brotli" if kind == "br" else kind) as stream:
                return bytes(stream.read_buffer(max_bytes + 1))
    except (zlib.error, OSError, pa.ArrowException) as error:
        raise BodyError(f"Content-Encoding {kind}: the body is damaged") from error
    raise BodyError(f"Content-Encoding {kind[:40]}: unknown")


def _inflate(body: bytes, form: int, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=form)
    out, at = bytearray(), 0
    while len(out) <= max_bytes:
        fed = unpacker.unconsumed_tail or body[at : at + _FED]
        at += 0 if unpacker.unconsumed_tail else len(fed)
        if not fed and not unpacker.eof:
            raise zlib.error("cut off")
        out += unpacker.decompress(fed, max_bytes + 1 - len(out))
        if unpacker.eof:
            at -= len(unpacker.unused_data)
            # A body of several gzip members is what they hold, one after the other (RFC 1952).
            if not body.startswith(MAGIC, at):
                break
            unpacker = zlib.decompressobj(wbits=form)
    return bytes(out)

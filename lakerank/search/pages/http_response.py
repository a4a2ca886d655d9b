"""An HTTP answer as it was stored: status, headers, and the body as it was meant."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import pyarrow as pa

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?\s+(\d{3})")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_SIZE = re.compile(rb"\s*([0-9A-Fa-f]{1,12})\s*(?:;[^\r\n]*)?\r?\n")
_HEADERS = 1 << 18  # bytes in which they must end


class BodyError(Exception):
    """Why a body cannot be had."""


@dataclass(frozen=True)
class Answer:
    """An answer: `headers` have small letters, the last of equal names counts (robots: all)."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """Of the Content-Type, e.g. `text/html`; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """Of the Content-Type; empty if there is none."""
        found = _CHARSET.search(self.headers.get("content-type", ""))
        return found[1] if found else ""


def read_answer(block: bytes) -> Answer | None:
    """Take a stored answer apart, its body still as it was sent; None if it is none."""
    status = _STATUS.match(block)
    if status is None:
        return None
    ends = [(at, len(mark)) for mark in (b"\r\n\r\n", b"\n\n") if (at := block.find(mark, 0, _HEADERS)) >= 0]
    end, width = min(ends, default=(len(block), 0))
    headers: dict[str, str] = {}
    for line in block[:end].decode("utf-8", "replace").splitlines()[1:]:
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if colon and name == "x-robots-tag" and name in headers:
            headers[name] += "," + value.strip()
        elif colon:
            headers[name] = value.strip()
    return Answer(int(status[1]), headers, block[end + width :])


def body_of(answer: Answer, max_bytes: int) -> bytes:
    """The body without chunks and unpacked.

    Crawlers often store a body unpacked and leave the header as it was: what does not look packed or cut into chunks
    is taken as it stands.

    Raises:
        BodyError: it is damaged, packed in a way nobody knows, or larger than `max_bytes`.
    """
    body = answer.body
    if "chunked" in answer.headers.get("transfer-encoding", "").lower() and _SIZE.match(body):
        body = _joined(body)
    for kind in reversed(answer.headers.get("content-encoding", "").lower().replace(" ", "").split(",")):
        body = _unpacked(body, kind, max_bytes)
    if len(body) > max_bytes:
        raise BodyError(f"more than {max_bytes} bytes (--max-page-bytes)")
    return body


def _joined(body: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while found := _SIZE.match(body, at):
        size, at = int(found[1], 16), found.end()
        if size == 0:
            return b"".join(parts)
        if at + size > len(body):
            break
        parts.append(body[at : at + size])
        at += size
        at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
    raise BodyError("the body's chunks are cut off or have a wrong size")


def _unpacked(body: bytes, kind: str, max_bytes: int) -> bytes:
    if kind in ("", "identity", "none", "utf-8") or body[:64].lstrip()[:1] == b"<":
        return body
    try:
        if kind in ("gzip", "x-gzip"):
            return _inflated(body, 31, max_bytes) if body.startswith(b"\x1f\x8b") else body
        if kind == "deflate":  # zlib's form by the standard, but many servers send it bare
            zlib_form = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
            return _inflated(body, 15 if zlib_form else -15, max_bytes)
        if kind in ("br", "zstd"):
            with pa.CompressedInputStream(pa.BufferReader(body), "brotli" if kind == "br" else kind) as stream:
                return bytes(stream.read_buffer(max_bytes + 1))
    except (zlib.error, OSError, pa.ArrowException) as error:
        raise BodyError(f"Content-Encoding {kind}: the body is damaged") from error
    raise BodyError(f"Content-Encoding {kind[:40]}: unknown")


def _inflated(body: bytes, form: int, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=form)
    out = unpacker.decompress(body, max_bytes + 1)
    if not unpacker.eof and len(out) <= max_bytes:
        raise zlib.error("cut off")
    return out

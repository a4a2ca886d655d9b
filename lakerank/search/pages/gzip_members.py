"""Gzip in pieces that say where they lie, and that go on after damage."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"\x1f\x8b\x08"
_OUT = 1 << 20  # bytes unpacked at a time: a small file may hold very many


class Piece(NamedTuple):
    """Some unpacked bytes.

    Attributes:
        offset: where they lie in the file; of packed ones, where their gzip member begins.
        data: the bytes; empty if there is damage.
        begins: whether a gzip member begins with them.
        damage: what is wrong with the file here; what follows is another member.
    """

    offset: int
    data: bytes
    begins: bool = False
    damage: str = ""


def unpack(chunks: Iterator[bytes]) -> Iterator[Piece]:
    """A file's bytes, unpacked if it is gzip (one member or many); told from its first bytes.

    A member that cannot be unpacked ends with a piece that says so; then comes the next that can be found.
    """
    first = next(chunks, b"")
    if not first.startswith(MAGIC[:2]):
        offset = 0
        while first:
            yield Piece(offset, first, offset == 0)
            offset += len(first)
            first = next(chunks, b"")
        return
    yield from _members(first, chunks)


def _members(raw: bytes, chunks: Iterator[bytes]) -> Iterator[Piece]:
    at = 0  # where `raw` begins in the file
    searching = False  # after damage: members that do not even begin are not worth a word
    while True:
        while len(raw) < len(MAGIC) and (more := next(chunks, b"")):
            raw += more
        if not raw.startswith(MAGIC):
            if raw.strip(b"\0") and not searching:
                yield Piece(at, b"", damage="bytes that are not gzip")
            searching = bool(raw)
            found = raw.find(MAGIC, 1)
            skipped = found if found >= 0 else max(0, len(raw) - len(MAGIC) + 1)
            at, raw = at + skipped, raw[skipped:]
            if found < 0:
                more = next(chunks, b"")
                if not more:
                    return
                raw += more
            continue
        start, unpacker, begins, problem = at, zlib.decompressobj(wbits=31), True, ""
        # What was fed last stays at hand: after damage the next member is looked for in it.
        fed = raw
        while True:
            try:
                data = unpacker.decompress(fed, _OUT)
            except zlib.error:
                problem = "gzip data are damaged"
                break
            if data:
                yield Piece(start, data, begins)
                begins = searching = False
            if unpacker.eof:
                break
            fed = unpacker.unconsumed_tail
            if not fed:
                fed = next(chunks, b"")
                if not fed:
                    problem = "gzip data are cut off"
                    break
                at, raw = at + len(raw), fed
        if unpacker.eof:
            rest = unpacker.unused_data
            at, raw = at + len(raw) - len(rest), rest
        else:
            if not searching:
                yield Piece(start, b"", damage=problem)
            searching = True
            skip = 1 if at == start else 0
            found = raw.find(MAGIC, skip)
            found = found if found >= 0 else len(raw)
            at, raw = at + found, raw[found:]
        if not raw:
            raw = next(chunks, b"")
            if not raw:
                return

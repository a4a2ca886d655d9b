"""A file's bytes in order, gzip members unpacked, each piece with its offset in the file; damage is passed over."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"\x1f\x8b\x08"
_RECORD = b"WARC/"
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
    """Unpack a file's bytes if it is gzip (one member or many), as its first bytes tell.

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


class DamageError(Exception):
    """The file is damaged here: offset and reason."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset, self.reason = offset, reason


class ByteReader:
    """Reads unpacked bytes from the front and knows where each of them lies in its file.

    A gzip member that begins with a record is not run together with what stands before it: `take` ends there, until
    `next_record`. So a record that claims to be longer than it is does not swallow the next.
    """

    def __init__(self, pieces: Iterator[Piece], packed: bool) -> None:
        self._pieces, self._packed = pieces, packed
        self._buffer = bytearray()
        self._at = 0  # of the first byte in the buffer, counted in the file if that is not packed
        self._member = 0
        self._next_member: Piece | None = None

    @property
    def offset(self) -> int:
        """Return the offset of the next byte in the file; of a packed one, where the gzip member being read begins."""
        if self._packed:
            return self._next_member.offset if self._next_member is not None and not self._buffer else self._member
        return self._at

    def _more(self) -> bool:
        if self._next_member is not None:
            return False
        piece = next(self._pieces, None)
        if piece is None:
            return False
        if piece.damage:
            raise DamageError(piece.offset, piece.damage)
        if self._packed and piece.begins and piece.data.startswith(_RECORD):
            self._next_member = piece
            return False
        self._add(piece)
        return True

    def _add(self, piece: Piece) -> None:
        self._member = piece.offset
        self._buffer += piece.data

    def next_record(self) -> bool:
        """Pass to the record that begins a gzip member, when all before it is taken; tell whether bytes are left."""
        if not self._buffer and self._next_member is not None:
            self._add(self._next_member)
            self._next_member = None
        return bool(self._buffer) or self._more() or self._next_member is not None

    def take(self, n: int) -> bytes:
        """Return the next `n` bytes, or what there is before the next record that begins a member, or the end."""
        while len(self._buffer) < n and self._more():
            pass
        taken = bytes(memoryview(self._buffer)[:n])
        self._drop(len(taken))
        return taken

    def put_back(self, data: bytes) -> None:
        """Undo the last `take`."""
        self._buffer[:0] = data
        self._at -= len(data)

    def skip(self, n: int) -> int:
        """Pass over `n` bytes without keeping them; return how many there were."""
        done = 0
        while done < n:
            step = min(n - done, len(self._buffer))
            self._drop(step)
            done += step
            if done < n and not self._buffer and not self._more():
                break
        return done

    def line(self, limit: int) -> bytes:
        """Return the next line with its end, or its first `limit` bytes, or what is left."""
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched, limit)
            if end >= 0:
                return self.take(end + 1)
            searched = len(self._buffer)
            if searched >= limit or not self._more():
                return self.take(limit)

    def seek(self, mark: bytes) -> bool:
        """Pass to the next line that begins with `mark`; tell whether there is one before the end."""
        pattern = b"\n" + mark
        while True:
            found = self._buffer.find(pattern)
            if found >= 0:
                self._drop(found + 1)
                return True
            self._drop(max(0, len(self._buffer) - len(pattern)))
            if not self._more():
                self._drop(len(self._buffer))
                return self._next_member is not None

    def clear(self) -> None:
        """Forget what was read and not taken."""
        self._drop(len(self._buffer))

    def _drop(self, n: int) -> None:
        del self._buffer[:n]
        self._at += n

"""A file's bytes in order, gzip members unpacked, each piece with its offset in the file; damage is passed over."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAGIC = b"\x1f\x8b\x08"
_IN = 1 << 13  # bytes fed at a time: of those after a member's end zlib makes a copy
_IN_VAIN = 16 << 20
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
    """Unpack member after member. Nothing is copied for each of them, so that a million small ones take no longer."""
    at, done = 0, 0  # where `raw` begins in the file, and how much of it is done with
    searching = False  # after damage: members that do not even begin are not worth a word
    in_vain = (0, 0)  # of the piece that begins there: bytes read for members that were none
    while True:
        while len(raw) - done < len(MAGIC) and (more := next(chunks, b"")):
            at, raw, done = at + done, raw[done:] + more, 0
        if not raw.startswith(MAGIC, done):
            if not searching and raw[done:].strip(b"\0"):
                yield Piece(at + done, b"", damage="bytes that are not gzip")
            searching = len(raw) > done
            found = raw.find(MAGIC, done + 1)
            done = found if found >= 0 else max(done, len(raw) - len(MAGIC) + 1)
            if found < 0:
                more = next(chunks, b"")
                if not more:
                    return
                at, raw, done = at + done, raw[done:] + more, 0
            continue
        start, unpacker, begins, problem = at + done, zlib.decompressobj(wbits=31), True, ""
        # What was fed last stays at hand: after damage the next member is looked for in it.
        first, fed = done, raw[done : done + _IN]
        done += len(fed)
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
                if done == len(raw):
                    more = next(chunks, b"")
                    if not more:
                        problem = "gzip data are cut off"
                        break
                    at, raw, done, first = at + len(raw), more, 0, 0
                fed = raw[done : done + _IN]
                done += len(fed)
        if unpacker.eof:
            done -= len(unpacker.unused_data)
        else:
            if not searching:
                yield Piece(start, b"", damage=problem)
            searching = True
            # Each candidate may be read to the end in vain: a piece of nothing but beginnings is not tried at each.
            in_vain = (at, done - first + (in_vain[1] if in_vain[0] == at else 0))
            again = first + 1 if at + first == start else first
            found = raw.find(MAGIC, again) if in_vain[1] < _IN_VAIN else -1
            done = found if found >= 0 else len(raw)
        if done == len(raw):
            at, raw, done = at + len(raw), next(chunks, b""), 0
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

    def __init__(
        self,
        pieces: Iterator[Piece],
        packed: bool,
        read_at: Callable[[int, int], bytes] | None = None,
        mark: bytes = b"WARC/",
    ) -> None:
        """Make a reader.

        Args:
            pieces: of the unpacked file.
            packed: whether the file is gzip.
            read_at: reads bytes at an offset of the file, if it can be read out of order.
            mark: what a record begins with.
        """
        self._pieces, self._packed, self._read_at, self._mark = pieces, packed, read_at, mark
        self._begins_member = False
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
        if self._packed and piece.begins and piece.data.startswith(self._mark):
            self._next_member = piece
            return False
        self._add(piece)
        return True

    def _add(self, piece: Piece) -> None:
        self._begins_member = piece.begins and not self._buffer
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

    def fill(self, n: int) -> int:
        """Return how many of the next `n` bytes there are to be taken."""
        while len(self._buffer) < n and self._more():
            pass
        return min(n, len(self._buffer))

    def glance(self, at: int, n: int) -> bytes:
        """Return bytes that `fill` has found, `n` or fewer from the `at`-th on, and leave them where they are."""
        return bytes(memoryview(self._buffer)[at : at + n])

    def look_ahead(self, at: int, n: int) -> bytes | None:
        """Return bytes far ahead, which stay to be taken; None if the file is packed or cannot be read out of order."""
        return None if self._read_at is None or self._packed else self._read_at(self._at + at, n)

    def member_size(self) -> int:
        """Return how many bytes the gzip member being read holds, which are unpacked for that and not kept.

        Zero if it cannot be unpacked, or if the file cannot be read out of order.
        """
        at, size, unpacker = self._member, 0, zlib.decompressobj(wbits=31)
        while self._read_at is not None and not unpacker.eof:
            fed = self._read_at(at, _OUT)
            if not fed:
                return 0
            at += len(fed)
            while fed and not unpacker.eof:
                try:
                    size += len(unpacker.decompress(fed, _OUT))
                except zlib.error:
                    return 0
                fed = unpacker.unconsumed_tail
        return size

    @property
    def begins_member(self) -> bool:
        """Return whether the next byte is the first of a gzip member."""
        return self._packed and self._begins_member

    def put_back(self, data: bytes) -> None:
        """Undo the last `take`."""
        self._buffer[:0] = data
        self._at -= len(data)

    def skip(self, n: int, mark: bytes = b"") -> int:
        """Pass over `n` bytes without keeping them, not beyond a line end before `mark`; return how many there were."""
        done, pattern = 0, b"\n" + mark
        tail = len(pattern) - 1 if mark else 0  # the mark may have begun
        while done < n:
            step = min(n - done, len(self._buffer))
            if mark and (found := self._buffer.find(pattern, 0, step)) >= 0:
                self._drop(found)
                return done + found
            step = step if step == n - done else max(0, step - tail)
            self._drop(step)
            done += step
            if done < n and len(self._buffer) <= tail and not self._more():
                step = min(n - done, len(self._buffer))
                self._drop(step)
                return done + step
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
        """Pass to the next line that begins with `mark`, perhaps this one; tell whether there is one before the end.

        Args:
            mark: what the line begins with; the reader stands at the beginning of a line.
        """
        pattern = b"\n" + mark
        if self.fill(len(mark)) == len(mark) and self._buffer.startswith(mark):
            return True
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
        if n:
            del self._buffer[:n]
            self._at += n
            self._begins_member = False

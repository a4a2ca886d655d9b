"""Unpacked pieces as one run of bytes that knows where each of them lies in its file."""

from __future__ import annotations

from collections.abc import Iterator

from lakerank.search.pages.gzip_members import Piece

_RECORD = b"WARC/"


class DamageError(Exception):
    """The file is damaged here: offset and reason."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset, self.reason = offset, reason


class Feed:
    """Bytes to be taken from the front.

    A gzip member that begins with a record is not run together with what stands before it: `take` ends there, until
    `go_on`. So a record that claims to be longer than it is does not swallow the next.
    """

    def __init__(self, pieces: Iterator[Piece], packed: bool) -> None:
        self._pieces, self._packed = pieces, packed
        self._buffer = bytearray()
        self._at = 0  # of the first byte in the buffer, counted in the file if that is not packed
        self._member = 0
        self._held: Piece | None = None

    @property
    def offset(self) -> int:
        """Where the next byte lies in the file; of packed ones, where the gzip member that is being read begins."""
        if self._packed:
            return self._held.offset if self._held is not None and not self._buffer else self._member
        return self._at

    def _more(self) -> bool:
        if self._held is not None:
            return False
        piece = next(self._pieces, None)
        if piece is None:
            return False
        if piece.damage:
            raise DamageError(piece.offset, piece.damage)
        if self._packed and piece.begins and piece.data.startswith(_RECORD):
            self._held = piece
            return False
        self._add(piece)
        return True

    def _add(self, piece: Piece) -> None:
        self._member = piece.offset
        self._buffer += piece.data

    def go_on(self) -> bool:
        """Pass to the record that begins a gzip member, when all before it is taken; whether any bytes are left."""
        if not self._buffer and self._held is not None:
            self._add(self._held)
            self._held = None
        return bool(self._buffer) or self._more() or self._held is not None

    def take(self, n: int) -> bytes:
        """The next `n` bytes, or what there is before the next record that begins a member, or the end."""
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
        """Pass over `n` bytes without keeping them; how many there were."""
        done = 0
        while done < n:
            step = min(n - done, len(self._buffer))
            self._drop(step)
            done += step
            if done < n and not self._buffer and not self._more():
                break
        return done

    def line(self, limit: int) -> bytes:
        """The next line with its end, or its first `limit` bytes, or what is left."""
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched, limit)
            if end >= 0:
                return self.take(end + 1)
            searched = len(self._buffer)
            if searched >= limit or not self._more():
                return self.take(limit)

    def seek(self, mark: bytes) -> bool:
        """Pass to the next place where a line begins with `mark`; whether there is one before the end."""
        look = b"\n" + mark
        while True:
            found = self._buffer.find(look)
            if found >= 0:
                self._drop(found + 1)
                return True
            self._drop(max(0, len(self._buffer) - len(look)))
            if not self._more():
                self._drop(len(self._buffer))
                return self._held is not None

    def clear(self) -> None:
        """Forget what was read and not taken."""
        self._drop(len(self._buffer))

    def _drop(self, n: int) -> None:
        del self._buffer[:n]
        self._at += n

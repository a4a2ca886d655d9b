"""Numbers for tokens and terms while a segment is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.search.text.analyzer import PAIR, Analyzer, number_tokens


@dataclass
class Terms:
    """The distinct terms of a segment, numbered as they appear."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, term: str) -> int:
        """A term's number, a new one if need be."""
        return self.numbers.setdefault(term, len(self.numbers))


@dataclass
class Tokens:
    """The distinct tokens of one language, each with the terms it stands for.

    Attributes:
        analyzer: how the language's tokens become terms.
        terms: the segment's terms, shared by its languages.
    """

    analyzer: Analyzer
    terms: Terms
    count: int = 0
    _keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(1 << 16, np.uint64))
    _values: NDArray[np.int32] = field(default_factory=lambda: np.full(1 << 16, -1, np.int32))
    ends: list[int] = field(default_factory=list)  # of each token's terms in `flat`
    flat: list[int] = field(default_factory=list)
    stops: list[bool] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def number(
        self,
        data: NDArray[np.uint8],
        hashes: NDArray[np.uint64],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int32],
        flags: NDArray[np.uint8],
    ) -> NDArray[np.int32]:
        """Number tokens, analysing those that were never seen; shapes as in `tokens.tokenize`."""
        self._grow(self.count + len(hashes))
        ids, firsts = np.empty(len(hashes), np.int32), np.empty(len(hashes), np.int64)
        known = self.count
        self.count = number_tokens(hashes, self._keys, self._values, known, ids, firsts)
        raw: Any = memoryview(data)  # type: ignore[arg-type]
        for i in firsts[: self.count - known].tolist():
            token = bytes(raw[starts[i] : starts[i] + sizes[i]])
            self.flat += [self.terms.number(term) for term in self.analyzer.terms_of(token, bool(flags[i] == PAIR))]
            self.ends.append(len(self.flat))
            self.stops.append(self.analyzer.is_stop(token))
            self.written.append(token.decode("utf-8", "replace").lower())
        return ids

    def tables(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
        """Begins of each token's terms (tokens + 1), the terms, whether the token is a stop word."""
        begins = np.zeros(len(self.ends) + 1, np.int64)
        begins[1:] = self.ends
        return begins, np.array(self.flat, np.int32), np.array(self.stops, np.bool_)

    def _grow(self, most: int) -> None:
        """Room for so many distinct tokens; a slot's place depends on the table's size, so all move."""
        if 2 * most <= len(self._keys):
            return
        size = 1 << int(2 * most).bit_length()
        used = self._values >= 0
        hashes, numbers = self._keys[used], self._values[used]
        self._keys, self._values = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
        order = np.argsort(numbers)  # numbers are given anew in order of appearance, so they stay the same
        scratch: Any = np.empty(len(hashes), np.int32)
        number_tokens(hashes[order], self._keys, self._values, 0, scratch, np.empty(len(hashes), np.int64))

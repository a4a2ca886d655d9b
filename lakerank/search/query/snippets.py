"""The piece of a page that shows best why it was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.search.text.analyzer import CLASSES, LOWER, Analyzer
from lakerank.spark.jit import compiled

Pieces = list[tuple[str, bool]]  # text, and whether it is a match to be marked
LOOKED_AT = 40_000  # bytes of a text
SIZE = 240  # bytes of a snippet, about
MOST = 100  # words that begin like one stem and are looked at
_OTHER_SIDE = 1 / 6  # of a snippet stands before the first match


@compiled(nogil=True)
def beginnings(
    data: NDArray[np.uint8],
    heads: NDArray[np.uint8],
    head_ends: NDArray[np.int64],
    most: int,
    classes: NDArray[np.uint8],
    lower: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> int:
    """Words of a text (UTF-8) that begin with one of some lower-case beginnings; at most `most` for each.

    Args:
        data: uint8. heads: uint8, all beginnings. head_ends: int64, where each ends.
        most: see above. classes, lower: of `tokens`. begins, ends: out, int64, `most` × beginnings.

    Returns:
        How many there are.
    """
    n, at = 0, 0
    seen = np.zeros(len(head_ends), np.int64)
    while at < len(data):
        kind = classes[data[at]]
        if kind != 1 and kind != 2:
            at += 1
            continue
        begin = at
        while at < len(data) and (classes[data[at]] == 1 or classes[data[at]] == 2):
            at += 1
        for i in range(len(head_ends)):
            first = head_ends[i - 1] if i else 0
            size = head_ends[i] - first
            if size > at - begin or seen[i] >= most:
                continue
            same = True
            for j in range(size):
                if lower[data[begin + j]] != heads[first + j]:
                    same = False
                    break
            if same:
                begins[n], ends[n] = begin, at
                seen[i] += 1
                n += 1
                break
    return n


class Marker:
    """Finds the words of one query in texts.

    Attributes:
        weights: stem → how much it tells, e.g. its idf.
        analyzer: that the pages were indexed with.
    """

    def __init__(self, weights: Mapping[str, float], analyzer: Analyzer) -> None:
        self.weights, self.analyzer = weights, analyzer
        # A word begins with its stem, but for a last y that the stemmer made an i. Only such words are analysed.
        heads = sorted({stem[:-1] if len(stem) > 3 and stem[-1] == "i" else stem for stem in weights})
        coded = [head.encode("utf-8") for head in heads]
        self._heads = np.frombuffer(b"".join(coded), np.uint8)
        self._ends = np.cumsum([len(head) for head in coded], dtype=np.int64)
        self._known: dict[bytes, str | None] = {}

    def matches(self, data: NDArray[np.uint8]) -> list[tuple[int, int, str]]:
        """Words of a text with one of the stems: first byte, end, stem; in order."""
        room = MOST * len(self._ends)
        if not room:
            return []
        begin_at, end_at = np.empty(room, np.int64), np.empty(room, np.int64)
        n = beginnings(data, self._heads, self._ends, MOST, CLASSES, LOWER, begin_at, end_at)
        raw, known, found = data.tobytes(), self._known, []
        for begin, end in zip(begin_at[:n].tolist(), end_at[:n].tolist(), strict=True):
            word = raw[begin:end]
            if word not in known:
                terms = self.analyzer.terms_of(word)
                known[word] = next((stem for stem in terms if stem in self.weights), None)
            stem = known[word]
            if stem is not None:
                found.append((begin, end, stem))
        return found

    def marked(self, text: str) -> Pieces:
        """A text cut where matches begin and end."""
        raw = text.encode("utf-8")
        pieces: Pieces = []
        at = 0
        for begin, end, _ in self.matches(np.frombuffer(raw, np.uint8)):
            pieces += [(raw[at:begin].decode("utf-8"), False)] if begin > at else []
            pieces.append((raw[begin:end].decode("utf-8"), True))
            at = end
        return pieces + ([(raw[at:].decode("utf-8"), False)] if at < len(raw) or not pieces else [])

    def snippet(self, data: NDArray[np.uint8], otherwise: str = "", size: int = SIZE) -> Pieces:
        """The window of a text with the most, and the heaviest, distinct words of the query.

        Args:
            data: uint8, the page's text in UTF-8.
            otherwise: shown when nothing of the query stands in the text, e.g. the page's description.
            size: bytes, about.

        Returns:
            Pieces that together are the snippet; `…` where text was left out.
        """
        hits = [(begin, stem) for begin, _, stem in self.matches(data[:LOOKED_AT])]
        if not hits:
            plain = " ".join((otherwise.strip() or _decoded(data[: 2 * size])).split())
            return [(plain if len(plain) <= size else _cut(plain, size) + " …", False)]
        start = _best_window(hits, self.weights, 0.8 * size)
        begin = max(0, start - int(size * _OTHER_SIDE))
        if begin:  # at a word's beginning
            spaces = np.flatnonzero(data[begin:start] <= 32)
            begin = begin + int(spaces[0]) + 1 if len(spaces) else start
        shown = " ".join(_cut(_decoded(data[begin : begin + size + 64]), size).split())
        end = " …" if begin + size < len(data) else ""
        return self.marked(("… " if begin else "") + shown + end)


def _best_window(hits: list[tuple[int, str]], weights: Mapping[str, float], width: float) -> int:
    """Where the window begins whose words weigh most; repetitions count a little, and three at most."""
    best, start = -1.0, 0
    inside: dict[str, int] = {}
    last = 0
    for first, (at, stem) in enumerate(hits):
        while last < len(hits) and hits[last][0] <= at + width:
            inside[hits[last][1]] = inside.get(hits[last][1], 0) + 1
            last += 1
        worth = sum(weights[s] * (1 + 0.1 * min(n - 1, 3)) for s, n in inside.items() if n)
        if worth > best + 1e-12:
            best, start = worth, hits[first][0]
        inside[stem] -= 1
    return start


def _decoded(data: NDArray[Any]) -> str:
    return data.tobytes().decode("utf-8", "ignore")


def _cut(text: str, size: int) -> str:
    """At most `size` characters, ending with a whole word."""
    if len(text) <= size:
        return text
    whole = text[:size].rsplit(None, 1)[0]
    return whole or text[:size]

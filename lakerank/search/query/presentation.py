"""Presentation of results: the snippet with its matches, the explanation of its score, spelling suggestions."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import OSA

from lakerank.search.index.fields import FIELDS
from lakerank.search.query.index import Index
from lakerank.search.query.searcher import CompiledQuery
from lakerank.search.text.analyzer import CLASSES, LOWER, PAIR_SIGN, Analyzer
from lakerank.spark.jit import compiled

Pieces = list[tuple[str, bool]]  # text, and whether it is a match to be marked
LOOKED_AT = 40_000  # bytes of a text
SIZE = 240  # bytes of a snippet, about
MOST = 100  # words that begin like one stem and are looked at
_OTHER_SIDE = 1 / 6  # of a snippet stands before the first match


@compiled(nogil=True)
def find_prefixes(
    data: NDArray[np.uint8],
    prefixes: NDArray[np.uint8],
    prefix_ends: NDArray[np.int64],
    most: int,
    classes: NDArray[np.uint8],
    lower: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> int:
    """Find the words of a text (UTF-8) that begin with one of some lower-case prefixes; at most `most` for each.

    Args:
        data: uint8. prefixes: uint8, all of them. prefix_ends: int64, where each ends.
        most: see above. classes, lower: of `tokens`. begins, ends: out, int64, `most` × beginnings.

    Returns:
        How many there are.
    """
    n, at = 0, 0
    seen = np.zeros(len(prefix_ends), np.int64)
    while at < len(data):
        kind = classes[data[at]]
        if kind != 1 and kind != 2:
            at += 1
            continue
        begin = at
        while at < len(data) and (classes[data[at]] == 1 or classes[data[at]] == 2):
            at += 1
        for i in range(len(prefix_ends)):
            first = prefix_ends[i - 1] if i else 0
            size = prefix_ends[i] - first
            if size > at - begin or seen[i] >= most:
                continue
            same = True
            for j in range(size):
                if lower[data[begin + j]] != prefixes[first + j]:
                    same = False
                    break
            if same:
                begins[n], ends[n] = begin, at
                seen[i] += 1
                n += 1
                break
    return n


class Highlighter:
    """Finds the words of one query in texts.

    Attributes:
        weights: stem → how much it tells, e.g. its idf.
        analyzer: that the pages were indexed with.
    """

    def __init__(self, weights: Mapping[str, float], analyzer: Analyzer) -> None:
        self.weights, self.analyzer = weights, analyzer
        # A word begins with its stem, but for a last y that the stemmer made an i. Only such words are analysed.
        prefixes = sorted({stem[:-1] if len(stem) > 3 and stem[-1] == "i" else stem for stem in weights})
        coded = [prefix.encode("utf-8") for prefix in prefixes]
        self._prefixes = np.frombuffer(b"".join(coded), np.uint8)
        self._ends = np.cumsum([len(prefix) for prefix in coded], dtype=np.int64)
        self._known: dict[bytes, str | None] = {}

    def matches(self, data: NDArray[np.uint8]) -> list[tuple[int, int, str]]:
        """Find the words of a text with one of the stems: first byte, end, stem; in order."""
        room = MOST * len(self._ends)
        if not room:
            return []
        begin_at, end_at = np.empty(room, np.int64), np.empty(room, np.int64)
        n = find_prefixes(data, self._prefixes, self._ends, MOST, CLASSES, LOWER, begin_at, end_at)
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

    def highlight(self, text: str) -> Pieces:
        """Cut a text where matches begin and end."""
        raw = text.encode("utf-8")
        pieces: Pieces = []
        at = 0
        for begin, end, _ in self.matches(np.frombuffer(raw, np.uint8)):
            pieces += [(raw[at:begin].decode("utf-8"), False)] if begin > at else []
            pieces.append((raw[begin:end].decode("utf-8"), True))
            at = end
        return pieces + ([(raw[at:].decode("utf-8"), False)] if at < len(raw) or not pieces else [])

    def snippet(self, data: NDArray[np.uint8], otherwise: str = "", size: int = SIZE) -> Pieces:
        """Find the window of a text with the most, and the heaviest, distinct words of the query.

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
        return self.highlight(("… " if begin else "") + shown + end)


def _best_window(hits: list[tuple[int, str]], weights: Mapping[str, float], width: float) -> int:
    """Find where the window begins whose words weigh most; repetitions count a little, and three at most."""
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
    """Cut a text to at most `size` characters, ending with a whole word."""
    if len(text) <= size:
        return text
    whole = text[:size].rsplit(None, 1)[0]
    return whole or text[:size]


@dataclass(frozen=True)
class TermShare:
    """One term's share: `weight` × idf × x / (k1 + x), x from the frequencies by field."""

    term: str
    weight: float
    idf: float
    pages: int
    frequencies: dict[str, int]
    share: float


@dataclass(frozen=True)
class Explanation:
    """A score in parts.

    Attributes:
        terms: shares of the terms, of words and pairs as well as of expansion, largest first.
        phrases: share of each phrase.
        prior: of the links: weight × log₁₀ of how many times its even share of rank the page has.
        lengths: words by field.
        score: the sum.
    """

    terms: tuple[TermShare, ...]
    phrases: tuple[tuple[str, float], ...]
    prior: float
    pagerank: float
    lengths: dict[str, int]
    score: float

    def lines(self) -> list[str]:
        """Return the explanation as text, a line for each part."""
        lines = [f"{self.score:9.4f}  score"]
        for one in self.terms:
            where = ", ".join(f"{n}× {field}" for field, n in one.frequencies.items() if n)
            times = "" if one.weight == 1 else f"{one.weight:.3f} · "
            lines.append(f"{one.share:9.4f}  {one.term}: {times}idf {one.idf:.3f} (on {one.pages:,} pages); {where}")
        lines += [f"{share:9.4f}  phrase “{text}”" for text, share in self.phrases]
        lengths = ", ".join(f"{field} {n}" for field, n in self.lengths.items())
        lines.append(f"{self.prior:9.4f}  links: PageRank {self.pagerank:.3g}")
        return [*lines, f"           words: {lengths}"]


def explain(index: Index, query: CompiledQuery, page: int, prior: float) -> Explanation:
    """Explain a page's score as a sum of its parts.

    Args:
        index: that was searched.
        query: as it was scored (`TopPages.query`).
        page: number in the index.
        prior: weight × prior of the page.
    """
    block, shares = index.block, []
    for number, weight in query.terms.items():
        at = index.postings(number)
        position = at.start + int(np.searchsorted(block["docs"][at], page))
        if position >= at.stop or block["docs"][position] != page:
            continue
        frequencies = dict(zip(FIELDS, block["tfs"][position].tolist(), strict=True))
        value = weight * float(block["values"][position])
        term = index.string("term", number)
        shares.append(
            TermShare(term, weight, float(block["idfs"][number]), index.frequency(number), frequencies, value)
        )
    phrases = []
    for text, pages, values in query.phrases:
        position = int(np.searchsorted(pages, page))
        if position < len(pages) and pages[position] == page:
            phrases.append((text, float(values[position])))
    score = sum(one.share for one in shares) + sum(value for _, value in phrases) + prior
    lengths = dict(zip(FIELDS, block["lengths"][page].tolist(), strict=True))
    shares.sort(key=lambda one: (-one.share, one.term))
    rank = float(block["pageranks"][page])
    return Explanation(tuple(shares), tuple(phrases), prior, rank, lengths, score)


_SHORTEST = 4  # letters; shorter words have too many neighbours


class Speller:
    """Suggests words of an index; its lists are made when they are first needed."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._lock = threading.Lock()
        self._lists: dict[int, tuple[list[str], list[int]]] | None = None

    def word(self, wrong: str) -> str | None:
        """Find the nearest word of the index, or None.

        Compared are stems and the most frequent word of each, so that an ending that no page has is no obstacle. One
        change is allowed in four letters or more, two from eight on (insertion, deletion, replacement, or neighbours
        swapped); of equally near words the one on most pages.
        """
        wrong = wrong.lower()
        if not wrong.isalpha():
            return None
        stems = Analyzer(self.index.language).terms_of(wrong.encode())
        best: tuple[int, int, int] | None = None
        for text in {wrong, *stems[:1]}:
            allowed = 0 if len(text) < _SHORTEST else 2 if len(text) >= 8 else 1
            for size in range(len(text) - allowed, len(text) + allowed + 1):
                words, numbers = self._by_size().get(size, ([], []))
                for _, distance, at in process.extract_iter(text, words, scorer=OSA.distance, score_cutoff=allowed):
                    candidate = (int(distance), -self.index.frequency(numbers[at]), numbers[at])
                    if distance and (best is None or candidate < best):
                        best = candidate
        return self._written(best[2], wrong, stems[0]) if best else None

    def query(self, text: str, unknown: list[str]) -> str | None:
        """Return the query with its unknown words replaced, or None if none of them has a neighbour."""
        corrected = text
        for wrong in dict.fromkeys(unknown):
            right = self.word(wrong)
            if right:
                corrected = re.sub(rf"\b{re.escape(wrong)}\b", right, corrected, flags=re.IGNORECASE)
        return corrected if corrected != text else None

    def _written(self, number: int, wrong: str, stem: str) -> str:
        """Return a term as it is mostly written, or with the ending of the misspelt word if that is nearer to it."""
        term, usual = self.index.string("term", number), self.index.string("word", number)
        candidate = term + wrong[len(stem) :] if wrong.startswith(stem) else usual
        nearer = OSA.distance(wrong, candidate) < OSA.distance(wrong, usual)
        same_stem = Analyzer(self.index.language).terms_of(candidate.encode()) == (term,)
        return candidate if nearer and same_stem else usual

    def _by_size(self) -> dict[int, tuple[list[str], list[int]]]:
        """List stems and words by length, with their terms' numbers."""
        with self._lock:
            if self._lists is None:
                frequencies = np.diff(self.index.block["ends"], prepend=0).tolist()
                lists: dict[int, tuple[list[str], list[int]]] = {}
                terms, words = self.index.strings("term"), self.index.strings("word")
                for number, (term, word) in enumerate(zip(terms, words, strict=True)):
                    for text in {term, word} if frequencies[number] and PAIR_SIGN not in term else ():
                        if text.isalpha():
                            listed = lists.setdefault(len(text), ([], []))
                            listed[0].append(text)
                            listed[1].append(number)
                self._lists = lists
        return self._lists

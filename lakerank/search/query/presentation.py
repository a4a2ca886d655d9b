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
from lakerank.search.query.word_classes import CLASS_SIGN, classes_of, readable
from lakerank.search.text.analyzer import CLASSES, LOWER
from lakerank.search.text.words import UNSPACED, normalized, split_words
from lakerank.spark.jit import compiled

Pieces = list[tuple[str, bool]]  # text, and whether it is a match to be marked
LOOKED_AT = 40_000  # bytes of a text
_LOOKED_AT_FIRST = 4_000
SIZE = 240  # bytes of a snippet, about
MOST = 100  # occurrences of one word that are looked at
_MOST_OTHERS = 4000  # words with letters beyond ASCII that are looked at
# An end of a sentence and white space before what is no small letter, or a line's end; and full stops of East Asia.
_SENTENCE_END = re.compile(rb"[.!?][\"')\]]*\s+(?=[^a-z\s])|\n\s*|(?:\xe3\x80\x82|\xef\xbc\x81|\xef\xbc\x9f)\s*")
_OTHER_SIDE = 1 / 6  # of a snippet stands before the first match


@compiled(nogil=True)
def find_words(
    data: NDArray[np.uint8],
    words: NDArray[np.uint8],
    word_ends: NDArray[np.int64],
    others: bool,
    most: int,
    classes: NDArray[np.uint8],
    lower: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    found: NDArray[np.int32],
) -> int:
    """Find the words of a text (UTF-8), and parts of them between `_`, that are among some ASCII words.

    Args:
        data: uint8. words: uint8, all of them, lower case. word_ends: int64, where each ends.
        others: whether to give all words with letters beyond ASCII, too; else those that begin like one of the words.
        most: occurrences of each word. classes, lower: of `analyzer`.
        begins, ends: out, int64. found: out, int32, which word it is, -1: one with other letters.

    Returns:
        How many there are.
    """
    n, at, room = 0, 0, len(begins)
    seen, begins_one = np.zeros(len(word_ends), np.int64), np.zeros(256, np.bool_)
    for i in range(len(word_ends)):
        begins_one[words[word_ends[i - 1] if i else 0]] = True
    while at < len(data) and n < room:
        kind = classes[data[at]]
        if kind != 1 and kind != 2:
            at += 1
            continue
        begin, pure, parted = at, True, False
        while at < len(data) and (classes[data[at]] == 1 or classes[data[at]] == 2):
            pure = pure and classes[data[at]] == 1
            parted = parted or data[at] == 95
            at += 1
        if not pure:
            if others or data[begin] >= 0x80 or begins_one[lower[data[begin]]]:
                begins[n], ends[n], found[n] = begin, at, -1
                n += 1
            continue
        if not parted and not begins_one[lower[data[begin]]]:
            continue
        start = begin
        while start < at and n < room:
            # First the whole word, then its parts between underscores.
            whole = start == begin
            for turn in range(2):
                if turn == 0 and not whole:
                    continue
                stop = at
                if turn == 1:
                    stop = start
                    while stop < at and data[stop] != 95:
                        stop += 1
                    if whole and stop == at:
                        break
                match = -1
                for i in range(len(word_ends)):
                    first = word_ends[i - 1] if i else 0
                    if word_ends[i] - first != stop - start or seen[i] >= most:
                        continue
                    same = True
                    for j in range(stop - start):
                        if lower[data[start + j]] != words[first + j]:
                            same = False
                            break
                    if same:
                        match = i
                        break
                if match >= 0:
                    begins[n], ends[n], found[n] = start, stop, match
                    seen[match] += 1
                    n += 1
                    if turn == 0:
                        start = at
                    break
            if start >= at:
                break
            while start < at and data[start] != 95:
                start += 1
            while start < at and data[start] == 95:
                start += 1
    return n


class Highlighter:
    """Finds the words of one query in texts.

    Attributes:
        words: word as indexed → the query's word that it is a form of, and how much that tells, e.g. its idf.
    """

    def __init__(self, words: Mapping[str, tuple[str, float]]) -> None:
        self.words = words
        weights = dict(words.values())
        self._names = list(weights)
        self._weights = np.fromiter(weights.values(), np.float64, len(weights))
        numbers = {name: number for number, name in enumerate(self._names)}
        self._numbers = numbers
        self._ascii = [word for word in words if word.isascii()]
        coded = [word.encode() for word in self._ascii]
        self._bytes = np.frombuffer(b"".join(coded), np.uint8)
        self._name_of = np.array([numbers[words[word][0]] for word in self._ascii], np.int32)
        self._ends = np.cumsum([len(word) for word in coded], dtype=np.int64)
        self._others = len(coded) < len(words)
        unspaced = sorted((word for word in words if UNSPACED.search(word)), key=lambda word: -len(word))
        self._unspaced = re.compile("|".join(map(re.escape, unspaced))) if unspaced else None
        self._known: dict[bytes, list[tuple[int, int, str]]] = {}

    def matches(self, data: NDArray[np.uint8]) -> list[tuple[int, int, str]]:
        """Find the words of a text that are one of the words: first byte, end, word of the query; in order."""
        begins, ends, names = (array.tolist() for array in self._spots(data))
        return [(begin, end, self._names[name]) for begin, end, name in zip(begins, ends, names, strict=True)]

    def _spots(self, data: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Find the same as arrays: first bytes, ends, numbers of the query's words."""
        room = MOST * len(self._ends) + _MOST_OTHERS
        begins, ends, which = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
        n = 0
        if self.words:
            n = find_words(data, self._bytes, self._ends, self._others, MOST, CLASSES, LOWER, begins, ends, which)
        begins, ends, which = begins[:n], ends[:n], which[:n]
        others = np.flatnonzero(which < 0)
        if not len(others):
            return begins, ends, self._name_of[which] if n else which
        found: list[tuple[int, int, int]] = []
        for begin, end in zip(begins[others].tolist(), ends[others].tolist(), strict=True):
            token = data[begin:end].tobytes()
            if token not in self._known:
                self._known[token] = self._within(token.decode("utf-8", "replace"))
            found += [(begin + first, begin + last, self._numbers[name]) for first, last, name in self._known[token]]
        pure = np.flatnonzero(which >= 0)
        names = self._name_of[which[pure]] if len(pure) else np.empty(0, np.int32)
        if not found:
            return begins[pure], ends[pure], names
        more = np.array(found, np.int64).T
        begins, ends = np.concatenate([begins[pure], more[0]]), np.concatenate([ends[pure], more[1]])
        order = np.argsort(begins, kind="stable")
        return begins[order], ends[order], np.concatenate([names, more[2].astype(np.int32)])[order]

    def _within(self, token: str) -> list[tuple[int, int, str]]:
        """Find words within a run with letters beyond ASCII, as `matches`; the whole run where they cannot be told."""
        text = normalized(token)
        if not any(word in text for word in self.words):
            return []
        words = split_words(text)
        found: list[tuple[int, int, str]] = []
        if len(text) == len(token) and (len(words) > 1 or text != "".join(words) or self._unspaced):
            at = 0
            spans = [(hit.start(), hit.group()) for hit in self._unspaced.finditer(text)] if self._unspaced else []
            for word in words:
                at = text.find(word, at)
                if at < 0:
                    break
                spans += [(at, word)] if not UNSPACED.search(word) else []
                at += len(word)
            for start, word in sorted(spans):
                if word in self.words:
                    first = len(token[:start].encode())
                    found.append((first, first + len(token[start : start + len(word)].encode()), self.words[word][0]))
            return found
        name = next((self.words[word][0] for word in words if word in self.words), None)
        return [] if name is None else [(0, len(token.encode()), name)]

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
        first = last = 0
        for looked_at in (_LOOKED_AT_FIRST, LOOKED_AT):
            begins, ends, names = self._spots(data[:looked_at])
            if len(begins):
                first, last = best_window(begins, names, self._weights, 0.8 * size)
            if looked_at >= len(data) or len(np.unique(names[first : last + 1])) == len(self._weights):
                break  # a passage with all words near the beginning is as good as any
        if not len(begins):
            plain = " ".join((otherwise.strip() or _decoded(data[: 2 * size])).split())
            return [(plain if len(plain) <= size else _cut(plain, size) + " …", False)]
        start = int(begins[first])
        spare = size - (int(ends[last]) - start)
        begin = _sentence_begin(data, start, spare)
        before = ""
        if begin is None:  # none is near: at a word's beginning
            before, begin = "… ", max(0, start - int(size * _OTHER_SIDE))
            spaces = np.flatnonzero(data[begin:start] <= 32)
            begin = begin + int(spaces[0]) + 1 if len(spaces) else start
        shown = " ".join(_cut(_decoded(data[begin : begin + size + 64]), size).split())
        end = " …" if begin + size < len(data) else ""
        return self.highlight(before + shown + end)


def _sentence_begin(data: NDArray[np.uint8], start: int, spare: int) -> int | None:
    """Return where the sentence or line begins that a byte of a text is in, if that is at most `spare` bytes before."""
    first = max(0, start - max(spare, 0))
    found = 0 if first == 0 else None
    for end in _SENTENCE_END.finditer(data[max(0, first - 8) : start + 1].tobytes()):
        at = max(0, first - 8) + end.end()
        if first <= at <= start:
            found = at
    return found


@compiled(nogil=True)
def best_window(
    begins: NDArray[np.int64], names: NDArray[np.int32], weights: NDArray[np.float64], width: float
) -> tuple[int, int]:
    """Find the window whose words weigh most: the numbers of its first match and its last one.

    Repetitions of a word count a little, and three at most; of equals it is the first.

    Args:
        begins: int64, of the matches, ascending. names: int32, which word each is. weights: float64 of the words.
        width: bytes from the first match to the beginning of the last one, at most.
    """
    inside = np.zeros(len(weights), np.int64)
    best, first_best, last_best, last = -1.0, 0, 0, 0
    for first in range(len(begins)):
        while last < len(begins) and begins[last] <= begins[first] + width:
            inside[names[last]] += 1
            last += 1
        worth = 0.0
        for name in range(len(weights)):
            if inside[name] > 0:
                worth += weights[name] * (1.0 + 0.1 * min(inside[name] - 1, 3))
        if worth > best + 1e-12:
            best, first_best, last_best = worth, first, last - 1
        inside[names[first]] -= 1
    return first_best, last_best


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
        kept: what a first result of the query as written has more, so that expansion leaves it first.
        lengths: words by field.
        score: the sum.
    """

    terms: tuple[TermShare, ...]
    phrases: tuple[tuple[str, float], ...]
    prior: float
    pagerank: float
    lengths: dict[str, int]
    score: float
    kept: float = 0.0

    def lines(self) -> list[str]:
        """Return the explanation as text, a line for each part."""
        lines = [f"{self.score:9.4f}  score"]
        for one in self.terms:
            where = ", ".join(f"{n}× {field}" for field, n in one.frequencies.items() if n)
            times = "" if one.weight == 1 else f"{one.weight:.3f} · "
            lines.append(f"{one.share:9.4f}  {one.term}: {times}idf {one.idf:.3f} (on {one.pages:,} pages); {where}")
        lines += [f"{share:9.4f}  phrase “{text}”" for text, share in self.phrases]
        if self.kept:
            lines.append(f"{self.kept:9.4f}  first for the query as written")
        lengths = ", ".join(f"{field} {n}" for field, n in self.lengths.items())
        lines.append(f"{self.prior:9.4f}  links: PageRank {self.pagerank:.3g}")
        return [*lines, f"           words: {lengths}"]


def explain(index: Index, query: CompiledQuery, page: int, prior: float, shown: float | None = None) -> Explanation:
    """Explain a page's score as a sum of its parts.

    Args:
        index: that was searched.
        query: as it was scored (`TopPages.query`).
        page: number in the index.
        prior: weight × prior of the page.
        shown: its score, where that is more than its parts (`Explanation.kept`).
    """
    block, shares = index.block, []
    for number, weight in query.terms.items():
        at = index.postings(number)
        position = at.start + int(np.searchsorted(block["docs"][at], page))
        if position >= at.stop or block["docs"][position] != page:
            continue
        frequencies = dict(zip(FIELDS, block["tfs"][position].tolist(), strict=True))
        value = weight * float(block["values"][position])
        term = readable(index.string("term", number))
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
    # Scores are added up in another order where pages are found; only more than that is a place that was kept.
    kept = shown - score if shown is not None and shown - score > 1e-6 * max(score, 1.0) else 0.0
    return Explanation(tuple(shares), tuple(phrases), prior, rank, lengths, score + kept, kept)


_MOST_CORRECTED = 5  # words of a query; each is compared with the words of about its length
_SHORTEST = 4  # letters; shorter words have too many neighbours


class Speller:
    """Suggests words of an index; its lists are made when they are first needed."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._lock = threading.Lock()
        self._lists: dict[int, tuple[list[str], list[int]]] | None = None

    def word(self, wrong: str) -> str | None:
        """Find the nearest word of the index, or None.

        One change is allowed in four letters or more, two from eight on (insertion, deletion, replacement, or
        neighbours swapped); of equally near words the one on most pages, its relatives counted.
        """
        wrong = normalized(wrong)
        if not wrong.isalpha():
            return None
        best: tuple[int, int, int, int] | None = None
        allowed = 0 if len(wrong) < _SHORTEST else 2 if len(wrong) >= 8 else 1
        for size in range(len(wrong) - allowed, len(wrong) + allowed + 1):
            words, numbers = self._by_size().get(size, ([], []))
            for word, distance, at in process.extract_iter(wrong, words, scorer=OSA.distance, score_cutoff=allowed):
                number = numbers[at]
                names = classes_of(word, self.index.languages)
                relatives = [self.index.term_number(name) for name in names]
                pages = max((self.index.frequency(one) for one in relatives if one >= 0), default=0)
                own = self.index.frequency(number)
                candidate = (int(distance), -max(pages, own), -own, number)
                if distance and (best is None or candidate < best):
                    best = candidate
        return self.index.string("term", best[3]) if best else None

    def query(self, text: str, unknown: list[str]) -> str | None:
        """Return the query with its unknown words replaced, or None if none of them has a neighbour."""
        corrected = text
        for wrong in list(dict.fromkeys(unknown))[:_MOST_CORRECTED]:
            right = self.word(wrong)
            if right:
                corrected = re.sub(rf"\b{re.escape(wrong)}\b", right, corrected, flags=re.IGNORECASE)
        return corrected if corrected != text else None

    def _by_size(self) -> dict[int, tuple[list[str], list[int]]]:
        """List words by length, with their numbers."""
        with self._lock:
            if self._lists is None:
                frequencies = np.diff(self.index.block["ends"], prepend=0).tolist()
                lists: dict[int, tuple[list[str], list[int]]] = {}
                for number, term in enumerate(self.index.strings("term")):
                    if frequencies[number] and term.isalpha() and not term.startswith(CLASS_SIGN):
                        listed = lists.setdefault(len(term), ([], []))
                        listed[0].append(term)
                        listed[1].append(number)
                self._lists = lists
        return self._lists

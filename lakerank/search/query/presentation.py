"""Presentation of results: the snippet with its matches, the explanation of its score, spelling suggestions."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import OSA

from lakerank.search.index.fields import FIELDS
from lakerank.search.query.index import Index
from lakerank.search.query.searcher import CompiledQuery
from lakerank.search.query.word_classes import CLASS_SIGN, classes_of, readable
from lakerank.search.text.analyzer import LOWER
from lakerank.search.text.words import UNSPACED, normalized, spells, split_words
from lakerank.spark.jit import compiled

Pieces = list[tuple[str, bool]]  # text, and whether it is a match to be marked
LOOKED_AT = 40_000  # bytes of a text
LOOKED_AT_FIRST = 4_000
SIZE = 240  # bytes of a snippet, about
MOST = 100  # occurrences of one word that are looked at
_MOST_OTHERS = 4000  # words with letters beyond ASCII that are looked at
_NOTHING, _OTHER_LETTERS = -1, -2
_AT_ONCE = 4096  # bytes
_SIGNS, _PARTS, _OWN = 0x3000, 1, 2
# An end of a sentence and white space before what is no small letter, or a line's end; and full stops of East Asia.
_SENTENCE_END = re.compile(rb"[.!?][\"')\]]*\s+(?=[^a-z\s])|\n\s*|(?:\xe3\x80\x82|\xef\xbc\x81|\xef\xbc\x9f)\s*")
_OTHER_SIDE = 1 / 6  # of a snippet stands before the first match

_JOINS, _HIGH = 2, 4  # bytes of words: `_`, and those of signs beyond ASCII; of ASCII letters and digits: 1
SPELT = np.array([_HIGH if b >= 0x80 else _JOINS if b == 95 else int(chr(b).isalnum()) for b in range(256)], np.uint8)


@cache
def kinds_of_signs() -> NDArray[np.uint8]:
    """Return of each sign below `_SIGNS` what `normalized` and `split_words` do with it, whatever it stands among.

    Returns:
        uint8: `_PARTS`: it parts words; `_OWN`: it stays a letter beyond ASCII; 0: anything else.
    """
    kinds = np.zeros(_SIGNS, np.uint8)
    for sign in range(0x80, _SIGNS):
        folded = normalized(chr(sign))
        if folded and not any(spells(one) for one in folded):
            kinds[sign] = _PARTS
        elif folded and not re.search("[0-9a-z_]", folded):
            kinds[sign] = _OWN
    return kinds


@compiled(nogil=True)
def kind_of_sign(data: NDArray[np.uint8], at: int, signs: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the kind of the sign beyond ASCII that begins at a byte of a text (`kinds_of_signs`), and its bytes."""
    byte = data[at]
    size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    if byte < 0xC0 or at + size > len(data):
        return 0, 1
    sign = np.int64(byte & (0xFF >> (size + 1)))
    for j in range(1, size):
        sign = (sign << 6) | np.int64(data[at + j] & 0x3F)
    return signs[sign] if sign < len(signs) else 0, size


@compiled(nogil=True)
def may_hold(
    token: NDArray[np.uint8],
    words: NDArray[np.uint8],
    word_ends: NDArray[np.int64],
    lower: NDArray[np.uint8],
    signs: NDArray[np.uint8],
) -> bool:
    """Tell whether one of some ASCII words may stand in a run with other letters, as in `ﬁle`; never too rarely.

    Args:
        token: uint8 (UTF-8). words, word_ends, lower, signs: of `find_words`.
    """
    at = 0
    while at < len(token):
        if token[at] < 0x80:
            at += 1
            continue
        kind, size = kind_of_sign(token, at, signs)
        if kind == 0:
            return True
        at += size
    for i in range(len(word_ends)):
        first = word_ends[i - 1] if i else 0
        size = word_ends[i] - first
        for start in range(len(token) - size + 1):
            same = True
            for j in range(size):
                if lower[token[start + j]] != words[first + j]:
                    same = False
                    break
            if same:
                return True
    return False


@compiled(nogil=True)
def find_words(
    data: NDArray[np.uint8],
    at: int,
    stop: int,
    words: NDArray[np.uint8],
    word_ends: NDArray[np.int64],
    initials: NDArray[np.int64],
    starts: NDArray[np.uint8],
    others: bool,
    most: int,
    spelt: NDArray[np.uint8],
    lower: NDArray[np.uint8],
    signs: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    found: NDArray[np.int32],
    seen: NDArray[np.int64],
    n: int,
) -> tuple[int, int]:
    """Find the words of a text (UTF-8), and parts of them between `_`, that are among some ASCII words.

    Args:
        data: uint8. at, stop: bytes in which the words begin; the last one may end behind them.
        words: uint8, all of them, lower case, sorted. word_ends: int64, where each ends. initials: int64 (257): the
            words that begin with a byte b are initials[b] to initials[b + 1]. starts: uint8 (256): 1: one of the words
            begins with this byte, or its capital; 2: a sign beyond ASCII does.
        others: whether to give all words with letters beyond ASCII, too; else those that begin like one of the words
            and may hold one (`may_hold`).
        most: occurrences of each word. spelt: `SPELT`. lower: of `analyzer`. signs: of `kinds_of_signs`.
        begins, ends: out, int64. found: out, int32, which word it is, -1: one with other letters.
        seen: of each word, how often it was found; changed. n: how many stand in the arrays already.

    Returns:
        How many stand there now, and where the text goes on.
    """
    room, looked_at, number, count = len(begins), at, 0, 0
    places = np.empty(_AT_ONCE, np.int32)
    while n < room:
        # Without a branch for each byte: places that a word of those may begin at, or one with other letters.
        while number == count and looked_at < stop:
            number, count, until = 0, 0, min(stop, looked_at + _AT_ONCE)
            alone = np.uint8(looked_at == 0 or spelt[data[looked_at - 1]] != 1)
            for place in range(looked_at, until):
                byte = data[place]
                places[count] = place
                count += ((starts[byte] & alone) | (starts[byte] >> 1)) & 1
                alone = np.uint8(spelt[byte] != 1)
            looked_at = until
        if number == count:
            break
        number += 1
        if places[number - 1] < at:
            continue
        begin = run_begin(data, places[number - 1], at, spelt, signs)
        at, kinds, parting = begin, np.uint8(0), 0
        while at < len(data):
            kind = spelt[data[at]]
            if not kind:
                break
            size = 1
            if kind == _HIGH:
                sign, size = kind_of_sign(data, at, signs)
                if sign == _PARTS:
                    parting = size
                    break
            kinds |= kind
            at += size
        if at == begin:
            at += parting
            continue
        if kinds & _HIGH:
            if others or (
                (data[begin] >= 0x80 or initials[lower[data[begin]]] < initials[lower[data[begin]] + 1])
                and may_hold(data[begin:at], words, word_ends, lower, signs)
            ):
                begins[n], ends[n], found[n] = begin, at, -1
                n += 1
            continue
        initial = lower[data[begin]]
        if not kinds & _JOINS and initials[initial] == initials[initial + 1]:
            continue
        start = begin
        while start < at and n < room:
            # First the whole word, then its parts between underscores.
            whole = start == begin
            for turn in range(2):
                if turn == 0 and not whole:
                    continue
                part = at
                if turn == 1:
                    part = start
                    while part < at and data[part] != 95:
                        part += 1
                    if whole and part == at:
                        break
                match, initial = -1, lower[data[start]]
                for i in range(initials[initial], initials[initial + 1]):
                    first = word_ends[i - 1] if i else 0
                    if word_ends[i] - first != part - start or seen[i] >= most:
                        continue
                    same = True
                    for j in range(part - start):
                        if lower[data[start + j]] != words[first + j]:
                            same = False
                            break
                    if same:
                        match = i
                        break
                if match >= 0:
                    begins[n], ends[n], found[n] = start, part, match
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
    return n, max(at, stop)


@compiled(nogil=True)
def run_begin(data: NDArray[np.uint8], at: int, first: int, spelt: NDArray[np.uint8], signs: NDArray[np.uint8]) -> int:
    """Return where the run of letters that a byte stands in begins; what lies before `first` is known to be others."""
    while at > first and spelt[data[at - 1]]:
        before = at - 1
        if spelt[data[before]] == _HIGH:
            while before > first and data[before] & 0xC0 == 0x80:
                before -= 1
            if kind_of_sign(data, before, signs)[0] == _PARTS:
                break
        at = before
    return at


@compiled(nogil=True)
def best_window(
    begins: NDArray[np.int64], names: NDArray[np.int32], weights: NDArray[np.float64], width: float
) -> tuple[int, int, int]:
    """Find the window whose words weigh most: the numbers of its first match and its last one, how many words it has.

    Repetitions of a word count a little, and three at most; of equals it is the first.

    Args:
        begins: int64, of the matches, ascending. names: int32, which word each is. weights: float64 of the words.
        width: bytes from the first match to the beginning of the last one, at most.
    """
    inside = np.zeros(len(weights), np.int64)
    best, first_best, last_best, last, different = -1.0, 0, 0, 0, 0
    for first in range(len(begins)):
        while last < len(begins) and begins[last] <= begins[first] + width:
            inside[names[last]] += 1
            last += 1
        worth, words = 0.0, 0
        for name in range(len(weights)):
            if inside[name] > 0:
                words += 1
                worth += weights[name] * (1.0 + 0.1 * min(inside[name] - 1, 3))
        if worth > best + 1e-12:
            best, first_best, last_best, different = worth, first, last - 1, words
        inside[names[first]] -= 1
    return first_best, last_best, different


@compiled(nogil=True)
def find_passages(
    data: NDArray[np.uint8],
    spans: NDArray[np.int64],
    words: NDArray[np.uint8],
    word_ends: NDArray[np.int64],
    initials: NDArray[np.int64],
    starts: NDArray[np.uint8],
    name_of: NDArray[np.int32],
    weights: NDArray[np.float64],
    others: bool,
    width: float,
    spelt: NDArray[np.uint8],
    lower: NDArray[np.uint8],
    signs: NDArray[np.uint8],
    passages: NDArray[np.int64],
) -> None:
    """Find the passage of each text with the most, and the heaviest, distinct words.

    Looking ends where all words have been found in one window: a passage with all of them near the beginning is as
    good as any.

    Args:
        data: uint8, all texts. spans: int64 (n, 2), where each begins and ends.
        words, word_ends, initials, starts, others, spelt, lower, signs: of `find_words`.
        name_of: int32, which word of the query each word is a form of. weights, width: of `best_window`.
        passages: out, int64 (n, 2): in each text, from the first match to the end of the last one;
            `_NOTHING`: there is none; `_OTHER_LETTERS`: words with other letters have to be looked at.
    """
    room = MOST * len(word_ends) + _MOST_OTHERS
    begins, ends, found = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
    names, seen = np.empty(room, np.int32), np.empty(len(word_ends), np.int64)
    for i in range(len(spans)):
        text = data[spans[i, 0] : spans[i, 1]]
        at, n, known = 0, 0, 0
        seen[:] = 0
        passages[i, :] = _NOTHING
        for looked_at in (LOOKED_AT_FIRST, LOOKED_AT):
            stop = min(len(text), looked_at)
            n, at = find_words(
                text,
                at,
                stop,
                words,
                word_ends,
                initials,
                starts,
                others,
                MOST,
                spelt,
                lower,
                signs,
                begins,
                ends,
                found,
                seen,
                n,
            )
            while known < n and found[known] >= 0:
                names[known] = name_of[found[known]]
                known += 1
            if known < n:
                passages[i, :] = _OTHER_LETTERS
                break
            different = 0
            if n:
                first, last, different = best_window(begins[:n], names[:n], weights, width)
                passages[i, 0], passages[i, 1] = begins[first], ends[last]
            if stop == len(text) or different == len(weights):
                break


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
        self._ascii = sorted(word for word in words if word.isascii() and word)
        coded = [word.encode() for word in self._ascii]
        self._bytes = np.frombuffer(b"".join(coded), np.uint8)
        self._name_of = np.array([numbers[words[word][0]] for word in self._ascii], np.int32)
        self._ends = np.cumsum([len(word) for word in coded], dtype=np.int64)
        self._initials = np.searchsorted([word[0] for word in coded], np.arange(257)).astype(np.int64)
        self._starts = (np.diff(self._initials)[LOWER] > 0).astype(np.uint8)
        self._starts[0xC0:] = 2
        self._others = len(coded) < len(words)
        unspaced = sorted((word for word in words if UNSPACED.search(word)), key=lambda word: -len(word))
        self._unspaced = re.compile("|".join(map(re.escape, unspaced))) if unspaced else None
        self._known: dict[bytes, list[tuple[int, int, str]]] = {}

    def _spots(
        self, data: NDArray[np.uint8], most: int = MOST
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Find where one of the words stands in a text: first bytes, ends, numbers of the query's words.

        Of each at most `most`; 0: all of them.
        """
        room = most * len(self._ends) + _MOST_OTHERS if most else len(data) // 2 + 1
        begins, ends, which = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
        n = 0
        if self.words:
            n, _ = find_words(
                data, 0, len(data), self._bytes, self._ends, self._initials, self._starts, self._others,
                most or len(data), SPELT, LOWER, kinds_of_signs(), begins, ends, which,
                np.zeros(len(self._ends), np.int64), 0,
            )  # fmt: skip
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
        sign_by_sign = len(text) == len(token) and all(len(normalized(sign)) == 1 for sign in token)
        if sign_by_sign and (len(words) > 1 or text != "".join(words) or self._unspaced):
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

    def highlight(self, texts: Sequence[str]) -> list[Pieces]:
        """Cut texts where matches begin and end."""
        coded = [text.encode("utf-8") for text in texts]
        joined = b"\n".join(coded)  # no word goes over a line's end
        begins, ends, _ = (array.tolist() for array in self._spots(np.frombuffer(joined, np.uint8), 0))
        out, next_one, at = [], 0, 0
        for text, raw in zip(texts, coded, strict=True):
            pieces: Pieces = []
            end_of_text = at + len(raw)
            while next_one < len(begins) and begins[next_one] < end_of_text:
                begin, end = begins[next_one], ends[next_one]
                if begin > at:
                    pieces.append((joined[at:begin].decode("utf-8"), False))
                pieces.append((joined[begin:end].decode("utf-8"), True))
                at, next_one = end, next_one + 1
            if not pieces:
                pieces.append((text, False))
            elif at < end_of_text:
                pieces.append((joined[at:end_of_text].decode("utf-8"), False))
            out.append(pieces)
            at = end_of_text + 1
        return out

    def snippets(
        self, data: NDArray[np.uint8], spans: Sequence[tuple[int, int]], otherwise: Sequence[str] = (), size: int = SIZE
    ) -> list[str]:
        """Find the passage of each text with the most, and the heaviest, distinct words of the query.

        Args:
            data: uint8, texts in UTF-8.
            spans: where each begins and ends.
            otherwise: of each text, what is shown when nothing of the query stands in it, e.g. the page's description.
            size: bytes of a snippet, about.

        Returns:
            The snippets; `…` where text was left out.
        """
        width = 0.8 * size
        passages = np.full((len(spans), 2), _NOTHING, np.int64)
        if len(spans) and self.words:
            find_passages(
                data, np.array(spans, np.int64), self._bytes, self._ends, self._initials, self._starts, self._name_of,
                self._weights, self._others, width, SPELT, LOWER, kinds_of_signs(), passages,
            )  # fmt: skip
        out = []
        for i, ((begin, end), (first, last)) in enumerate(zip(spans, passages.tolist(), strict=True)):
            text = data[begin:end]
            if first == _OTHER_LETTERS:
                first, last = self._passage(text, width)
            out.append(_cut_out(text, first, last, otherwise[i] if otherwise else "", size))
        return out

    def _passage(self, data: NDArray[np.uint8], width: float) -> tuple[int, int]:
        """Find the same as `find_passages` in one text, words with other letters included."""
        found = _NOTHING, _NOTHING
        for looked_at in (LOOKED_AT_FIRST, LOOKED_AT):
            begins, ends, names = self._spots(data[:looked_at])
            different = 0
            if len(begins):
                first, last, different = best_window(begins, names, self._weights, width)
                found = int(begins[first]), int(ends[last])
            if looked_at >= len(data) or different == len(self._weights):
                break
        return found


def _cut_out(data: NDArray[np.uint8], first: int, last: int, otherwise: str, size: int) -> str:
    """Return the snippet around a passage of a text, from where its sentence begins if that is near."""
    if first == _NOTHING:
        plain = " ".join((otherwise.strip() or _decoded(data[: 2 * size])).split())
        return plain if len(plain) <= size else _cut(plain, size) + " …"
    begin = _sentence_begin(data, first, size - (last - first))
    before = ""
    if begin is None:  # none is near: at a word's beginning
        before, begin = "… ", max(0, first - int(size * _OTHER_SIDE))
        spaces = np.flatnonzero(data[begin:first] <= 32)
        begin = begin + int(spaces[0]) + 1 if len(spaces) else first
    shown = " ".join(_cut(_decoded(data[begin : begin + size + 64]), size).split())
    return before + shown + (" …" if begin + size < len(data) else "")


def _sentence_begin(data: NDArray[np.uint8], start: int, spare: int) -> int | None:
    """Return where the sentence or line begins that a byte of a text is in, if that is at most `spare` bytes before."""
    first = max(0, start - max(spare, 0))
    found = 0 if first == 0 else None
    for end in _SENTENCE_END.finditer(data[max(0, first - 8) : start + 1].tobytes()):
        at = max(0, first - 8) + end.end()
        if first <= at <= start:
            found = at
    return found


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

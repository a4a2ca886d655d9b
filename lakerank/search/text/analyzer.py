"""Text to terms, the same for pages and for queries: tokens, then lower case, stems and stop words.

A token is a longest run of letters, digits, `_` and bytes of other scripts; ASCII letters count as lower case. Tokens
are found by compiled loops over UTF-8 bytes; what other scripts' tokens consist of is decided once for each distinct
token, in Python. Two ASCII tokens with just one of `. - / :` between them also make a pair: `ma.arange` is found as a
whole, whatever else a page says of `ma` and of `arange`.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.search.text.languages import stemmer, stop_words
from lakerank.spark.jit import compiled

FIELD_END = 0x1E  # ASCII's record separator stands between the fields of a document
LONGEST = 64  # bytes; longer tokens (keys, encoded data) take up a position but are not indexed
GAP, PAIR = 1, 2  # flags of a token: a line ended before it; it is a pair

_OTHER, _WORD, _HIGH, _JOINER, _LINE, _FIELD = range(6)

PAIR_SIGN = "."  # between the halves of a pair; no other term has it
_WORDS = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0eff]+")
_PAIR_JOINER = re.compile(r"[.\-/:]")


def _classes() -> NDArray[np.uint8]:
    kinds = np.full(256, _OTHER, np.uint8)
    for byte in range(256):
        char = chr(byte)
        if byte >= 0x80:
            kinds[byte] = _HIGH
        elif char.isalnum() or char == "_":
            kinds[byte] = _WORD
    for char in ".-/:":
        kinds[ord(char)] = _JOINER
    kinds[ord("\n")] = _LINE
    kinds[FIELD_END] = _FIELD
    return kinds


CLASSES = _classes()
LOWER = np.frombuffer(bytes(range(256)).lower(), np.uint8)

_FNV, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_S32 = np.uint64(32)


@compiled(nogil=True)
def count_tokens(data: NDArray[np.uint8], begin: int, end: int, classes: NDArray[np.uint8]) -> int:
    """Return an upper bound of the number of tokens and pairs in `data[begin:end]`."""
    n, inside = 0, False
    for at in range(begin, end):
        word = classes[data[at]] == _WORD or classes[data[at]] == _HIGH
        if word and not inside:
            n += 1
        inside = word
    return 2 * n


@compiled(nogil=True)
def tokenize(
    data: NDArray[np.uint8],
    offsets: NDArray[Any],
    last_field: int,
    classes: NDArray[np.uint8],
    lower: NDArray[np.uint8],
    hashes: NDArray[np.uint64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int32],
    rows: NDArray[np.int32],
    fields: NDArray[np.uint8],
    flags: NDArray[np.uint8],
) -> int:
    """Find the tokens of all texts, in order, and write them to the output arrays; a pair follows its second token.

    Args:
        data: uint8, UTF-8 bytes of all texts.
        offsets: int, n + 1; text i is `data[offsets[i]:offsets[i + 1]]`.
        last_field: highest number of a field; further separators are taken for white space.
        classes: kind of each byte.
        lower: each byte in lower case.
        hashes: out, 64-bit hash of the lower-cased token.
        starts: out, first byte; sizes: out, bytes (0: too long, not to be indexed).
        rows: out, text number. fields: out, from 0. flags: out, `GAP`, `PAIR`.

    Returns:
        How many tokens there are.
    """
    n = 0
    for row in range(len(offsets) - 1):
        field, gap = 0, False
        before_end, before_start, before_hash, before_pure = -9, 0, np.uint64(0), False
        at, end = offsets[row], offsets[row + 1]
        while at < end:
            kind = classes[data[at]]
            if kind != _WORD and kind != _HIGH:
                if kind == _LINE:
                    gap = True
                elif kind == _FIELD and field < last_field:
                    field, gap, before_end = field + 1, False, -9
                at += 1
                continue
            start, value, pure = at, _FNV, True
            while at < end:
                kind = classes[data[at]]
                if kind == _HIGH:
                    pure = False
                elif kind != _WORD:
                    break
                value = (value ^ np.uint64(lower[data[at]])) * _PRIME
                at += 1
            value = (value ^ (value >> _S32)) * _MIX
            hashes[n], starts[n], rows[n], fields[n] = value, start, row, field
            sizes[n] = at - start if at - start <= LONGEST else 0
            flags[n] = GAP if gap else 0
            n += 1
            if (
                start == before_end + 1
                and classes[data[before_end]] == _JOINER
                and pure
                and before_pure
                and at - before_start <= LONGEST
            ):
                both = (before_hash * _PRIME) ^ value
                hashes[n], starts[n], rows[n], fields[n] = (both ^ (both >> _S32)) * _MIX, before_start, row, field
                sizes[n], flags[n] = at - before_start, PAIR
                n += 1
            before_start, before_end, before_hash, before_pure, gap = start, at, value, pure, False
    return n


@compiled(nogil=True)
def number_tokens(
    hashes: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    values: NDArray[np.int32],
    known: int,
    ids: NDArray[np.int32],
    firsts: NDArray[np.int64],
) -> int:
    """Assign numbers to distinct hashes in order of first appearance, in an open-addressing table.

    Args:
        hashes: uint64, of the tokens.
        keys: uint64, a power of two of slots, at least twice as many as distinct hashes ever; changed.
        values: int32, the number in each slot, -1 where it is free; changed.
        known: how many numbers are given already.
        ids: out, int32, the number of each token.
        firsts: out, for each new number, in order, the token that brought it.

    Returns:
        How many numbers are given now.
    """
    mask = np.uint64(len(keys) - 1)
    count = known
    for i in range(len(hashes)):
        slot = hashes[i] & mask
        while values[slot] >= 0 and keys[slot] != hashes[i]:
            slot = (slot + np.uint64(1)) & mask
        if values[slot] < 0:
            keys[slot], values[slot] = hashes[i], count
            firsts[count - known] = i
            count += 1
        ids[i] = values[slot]
    return count


@dataclass(frozen=True)
class Term:
    """One term of an analysed text.

    Attributes:
        text: the term as indexed.
        word: the token it came from, lower case.
        position: in the text, counted in tokens from 0; a line's end counts as one.
        stop: whether the token is a stop word.
    """

    text: str
    word: str
    position: int
    stop: bool

    @property
    def is_pair(self) -> bool:
        """Tell whether it stands for two tokens joined by a sign."""
        return PAIR_SIGN in self.text


@dataclass(frozen=True)
class Analyzer:
    """How a language's texts become terms.

    Attributes:
        language: ISO 639-1 code; one without a stemmer keeps its words as they are.
    """

    language: str = "en"

    def terms_of(self, token: bytes, pair: bool = False) -> tuple[str, ...]:
        """Return the terms of one token, in order; none if there is no letter or digit in it.

        Args:
            token: UTF-8; other scripts' tokens may hold several words, e.g. around a dash.
            pair: whether it is two tokens with a sign between them.
        """
        if not token.strip(b"_"):
            return ()
        if pair:
            return (_PAIR_JOINER.sub(PAIR_SIGN, token.decode("ascii").lower()),)
        stem = stemmer(self.language)
        terms = (token.decode("ascii").lower(),) if token.isascii() else words_of(token.decode("utf-8", "replace"))
        return tuple(stem.stemWords(list(terms))) if stem else terms

    def is_stop(self, token: bytes) -> bool:
        """Tell whether a token is a stop word."""
        return token.decode("utf-8", "replace").lower() in stop_words(self.language)

    def analyze(self, text: str) -> list[Term]:
        """Analyse a text to its terms; pairs have the position of their first half."""
        data = np.frombuffer(text.encode("utf-8"), np.uint8)
        room = len(data) + 2
        hashes, starts = np.empty(room, np.uint64), np.empty(room, np.int64)
        sizes, rows = np.empty(room, np.int32), np.empty(room, np.int32)
        fields, flags = np.empty(room, np.uint8), np.empty(room, np.uint8)
        ends = np.array([0, len(data)], np.int64)
        n = tokenize(data, ends, 0, CLASSES, LOWER, hashes, starts, sizes, rows, fields, flags)
        raw = data.tobytes()
        found, position, here, before = [], 0, 0, 0
        for i in range(n):
            token = raw[starts[i] : starts[i] + sizes[i]]
            if flags[i] == PAIR:
                found.append(Term(self.terms_of(token, True)[0], token.decode().lower(), before, False))
                continue
            position += int(flags[i]) & 1
            before, here = here, position
            terms = _cached_terms(self, token)
            for term in terms:
                found.append(Term(term, token.decode("utf-8", "replace").lower(), position, self.is_stop(token)))
                position += 1
        return found


@functools.lru_cache(maxsize=1 << 16)
def _cached_terms(analyzer: Analyzer, token: bytes) -> tuple[str, ...]:
    return analyzer.terms_of(token)


def words_of(text: str) -> tuple[str, ...]:
    """Split a text of any script into words, case-folded; scripts without spaces give overlapping pairs of signs."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words: list[str] = []
    for word in _WORDS.findall(folded):
        at = 0
        for run in _UNSPACED.finditer(word):
            words += [word[at : run.start()]] if run.start() > at else []
            signs = run.group()
            words += [signs[i : i + 2] for i in range(max(1, len(signs) - 1))]
            at = run.end()
        words += [word[at:]] if at < len(word) else []
    return tuple(words)

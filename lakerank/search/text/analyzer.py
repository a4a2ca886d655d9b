"""Text to terms, the same for pages and for queries.

A token is a longest run of letters, digits, `_` and bytes of other scripts; compiled loops over UTF-8 bytes find them,
ASCII letters counting as lower case. What a token stands for is decided once for each distinct one, in Python
(`split_token`): an ASCII token is one word as UAX #29 has it, others are cut by ICU. Tokens with just one sign between
them also make compounds, found as a whole whatever else a page says of their parts: `np.linalg.svd`, `e-mail`, and with
signs at an end `C++`, `C#`, `.NET`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lakerank.search.text.languages import stop_words
from lakerank.search.text.words import LONGEST_WORD, identifier_parts, normalized, split_words, sub_words
from lakerank.spark.jit import compiled

FIELD_END = 0x1E  # ASCII's record separator stands between the fields of a document
LONGEST = LONGEST_WORD  # bytes of a token that are looked at, and of a compound
MOST_PARTS = 60  # of a compound; longer chains have pairs alone
GAP, COMPOUND, BACK_SHIFT = 1, 2, 2  # flags of a token: a line ended before it; it is a compound; tokens in it, above

WORD, PART, WHOLE = range(3)  # kinds of terms: words, what stands within words, compounds

_OTHER, _WORD, _HIGH, _JOINER, _LINE, _FIELD = range(6)
_DOT, _HYPHEN, _PLUS, _HASH = b".-+#"

PAIR_SIGN = "."  # between the parts of a compound; no word has it
_JOINERS = ".-/:@"


def _classes() -> NDArray[np.uint8]:
    kinds = np.full(256, _OTHER, np.uint8)
    for byte in range(256):
        char = chr(byte)
        if byte >= 0x80:
            kinds[byte] = _HIGH
        elif char.isalnum() or char == "_":
            kinds[byte] = _WORD
    for char in _JOINERS:
        kinds[ord(char)] = _JOINER
    kinds[ord("\n")] = _LINE
    kinds[FIELD_END] = _FIELD
    return kinds


CLASSES = _classes()
LOWER = np.frombuffer(bytes(range(256)).lower(), np.uint8)
LOWER_DOTTED = np.where(np.arange(256) == ord("I"), np.uint8(ord("I")), LOWER)  # where I is no capital of i

_FNV, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_S32 = np.uint64(32)


@compiled(nogil=True)
def count_tokens(data: NDArray[np.uint8], begin: int, end: int, classes: NDArray[np.uint8]) -> int:
    """Return an upper bound of the number of tokens and compounds in `data[begin:end]`."""
    n, inside = 0, False
    for at in range(begin, end):
        word = classes[data[at]] == _WORD or classes[data[at]] == _HIGH
        if word and not inside:
            n += 1
        inside = word
    return 4 * n + 4  # itself, a pair, a compound that ends with it, one with a sign


@compiled(nogil=True, inline="always")
def _avalanche(value: Any) -> Any:
    return (value ^ (value >> _S32)) * _MIX


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
    """Find the tokens of all texts, in order, and write them to the output arrays; a compound follows its last token.

    Args:
        data: uint8, UTF-8 bytes of all texts.
        offsets: int, n + 1; text i is `data[offsets[i]:offsets[i + 1]]`.
        last_field: highest number of a field; further separators are taken for white space.
        classes: kind of each byte.
        lower: each byte in lower case.
        hashes: out, 64-bit hash of the lower-cased token, of its case too where that divides it (camelCase).
        starts: out, first byte; sizes: out, bytes, of long runs of ASCII the first `LONGEST`.
        rows: out, text number. fields: out, from 0. flags: out, `GAP`, `COMPOUND`.

    Returns:
        How many tokens there are.
    """
    n = 0
    for row in range(len(offsets) - 1):
        field, gap = 0, False
        before_end, before_start, before_hash = -9, 0, np.uint64(0)
        chain_start, chain_hash, parts = 0, np.uint64(0), 0
        begin, end = offsets[row], offsets[row + 1]
        at = begin
        while at < end:
            kind = classes[data[at]]
            if kind != _WORD and kind != _HIGH:
                if kind == _LINE:
                    gap = True
                elif kind == _FIELD and field < last_field:
                    field, gap, before_end = field + 1, False, -9
                    begin = at + 1
                at += 1
                continue
            start, value, cased, pure, camel, small, capitals = at, _FNV, _FNV, True, False, False, 0
            while at < end:
                byte = data[at]
                kind = classes[byte]
                if kind == _HIGH:
                    pure = False
                elif kind != _WORD:
                    break
                if not pure or at - start < LONGEST:
                    value = (value ^ np.uint64(lower[byte])) * _PRIME
                    capital = byte >= 65 and byte <= 90
                    # As `identifier_parts` divides: readCsv, and where capitals end, HTMLParser.
                    camel = camel or (capital and small) or (capitals > 1 and byte >= 97 and byte <= 122)
                    small = not capital and kind == _WORD
                    capitals = capitals + 1 if capital else 0
                    cased = (cased ^ np.uint64(byte)) * _PRIME
                at += 1
            value = _avalanche(value)
            hashes[n], starts[n], rows[n], fields[n] = value, start, row, field
            if camel and pure:
                hashes[n] = _avalanche(cased * _PRIME)
            sizes[n] = min(at - start, LONGEST) if pure else at - start
            flags[n] = GAP if gap else 0
            n += 1
            joined = start == before_end + 1 and classes[data[before_end]] == _JOINER
            goes_on = at + 1 < end and classes[data[at]] == _JOINER
            goes_on = goes_on and (classes[data[at + 1]] == _WORD or classes[data[at + 1]] == _HIGH)
            if joined:
                sign = data[before_end]
                joint = np.uint64(sign if sign == _HYPHEN else _DOT)
                parts += 1
                chain_hash = (chain_hash * _PRIME) ^ (value + joint)
                # Of words with hyphens the whole is one, not its pairs.
                pair = sign != _HYPHEN or (parts == 2 and not (goes_on and data[at] == _HYPHEN))
                if pair and at - before_start <= LONGEST:
                    both = (before_hash * _PRIME) ^ (value + joint)
                    hashes[n], starts[n], rows[n], fields[n] = _avalanche(both + np.uint64(1)), before_start, row, field
                    sizes[n], flags[n] = at - before_start, COMPOUND | (2 << BACK_SHIFT)
                    n += 1
                # `np.linalg` is in `np.linalg.svd` as a whole, too: so is every beginning of a name.
                whole = parts > 2 and (not goes_on or data[at] != _HYPHEN)
                if whole and parts <= MOST_PARTS and at - chain_start <= LONGEST:
                    hashes[n], starts[n], rows[n], fields[n] = (
                        _avalanche(chain_hash + np.uint64(2)),
                        chain_start,
                        row,
                        field,
                    )
                    sizes[n], flags[n] = at - chain_start, COMPOUND | (parts << BACK_SHIFT)
                    n += 1
            else:
                chain_start, chain_hash, parts = start, value, 1
            ahead, tail = start, at
            if at + 1 < end and data[at] == _PLUS and data[at + 1] == _PLUS:
                tail = at + 2
            elif at < end and data[at] == _HASH:
                tail = at + 1
            if tail < end and (classes[data[tail]] == _WORD or classes[data[tail]] == _HIGH):
                tail = at
            if tail == at and start > begin and data[start - 1] == _DOT and not joined:
                ahead = start - 1
                if ahead > begin and (data[ahead - 1] == _DOT or classes[data[ahead - 1]] == _HIGH):
                    ahead = start
            if (ahead < start or tail > at) and tail - ahead <= LONGEST:
                signed = value + np.uint64(3 if ahead < start else 5 if tail > at + 1 else 7)
                hashes[n], starts[n], rows[n], fields[n] = _avalanche(signed * _PRIME), ahead, row, field
                sizes[n], flags[n] = tail - ahead, COMPOUND | (1 << BACK_SHIFT)
                n += 1
            before_start, before_end, before_hash, gap = start, at, value, False
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
        position: in the text, counted in words from 0; a line's end counts as one.
        stop: whether the word is a stop word.
        kind: `WORD`, `PART` or `WHOLE`.
    """

    text: str
    word: str
    position: int
    stop: bool
    kind: int = WORD

    @property
    def is_word(self) -> bool:
        """Tell whether it is a word of the text, neither a piece of one nor several."""
        return self.kind == WORD


class TokenTerms(NamedTuple):
    """The terms of a token: its words, what stands within them, or the whole of a compound."""

    words: tuple[str, ...]
    parts: tuple[str, ...] = ()
    whole: str = ""


@dataclass(frozen=True)
class Analyzer:
    """How a language's texts become terms: words as they are written, but for case.

    Attributes:
        language: ISO 639-1 code, for stop words and the rules of case.
    """

    language: str = ""

    @property
    def lower(self) -> NDArray[np.uint8]:
        """Each byte in lower case."""
        return LOWER_DOTTED if self.language in ("tr", "az") else LOWER

    def terms_of(self, token: bytes, compound: bool = False) -> TokenTerms:
        """Return the terms of one token, in order; none if there is no letter or digit in it.

        Args:
            token: UTF-8; other scripts' tokens may hold several words, e.g. around a dash.
            compound: whether it is several tokens with signs between them, or one with signs at an end.
        """
        if not token.strip(b"_"):
            return TokenTerms(())
        text = token.decode("utf-8", "replace")
        if compound:
            return TokenTerms((), (), whole_of(normalized(text, self.language)))
        if token.isascii() and len(token) <= LONGEST:
            return TokenTerms((normalized(text, self.language),), tuple(identifier_parts(text)))
        words = split_words(normalized(text, self.language))
        parts = sub_words(words)
        if "_" in text:
            parts += [part for word in words for part in identifier_parts(word)]
        return TokenTerms(tuple(map(_cut, words)), tuple(parts))

    def is_stop(self, word: str) -> bool:
        """Tell whether a word is a stop word."""
        return word in stop_words(self.language)

    def analyze(self, text: str) -> list[Term]:
        """Analyse a text to its terms; compounds have the position of their first word."""
        data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
        room = 4 * len(data) + 4
        hashes, starts = np.empty(room, np.uint64), np.empty(room, np.int64)
        sizes, rows = np.empty(room, np.int32), np.empty(room, np.int32)
        fields, flags = np.empty(room, np.uint8), np.empty(room, np.uint8)
        ends = np.array([0, len(data)], np.int64)
        n = tokenize(data, ends, 0, CLASSES, self.lower, hashes, starts, sizes, rows, fields, flags)
        raw = data.tobytes()
        found: list[Term] = []
        begins: list[int] = []
        position = within = 0
        for i in range(n):
            token = raw[starts[i] : starts[i] + sizes[i]]
            compound = bool(flags[i] & COMPOUND)
            terms = _cached_terms(self, token, compound)
            written = token.decode("utf-8", "replace").lower()
            if compound:
                if terms.whole:
                    found.append(Term(terms.whole, written, begins[-(int(flags[i]) >> BACK_SHIFT)], False, WHOLE))
                continue
            position += int(flags[i]) & GAP
            begins.append(position)
            for word in terms.words:
                found.append(Term(word, word, position, self.is_stop(word)))
                position += 1
            for part in terms.parts:
                found.append(Term(part, part, within, False, PART))
                within += 1
            within += 1 if terms.parts else 0
        return found


@functools.lru_cache(maxsize=1 << 16)
def _cached_terms(analyzer: Analyzer, token: bytes, compound: bool) -> TokenTerms:
    return analyzer.terms_of(token, compound)


def whole_of(text: str) -> str:
    """Return the term of a normalized compound: without hyphens, so that `e-mail` is `email`, its other signs alike."""
    if "-" in text and not any(char.isalnum() or char == "_" for char in text.partition("-")[0]):
        return ""
    out = "".join("" if char == "-" else PAIR_SIGN if char in _JOINERS else char for char in text)
    return out if any(char.isalnum() for char in out) else ""


def _cut(word: str) -> str:
    """Cut a word to the bytes that are indexed."""
    if len(word) <= LONGEST // 4:
        return word
    return word.encode()[:LONGEST].decode("utf-8", "ignore")

"""From texts to sets of word shingles, their MinHash signatures and the band keys that bring similar sets together.

Shape suffixes: N texts, S shingles of all texts, P MinHash values, B bands.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from lakerank.lake.schemas import PAGES, Column, Relation
from lakerank.spark.jit import compiled

PERMUTATIONS = 128
RECALL = 0.999  # of pairs exactly at the threshold; those above it are found more surely
_SEED = 20_260_101
_LOWEST = 0.1  # below, even bands of one row miss too much
_ASSIGNED = 0x40000  # planes 0 to 3: beyond them stand only tags, selectors and private characters
_ALONE = np.uint32(1 << 31)  # flag of a character that is a word by itself
# Scripts written without spaces: each character counts as a word, or a paragraph would be one.
_UNSPACED = (
    (0x0E00, 0x0F00),  # Thai, Lao
    (0x1000, 0x10A0),  # Burmese
    (0x1780, 0x1800),  # Khmer
    (0x3040, 0x3100),  # kana
    (0x3400, 0x4DC0),  # ideographs
    (0x4E00, 0xA000),
    (0xF900, 0xFB00),
    (0x20000, 0x40000),
)
_ONE = np.uint64(1)
_HALF = np.uint64(32)
_SHIFT = np.uint64(33)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)  # MurmurHash3's 64-bit finaliser
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd; 2^64 / golden ratio
_OTHER = np.uint64(0xD6E8FEB86659FD93)
_TEXT_BYTES = 64 << 20  # encoded at once: at most four times as many bytes of shingles, well below Arrow's 2 GiB
ENCODED = Relation(
    "shingle_sets",
    "Texts with words, encoded.",
    (
        *(column for column in PAGES.columns if column.name in ("page_id", "url")),
        Column("low", "bigint", "lower half of the hash of its set"),
        Column("high", "bigint", "upper half"),
        Column("shingles", "binary", "the set, ascending, little-endian uint64"),
        Column("bands", "array<bigint>", "a key for each band"),
    ),
    ("page_id",),
    "ingest_pages",
    "pages",
)


@dataclass(frozen=True)
class Banding:
    """Bands of MinHash values: `bands` times `rows`; two sets are compared if they agree on all rows of some band."""

    bands: int
    rows: int

    @staticmethod
    def for_threshold(threshold: float) -> Banding:
        """Choose the longest bands (so the fewest pairs to compare) that still find `RECALL` of pairs at the threshold.

        Args:
            threshold: Jaccard similarity, 0.1 to 1.

        Raises:
            UserError: the threshold is outside that range.
        """
        if not _LOWEST <= threshold <= 1:
            raise UserError(f"near-duplicates: the threshold is {threshold}; it must be {_LOWEST} to 1")
        for rows in range(PERMUTATIONS, 0, -1):
            banding = Banding(PERMUTATIONS // rows, rows)
            if banding.recall(threshold) >= RECALL:
                return banding
        raise AssertionError("128 bands of one row find 0.999999 of pairs at 0.1")

    def recall(self, similarity: float) -> float:
        """Return the probability that two sets of this Jaccard similarity are compared: 1 − (1 − sʳ)ᵇ.

        Source: Leskovec, Rajaraman, Ullman, *Mining of Massive Datasets*, section 3.4.2.
        """
        return float(1 - (1 - similarity**self.rows) ** self.bands)

    def permutations(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Return factors (odd) and summands of x ↦ a·x + b modulo 2³², uint32[bands · rows] each; always the same."""
        size = self.bands * self.rows
        numbers = np.random.default_rng(_SEED).integers(0, 1 << 32, (2, PERMUTATIONS), dtype=np.uint32)[:, :size]
        return numbers[0] | np.uint32(1), numbers[1].copy()


@cache
def character_table() -> NDArray[np.uint32]:
    """Return the lower case of each code point below 0x40000, or 0 where it separates words.

    The highest bit is set where a character is a word by itself.

    Letters, marks and numbers make words (Unicode categories L, M, N). A letter whose lower case is several
    characters stands for itself.
    """
    table = np.zeros(_ASSIGNED, np.uint32)
    for code in range(_ASSIGNED):
        character = chr(code)
        if unicodedata.category(character)[0] in "LMN":
            lower = character.lower()
            table[code] = ord(lower) if len(lower) == 1 else code
    for first, end in _UNSPACED:
        part = table[first:end]
        part[part > 0] |= _ALONE
    return table


@compiled(nogil=True)
def mix(x: Any) -> Any:
    """Spread every bit of a uint64 over all others; one to one."""
    x ^= x >> _SHIFT
    x *= _MIX_1
    x ^= x >> _SHIFT
    x *= _MIX_2
    return x ^ (x >> _SHIFT)


@compiled(nogil=True)
def _hash_words(data: Any, at: int, end: int, characters: Any, out: Any, n: int) -> int:
    """Write the hash of each word in data[at:end] to out[n:]; returns the end of what was written."""
    word = np.uint64(0)
    while at < end:
        code = np.uint32(data[at])
        at += 1
        if code >= 0x80:  # UTF-8: the number of leading ones is the number of bytes
            more = 3 if code >= 0xF0 else 2 if code >= 0xE0 else 1
            code = np.uint32(code & (0x3F >> more))
            while more > 0 and at < end:
                code = np.uint32((code << 6) | (data[at] & 0x3F))
                at += 1
                more -= 1
        letter = characters[code] if code < len(characters) else np.uint32(0)
        if letter >= _ALONE or letter == 0:
            if word != 0:
                out[n] = mix(word)
                n += 1
                word = np.uint64(0)
            if letter != 0:
                out[n] = mix(np.uint64(letter))
                n += 1
        else:
            word = (word + np.uint64(letter)) * _FACTOR
    if word != 0:
        out[n] = mix(word)
        n += 1
    return n


@compiled(nogil=True)
def shingle_sets(data: Any, offsets_N1: Any, characters: Any, width: int) -> Any:
    """Compute the set of hashes of all runs of `width` words of each text, ascending.

    A text with fewer words has one shingle, all of it; a text without words has none.

    Args:
        data: uint8, UTF-8 of all texts; wrong bytes are taken for some other character.
        offsets_N1: int64, where each text begins, and the end of the last.
        characters: uint32, see `character_table`.
        width: words in a shingle, at least 1.

    Returns:
        `ptr_N1` int64 and `sets_S` uint64: the set of text i is sets_S[ptr_N1[i] : ptr_N1[i + 1]].
    """
    texts = len(offsets_N1) - 1
    ptr_N1 = np.zeros(texts + 1, np.int64)
    # A word takes at least a byte and a separator.
    out = np.empty((offsets_N1[texts] - offsets_N1[0] + texts) // 2 + texts, np.uint64)
    at = 0
    for text in range(texts):
        words = _hash_words(data, offsets_N1[text], offsets_N1[text + 1], characters, out, at) - at
        if words > 0:
            shingles = max(words - width + 1, 1)
            for first in range(at, at + shingles):
                folded = np.uint64(0)
                for word in range(first, first + min(width, words)):
                    folded = (folded + out[word]) * _FACTOR
                out[first] = mix(folded)
            out[at : at + shingles].sort()
            last = at
            for i in range(at + 1, at + shingles):
                if out[i] != out[last]:
                    last += 1
                    out[last] = out[i]
            at = last + 1
        ptr_N1[text + 1] = at
    return ptr_N1, out[:at].copy()


@compiled(nogil=True)
def set_hashes(ptr_N1: Any, sets_S: Any) -> Any:
    """Compute two 64-bit hashes of each set; together they stand for it (n texts: n² / 2¹²⁹ risk of one mistake)."""
    texts = len(ptr_N1) - 1
    low_N, high_N = np.empty(texts, np.uint64), np.empty(texts, np.uint64)
    for text in range(texts):
        low, high = np.uint64(0), np.uint64(0)
        for i in range(ptr_N1[text], ptr_N1[text + 1]):
            low = (low + sets_S[i]) * _FACTOR
            high = mix(high ^ (sets_S[i] * _OTHER))
        low_N[text], high_N[text] = mix(low), high
    return low_N, high_N


@compiled(nogil=True)
def signatures(ptr_N1: Any, sets_S: Any, factor_P: Any, summand_P: Any) -> Any:
    """Compute the MinHash of each set, uint32 (N, P); all ones for empty sets.

    It is the least of a·x + b modulo 2³² over the set; x is the upper half of a shingle's hash. Two sets share a
    value with probability about their Jaccard similarity (Broder 1997).
    """
    texts, size = len(ptr_N1) - 1, len(factor_P)
    least_NP = np.full((texts, size), np.uint32(0xFFFFFFFF))
    for text in range(texts):
        least_P = least_NP[text]
        for i in range(ptr_N1[text], ptr_N1[text + 1]):
            x = np.uint32(sets_S[i] >> _HALF)
            for k in range(size):  # one vector loop: 32-bit multiply, add, minimum
                value = np.uint32(np.uint32(factor_P[k] * x) + summand_P[k])
                least_P[k] = min(least_P[k], value)
    return least_NP


@compiled(nogil=True)
def band_keys(least_NP: Any, bands: int, rows: int) -> Any:
    """Compute a uint64 for each text and band (N, B), equal if the band and all its MinHash values are."""
    keys_NB = np.empty((len(least_NP), bands), np.uint64)
    for text in range(len(least_NP)):
        for band in range(bands):
            key = mix(np.uint64(band) + _ONE)
            for k in range(band * rows, (band + 1) * rows):
                key = mix(key ^ np.uint64(least_NP[text, k]))
            keys_NB[text, band] = key
    return keys_NB


@dataclass(frozen=True)
class ShingleSets:
    """Shingle sets of N texts.

    Attributes:
        ptr: int64[N+1]; set i is sets[ptr[i] : ptr[i+1]].
        sets: uint64[S], ascending and distinct within each set.
        keys: uint64[N, B], band keys.
    """

    ptr: NDArray[np.int64]
    sets: NDArray[np.uint64]
    keys: NDArray[np.uint64]


def shingle(texts: pa.Array, banding: Banding, width: int) -> ShingleSets:
    """Compute shingle sets and band keys of an Arrow array of strings (null: a text without words)."""
    large = texts.cast(pa.large_string())
    _, offsets, data = large.buffers()
    if not len(large) or data is None:
        ptr, sets = np.zeros(len(large) + 1, np.int64), np.empty(0, np.uint64)
    else:
        at = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1]
        ptr, sets = shingle_sets(np.frombuffer(data, np.uint8), at, character_table(), width)
    keys = band_keys(signatures(ptr, sets, *banding.permutations()), banding.bands, banding.rows)
    return ShingleSets(ptr, sets, keys)


def encode(batches: Iterator[pa.RecordBatch], *, banding: Banding, width: int) -> Iterator[pa.RecordBatch]:
    """Encode rows of (page_id, url, text) to rows of `ENCODED`; pages without words are left out."""
    for whole in batches:
        for batch in _slices(whole):
            found = shingle(batch.column("text"), banding, width)
            low, high = set_hashes(found.ptr, found.sets)
            if found.ptr[-1] > np.iinfo(np.int32).max // 8:
                raise ValueError(f"page {batch.column('page_id')[0]}: its text is too long")
            offsets = pa.py_buffer((found.ptr * 8).astype(np.int32))
            rows = len(low)
            ends = np.arange(rows + 1, dtype=np.int32) * banding.bands
            columns = [
                batch.column("page_id"),
                batch.column("url").cast(pa.string()),
                pa.array(low.view(np.int64)),
                pa.array(high.view(np.int64)),
                pa.Array.from_buffers(pa.binary(), rows, [None, offsets, pa.py_buffer(found.sets)]),
                pa.ListArray.from_arrays(pa.array(ends), pa.array(found.keys.view(np.int64).ravel())),
            ]
            encoded = pa.record_batch(columns, schema=ENCODED.arrow_schema())
            yield encoded.filter(pa.array(np.diff(found.ptr) > 0))


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slice a batch at `_TEXT_BYTES` (a single longer text stays whole)."""
    sizes = pc.binary_length(batch.column("text")).fill_null(0).to_numpy(zero_copy_only=False)
    total = np.cumsum(sizes, dtype=np.int64)
    first = 0
    while first < batch.num_rows:
        before = total[first - 1] if first else 0
        end = max(first + 1, int(np.searchsorted(total, before + _TEXT_BYTES, side="right")))
        yield batch.slice(first, end - first)
        first = end


def shingles_of(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return `ptr` and `sets` of a column of `shingles`."""
    large: Any = column.cast(pa.large_binary())
    _, offsets, data = large.buffers()
    if not len(large) or data is None:
        return np.zeros(len(large) + 1, np.int64), np.empty(0, np.uint64)
    at = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1]
    return (at - at[0]) // 8, np.frombuffer(data, np.uint64, int(at[-1] - at[0]) // 8, int(at[0]))

"""From UTF-8 bytes to sets of shingles and their band keys, compiled.

Shape suffixes: N texts, S shingles of all texts, P MinHash values, B bands.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lakerank.spark.jit import compiled

_ONE = np.uint64(1)
_HALF = np.uint64(32)
_SHIFT = np.uint64(33)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)  # MurmurHash3's 64-bit finaliser
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_FOLD = np.uint64(0x9E3779B97F4A7C15)  # odd; 2^64 / golden ratio
_OTHER = np.uint64(0xD6E8FEB86659FD93)
_ALONE = np.uint32(1 << 31)


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
            word = (word + np.uint64(letter)) * _FOLD
    if word != 0:
        out[n] = mix(word)
        n += 1
    return n


@compiled(nogil=True)
def shingle_sets(data: Any, offsets_N1: Any, characters: Any, width: int) -> Any:
    """The set of hashes of all runs of `width` words of each text, ascending.

    A text with fewer words has one shingle, all of it; a text without words has none.

    Args:
        data: uint8, UTF-8 of all texts; wrong bytes are taken for some other character.
        offsets_N1: int64, where each text begins, and the end of the last.
        characters: uint32, see `words.characters`.
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
                    folded = (folded + out[word]) * _FOLD
                out[first] = mix(folded)
            out[at : at + shingles].sort()
            last = at
            for place in range(at + 1, at + shingles):
                if out[place] != out[last]:
                    last += 1
                    out[last] = out[place]
            at = last + 1
        ptr_N1[text + 1] = at
    return ptr_N1, out[:at].copy()


@compiled(nogil=True)
def set_hashes(ptr_N1: Any, sets_S: Any) -> Any:
    """Two 64-bit hashes of each set: together they stand for the set (n texts: n² / 2¹²⁹ risk of one mistake)."""
    texts = len(ptr_N1) - 1
    low_N, high_N = np.empty(texts, np.uint64), np.empty(texts, np.uint64)
    for text in range(texts):
        low, high = np.uint64(0), np.uint64(0)
        for place in range(ptr_N1[text], ptr_N1[text + 1]):
            low = (low + sets_S[place]) * _FOLD
            high = mix(high ^ (sets_S[place] * _OTHER))
        low_N[text], high_N[text] = mix(low), high
    return low_N, high_N


@compiled(nogil=True)
def signatures(ptr_N1: Any, sets_S: Any, factor_P: Any, summand_P: Any) -> Any:
    """MinHash of each set: uint32 (N, P), the least of a·x + b modulo 2³² over the set; all ones for empty sets.

    x is the upper half of a shingle's hash. Two sets share a value with probability about their Jaccard similarity
    (Broder 1997).
    """
    texts, size = len(ptr_N1) - 1, len(factor_P)
    least_NP = np.full((texts, size), np.uint32(0xFFFFFFFF))
    for text in range(texts):
        least_P = least_NP[text]
        for place in range(ptr_N1[text], ptr_N1[text + 1]):
            x = np.uint32(sets_S[place] >> _HALF)
            for k in range(size):  # one vector loop: 32-bit multiply, add, minimum
                value = np.uint32(np.uint32(factor_P[k] * x) + summand_P[k])
                least_P[k] = min(least_P[k], value)
    return least_NP


@compiled(nogil=True)
def band_keys(least_NP: Any, bands: int, rows: int) -> Any:
    """One uint64 for each text and band (N, B), equal if the band and all its MinHash values are."""
    keys_NB = np.empty((len(least_NP), bands), np.uint64)
    for text in range(len(least_NP)):
        for band in range(bands):
            key = mix(np.uint64(band) + _ONE)
            for k in range(band * rows, (band + 1) * rows):
                key = mix(key ^ np.uint64(least_NP[text, k]))
            keys_NB[text, band] = key
    return keys_NB

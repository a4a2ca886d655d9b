"""What a word is: one table for all characters, which also makes letters small."""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

_ASSIGNED = 0x40000  # planes 0 to 3: beyond them stand only tags, selectors and private characters
ALONE = 1 << 31
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


@cache
def characters() -> NDArray[np.uint32]:
    """For each code point below 0x40000: 0 if it separates words, else its lower case (`ALONE` set: a whole word).

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
        part[part > 0] |= np.uint32(ALONE)
    return table

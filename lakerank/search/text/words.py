"""Words by the standard: normal form, case folding, UAX #29 boundaries, dictionaries for scripts without spaces.

ICU finds the boundaries; runs of simple letters, in which none can be, do not ask it. The weaker form of a word that
its inflections and spellings share (`word_classes`) is its stem without accents.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from icu4py.breakers import WordBreaker

from lakerank.search.text.languages import stemmer

LONGEST_WORD = 256  # bytes; what is longer is indexed, and looked for, by so many of its bytes
_DOTTED = ("tr", "az")  # in which i and ı are two letters
# Not part of how a word is spelt: soft hyphen, joiners between words that are not split there, marks of direction.
_IGNORED = dict.fromkeys(
    [0x00AD, 0x034F, 0x0640, 0x180E, 0x2060, *range(0x200E, 0x2010), *range(0x202A, 0x202F), 0xFEFF]
)
_JOINERS = dict.fromkeys([0x200C, 0x200D])
# Letters that no decomposition takes apart.
_PLAIN = str.maketrans({
    "ı": "i", "ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t", "ŋ": "n",
    "ə": "e", "ى": "ي", "ة": "ه", "ک": "ك", "ی": "ي", "ٱ": "ا",
})  # fmt: skip
# Marks that are accents or vowel points; those of Indic scripts are vowels, without which words are others.
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"
    "\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f\u200c\u200d]"
)
_UNSPACED_SIGNS = (
    "\u1100-\u11ff\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3040-\u30ff\u3105-\u318e\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U000323af"
)
_BY_DICTIONARY_SIGNS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaa7f"
# One sign of these scripts with the marks that belong to it; East Asian ones are the first group.
_SIGN = re.compile(f"([{_UNSPACED_SIGNS}])|([{_BY_DICTIONARY_SIGNS}])")
UNSPACED = re.compile(f"[{_UNSPACED_SIGNS}{_BY_DICTIONARY_SIGNS}]")
_HAN = re.compile("[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def normalized(text: str, language: str = "") -> str:
    """Fold compatibility forms (NFKC) and case, by the language's rules; take out what is not spelt."""
    if language in _DOTTED:
        text = text.replace("I", "ı").replace("İ", "i")
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_IGNORED)
    return unicodedata.normalize("NFKC", folded)


def split_words(text: str) -> list[str]:
    """Split a normalized text into its words, in order: UAX #29 and dictionaries; a word with a sign within is two."""
    if text.isalnum() and text[-1] < "\u0e00" and max(text) < "\u0e00":  # letters and digits that never part
        return [text]
    words: list[str] = []
    for piece in WordBreaker(text, "root"):
        if piece.isalnum():
            words.append(piece)
        elif any(char.isalnum() for char in piece):
            words += "".join(char if spells(char) else " " for char in piece).split()
    return words


def spells(char: str) -> bool:
    """Tell whether a sign is part of a word, and not what stands between two."""
    return char == "_" or ord(char) in _JOINERS or unicodedata.category(char)[0] in "LMN"


def sub_words(words: list[str]) -> list[str]:
    """Return what may be looked for within runs of words that no space parts: overlapping pairs of signs, single Han.

    Dictionaries divide the same text in several ways; its pairs are always the same. Scripts whose signs are letters
    have triples.
    """
    out: list[str] = []
    run: list[str] = []
    kind = 0
    for word in [*words, ""]:
        signs, own = _signs(word)
        if kind and own != kind:
            size = 2 if kind == 1 else 3
            out += ["".join(run[i : i + size]) for i in range(len(run) - size + 1)]
            if kind == 1 and len(run) > 1:
                out += [sign for sign in run if _HAN.match(sign)]
            run = []
        kind = own
        run += signs if own else []
    return out


def _signs(word: str) -> tuple[list[str], int]:
    """Return a word's signs, each with its marks, and which kind of script it is in; 0 if it is none of those."""
    signs: list[str] = []
    kind = 0
    for char in word:
        found = _SIGN.match(char)
        mark = unicodedata.category(char)[0] == "M"
        if signs and mark:
            signs[-1] += char
        elif found:
            kind = 1 if found[1] else 2
            signs.append(char)
        elif kind:
            signs.append(char)
        else:
            return [], 0
    return signs, kind


def identifier_parts(word: str) -> list[str]:
    """Return the parts of an identifier as written, lower case: getElementById, read_csv; none if it has just one."""
    parts = [part for piece in word.split("_") if piece for part in _CAMEL.split(piece)]
    return [part.lower() for part in parts] if len(parts) > 1 else []


def has_class(word: str) -> bool:
    """Tell whether a word may have inflections or accents: letters, of a script that spaces divide into words."""
    if word.isascii():
        return word.isalpha()
    spelt = (char.isalpha() or unicodedata.category(char)[0] == "M" or ord(char) in _JOINERS for char in word)
    return not UNSPACED.search(word) and all(spelt)


def unaccented(word: str) -> str:
    """Return a normalized word without accents and vowel points."""
    if word.isascii():
        return word
    apart = unicodedata.normalize("NFKD", word.translate(_PLAIN))
    bare = unicodedata.normalize("NFC", _ACCENTS.sub("", apart)).translate(_PLAIN)
    return bare or word


def word_classes(words: list[str], language: str) -> list[str]:
    """Return for each word what its inflections and spellings share in a language: the stem without accents."""
    stem = stemmer(language)
    return [unaccented(word) for word in (stem.stemWords(words) if stem else words)]


@cache
def class_language(language: str) -> str:
    """Return the language whose classes pages in `language` have: those without a stemmer share that of accents."""
    return language if stemmer(language) else ""

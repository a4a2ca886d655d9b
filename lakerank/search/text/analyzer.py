"""Tokens to terms: lower case, stems, stop words; the same for pages and for queries."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from lakerank.search.text.languages import stemmer, stop_words
from lakerank.search.text.tokens import CLASSES, LOWER, PAIR, tokenize

PAIR_SIGN = "."  # between the halves of a pair; no other term has it
_WORDS = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0eff]+")
_JOINER = re.compile(r"[.\-/:]")


@dataclass(frozen=True)
class Term:
    """One term of an analysed text.

    Attributes:
        text: the term as indexed.
        word: the token it came from, lower case.
        position: place in the text, from 0; a line's end takes one place.
        stop: whether the token is a stop word.
    """

    text: str
    word: str
    position: int
    stop: bool

    @property
    def is_pair(self) -> bool:
        """Whether it stands for two tokens joined by a sign."""
        return PAIR_SIGN in self.text


@dataclass(frozen=True)
class Analyzer:
    """How a language's texts become terms.

    Attributes:
        language: ISO 639-1 code; one without a stemmer keeps its words as they are.
    """

    language: str = "en"

    def terms_of(self, token: bytes, pair: bool = False) -> tuple[str, ...]:
        """The terms of one token, in order; none if there is no letter or digit in it.

        Args:
            token: UTF-8; other scripts' tokens may hold several words, e.g. around a dash.
            pair: whether it is two tokens with a sign between them.
        """
        if not token.strip(b"_"):
            return ()
        if pair:
            return (_JOINER.sub(PAIR_SIGN, token.decode("ascii").lower()),)
        stem = stemmer(self.language)
        terms = (token.decode("ascii").lower(),) if token.isascii() else words_of(token.decode("utf-8", "replace"))
        return tuple(stem.stemWords(list(terms))) if stem else terms

    def is_stop(self, token: bytes) -> bool:
        """Whether a token is a stop word."""
        return token.decode("utf-8", "replace").lower() in stop_words(self.language)

    def analyze(self, text: str) -> list[Term]:
        """The terms of a text; pairs have the position of their first half."""
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
    """Words of a text of any script, folded; scripts without spaces are cut into overlapping pairs of signs."""
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

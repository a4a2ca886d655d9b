"""Did you mean: for words that no page has, the most likely word that pages do have."""

from __future__ import annotations

import re
import threading

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import OSA

from lakerank.search.query.index import Index
from lakerank.search.text.analyzer import PAIR_SIGN, Analyzer

_SHORTEST = 4  # letters; shorter words have too many neighbours


class Speller:
    """Suggests words of an index; its lists are made when they are first needed."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._lock = threading.Lock()
        self._lists: dict[int, tuple[list[str], list[int]]] | None = None

    def word(self, wrong: str) -> str | None:
        """The nearest word of the index, or None.

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
        """The query with its unknown words replaced, or None if none of them has a neighbour."""
        corrected = text
        for wrong in dict.fromkeys(unknown):
            right = self.word(wrong)
            if right:
                corrected = re.sub(rf"\b{re.escape(wrong)}\b", right, corrected, flags=re.IGNORECASE)
        return corrected if corrected != text else None

    def _written(self, number: int, wrong: str, stem: str) -> str:
        """A term as it is mostly written, or with the ending of the misspelt word if that is nearer to it."""
        term, usual = self.index.string("term", number), self.index.string("word", number)
        candidate = term + wrong[len(stem) :] if wrong.startswith(stem) else usual
        nearer = OSA.distance(wrong, candidate) < OSA.distance(wrong, usual)
        same_stem = Analyzer(self.index.language).terms_of(candidate.encode()) == (term,)
        return candidate if nearer and same_stem else usual

    def _by_size(self) -> dict[int, tuple[list[str], list[int]]]:
        """Stems and words by length, with their terms' numbers."""
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

"""Suggestions while a query is typed: titles that have a word beginning like it, and its last word's completions."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakerank.search.query.index import Index
from lakerank.search.text.words import normalized

MOST_TITLES = 50_000  # distinct ones, of the pages that links lead to most; each word of them takes some 100 bytes
_MOST_WORDS = 12  # of a title, from which it is found
_LONGEST = 100  # characters of a title; longer ones make no query


@dataclass(frozen=True)
class _Titles:
    """Titles from each of their words on, lower case, sorted; which title each is; titles by how much links count."""

    keys: list[str]
    titles: NDArray[np.int32]
    written: list[str]


class Suggester:
    """Completes what is typed from the index itself, never from what others asked; safe to use from several threads."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._lock = threading.Lock()
        self._titles: _Titles | None = None

    def suggest(self, text: str, most: int = 8) -> list[str]:
        """Return queries that begin like a text, or have a title's word that does: titles first, then words.

        Titles of pages that links lead to most come first, of words those on most pages.

        Args:
            text: as typed so far.
            most: how many, ≥ 1.
        """
        typed = " ".join(text.lower().split())
        if not typed or typed.endswith('"'):
            return []
        found = self._by_title(typed, most)
        words = [] if text[-1].isspace() else self._by_word(text, most)
        room = max(most - len(found), most // 2)  # half is for words, if there are so many
        chosen = dict.fromkeys([*found[: most - min(len(words), room)], *words])
        chosen.update(dict.fromkeys(found))
        return [one for one in chosen if one.lower() != typed][:most]

    def warm_up(self) -> None:
        """Make the list of titles before somebody waits for it."""
        self._listed()

    def _by_title(self, typed: str, most: int) -> list[str]:
        listed = self._listed()
        begin = bisect_left(listed.keys, typed)
        end = bisect_left(listed.keys, typed + "\U0010ffff", begin)
        best = np.unique(listed.titles[begin:end]).tolist()  # titles are numbered by how much links count
        best.sort(key=lambda at: not listed.written[at].lower().startswith(typed))
        return [listed.written[at] for at in best[:most]]

    def _by_word(self, text: str, most: int) -> list[str]:
        """Complete the last word by those of the index that begin like it, most frequent first."""
        head, _, last = text.rpartition(" ")
        sign = last[: len(last) - len(last.lstrip('+-"'))]
        key, colon, word = last[len(sign) :].rpartition(":")
        word = normalized(word)
        if not word or key.lower() not in ("", "title"):
            return []
        low, high = (self.index.first_from("term", key.encode()) for key in (word, word + "\U0010ffff"))
        if low == high:
            return []
        ends = self.index.block["ends"]
        counts = np.diff(ends[low:high], prepend=ends[low - 1] if low else 0)
        before = f"{head} " if head else ""
        out = []
        k = 4 * most
        near = np.flatnonzero(counts >= np.partition(counts, -k)[-k]) if len(counts) > k else np.arange(len(counts))
        for at in near[np.argsort(-counts[near], kind="stable")][:k].tolist():
            term = self.index.string("term", low + at)
            if counts[at] and term != word and all(char.isalnum() or char in "_-'’" for char in term):
                out.append(f"{before}{sign}{key}{colon}{term}")
        return out[:most]

    def _listed(self) -> _Titles:
        with self._lock:
            if self._titles is None:
                self._titles = _list_titles(self.index)
            return self._titles


def _list_titles(index: Index) -> _Titles:
    """List the titles of the pages with the highest priors; of those written alike the first."""
    written: dict[str, str] = {}
    for page in np.argsort(-index.block["prior"], kind="stable"):
        title = " ".join(index.string("title", int(page)).split())
        if 0 < len(title) <= _LONGEST:
            written.setdefault(title.lower(), title)
            if len(written) >= MOST_TITLES:
                break
    entries: list[tuple[str, int]] = []
    for number, title in enumerate(written):
        words = title.split(" ")
        at = 0
        for word in words[:_MOST_WORDS]:
            entries.append((title[at:], number))
            at += len(word) + 1
    entries.sort()
    keys, titles = [key for key, _ in entries], np.array([number for _, number in entries], np.int32)
    return _Titles(keys, titles, list(written.values()))

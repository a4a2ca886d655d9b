"""Why a page has its score: every part of it, adding up to the whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lakerank.search.index.fields import FIELDS
from lakerank.search.query.compiled_query import CompiledQuery
from lakerank.search.query.index import Index


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
        lengths: words by field.
        score: the sum.
    """

    terms: tuple[TermShare, ...]
    phrases: tuple[tuple[str, float], ...]
    prior: float
    pagerank: float
    lengths: dict[str, int]
    score: float

    def lines(self) -> list[str]:
        """As text, a line for each part."""
        lines = [f"{self.score:9.4f}  score"]
        for one in self.terms:
            where = ", ".join(f"{n}× {field}" for field, n in one.frequencies.items() if n)
            times = "" if one.weight == 1 else f"{one.weight:.3f} · "
            lines.append(f"{one.share:9.4f}  {one.term}: {times}idf {one.idf:.3f} (on {one.pages:,} pages); {where}")
        lines += [f"{share:9.4f}  phrase “{text}”" for text, share in self.phrases]
        lengths = ", ".join(f"{field} {n}" for field, n in self.lengths.items())
        lines.append(f"{self.prior:9.4f}  links: PageRank {self.pagerank:.3g}")
        return [*lines, f"           words: {lengths}"]


def explain(index: Index, query: CompiledQuery, page: int, prior: float) -> Explanation:
    """Take a page's score apart.

    Args:
        index: that was searched.
        query: as it was scored (`Found.query`).
        page: number in the index.
        prior: weight × prior of the page.
    """
    block, shares = index.block, []
    for number, weight in query.terms.items():
        at = index.postings(number)
        place = at.start + int(np.searchsorted(block["docs"][at], page))
        if place >= at.stop or block["docs"][place] != page:
            continue
        frequencies = dict(zip(FIELDS, block["tfs"][place].tolist(), strict=True))
        value = weight * float(block["values"][place])
        term = index.string("term", number)
        shares.append(
            TermShare(term, weight, float(block["idfs"][number]), index.frequency(number), frequencies, value)
        )
    phrases = []
    for text, pages, values in query.phrases:
        place = int(np.searchsorted(pages, page))
        if place < len(pages) and pages[place] == page:
            phrases.append((text, float(values[place])))
    score = sum(one.share for one in shares) + sum(value for _, value in phrases) + prior
    lengths = dict(zip(FIELDS, block["lengths"][page].tolist(), strict=True))
    shares.sort(key=lambda one: (-one.share, one.term))
    rank = float(block["pageranks"][page])
    return Explanation(tuple(shares), tuple(phrases), prior, rank, lengths, score)

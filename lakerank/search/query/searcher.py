"""Answers queries from an open index: no Spark, no disk but what is mapped."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakerank.search.query.compiled_query import CompiledQuery, Compiler
from lakerank.search.query.index import Index
from lakerank.search.query.lookup_kernels import gather
from lakerank.search.query.query import Query, parse
from lakerank.search.query.ranking import Ranking, expanded
from lakerank.search.query.score_kernels import score_all, score_best

_FEW_TERMS = 10  # longer queries are scored list after list: nearly every page has one of their terms


@dataclass(frozen=True)
class Found:
    """The best pages of a query.

    Attributes:
        pages: int32, numbers in the index, best first.
        scores: float64.
        query: what was looked for, expansion included.
        matches: how many pages have something of the query, or -1 if nobody counted.
        expanded: whether feedback was used.
    """

    pages: NDArray[np.int32]
    scores: NDArray[np.float64]
    query: CompiledQuery
    matches: int
    expanded: bool


class Searcher:
    """Scores pages; safe to use from several threads."""

    def __init__(self, index: Index, ranking: Ranking | None = None) -> None:
        self.index = index
        self.ranking = ranking or Ranking()
        self.prior: NDArray[np.float32] = index.block["prior"]
        self._compiler = Compiler(index)
        self._local = threading.local()

    def find(
        self,
        query: Query | str,
        top: int = 10,
        rank_weight: float | None = None,
        feedback: str = "auto",
        exhaustive: bool = False,
        terms: Mapping[str, float] | None = None,
    ) -> Found:
        """The best pages.

        Args:
            query: parsed or not.
            top: how many, ≥ 1.
            rank_weight: of the link prior; None: the ranking's own.
            feedback: on, off, or auto: for plain queries of many words.
            exhaustive: score every page (the results are the same; for tests and counts).
            terms: score these terms by their weights instead of the query's own.
        """
        parsed = parse(query) if isinstance(query, str) else query
        compiled = self._compiler.compile(parsed)
        if terms is not None:
            numbers = {self.index.term_number(term): weight for term, weight in terms.items()}
            compiled.terms = {number: weight for number, weight in numbers.items() if number >= 0}
        weight = self.ranking.rank_weight if rank_weight is None else rank_weight
        auto = parsed.plain and compiled.units >= self.ranking.feedback.units
        expand = feedback == "on" or (feedback == "auto" and auto)
        if expand and compiled.terms:
            first = self._score(compiled, self.ranking.feedback.pages, 0.0, exhaustive)
            self._expand(compiled, first[0], first[1])
        pages, scores, matches = self._score(compiled, top, weight, exhaustive)
        return Found(pages, scores, compiled, matches, expand)

    def _score(
        self, query: CompiledQuery, top: int, rank_weight: float, exhaustive: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], int]:
        block = self.index.block
        terms, weights = query.arrays()
        top = min(top, max(1, len(self.index)))
        scores, found = np.empty(top, np.float64), np.empty(top, np.int32)
        simple = not len(query.allowed) and not len(query.extra)
        if simple and not exhaustive and len(terms) <= _FEW_TERMS:
            size, matches = (
                score_best(
                    terms, weights, block["ends"], block["docs"], block["values"], block["block_firsts"],
                    block["maxima"], self.prior, rank_weight, self._highest(rank_weight), block["tie"], scores, found,
                ),
                -1,
            )  # fmt: skip
        else:
            size, matches = score_all(
                terms, weights, block["ends"], block["docs"], block["values"], self.prior, rank_weight,
                query.allowed, query.extra, block["tie"], self._sums(), scores, found,
            )  # fmt: skip
        return found[:size], scores[:size], matches

    def _highest(self, rank_weight: float) -> float:
        return rank_weight * float(self.prior.max(initial=0.0))

    def _sums(self) -> NDArray[np.float64]:
        """Zeros for the pages, one array for each thread."""
        if not hasattr(self._local, "sums"):
            self._local.sums = np.zeros(len(self.index), np.float64)
        sums: NDArray[np.float64] = self._local.sums
        return sums

    def _expand(self, query: CompiledQuery, pages: NDArray[np.int32], scores: NDArray[np.float64]) -> None:
        """Add the heaviest terms of the first results."""
        if not len(pages):
            return
        block = self.index.block
        terms, values = gather(
            pages, scores / scores.sum(), block["page_begins"], block["page_terms"], block["page_values"]
        )
        order = np.lexsort((terms, -values))[: self.ranking.feedback.terms]
        heaviest = [(int(terms[at]), float(values[at])) for at in order]
        query.terms = expanded(query.terms, heaviest, self.ranking.feedback.weight)

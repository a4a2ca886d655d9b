"""From a parsed query to the best pages of an open index: compile it, expand it by feedback, score pages."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lakerank.search.index.fields import FIELDS, TITLE
from lakerank.search.query.index import Index
from lakerank.search.query.kernels import phrase_frequencies, score_all, score_best, sum_impacts
from lakerank.search.query.parse import Clause, Occur, Part, Query, analyze_query, parse
from lakerank.search.query.statistics import impacts_of
from lakerank.search.text.analyzer import Analyzer, Term

T = TypeVar("T", int, str)


@dataclass(frozen=True)
class Feedback:
    """Query expansion from the first results (pseudo-relevance feedback, Rocchio 1971 on BM25F impacts).

    The best pages' terms are weighed by Σ_d share_d · impact(term, d), where a page's share is its part of the sum of
    their scores; the heaviest are added with `weight` times their part of the heaviest one's weight. Long questions
    gain by it; of short queries that name one thing it takes the focus, so it waits for `units` words that count.

    Attributes:
        pages: how many of the first results.
        terms: how many terms, those of the query among them.
        weight: of the heaviest term; the query's own words have 1.
        units: in auto mode, the number of words from which on it is used.
    """

    pages: int = 10
    terms: int = 40
    weight: float = 1.0
    units: int = 5


@dataclass(frozen=True)
class Ranking:
    """How scores are made.

    Attributes:
        rank_weight: of the link prior, in BM25F's units; 0 leaves links out.
        feedback: see `Feedback`.
    """

    rank_weight: float = 0.5
    feedback: Feedback = Feedback()


def expand_query(query: Mapping[T, float], heaviest: Sequence[tuple[T, float]], weight: float) -> dict[T, float]:
    """Add to a query's weights those of the heaviest terms of its first results.

    Args:
        query: term → weight. heaviest: terms and what they weigh, heaviest first.
        weight: that the heaviest gets; the query's own most frequent term has 1.
    """
    if not heaviest:
        return dict(query)
    most, largest = max(query.values()), heaviest[0][1]
    weights = {term: own / most for term, own in query.items()}
    for term, value in heaviest:
        weights[term] = weights.get(term, 0.0) + weight * (value / largest)
    return weights


@dataclass
class CompiledQuery:
    """The inputs of the kernels.

    Attributes:
        terms: number of each term → its weight, in the order they were written.
        allowed: uint8 of the pages, or empty if all may be found.
        extra: float64 of the pages, shares of phrases, or empty.
        phrases: each phrase with its pages and their shares, for explanations.
        unknown: words that no page has.
        units: words that count, a pair and its halves as one.
    """

    terms: dict[int, float] = field(default_factory=dict)
    allowed: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    extra: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
    phrases: list[tuple[str, NDArray[np.int32], NDArray[np.float64]]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    units: int = 0

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return terms and weights as the kernels take them."""
        return np.fromiter(self.terms, np.int64, len(self.terms)), np.fromiter(self.terms.values(), np.float64)


@dataclass(frozen=True)
class Compiler:
    """Turns queries into numbers for one index."""

    index: Index

    def compile(self, query: Query) -> CompiledQuery:
        """Look up a query's terms, evaluate what must and must not be there."""
        known = analyze_query(query, Analyzer(self.index.language))
        out = CompiledQuery(units=known.units)
        for text, weight in known.weights.items():
            number = self.index.term_number(text)
            if number >= 0:
                out.terms[number] = weight
        masks: list[NDArray[np.bool_]] = []
        for clause, parts in known.clauses:
            if clause.occur is not Occur.NOT:
                for part, terms in parts:
                    self._look_up(out, part, [term for term in terms if not term.is_pair])
            if clause.occur is not Occur.SHOULD:
                masks.append(self._mask(clause, [list(terms) for _, terms in parts]))
        for hosts, wanted in ((query.sites, True), (query.not_sites, False)):
            if hosts:
                masks.append(self._on_site(hosts) == wanted)
        if masks:
            out.allowed = np.logical_and.reduce(masks).astype(np.uint8)
            if not any(clause.occur is not Occur.NOT for clause in query.clauses):
                out.extra = np.full(len(self.index), 1e-9)  # only filters: all that pass them, by their rank
        return out

    def _look_up(self, out: CompiledQuery, part: Part, terms: list[Term]) -> None:
        """Add a part's unknown words and, if it is quoted, its share as a phrase."""
        numbers = [(term, self.index.term_number(term.text)) for term in terms]
        out.unknown += [term.word for term, number in numbers if number < 0]
        if part.phrase and len(numbers) > 1 and all(number >= 0 for _, number in numbers):
            docs, tfs = self._phrase(numbers)
            idf = float(sum(self.index.block["idfs"][number] for term, number in numbers if not term.stop))
            shares = impacts_of(docs, tfs, self.index.block["norms"], idf, self.index.weighting.k1)
            if not len(out.extra):
                out.extra = np.zeros(len(self.index), np.float64)
            out.extra[docs] += shares
            out.phrases.append((part.text, docs, shares))

    def _phrase(self, numbers: list[tuple[Term, int]]) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        block = self.index.block
        terms = np.array([number for _, number in numbers], np.int64)
        steps = np.array([term.position - numbers[0][0].position for term, _ in numbers], np.int64)
        found: tuple[NDArray[np.int32], NDArray[np.uint16]] = phrase_frequencies(
            terms, steps, block["ends"], block["docs"], block["position_ends"], block["positions"], len(FIELDS)
        )
        return found

    def _mask(self, clause: Clause, analysed: list[list[Term]]) -> NDArray[np.bool_]:
        """Mark the pages in which one of the parts stands, or none for NOT."""
        mask = np.zeros(len(self.index), np.bool_)
        for part, terms in zip(clause.parts, analysed, strict=True):
            mask |= self._having(part, [term for term in terms if not term.is_pair])
        return ~mask if clause.occur is Occur.NOT else mask

    def _having(self, part: Part, terms: list[Term]) -> NDArray[np.bool_]:
        """Mark the pages that have a part: the phrase, or all terms of the word."""
        mask = np.zeros(len(self.index), np.bool_)
        numbers = [(term, self.index.term_number(term.text)) for term in terms]
        if not numbers or any(number < 0 for _, number in numbers):
            return mask
        block = self.index.block
        if part.phrase and len(numbers) > 1:
            docs, tfs = self._phrase(numbers)
            mask[docs[tfs[:, TITLE] > 0] if part.title else docs] = True
            return mask
        mask[:] = True
        for _, number in numbers:
            at = self.index.postings(number)
            one = np.zeros(len(self.index), np.bool_)
            docs = block["docs"][at]
            one[docs[block["tfs"][at, TITLE] > 0] if part.title else docs] = True
            mask &= one
        return mask

    def _on_site(self, hosts: tuple[str, ...]) -> NDArray[np.bool_]:
        """Mark the pages on one of the hosts or below it."""
        own = np.array(self.index.strings("host"), dtype=object)
        fits = {host: any(host == site or host.endswith("." + site) for site in hosts) for host in set(own)}
        return np.fromiter((fits[host] for host in own), np.bool_, len(own))


_FEW_TERMS = 10  # longer queries are scored list after list: nearly every page has one of their terms


@dataclass(frozen=True)
class TopPages:
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
    ) -> TopPages:
        """Find the best pages of a query.

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
        return TopPages(pages, scores, compiled, matches, expand)

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
                    block["maxima"], self.prior, rank_weight, self._highest(rank_weight), block["tiebreak_rank"],
                    scores, found,
                ),
                -1,
            )  # fmt: skip
        else:
            size, matches = score_all(
                terms, weights, block["ends"], block["docs"], block["values"], self.prior, rank_weight,
                query.allowed, query.extra, block["tiebreak_rank"], self._sums(), scores, found,
            )  # fmt: skip
        return found[:size], scores[:size], matches

    def _highest(self, rank_weight: float) -> float:
        return rank_weight * float(self.prior.max(initial=0.0))

    def _sums(self) -> NDArray[np.float64]:
        """Return zeros for the pages, one array for each thread."""
        if not hasattr(self._local, "sums"):
            self._local.sums = np.zeros(len(self.index), np.float64)
        sums: NDArray[np.float64] = self._local.sums
        return sums

    def _expand(self, query: CompiledQuery, pages: NDArray[np.int32], scores: NDArray[np.float64]) -> None:
        """Add the heaviest terms of the first results."""
        if not len(pages):
            return
        block = self.index.block
        terms, values = sum_impacts(
            pages, scores / scores.sum(), block["page_begins"], block["page_terms"], block["page_values"]
        )
        order = np.lexsort((terms, -values))[: self.ranking.feedback.terms]
        heaviest = [(int(terms[at]), float(values[at])) for at in order]
        query.terms = expand_query(query.terms, heaviest, self.ranking.feedback.weight)

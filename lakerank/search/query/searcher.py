"""From a parsed query to the best pages of an open index: compile it, expand it by feedback, score pages."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lakerank.search.index.fields import FIELDS, TITLE
from lakerank.search.query.index import Index
from lakerank.search.query.kernels import (
    common,
    pages_having,
    phrase_frequencies,
    score_all,
    score_best,
    score_listed,
    sum_impacts,
)
from lakerank.search.query.parse import (
    AnalyzedQuery,
    Clause,
    FormWeights,
    Lookup,
    Occur,
    Part,
    Query,
    Vocabulary,
    analyze_query,
    parse,
)
from lakerank.search.query.statistics import impacts_of
from lakerank.search.text.analyzer import Term

T = TypeVar("T", int, str)
Scored = tuple[Any, float]  # a page, by number or name, and its score


@dataclass(frozen=True)
class Feedback:
    """Query expansion from the first results (pseudo-relevance feedback, Rocchio 1971 on BM25F impacts).

    The best pages' terms are weighed by Σ_d share_d · impact(term, d), where a page's share is its part of the sum of
    their scores; the heaviest are added with `weight` times their part of the heaviest one's weight. Long questions
    gain by it, for most of what they want stands further down. A question that one page answers would lose that page's
    place: so the first results of the query as it was written stay first.

    Attributes:
        pages: how many of the first results.
        terms: how many terms, those of the query among them.
        weight: of the heaviest term; the query's own words have 1.
        units: in auto mode, the number of words from which on it is used.
        keep: how many of the first results stay first.
    """

    pages: int = 15
    terms: int = 40
    weight: float = 1.5
    units: int = 5
    keep: int = 2

    def considered(self, query: Query, units: int) -> bool:
        """Return whether a query may be expanded, before its results are known: words alone, and enough of them."""
        return query.plain and units >= self.units


def keep_first(first: Sequence[Scored], found: Sequence[Scored], keep: int, top: int) -> list[Scored]:
    """Put the first results of a query before those of the expanded one.

    Args:
        first: results of the query as it was written, with their scores, best first.
        found: of the expanded one. keep: how many of the first stay first. top: how many results are wanted.

    Returns:
        Results with their scores. Those that stay first have the expanded query's best score more than they had.
    """
    best = max((score for _, score in found), default=0.0)
    kept = [(name, best + score) for name, score in first[:keep]]
    names = {name for name, _ in kept}
    return [*kept, *((name, score) for name, score in found if name not in names)][:top]


@dataclass(frozen=True)
class Ranking:
    """How scores are made.

    Attributes:
        rank_weight: of the link prior, in BM25F's units; 0 leaves links out.
        prior_words: queries of more words are answered without the prior. Few words say little, and links tell which
            of many pages is meant; many words name one page, which is not the most linked one.
        feedback: see `Feedback`.
        forms: how much the forms of a word count.
    """

    rank_weight: float = 0.5
    prior_words: int = 3
    feedback: Feedback = Feedback()
    forms: FormWeights = field(default_factory=FormWeights)

    def prior_weight(self, query: AnalyzedQuery, rank_weight: float | None = None) -> float:
        """Return the weight of the link prior for a query; `rank_weight` None: the usual one."""
        if query.words > self.prior_words:
            return 0.0
        return self.rank_weight if rank_weight is None else rank_weight


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
        asked: the same before expansion.
        candidates: int32, ascending: the pages that may be found; None: all.
        excluded: int32, ascending: pages that may not.
        shares: float64 of the candidates, what phrases add, or empty.
        phrases: each phrase with its pages and their shares, for explanations.
        unknown: words that no page has.
        units: words that count, a pair and its halves as one.
    """

    terms: dict[int, float] = field(default_factory=dict)
    asked: dict[int, float] = field(default_factory=dict)
    candidates: NDArray[np.int32] | None = None
    excluded: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    shares: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
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

    def compile(self, query: Query, known: AnalyzedQuery) -> CompiledQuery:
        """Look up a query's terms, evaluate what must and must not be there."""
        out = CompiledQuery(units=known.units, unknown=list(known.unknown))
        out.terms = self.numbers(known.weights)
        out.asked = dict(out.terms)
        wanted: list[NDArray[np.int32]] = []
        unwanted: list[NDArray[np.int32]] = []
        for clause, parts in known.clauses:
            if clause.occur is not Occur.NOT:
                for part, terms in parts:
                    self._add_phrase(out, part, [term for term in terms if term.is_word], known.lookups)
            if clause.occur is not Occur.SHOULD:
                having = self._having(clause, [list(terms) for _, terms in parts], known.lookups)
                (unwanted if clause.occur is Occur.NOT else wanted).append(having)
        if query.sites:
            wanted.append(self.index.on_sites(query.sites))
        if query.not_sites:
            unwanted.append(self.index.on_sites(query.not_sites))
        if query.fetched:
            wanted.append(self.index.fetched_between(*query.fetched))
        only_filters = not any(clause.occur is not Occur.NOT for clause in query.clauses)
        if only_filters and unwanted and not wanted:
            wanted.append(np.arange(len(self.index), dtype=np.int32))
        if wanted:
            wanted.sort(key=len)
            pages = wanted[0]
            for other, there in (*((one, True) for one in wanted[1:]), *((one, False) for one in unwanted)):
                pages = common(pages, other, there)
            out.candidates = pages
            self._add_shares(out, only_filters)
        elif unwanted:
            out.excluded = union(unwanted)
        return out

    def _add_shares(self, out: CompiledQuery, only_filters: bool) -> None:
        """Add up what the candidates have of phrases, which must all be there."""
        assert out.candidates is not None
        if only_filters:
            out.shares = np.full(len(out.candidates), 1e-9)  # all that pass the filters, by their rank
        elif out.phrases:
            out.shares = np.zeros(len(out.candidates), np.float64)
            for _, docs, shares in out.phrases:
                at = np.searchsorted(docs, out.candidates)
                at[at == len(docs)] = 0
                if len(docs):
                    out.shares += np.where(docs[at] == out.candidates, shares[at], 0.0)

    def numbers(self, weights: Mapping[str, float]) -> dict[int, float]:
        """Return the weights by the numbers of those terms that the index has."""
        numbers = {self.index.term_number(term): weight for term, weight in weights.items()}
        return {number: weight for number, weight in numbers.items() if number >= 0}

    def _numbered(self, terms: list[Term], lookups: Mapping[str, Lookup]) -> list[tuple[Term, int]]:
        """Return words with the numbers of their forms as written, -1 where no page has one."""
        forms = [(*lookups[term.text].forms, term.text) for term in terms]
        found = [max(self.index.term_number(form) for form in spelt) for spelt in forms]
        return list(zip(terms, found, strict=True))

    def _add_phrase(self, out: CompiledQuery, part: Part, terms: list[Term], lookups: Mapping[str, Lookup]) -> None:
        """Add the share of a part as a phrase, if it is quoted."""
        numbers = self._numbered(terms, lookups)
        if part.phrase and len(numbers) > 1 and all(number >= 0 for _, number in numbers):
            docs, tfs = self._phrase(numbers)
            idf = float(sum(self.index.block["idfs"][number] for term, number in numbers if not term.stop))
            shares = impacts_of(docs, tfs, self.index.block["norms"], idf, self.index.weighting.k1)
            out.phrases.append((part.text, docs, shares))

    def _phrase(self, numbers: list[tuple[Term, int]]) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        block = self.index.block
        terms = np.array([number for _, number in numbers], np.int64)
        steps = np.array([term.position - numbers[0][0].position for term, _ in numbers], np.int64)
        found: tuple[NDArray[np.int32], NDArray[np.uint16]] = phrase_frequencies(
            terms, steps, block["ends"], block["docs"], block["position_ends"], block["positions"], len(FIELDS)
        )
        return found

    def _having(self, clause: Clause, analysed: list[list[Term]], lookups: Mapping[str, Lookup]) -> NDArray[np.int32]:
        """Return the pages that have one of the clause's parts, ascending."""
        return union(
            self._having_part(part, [term for term in terms if term.is_word], lookups)
            for part, terms in zip(clause.parts, analysed, strict=True)
        )

    def _having_part(self, part: Part, terms: list[Term], lookups: Mapping[str, Lookup]) -> NDArray[np.int32]:
        """Return the pages that have a part: the phrase as written, or all words in any of their forms."""
        block = self.index.block
        if part.phrase and len(terms) > 1:
            numbers = self._numbered(terms, lookups)
            if any(number < 0 for _, number in numbers):
                return np.empty(0, np.int32)
            docs, tfs = self._phrase(numbers)
            return docs[tfs[:, TITLE] > 0] if part.title else docs
        found: NDArray[np.int32] | None = None
        for term in terms:
            lookup, lists = lookups[term.text], []
            for name in lookup.forms if part.phrase else (*lookup.forms, *lookup.classes):
                number = self.index.term_number(name)
                if number >= 0:
                    at = self.index.postings(number)
                    docs = block["docs"][at]
                    lists.append(docs[block["tfs"][at, TITLE] > 0] if part.title else docs)
            one = union(lists)
            found = one if found is None else common(one, found, True)
        return np.empty(0, np.int32) if found is None else found


def union(lists: Iterable[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Return what stands in one of several ascending lists, ascending."""
    kept = sorted((one for one in lists if len(one)), key=len)
    if not kept:
        return np.empty(0, np.int32)
    whole = kept.pop()
    for one in kept:
        more = common(one, whole, False)
        if len(more):
            whole = np.insert(whole, np.searchsorted(whole, more), more)
    return whole


_NO_MARKS = np.empty(0, np.uint8)
_FEW_TERMS = 24  # longer (expanded) queries are scored list after list: nearly every page has one of their terms


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
        self.vocabulary = Vocabulary(index.languages, index.idf, len(index))
        self.highest_prior = float(self.prior.max(initial=0.0))
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
        known: AnalyzedQuery | None = None,
        language: str = "",
    ) -> TopPages:
        """Find the best pages of a query.

        Args:
            query: parsed or not.
            top: how many, ≥ 1.
            rank_weight: of the link prior; None: the ranking's own.
            feedback: on, off, or auto: for plain queries of many words.
            exhaustive: score every page (the results are the same; for tests and counts).
            terms: score these terms by their weights instead of the query's own.
            known: the query as analysed for the whole collection, of which this index is a shard.
            language: that the query is in; empty: any that the index has.
        """
        parsed = parse(query) if isinstance(query, str) else query
        known = known or analyze_query(parsed, self.vocabulary, self.ranking.forms, language)
        compiled = self._compiler.compile(parsed, known)
        if terms is not None:
            compiled.terms = self._compiler.numbers(terms)
        weight = self.ranking.prior_weight(known, rank_weight)
        how = self.ranking.feedback
        expand = feedback == "on" or (feedback == "auto" and how.considered(parsed, compiled.units))
        expand = expand and bool(compiled.terms)
        if not expand:
            pages, scores, matches = self._score(compiled, top, weight, exhaustive)
            return TopPages(pages, scores, compiled, matches, False)
        first = self._score(compiled, how.pages, 0.0, exhaustive)
        self._expand(compiled, first[0], first[1])
        pages, scores, matches = self._score(compiled, top, weight, exhaustive)
        before = list(zip(first[0].tolist(), first[1].tolist(), strict=True))
        found = keep_first(before, list(zip(pages.tolist(), scores.tolist(), strict=True)), how.keep, top)
        pages = np.array([page for page, _ in found], np.int32)
        return TopPages(pages, np.array([score for _, score in found], np.float64), compiled, matches, True)

    def _score(
        self, query: CompiledQuery, top: int, rank_weight: float, exhaustive: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], int]:
        block = self.index.block
        terms, weights = query.arrays()
        top = min(top, max(1, len(self.index)))
        scores, found = np.empty(top, np.float64), np.empty(top, np.int32)
        candidates = query.candidates
        listed = candidates is not None and (
            len(query.shares) > 0 or len(candidates) * len(terms) <= sum(self.index.frequency(int(t)) for t in terms)
        )
        if candidates is not None and listed:
            size, matches = score_listed(
                candidates, query.shares, terms, weights, block["ends"], block["docs"], block["values"], self.prior,
                rank_weight, block["tiebreak_rank"], scores, found,
            )  # fmt: skip
            return found[:size], scores[:size], matches
        marked = query.excluded if candidates is None else candidates
        wanted = int(candidates is not None)
        marks = self._zeros("marks", np.uint8) if len(marked) or wanted else _NO_MARKS
        marks[marked] = 1
        if not exhaustive and len(terms) <= _FEW_TERMS:
            size, matches = (
                score_best(
                    terms, weights, block["ends"], block["docs"], block["values"], block["block_firsts"],
                    block["maxima"], self.prior, rank_weight, self._highest(rank_weight), marks, wanted,
                    block["tiebreak_rank"], scores, found,
                ),
                -1,
            )  # fmt: skip
        else:
            size, matches = score_all(
                terms, weights, block["ends"], block["docs"], block["values"], self.prior, rank_weight,
                marks, wanted, block["tiebreak_rank"], self._zeros("sums", np.float64), scores, found,
            )  # fmt: skip
        marks[marked] = 0
        return found[:size], scores[:size], matches

    def matching(self, query: CompiledQuery) -> NDArray[np.int32]:
        """Return the pages that have something of a query as it was asked, ascending."""
        if query.candidates is not None and len(query.shares):
            return query.candidates
        terms, block = np.fromiter(query.asked, np.int64, len(query.asked)), self.index.block
        found = pages_having(terms, block["ends"], block["docs"], self._zeros("marks", np.uint8))
        if query.candidates is not None:
            return common(found, query.candidates, True)
        return common(found, query.excluded, False) if len(query.excluded) else found

    def _highest(self, rank_weight: float) -> float:
        return rank_weight * self.highest_prior

    def _zeros(self, name: str, kind: type[np.uint8] | type[np.float64]) -> NDArray[Any]:
        """Return zeros for the pages, one array for each thread, which is to leave it as it was."""
        if not hasattr(self._local, name):
            setattr(self._local, name, np.zeros(len(self.index), kind))
        zeros: NDArray[Any] = getattr(self._local, name)
        return zeros

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

"""A query in an index's numbers: weighted terms, pages that may be found, phrases' shares."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lakerank.search.index.fields import FIELDS, TITLE
from lakerank.search.query.impact_kernels import shares_of
from lakerank.search.query.index import Index
from lakerank.search.query.phrase_kernels import phrase_frequencies
from lakerank.search.query.query import Clause, Occur, Part, Query
from lakerank.search.text.analyzer import Analyzer, Term


@dataclass(frozen=True)
class AnalysedQuery:
    """A query in terms, whatever index it is put to.

    Attributes:
        clauses: each with its parts and their terms.
        weights: of the wanted terms, in the order they were written: how often each is there.
        units: words that count, a pair and its halves as one.
    """

    clauses: tuple[tuple[Clause, tuple[tuple[Part, tuple[Term, ...]], ...]], ...]
    weights: dict[str, float]
    units: int


def analysed(query: Query, analyzer: Analyzer) -> AnalysedQuery:
    """Analyse a query's parts. Stop words are wanted only where they must be there, or where there is nothing else."""
    clauses = tuple(
        (clause, tuple((part, tuple(analyzer.analyze(part.text))) for part in clause.parts)) for clause in query.clauses
    )
    only_stops = all(term.stop or term.is_pair for _, parts in clauses for _, terms in parts for term in terms)
    weights: dict[str, float] = {}
    units = 0
    for clause, parts in clauses:
        for part, terms in parts if clause.occur is not Occur.NOT else ():
            for term in terms:
                wanted = only_stops or clause.occur is Occur.MUST or not term.stop
                if wanted and not (part.phrase and term.is_pair):
                    weights[term.text] = weights.get(term.text, 0.0) + 1.0
            units += any(not term.stop for term in terms)
    return AnalysedQuery(clauses, weights, units)


@dataclass
class CompiledQuery:
    """What the kernels need.

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
        """Terms and weights as the kernels take them."""
        return np.fromiter(self.terms, np.int64, len(self.terms)), np.fromiter(self.terms.values(), np.float64)


@dataclass(frozen=True)
class Compiler:
    """Turns queries into numbers for one index."""

    index: Index

    def compile(self, query: Query) -> CompiledQuery:
        """Look up terms, evaluate what must and must not be there."""
        known = analysed(query, Analyzer(self.index.language))
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
        """A part's unknown words and, if it is quoted, its share as a phrase."""
        numbers = [(term, self.index.term_number(term.text)) for term in terms]
        out.unknown += [term.word for term, number in numbers if number < 0]
        if part.phrase and len(numbers) > 1 and all(number >= 0 for _, number in numbers):
            docs, tfs = self._phrase(numbers)
            idf = float(sum(self.index.block["idfs"][number] for term, number in numbers if not term.stop))
            shares = shares_of(docs, tfs, self.index.block["norms"], idf, self.index.weighting.k1)
            if not len(out.extra):
                out.extra = np.zeros(len(self.index), np.float64)
            out.extra[docs] += shares
            out.phrases.append((part.text, docs, shares))

    def _phrase(self, numbers: list[tuple[Term, int]]) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        block = self.index.block
        terms = np.array([number for _, number in numbers], np.int64)
        steps = np.array([term.position - numbers[0][0].position for term, _ in numbers], np.int64)
        found: tuple[NDArray[np.int32], NDArray[np.uint16]] = phrase_frequencies(
            terms, steps, block["ends"], block["docs"], block["place_ends"], block["places"], len(FIELDS)
        )
        return found

    def _mask(self, clause: Clause, analysed: list[list[Term]]) -> NDArray[np.bool_]:
        """Pages in which one of the parts stands, or none for NOT."""
        mask = np.zeros(len(self.index), np.bool_)
        for part, terms in zip(clause.parts, analysed, strict=True):
            mask |= self._having(part, [term for term in terms if not term.is_pair])
        return ~mask if clause.occur is Occur.NOT else mask

    def _having(self, part: Part, terms: list[Term]) -> NDArray[np.bool_]:
        """Pages that have a part: the phrase, or all terms of the word."""
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
        """Pages on one of the hosts or below it."""
        own = np.array(self.index.strings("host"), dtype=object)
        fits = {host: any(host == site or host.endswith("." + site) for site in hosts) for host in set(own)}
        return np.fromiter((fits[host] for host in own), np.bool_, len(own))

"""The search call: a query in, a page of results out, with snippets, copies folded, spelling and reasons."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from lakerank.search.query.explanation import Explanation, explain
from lakerank.search.query.index import Index, Page
from lakerank.search.query.lookup_kernels import gather
from lakerank.search.query.query import Query, parse
from lakerank.search.query.ranking import Ranking
from lakerank.search.query.score_kernels import score_all
from lakerank.search.query.searcher import Found, Searcher
from lakerank.search.query.snippets import Marker, Pieces
from lakerank.search.query.spelling import Speller
from lakerank.search.text.analyzer import Analyzer

_RELATED_TERMS = 30


@dataclass(frozen=True)
class Hit:
    """One result.

    Attributes:
        place: from 1, over all pages of results.
        score: BM25F, phrases and link prior.
        page: its addresses, title and description.
        title: title in pieces, matches marked; the address where there is no title.
        snippet: piece of the text, matches marked.
        pagerank: probability, 0 if unknown.
        prominence: 0 to 1, the link prior relative to the highest of the index: what a bar shows.
        copies: other pages with the same content among the results, by address.
        explanation: if asked for.
    """

    place: int
    score: float
    page: Page
    title: Pieces
    snippet: Pieces
    pagerank: float
    prominence: float
    copies: tuple[str, ...]
    explanation: Explanation | None


@dataclass(frozen=True)
class Answer:
    """One page of results.

    Attributes:
        hits: best first.
        more: whether a further page of results is not empty.
        suggestion: the query as it was probably meant, or None.
        expanded: whether feedback added words.
        seconds: time taken.
    """

    hits: tuple[Hit, ...]
    more: bool
    suggestion: str | None
    expanded: bool
    seconds: float


class SearchEngine:
    """An open index with everything around it; safe to use from several threads."""

    def __init__(self, index: Index, ranking: Ranking | None = None) -> None:
        self.index = index
        self.searcher = Searcher(index, ranking)
        self.speller = Speller(index)

    def search(
        self,
        text: str,
        top: int = 10,
        page: int = 1,
        rank_weight: float | None = None,
        feedback: str = "auto",
        fold: bool = True,
        reasons: bool = False,
    ) -> Answer:
        """Answer a query.

        Args:
            text: in the query language (`query.parse`).
            top: results on a page, ≥ 1.
            page: which page of results, from 1.
            rank_weight: of the link prior; None: the usual one.
            feedback: on, off or auto.
            fold: show of pages with the same content only the best.
            reasons: explain each score.
        """
        started = time.perf_counter()
        query = parse(text)
        skipped = (page - 1) * top
        wanted = skipped + top + 1
        limit = 2 * wanted
        found = self.searcher.find(query, limit, rank_weight, feedback)
        kept, copies = self._fold(found, fold)
        while len(kept) < wanted and len(found.pages) == limit:  # copies took the places of others
            limit *= 4
            found = self.searcher.find(query, limit, rank_weight, feedback)
            kept, copies = self._fold(found, fold)
        weight = self.searcher.ranking.rank_weight if rank_weight is None else rank_weight
        marker = Marker(self._shown_terms(query), Analyzer(self.index.language))
        hits = [
            self._hit(found, at, place, copies.get(at, ()), marker, weight, reasons)
            for place, at in enumerate(kept[skipped : skipped + top], start=skipped + 1)
        ]
        suggestion = self.speller.query(text, found.query.unknown) if found.query.unknown else None
        seconds = time.perf_counter() - started
        return Answer(tuple(hits), len(kept) > skipped + top, suggestion, found.expanded, seconds)

    def related(self, number: int, top: int = 5) -> list[Page]:
        """Pages that share the heaviest terms of a page; copies of it and of one another are left out."""
        block, n = self.index.block, len(self.index)
        terms, values = gather(
            np.array([number], np.int32), np.ones(1), block["page_begins"], block["page_terms"], block["page_values"]
        )
        chosen = np.sort(np.lexsort((terms, -values))[:_RELATED_TERMS])
        size = min(n, 4 * top + 20)
        scores, found = np.empty(size, np.float64), np.empty(size, np.int32)
        size, _ = score_all(
            terms[chosen].astype(np.int64), values[chosen], block["ends"], block["docs"], block["values"],
            self.searcher.prior, 0.0, np.empty(0, np.uint8), np.empty(0), block["tie"], np.zeros(n), scores, found,
        )  # fmt: skip
        seen, out = {int(block["groups"][number])}, []
        for at in found[:size].tolist():
            if int(block["groups"][at]) not in seen:
                seen.add(int(block["groups"][at]))
                out.append(self.index.page(at))
        return out[:top]

    def _fold(self, found: Found, fold: bool) -> tuple[list[int], dict[int, tuple[str, ...]]]:
        """Places in `found` of the results to show, and the addresses of each one's copies."""
        if not fold:
            return list(range(len(found.pages))), {}
        members: dict[int, list[int]] = {}
        for at, group in enumerate(self.index.block["groups"][found.pages].tolist()):
            members.setdefault(group, []).append(at)
        copies, kept = {}, []
        ids = self.index.block["page_ids"][found.pages]
        for group, places in members.items():
            best = [at for at in places if found.scores[at] == found.scores[places[0]]]
            shown = next((at for at in best if ids[at] == group), best[0])  # of equals the original
            kept.append(shown)
            others = [int(found.pages[at]) for at in places if at != shown]
            copies[shown] = tuple(self.index.string("url", page) for page in others)
        return kept, copies

    def _shown_terms(self, query: Query) -> dict[str, float]:
        """Terms that are marked in snippets, with their idf; stop words only if there is nothing else."""
        terms = [term for term in Analyzer(self.index.language).analyze(query.words) if not term.is_pair]
        telling = [term for term in terms if not term.stop] or terms
        idfs = self.index.block["idfs"]
        numbers = {term.text: self.index.term_number(term.text) for term in telling}
        return {text: float(idfs[number]) + 1e-3 for text, number in numbers.items() if number >= 0}

    def _hit(
        self,
        found: Found,
        at: int,
        place: int,
        copies: tuple[str, ...],
        marker: Marker,
        rank_weight: float,
        reasons: bool,
    ) -> Hit:
        number = int(found.pages[at])
        page = self.index.page(number)
        prior = float(self.searcher.prior[number])
        return Hit(
            place,
            float(found.scores[at]),
            page,
            marker.marked(page.title or page.url),
            marker.snippet(self.index.bytes_of("text", number), page.description),
            float(self.index.block["pageranks"][number]),
            prior / float(self.searcher.prior.max()) if prior > 0 else 0.0,
            copies,
            explain(self.index, found.query, number, rank_weight * prior) if reasons else None,
        )

"""The search call: a query in, a page of results out, with snippets, duplicates collapsed, spelling and reasons."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lakerank.search.query.index import NO_DAY, Index, Page, ShownField
from lakerank.search.query.kernels import score_all, sum_impacts
from lakerank.search.query.parse import AnalyzedQuery, Occur, analyze_query, not_understood, parse
from lakerank.search.query.presentation import Explanation, Highlighter, Pieces, Speller, explain
from lakerank.search.query.searcher import Ranking, Searcher, TopPages

_RELATED_TERMS = 30


@dataclass(frozen=True)
class Hit:
    """One result.

    Attributes:
        rank: from 1, over all pages of results.
        score: BM25F, phrases and link prior; higher is better.
        page: its addresses, title and description.
        title_pieces: title in pieces, matches marked; the address where there is no title.
        snippet_pieces: piece of the text, matches marked.
        pagerank: probability, 0 if unknown.
        prominence: 0 to 1, the link prior relative to the highest of the index: what a bar shows.
        copies: other pages with the same content among the results, by address.
        explanation: if asked for.
    """

    rank: int
    score: float
    page: Page
    title_pieces: Pieces
    snippet_pieces: Pieces
    pagerank: float
    prominence: float
    copies: tuple[str, ...]
    explanation: Explanation | None

    @property
    def id(self) -> str:
        """The page's id in the frame or collection it came from; of a web page the address."""
        return self.page.doc_id or self.page.url

    @property
    def url(self) -> str:
        """The page's address; may be empty."""
        return self.page.url

    @property
    def title(self) -> str:
        """The page's title; may be empty."""
        return self.page.title

    @property
    def snippet(self) -> str:
        """The passage of its text that shows best why it was found."""
        return "".join(text for text, _ in self.snippet_pieces)

    def as_text(self) -> str:
        """Return the hit as lines for a terminal, matches in brackets."""
        shown = "".join(f"[{text}]" if match else text for text, match in self.snippet_pieces)
        lines = [f"{self.rank:>3}. {self.title or self.url}", f"     {self.url}", f"     {shown}"]
        lines += [f"     {field.label}: {field.value}" for field in self.fields]
        lines += [f"     same content: {', '.join(self.copies)}"] if self.copies else []
        lines += [f"     {line}" for line in self.explanation.lines()] if self.explanation else []
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the hit's url, title, score, pagerank, snippet, fields and copies."""
        return {
            "url": self.url, "title": self.title, "score": self.score, "pagerank": self.pagerank,
            "snippet": self.snippet, "fields": {field.name: field.value for field in self.fields},
            "copies": list(self.copies),
        }  # fmt: skip

    @property
    def fields(self) -> tuple[ShownField, ...]:
        """Further stored fields that are shown, with their labels."""
        return self.page.fields


@dataclass(frozen=True)
class Period:
    """A year or a month in which pages were fetched.

    Attributes:
        name: `2024` or `2024-05`. end: the next one's, as `before:` takes it. pages: how many match.
    """

    name: str
    end: str
    pages: int


@dataclass(frozen=True)
class Counts:
    """The pages that match a query as it was asked, counted; pages with the same content each for itself.

    Attributes:
        pages: how many have one of its words and pass its filters.
        sites: hosts with most of them, and how many each has.
        periods: in which they were fetched, the latest first; of pages of which that is known.
    """

    pages: int
    sites: tuple[tuple[str, int], ...]
    periods: tuple[Period, ...]


_MOST_COUNTED = 8  # sites, and periods


def count_matches(index: Index, matching: NDArray[np.int32]) -> Counts:
    """Count pages by host and by the year in which they were fetched; by month if all are of one year."""
    hosts = np.bincount(index.block["page_hosts"][matching], minlength=len(index.block["hosts_ends"]))
    some = np.flatnonzero(hosts)
    if len(some) > _MOST_COUNTED:  # only these are worth sorting
        some = some[hosts[some] >= np.partition(hosts[some], -_MOST_COUNTED)[-_MOST_COUNTED]]
    best = some[np.lexsort((some, -hosts[some]))][:_MOST_COUNTED].tolist()
    sites = []
    for at in best:
        if host := index.hosts[at]:
            first, last = index.hosts_below(host)  # as `site:` has it: the host and those below it
            sites.append((host, int(hosts[first:last].sum())))
    days = index.block["days"][matching]
    dates = days[days != NO_DAY].astype("datetime64[D]")
    months, of_month = _counted(dates.astype("datetime64[M]"))
    years, at_year = np.unique(months.astype("datetime64[Y]"), return_inverse=True)
    unit: Literal["M", "Y"] = "M" if len(years) == 1 else "Y"
    found = months if unit == "M" else years
    counts = of_month if unit == "M" else np.bincount(at_year, weights=of_month).astype(np.int64)
    periods = tuple(
        Period(str(one), str(one + np.timedelta64(1, unit)), int(n))
        for one, n in zip(found[::-1][:_MOST_COUNTED], counts[::-1][:_MOST_COUNTED], strict=True)
    )
    return Counts(len(matching), tuple(sites), periods)


def _counted(months: NDArray[np.datetime64]) -> tuple[NDArray[np.datetime64], NDArray[np.int64]]:
    """Return the different months, ascending, and how often each is there."""
    numbers = months.astype(np.int64)
    if not len(numbers):
        return months, numbers
    low = int(numbers.min())
    counts = np.bincount(numbers - low)
    there = np.flatnonzero(counts)
    return (there + low).astype("datetime64[M]"), counts[there].astype(np.int64)


@dataclass(frozen=True)
class ResultPage:
    """One page of results.

    Attributes:
        hits: best first.
        more: whether a further page of results is not empty.
        suggestion: the query as it was probably meant, or None.
        expanded: whether feedback added words.
        seconds: time taken.
        counts: how many pages match, and where they stand; None unless asked for.
        notes: sentences on what of the query is not understood.
    """

    hits: tuple[Hit, ...]
    more: bool
    suggestion: str | None
    expanded: bool
    seconds: float
    counts: Counts | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return hits (`Hit.as_json`), more, suggestion, expanded, seconds and notes."""
        return {
            "hits": [hit.as_json() for hit in self.hits], "more": self.more, "suggestion": self.suggestion,
            "expanded": self.expanded, "seconds": round(self.seconds, 6),
            "notes": list(self.notes),
        }  # fmt: skip


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
        collapse_duplicates: bool = True,
        reasons: bool = False,
        language: str = "",
        count: bool = False,
    ) -> ResultPage:
        """Answer a query.

        Args:
            text: in the query language (`parse.parse`).
            top: results on a page, ≥ 1.
            page: which page of results, from 1.
            rank_weight: of the link prior; None: the usual one.
            feedback: on, off or auto.
            collapse_duplicates: show of pages with the same content only the best.
            reasons: explain each score.
            language: that the query is in; empty: any that the index has.
            count: count all pages that match.
        """
        started = time.perf_counter()
        query = parse(text)
        known = analyze_query(query, self.searcher.vocabulary, self.searcher.ranking.forms, language)
        skipped = (page - 1) * top
        wanted = skipped + top + 1
        limit = 2 * wanted
        found = self.searcher.find(query, limit, rank_weight, feedback, known=known)
        kept, copies = self._results_to_show(found, collapse_duplicates)
        while len(kept) < wanted and len(found.pages) == limit:  # copies stood where others could have
            limit *= 4
            found = self.searcher.find(query, limit, rank_weight, feedback, known=known)
            kept, copies = self._results_to_show(found, collapse_duplicates)
        weight = self.searcher.ranking.prior_weight(known, rank_weight)
        highlighter = Highlighter(self._shown_words(known))
        hits = self._hits(found, kept[skipped : skipped + top], skipped + 1, copies, highlighter, weight, reasons)
        suggestion = self.speller.query(text, found.query.unknown) if found.query.unknown else None
        counts = count_matches(self.index, self.searcher.matching(found.query)) if count else None
        more, notes = len(kept) > skipped + top, tuple(not_understood(text))
        seconds = time.perf_counter() - started
        return ResultPage(hits, more, suggestion, found.expanded, seconds, counts, notes)

    def marked(self, text: str, shown: str) -> Pieces:
        """Cut a text where the words of a query begin and end."""
        known = analyze_query(parse(text), self.searcher.vocabulary, self.searcher.ranking.forms)
        return Highlighter(self._shown_words(known)).highlight([shown])[0]

    def related(self, number: int, top: int = 5) -> list[Page]:
        """Find pages that share the heaviest terms of a page; copies of it and of one another are left out."""
        block, n = self.index.block, len(self.index)
        terms, values = sum_impacts(
            np.array([number], np.int32), np.ones(1), block["page_begins"], block["page_terms"], block["page_values"]
        )
        chosen = np.sort(np.lexsort((terms, -values))[:_RELATED_TERMS])
        size = min(n, 4 * top + 20)
        scores, found = np.empty(size, np.float64), np.empty(size, np.int32)
        size, _ = score_all(
            terms[chosen].astype(np.int64), values[chosen], block["ends"], block["docs"], block["values"],
            self.searcher.prior, 0.0, np.empty(0, np.uint8), 0, block["tiebreak_rank"], np.zeros(n), scores, found,
        )  # fmt: skip
        seen, out = {int(block["groups"][number])}, []
        for at in found[:size].tolist():
            if int(block["groups"][at]) not in seen:
                seen.add(int(block["groups"][at]))
                out.append(self.index.page(at))
        return out[:top]

    def _results_to_show(self, found: TopPages, collapse_duplicates: bool) -> tuple[list[int], dict[int, list[int]]]:
        """Return the positions in `found` of the results to show, and the numbers of each one's copies."""
        if not collapse_duplicates:
            return list(range(len(found.pages))), {}
        members: dict[int, list[int]] = {}
        for at, group in enumerate(self.index.block["groups"][found.pages].tolist()):
            members.setdefault(group, []).append(at)
        copies, kept = {}, []
        ids = self.index.block["page_ids"][found.pages]
        for group, members_at in members.items():
            best = [at for at in members_at if found.scores[at] == found.scores[members_at[0]]]
            shown = next((at for at in best if ids[at] == group), best[0])  # of equals the original
            kept.append(shown)
            if len(members_at) > 1:
                copies[shown] = [int(found.pages[at]) for at in members_at if at != shown]
        return kept, copies

    def _shown_words(self, known: AnalyzedQuery) -> dict[str, tuple[str, float]]:
        """Return the words that are marked in texts: each with the query's word it is a form of, and that one's weight.

        Stop words only if there is nothing else.
        """
        terms = [
            term
            for clause, parts in known.clauses
            if clause.occur is not Occur.NOT
            for _, analysed in parts
            for term in analysed
            if term.is_word
        ]
        block = self.index.block
        out: dict[str, tuple[str, float]] = {}
        for term in [term for term in terms if not term.stop] or terms:
            lookup = known.lookups[term.text]
            weight = max((self.index.idf(name) for name in (*lookup.forms, *lookup.classes)), default=0.0) + 1e-3
            forms = list(lookup.forms)
            for name in lookup.classes:
                number = self.index.term_number(name)
                ends = block["class_form_ends"]
                at = slice(int(ends[number - 1]) if number else 0, int(ends[number]))
                forms += [self.index.string("term", one) for one in block["class_forms"][at].tolist()]
            for form in forms:
                out.setdefault(form, (term.text, weight))
        return out

    def _hits(
        self,
        found: TopPages,
        shown: Sequence[int],
        first_rank: int,
        copies: Mapping[int, Sequence[int]],
        highlighter: Highlighter,
        rank_weight: float,
        reasons: bool,
    ) -> tuple[Hit, ...]:
        """Return the results at some positions in `found`; their texts are looked at together."""
        index, priors = self.index, self.searcher.prior
        numbers = [int(found.pages[at]) for at in shown]
        pages = [index.page(number) for number in numbers]
        spans = [index.span("text", number) for number in numbers]
        snippets = highlighter.snippets(index.block["text_data"], spans, [page.description for page in pages])
        pieces = highlighter.highlight([*(page.title or page.url for page in pages), *snippets])
        out = []
        for i, (at, number, page) in enumerate(zip(shown, numbers, pages, strict=True)):
            prior, score = float(priors[number]), float(found.scores[at])
            out.append(
                Hit(
                    first_rank + i,
                    score,
                    page,
                    pieces[i],
                    pieces[len(pages) + i],
                    float(index.block["pageranks"][number]),
                    prior / self.searcher.highest_prior if prior > 0 else 0.0,
                    tuple(index.string("url", copy) for copy in copies.get(at, ())),
                    explain(index, found.query, number, rank_weight * prior, score) if reasons else None,
                )
            )
        return tuple(out)

"""One version of the index with the links around it: what the pages are made from, replaced as a whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.index import NO_DAY, Page
from lakerank.search.query.presentation import Pieces
from lakerank.search.query.suggest import Suggester
from lakerank.webapp.links import Link, Links

LINKS_SHOWN = 50  # in each direction
RELATED_SHOWN = 6
_TITLES_LOOKED_AT = 40  # for examples


def examples(engine: SearchEngine) -> tuple[tuple[str, str], ...]:
    """Make queries of the words of an index's own titles, one of each kind; only those that find something."""
    index, words = engine.index, list[str]()
    pair = ""
    for number in np.argsort(-index.block["prior"], kind="stable")[:_TITLES_LOOKED_AT].tolist():
        title = index.string("title", number).lower()
        telling = [word for word in re.findall(r"[^\W\d_]{4,}", title) if index.idf(word) > 0]
        words += [word for word in telling if word not in words]
        beside = re.search(r"[^\W\d_]{4,} [^\W\d_]{4,}", title)
        pair = pair or (beside.group() if beside else "")
    if len(words) < 2:
        return ()
    one, two = pair.split() if pair else words[:2]
    three = next((word for word in words if word not in (one, two)), "")
    hosts = np.bincount(index.block["page_hosts"], minlength=len(index.hosts))
    host = index.hosts[int(np.argmax(hosts))]
    kinds = [
        (f"{one} {two}", "pages with these words, best first"),
        (f'"{one} {two}"', "words beside one another; * stands for any one"),
        (f"+{one} -{three}", "must be there, must not be there"),
        (f"{one} OR {three}", "one of them has to be there"),
        (f"title:{one}", "has to stand in the title"),
        (f"{one} site:{host}", "on this site only"),
    ]
    days = index.block["days"]
    known = days[days != NO_DAY]
    if len(known):
        year = str(np.datetime64(int(np.median(known)), "D"))[:4]
        kinds.append((f"{one} after:{year}", "fetched in this year or later"))
    if not three:
        kinds = [kind for kind in kinds if not kind[0].startswith("+") and " OR " not in kind[0]]
    if not host:
        kinds = [kind for kind in kinds if "site:" not in kind[0]]
    return tuple(kind for kind in kinds if _finds(engine, kind[0]))


def _finds(engine: SearchEngine, query: str) -> bool:
    return len(engine.searcher.find(query, 1, feedback="off").pages) > 0


@dataclass(frozen=True)
class Neighbour:
    """A page at the other end of a link."""

    page_id: int
    url: str
    title: str
    link: Link


@dataclass(frozen=True)
class PageView:
    """All that is shown of one page.

    Attributes:
        page: its title and addresses.
        text: its main content, blocks separated by newlines.
        fetched: the day on which it was fetched, or empty.
        pagerank: probability, 0 if unknown.
        rank: its position by PageRank among the pages of the index, from 1; None if its rank is unknown.
        related: pages with much the same words.
        incoming: links to it, and how many there are in all; None if the lake has no links.
        outgoing: links from it, and how many.
    """

    page: Page
    text: str
    fetched: str
    pagerank: float
    rank: int | None
    related: tuple[Page, ...]
    incoming: tuple[list[Neighbour], int] | None
    outgoing: tuple[list[Neighbour], int] | None


@dataclass(frozen=True)
class Site:
    """The site that is served.

    Attributes:
        engine: answers queries.
        links: between the pages, or None.
        version: of the index.
        pageranks: float64 (n), the pages' PageRank, ascending.
        suggester: completes what is typed.
        examples: queries, and what each shows; all of them find something here.
    """

    engine: SearchEngine
    links: Links | None
    version: int
    pageranks: NDArray[np.float64]
    suggester: Suggester
    examples: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, engine: SearchEngine, links: Links | None, version: int) -> Site:
        """Make the site of an engine, with what can be counted in advance."""
        ranks = np.sort(engine.index.block["pageranks"])
        return cls(engine, links, version, ranks, Suggester(engine.index), examples(engine))

    def __len__(self) -> int:
        return len(self.engine.index)

    @property
    def ranked(self) -> bool:
        """Whether the pages have ranks."""
        return bool(len(self.pageranks) and self.pageranks[-1] > 0)

    def view(self, page_id: int) -> PageView | None:
        """Return the view of a page by its id; None if there is none in the index."""
        index = self.engine.index
        number = index.number_of(page_id)
        if number is None:
            return None
        pagerank = float(index.block["pageranks"][number])
        above = len(self.pageranks) - int(np.searchsorted(self.pageranks, pagerank, "right"))
        links = self.links
        return PageView(
            index.page(number),
            index.string("text", number),
            index.day_of(number),
            pagerank,
            above + 1 if pagerank > 0 else None,
            tuple(self.engine.related(number, RELATED_SHOWN)),
            self._named(*links.incoming(number, LINKS_SHOWN)) if links else None,
            self._named(*links.outgoing(number, LINKS_SHOWN)) if links else None,
        )

    def text(self, page_id: int, query: str) -> tuple[Page, Pieces, str] | None:
        """Return a page, its whole text with the words of a query marked, and when it was fetched; None: not there."""
        index = self.engine.index
        number = index.number_of(page_id)
        if number is None:
            return None
        text = index.string("text", number)
        return index.page(number), self.engine.marked(query, text) if query else [(text, False)], index.day_of(number)

    def _named(self, links: list[Link], total: int) -> tuple[list[Neighbour], int]:
        index = self.engine.index
        ids = index.block["page_ids"]
        named = [
            Neighbour(int(ids[link.number]), index.string("url", link.number), index.string("title", link.number), link)
            for link in links
        ]
        return named, total

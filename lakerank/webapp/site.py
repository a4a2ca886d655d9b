"""One version of the index with the links around it: what the pages are made from, replaced as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.index import Page
from lakerank.webapp.links import Link, Links

LINKS_SHOWN = 50  # in each direction
RELATED_SHOWN = 6


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
        pagerank: probability, 0 if unknown.
        rank: its position by PageRank among the pages of the index, from 1; None if its rank is unknown.
        related: pages with much the same words.
        incoming: links to it, and how many there are in all; None if the lake has no links.
        outgoing: links from it, and how many.
    """

    page: Page
    text: str
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
    """

    engine: SearchEngine
    links: Links | None
    version: int
    pageranks: NDArray[np.float64]

    @classmethod
    def of(cls, engine: SearchEngine, links: Links | None, version: int) -> Site:
        """Make the site of an engine, with what can be counted in advance."""
        return cls(engine, links, version, np.sort(engine.index.block["pageranks"]))

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
            pagerank,
            above + 1 if pagerank > 0 else None,
            tuple(self.engine.related(number, RELATED_SHOWN)),
            self._named(*links.incoming(number, LINKS_SHOWN)) if links else None,
            self._named(*links.outgoing(number, LINKS_SHOWN)) if links else None,
        )

    def _named(self, links: list[Link], total: int) -> tuple[list[Neighbour], int]:
        index = self.engine.index
        ids = index.block["page_ids"]
        named = [
            Neighbour(int(ids[link.number]), index.string("url", link.number), index.string("title", link.number), link)
            for link in links
        ]
        return named, total

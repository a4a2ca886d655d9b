"""The newest version of a lake's index with the links around it, opened and opened again when it changes."""

from __future__ import annotations

from pathlib import Path

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowTable, GetSpark
from lakerank.lake.publications import Publications
from lakerank.lake.schemas import INDEX, LINKS
from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.index import Index
from lakerank.search.query.store import index_version, open_index
from lakerank.webapp.links import COLUMNS, Links, gather_links
from lakerank.webapp.newest import Newest
from lakerank.webapp.site import Site

NO_LINKS = "none"


class NewestSite(Newest):
    """The newest version of the index that could be opened; `site` is replaced as a whole.

    Args:
        lake: where the tables are.
        links: table of links; empty: the lake's, if it is there; `NO_LINKS`: none.
        cache_dir: folder for the decoded index, or empty for the usual one.
        get_spark: gives a session for tables of a catalog.

    Raises:
        UserError: there is no index at first, or no table of links where one is named.
    """

    def __init__(self, lake: str, links: str, cache_dir: str, get_spark: GetSpark) -> None:
        self._lake, self._links_table, self._cache_dir, self._get_spark = lake, links, cache_dir, get_spark
        super().__init__("index")
        self._version = index_version(lake, get_spark)
        self.site = self._site(self._version[1])

    def _site(self, version: int) -> Site:
        opened = open_index(self._lake, self._cache_dir, self._get_spark)
        engine = SearchEngine(opened.index)
        warm_up(engine)
        site = Site.of(engine, self._links(engine.index, opened.version), version)
        site.suggester.warm_up()
        return site

    def _links(self, index: Index, number: int) -> Links | None:
        """Gather the links that the index of this publication was made with, or those of the table that is named."""
        if self._links_table == NO_LINKS:
            return None
        try:
            published = Publications.read(self._lake, self._get_spark)
            sources = next((row.sources for row in published.rows if row.number == number and row.what == INDEX), ())
            crawl = next((member for member in sources if member.name == LINKS.name), None)
            if crawl is None or self._links_table:
                ref = published.table(LINKS, self._links_table)
            else:
                ref = published.member(crawl, LINKS)
            table = ArrowTable(ref, LINKS, self._get_spark)
            return gather_links(table.read(COLUMNS), index.block["page_ids"], index.block["pageranks"])
        except UserError as error:
            if self._links_table:
                raise
            print(f"serve: pages are shown without links: {error}", flush=True)
            return None

    def _take_up(self) -> str:
        newest = index_version(self._lake, self._get_spark)
        if newest == self._version:
            return ""
        self.site = self._site(newest[1])
        self._version = newest
        return f"version {newest[1]} of the index, {describe_memory(len(self.site))}"


def describe_memory(pages: int) -> str:
    """Say how many pages there are, and how much memory of its own the process holds for each.

    What is mapped from the cache's files is not counted: the system takes it back when it needs it.
    """
    own = own_memory()
    said = f", {own / 2**20:,.0f} MiB of memory ({own / max(pages, 1):,.0f} bytes a page)" if own else ""
    return f"{pages:,} pages{said}"


def own_memory() -> int:
    """Return the bytes of memory that the process holds besides mapped files; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def warm_up(engine: SearchEngine) -> None:
    """Call every kernel once and make the lists of spellings, before the first reader comes."""
    if len(engine.index):
        engine.search(f"{engine.index.string('title', 0)} qwxyzzyx", reasons=True)
        engine.search('"a b" +c', feedback="on", count=True)
        engine.search("a -b")
        engine.search("a site:b")
        engine.related(0)


def has_published(lake: str, what: str, get_spark: GetSpark) -> bool:
    """Tell whether a lake's jobs have published something, such as an index or a model, by its name."""
    return Publications.read(lake, get_spark).newest(what) is not None

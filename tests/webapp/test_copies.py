"""Copies of a lake go on each for itself, and what is shown belongs to one crawl."""

from __future__ import annotations

import shutil
from pathlib import Path

from webapp.small_lake import LINKS, PAGES, links_table, write_lake

from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import INDEX, INDEX_DOCUMENTS, INDEX_POSTINGS
from lakerank.lake.schemas import LINKS as LINKS_TABLE
from lakerank.lake.schemas import PAGES as PAGES_TABLE
from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.store import no_spark, open_index
from lakerank.webapp.store import NewestSite


def test_copies_that_share_a_cache_show_their_own_pages(tmp_path: Path) -> None:
    write_lake(tmp_path / "one", PAGES)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for lake, word in (("one", "elderberry"), ("two", "cherry")):
        write_lake(tmp_path / lake, [page | {"text": f"{page['text']} {word}"} for page in PAGES])
    for lake, word in (("one", "elderberry"), ("two", "cherry")):
        engine = SearchEngine(open_index(str(tmp_path / lake), str(tmp_path / "cache")).index)
        assert word in engine.search(word).hits[0].snippet


def test_links_are_those_that_the_index_was_made_with(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    write_lake(tmp_path / "lake", PAGES, with_links=False)
    with publishing(no_spark, lake, "pages") as crawl:
        crawl.write(LINKS_TABLE, links_table(LINKS))
    published = Publications.read(lake, no_spark)
    newest = published.newest(INDEX)
    assert newest is not None
    with publishing(no_spark, lake, INDEX) as run:  # as build_index does
        for relation in (PAGES_TABLE, LINKS_TABLE):
            run.reads(relation, published.table(relation))
        run.settings(**newest.settings)
        for relation in (INDEX_POSTINGS, INDEX_DOCUMENTS):
            run.keep(relation, published.table(relation))
    with publishing(no_spark, lake, "pages") as crawl:
        crawl.write(LINKS_TABLE, links_table([(5, 1, "SECOND CRAWL", True, False)]))
    for table, text in (("", "stretching arrays"), (f"{lake}/links", "SECOND CRAWL")):
        view = NewestSite(lake, table, "", no_spark).site.view(1)
        assert view is not None
        assert view.incoming is not None
        assert text in [anchor for neighbour in view.incoming[0] for anchor in neighbour.link.anchors]

"""A site of a few pages: as an engine in memory, and as a lake that build_index might have written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake
from search_oracles import Doc, index_of, pages_table, segments

from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import INDEX, INDEX_DOCUMENTS, INDEX_POSTINGS
from lakerank.lake.schemas import PAGES as PAGES_TABLE
from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.store import no_spark
from lakerank.webapp.links import gather_links
from lakerank.webapp.site import Site

HOSTILE = '<script>alert("x")</script> & "quotes"'
BIG = -8_999_999_999_999_999_999
PAGES: list[Doc] = [
    {"page_id": 1, "title": "Broadcasting arrays", "pagerank": 0.4, "description": "How shapes are matched",
     "text": "Broadcasting stretches small arrays over large arrays.\n\n\nNo copies are made."},
    {"page_id": 2, "title": "Copy of broadcasting", "pagerank": 0.1, "duplicate_of": 1,
     "text": "Broadcasting stretches small arrays over large arrays. No copies are made."},
    {"page_id": 3, "title": HOSTILE, "pagerank": 0.2, "url": "javascript:alert(1)",
     "text": "Hostile <img src=x onerror=alert(1)> arrays stand here."},
    {"page_id": BIG, "title": "", "pagerank": 0.2, "text": "A page about broadcasting without a title."},
    {"page_id": 5, "title": "Cooking", "text": "Salt, pepper and noodles."},
    *({"page_id": 100 + i, "title": f"Zebra {i}", "text": "zebra " * (i + 1), "pagerank": 0.001} for i in range(25)),
]  # fmt: skip
# From, to, text, whether in the main content, nofollow.
LINKS = [
    (3, 1, "stretching arrays", True, False),
    (3, 1, "menu", False, False),
    (3, 1, "menu", False, True),
    (BIG, 1, HOSTILE, False, True),
    (5, 1, "", True, False),
    (1, 3, "hostile", False, False),
    (1, BIG, "untitled", True, False),
    (1, 1, "itself", True, False),
    (1, 77, "not in the index", True, False),
    *((100 + i, 100, f"zebra {i}", False, False) for i in range(1, 25)),
]


def links_table(rows: Sequence[tuple[int, int, str, bool, bool]]) -> pa.Table:
    """The table `links`."""
    src, dst, anchors, main, nofollow = (list(column) for column in zip(*rows, strict=True))
    return pa.table(
        {
            "src": pa.array(src, pa.int64()),
            "dst": pa.array(dst, pa.int64()),
            "src_url": [f"https://example.org/{page}" for page in src],
            "dst_url": [f"https://example.org/{page}" for page in dst],
            "anchor": anchors,
            "nofollow": nofollow,
            "zone": ["main" if where else "navigation" for where in main],
            "weight": [0.0 if no else 1.0 if where else 0.1 for where, no in zip(main, nofollow, strict=True)],
        }
    )


def small_engine(pages: Sequence[Doc] = PAGES) -> SearchEngine:
    """An engine over the pages."""
    return SearchEngine(index_of(pages))


def small_site(version: int = 1) -> Site:
    """The pages with their links."""
    engine = small_engine()
    block = engine.index.block
    return Site.of(engine, gather_links(links_table(LINKS), block["page_ids"], block["pageranks"]), version)


def write_lake(lake: Path, pages: Sequence[Doc], with_links: bool = True) -> None:
    """The lake's tables, written anew as another version where they stand already."""
    postings, documents = segments([pages], "en")
    shown = pages_table(pages)
    write_deltalake(lake / "pages", shown, mode="overwrite")
    if with_links:
        write_deltalake(lake / "links", links_table(LINKS), mode="overwrite")
    published = Publications.read(str(lake), no_spark)
    with publishing(no_spark, str(lake), INDEX) as run:
        run.write(INDEX_POSTINGS, postings)
        run.write(INDEX_DOCUMENTS, documents)
        run.reads(PAGES_TABLE, published.table(PAGES_TABLE))
        run.settings(format=1, language="en")

"""Changes found in memory are those Spark finds, keys and all."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from lakerank.lake.schemas import INDEX_DOCUMENTS, LINKS, PAGES, RANKS, Relation
from lakerank.search.index import index_input
from lakerank.search.index.index_input import INPUT_COLUMNS, MOST_ANCHORS, changes_spark, index_input_spark
from lakerank.search.pages.urls import page_id


def table(relation: Relation, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=relation.arrow_schema())


def pages(seed: int, n: int = 60) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    rows = []
    for page in range(n):
        said = {"title": f"t{page}", "headings": ["a", "b"], "text": "words", "content_hash": f"h{page}é"}
        more = {"language": draw.choice(["en", "de", None]), "noindex": draw.random() < 0.1}
        copies = {"duplicate_of": draw.choice([None, None, 3])}
        rows.append({"page_id": page * 7 - 100, "url": f"u{page}", "source": "s", **said, **more, **copies})
    return rows


def links(seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    words = ["", "home", "zoë", "Home", "a b", *(f"w{i}" for i in range(130))]
    rows = []
    for _ in range(1500):
        src, dst = (draw.randrange(60) * 7 - 100 for _ in range(2))
        dst = -93 if draw.random() < 0.3 else dst  # one page with more texts than are kept
        said = {"anchor": draw.choice(words), "nofollow": draw.random() < 0.1, "zone": "main", "weight": 1.0}
        rows.append({"src": src, "dst": dst, "src_url": "", "dst_url": "", **said})
    return rows


def by_page(rows: pa.Table | DataFrame) -> list[dict[str, Any]]:
    found = rows if isinstance(rows, pa.Table) else rows.toArrow()
    return sorted(found.to_pylist(), key=lambda row: row["page_id"])


def test_memory_and_spark_agree(spark: SparkSession) -> None:
    page_rows, link_rows = pages(1), links(1)
    ranks = [{"id": row["page_id"], "pagerank": 0.01 * (row["page_id"] % 5 + 1)} for row in page_rows[5:]]
    tables = [table(PAGES, page_rows), table(LINKS, link_rows), table(RANKS, ranks)]
    frames = [spark.createDataFrame(rows) for rows in tables]
    there = index_input_spark(*frames, "").localCheckpoint()

    anchors = index_input.anchor_texts_arrow(tables[1].select(index_input.LINK_COLUMNS))
    assert max(map(len, anchors.values())) == MOST_ANCHORS
    now = index_input.current_documents(tables[0].select(index_input.PAGE_COLUMNS), anchors, tables[2], "")
    names = list(index_input.DOCUMENT_COLUMNS)
    assert by_page(now) == by_page(there.select(names))
    some = tables[0].slice(10, 20).select(index_input.TEXT_COLUMNS)
    shown = pa.Table.from_batches([index_input.index_input_arrow(some, now, anchors)])
    wanted = [row for row in by_page(there) if row["page_id"] in some["page_id"].to_pylist()]
    kept = [row for row in by_page(shown) if row["key"] is not None]  # the others ask not to be found
    assert len(kept) > 10
    assert kept == wanted
    assert shown.column_names == list(INPUT_COLUMNS)

    # Another language, one page less and one more, another original, another rank.
    page_rows[1]["language"], page_rows[2]["duplicate_of"], ranks[9]["pagerank"] = "fr", 3, 0.5
    before = table(PAGES, [*page_rows[:20], *page_rows[21:], {**page_rows[0], "page_id": 9999}])
    other = index_input.anchor_texts_arrow(table(LINKS, link_rows[:-1]))
    old = index_input.current_documents(before.select(index_input.PAGE_COLUMNS), other, table(RANKS, ranks), "")
    for name in ("segment", "ordinal"):
        old = old.append_column(name, pa.array([0] * len(old), INDEX_DOCUMENTS.arrow_schema().field(name).type))
    mine = index_input.changes_arrow(now, old.select(names))
    assert {row["status"] for row in by_page(mine)} == {"new", "changed", "removed", "touched"}
    theirs = changes_spark(there, spark.createDataFrame(old.select(names))).select(mine.column_names)
    assert by_page(mine) == by_page(theirs)


def test_known_keys_are_those_that_would_be_made() -> None:
    rows, anchors = (
        pages(3),
        index_input.anchor_texts_arrow(table(LINKS, links(3)).select(index_input.LINK_COLUMNS)),
    )
    before = table(PAGES, rows).select(index_input.PAGE_COLUMNS)
    index = index_input.current_documents(before, anchors, None, "")
    shown = [row for row in rows if not row["noindex"]]
    hidden = next(row for row in rows if row["noindex"])
    shown[0]["language"], shown[1]["content_hash"], shown[2]["noindex"], hidden["noindex"] = "fr", "other", True, False
    after = table(PAGES, [*rows[:30], *rows[31:], {**rows[0], "page_id": 9999}]).select(index_input.PAGE_COLUMNS)
    known = index_input.known_keys(after, before, index)
    assert {shown[0]["page_id"], shown[1]["page_id"], 9999}.isdisjoint(known["page_id"].to_pylist())
    assert len(known) >= len(index) - 5
    everything = index_input.current_documents(after, anchors, None, "")
    assert by_page(index_input.current_documents(after, anchors, None, "", known)) == by_page(everything)
    lies = known.set_column(1, "key", pa.array([7] * len(known)))
    assert index_input.current_documents(after, anchors, None, "", lies)["key"].to_pylist().count(7) > 40, (
        "and are used"
    )


def test_without_links_ranks_or_pages() -> None:
    rows = table(PAGES, pages(2)).select(index_input.PAGE_COLUMNS)
    now = index_input.current_documents(rows, {}, None, "en")
    assert now["pagerank"].null_count == len(now) > 0
    assert len(index_input.changes_arrow(now, now)) == 0
    none = now.slice(0, 0)
    assert index_input.changes_arrow(now, none)["status"].to_pylist() == ["new"] * len(now)
    assert index_input.changes_arrow(none, now)["status"].to_pylist() == ["removed"] * len(now)
    assert index_input.anchor_texts_arrow(table(LINKS, []).select(index_input.LINK_COLUMNS)) == {}


def test_stubs_are_left_out_alike(spark: SparkSession) -> None:
    urls = [f"https://a.org/{n}" for n in range(8)]
    ids = pa.table({"page_id": pa.array([page_id(url) for url in urls], pa.int64())})
    leads = [(0, urls[1], "refresh"), (2, "https://b.org/", "refresh"), (3, urls[3], "refresh"), (4, urls[1], "http")]
    redirects = pa.table(
        {
            "url": [urls[n] for n, _, _ in leads],
            "target_url": [target for _, target, _ in leads],
            "kind": [kind for *_, kind in leads],
        }
    )
    mine = index_input.without_stubs_arrow(ids, redirects)["page_id"].to_pylist()
    theirs = index_input.without_stubs_spark(spark.createDataFrame(ids), spark.createDataFrame(redirects)).toArrow()
    assert sorted(mine) == sorted(theirs["page_id"].to_pylist()) == sorted(page_id(url) for url in urls[1:])

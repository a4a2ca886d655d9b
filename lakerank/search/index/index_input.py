"""The input of the index: the fields of pages, and the pages that have changed since they were indexed.

Each step stands here twice, `…_arrow` beside `…_spark`, and a test compares the two, keys and all. Neither serves
alone: an update of a hundredth of the pages must not cost a dozen Spark jobs, and the texts of all links of a large web
have to be shuffled to the pages they lead to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from lakerank.search.pages.urls import page_id

# pyspark is imported within the functions that take frames: an index in memory is made and updated without it.
if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

MOST_ANCHORS = 100  # distinct texts of links to one page
NEW, CHANGED, REMOVED, TOUCHED = "new", "changed", "removed", "touched"
PAGE_COLUMNS = ("page_id", "content_hash", "language", "noindex", "duplicate_of")  # that tell whether a page changed
TEXT_COLUMNS = ("page_id", "title", "headings", "text", "language")
REDIRECT_COLUMNS = ("url", "target_url", "kind")
LINK_COLUMNS = ("src", "dst", "anchor", "nofollow")
DOCUMENT_COLUMNS = ("page_id", "key", "pagerank", "duplicate_of")  # of `index_documents`, that say what is indexed
INPUT_COLUMNS = (*DOCUMENT_COLUMNS, "title", "headings", "text", "language", "anchors")  # what `SegmentBuilder` takes
Anchors = Mapping[int, Sequence[str]]
_SEED = 42  # of Spark's xxhash64


def anchor_texts_arrow(links: pa.Table) -> Anchors:
    """Gather the distinct texts of links to each page, most frequent first.

    A menu that stands on every page says of its target as much as if it stood on one, and a farm of pages that all say
    the same counts as one voice. Links marked nofollow and a page's links to itself say nothing.

    Args:
        links: `LINK_COLUMNS`.
    """
    spoken = pc.and_(pc.invert(links["nofollow"]), pc.not_equal(links["src"], links["dst"]))
    spoken = pc.and_(spoken, pc.not_equal(links["anchor"], ""))
    texts = links.filter(spoken).select(["dst", "anchor"])
    counted = texts.group_by(["dst", "anchor"]).aggregate([([], "count_all")])
    order = [("dst", "ascending"), ("count_all", "descending"), ("anchor", "ascending")]
    ranked = counted.take(pc.sort_indices(counted, order))
    targets = ranked["dst"].to_numpy()
    begins = np.flatnonzero(np.append(True, targets[1:] != targets[:-1])[: len(targets)])
    ends = [*begins[1:].tolist(), len(targets)]
    anchors = ranked["anchor"].to_pylist()
    return {
        int(targets[begin]): anchors[begin : min(end, begin + MOST_ANCHORS)]
        for begin, end in zip(begins.tolist(), ends, strict=len(targets) > 0)
    }


def anchor_texts_spark(links: DataFrame) -> DataFrame:
    """Gather `page_id`, `anchors` (array<string>), as `anchor_texts_arrow`."""
    from pyspark.sql import functions as F

    spoken = links.where("NOT nofollow AND src <> dst AND anchor <> ''")
    counted = spoken.groupBy("dst", "anchor").agg(F.count("*").alias("n"))
    texts = F.sort_array(F.collect_list(F.struct((-F.col("n")).alias("n"), "anchor")))
    best = F.transform(F.slice(texts, 1, MOST_ANCHORS), lambda text: text["anchor"])
    return counted.groupBy(F.col("dst").alias("page_id")).agg(best.alias("anchors"))


def page_key(content_hash: str | None, anchors: Iterable[str], language: str) -> int:
    """Hash all that is indexed of a page, int64.

    This is Spark's `xxhash64(content_hash, anchors, language)`: of each part with the hash before it as seed.
    """
    number = _SEED if content_hash is None else xxhash.xxh64_intdigest(content_hash.encode(), _SEED)
    for text in anchors:
        number = xxhash.xxh64_intdigest(text.encode(), number)
    number = xxhash.xxh64_intdigest(language.encode(), number)
    return number - (1 << 64) if number >> 63 else number


def known_keys(pages: pa.Table, pages_before: pa.Table, before: pa.Table) -> pa.Table:
    """Return keys that need not be computed again, where no link has changed: rows of `before` whose pages did not.

    Args:
        pages, pages_before: `PAGE_COLUMNS`, now and when the index was made.
        before: `DOCUMENT_COLUMNS` of that index.
    """
    position = pc.index_in(pages["page_id"], pages_before["page_id"].combine_chunks())
    same = pc.is_valid(position)
    for name in ("content_hash", "language"):
        was = pages_before[name].combine_chunks().take(position)
        alike = pc.equal(pc.fill_null(pages[name], ""), pc.fill_null(was, ""))
        same = pc.and_(same, alike)
    return before.filter(pc.is_in(before["page_id"], pages["page_id"].filter(same).combine_chunks()))


def without_stubs_arrow(pages: pa.Table, redirects: pa.Table) -> pa.Table:
    """Leave out pages that do nothing but lead to another page at once ("this page has moved").

    Args:
        pages: with `page_id`.
        redirects: `REDIRECT_COLUMNS`. A page whose target was not read stays: it is all there is.
    """
    at_once = redirects.filter(pc.equal(redirects["kind"], "refresh"))
    ids = pages["page_id"].combine_chunks()
    sources = pa.array([page_id(url) for url in at_once["url"].to_pylist()], pa.int64())
    targets = pa.array([page_id(url) for url in at_once["target_url"].to_pylist()], pa.int64())
    stubs = sources.filter(pc.and_(pc.is_in(targets, ids), pc.not_equal(sources, targets)))
    return pages.filter(pc.invert(pc.is_in(pages["page_id"], stubs)))


def without_stubs_spark(pages: DataFrame, redirects: DataFrame) -> DataFrame:
    """Leave out pages that do nothing but lead to another page at once, as `without_stubs_arrow`."""
    from pyspark.sql import functions as F

    at_once = redirects.where("kind = 'refresh' AND url <> target_url")
    ids = at_once.select(F.xxhash64("url").alias("page_id"), F.xxhash64("target_url").alias("target"))
    stubs = ids.join(pages.select(F.col("page_id").alias("target")), "target", "left_semi").select("page_id")
    return pages.join(stubs, "page_id", "left_anti")


def current_documents(
    pages: pa.Table, anchors: Anchors, ranks: pa.Table | None, language: str, known: pa.Table | None = None
) -> pa.Table:
    """Compute what the index should say of each page: `DOCUMENT_COLUMNS`.

    Args:
        pages: `PAGE_COLUMNS`; those that ask not to be found are left out.
        anchors: texts of links by page.
        ranks: `id`, `pagerank`, or None.
        language: that all pages are analysed in, or empty: each in its own.
        known: `page_id`, `key` of pages whose key is known.
    """
    shown = pages.filter(pc.invert(pages["noindex"]))
    keys = pa.nulls(len(shown), pa.int64())
    if known is not None:
        position = pc.index_in(shown["page_id"], known["page_id"].combine_chunks())
        keys = known["key"].combine_chunks().take(position.combine_chunks())
    missing = shown.filter(pc.is_null(keys))
    rows = zip(*(missing[name].to_pylist() for name in ("page_id", "content_hash", "language")), strict=True)
    made = [page_key(said, anchors.get(page, ()), language or spoken or "") for page, said, spoken in rows]
    keys = pc.replace_with_mask(keys, pc.is_null(keys), pa.array(made, pa.int64()))
    pagerank = pa.nulls(len(shown), pa.float64())
    if ranks is not None:
        position = pc.index_in(shown["page_id"], _numbers(ranks["id"]).combine_chunks())
        pagerank = ranks["pagerank"].combine_chunks().take(position)
    columns = [shown["page_id"], keys, pagerank, shown["duplicate_of"]]
    return pa.table(columns, names=list(DOCUMENT_COLUMNS))


def _numbers(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert ids to int64; what is no number is null, as Spark's cast has it."""
    if pa.types.is_integer(ids.type):
        return ids.cast(pa.int64())
    plain = pc.match_substring_regex(ids, r"^-?\d{1,18}$")
    return pc.if_else(plain, ids, None).cast(pa.int64())


def index_input_arrow(pages: pa.Table, now: pa.Table, anchors: Anchors) -> pa.RecordBatch:
    """Return the indexed fields of some pages: `INPUT_COLUMNS`.

    Args:
        pages: `TEXT_COLUMNS` of the pages that are wanted.
        now: `current_documents`, of them and any others.
        anchors: as for `current_documents`.
    """
    position = pc.index_in(pages["page_id"], now["page_id"].combine_chunks())
    for name in DOCUMENT_COLUMNS[1:]:
        pages = pages.append_column(name, now[name].combine_chunks().take(position))
    lists = [anchors.get(page) for page in pages["page_id"].to_pylist()]
    pages = pages.append_column("anchors", pa.array(lists, pa.list_(pa.string())))
    (batch,) = pages.select(list(INPUT_COLUMNS)).combine_chunks().to_batches() or [None]
    return batch if batch is not None else pa.RecordBatch.from_pylist([], pages.select(list(INPUT_COLUMNS)).schema)


def index_input_spark(
    pages: DataFrame, links: DataFrame | None, ranks: DataFrame | None, language: str, only: DataFrame | None = None
) -> DataFrame:
    """Return the indexed fields of pages: `INPUT_COLUMNS`.

    Args:
        pages: table `pages`; those that ask not to be found are left out.
        links, ranks: tables `links` and `ranks` (ids bigint), if there are any.
        language: that all pages are analysed in, or empty: each in its own.
        only: `page_id` of the few pages that are wanted, or None: all.
    """
    from pyspark.sql import functions as F

    shown = pages.where("NOT noindex")
    if only is not None:
        shown = shown.join(F.broadcast(only), "page_id")
    if links is None:
        shown = shown.withColumn("anchors", F.lit(None).cast("array<string>"))
    else:
        if only is not None:
            links = links.join(F.broadcast(only.withColumnRenamed("page_id", "dst")), "dst")
        shown = shown.join(anchor_texts_spark(links), "page_id", "left")
    if ranks is None:
        shown = shown.withColumn("pagerank", F.lit(None).cast("double"))
    else:
        rank = ranks.select(F.col("id").cast("bigint").alias("page_id"), "pagerank")
        shown = shown.join(rank, "page_id", "left")
    spoken: Column = F.lit(language) if language else F.coalesce("language", F.lit(""))
    return shown.withColumn("key", F.xxhash64("content_hash", "anchors", spoken)).select(*INPUT_COLUMNS)


def changes_arrow(now: pa.Table, before: pa.Table) -> pa.Table:
    """Compare pages with the index: `page_id`, `status`, `pagerank`, `duplicate_of` of those that are not as they were.

    Args:
        now, before: `DOCUMENT_COLUMNS`, each page once.

    Returns:
        Statuses are NEW, CHANGED (its words), REMOVED, TOUCHED (only rank or original).
    """
    position = pc.index_in(now["page_id"], before["page_id"].combine_chunks())
    known = pc.is_valid(position).to_numpy()
    old = before.take(pc.fill_null(position, 0)) if len(before) else now
    same_key = now["key"].to_numpy() == old["key"].to_numpy()
    same = (_ranks(now) == _ranks(old)) & (_originals(now) == _originals(old))
    status = np.full(len(now), "", object)
    status[known & same_key & ~same] = TOUCHED
    status[known & ~same_key] = CHANGED
    status[~known] = NEW
    differs = status != ""
    changed = now.filter(pa.array(differs)).select(["page_id", "pagerank", "duplicate_of"])
    changed = changed.append_column("status", pa.array(status[differs], pa.string()))
    gone = before.filter(pc.invert(pc.is_in(before["page_id"], now["page_id"].combine_chunks())))
    gone = gone.select(["page_id"]).append_column("status", pa.array([REMOVED] * len(gone), pa.string()))
    return pa.concat_tables([changed, gone], promote_options="default")


def _ranks(rows: pa.Table) -> Any:
    return rows["pagerank"].fill_null(float("nan")).to_numpy().astype(np.float64).view(np.int64)


def _originals(rows: pa.Table) -> Any:
    return pc.coalesce(rows["duplicate_of"], rows["page_id"]).to_numpy()


def changes_spark(now: DataFrame, before: DataFrame) -> DataFrame:
    """Compare pages with the index, as `changes_arrow`.

    Args:
        now: `index_input_spark`.
        before: table `index_documents`.
    """
    from pyspark.sql import functions as F

    old = before.select(
        "page_id", F.col("key").alias("k"), F.col("pagerank").alias("r"), F.col("duplicate_of").alias("d")
    )
    both = now.select("page_id", "key", "pagerank", "duplicate_of").join(old, "page_id", "full")
    same = F.col("pagerank").eqNullSafe(F.col("r")) & F.col("duplicate_of").eqNullSafe(F.col("d"))
    status = (
        F.when(F.col("k").isNull(), NEW)
        .when(F.col("key").isNull(), REMOVED)
        .when(F.col("key") != F.col("k"), CHANGED)
        .when(~same, TOUCHED)
    )
    shown = both.select("page_id", status.alias("status"), "pagerank", "duplicate_of")
    return shown.where("status IS NOT NULL")

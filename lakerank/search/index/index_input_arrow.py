"""What `contents` does, in memory: which pages have changed, and what of them is indexed.

An update of a hundredth of the pages must not cost a dozen Spark jobs. Keys are those Spark makes: either may be
compared with the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from lakerank.search.index.index_input_spark import CHANGED, CONTENT, MOST_ANCHORS, NEW, REMOVED, TOUCHED

PAGE_COLUMNS = ("page_id", "content_hash", "language", "noindex", "duplicate_of")  # that tell whether a page changed
TEXT_COLUMNS = ("page_id", "title", "headings", "text", "language")
LINK_COLUMNS = ("src", "dst", "anchor", "nofollow")
INDEX_COLUMNS = ("page_id", "key", "pagerank", "duplicate_of")
Anchors = Mapping[int, Sequence[str]]
_SEED = 42  # of Spark's xxhash64


def anchor_lists(links: pa.Table) -> Anchors:
    """`contents.anchor_texts`: the distinct texts of links to each page, most frequent first.

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


def page_key(content_hash: str | None, anchors: Iterable[str], language: str) -> int:
    """Spark's `xxhash64(content_hash, anchors, language)`: of each part with the hash before it as seed; int64."""
    number = _SEED if content_hash is None else xxhash.xxh64_intdigest(content_hash.encode(), _SEED)
    for text in anchors:
        number = xxhash.xxh64_intdigest(text.encode(), number)
    number = xxhash.xxh64_intdigest(language.encode(), number)
    return number - (1 << 64) if number >> 63 else number


def unchanged(pages: pa.Table, pages_before: pa.Table, before: pa.Table) -> pa.Table:
    """Keys that need not be made again, where no link has changed: rows of `before` of pages that say what they said.

    Args:
        pages, pages_before: `PAGE_COLUMNS`, now and when the index was made.
        before: `INDEX_COLUMNS` of that index.
    """
    place = pc.index_in(pages["page_id"], pages_before["page_id"].combine_chunks())
    same = pc.is_valid(place)
    for name in ("content_hash", "language"):
        was = pages_before[name].combine_chunks().take(place)
        alike = pc.equal(pc.fill_null(pages[name], ""), pc.fill_null(was, ""))
        same = pc.and_(same, alike)
    return before.filter(pc.is_in(before["page_id"], pages["page_id"].filter(same).combine_chunks()))


def current(
    pages: pa.Table, anchors: Anchors, ranks: pa.Table | None, language: str, known: pa.Table | None = None
) -> pa.Table:
    """What the index should say of each page: `INDEX_COLUMNS`.

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
        place = pc.index_in(shown["page_id"], known["page_id"].combine_chunks())
        keys = known["key"].combine_chunks().take(place.combine_chunks())
    missing = shown.filter(pc.is_null(keys))
    rows = zip(*(missing[name].to_pylist() for name in ("page_id", "content_hash", "language")), strict=True)
    made = [page_key(said, anchors.get(page, ()), language or spoken or "") for page, said, spoken in rows]
    keys = pc.replace_with_mask(keys, pc.is_null(keys), pa.array(made, pa.int64()))
    pagerank = pa.nulls(len(shown), pa.float64())
    if ranks is not None:
        place = pc.index_in(shown["page_id"], _numbers(ranks["id"]).combine_chunks())
        pagerank = ranks["pagerank"].combine_chunks().take(place)
    columns = [shown["page_id"], keys, pagerank, shown["duplicate_of"]]
    return pa.table(columns, names=list(INDEX_COLUMNS))


def _numbers(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids as int64; what is no number is null, as Spark's cast has it."""
    if pa.types.is_integer(ids.type):
        return ids.cast(pa.int64())
    plain = pc.match_substring_regex(ids, r"^-?\d{1,18}$")
    return pc.if_else(plain, ids, None).cast(pa.int64())


def compare(now: pa.Table, before: pa.Table) -> pa.Table:
    """`contents.changes`: `page_id`, `status`, `pagerank`, `duplicate_of` of pages that are not as they were.

    Args:
        now, before: `INDEX_COLUMNS`, each page once.
    """
    place = pc.index_in(now["page_id"], before["page_id"].combine_chunks())
    known = pc.is_valid(place).to_numpy()
    old = before.take(pc.fill_null(place, 0)) if len(before) else now
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


def contents(pages: pa.Table, now: pa.Table, anchors: Anchors) -> pa.RecordBatch:
    """What goes into the index of some pages: `contents.CONTENT`.

    Args:
        pages: `TEXT_COLUMNS` of the pages that are wanted.
        now: `current`, of them and any others.
        anchors: as for `current`.
    """
    place = pc.index_in(pages["page_id"], now["page_id"].combine_chunks())
    for name in INDEX_COLUMNS[1:]:
        pages = pages.append_column(name, now[name].combine_chunks().take(place))
    lists = [anchors.get(page) for page in pages["page_id"].to_pylist()]
    pages = pages.append_column("anchors", pa.array(lists, pa.list_(pa.string())))
    (batch,) = pages.select(list(CONTENT)).combine_chunks().to_batches() or [None]
    return batch if batch is not None else pa.RecordBatch.from_pylist([], pages.select(list(CONTENT)).schema)

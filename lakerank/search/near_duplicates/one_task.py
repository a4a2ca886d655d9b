"""The groups of similar pages found by one worker, without shuffles.

It holds the shingle sets (8 bytes for each distinct shingle, twice while they are gathered) and about 500 bytes for
each page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.search.near_duplicates.pair_kernels import bucket_ends, join_across, join_with_first, roots, similarities
from lakerank.search.near_duplicates.texts import shingles_of

COPIES = "page_id bigint, duplicate_of bigint, similarity double"
_OUT_ROWS = 1 << 17


def solve(batches: Iterator[pa.RecordBatch], *, threshold: float, limit: int) -> Iterator[pa.RecordBatch]:
    """All rows of `texts.ENCODED` to rows of `COPIES`.

    Args:
        batches: every page with words, in any order.
        threshold: Jaccard similarity from which on two pages are joined.
        limit: see `pair_kernels.join_across`.
    """
    gathered = _gather(batches)
    if gathered is None:
        return
    pages, keys, span, sets = gathered
    parent = same_sets(_column(pages, "low"), _column(pages, "high"))
    distinct = np.flatnonzero(parent == np.arange(len(parent)))
    for band in range(keys.shape[1]):
        order, ends = _buckets(keys[:, band].copy(), distinct)
        join_with_first(order, ends, span, sets, threshold, parent)
    group = roots(parent)
    distinct = distinct[np.argsort(group[distinct], kind="stable")]
    for band in range(keys.shape[1]):
        order, ends = _buckets(keys[:, band].copy(), distinct)
        join_across(order, ends, group, span, sets, threshold, limit, parent)
    original = originals(roots(parent), places(pages))
    copies = np.flatnonzero(original != np.arange(len(original)))
    alike = similarities(span, sets, copies, original[copies], 0.0)
    ids = _column(pages, "page_id")
    for at in range(0, len(copies), _OUT_ROWS):
        some = copies[at : at + _OUT_ROWS]
        columns = [pa.array(ids[some]), pa.array(ids[original[some]]), pa.array(alike[at : at + _OUT_ROWS])]
        yield pa.record_batch(columns, names=["page_id", "duplicate_of", "similarity"])


def _gather(batches: Iterator[pa.RecordBatch]) -> tuple[pa.Table, NDArray[Any], NDArray[Any], NDArray[Any]] | None:
    """Pages by ascending page_id (without sets), int64 keys (N, B), spans (N, 2), sets; None without any page."""
    pages, keys, spans, sets = [], [], [], []
    at = 0
    for batch in batches:
        if batch.num_rows:
            ptr, found = shingles_of(batch.column("shingles"))
            spans.append(np.stack([ptr[:-1], ptr[1:]], axis=1) + at)
            at += len(found)
            sets.append(found)
            keys.append(batch.column("bands").flatten().to_numpy().reshape(batch.num_rows, -1))
            pages.append(batch.select(["page_id", "url", "low", "high"]))
    if not pages:
        return None
    table = pa.Table.from_batches(pages)
    order = np.argsort(_column(table, "page_id"), kind="stable")
    pages_in_order = table.take(pa.array(order))
    return pages_in_order, np.concatenate(keys)[order], np.concatenate(spans)[order], np.concatenate(sets)


def _column(table: pa.Table, name: str) -> NDArray[Any]:
    column: NDArray[Any] = table.column(name).to_numpy()
    return column


def same_sets(low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.int64]:
    """For each page the first with the same set hash."""
    order = np.lexsort((high, low))
    new = np.ones(len(order), bool)
    new[1:] = (low[order[1:]] != low[order[:-1]]) | (high[order[1:]] != high[order[:-1]])
    first = np.empty(len(order), np.int64)
    first[order] = order[new][np.cumsum(new) - 1]  # lexsort is stable: the first of a run is the least
    return first


def places(pages: pa.Table) -> NDArray[np.int64]:
    """Place of each page by length of its url, url and page_id: who is the original of whom."""
    keyed = pages.append_column("length", pc.utf8_length(pages.column("url")))
    order = pc.sort_indices(keyed, [(name, "ascending") for name in ("length", "url", "page_id")]).to_numpy()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place


def originals(group: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each page the one of its group with the lowest place."""
    order = np.argsort(place)
    best = np.full(len(group), -1, np.int64)
    best[group[order[::-1]]] = order[::-1]  # written last: the lowest place
    return best[group]


def _buckets(keys: NDArray[np.int64], pages: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`pages` by bucket, otherwise in their order, and where buckets end."""
    order = pages[np.argsort(keys[pages], kind="stable")]
    return order, bucket_ends(keys, order)

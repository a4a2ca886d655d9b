"""Which pages copy another, exactly or nearly: groups of similar pages, each with its original.

The same steps stand here twice: `solve` takes them on arrays, in one task or in memory, without shuffles;
`solve_distributed` takes them as DataFrame operations on the same kernels, where no worker could hold all sets. A test
compares the two row for row. `solve` holds the shingle sets (8 bytes for each distinct shingle, twice while they are
gathered) and about 500 bytes for each page. Distributed, page ids and band keys travel (16 bytes for each page and
band), and the sets of the pairs that are compared; only the edges between similar pages meet in one task (about 100
bytes each).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.schemas import PAGES
from lakerank.search.near_duplicates.pairs import (
    bucket_ends,
    crossing_pairs,
    join_across,
    join_with_first,
    roots,
    similarities,
    unite,
)
from lakerank.search.near_duplicates.shingles import ENCODED, Banding, encode, shingles_of
from lakerank.spark.checkpoint import checkpoint

ONE_TASK_BYTES = 1 << 30  # of shingle sets: some 250,000 pages of 500 words
LIMIT = 256  # comparisons of a page with pages of other groups, for each bucket
TEXTS = replace(PAGES, columns=tuple(c for c in PAGES.columns if c.name in ("page_id", "url", "text")))
COPIES = replace(PAGES, columns=tuple(c for c in PAGES.columns if c.name in ("page_id", "duplicate_of", "similarity")))
_TEXTS_AT_ONCE = 1000  # encoded
_PAIRS = "a bigint, b bigint"
_OUT_ROWS = 1 << 17


def mark_duplicates(
    pages: DataFrame | pa.Table,
    threshold: float = 0.8,
    *,
    shingle_words: int = 5,
    one_task_bytes: int = ONE_TASK_BYTES,
    limit: int = LIMIT,
    scratch: str = "",
) -> DataFrame | pa.Table:
    """Find the pages that copy another, each with its group's original.

    Two pages are alike if the sets of their runs of `shingle_words` words (letters made small) have a Jaccard
    similarity of at least `threshold`. Groups are what such pairs connect: if A is like B and B is like C, they are
    one group even if A and C are not alike. The original is the page with the shortest url, of those the
    alphabetically first. A text with fewer words is one shingle; a page without words copies nothing.

    Pairs at the threshold are missed with a probability of at most 0.001 (0.00005 at 0.8), unless other pages connect
    them. In buckets of more than `limit` pages, most of them unlike each other, more may be missed (ADR 0017).
    Whichever way is taken, the result is the same. A frame `pages` is computed once, when this is called.

    Args:
        pages: page_id bigint (a key), url string, text string, none null; other columns are ignored. An Arrow table is
            compared in memory.
        threshold: 0.1 to 1.
        shingle_words: at least 1.
        one_task_bytes: up to so many bytes of shingle sets (8 for each distinct shingle of a page) one task does it
            all, without shuffles.
        limit: comparisons of a page in each bucket with pages that nothing connects with it so far.
        scratch: see `lakerank.spark.checkpoint`.

    Returns:
        A table or a frame, as `pages`: page_id bigint, duplicate_of bigint (always an original), similarity double:
        exact Jaccard similarity with that original, 1 for the same shingles; below the threshold where only other
        pages connect the two.

    Raises:
        UserError: a column is missing or of another type; the threshold or `shingle_words` is out of its range.
    """
    if shingle_words < 1:
        raise UserError(f"near-duplicates: {shingle_words} words in a shingle; it must be at least 1")
    encoding = partial(encode, banding=Banding.for_threshold(threshold), width=shingle_words)
    solving = partial(solve, threshold=threshold, limit=limit)
    if isinstance(pages, pa.Table):
        texts = iter(pages.select(list(TEXTS.names)).to_batches(max_chunksize=_TEXTS_AT_ONCE))
        return pa.Table.from_batches(solving(encoding(texts)), COPIES.arrow_schema())
    encoded = checkpoint(TEXTS.enforce(pages, "pages").mapInArrow(encoding, ENCODED.ddl()), scratch)
    size = encoded.agg(F.sum(F.length("shingles").cast("bigint"))).collect()[0][0] or 0
    if size > one_task_bytes:
        return solve_distributed(encoded, threshold, limit, scratch)
    return checkpoint(encoded.repartition(1).mapInArrow(solving, COPIES.ddl()), scratch)


def solve(batches: Iterator[pa.RecordBatch], *, threshold: float, limit: int) -> Iterator[pa.RecordBatch]:
    """Find the copies among all rows of `ENCODED`, by one worker; gives rows of `COPIES`.

    Args:
        batches: every page with words, in any order.
        threshold: Jaccard similarity from which on two pages are joined.
        limit: see `pairs.join_across`.
    """
    gathered = _gather(batches)
    if gathered is None:
        return
    pages, keys, span, sets = gathered
    parent = first_with_set(_column(pages, "low"), _column(pages, "high"))
    distinct = np.flatnonzero(parent == np.arange(len(parent)))
    for band in range(keys.shape[1]):
        order, ends = _buckets(keys[:, band].copy(), distinct)
        join_with_first(order, ends, span, sets, threshold, parent)
    group = roots(parent)
    distinct = distinct[np.argsort(group[distinct], kind="stable")]
    for band in range(keys.shape[1]):
        order, ends = _buckets(keys[:, band].copy(), distinct)
        join_across(order, ends, group, span, sets, threshold, limit, parent)
    original = originals(roots(parent), original_order(pages))
    copies = np.flatnonzero(original != np.arange(len(original)))
    alike = similarities(span, sets, copies, original[copies], 0.0)
    ids = _column(pages, "page_id")
    for at in range(0, len(copies), _OUT_ROWS):
        some = copies[at : at + _OUT_ROWS]
        columns = [pa.array(ids[some]), pa.array(ids[original[some]]), pa.array(alike[at : at + _OUT_ROWS])]
        yield pa.record_batch(columns, names=["page_id", "duplicate_of", "similarity"])


def _gather(batches: Iterator[pa.RecordBatch]) -> tuple[pa.Table, NDArray[Any], NDArray[Any], NDArray[Any]] | None:
    """Gather pages by page_id (without sets), int64 keys (N, B), spans (N, 2), sets; None without any page."""
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


def first_with_set(low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.int64]:
    """Return the first page with the same set hash, for each page."""
    order = np.lexsort((high, low))
    new = np.ones(len(order), bool)
    new[1:] = (low[order[1:]] != low[order[:-1]]) | (high[order[1:]] != high[order[:-1]])
    first = np.empty(len(order), np.int64)
    first[order] = order[new][np.cumsum(new) - 1]  # lexsort is stable: the first of a run is the least
    return first


def original_order(pages: pa.Table) -> NDArray[np.int64]:
    """Rank pages by length of their url, url and page_id: the first of a group is its original."""
    keyed = pages.append_column("length", pc.utf8_length(pages.column("url")))
    order = pc.sort_indices(keyed, [(name, "ascending") for name in ("length", "url", "page_id")]).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def originals(group: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the page of its group with the lowest rank, for each page."""
    order = np.argsort(rank)
    best = np.full(len(group), -1, np.int64)
    best[group[order[::-1]]] = order[::-1]  # written last: the lowest rank
    return best[group]


def _buckets(keys: NDArray[np.int64], pages: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort `pages` by bucket, otherwise in their order; return them and where buckets end."""
    order = pages[np.argsort(keys[pages], kind="stable")]
    return order, bucket_ends(keys, order)


def solve_distributed(encoded: DataFrame, threshold: float, limit: int, scratch: str) -> DataFrame:
    """Find the copies among all rows of `ENCODED` over a cluster, row for row as `solve`.

    Args:
        encoded: every page with words, checkpointed.
        threshold: Jaccard similarity from which on two pages are joined.
        limit: see `pairs.join_across`.
        scratch: see `lakerank.spark.checkpoint`.
    """
    sets = encoded.groupBy("low", "high").agg(F.min("page_id").alias("set_id"))
    members = checkpoint(encoded.join(sets, ["low", "high"]).select("page_id", "url", "set_id"), scratch)
    kept = encoded.join(members.where("page_id = set_id").select("page_id"), "page_id", "left_semi")
    shingles = kept.select(F.col("page_id").alias("set_id"), "shingles")

    bucket = Window.partitionBy("bucket")
    buckets = kept.select(F.explode("bands").alias("bucket"), F.col("page_id").alias("set_id"))
    marked = buckets.select("*", F.min("set_id").over(bucket).alias("hub"), F.count("*").over(bucket).alias("size"))
    shared = checkpoint(marked.where("size > 1").drop("size"), scratch)
    with_hub = shared.where("set_id <> hub").select(F.col("hub").alias("a"), F.col("set_id").alias("b"))
    edges = checkpoint(
        measure(with_hub.distinct(), shingles, threshold).where(F.col("similarity") >= threshold), scratch
    )

    grouped = shared.join(components(edges), "set_id", "left").select(
        "bucket", "set_id", F.coalesce("label", "set_id").alias("label")
    )
    in_order = grouped.repartition("bucket").sortWithinPartitions("bucket", "label", "set_id")
    crossing = in_order.mapInArrow(partial(across, limit=limit), _PAIRS).distinct()
    more = measure(crossing, shingles, threshold).where(F.col("similarity") >= threshold)
    labels = components(checkpoint(edges.union(more), scratch))
    return _copies(members, labels, shingles, scratch)


def _copies(members: DataFrame, labels: DataFrame, shingles: DataFrame, scratch: str) -> DataFrame:
    """Choose each group's original, and measure for the others their similarity with it."""
    pages = members.join(labels, "set_id", "left").withColumn("label", F.coalesce("label", "set_id"))
    rank = F.struct(F.length("url").alias("length"), "url", "page_id", F.col("set_id").alias("original_set"))
    best = pages.groupBy("label").agg(F.min(rank).alias("original"), F.count("*").alias("size")).where("size > 1")
    copies = checkpoint(
        pages.join(best, "label")
        .where("page_id <> original.page_id")
        .select(
            "page_id",
            F.col("original.page_id").alias("duplicate_of"),
            F.col("set_id").alias("a"),
            F.col("original.original_set").alias("b"),
        ),
        scratch,
    )
    others = measure(copies.where("a <> b").select("a", "b").distinct(), shingles, 0.0)
    return copies.join(others, ["a", "b"], "left").select(
        "page_id", "duplicate_of", F.coalesce("similarity", F.lit(1.0)).alias("similarity")
    )


def measure(pairs: DataFrame, shingles: DataFrame, least: float) -> DataFrame:
    """Measure the Jaccard `similarity` of pairs (a, b); 0 where the sizes alone put it below `least`."""
    left = shingles.select(F.col("set_id").alias("a"), F.col("shingles").alias("x"))
    right = shingles.select(F.col("set_id").alias("b"), F.col("shingles").alias("y"))
    rows = pairs.join(left, "a").join(right, "b").select("a", "b", "x", "y")
    return rows.mapInArrow(partial(_measure_batches, least=least), f"{_PAIRS}, similarity double")


def _measure_batches(batches: Iterator[pa.RecordBatch], *, least: float) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = batch.num_rows
        (ptr_x, sets_x), (ptr_y, sets_y) = shingles_of(batch.column("x")), shingles_of(batch.column("y"))
        ptr = np.concatenate([ptr_x[:-1], ptr_y + len(sets_x)])
        span, first = np.stack([ptr[:-1], ptr[1:]], axis=1), np.arange(rows)
        found = similarities(span, np.concatenate([sets_x, sets_y]), first, first + rows, least)
        yield pa.record_batch([batch.column("a"), batch.column("b"), pa.array(found)], names=["a", "b", "similarity"])


def across(batches: Iterator[pa.RecordBatch], *, limit: int) -> Iterator[pa.RecordBatch]:
    """Find the pairs to compare in round 2.

    Rows are (bucket, set_id, label), sorted by bucket, label, id. A bucket may go on in the next batch: its
    rows wait until it has ended.
    """
    waiting: list[NDArray[np.int64]] = []
    for batch in batches:
        rows = np.stack([batch.column(name).to_numpy() for name in ("bucket", "set_id", "label")], axis=1)
        if not len(rows):
            continue
        last = int(np.flatnonzero(rows[:, 0] != rows[-1, 0])[-1]) + 1 if rows[0, 0] != rows[-1, 0] else 0
        if last:
            yield from _crossing(np.concatenate([*waiting, rows[:last]]), limit)
            waiting = []
        waiting.append(rows[last:])
    if waiting:
        yield from _crossing(np.concatenate(waiting), limit)


def _crossing(rows: NDArray[np.int64], limit: int) -> Iterator[pa.RecordBatch]:
    order = np.arange(len(rows))
    columns = [np.ascontiguousarray(rows[:, k]) for k in range(3)]
    a, b = crossing_pairs(order, bucket_ends(columns[0], order), columns[2], limit)
    first, second = columns[1][a], columns[1][b]
    for at in range(0, len(a), _OUT_ROWS):
        some = slice(at, at + _OUT_ROWS)
        low, high = np.minimum(first[some], second[some]), np.maximum(first[some], second[some])
        yield pa.record_batch([pa.array(low), pa.array(high)], names=["a", "b"])


def components(edges: DataFrame) -> DataFrame:
    """Find connected components in one task: `set_id`, `label` (the least set_id of its group) of all ends of edges."""
    return edges.select("a", "b").repartition(1).mapInArrow(_label, "set_id bigint, label bigint")


def _label(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows: list[Any] = [(batch.column("a").to_numpy(), batch.column("b").to_numpy()) for batch in batches]
    if not rows:
        return
    a, b = (np.concatenate([row[side] for row in rows]) for side in range(2))
    ids, number = np.unique(np.concatenate([a, b]), return_inverse=True)
    parent = np.arange(len(ids))
    unite(parent, number[: len(a)], number[len(a) :])
    labels = ids[roots(parent)]
    for at in range(0, len(ids), _OUT_ROWS):
        some = slice(at, at + _OUT_ROWS)
        yield pa.record_batch([pa.array(ids[some]), pa.array(labels[some])], names=["set_id", "label"])

"""The groups of similar pages over a cluster: the steps of `one_task` as DataFrame operations.

No worker holds all sets. What travels: page ids and band keys (16 bytes for each page and band), and the sets of the
pairs that are compared. Only the edges between similar pages meet in one task (about 100 bytes each).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakerank.search.near_duplicates.pair_kernels import bucket_ends, crossing_pairs, roots, similarities, unite
from lakerank.search.near_duplicates.texts import shingles_of
from lakerank.spark.checkpoint import checkpoint

_PAIRS = "a bigint, b bigint"
_OUT_ROWS = 1 << 17


def run(encoded: DataFrame, threshold: float, limit: int, scratch: str) -> DataFrame:
    """`texts.ENCODED` to `one_task.COPIES`, row for row as `one_task.solve` finds them.

    Args:
        encoded: every page with words, its lineage cut.
        threshold: Jaccard similarity from which on two pages are joined.
        limit: see `pair_kernels.join_across`.
        scratch: see `checkpoint`.
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
        measured(with_hub.distinct(), shingles, threshold).where(F.col("similarity") >= threshold), scratch
    )

    grouped = shared.join(joined(edges), "set_id", "left").select(
        "bucket", "set_id", F.coalesce("label", "set_id").alias("label")
    )
    in_order = grouped.repartition("bucket").sortWithinPartitions("bucket", "label", "set_id")
    crossing = in_order.mapInArrow(partial(across, limit=limit), _PAIRS).distinct()
    more = measured(crossing, shingles, threshold).where(F.col("similarity") >= threshold)
    labels = joined(checkpoint(edges.union(more), scratch))
    return _copies(members, labels, shingles, scratch)


def _copies(members: DataFrame, labels: DataFrame, shingles: DataFrame, scratch: str) -> DataFrame:
    """Each group's original, and for the others their similarity with it."""
    pages = members.join(labels, "set_id", "left").withColumn("label", F.coalesce("label", "set_id"))
    place = F.struct(F.length("url").alias("length"), "url", "page_id", F.col("set_id").alias("original_set"))
    best = pages.groupBy("label").agg(F.min(place).alias("original"), F.count("*").alias("size")).where("size > 1")
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
    others = measured(copies.where("a <> b").select("a", "b").distinct(), shingles, 0.0)
    return copies.join(others, ["a", "b"], "left").select(
        "page_id", "duplicate_of", F.coalesce("similarity", F.lit(1.0)).alias("similarity")
    )


def measured(pairs: DataFrame, shingles: DataFrame, least: float) -> DataFrame:
    """(a, b) with their Jaccard `similarity`; 0 where the sizes alone put it below `least`."""
    left = shingles.select(F.col("set_id").alias("a"), F.col("shingles").alias("x"))
    right = shingles.select(F.col("set_id").alias("b"), F.col("shingles").alias("y"))
    rows = pairs.join(left, "a").join(right, "b").select("a", "b", "x", "y")
    return rows.mapInArrow(partial(_measure, least=least), f"{_PAIRS}, similarity double")


def _measure(batches: Iterator[pa.RecordBatch], *, least: float) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = batch.num_rows
        (ptr_x, sets_x), (ptr_y, sets_y) = shingles_of(batch.column("x")), shingles_of(batch.column("y"))
        ptr = np.concatenate([ptr_x[:-1], ptr_y + len(sets_x)])
        span, place = np.stack([ptr[:-1], ptr[1:]], axis=1), np.arange(rows)
        found = similarities(span, np.concatenate([sets_x, sets_y]), place, place + rows, least)
        yield pa.record_batch([batch.column("a"), batch.column("b"), pa.array(found)], names=["a", "b", "similarity"])


def across(batches: Iterator[pa.RecordBatch], *, limit: int) -> Iterator[pa.RecordBatch]:
    """Pairs to compare in round 2, of rows (bucket, set_id, label) sorted by all three in the order bucket, label, id.

    A bucket may go on in the next batch: its rows wait until it has ended.
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


def joined(edges: DataFrame) -> DataFrame:
    """Connected components in one task: `set_id`, `label` (the least set_id of its group) of all ends of edges."""
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

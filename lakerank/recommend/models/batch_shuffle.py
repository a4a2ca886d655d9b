"""Ratings on their way to the workers, packed where they are read: one piece of columns for each batch of users.

Neither grouped in the JVM nor shuffled row by row, as in `top_n.py`: a shuffle moves some thousand streams instead of
millions of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.arrow_ipc import from_bytes, to_bytes

ROWS_AT_ONCE = 1 << 20  # packed together, about 30 MB
MOST_BATCHES = 1 << 16  # batch numbers of 16 bits sort in linear time; beyond them the batches grow instead
CELLS_AT_ONCE = 1 << 22  # scores of a batch of users × all items: 32 MB of float64
MOST_USERS = 512
FEW_USERS = 10_000  # for so few the rows of others are dropped before Python sees them


def users_at_once(n_items: int) -> int:
    """Return the number of users that are scored together."""
    return max(1, min(MOST_USERS, CELLS_AT_ONCE // max(n_items, 1)))


def batch_of(n_users: int, n_items: int) -> Column:
    """Return the batch of a user."""
    return F.pmod(F.hash("user_id"), F.lit(min(MOST_BATCHES, n_users // users_at_once(n_items) + 1))).alias("batch")


def pack(rows: DataFrame, users: DataFrame, n_users: int, n_items: int) -> DataFrame:
    """Return frame (batch int, rows binary): the rows of these users, (`user_id`, …), as Arrow streams.

    Args:
        rows: (user_id, …); all columns travel.
        users: (user_id), whose rows are wanted; they are broadcast where they are few.
        n_users, n_items: of `users`, and how many scores one user takes.
    """
    kind = dict(users.dtypes)["user_id"]
    rows = rows.withColumn("user_id", F.col("user_id").cast(kind))
    if n_users <= FEW_USERS:
        rows = rows.join(F.broadcast(users.select("user_id")), "user_id", "left_semi")
    return rows.select(batch_of(n_users, n_items), "*").mapInArrow(packer("rows"), "batch int, rows binary")


def packer(
    column: str, rows_at_once: int = ROWS_AT_ONCE, prepare: Callable[[pa.Table], pa.Table] = lambda rows: rows
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function (batch, …) → (batch, `column`): it packs prepared rows into an Arrow stream for each batch.

    Args:
        column: name of the streams' column.
        rows_at_once: rows that are packed together.
        prepare: keeps the column `batch`.
    """

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            held.append(batch)
            if sum(map(len, held)) >= rows_at_once:
                yield _packed(prepare(pa.Table.from_batches(held)), column)
                held = []
        if sum(map(len, held)):
            yield _packed(prepare(pa.Table.from_batches(held)), column)

    return work


def _packed(table: pa.Table, column: str) -> pa.RecordBatch:
    numbers = table.column("batch").to_numpy().astype(np.uint16)
    order = np.argsort(numbers, kind="stable")
    batches, starts = np.unique(numbers[order], return_index=True)
    rows = table.drop_columns(["batch"]).take(order)
    ends = [*starts[1:].tolist(), len(order)]
    streams = [to_bytes(rows.slice(lo, hi - lo)) for lo, hi in zip(starts.tolist(), ends, strict=True)]
    return pa.RecordBatch.from_arrays(
        [pa.array(batches.astype(np.int32)), pa.array(streams, pa.binary())], names=["batch", column]
    )


def unpack(packed: pa.Table) -> pa.Table | None:
    """Return the rows of one batch; None if there are none."""
    streams = packed.column("rows").to_pylist()
    if not streams:
        return None
    return pa.concat_tables(map(from_bytes, streams))


def with_seen(history: DataFrame, seen: DataFrame) -> DataFrame:
    """Return a frame (user_id, item_id, rating, seconds): ratings, and pairs to leave out, whose rating is null."""
    rated = history.select("user_id", "item_id", F.col("rating").cast("float"), _seconds())
    types = dict(history.dtypes)
    hidden = seen.select(
        *(F.col(name).cast(types[name]) for name in ("user_id", "item_id")),
        F.lit(None).cast("float").alias("rating"),
        F.lit(0).cast("bigint").alias("seconds"),
    )
    return rated.unionAll(hidden)


def _seconds() -> Column:
    return F.coalesce(F.unix_timestamp("rated_at"), F.lit(0)).cast("bigint").alias("seconds")


def block_of(users: pa.Array, items: pa.Array, rows: pa.Table | None) -> tuple[Histories, pa.Table]:
    """Split the rows of `with_seen` into these users' histories and the pairs (user_id, item_id) without a rating."""
    if rows is None:
        rows = pa.table({"user_id": users[:0], "item_id": items[:0], "rating": pa.array([], pa.float32())})
    rated = pc.is_valid(rows.column("rating"))
    pairs = rows.select(["user_id", "item_id"]).filter(pc.invert(rated))
    return Histories.of(users, items, rows.filter(rated)), pairs

"""Ratings as B × B blocks by user and item: what every iterative recommender trains on.

Blocks are kept in a `BlockStore`, so that an epoch ships only their names. The order within a block is a hash of
user, item and seed: it does not depend on the order in which Spark delivers the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.blocks import Block, BlockStore
from spark_jobs.lake.errors import UserError
from spark_jobs.lake.index import dense_index

PARTS = ("train", "valid", "test")
# Users × items of one tile: with 64 float32 factors their rows are 1 MiB each side, which a core's cache holds.
TILE_ROWS = 4096
# A worker sorts the ratings of its user block in memory when blocks are built: 20 million take about 1 GB.
MOST_RATINGS_PER_USER_BLOCK = 20_000_000
# Below this a worker finishes sooner (10 ms) than Spark starts the next one (100 ms).
FEWEST_RATINGS_PER_USER_BLOCK = 250_000


@dataclass(frozen=True)
class Data:
    """Indexed ratings: frames (user_id, ix) and (item_id, ix), sizes, and the training ratings' statistics."""

    users: DataFrame
    items: DataFrame
    n_users: int
    n_items: int
    counts: dict[str, int]
    mean: float
    low: float
    high: float
    blocks: int


def cores(spark: SparkSession) -> int:
    """How many tasks the cluster runs at once, asked through a frame (works on Connect and serverless)."""
    return spark.range(1 << 20).select(F.spark_partition_id()).distinct().count()


def _block_count(spark: SparkSession, ratings: int) -> int:
    """One user block per core, fewer where they would be tiny, more where they would not fit a worker."""
    useful = min(cores(spark), ratings // FEWEST_RATINGS_PER_USER_BLOCK)
    return max(useful, -(-ratings // MOST_RATINGS_PER_USER_BLOCK))


def prepare(ratings: DataFrame, store: BlockStore, wanted: int, seed: int) -> Data:
    """Index users and items, cut the ratings into blocks and store them (once: a stored set is used again).

    Args:
        ratings: the `ratings` relation with `part` (see `splits`).
        store: where blocks go.
        wanted: B; 0 takes one per core, fewer for few ratings, more for very many.
        seed: of the order within a block.

    Raises:
        UserError: there are no training ratings.
    """
    train = ratings.where(F.col("part") == "train")
    facts = train.agg(
        F.avg(F.col("rating").cast("double")).alias("mean"),
        F.min("rating").alias("low"),
        F.max("rating").alias("high"),
        F.count("*").alias("n"),
    ).first()
    if facts is None or facts["n"] == 0:
        raise UserError("no training ratings are left after the split: choose a smaller test share")
    users, n_users = dense_index(train.select("user_id"), store.root)
    items, n_items = dense_index(train.select("item_id"), store.root)
    blocks = max(1, min(wanted or _block_count(ratings.sparkSession, facts["n"]), n_users, n_items))
    noted = store.noted("blocks.json")
    if noted is None or noted["blocks"] != blocks:
        store.drop("ratings")
        indexed = (
            ratings.join(users.withColumnRenamed("ix", "u"), "user_id", "left")
            .join(items.withColumnRenamed("ix", "i"), "item_id", "left")
            .select(
                F.coalesce("u", F.lit(-1)).cast("int").alias("u"),
                F.coalesce("i", F.lit(-1)).cast("int").alias("i"),
                F.col("rating").cast("float").alias("r"),
                F.array_position(F.array(*map(F.lit, PARTS)), F.col("part")).cast("tinyint").alias("part"),
            )
        )
        write = _block_writer(store, blocks, n_items, seed)
        parted = indexed.repartition(blocks, F.pmod(F.col("u"), F.lit(blocks)))
        rows = parted.mapInArrow(write, "part string, n bigint").groupBy("part").agg(F.sum("n").alias("n")).collect()
        noted = {"blocks": blocks, "counts": {row["part"]: row["n"] for row in rows}}
        store.note("blocks.json", noted)
    return Data(
        users=users,
        items=items,
        n_users=n_users,
        n_items=n_items,
        counts=noted["counts"],
        mean=float(facts["mean"]),
        low=float(facts["low"]),
        high=float(facts["high"]),
        blocks=blocks,
    )


def scramble(keys: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): a fixed, well mixed number for each key."""
    with np.errstate(over="ignore"):
        z = keys + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def arrange(u: NDArray[Any], i: NDArray[Any], r: NDArray[Any], blocks: int, n_items: int, seed: int) -> Block:
    """Order one block's ratings: tile by tile, within a tile by a seeded hash, whatever order they came in.

    Args:
        u, i: int32 global indexes, −1 for unknown; r: float32 ratings. All of one block.
        blocks: B; a row's place within its block is index // B.
        n_items: number of items, which makes user · n_items + item unique.

    Returns:
        `rows`, `cols` (int32, within the block), `ratings` (float32), `tiles` (int64 boundaries).
    """
    key = scramble((u.astype(np.int64) * n_items + i).astype(np.uint64), seed)
    rows = np.where(u < 0, -1, u // blocks).astype(np.int32)
    cols = np.where(i < 0, -1, i // blocks).astype(np.int32)
    wide = max(1, -(-n_items // (blocks * TILE_ROWS)))
    tile = (rows // TILE_ROWS).astype(np.int64) * wide + cols // TILE_ROWS
    order = np.lexsort((key, tile))
    starts = np.flatnonzero(np.diff(tile[order], prepend=np.int64(-(1 << 40))))
    return {
        "rows": rows[order],
        "cols": cols[order],
        "ratings": r[order].astype(np.float32),
        "tiles": np.append(starts, len(order)).astype(np.int64),
    }


def _block_writer(
    store: BlockStore, blocks: int, n_items: int, seed: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Arrow batches (u, i, r, part) of whole user blocks in; blocks into the store, counts out."""

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        columns: list[list[NDArray[Any]]] = [[], [], [], []]
        for batch in batches:
            for column, values in zip(columns, batch.columns, strict=True):
                column.append(values.to_numpy(zero_copy_only=False))
        if not columns[0]:
            return
        u, i, r, part = (np.concatenate(column) for column in columns)
        cell = ((part.astype(np.int64) - 1) * blocks + u % blocks) * blocks + i % blocks
        order = np.argsort(cell, kind="stable")
        bounds = np.flatnonzero(np.diff(cell[order], prepend=-1))
        for lo, hi in zip(bounds, [*bounds[1:], len(order)], strict=True):
            chosen = order[lo:hi]
            number = int(cell[chosen[0]])
            name = PARTS[number // blocks**2]
            p, q = number // blocks % blocks, number % blocks
            store.put(f"ratings/{name}-{p}-{q}", arrange(u[chosen], i[chosen], r[chosen], blocks, n_items, seed))
            yield pa.RecordBatch.from_pydict({"part": [name], "n": [len(chosen)]})

    return write

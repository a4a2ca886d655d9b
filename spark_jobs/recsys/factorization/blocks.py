"""Ratings as B × B blocks by user and item, with the ids of their rows: what every iterative recommender trains on.

Blocks are kept in a `BlockStore`, so that an epoch ships only their names, and a second run on the same table starts
at once. The order within a block is a hash of user and item: it does not depend on the order in which Spark delivers
the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.blocks import Block, BlockStore
from spark_jobs.lake.errors import UserError
from spark_jobs.lake.index import dense_index
from spark_jobs.lake.lineage import CUT

PARTS = ("train", "valid", "test")
# Users × items of one tile: with 64 float32 factors their rows are 1 MiB each side, which a core's cache holds.
TILE_ROWS = 4096
# A worker sorts the ratings of its user block in memory when blocks are built: 20 million take about 1 GB.
MOST_RATINGS_PER_USER_BLOCK = 20_000_000
# Below this a worker finishes sooner (10 ms) than Spark starts the next one (100 ms).
FEWEST_RATINGS_PER_USER_BLOCK = 250_000
NO_DAY = -(1 << 31)  # of a rating without a time


@dataclass(frozen=True)
class RatingBlocks:
    """Where the blocks are, and what they hold. Users and items are numbered by sorted id; number n stands in block
    n mod B at place n div B.

    Attributes:
        root: folder of the store.
        blocks: B.
        n_users, n_items: of the training ratings; a held-out rating of anyone else has place −1.
        counts: number of ratings by part.
        mean, deviation, low, high: of the training ratings.
        days: whether each rating's day is kept, for time effects.
        edges: days that divide the training ratings into parts of equal size, ascending; for an item's time bins.
    """

    root: str
    blocks: int
    n_users: int
    n_items: int
    counts: dict[str, int]
    mean: float
    deviation: float
    low: float
    high: float
    days: bool
    edges: tuple[int, ...] = ()

    @property
    def store(self) -> BlockStore:
        """The blocks: `ratings/PART-P-Q` and `ids/SIDE-P`."""
        return BlockStore(self.root)

    @property
    def held(self) -> tuple[str, ...]:
        """The parts held out that have ratings."""
        return tuple(part for part in ("valid", "test") if self.counts.get(part))

    def size(self, side: str) -> int:
        """Number of users or items."""
        return self.n_users if side == "user" else self.n_items

    def rows(self, side: str, p: int) -> int:
        """Number of users or items in block p."""
        return len(range(p, self.size(side), self.blocks))

    def get(self, part: str, p: int, q: int) -> Block | None:
        """The ratings of users p with items q: `rows`, `cols` (int32, −1 unknown), `ratings` (float32), `tiles`
        (int64 boundaries), and `days` (int32) if kept. None if there are none.
        """
        key = f"ratings/{part}-{p}-{q}"
        return self.store.get(key) if self.store.has(key) else None


def cores(spark: SparkSession) -> int:
    """How many tasks the cluster runs at once, asked through a frame (works on Connect and serverless)."""
    return spark.range(1 << 20).select(F.spark_partition_id()).distinct().count()


def _block_count(spark: SparkSession, ratings: int) -> int:
    """One user block per core, fewer where they would be tiny, more where they would not fit a worker."""
    useful = min(cores(spark), ratings // FEWEST_RATINGS_PER_USER_BLOCK)
    return max(useful, -(-ratings // MOST_RATINGS_PER_USER_BLOCK))


def prepare(ratings: DataFrame, store: BlockStore, wanted: int = 0, days: bool = False, bins: int = 30) -> RatingBlocks:
    """Number users and items, cut the ratings into blocks and store them; a stored set is used again.

    Args:
        ratings: the `ratings` relation with `part` (see `splits`).
        store: where blocks go; it belongs to one set of ratings and one way to split them.
        wanted: B; 0 takes one per core, fewer for few ratings, more for very many.
        days: keep each rating's day, if the ratings have times.
        bins: number of parts that `edges` divide the training ratings into.

    Raises:
        UserError: there are no training ratings.
    """
    facts = store.noted("facts.json")
    if facts is None:
        facts = _facts(ratings)
        store.note("facts.json", facts)
    days = days and "rated_at" in ratings.columns
    aim = wanted or _block_count(ratings.sparkSession, facts["n"])
    part = store.below(f"{aim}-blocks-{bins}-bins" if days else f"{aim}-blocks")
    noted = part.noted("blocks.json")
    if noted is None:
        part.drop_where(lambda _: True)  # may be half there
        noted = _build(ratings, part, aim, _edges(ratings, bins) if days else None)
        part.note("blocks.json", noted)
    return RatingBlocks(
        root=part.root,
        blocks=noted["blocks"],
        n_users=noted["n_users"],
        n_items=noted["n_items"],
        counts=noted["counts"],
        mean=facts["mean"],
        deviation=facts["deviation"],
        low=facts["low"],
        high=facts["high"],
        days=noted["edges"] is not None,
        edges=tuple(noted["edges"] or ()),
    )


def _facts(ratings: DataFrame) -> dict[str, Any]:
    """What must be known of the training ratings before they are cut."""
    rating = F.col("rating").cast("double")
    row = (
        ratings.where(F.col("part") == "train")
        .agg(
            F.avg(rating).alias("mean"),
            F.stddev_pop(rating).alias("deviation"),
            F.min(rating).alias("low"),
            F.max(rating).alias("high"),
            F.count("*").alias("n"),
        )
        .first()
    )
    if row is None or row["n"] == 0:
        raise UserError("no training ratings are left after the split: choose a smaller test share")
    return dict(row.asDict())


def _edges(ratings: DataFrame, bins: int) -> list[int] | None:
    """Days that divide the training ratings into `bins` parts of about equal size; None if none has a time."""
    counts = ratings.where((F.col("part") == "train") & F.col("rated_at").isNotNull()).groupBy(_day().alias("day"))
    rows = sorted((row["day"], row["n"]) for row in counts.agg(F.count("*").alias("n")).collect())
    if not rows:
        return None
    days, total = np.array([day for day, _ in rows]), np.cumsum([n for _, n in rows])
    wanted = total[-1] * np.arange(1, bins) / bins
    return [int(day) for day in days[np.searchsorted(total, wanted)]]


def _day() -> Column:
    return F.floor(F.unix_timestamp("rated_at") / 86400).cast("int")


def _build(ratings: DataFrame, store: BlockStore, aim: int, edges: list[int] | None) -> dict[str, Any]:
    """Write ids and blocks; return what they hold."""
    train, days = ratings.where(F.col("part") == "train"), edges is not None
    users, n_users = dense_index(train.select("user_id"), store.root)
    items, n_items = dense_index(train.select("item_id"), store.root)
    blocks = max(1, min(aim, n_users, n_items))
    for side, ids in (("user", users), ("item", items)):
        _store_ids(ids, side, store, blocks)
    indexed = (
        ratings.join(users.withColumnRenamed("ix", "u"), "user_id", "left")
        .join(items.withColumnRenamed("ix", "i"), "item_id", "left")
        .select(
            F.coalesce("u", F.lit(-1)).cast("int").alias("u"),
            F.coalesce("i", F.lit(-1)).cast("int").alias("i"),
            F.col("rating").cast("float").alias("r"),
            F.array_position(F.array(*map(F.lit, PARTS)), F.col("part")).cast("tinyint").alias("part"),
            *([F.coalesce(_day(), F.lit(NO_DAY)).alias("day")] if days else []),
        )
    )
    write = _block_writer(store, blocks, n_items)
    parted = indexed.repartitionById(blocks, F.pmod(F.col("u"), F.lit(blocks)))
    rows = parted.mapInArrow(write, "part string, n bigint").groupBy("part").agg(F.sum("n").alias("n")).collect()
    store.drop_where(lambda name: name.startswith(CUT))
    return {
        "blocks": blocks,
        "n_users": n_users,
        "n_items": n_items,
        "counts": {row["part"]: row["n"] for row in rows},
        "edges": edges,
    }


def scramble(keys: NDArray[np.uint64], seed: int = 0) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): a fixed, well mixed number for each key."""
    with np.errstate(over="ignore"):
        z = keys + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def arrange(
    u: NDArray[Any], i: NDArray[Any], r: NDArray[Any], blocks: int, n_items: int, days: NDArray[Any] | None = None
) -> Block:
    """Order one block's ratings: tile by tile, within a tile by a hash, whatever order they came in.

    Args:
        u, i: int32 global numbers, −1 for unknown; r: float32 ratings. All of one block.
        blocks: B; a row's place within its block is number // B.
        n_items: number of items, which makes user · n_items + item unique.
        days: int32, if kept.

    Returns:
        `rows`, `cols` (int32, within the block), `ratings` (float32), `tiles` (int64 boundaries), `days` if given.
    """
    pair = (u.astype(np.int64) * n_items + i).astype(np.uint64)
    rows = np.where(u < 0, -1, u // blocks).astype(np.int32)
    cols = np.where(i < 0, -1, i // blocks).astype(np.int32)
    wide = max(1, -(-n_items // (blocks * TILE_ROWS)))
    tile = (rows // TILE_ROWS).astype(np.int64) * wide + cols // TILE_ROWS
    bits = np.uint64(int(tile.max(initial=0) - tile.min(initial=0)).bit_length())
    # One key, tile before hash: a sort of whole numbers is several times as fast as one of two columns.
    key = ((tile - tile.min(initial=0)).astype(np.uint64) << (np.uint64(63) - bits)) | (
        scramble(pair) >> (bits + np.uint64(1))
    )
    order = np.argsort(key)
    if np.any(key[order[1:]] == key[order[:-1]]):  # equal hashes, one time in thousands: order by the pair
        order = np.lexsort((pair, key))
    starts = np.flatnonzero(np.diff(tile[order], prepend=np.int64(-(1 << 40))))
    block: Block = {
        "rows": rows[order],
        "cols": cols[order],
        "ratings": r[order].astype(np.float32),
        "tiles": np.append(starts, len(order)).astype(np.int64),
    }
    if days is not None:
        block["days"] = days[order].astype(np.int32)
    return block


def _block_writer(
    store: BlockStore, blocks: int, n_items: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Arrow batches (u, i, r, part, day) of whole user blocks in; blocks into the store, counts out."""

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        columns: list[list[NDArray[Any]]] = []
        for batch in batches:
            columns = columns or [[] for _ in batch.columns]
            for column, values in zip(columns, batch.columns, strict=True):
                column.append(values.to_numpy(zero_copy_only=False))
        if not columns:
            return
        u, i, r, part, *day = (np.concatenate(column) for column in columns)
        cell = ((part.astype(np.int64) - 1) * blocks + u % blocks) * blocks + i % blocks
        if len(PARTS) * blocks**2 <= 1 << 16:
            cell = cell.astype(np.uint16)  # 16 bits sort in linear time
        order = np.argsort(cell, kind="stable")
        bounds = np.flatnonzero(np.diff(cell[order].astype(np.int64), prepend=-1))
        for lo, hi in zip(bounds, [*bounds[1:], len(order)], strict=True):
            chosen = order[lo:hi]
            number = int(cell[chosen[0]])
            name = PARTS[number // blocks**2]
            p, q = number // blocks % blocks, number % blocks
            days = day[0][chosen] if day else None
            store.put(f"ratings/{name}-{p}-{q}", arrange(u[chosen], i[chosen], r[chosen], blocks, n_items, days))
            yield pa.RecordBatch.from_pydict({"part": [name], "n": [len(chosen)]})

    return write


def _store_ids(ids: DataFrame, side: str, store: BlockStore, blocks: int) -> None:
    """Write the ids of each block in order of their places: `ids/SIDE-P`."""

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        table = pa.Table.from_batches(list(batches), schema)
        if table.num_rows:
            column = table.sort_by("ix").column(0).combine_chunks()
            store.put(f"ids/{side}-{table.column('ix')[0].as_py() % blocks}", pack_ids(column))
        yield pa.RecordBatch.from_pydict({"n": [table.num_rows]})

    name = ids.columns[0]
    kind = pa.string() if dict(ids.dtypes)[name] == "string" else pa.int64()
    schema = pa.schema([(name, kind), ("ix", pa.int64())])
    parted = ids.select(F.col(name), F.col("ix").cast("bigint")).repartitionById(
        blocks, F.pmod(F.col("ix"), F.lit(blocks)).cast("int")
    )
    parted.mapInArrow(write, "n bigint").agg(F.sum("n")).collect()


def pack_ids(ids: pa.Array) -> Block:
    """Whole numbers as they are; text as `offsets` (int64) into `utf8` (bytes)."""
    if pa.types.is_integer(ids.type):
        return {"ids": ids.to_numpy(zero_copy_only=False).astype(np.int64)}
    texts = ids.cast(pa.large_string())
    _, offsets, utf8 = texts.buffers()
    start = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.frombuffer(utf8, np.uint8) if utf8 is not None else np.empty(0, np.uint8)
    return {"offsets": start - start[0], "utf8": letters[start[0] : start[-1]]}


def unpack_ids(block: Block) -> pa.Array:
    """The Arrow array (int64 or string) that `pack_ids` packed."""
    if "ids" in block:
        return pa.array(np.asarray(block["ids"]))
    offsets, utf8 = (pa.py_buffer(np.ascontiguousarray(block[name])) for name in ("offsets", "utf8"))
    return pa.LargeStringArray.from_buffers(len(block["offsets"]) - 1, offsets, utf8).cast(pa.string())

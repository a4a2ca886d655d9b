"""Build rating blocks: B × B blocks by user and item in a `BlockStore`, so that an epoch ships only their names.

Spark reads the ratings once, the rest is arrays in files. Three rounds of tasks: each input partition is written as it
is, with the ids that occur in it; its ids become numbers and its ratings are divided by user block; each user block is
put in order. No row is shuffled by the JVM: 18 million ratings take 6.9 s on two cores instead of 13.2 by joins, a
shuffle and Arrow. The ids of one side must fit a worker.

The order within a block is a hash of user and item: it does not depend on the order in which Spark delivers the rows.
A second run on the same table finds the blocks, compares them with their checksums and starts at once. They are built
in a folder that nobody else knows and renamed when they are complete: of two runs that build the same, one is faster,
and both use its blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.files import flush_to_disk
from lakerank.recommend.latent_factors.run_state import NO_DAY, PARTS, SIDES, RatingBlocks, make_layout
from lakerank.spark.array_store import SEAL, Block, BlockStore, flush_folder, hidden_name, in_process, on_workers
from lakerank.spark.session import cores

# A worker sorts the ratings of its user block in memory when blocks are built.
MOST_RATINGS_PER_USER_BLOCK = 20_000_000
# Below this a worker finishes sooner (10 ms) than Spark starts the next one (100 ms).
FEWEST_RATINGS_PER_USER_BLOCK = 250_000
CONTENTS = "blocks.json"  # what a folder of blocks holds
LAYOUTS = "rows"  # the row layouts, made from blocks by the first run that needs them
BLOCKS_PER_TASK = 32  # compared with their checksums in one go: a task costs as much as some megabytes
# Users × items of one tile: with 64 float32 factors their rows are 1 MiB each side, which a core's cache holds.
TILE_ROWS = 4096


def prepare_blocks(
    ratings: DataFrame, store: BlockStore, wanted: int = 0, days: bool = False, bins: int = 30
) -> RatingBlocks:
    """Assign numbers to users and items, divide the ratings into blocks and store them; a stored set is used again.

    Args:
        ratings: the `ratings` relation with `part` (see `splits`).
        store: where blocks go; it belongs to one set of ratings and one way to split them.
        wanted: B; 0 takes one per core, fewer for few ratings, more for very many.
        days: keep each rating's day, if the ratings have times.
        bins: number of parts that `edges` divide the training ratings into.

    Raises:
        UserError: there are no training ratings.
    """
    spark, days = ratings.sparkSession, days and "rated_at" in ratings.columns
    raw = store.below(hidden_name("raw"))
    try:
        builder = BlockBuilder(raw.root, days)
        known = _read_or_none(store, "facts.json")
        if known is None:
            known = {"n": builder.read_partitions(ratings)}
            store.write_json("facts.json", known)
        aim = wanted or _block_count(spark, known["n"])
        name = f"{aim}-blocks-{bins}-bins" if days else f"{aim}-blocks"
        found = _stored_blocks(spark, store, name)
        if found is None:
            if not raw.keys():
                builder.read_partitions(ratings)
            found = builder.make_blocks(spark, store, name, aim, bins)
    finally:
        store.drop(raw.name)
    return found


def _stored_blocks(spark: SparkSession, store: BlockStore, name: str) -> RatingBlocks | None:
    """Return the blocks that an earlier run has built; None, with a word, if one is missing or is not what it was.

    Nothing of them is removed: another run may be training on them, or moving them in. `make_blocks` mends them.
    """
    part = store.below(name)
    if not part.has_file(CONTENTS):
        return None
    try:
        contents = part.read_json(CONTENTS)
        assert contents is not None
        found = as_rating_blocks(part.root, contents)
        _verify(spark, part, found)
    except (UserError, KeyError, TypeError) as error:
        said = str(error).partition(": remove")[0] if isinstance(error, UserError) else f"{part.root} is of old"
        print(f"rating blocks are built again: {said}", flush=True)
        return None
    return found


def mend_blocks(there: BlockStore, built: BlockStore) -> int:
    """Replace those blocks of a set that are missing or altered by those of the same set, built again.

    Two runs build the same to the bit, so whoever reads meanwhile gets what it would have got.

    Args:
        there: the set in use.
        built: the same, whole and sealed; what is taken from it is gone afterwards.

    Returns:
        How many were replaced.
    """
    mended = 0
    flush_folder(Path(built.root))
    for key, checksum in built.sealed().items():
        try:
            there.verify_sealed("", {key: checksum})
        except UserError:
            there.path(key).parent.mkdir(parents=True, exist_ok=True)
            there.replace(built.path(key), key)
            mended += 1
    for name in (CONTENTS, SEAL):  # the seal is the last: it vouches for the others
        built.path(name).replace(there.path(name))
    flush_to_disk(Path(there.root))
    return mended


def as_rating_blocks(root: str, contents: dict[str, Any]) -> RatingBlocks:
    """Return the blocks in a folder, from what `make_blocks` wrote about them."""
    lists = {"edges": tuple(contents["edges"]), "empty": frozenset(contents["empty"])}
    return RatingBlocks(root=root, **(contents | lists))


def _verify(spark: SparkSession, part: BlockStore, data: RatingBlocks) -> None:
    """Compare all blocks with their checksums, on the workers; row layouts that are damaged are made again.

    Another run may be training on these: a layout is replaced, not removed.

    Raises:
        UserError: a block is missing or damaged.
    """
    sealed = sorted(part.sealed().items())
    tasks = min(cores(spark), max(1, len(sealed) // BLOCKS_PER_TASK))

    def verify(n: int) -> list[tuple[str, float, int]]:
        part.verify_sealed("", dict(sealed[n::tasks]))
        damaged = []
        for key in part.blocks(LAYOUTS)[n::tasks]:
            try:
                part.verify([f"{LAYOUTS}/{key}"])
            except UserError:
                damaged.append(key)
        return [("verified", 0.0, 1), *((key, 0.0, 1) for key in damaged)]

    found = in_process(1, verify) if tasks == 1 else on_workers(spark, tasks, verify)
    for key in found.keys() - {"verified"}:  # not before all blocks of ratings were compared: layouts are made of them
        side, _, p = key.rpartition("-")
        make_layout(data, side, int(p), again=True)


def _read_or_none(store: BlockStore, key: str) -> dict[str, Any] | None:
    """Read a JSON file that can be computed again: None if it is missing or damaged."""
    try:
        return store.read_json(key)
    except UserError:
        return None


def _block_count(spark: SparkSession, ratings: int) -> int:
    """Choose the number of user blocks: one per core, fewer where they would be tiny, more where they would not fit."""
    useful = min(cores(spark), ratings // FEWEST_RATINGS_PER_USER_BLOCK)
    return max(useful, -(-ratings // MOST_RATINGS_PER_USER_BLOCK))


@dataclass(frozen=True)
class BlockBuilder:
    """Builds rating blocks in a folder of half-made ones.

    Attributes:
        root: the folder.
        days: whether each rating's day is kept.
    """

    root: str
    days: bool

    @property
    def store(self) -> BlockStore:
        """`read/K` (partition K as it is), `ids/SIDE-K` (ids in its training part), `split/K-P` (divided)."""
        return BlockStore(self.root)

    def read_partitions(self, ratings: DataFrame) -> int:
        """Write each partition of the ratings; returns the number of training ratings.

        Raises:
            UserError: there are none.
        """
        columns: list[Column] = [
            F.col("user_id"),
            F.col("item_id"),
            F.col("rating").cast("float").alias("rating"),
            F.array_position(F.array(*map(F.lit, PARTS)), F.col("part")).cast("tinyint").alias("part"),
        ]
        if self.days:
            day = F.floor(F.unix_timestamp("rated_at") / 86400).cast("int")
            columns.append(F.coalesce(day, F.lit(NO_DAY)).alias("day"))
        rows = ratings.select(*columns).mapInArrow(self._store_partition, "k int, n bigint").collect()
        n = sum(int(row["n"]) for row in rows)
        if n == 0:
            raise UserError("no training ratings are left after the split: choose a smaller test share")
        return n

    def _store_partition(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        kept = [batch for batch in batches if batch.num_rows]
        if not kept:
            return
        context = TaskContext.get()
        k = context.partitionId() if context else 0
        table = pa.Table.from_batches(kept).combine_chunks()
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        train = pc.equal(columns["part"], 1)
        partition: Block = {"rating": _numpy(columns["rating"]), "part": _numpy(columns["part"])}
        if self.days:
            partition["day"] = _numpy(columns["day"])
        for side in SIDES:
            ids = columns[f"{side}_id"]
            self.store.put(f"ids/{side}-{k}", pack_ids(pc.unique(ids.filter(train))))
            partition |= {f"{side}_{name}": values for name, values in pack_ids(ids).items()}
        self.store.put(f"read/{k}", partition)
        yield pa.RecordBatch.from_pydict({"k": pa.array([k], pa.int32()), "n": [pc.sum(train).as_py() or 0]})

    def make_blocks(self, spark: SparkSession, store: BlockStore, name: str, aim: int, bins: int) -> RatingBlocks:
        """Write ids and blocks to `name` in the store, all at once; if they are there by then, those are taken.

        What is damaged or missing of those is replaced one by one: a run that is training on them goes on.

        Args:
            spark: for the tasks.
            store: where they go.
            name: of their folder.
            aim: B, if there are as many users and items.
            bins: number of parts that `edges` divide the training ratings into.
        """
        target = store.unfinished(name)
        try:
            contents = self._write_blocks(spark, target, aim, bins)
            target.seal()
            target.write_json(CONTENTS, contents, flush=False)
            if not store.finish(target, name):
                mended = mend_blocks(store.below(name), target)
                said = f"{mended} of them were mended" if mended else "another run has built the same and was faster"
                print(f"rating blocks: {said}", flush=True)
        finally:
            if target.name != name:
                store.drop(target.name)
        found = store.read_json(f"{name}/{CONTENTS}")
        assert found is not None
        return as_rating_blocks(store.below(name).root, found)

    def _write_blocks(self, spark: SparkSession, target: BlockStore, aim: int, bins: int) -> dict[str, Any]:
        """Write ids and blocks to `target`, an empty store; returns what they hold."""
        partitions = [int(key) for key in self.store.keys("read")]
        ids = {side: self._all_ids(side) for side in SIDES}
        blocks = max(1, min(aim, *(len(found) for found in ids.values())))
        for side, found in ids.items():
            self.store.put(f"all-ids/{side}", pack_ids(found))
            for p in range(blocks):
                target.put(f"ids/{side}-{p}", pack_ids(found.take(pa.array(np.arange(p, len(found), blocks)))))

        def split(n: int) -> list[tuple[str, float, int]]:
            self._number_and_divide(partitions[n], blocks)
            return [("split", 0.0, 1)]

        def order(p: int) -> list[tuple[str, float, int]]:
            self._order(target, partitions, p, blocks, len(ids["item"]))
            return [("ordered", 0.0, 1)]

        on_workers(spark, len(partitions), split)
        on_workers(spark, blocks, order)
        stats = [self.store.get(f"stats/{p}") for p in range(blocks)]
        totals = np.sum([one["counts"] for one in stats], axis=0)
        n = int(totals[0])
        mean = sum(float(one["sums"][0]) for one in stats) / n
        square = sum(float(one["sums"][1]) for one in stats) / n
        return {
            "blocks": blocks,
            "n_users": len(ids["user"]),
            "n_items": len(ids["item"]),
            "counts": {part: int(total) for part, total in zip(PARTS, totals, strict=True) if total},
            "mean": mean,
            "deviation": float(np.sqrt(max(square - mean**2, 0.0))),
            "low": min(float(one["range"][0]) for one in stats if one["counts"][0]),
            "high": max(float(one["range"][1]) for one in stats if one["counts"][0]),
            "empty": sorted(
                f"{part}-{p}-{q}"
                for p, one in enumerate(stats)
                for part, total, filled in zip(PARTS, totals, one["filled"], strict=True)
                for q in np.flatnonzero(~filled).tolist()
                if total
            ),
            **_edges(stats, bins, self.days),
        }

    def _all_ids(self, side: str) -> pa.Array:
        """Return the ids of one side in the training ratings, sorted: an id's position is its number."""
        found = [unpack_ids(self.store.get(f"ids/{key}")) for key in self.store.keys("ids") if key.startswith(side)]
        ids = pc.unique(pa.chunked_array(found))
        return ids.take(pc.sort_indices(ids))

    def _number_and_divide(self, k: int, blocks: int) -> None:
        """Encode the ids of partition k and divide its ratings by user block."""
        partition = self.store.get(f"read/{k}")
        columns: Block = {name: np.asarray(partition[name]) for name in ("rating", "part", "day") if name in partition}
        for side, short in zip(SIDES, "ui", strict=True):
            packed = {name.removeprefix(f"{side}_"): v for name, v in partition.items() if name.startswith(f"{side}_")}
            known = unpack_ids(self.store.get(f"all-ids/{side}"))
            numbers = pc.index_in(unpack_ids(packed), value_set=known)
            columns[short] = numbers.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        owner = columns["u"] % blocks  # a stranger's, −1, is the last
        for p in range(blocks):
            mine = owner == p
            self.store.put(f"split/{k}-{p}", {name: values[mine] for name, values in columns.items()})

    def _order(self, target: BlockStore, partitions: list[int], p: int, blocks: int, n_items: int) -> None:
        """Write the blocks of users p, each in its fixed order, and the statistics of their training ratings."""
        found = [self.store.get(f"split/{k}-{p}") for k in partitions]
        columns = {name: np.concatenate([partition[name] for partition in found]) for name in found[0]}
        cell = (columns["part"].astype(np.int64) - 1) * blocks + columns["i"] % blocks
        # Numbers of 16 bits are sorted in linear time.
        order = np.argsort(cell.astype(np.uint16) if len(PARTS) * blocks <= 1 << 16 else cell, kind="stable")
        bounds = np.searchsorted(cell[order], np.arange(len(PARTS) * blocks + 1))
        counts, sums = np.zeros(len(PARTS), np.int64), np.zeros(2)
        low, high, days = np.inf, -np.inf, []
        for number, (lo, hi) in enumerate(itertools.pairwise(bounds)):
            if lo == hi:
                continue
            part, q = divmod(number, blocks)
            mine = {name: values[order[lo:hi]] for name, values in columns.items()}
            block = arrange(mine["u"], mine["i"], mine["rating"], blocks, n_items, mine.get("day"))
            target.put(f"ratings/{PARTS[part]}-{p}-{q}", block)
            counts[part] += hi - lo
            if PARTS[part] == "train":
                ratings = block["ratings"].astype(np.float64)  # in the fixed order, so that the sum is fixed
                sums += ratings.sum(), (ratings**2).sum()
                low, high = min(low, ratings.min()), max(high, ratings.max())
                days += [block["days"]] if self.days else []
        filled = (np.diff(bounds) > 0).reshape(len(PARTS), blocks)
        stats: Block = {"counts": counts, "sums": sums, "range": np.array([low, high]), "filled": filled}
        if days:
            stats["days"], stats["day_counts"] = np.unique(np.concatenate(days), return_counts=True)
        self.store.put(f"stats/{p}", stats)


def _numpy(values: pa.Array) -> NDArray[Any]:
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _edges(stats: Sequence[Block], bins: int, wanted: bool) -> dict[str, Any]:
    """Return whether any training rating has a day, and the days that divide them into `bins` parts of equal size."""
    days: dict[int, int] = {}
    for one in stats if wanted else ():
        for day, n in zip(one["days"].tolist(), one["day_counts"].tolist(), strict=True) if "days" in one else ():
            days[day] = days.get(day, 0) + n
    days.pop(NO_DAY, None)
    if not days:
        return {"days": False, "edges": []}
    ordered = np.array(sorted(days.items()))
    ends = np.cumsum(ordered[:, 1])
    wanted_ends = ends[-1] * np.arange(1, bins) / bins
    return {"days": True, "edges": ordered[np.searchsorted(ends, wanted_ends), 0].tolist()}


def scramble(keys: NDArray[np.uint64], seed: int = 0) -> NDArray[np.uint64]:
    """Mix keys by SplitMix64's finaliser (Steele, Lea and Flood 2014): a fixed, well mixed number for each key."""
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
        blocks: B; a row's position within its block is number // B.
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


def pack_ids(ids: pa.Array) -> Block:
    """Pack ids: whole numbers as they are, text as `offsets` (int64) into `utf8` (bytes)."""
    if pa.types.is_integer(ids.type):
        return {"ids": ids.to_numpy(zero_copy_only=False).astype(np.int64)}
    texts = ids.cast(pa.large_string())
    _, offsets, utf8 = texts.buffers()
    start = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.frombuffer(utf8, np.uint8) if utf8 is not None else np.empty(0, np.uint8)
    return {"offsets": start - start[0], "utf8": letters[start[0] : start[-1]]}


def unpack_ids(block: Block) -> pa.Array:
    """Return the Arrow array (int64 or string) that `pack_ids` packed."""
    if "ids" in block:
        return pa.array(np.asarray(block["ids"]))
    offsets, utf8 = (pa.py_buffer(np.ascontiguousarray(block[name])) for name in ("offsets", "utf8"))
    return pa.LargeStringArray.from_buffers(len(block["offsets"]) - 1, offsets, utf8).cast(pa.string())

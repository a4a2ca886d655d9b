"""A block's arrays: its ratings in a fixed order, and ids packed as numbers or text. No files, no Spark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakerank.spark.array_store import Block

PARTS = ("train", "valid", "test")
SIDES = ("user", "item")
# Users × items of one tile: with 64 float32 factors their rows are 1 MiB each side, which a core's cache holds.
TILE_ROWS = 4096
NO_DAY = -(1 << 31)  # of a rating without a time


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

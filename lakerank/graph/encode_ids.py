"""Encode the ids of links on their way to one worker: 4-byte numbers, a million rows to a chunk.

Whole numbers that lie close together are sent as their distance from the least of the chunk; any other ids as
indexes into a dictionary that goes with the chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.graph.csr_block import Floats
from lakerank.graph.kernels import mark, renumber
from lakerank.spark.arrow_ipc import from_bytes, to_bytes

CHUNK_ROWS = 1 << 20  # 8 to 16 MB a chunk: few rows for Spark to move, well below Arrow's batch limit
CHUNK = "ids binary, src binary, dst binary, weight binary"

_CHUNK_ARROW = pa.schema([(name, pa.binary()) for name in ("ids", "src", "dst", "weight")])
_BASE, _ID = "base", "id"  # the column in `ids`: the number counted from, or the dictionary
_MOST_GAPS = 4  # a table over all numbers between the least and the greatest id may be so many times the rows
NodeNumbers = NDArray[np.int32]
_Part = tuple[pa.RecordBatch, NodeNumbers, NodeNumbers, Floats]


def to_chunks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Encode ids as numbers, a million rows at a time.

    Args:
        batches: `src`, `dst` (null: a node or teleport row) and `weight` (null: none).

    Returns:
        One row per chunk: `ids` (an Arrow stream of the distinct ids, or of the one number they are counted
        from), `src` and `dst` int32[rows] (−1 for null), `weight` float64[rows] (NaN for null), or empty if all
        are null.

    Raises:
        ValueError: `src` is null somewhere.
    """
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= CHUNK_ROWS:
            yield _chunk(pa.Table.from_batches(waiting))
            waiting, rows = [], 0
    if rows:
        yield _chunk(pa.Table.from_batches(waiting))


def _chunk(table: pa.Table) -> pa.RecordBatch:
    src, dst, weight = (table.column(i).combine_chunks() for i in range(3))
    if src.null_count:
        raise ValueError("an edge, node or teleport id is null")
    ids, src_numbers, dst_numbers = _from_base(src, dst) or _from_dictionary(src, dst)
    weights = b""
    if weight.null_count < len(weight):
        weights = weight.fill_null(float("nan")).to_numpy(zero_copy_only=False).tobytes()
    row = [to_bytes(ids), src_numbers.tobytes(), dst_numbers.tobytes(), weights]
    return pa.record_batch([pa.array([cell], pa.binary()) for cell in row], schema=_CHUNK_ARROW)


def _from_base(src: pa.Array, dst: pa.Array) -> tuple[pa.RecordBatch, NodeNumbers, NodeNumbers] | None:
    """Encode ids as distances from the least one; None if the ids are no numbers or lie too far apart."""
    if not pa.types.is_integer(src.type):
        return None
    ends = [limit for ids in (src, dst) for limit in pc.min_max(ids).as_py().values() if limit is not None]
    least, greatest = min(ends), max(ends)
    if greatest - least >= 2**31 - 1:
        return None
    sources = (src.to_numpy() - least).astype(np.int32)
    targets = dst.fill_null(least - 1 if least > -(2**63) else least).to_numpy() if dst.null_count else dst.to_numpy()
    targets = (targets - least).astype(np.int32)
    if dst.null_count and least == -(2**63):
        targets[dst.is_null().to_numpy(zero_copy_only=False)] = -1
    return pa.record_batch([pa.array([least], pa.int64())], names=[_BASE]), sources, targets


def _from_dictionary(src: pa.Array, dst: pa.Array) -> tuple[pa.RecordBatch, NodeNumbers, NodeNumbers]:
    both = pa.concat_arrays([src, dst])
    if not pa.types.is_integer(both.type):
        both = both.cast(pa.large_string())  # 64-bit offsets: joined dictionaries may pass 2 GB
    encoded = both.dictionary_encode()
    numbers = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return pa.record_batch([encoded.dictionary], names=[_ID]), numbers[: len(src)], numbers[len(src) :]


def gather(batches: Iterator[pa.RecordBatch]) -> tuple[pa.Array, NodeNumbers, NodeNumbers, Floats]:
    """Join chunks: sorted distinct ids [n]; and for all rows their `src` and `dst` as int32 indexes into it
    (`dst` −1: a node or teleport row) and their float64 `weight` (NaN: none; empty: none anywhere)."""
    parts: list[_Part] = []
    for batch in batches:
        for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            ids = from_bytes(cells[0]).combine_chunks().to_batches()[0]
            src, dst = np.frombuffer(cells[1], np.int32), np.frombuffer(cells[2], np.int32)
            parts.append((ids, src, dst, np.frombuffer(cells[3])))
    if not parts:
        nothing = np.empty(0, np.int32)
        return pa.array([], pa.int64()), nothing, nothing, np.empty(0)
    weight = np.empty(0)
    if any(len(weights) for *_, weights in parts):
        filled = [weights if len(weights) else np.full(len(src), np.nan) for _, src, _, weights in parts]
        weight = np.concatenate(filled)
    return *(_by_table(parts) or _by_sorting(parts)), weight


def _by_table(parts: list[_Part]) -> tuple[pa.Array, NodeNumbers, NodeNumbers] | None:
    """Encode ids that lie close together by a table over all of them; None if they do not."""
    if any(ids.schema.names != [_BASE] for ids, *_ in parts):
        return None
    bases = [int(ids.column(0)[0].as_py()) for ids, *_ in parts]
    least = min(bases)
    span = 1 + max(
        base - least + max(int(src.max(initial=0)), int(dst.max(initial=0)))
        for base, (_, src, dst, _) in zip(bases, parts, strict=True)
    )
    rows = sum(len(src) for _, src, _, _ in parts)
    if span > _MOST_GAPS * rows + CHUNK_ROWS:
        return None
    seen = np.zeros(span, np.uint8)
    for base, (_, src, dst, _) in zip(bases, parts, strict=True):
        mark(src, base - least, seen)
        mark(dst, base - least, seen)
    there = np.flatnonzero(seen)
    table = np.cumsum(seen, dtype=np.int32)
    table -= 1
    sources, targets = np.empty(rows, np.int32), np.empty(rows, np.int32)
    at = 0
    for base, (_, src, dst, _) in zip(bases, parts, strict=True):
        renumber(src, base - least, table, sources[at : at + len(src)])
        renumber(dst, base - least, table, targets[at : at + len(dst)])
        at += len(src)
    return pa.array(there + least), sources, targets


def _by_sorting(parts: list[_Part]) -> tuple[pa.Array, NodeNumbers, NodeNumbers]:
    """Encode ids of any kind: join the dictionaries and sort them.

    Chunks arrive in any order: sorting makes the numbering, and so every sum's order, the same each time.
    """
    named = [_named(*part[:3]) for part in parts]
    encoded = pa.concat_arrays([ids for ids, _, _ in named]).dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    position = np.empty(len(order), np.int32)
    position[order] = np.arange(len(order), dtype=np.int32)
    numbers = position[encoded.indices.to_numpy()]
    sources, targets, at = [], [], 0
    for ids, src, dst in named:
        lookup = np.append(numbers[at : at + len(ids)], np.int32(-1))  # −1 stays −1
        at += len(ids)
        sources.append(lookup[src])
        targets.append(lookup[dst])
    return encoded.dictionary.take(pa.array(order)), np.concatenate(sources), np.concatenate(targets)


def _named(ids: pa.RecordBatch, src: Any, dst: Any) -> tuple[pa.Array, NodeNumbers, NodeNumbers]:
    """Return the part with a dictionary of ids."""
    if ids.schema.names == [_ID]:
        return ids.column(0), src, dst
    least = ids.column(0)[0].as_py()
    both = pa.array(np.concatenate([src, dst]), mask=np.concatenate([src, dst]) < 0).dictionary_encode()
    numbers = both.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    values = both.dictionary.to_numpy().astype(np.int64) + least
    return pa.array(values), numbers[: len(src)], numbers[len(src) :]

"""Texts as Arrow arrays, encoded to shingle sets and band keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.search.near_duplicates.banding import Banding
from lakerank.search.near_duplicates.set_kernels import band_keys, set_hashes, shingle_sets, signatures
from lakerank.search.near_duplicates.words import characters

_TEXT_BYTES = 64 << 20  # encoded at once: at most four times as many bytes of shingles, well below Arrow's 2 GiB
# One row for each text with words. `low`, `high`: hash of its set. `shingles`: the set, little-endian uint64.
ENCODED = "page_id bigint, url string, low bigint, high bigint, shingles binary, bands array<bigint>"
_ENCODED_ARROW = pa.schema(
    [
        ("page_id", pa.int64()),
        ("url", pa.string()),
        ("low", pa.int64()),
        ("high", pa.int64()),
        ("shingles", pa.binary()),
        ("bands", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True)
class Sets:
    """Shingle sets of N texts.

    Attributes:
        ptr: int64[N+1]; set i is sets[ptr[i] : ptr[i+1]].
        sets: uint64[S], ascending and distinct within each set.
        keys: uint64[N, B], band keys.
    """

    ptr: NDArray[np.int64]
    sets: NDArray[np.uint64]
    keys: NDArray[np.uint64]


def shingled(texts: pa.Array, banding: Banding, width: int) -> Sets:
    """Shingle sets and band keys of an Arrow array of strings (null: a text without words)."""
    large = texts.cast(pa.large_string())
    _, offsets, data = large.buffers()
    if not len(large) or data is None:
        ptr, sets = np.zeros(len(large) + 1, np.int64), np.empty(0, np.uint64)
    else:
        at = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1]
        ptr, sets = shingle_sets(np.frombuffer(data, np.uint8), at, characters(), width)
    keys = band_keys(signatures(ptr, sets, *banding.permutations()), banding.bands, banding.rows)
    return Sets(ptr, sets, keys)


def encode(batches: Iterator[pa.RecordBatch], *, banding: Banding, width: int) -> Iterator[pa.RecordBatch]:
    """Rows of (page_id, url, text) to rows of `ENCODED`; pages without words are left out."""
    for whole in batches:
        for batch in _pieces(whole):
            found = shingled(batch.column("text"), banding, width)
            low, high = set_hashes(found.ptr, found.sets)
            if found.ptr[-1] > np.iinfo(np.int32).max // 8:
                raise ValueError(f"page {batch.column('page_id')[0]}: its text is too long")
            offsets = pa.py_buffer((found.ptr * 8).astype(np.int32))
            rows = len(low)
            ends = np.arange(rows + 1, dtype=np.int32) * banding.bands
            columns = [
                batch.column("page_id"),
                batch.column("url").cast(pa.string()),
                pa.array(low.view(np.int64)),
                pa.array(high.view(np.int64)),
                pa.Array.from_buffers(pa.binary(), rows, [None, offsets, pa.py_buffer(found.sets)]),
                pa.ListArray.from_arrays(pa.array(ends), pa.array(found.keys.view(np.int64).ravel())),
            ]
            encoded = pa.record_batch(columns, schema=_ENCODED_ARROW)
            yield encoded.filter(pa.array(np.diff(found.ptr) > 0))


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in slices of `_TEXT_BYTES` (a single longer text stays whole)."""
    sizes = pc.binary_length(batch.column("text")).fill_null(0).to_numpy(zero_copy_only=False)
    total = np.cumsum(sizes, dtype=np.int64)
    first = 0
    while first < batch.num_rows:
        before = total[first - 1] if first else 0
        end = max(first + 1, int(np.searchsorted(total, before + _TEXT_BYTES, side="right")))
        yield batch.slice(first, end - first)
        first = end


def shingles_of(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """`ptr` and `sets` of a column of `shingles`."""
    large: Any = column.cast(pa.large_binary())
    _, offsets, data = large.buffers()
    if not len(large) or data is None:
        return np.zeros(len(large) + 1, np.int64), np.empty(0, np.uint64)
    at = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1]
    return (at - at[0]) // 8, np.frombuffer(data, np.uint64, int(at[-1] - at[0]) // 8, int(at[0]))

"""All rows' nearest others, in Spark tasks: the matrix lies where the workers see it, a task does a run of rows.

Memory of a worker: the pages of the matrix it touches (2 × 12 bytes a rating, shared between workers), accumulators
of 12 (Jaccard, cosine) or 44 bytes a row, and its results. Results stay in the store; only their names come back.
Values are float64: a correlation is a difference of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from scipy import sparse

from lakerank.recommend.neighbors.kernels import counted_order, nearest_rows
from lakerank.recommend.neighbors.measures import MEASURES, Similarity
from lakerank.spark.array_store import Block, BlockStore, in_process, on_workers

SMALL = 200_000_000  # additions up to which one process is quicker than Spark's tasks
STEPS_AT_ONCE = 200_000_000  # additions of a task, about a second


@dataclass(frozen=True)
class Nearest:
    """What was found.

    Attributes:
        store: `found/B` has `rows` (the first and the one after the last), `places` int32 (R, N), `similar` float64
            (R, N), `support` int32 (R, N), where place −1 fills the end of a list.
        blocks: their number.
        n: how many rows there are.
    """

    store: BlockStore
    blocks: int
    n: int

    def matrix(self) -> sparse.csr_matrix:
        """(R, R) row j, column i: the similarity of j in the list of i."""
        columns, rows, values = [], [], []
        for b in range(self.blocks):
            found = self.store.get(f"found/{b}")
            kept = found["places"] >= 0
            first = int(found["rows"][0])
            columns.append((first + np.nonzero(kept)[0]).astype(np.int32))
            rows.append(found["places"][kept])
            values.append(found["similar"][kept])
        shape = (self.n, self.n)
        if not columns:
            return sparse.csr_matrix(shape, dtype=np.float32)
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return sparse.coo_matrix(entries, shape=shape).tocsr()

    def table(self, spark: SparkSession, ids: pa.Array, name: str) -> DataFrame:
        """Frame (`name`_id, rank, other_id, similarity, support): the relation `similar_items` or `similar_users`."""
        kind = "bigint" if pa.types.is_integer(ids.type) else "string"
        schema = f"{name}_id {kind}, rank int, other_id {kind}, similarity double, support bigint"
        return spark.range(0, self.blocks, 1, max(1, min(self.blocks, 64))).mapInArrow(
            _teller(self.store, ids, f"{name}_id"), schema
        )


def nearest(spark: SparkSession, x_RC: sparse.csr_matrix, how: Similarity, store: BlockStore) -> Nearest:
    """The `how.top` most alike others of each row, exactly.

    Args:
        spark: for the tasks.
        x_RC: ratings; explicit zeros count as ratings.
        how: see `Similarity`.
        store: an empty store that all workers see; it must stay while the result is used.
    """
    how.checked()
    n_rows, n_columns = x_RC.shape
    weighed = how.weigh(x_RC)
    by_row: Block = {
        "starts": weighed.indptr.astype(np.int64),
        "columns": weighed.indices.astype(np.int32),
        "values": weighed.data,
    }
    rows_P = np.repeat(np.arange(n_rows, dtype=np.int32), np.diff(by_row["starts"]))
    order, starts_C = np.arange(len(rows_P)), np.empty(n_columns + 1, np.int64)
    counted_order(by_row["columns"], n_columns, order, starts_C)
    steps_R = np.bincount(rows_P, np.diff(starts_C)[by_row["columns"]], n_rows)
    column: Block = {"starts": starts_C, "rows": rows_P[order], "values": by_row["values"][order]}
    column["norms"] = how.lengths(weighed)
    store.put("by-row", by_row)
    store.put("by-column", column)
    edges = _edges(steps_R, STEPS_AT_ONCE)

    def work(b: int) -> list[tuple[str, float, int]]:
        _block(store, b, int(edges[b]), int(edges[b + 1]), how)
        return [("rows", 0.0, int(edges[b + 1] - edges[b]))]

    blocks = len(edges) - 1
    if steps_R.sum() <= SMALL:
        in_process(blocks, work)
    else:
        on_workers(spark, blocks, work)
    return Nearest(store, blocks, n_rows)


def _edges(steps_R: NDArray[np.number[Any]], aim: int) -> NDArray[np.int64]:
    """Where runs of rows with about `aim` additions begin, and the end."""
    if not len(steps_R):
        return np.zeros(1, np.int64)
    done = np.cumsum(steps_R)
    cuts = np.searchsorted(done, np.arange(aim, done[-1], aim)) + 1
    return np.unique(np.concatenate([[0], cuts, [len(steps_R)]])).astype(np.int64)


def _block(store: BlockStore, b: int, lo: int, hi: int, how: Similarity) -> None:
    row, column = _frozen(store.get("by-row")), _frozen(store.get("by-column"))
    kept = min(how.top, max(len(row["starts"]) - 2, 1))
    places = np.empty((hi - lo, kept), np.int32)
    similar, support = np.empty((hi - lo, kept)), np.empty((hi - lo, kept), np.int32)
    nearest_rows(
        lo,
        row["starts"],
        row["columns"],
        row["values"],
        column["starts"],
        column["rows"],
        column["values"],
        column["norms"],
        MEASURES[how.measure],
        how.popularity,
        how.shrink,
        how.min_support,
        places,
        similar,
        support,
    )
    found: Block = {"rows": np.array([lo, hi]), "places": places, "similar": similar, "support": support}
    store.put(f"found/{b}", found)


def _frozen(block: Block) -> Block:
    """Read-only plain arrays, small ones too: the kernel is compiled once, not for each mixture."""
    plain = {name: array.view(np.ndarray) for name, array in block.items()}
    for array in plain.values():
        array.flags.writeable = False
    return plain


def _teller(
    store: BlockStore, ids: pa.Array, name: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for b in batch.column(0).to_pylist():
                found = store.get(f"found/{b}")
                rows, ranks = np.nonzero(found["places"] >= 0)
                first = int(found["rows"][0])
                yield pa.RecordBatch.from_pydict(
                    {
                        name: ids.take(pa.array(first + rows)),
                        "rank": pa.array(ranks.astype(np.int32) + 1),
                        "other_id": ids.take(pa.array(found["places"][rows, ranks])),
                        "similarity": pa.array(found["similar"][rows, ranks].astype(np.float64)),
                        "support": pa.array(found["support"][rows, ranks].astype(np.int64)),
                    }
                )

    return work

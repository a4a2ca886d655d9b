"""All ratings a model learns from, as arrays, and arrays of a model where the workers can reach them.

No row passes through the JVM's shuffle or the driver's memory limits: each partition of the ratings leaves its columns
in the store. The arrays take 24 bytes a rating; 20 million are 0.5 GB, 1 billion want another way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse

from lakerank.cli.errors import UserError
from lakerank.recommend.latent_factors.build_blocks import pack_ids, unpack_ids
from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.array_store import Block, BlockStore
from lakerank.spark.jit import compiled


class MemmapArrays:
    """Arrays under one key of a store, opened (memory-mapped) where and when they are used."""

    def __init__(self, store: BlockStore, key: str) -> None:
        self._store, self._key = store, key
        self._block: Block | None = None

    @classmethod
    def put(cls, store: BlockStore, key: str, **arrays: NDArray[Any]) -> MemmapArrays:
        """Write arrays; what stood under the key is replaced."""
        store.drop(key)
        store.put(key, arrays)
        return cls(store, key)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if self._block is None:
            self._block = self._store.get(self._key)
        return self._block[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return MemmapArrays, (self._store, self._key)


_FOLDER = "training"


@dataclass(frozen=True)
class TrainingMatrix:
    """Ratings by user.

    Attributes:
        items: ids of the rated items, ascending.
        block: the ratings of all users; its `users` are ascending.
    """

    items: pa.Array
    block: Histories

    @property
    def matrix(self) -> sparse.csr_matrix:
        """The ratings, (users, items)."""
        return self.block.matrix(self.block.ratings, len(self.items))

    @classmethod
    def collect(cls, ratings: DataFrame, store: BlockStore) -> TrainingMatrix:
        """Make one from the `ratings` relation.

        Raises:
            UserError: there are none.
        """
        rows = store.below(_FOLDER)
        rows.drop_where(lambda _: True)
        seconds = F.coalesce(F.unix_timestamp("rated_at"), F.lit(0)).cast("bigint").alias("seconds")
        columns = ratings.select("user_id", "item_id", F.col("rating").cast("float"), seconds)
        columns.mapInArrow(_keeper(rows), "k int").collect()
        blocks = [rows.get(key) for key in sorted(rows.keys(), key=int)]
        if not blocks:
            raise UserError("there are no ratings to learn from: fill the table by ingest_ratings first")
        ids = {}
        for side in ("user", "item"):
            parts = [{k.partition("-")[2]: v for k, v in block.items() if k.startswith(side)} for block in blocks]
            ids[side] = pa.chunked_array([unpack_ids(block) for block in parts])
        values = {name: np.concatenate([block[name] for block in blocks]) for name in ("rating", "seconds")}
        rows.drop_where(lambda _: True)
        return cls.of(ids["user"], ids["item"], values["rating"], values["seconds"])

    @classmethod
    def of(
        cls, users: pa.ChunkedArray, items: pa.ChunkedArray, ratings: np.ndarray, seconds: np.ndarray
    ) -> TrainingMatrix:
        """Make one from columns in any order."""
        user_ids, item_ids = _sorted(users), _sorted(items)
        own = pc.index_in(users, value_set=user_ids).to_numpy().astype(np.int32)
        positions = pc.index_in(items, value_set=item_ids).to_numpy().astype(np.int32)
        order = np.arange(len(own))
        counted_order(positions, len(item_ids), order, np.empty(len(item_ids) + 1, np.int64))
        starts = np.empty(len(user_ids) + 1, np.int64)
        counted_order(own, len(user_ids), order, starts)
        block = Histories(user_ids, starts, positions[order], ratings[order].astype(np.float32), seconds[order])
        return cls(item_ids, block)


def _sorted(column: pa.ChunkedArray) -> pa.Array:
    ids = pc.unique(column)
    return ids.take(pc.sort_indices(ids))


def _keeper(store: BlockStore) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        kept = [batch for batch in batches if batch.num_rows]
        if not kept:
            return
        context = TaskContext.get()
        k = context.partitionId() if context else 0
        table = pa.Table.from_batches(kept).combine_chunks()
        block = {name: table.column(name).to_numpy() for name in ("rating", "seconds")}
        for side in ("user", "item"):
            ids = table.column(f"{side}_id").combine_chunks()
            block |= {f"{side}-{name}": values for name, values in pack_ids(ids).items()}
        store.put(f"{k}", block)
        yield pa.RecordBatch.from_pydict({"k": pa.array([k], pa.int32())})

    return work


@compiled(nogil=True)
def counted_order(keys_P: Any, n_keys: int, order_P: Any, starts_K: Any) -> None:
    """Sort keys by counting, stably: `order_P` (int64) puts `keys_P` (0 … n_keys − 1) in order.

    Args:
        order_P: on entry the order in which the keys are visited, on return the sorted one.
        starts_K: int64 (n_keys + 1), filled with where each key begins.
    """
    starts_K[:] = 0
    for p in range(len(keys_P)):
        starts_K[keys_P[p] + 1] += 1
    for k in range(n_keys):
        starts_K[k + 1] += starts_K[k]
    at = starts_K.copy()
    before = order_P.copy()
    for p in range(len(before)):
        key = keys_P[before[p]]
        order_P[at[key]] = before[p]
        at[key] += 1

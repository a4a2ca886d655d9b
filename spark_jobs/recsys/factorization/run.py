"""A run's state between two epochs, and the way work gets to the workers.

A run owns a `BlockStore`. `epoch-N/` holds what epoch N left: `user-P` and `item-Q` (`factors` (rows, K) and `bias`
(rows), float32, and the optimiser's state), `effects-SIDE-P` and `shift-SIDE-P-Q` (time effects, and the same for each
rating of a block), `centre-SIDE-W` (implicit feedback) and, of a Gibbs sampler, `hyper`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_jobs.lake.blocks import Block, BlockStore
from spark_jobs.recsys.factorization.blocks import RatingBlocks
from spark_jobs.recsys.factorization.config import LfmConfig

Sums = dict[str, tuple[float, int]]
Work = Callable[[int], list[tuple[str, float, int]]]  # block number → (what, sum, count)
Runner = Callable[[Work], Sums]  # does the work for each of the B blocks and adds up what it returns by name


@dataclass(frozen=True)
class Run:
    """Settings, ratings and the folder of one run. Workers get a copy."""

    config: LfmConfig
    data: RatingBlocks
    root: str

    @property
    def store(self) -> BlockStore:
        """The run's state."""
        return BlockStore(self.root)

    @property
    def timed(self) -> bool:
        """Whether there are time effects."""
        return self.config.time and self.data.days

    @property
    def mean(self) -> float:
        """μ; 0 without biases."""
        return self.data.mean if self.config.bias else 0.0

    def rng(self, *key: int) -> np.random.Generator:
        """Random numbers that depend on the seed and the key alone."""
        return np.random.default_rng([self.config.seed, *key])

    def whole_side(self, state: str, side: str) -> NDArray[np.float32]:
        """All rows of a side, (rows, K + 1): factors, then the bias."""
        whole = np.empty((self.data.size(side), self.config.factors + 1), np.float32)
        for p in range(self.data.blocks):
            whole[p :: self.data.blocks] = joined(self.store.get(f"{state}/{side}-{p}"))
        return whole

    def shift(self, state: str, p: int, q: int) -> NDArray[np.float32] | None:
        """Time effects on each rating of block (p, q), both sides' together; None if there are none yet."""
        keys = [f"{state}/shift-{side}-{p}-{q}" for side in ("user", "item")]
        found = [self.store.get(key)["shift"] for key in keys if self.store.has(key)]
        return None if not found else np.sum(found, axis=0, dtype=np.float32)


def joined(block: Block) -> NDArray[np.float32]:
    """A block's rows as (rows, K + 1): factors, then the bias."""
    return np.column_stack([block["factors"], block["bias"]])


def added_up(rows: list[tuple[str, float, int]]) -> Sums:
    """Sums and counts by name, added in the order given."""
    result: Sums = {}
    for name, total, n in rows:
        before, count = result.get(name, (0.0, 0))
        result[name] = (before + total, count + n)
    return result


def on_workers(spark: SparkSession, blocks: int, work: Work) -> Sums:
    """Do `work(p)` for p < blocks, one Spark task each."""

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for p in batch.column(0).to_pylist():
                names, sums, counts = zip(*work(p), strict=True)
                yield pa.RecordBatch.from_pydict(
                    {
                        "p": pa.array([p] * len(names), pa.int64()),
                        "name": pa.array(names, pa.string()),
                        "total": pa.array(sums, pa.float64()),
                        "n": pa.array(counts, pa.int64()),
                    }
                )

    rows = spark.range(0, blocks, 1, blocks).mapInArrow(task, "p bigint, name string, total double, n bigint").collect()
    # A fixed order of addition, or the last bits would depend on who finished first.
    return added_up([(row["name"], row["total"], row["n"]) for row in sorted(rows, key=lambda r: (r["p"], r["name"]))])


def here(blocks: int, work: Work) -> Sums:
    """Do `work(p)` for p < blocks in this process."""
    return added_up([line for p in range(blocks) for line in sorted(work(p))])

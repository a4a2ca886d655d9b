"""How work gets to the workers: a function of a block number, one Spark task each; only sums come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import SparkSession

Sums = dict[str, tuple[float, int]]
Work = Callable[[int], list[tuple[str, float, int]]]  # block number → (what, sum, count)
Runner = Callable[[Work], Sums]  # does the work for each of the B blocks and adds up what it returns by name


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

"""Dense numbers for arbitrary ids: what arrays and matrices are addressed by."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.spark.checkpoint import checkpoint

_ROW_BITS = 33  # monotonically_increasing_id keeps the partition in the bits above, the row's position below


def dense_index(ids: DataFrame, scratch: str = "") -> tuple[DataFrame, int]:
    """Assign the numbers 0 … n−1 to the distinct values of a one-column frame, in sorted order.

    No single task sees all ids: they are sorted globally, and each partition is given its first number
    from the counts of those before it.

    Args:
        ids: one column of any orderable type; nulls and repetitions are dropped.
        scratch: see `checkpoint`.

    Returns:
        A checkpointed frame (the same column, `ix` long), and n.
    """
    (name,) = ids.columns
    row_id = F.monotonically_increasing_id()
    ordered = checkpoint(
        ids.dropna()
        .distinct()
        .sort(name)
        .select(
            name,
            F.shiftright(row_id, _ROW_BITS).alias("_part"),
            row_id.bitwiseAND(F.lit((1 << _ROW_BITS) - 1)).alias("_row"),
        ),
        scratch,
    )
    counts = sorted((row["_part"], row["n"]) for row in ordered.groupBy("_part").agg(F.count("*").alias("n")).collect())
    starts, total = [], 0
    for part, n in counts:
        starts.append((part, total))
        total += n
    if not starts:
        return ordered.select(name, F.lit(0).cast("bigint").alias("ix")), 0
    offsets = ids.sparkSession.createDataFrame(starts, "_part bigint, _start bigint")
    indexed = ordered.join(F.broadcast(offsets), "_part").select(name, (F.col("_start") + F.col("_row")).alias("ix"))
    return indexed, total

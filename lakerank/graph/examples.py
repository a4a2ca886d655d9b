"""The three pages by which PageRank is explained, and two variants with a trap.

Yahoo links to itself and to Amazon, Amazon to Yahoo and Microsoft, Microsoft to Amazon. Started from 1 each
with damping 1, one iteration gives Yahoo 1, Amazon 3/2, Microsoft 1/2.
"""

from __future__ import annotations

from fractions import Fraction

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

Edges = tuple[tuple[str, str], ...]

SEED: Edges = (
    ("Yahoo", "Yahoo"),
    ("Yahoo", "Amazon"),
    ("Amazon", "Yahoo"),
    ("Amazon", "Microsoft"),
    ("Microsoft", "Amazon"),
)
SPIDER_TRAP: Edges = (*SEED[:4], ("Microsoft", "Microsoft"))
DEAD_END: Edges = SEED[:4]

# Exact PageRanks at damping 17/20 (solve the 3 × 3 system by hand to check).
EXACT: dict[str, tuple[Edges, dict[str, Fraction]]] = {
    "seed": (
        SEED,
        {"Yahoo": Fraction(760, 1991), "Amazon": Fraction(794, 1991), "Microsoft": Fraction(437, 1991)},
    ),
    "spider trap": (
        SPIDER_TRAP,
        {"Yahoo": Fraction(114, 631), "Amazon": Fraction(80, 631), "Microsoft": Fraction(437, 631)},
    ),
    "dead end": (
        DEAD_END,
        {"Yahoo": Fraction(2280, 5191), "Amazon": Fraction(1600, 5191), "Microsoft": Fraction(1311, 5191)},
    ),
}


def as_frame(spark: SparkSession, edges: Edges) -> DataFrame:
    """`src`, `dst` string. From an Arrow table: from a list, classic Spark would start Python workers."""
    src, dst = zip(*edges, strict=True)
    return spark.createDataFrame(pa.table({"src": list(src), "dst": list(dst)}))

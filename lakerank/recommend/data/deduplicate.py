"""All rows of a source with their reasons: counted, given one type of ids, freed of duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakerank.recommend.data.cleaning import DUPLICATE, repeated, settle, whole
from lakerank.spark.checkpoint import checkpoint

# Up to here the pairs that are rated more than once are sent to every worker.
_BROADCAST_PAIRS = 1_000_000


@dataclass(frozen=True)
class Judged:
    """Rows with a `reason`, null for the good ones; `items` and `tags` where the source has them."""

    ratings: DataFrame
    items: DataFrame | None = None
    tags: DataFrame | None = None

    def tables(self) -> dict[str, DataFrame]:
        """The frames that there are, by table."""
        named = {"ratings": self.ratings, "items": self.items, "tags": self.tags}
        return {name: frame for name, frame in named.items() if frame is not None}


@dataclass(frozen=True)
class Survey:
    """What one pass over the source tells, before duplicates are settled.

    Attributes:
        good: table → rows without a reason.
        reasons: table → reason → rows.
        user_type: `bigint` if every good row's user is a whole number, else `string`.
        item_type: the same for items.
    """

    good: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, int]]
    user_type: str
    item_type: str


def survey(judged: Judged) -> Survey:
    """Count rows by table and reason, and find the types of the ids; one Spark job."""

    def told(table: str, frame: DataFrame) -> DataFrame:
        def of(name: str) -> Column:
            return F.col(name) if name in frame.columns else F.lit("0")

        return frame.select(F.lit(table).alias("table"), "reason", of("user").alias("user"), of("item").alias("item"))

    rows = reduce(DataFrame.unionAll, (told(*pair) for pair in judged.tables().items()))
    counts = rows.groupBy("table", "reason").agg(
        F.count("*").alias("n"), F.bool_and(whole("user")).alias("user"), F.bool_and(whole("item")).alias("item")
    )
    found = counts.collect()
    fine = [row for row in found if row["reason"] is None]
    reasons: dict[str, Counter[str]] = {table: Counter() for table in judged.tables()}
    for row in found:
        if row["reason"] is not None:
            reasons[row["table"]][row["reason"]] += row["n"]
    return Survey(
        dict.fromkeys(reasons, 0) | {row["table"]: row["n"] for row in fine},
        reasons,
        *("bigint" if all(row[name] for row in fine) else "string" for name in ("user", "item")),
    )


def with_ids(judged: Judged, found: Survey) -> dict[str, DataFrame]:
    """The frames by table, with `user_id` and `item_id` of the types found (null where a bad row's is not)."""
    kinds = {"user": found.user_type, "item": found.item_type}
    return {
        table: frame.select(
            *(F.col(n).try_cast(kinds[n]).alias(f"{n}_id") if n in kinds else F.col(n) for n in frame.columns)
        )
        for table, frame in judged.tables().items()
    }


def without_duplicates(good: DataFrame, scratch: str) -> tuple[DataFrame, DataFrame, int]:
    """Good ratings with only the newest for each user and item, those left out, and how many these are.

    Args:
        good: ratings without a reason, with `user_id` and `item_id`.
        scratch: folder for `checkpoint`.
    """
    pairs = checkpoint(repeated(good), scratch)
    n = pairs.count()
    if n == 0:  # as in every MovieLens edition: no second look at the rows
        return good, good.limit(0), 0
    if n <= _BROADCAST_PAIRS:
        pairs = F.broadcast(pairs)
    contested = checkpoint(settle(good.join(pairs, ["user_id", "item_id"], "left_semi")), scratch)
    single = good.join(pairs, ["user_id", "item_id"], "left_anti")
    losers = contested.where(F.col("reason") == DUPLICATE)
    return single.unionByName(contested.where("reason IS NULL")), losers, losers.count()

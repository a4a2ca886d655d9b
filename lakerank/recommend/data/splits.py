"""Divide ratings into training and test (and validation), the same way every time.

Every split adds one column, `part`: `train`, `valid` or `test`, and for `users` also `history`. No split uses
`rand()`: its values follow the partitioning of the frame, so a re-read table would be split differently; a hash of the
row does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.data.frames import check_frame, id_column, time_column
from lakerank.spark.dense_ids import dense_index

_BUCKETS = 1 << 20
GIVEN = "given"  # in place of a split, where people bring their own test ratings
HISTORY_SHARE = 0.8  # of a held-out user's ratings, shown to the model when it is asked (Liang et al. 2018)


@dataclass(frozen=True)
class Split:
    """A parsed `--split`: its kind and its numbers."""

    kind: str
    numbers: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str, strong: bool = False) -> Split:
        """Parse `random:0.1`, `user:0.2`, `corner:133493,1000`, `time:0.1`, `items:0.2`, `users:0.1`,
        `leave-one-out` or `none`.

        Args:
            text: what the user wrote.
            strong: whether `users` is allowed, whose part `history` training must not see.

        Raises:
            UserError: unknown kind, or numbers that are missing or out of range.
        """
        kind, _, rest = text.partition(":")
        try:
            numbers = tuple(float(part) for part in rest.split(",")) if rest else ()
        except ValueError as error:
            raise UserError(f"--split {text}: {rest!r} must be numbers") from error
        wanted = {"random": 1, "user": 1, "time": 1, "corner": 2, "items": 1, "leave-one-out": 0, "none": 0}
        if strong:
            wanted["users"] = 1
        if kind not in wanted:
            raise UserError(f"--split {text}: must be one of {', '.join(_FORMS[kind] for kind in wanted)}")
        if len(numbers) != wanted[kind]:
            raise UserError(f"--split {text}: {kind} takes {wanted[kind]} numbers, e.g. {_EXAMPLES[kind]}")
        if kind in ("random", "user", "time", "items", "users") and not 0 < numbers[0] < 1:
            raise UserError(f"--split {text}: the test share must be between 0 and 1, e.g. {_EXAMPLES[kind]}")
        return cls(kind, numbers)


_FORMS = {
    "random": "random:SHARE",
    "user": "user:SHARE",
    "corner": "corner:ROW,COLS",
    "time": "time:SHARE",
    "items": "items:SHARE",
    "users": "users:SHARE",
    "leave-one-out": "leave-one-out",
    "none": "none",
}
_EXAMPLES = {
    "random": "random:0.1",
    "user": "user:0.2",
    "time": "time:0.1",
    "corner": "corner:133493,1000",
    "items": "items:0.2",
    "users": "users:0.1",
    "leave-one-out": "leave-one-out",
    "none": "none",
}


def bucket(seed: int, salt: str) -> Column:
    """Draw a number in [0, 1) for each rating that depends only on its user, its item and the seed."""
    return F.pmod(F.xxhash64("user_id", "item_id", F.lit(seed), F.lit(salt)), F.lit(_BUCKETS)) / _BUCKETS


def _drawn(column: str, seed: int, salt: str) -> Column:
    """Draw a number in [0, 1) that depends only on one column and the seed."""
    return F.pmod(F.xxhash64(column, F.lit(seed), F.lit(salt)), F.lit(_BUCKETS)) / _BUCKETS


def _random(ratings: DataFrame, items: DataFrame, split: Split, seed: int) -> Column:
    return bucket(seed, "test") < split.numbers[0]


def _time(ratings: DataFrame, items: DataFrame, split: Split, seed: int) -> Column:
    second = F.unix_timestamp("rated_at")
    row = ratings.agg(
        F.count_if(F.col("rated_at").isNull()).alias("missing"),
        F.percentile(second, 1.0 - split.numbers[0]).alias("cutoff"),
    ).first()
    if row is None or row["cutoff"] is None or row["missing"] > 0:
        raise UserError("--split time: `rated_at` is null for some ratings; use --split random:0.1")
    return second > F.lit(row["cutoff"])


def _leave_one_out(ratings: DataFrame, items: DataFrame, split: Split, seed: int) -> Column:
    if ratings.where(F.col("rated_at").isNull()).limit(1).count():
        print(
            "leave-one-out: some ratings have no time: of a user without any, not the newest but any one is held out",
            flush=True,
        )
    # Of ratings of the same second, or without times, any: the largest id would be that of the newest item.
    newest = Window.partitionBy("user_id").orderBy(
        F.col("rated_at").desc_nulls_last(), bucket(seed, "newest"), F.col("item_id")
    )
    # A user's only rating stays in training: nothing could be learned about them otherwise.
    several = F.count("*").over(Window.partitionBy("user_id")) > 1
    return (F.row_number().over(newest) == 1) & several


def _of_each_user(ratings: DataFrame, items: DataFrame, split: Split, seed: int) -> Column:
    rank = F.row_number().over(Window.partitionBy("user_id").orderBy(bucket(seed, "test"), F.col("item_id")))
    n = F.count("*").over(Window.partitionBy("user_id"))
    # Whoever has few ratings keeps one of them in training at least.
    return rank <= F.least(F.round(n * F.lit(split.numbers[0])), n - 1)


_RULES: dict[str, Callable[[DataFrame, DataFrame, Split, int], Column]] = {
    "random": _random,
    "user": _of_each_user,
    "time": _time,
    "leave-one-out": _leave_one_out,
    "items": lambda ratings, items, split, seed: _drawn("item_id", seed, "items") < split.numbers[0],
    "users": lambda ratings, items, split, seed: (
        (_drawn("user_id", seed, "users") < split.numbers[0]) & (bucket(seed, "history") >= HISTORY_SHARE)
    ),
    "none": lambda *_: F.lit(False),
}


def split_ratings(
    ratings: DataFrame, items: DataFrame, split: Split, seed: int, valid: float = 0.0, scratch: str = ""
) -> DataFrame:
    """Add `part` to ratings.

    Args:
        ratings: the `ratings` relation.
        items: frame with `item_id`, the catalogue that `corner` counts columns in.
        split: `random` share; `user`: this share of each user's ratings, rounded; `time` newest share; `leave-one-out`
            newest of each user, of equally new ones any; `corner:ROW,COLS`:
            users from the ROW-th (by id, from 1) and the first COLS items (by id) are the test block, so that
            `corner:133493,1000` on MovieLens-20M is userId ≥ 133493 and movie index < 1000; `items`: all ratings of
            a share of the items; `users`: of a share of the users (strong generalisation) a fifth of the ratings is
            test and the rest `history`, for a model to be asked about them with, but not to learn from.
        seed: for `random` and for validation.
        valid: share of the training part set aside for validation.
        scratch: folder for checkpoints.

    Raises:
        UserError: the split needs times that are missing.
    """
    if split.kind == "corner":
        first_row, columns = split.numbers
        users, _ = dense_index(ratings.select("user_id"), scratch)
        catalogue, _ = dense_index(items.select("item_id"), scratch)
        ratings = ratings.join(users.withColumnRenamed("ix", "_u"), "user_id").join(
            catalogue.withColumnRenamed("ix", "_i"), "item_id", "left"
        )
        is_test: Column = (F.col("_u") + 1 >= first_row) & F.coalesce(F.col("_i") < columns, F.lit(False))
    else:
        is_test = _RULES[split.kind](ratings, items, split, seed)
    part = F.when(is_test, "test")
    if split.kind == "users":
        part = part.when(_drawn("user_id", seed, "users") < split.numbers[0], "history")
    if valid > 0:
        part = part.when(bucket(seed, "valid") < valid, "valid")
    return ratings.withColumn("part", part.otherwise("train")).drop("_u", "_i")


def train_test_split(
    ratings: Any,
    split: str = "random:0.1",
    seed: int = 0,
    user_col: str = "user_id",
    item_col: str = "item_id",
    time_col: str = "",
    scratch: str = "",
) -> tuple[DataFrame, DataFrame]:
    """Divide a frame of ratings into training and test; both have its columns.

    A rating's part depends on its user, its item and the seed, not on the order or partitioning of the frame.

    Args:
        ratings: one row per rating.
        split: `random:SHARE`, `user:SHARE` (of each user's), `time:SHARE` (the newest), `leave-one-out` (the newest of
            each user), `items:SHARE` (all ratings of some items) or `corner:ROW,COLS`.
        seed: for `random` and `items`.
        user_col, item_col: columns of ids, whole numbers or strings.
        time_col: column of times (timestamp, date or Unix seconds); `time` needs it, `leave-one-out` takes any
            rating of a user without it.
        scratch: folder for checkpoints, where Spark refuses local ones.

    Raises:
        UserError: no such split, a column is missing or of the wrong type, or `time` without times.
    """
    parsed, frame = Split.parse(split), check_frame(ratings)
    if parsed.kind == "time" and not time_col:
        raise UserError(f"split {split}: name the column of times by time_col")
    time = time_column(frame, "time_col", time_col) if time_col else F.lit(None).cast("timestamp")
    rows = frame.select(
        F.struct("*").alias("row"),
        id_column(frame, "user_col", user_col).alias("user_id"),
        id_column(frame, "item_col", item_col).alias("item_id"),
        time.alias("rated_at"),
    )
    parts = split_ratings(rows, rows.select("item_id").distinct(), parsed, seed, scratch=scratch)
    train, test = (parts.where(F.col("part") == part).select("row.*") for part in ("train", "test"))
    return train, test

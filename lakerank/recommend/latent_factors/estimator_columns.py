"""Columns of users' frames, checked: what the latent-factor Estimator and Model accept as ids, ratings and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.data.splits import bucket
from lakerank.spark.checkpoint import checkpoint

WHOLE = ("tinyint", "smallint", "int", "bigint")
_TIMES = ("timestamp", "timestamp_ntz", "date")


def _quoted(name: str) -> Column:
    return F.col("`" + name.replace("`", "``") + "`")


def kind_of(frame: DataFrame, name: str) -> str:
    """The type of a column in Spark SQL's words."""
    return dict(frame.dtypes)[name]


def _checked(frame: DataFrame, setting: str, name: str, known: Sequence[str], wanted: str) -> str:
    """The kind of a column, if it is there and of a known kind (`decimal` is any decimal)."""
    if name not in frame.columns:
        raise UserError(f"{setting} {name!r}: no such column; the frame has {', '.join(frame.columns)}")
    kind = kind_of(frame, name)
    if kind.partition("(")[0] not in known:
        raise UserError(f"{setting} {name!r} is {kind}: must be {wanted}")
    return kind


def id_column(frame: DataFrame, setting: str, name: str, trained: str = "") -> Column:
    """Ids as the trainer has them: whole numbers as bigint, or strings.

    Args:
        frame: any frame.
        setting: the parameter that names the column, for errors.
        name: the column.
        trained: bigint or string, which it must be; empty takes either.

    Raises:
        UserError: there is no such column, or it is of another kind.
    """
    known = {"": (*WHOLE, "string"), "bigint": WHOLE, "string": ("string",)}[trained]
    wanted = {
        "": "whole numbers (tinyint to bigint) or strings: cast it",
        "bigint": "whole numbers, as in training: cast it",
        "string": "strings, as in training: cast it",
    }
    kind = _checked(frame, setting, name, known, wanted[trained])
    return _quoted(name) if kind == "string" else _quoted(name).cast("bigint")


def ratings_from(frame: DataFrame, names: Mapping[str, str], share: float, seed: int, scratch: str) -> DataFrame:
    """The `ratings` relation with `part`, computed once: a frame that would come out differently does no harm.

    Args:
        frame: one row per rating.
        names: its columns by parameter: `userCol`, `itemCol`, `ratingCol`, and `timestampCol`, which may be empty.
        share: of the ratings for validation.
        seed: which these are.
        scratch: see `checkpoint`.

    Raises:
        UserError: a column is missing or of the wrong kind, a user, item or rating is null, a rating is NaN or
            infinite (as float), or there are no rows.
    """
    user, item, rating, time = (names[key] for key in ("userCol", "itemCol", "ratingCol", "timestampCol"))
    numbers = (*WHOLE, "float", "double", "decimal")
    _checked(frame, "ratingCol", rating, numbers, "a number: cast it")
    columns = [
        id_column(frame, "userCol", user).alias("user_id"),
        id_column(frame, "itemCol", item).alias("item_id"),
        _quoted(rating).cast("float").alias("rating"),
    ]
    if time:
        kind = _checked(frame, "timestampCol", time, (*_TIMES, *WHOLE), "a timestamp, a date or Unix seconds")
        moment = F.timestamp_seconds(_quoted(time)) if kind in WHOLE else _quoted(time).cast("timestamp")
        columns.append(moment.alias("rated_at"))
    ratings = checkpoint(frame.select(*columns), scratch)
    bad = {
        f"userCol {user!r} is null": F.col("user_id").isNull(),
        f"itemCol {item!r} is null": F.col("item_id").isNull(),
        f"ratingCol {rating!r} is null": F.col("rating").isNull(),
        f"ratingCol {rating!r} is NaN": F.isnan("rating"),
        f"ratingCol {rating!r} is infinite": F.abs("rating") == float("inf"),
    }
    counted = ratings.agg(
        F.count("*").alias("rows"), *(F.count_if(wrong).alias(str(n)) for n, wrong in enumerate(bad.values()))
    ).first()
    assert counted is not None
    rows, *found = counted
    if any(found):
        told = "; ".join(f"{what} in {n} of {rows} rows" for what, n in zip(bad, found, strict=True) if n)
        raise UserError(f"{told}: remove or mend them")
    if not rows:
        raise UserError("there are no ratings to fit: the frame is empty")
    part = F.when(bucket(seed, "valid") < share, "valid").otherwise("train") if share else F.lit("train")
    return ratings.withColumn("part", part)

"""Check users' frames: the columns that hold ids, ratings and times, and the `ratings` relation made of them.

Spark says what is wrong with a frame late, as an AnalysisException or a worker's stack trace; here it is said first, as
one sentence with the parameter and the column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.input_files import quoted
from lakerank.spark.checkpoint import checkpoint

WHOLE = ("tinyint", "smallint", "int", "bigint")
FRACTIONAL = ("float", "double", "decimal")  # as ids: whole numbers in them, as StringIndexer writes
_EXACT = 1 << 53  # up to here a double holds every whole number
_TIMES = ("timestamp", "timestamp_ntz", "date")
_FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799  # of the years that Python's calendar has


def check_frame(frame: Any) -> DataFrame:
    """Return a frame that can be read.

    Raises:
        UserError: it is no Spark DataFrame, or a streaming one.
    """
    if not isinstance(frame, DataFrame):
        kind = f"{type(frame).__module__}.{type(frame).__name__}".removeprefix("builtins.")
        raise UserError(
            f"a Spark DataFrame is needed, not {kind}: spark.createDataFrame(…) makes one of pandas or rows"
        )
    if frame.isStreaming:
        raise UserError("a streaming DataFrame has no end: read the ratings as a batch, or use foreachBatch")
    return frame


def type_of(frame: DataFrame, name: str) -> str:
    """Return the type of a column in Spark SQL's words."""
    return dict(frame.dtypes)[name]


def _checked_type(frame: DataFrame, setting: str, name: str, known: Sequence[str], wanted: str) -> str:
    """Return the type of a column, if it is there, once, and of a known type (`decimal` is any decimal)."""
    if name not in frame.columns:
        raise UserError(f"{setting} {name!r}: no such column; the frame has {', '.join(frame.columns)}")
    strict = frame.sparkSession.conf.get("spark.sql.caseSensitive", "false") == "true"
    same = [
        column
        for column in frame.columns
        if (column if strict else column.lower()) == (name if strict else name.lower())
    ]
    if len(same) > 1:
        raise UserError(
            f"{setting} {name!r}: {len(same)} columns have this name ({', '.join(same)}): rename or drop one"
        )
    kind = type_of(frame, name)
    if kind.partition("(")[0] not in known:
        raise UserError(f"{setting} {name!r} is {kind}: must be {wanted}")
    return kind


_INDEXED = "ml_attr"  # in the metadata of columns that pyspark.ml has numbered


def id_column(frame: DataFrame, setting: str, name: str, trained: str = "") -> Column:
    """Return ids as models have them: whole numbers as bigint, or strings.

    A column that may hold fractions is looked through at once, so that a fraction is said before anything is computed;
    of a stream it ends the query. An indexer's column (`StringIndexer`) holds none, and is not looked through.

    Args:
        frame: any frame.
        setting: the parameter that names the column, for errors.
        name: the column.
        trained: bigint or string, which it must be; empty takes either.

    Raises:
        UserError: there is no such column, it is of another type, or an id is a fraction.
    """
    kind = _id_type(frame, setting, name, trained)
    if kind == "string" or kind in WHOLE:
        return quoted(name) if kind == "string" else quoted(name).cast("bigint")
    problem = f"{setting} {name!r} is no whole number (or one beyond 2^53): "
    told = F.concat(F.lit(problem), quoted(name).cast("string"))
    given = quoted(name).isNotNull()
    if not frame.isStreaming and _INDEXED not in _metadata(frame, name):
        odd = frame.where(given & _whole_number(name, kind).isNull()).select(quoted(name).cast("string")).first()
        if odd is not None:
            raise UserError(f"{problem}{odd[0]}")
    return F.coalesce(_whole_number(name, kind), F.when(given, F.raise_error(told)).cast("bigint"))


def _metadata(frame: DataFrame, name: str) -> Mapping[str, Any]:
    return next((field.metadata for field in frame.schema.fields if field.name == name), {})


def _id_type(frame: DataFrame, setting: str, name: str, trained: str = "") -> str:
    """Return the type of a column of ids, a decimal's without its digits; see `id_column`."""
    numbers = (*WHOLE, *FRACTIONAL)
    known = {"": (*numbers, "string"), "bigint": numbers, "string": ("string",)}[trained]
    wanted = {
        "": "numbers (whole ones, of any number type) or strings: cast it",
        "bigint": "whole numbers, as in training: cast it",
        "string": "strings, as in training: cast it",
    }
    return _checked_type(frame, setting, name, known, wanted[trained]).partition("(")[0]


def _whole_number(name: str, kind: str) -> Column:
    """Return a number column as bigint; null where it is no whole number, or too large to be sure which."""
    if kind in WHOLE:
        return quoted(name).cast("bigint")
    within = quoted(name).between(-_EXACT, _EXACT)
    value = F.when(within, quoted(name)).try_cast("bigint")
    return F.when(value.cast("double") == quoted(name).cast("double"), value)


def time_column(frame: DataFrame, setting: str, name: str) -> Column:
    """Return times as timestamps, of a timestamp, a date or whole Unix seconds.

    Raises:
        UserError: there is no such column, or it is of another type.
    """
    kind = _checked_type(frame, setting, name, (*_TIMES, *WHOLE), "a timestamp, a date or Unix seconds")
    if kind not in WHOLE:
        return quoted(name).cast("timestamp")
    seconds = quoted(name).cast("bigint")
    within = F.greatest(F.lit(_FIRST_SECOND), F.least(F.lit(LAST_SECOND + 1), seconds))
    return F.timestamp_seconds(F.when(seconds.isNotNull(), within))  # greatest and least pass over nulls


def ratings_relation(frame: Any, names: Mapping[str, str], scratch: str = "") -> DataFrame:
    """Return the `ratings` relation of a user's frame, computed once: one that would come out differently does no harm.

    Args:
        frame: one row per rating.
        names: its columns by the parameter that names each: of users, items, ratings and, which may be empty, times,
            in this order. Without times there is no `rated_at`.
        scratch: folder for a checkpoint, see `checkpoint`.

    Returns:
        Frame (user_id, item_id, rating float[, rated_at timestamp]).

    Raises:
        UserError: it is no frame, a column is missing or of the wrong type, a user, item or rating is null, a rating is
            NaN or infinite (as float), a time is no Unix seconds, or there are no rows.
    """
    frame = check_frame(frame)
    (user_set, user), (item_set, item), (rating_set, rating), (time_set, time) = names.items()
    columns, odd = [], {}
    for setting, name, side in ((user_set, user, "user"), (item_set, item, "item")):
        kind = _id_type(frame, setting, name)
        value = quoted(name) if kind == "string" else _whole_number(name, kind)
        columns.append(value.alias(f"{side}_id"))
        if kind in FRACTIONAL:
            odd[f"{setting} {name!r} is no whole number (or one beyond 2^53)"] = f"_{side}"
            columns.append((quoted(name).isNotNull() & value.isNull()).alias(f"_{side}"))
    columns.append(quoted(rating).cast("float").alias("rating"))
    _checked_type(frame, rating_set, rating, (*WHOLE, "float", "double", "decimal"), "a number: cast it")
    bad = {what: F.col(flag) for what, flag in odd.items()}
    nulls = {side: F.col(f"{side}_id").isNull() for side in ("user", "item")}
    for flag in odd.values():
        nulls[flag[1:]] &= ~F.col(flag)
    bad |= {
        f"{user_set} {user!r} is null": nulls["user"],
        f"{item_set} {item!r} is null": nulls["item"],
        f"{rating_set} {rating!r} is null": F.col("rating").isNull(),
        f"{rating_set} {rating!r} is NaN": F.isnan("rating"),
        f"{rating_set} {rating!r} is infinite": F.abs("rating") == float("inf"),
    }
    if time:
        columns.append(time_column(frame, time_set, time).alias("rated_at"))
        far = F.unix_seconds("rated_at").between(_FIRST_SECOND + 1, LAST_SECOND)
        bad[f"{time_set} {time!r} lies outside the years 1 to 9999 (are they Unix seconds?)"] = ~far
    ratings = checkpoint(frame.select(*columns), scratch)
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
    return ratings.drop(*odd.values())

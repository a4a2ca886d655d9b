"""Clean rating rows: give them types, name the reason of each one that cannot be used, and drop duplicates.

Every function adds or fills a column `reason`, null for a good row; the rows themselves stay until the end, so that
all of them can be counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.data.delimited import Shape, split_fields
from lakerank.recommend.data.frames import LAST_SECOND
from lakerank.spark.checkpoint import checkpoint

NO_USER = "empty user id"
NO_ITEM = "empty item id"
NO_NUMBER = "rating is not a number"
BAD_TIME = "bad timestamp"
DUPLICATE = "duplicate: same user and item, and the newest rating (the last line, if as new) is kept"

# Below, a number is seconds; from here on, milliseconds. As seconds it is the year 5138, as ms 1973.
_FIRST_MILLISECONDS = 1e11
# Up to here the pairs that are rated more than once are sent to every worker.
_BROADCAST_PAIRS = 1_000_000
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NO_TIME = ("", "null", "none", "na", "n/a", "nan", "nat", "\\n")  # what programs write where they have none
_EXACT = float(1 << 53)  # up to here a double holds every whole number
_WHOLE = r"^(0|-?[1-9][0-9]{0,18})(\.0+)?$"
_POINT = r"\.0+$"  # what pandas adds to whole numbers of a column in which one is missing
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{1,2}:[0-9]{2}.*)?$"
_ZONED = r":[0-9]{2}[0-9:.]*\s*([A-Za-z][A-Za-z0-9/_+-]*|[+-][0-9:]+)$"


def from_lines(lines: DataFrame, shape: Shape) -> DataFrame:
    """Cut lines into fields: `source, line, raw, user, item, rating, rated_at, timed, problem`, not yet checked."""
    rows = split_fields(lines, shape)
    if "rating" not in shape.at:
        rows = rows.withColumn("rating", F.lit("1"))
    if "time" in shape.at:
        return parse_time(rows.withColumn("timed", _is_given(F.col("time"))), "time", "rated_at")
    return rows.withColumn("rated_at", F.lit(None).cast("timestamp")).withColumn("timed", F.lit(False))


def _is_given(time: Column) -> Column:
    """Tell whether there is a time at all: a rating without one is a rating."""
    given: Column = F.coalesce(~F.lower(F.trim(time)).isin(*_NO_TIME), F.lit(False))
    return given


def id_text(column: Column, kind: str) -> Column:
    """Write an id as text: a whole number that pandas made 1.0, as it does where one is missing, is 1."""
    if kind not in ("float", "double", "decimal"):
        return F.trim(column.cast("string"))
    whole = column.cast("double").try_cast("bigint")
    same = (whole.cast("double") == column.cast("double")) & (F.abs(column.cast("double")) <= _EXACT)
    text: Column = F.when(same, whole.cast("string")).otherwise(F.nullif(column.cast("string"), F.lit("NaN")))
    return text


def from_columns(rows: DataFrame, columns: Mapping[str, str]) -> DataFrame:
    """Make the columns of `from_lines` of `source, line, row struct`; `columns` maps each field to its column."""
    kinds = {field.name: field.dataType for field in rows.select("row.*").schema.fields}

    def column(name: str) -> Column:
        return F.col("row").getField(columns[name])

    known = "time" not in columns or kinds[columns["time"]].typeName() == "timestamp"
    time = column("time") if "time" in columns else F.lit(None).cast("timestamp")
    ids = {name: id_text(column(name), kinds[columns[name]].typeName()) for name in ("user", "item")}
    told = rows.select(
        "source",
        "line",
        F.to_json("row").alias("raw"),
        *(text.alias(name) for name, text in ids.items()),
        (F.trim(column("rating").cast("string")) if "rating" in columns else F.lit("1")).alias("rating"),
        (time if known else time.cast("string")).alias("rated_at" if known else "time"),
        (F.lit(False) if known else _is_given(time.cast("string"))).alias("timed"),
        F.lit(None).cast("string").alias("problem"),
    )
    return told if known else parse_time(told, "time", "rated_at")


def check_ratings(rows: DataFrame, scale: tuple[float, float] | None) -> DataFrame:
    """Give rows their types and a reason each: `source, line, raw, user, item, rating float, rated_at, reason`.

    Args:
        rows: what `from_lines` or `from_columns` made.
        scale: lowest and highest rating, or None if any number will do.
    """
    number = F.when(F.col("rating").rlike(_NUMBER), F.col("rating").try_cast("double"))
    numbered = rows.withColumn("number", number).withColumn("rating", F.col("number").cast("float"))
    usable = F.col("rating").isNotNull() & (F.abs("rating") < float("inf"))
    reason = (
        F.when(F.col("problem").isNotNull(), F.col("problem"))
        .when(F.coalesce("user", F.lit("")) == "", NO_USER)
        .when(F.coalesce("item", F.lit("")) == "", NO_ITEM)
        .when(~usable, NO_NUMBER)
    )
    if scale:
        reason = reason.when(~F.col("number").between(*scale), off_scale(scale))
    reason = reason.when(F.col("timed") & F.col("rated_at").isNull(), BAD_TIME)
    kept = ("source", "line", "raw", "user", "item", "rating", "rated_at")
    return numbered.select(*kept, reason.alias("reason"))


def read_scale(text: str) -> tuple[float, float]:
    """Parse `0.5,5` as two numbers.

    Raises:
        UserError: these are not two numbers, the lower one first.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"--scale {text}: write the lowest and the highest rating, e.g. 0.5,5")
    return low, high


def off_scale(scale: tuple[float, float]) -> str:
    """Say that a rating lies outside the scale."""
    return f"rating outside the scale {scale[0]:g} to {scale[1]:g}"


def unknown_item(items_file: str) -> str:
    """Say that the items file does not have an item."""
    return f"unknown item: not in {items_file}"


def mark_unknown_items(rows: DataFrame, items: DataFrame, items_file: str) -> DataFrame:
    """Add a reason to rows whose item is not among the good rows of `items`."""
    known = items.where("reason IS NULL").select(F.col("item").alias("known")).distinct()
    reason = F.coalesce("reason", F.when(F.col("known").isNull(), unknown_item(items_file)).otherwise(F.lit(None)))
    joined = rows.join(F.broadcast(known), F.col("item") == F.col("known"), "left")
    return joined.withColumn("reason", reason).drop("known")


def whole(name: str) -> Column:
    """Tell whether an id is a whole number that is written as one: 12 and 12.0 are, 012 and 1.5 are names."""
    return F.col(name).rlike(_WHOLE) & number_of(F.col(name)).isNotNull()


def mark_other_ids(rows: DataFrame, kinds: Mapping[str, str]) -> DataFrame:
    """Add a reason to rows whose ids are names where those of a table are whole numbers.

    Args:
        rows: `user`, `item`, `reason`.
        kinds: types of `user_id` and `item_id` in the table.
    """
    reason = F.col("reason")
    for side in ("user", "item"):
        if kinds[f"{side}_id"] == "bigint":
            told = f"{side} id is no whole number, as those in the table are"
            reason = F.coalesce(reason, F.when(~whole(side), told))
    return rows.withColumn("reason", reason)


def number_of(text: Column) -> Column:
    """Return an id that `whole` says is a number as bigint."""
    return F.when(text.contains("."), F.regexp_replace(text, _POINT, "")).otherwise(text).try_cast("bigint")


OLDER = "older than the rating of the same user and item in the table"
RATED = "user and item are rated in the table already: --mode merge lets the newer rating win"


def mark_against(good: DataFrame, table: DataFrame, mode: str) -> DataFrame:
    """Add a reason to rows that the ratings in a table stand against.

    Args:
        good: ratings without a reason, with `user_id` and `item_id`, each pair once.
        table: the `ratings` relation.
        mode: `append`: whoever is rated already; `merge`: only where the table's rating is newer.
    """
    there = table.select("user_id", "item_id", F.col("rated_at").alias("there_at"), F.lit(True).alias("there"))
    joined = good.drop("reason").join(there, ["user_id", "item_id"], "left")
    newer = F.col("there_at") > F.coalesce("rated_at", F.timestamp_seconds(F.lit(0)))
    reason = F.when(F.col("there"), RATED) if mode == "append" else F.when(F.col("there") & newer, OLDER)
    return joined.withColumn("reason", reason).drop("there", "there_at")


def duplicate_pairs(good: DataFrame) -> DataFrame:
    """Find the users and items that more than one good row rates: `user_id, item_id`."""
    pairs = good.groupBy("user_id", "item_id").agg(F.count("*").alias("n"))
    return pairs.where("n > 1").select("user_id", "item_id")


def mark_duplicates(contested: DataFrame) -> DataFrame:
    """Add a reason to all but the newest of rows that share user and item."""
    newest_first = Window.partitionBy("user_id", "item_id").orderBy(
        F.col("rated_at").desc_nulls_last(), F.col("source").desc(), F.col("line").desc(), F.col("rating").desc()
    )
    numbered = contested.withColumn("number", F.row_number().over(newest_first))
    return numbered.withColumn("reason", F.when(F.col("number") > 1, DUPLICATE)).drop("number")


def parse_time(rows: DataFrame, text: str, name: str) -> DataFrame:
    """Replace the string column `text` by a timestamp column `name`.

    Epoch seconds, epoch milliseconds, and ISO 8601 text (UTC unless it says a zone) are understood; anything
    else becomes null.
    """
    # One step at a time: Spark writes an expression out again at each of its uses unless it is a column.
    value = F.col(text)
    number = F.when(value.rlike(_NUMBER), value.try_cast("double"))
    rows = rows.withColumn("number", number)
    in_ms = F.col("number") >= _FIRST_MILLISECONDS
    rows = rows.withColumn("seconds", F.when(in_ms, F.col("number") / 1000).otherwise(F.col("number")))
    from_epoch = F.timestamp_micros(F.round(F.col("seconds") * 1_000_000).cast("bigint"))
    zoned = F.when(value.rlike(_ZONED), value).when(value.contains(":"), F.concat(value, F.lit("Z")))
    iso = zoned.otherwise(F.concat(value, F.lit(" 00:00:00Z"))).try_cast("timestamp")
    epoch = F.when(F.col("seconds").between(0, LAST_SECOND), from_epoch)
    time = F.when(F.col("seconds").isNotNull(), epoch).when(value.rlike(_DATE), iso)
    return rows.withColumn(name, time).drop("number", "seconds", text)


@dataclass(frozen=True)
class CheckedRows:
    """Rows of a source with a `reason`, null for the good ones.

    Attributes:
        ratings: all its ratings.
        items, tags: where the source has them.
        layout: the MovieLens layout, its files and its scale, in words; empty if it has none.
    """

    ratings: DataFrame
    items: DataFrame | None = None
    tags: DataFrame | None = None
    layout: str = ""

    def tables(self) -> dict[str, DataFrame]:
        """Return the frames by table, without those that are missing."""
        named = {"ratings": self.ratings, "items": self.items, "tags": self.tags}
        return {name: frame for name, frame in named.items() if frame is not None}


@dataclass(frozen=True)
class RowCounts:
    """The counts of one pass over a source, before duplicates are dropped.

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


def count_rows(checked: CheckedRows) -> RowCounts:
    """Count rows by table and reason, and find the types of the ids; one Spark job."""

    def told(table: str, frame: DataFrame) -> DataFrame:
        def of(name: str) -> Column:
            return F.col(name) if name in frame.columns else F.lit("0")

        return frame.select(F.lit(table).alias("table"), "reason", of("user").alias("user"), of("item").alias("item"))

    rows = reduce(DataFrame.unionAll, (told(*pair) for pair in checked.tables().items()))
    counts = rows.groupBy("table", "reason").agg(
        F.count("*").alias("n"), F.bool_and(whole("user")).alias("user"), F.bool_and(whole("item")).alias("item")
    )
    found = counts.collect()
    fine = [row for row in found if row["reason"] is None]
    reasons: dict[str, Counter[str]] = {table: Counter() for table in checked.tables()}
    for row in found:
        if row["reason"] is not None:
            reasons[row["table"]][row["reason"]] += row["n"]
    return RowCounts(
        dict.fromkeys(reasons, 0) | {row["table"]: row["n"] for row in fine},
        reasons,
        *("bigint" if all(row[name] for row in fine) else "string" for name in ("user", "item")),
    )


def cast_ids(checked: CheckedRows, found: RowCounts) -> dict[str, DataFrame]:
    """Return the frames by table, with `user_id` and `item_id` of the types found (null where a bad row's is not)."""
    kinds = {"user": found.user_type, "item": found.item_type}

    def typed(name: str) -> Column:
        if name not in kinds:
            return F.col(name)
        return (number_of(F.col(name)) if kinds[name] == "bigint" else F.col(name)).alias(f"{name}_id")

    return {table: frame.select(*map(typed, frame.columns)) for table, frame in checked.tables().items()}


COUNTS = ("sum", "last", "days")
_SECONDS_PER_DAY = 86_400


def count_pairs(good: DataFrame, how: str) -> DataFrame:
    """Make one row of all rows of a user and an item: `user_id, item_id, rating float, rated_at`, the newest time.

    Args:
        good: ratings without a reason, with `user_id` and `item_id`; a row without a count has the rating 1.
        how: what the rating is then: `sum` of the rows' ratings; `last`, that of the newest row (the last line, if as
            new), for totals that grow; `days`, on how many days (UTC) there are rows, all without a time being one.
    """
    newest = F.struct(F.col("rated_at").isNotNull(), "rated_at", "source", "line")
    day = F.floor(F.unix_timestamp("rated_at") / _SECONDS_PER_DAY)
    count = {
        "sum": F.sum(F.col("rating").cast("double")),
        "last": F.max_by("rating", newest),
        "days": F.count_distinct(day) + F.when(F.count("rated_at") < F.count("*"), 1).otherwise(0),
    }[how]
    counted = good.groupBy("user_id", "item_id")
    return counted.agg(count.cast("float").alias("rating"), F.max("rated_at").alias("rated_at"))


def drop_duplicates(good: DataFrame, scratch: str) -> tuple[DataFrame, DataFrame, int]:
    """Keep the newest rating of each user and item; return those kept, those left out, and how many these are.

    Args:
        good: ratings without a reason, with `user_id` and `item_id`.
        scratch: folder for checkpoints.
    """
    pairs = checkpoint(duplicate_pairs(good), scratch)
    n = pairs.count()
    if n == 0:  # as in every MovieLens edition: no second look at the rows
        return good, good.limit(0), 0
    if n <= _BROADCAST_PAIRS:
        pairs = F.broadcast(pairs)
    contested = checkpoint(mark_duplicates(good.join(pairs, ["user_id", "item_id"], "left_semi")), scratch)
    single = good.join(pairs, ["user_id", "item_id"], "left_anti")
    losers = contested.where(F.col("reason") == DUPLICATE)
    return single.unionByName(contested.where("reason IS NULL")), losers, losers.count()

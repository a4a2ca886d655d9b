"""Rating rows judged: typed, and each one that cannot be used with its reason."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.data.delimited import Shape, cut

NO_USER = "empty user id"
NO_ITEM = "empty item id"
NO_NUMBER = "rating is not a number"
BAD_TIME = "bad timestamp"
DUPLICATE = "duplicate: same user and item, and the newest rating (the last line, if as new) is kept"

# Below, a number is seconds; from here on, milliseconds. As seconds it is the year 5138, as ms 1973.
_FIRST_MILLISECONDS = 1e11
_LAST_SECOND = 253_402_300_799  # 9999-12-31, where Spark's and Python's calendars end
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_WHOLE = r"^(0|-?[1-9][0-9]{0,18})$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{1,2}:[0-9]{2}.*)?$"
_ZONED = r":[0-9]{2}[0-9:.]*\s*([A-Za-z][A-Za-z0-9/_+-]*|[+-][0-9:]+)$"


def from_lines(lines: DataFrame, shape: Shape) -> DataFrame:
    """Lines as `source, line, raw, user, item, rating, rated_at, timed, problem`, not yet judged."""
    rows = cut(lines, shape)
    if "time" in shape.at:
        return with_moment(rows, "time", "rated_at").withColumn("timed", F.lit(True))
    return rows.withColumn("rated_at", F.lit(None).cast("timestamp")).withColumn("timed", F.lit(False))


def from_columns(rows: DataFrame, columns: Mapping[str, str]) -> DataFrame:
    """Rows of `source, line, row struct` as the same columns; `columns` maps each field to its column."""
    kinds = {field.name: field.dataType for field in rows.select("row.*").schema.fields}

    def column(name: str) -> Column:
        return F.col("row").getField(columns[name])

    known = "time" not in columns or kinds[columns["time"]].typeName() == "timestamp"
    time = column("time") if "time" in columns else F.lit(None).cast("timestamp")
    told = rows.select(
        "source",
        "line",
        F.to_json("row").alias("raw"),
        *(F.trim(column(name).cast("string")).alias(name) for name in ("user", "item", "rating")),
        (time if known else time.cast("string")).alias("rated_at" if known else "time"),
        F.lit("time" in columns).alias("timed"),
        F.lit(None).cast("string").alias("problem"),
    )
    return told if known else with_moment(told, "time", "rated_at")


def judge(rows: DataFrame, scale: tuple[float, float] | None) -> DataFrame:
    """Rows as `source, line, raw, user, item, rating float, rated_at, reason`; reason is null if it is good.

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
    """`0.5,5` as two numbers.

    Raises:
        UserError: these are not two numbers, the lower one first.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high:
        raise UserError(f"--scale {text}: write the lowest and the highest rating, e.g. 0.5,5")
    return low, high


def off_scale(scale: tuple[float, float]) -> str:
    """The reason for ratings outside the scale."""
    return f"rating outside the scale {scale[0]:g} to {scale[1]:g}"


def unknown_item(items_file: str) -> str:
    """The reason for items that the items file does not have."""
    return f"unknown item: not in {items_file}"


def only_known(judged: DataFrame, items: DataFrame, items_file: str) -> DataFrame:
    """`judged`, with a reason for rows whose item is not among the good rows of `items`."""
    known = items.where("reason IS NULL").select(F.col("item").alias("known")).distinct()
    reason = F.coalesce("reason", F.when(F.col("known").isNull(), unknown_item(items_file)).otherwise(F.lit(None)))
    joined = judged.join(F.broadcast(known), F.col("item") == F.col("known"), "left")
    return joined.withColumn("reason", reason).drop("known")


def whole(name: str) -> Column:
    """Whether an id is a whole number that is written as one: 12 is, 012 and 1.0 are names."""
    return F.col(name).rlike(_WHOLE) & F.col(name).try_cast("bigint").isNotNull()


def repeated(good: DataFrame) -> DataFrame:
    """The users and items that more than one good row rates: `user_id, item_id`."""
    pairs = good.groupBy("user_id", "item_id").agg(F.count("*").alias("n"))
    return pairs.where("n > 1").select("user_id", "item_id")


def settle(contested: DataFrame) -> DataFrame:
    """Rows that share users and items, with a reason on all but the newest of each."""
    newest_first = Window.partitionBy("user_id", "item_id").orderBy(
        F.col("rated_at").desc_nulls_last(), F.col("source").desc(), F.col("line").desc()
    )
    place = contested.withColumn("place", F.row_number().over(newest_first))
    return place.withColumn("reason", F.when(F.col("place") > 1, DUPLICATE)).drop("place")


def with_moment(rows: DataFrame, text: str, name: str) -> DataFrame:
    """`rows` with a timestamp column `name` instead of the string column `text`.

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
    epoch = F.when(F.col("seconds").between(0, _LAST_SECOND), from_epoch)
    time = F.when(F.col("seconds").isNotNull(), epoch).when(value.rlike(_DATE), iso)
    return rows.withColumn(name, time).drop("number", "seconds", text)

"""Ratings and pairs that a flag names, a table or a file: training and test sets that people bring along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.stores import file_system, has_scheme, is_in_object_store, list_store
from lakerank.lake.input_files import content_digest, expand, first_line, read_lines, read_rows
from lakerank.lake.schemas import RATINGS
from lakerank.recommend.data import cleaning, delimited
from lakerank.recommend.data.store import ReadOptions, Source, delta_table, read_source

_NCF = r"^\(\s*([^,]+?)\s*,\s*([^)]+?)\s*\)\s*(.*)$"


def id_types(ratings: DataFrame) -> dict[str, str]:
    """Return the types of `user_id` and `item_id` of a frame."""
    return {name: kind for name, kind in ratings.dtypes if name in ("user_id", "item_id")}


def read_ratings_of(spark: SparkSession, flag: str, where: str, scratch: str, like: dict[str, str]) -> DataFrame:
    """Return the `ratings` relation of a table or a file, of which every row must be usable.

    Args:
        spark: the session.
        flag: that names it, for messages.
        where: a Delta table, or a CSV or Parquet file or folder, with the usual names of columns.
        scratch: folder for checkpoints.
        like: types that the ids must have; empty takes those they have.

    Raises:
        UserError: it cannot be read, a row cannot be used, or its ids are of another type.
    """
    table = delta_table(spark, where)
    if table is not None and set(RATINGS.names) <= set(table.frame(spark).columns):
        rows = RATINGS.check(table.frame(spark), where).select(*RATINGS.names)
        found = id_types(rows)
    else:
        if table is None and not has_scheme(where) and not Path(where).exists():
            raise UserError(f"{flag} {where}: no such table or file")
        checked = read_source(spark, Source(where, where), ReadOptions(header=_has_header(spark, where)), scratch)
        counts = cleaning.count_rows(cleaning.CheckedRows(checked.ratings))
        if counts.reasons["ratings"]:
            bad = checked.ratings.where("reason IS NOT NULL").select("source", "line", "reason").first()
            assert bad is not None
            at = f", line {bad['line']}" if bad["line"] else ""
            n = sum(counts.reasons["ratings"].values())
            raise UserError(f"{flag} {bad['source']}{at}: {bad['reason']} ({n} such rows); mend them")
        found = {"user_id": counts.user_type, "item_id": counts.item_type}
        for name, kind in like.items():
            if kind == "string":
                found[name] = "string"
        counts = type(counts)(counts.good, counts.reasons, found["user_id"], found["item_id"])
        frame = cleaning.cast_ids(cleaning.CheckedRows(checked.ratings), counts)["ratings"]
        rows, _, _ = cleaning.drop_duplicates(frame.where("reason IS NULL"), scratch)
        rows = rows.select(*RATINGS.names)
    for name, kind in like.items():
        if found[name] != kind:
            told = "whole numbers" if kind == "bigint" else "text"
            raise UserError(f"{flag} {where}: `{name}` must be {told}, as in the training ratings")
    return rows


def _has_header(spark: SparkSession, where: str) -> bool:
    """Tell whether a text file begins with names: the files that data sets are divided into (`u1.base`) do not."""
    if where.endswith(".parquet") or (not has_scheme(where) and Path(where).is_dir()):
        return True
    if is_in_object_store(where) and list_store(where) is not None:
        return True
    return any(sign.isalpha() for sign in first_line(spark, where, "auto"))


def identity_of(spark: SparkSession, where: str) -> list[Any]:
    """Return what tells a table's or a local file's content from another: id and version, or a digest."""
    table = delta_table(spark, where)
    if table is not None:
        return [table.identity(spark), table.version(spark)]
    if is_in_object_store(where):
        return [where, [[file.name, file.size, file.changed] for file in list_store(where) or ()] or _changed(where)]
    if has_scheme(where):
        return [where]
    return [content_digest(Path(where))]


def _changed(file: str) -> list[Any]:
    system, path = file_system(file)
    info = system.get_file_info(path)
    return [info.size, info.mtime_ns]


def read_pairs(spark: SparkSession, flag: str, where: str, like: dict[str, str]) -> DataFrame:
    """Return the pairs (user_id, item_id) of a table or of a CSV or Parquet file, each as often as it stands there.

    Args:
        spark: the session.
        flag: that names it, for messages.
        where: a Delta table, or a file or folder; other columns than those of user and item do not count.
        like: types of `user_id` and `item_id`.

    Raises:
        UserError: it cannot be read, has no such columns, or an id is empty or of another type.
    """
    table = delta_table(spark, where)
    if table is not None:
        rows = table.frame(spark)
        names = rows.columns
    else:
        if not has_scheme(where) and not Path(where).exists():
            raise UserError(f"{flag} {where}: no such table or file")
        rows, names = _rows_of_file(spark, where)
    at = delimited.find_columns(names, {}, f"{flag} {where}", needed=("user", "item"))
    kinds = [kind.partition("(")[0] for _, kind in rows.dtypes]
    rows = rows.toDF(*(f"c{i}" for i in range(len(names))))  # names may be alike, or have any letters in them
    columns = []
    for side in ("user", "item"):
        text = cleaning.id_text(F.col(f"c{at[side]}"), kinds[at[side]])
        typed = cleaning.number_of(text) if like[f"{side}_id"] == "bigint" else F.nullif(text, F.lit(""))
        columns += [typed.alias(f"{side}_id"), text.alias(f"{side}_text")]
    pairs = rows.select(*columns)
    bad = pairs.where("user_id IS NULL OR item_id IS NULL").first()
    if bad is not None:
        side = "user" if bad["user_id"] is None else "item"
        told = repr(bad[f"{side}_text"] or "")[:40]
        kind = "a whole number, as in training" if like[f"{side}_id"] == "bigint" else "an id"
        raise UserError(f"{flag} {where}: {told} is no {side} id: it must be {kind}")
    return pairs.select("user_id", "item_id")


def _rows_of_file(spark: SparkSession, where: str) -> tuple[DataFrame, list[str]]:
    """Return the columns of a CSV or Parquet file, those of CSV as text, and their names."""
    folder = Path(where)
    inside = [path.name for path in folder.iterdir()] if not has_scheme(where) and folder.is_dir() else expand([where])
    if any(name.endswith(".parquet") for name in inside):
        rows = read_rows(spark, where).select("row.*")
        return rows, rows.columns
    head = first_line(spark, where, "auto")
    shape = delimited.shape_of(head, {}, True, "", where, needed=("user", "item"))
    names = delimited.header_names(head, shape.separator)
    columns = {f"c{i}": i for i in range(len(names))}
    whole = delimited.Shape(shape.separator, shape.width, columns, quoted=True)
    lines = read_lines(spark, where, "auto").where("line > 1")
    fields = delimited.split_fields(delimited.join_quoted(lines, shape.separator), whole)
    bad = fields.where("problem IS NOT NULL").select("line", "problem").orderBy("line").first()
    if bad is not None:
        raise UserError(f"{where}, line {bad['line']}: {bad['problem']}")
    return fields.select(*columns), names


def read_negatives(spark: SparkSession, flag: str, where: str, like: dict[str, str]) -> DataFrame:
    """Return the items that users' test items are ranked among, as pairs (user_id, item_id).

    Args:
        spark: the session.
        flag: that names them, for messages.
        where: pairs as `read_pairs` takes them, or a file with a line `(user,item)⇥negative⇥…` for each test item, as
            the NCF data sets have it (He et al. 2017).
        like: types of `user_id` and `item_id`.

    Raises:
        UserError: see `read_pairs`.
    """
    is_file = list_store(where) is None if is_in_object_store(where) else Path(where).is_file()
    if is_file and delta_table(spark, where) is None and first_line(spark, where).startswith("("):
        lines = read_lines(spark, where)
        parts = lines.select(
            "line",
            F.regexp_extract("value", _NCF, 1).alias("user"),
            F.explode(F.split(F.regexp_extract("value", _NCF, 3), r"\s+")).alias("item"),
        )
        numbers = like == {"user_id": "bigint", "item_id": "bigint"}
        typed = parts.select(
            "line",
            (F.col("user").try_cast("bigint") if numbers else F.nullif("user", F.lit(""))).alias("user_id"),
            (F.col("item").try_cast("bigint") if numbers else F.nullif("item", F.lit(""))).alias("item_id"),
        )
        bad = typed.where("user_id IS NULL OR item_id IS NULL").orderBy("line").first()
        if bad is not None:
            raise UserError(f"{flag} {where}, line {bad['line']}: must be (user,item), then items, with tabs between")
        return typed.select("user_id", "item_id").distinct()
    return read_pairs(spark, flag, where, like).distinct()

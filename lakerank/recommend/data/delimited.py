"""Lines of delimited text → named fields: which column is what, and which lines have the wrong shape."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError

# What a ratings file may call its columns when nobody says; compared without case, `_` and spaces.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "user": ("userid", "user"),
    "item": ("itemid", "item", "movieid"),
    "rating": ("rating",),
    "time": ("timestamp", "time", "ratedat", "ts", "datetime", "date"),
}
# How often somebody clicked, played, bought or visited something: ratings where `--counts` is given.
COUNTS = (
    *("count", "counts", "clicks", "plays", "playcount", "views", "visits", "purchases", "quantity", "checkins"),
    *("events", "interactions", "listens", "n"),
)
_SPAN = pa.schema([("source", pa.string()), ("first", pa.int64()), ("last", pa.int64())])
_CLICKS = "; rows without ratings, such as clicks, are counted with --counts sum"
_MOST_LINES = 1_000  # of a record; a quote that stays open for longer is a mistake in its own line
_MOST_ODD = 1_000_000
MOST_COLUMNS = 20_000  # of a line: Spark's CSV parser ends the job at some more
_SEPARATORS = ("\t", "::", ";", "|", ",")


@dataclass(frozen=True)
class Shape:
    """How a line is cut, and where the fields are.

    Attributes:
        separator: one character or several.
        width: how many fields every line must have.
        at: position of each named field, from 0.
        quoted: whether `"` encloses fields that contain the separator, doubled inside, as in CSV.
    """

    separator: str
    width: int
    at: Mapping[str, int]
    quoted: bool = False


def read_mapping(text: str, counted: bool = False) -> dict[str, str]:
    """Parse `user=uid,item=sku,rating=stars,time=ts`; `time` may be left out, and of counted rows `rating`.

    Raises:
        UserError: not of this form, a name that is none of the four, or one of the first three is missing.
    """
    mapping: dict[str, str] = {}
    for part in text.split(","):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column or name not in ALIASES or name in mapping:
            raise UserError(f"--columns: {part!r} is not one of user=…, item=…, rating=…, time=…, each once")
        mapping[name] = column
    for name in ("user", "item") if counted else ("user", "item", "rating"):
        if name not in mapping:
            raise UserError(
                f"--columns: `{name}=` is missing; write user=…,item=…,rating=…[,time=…]"
                + (_CLICKS if name == "rating" else "")
            )
    return mapping


def find_columns(
    have: Sequence[str],
    mapping: Mapping[str, str],
    where: str,
    counted: bool = False,
    needed: Sequence[str] = ("user", "item", "rating"),
) -> dict[str, int]:
    """Find the position of each field among the columns a file has, by `mapping` or, if empty, by the usual names.

    Args:
        have: names of the columns.
        mapping: field → column name; empty: the usual names.
        where: the file, for messages.
        counted: rows are counted: `rating` may be missing, or have the name of a count.
        needed: the fields that must be there, of the usual names.

    Raises:
        UserError: a column is not there, or its name is there twice.
    """
    found: dict[str, int] = {}
    if mapping:
        for name, column in mapping.items():
            if list(have).count(column) != 1:
                what = "no column" if column not in have else "more than one column"
                raise UserError(f"{where}: {what} `{column}` for {name}; it has {listed(have)}")
            found[name] = list(have).index(column)
        return found
    plain = [re.sub(r"[\s_]", "", column).lower() for column in have]
    for name, aliases in ALIASES.items():
        if counted and name == "rating":
            aliases = (*aliases, *COUNTS)
        at = [i for alias in aliases for i, column in enumerate(plain) if column == alias]
        if at:
            found[name] = at[0]
        elif name in needed and len(needed) < 3:
            raise UserError(f"{where}: no column for {name} (such as {name}_id); it has {listed(have)}")
        elif name in needed and not (counted and name == "rating"):
            raise UserError(
                f"{where}: no column for {name}; it has {listed(have)}. "
                "Say which with --columns user=…,item=…,rating=…,time=… (and --header no if it has no header)"
                + (_CLICKS if name == "rating" else "")
            )
    return found


def shape_of(
    first: str,
    mapping: Mapping[str, str],
    header: bool,
    separator: str,
    where: str,
    counted: bool = False,
    needed: Sequence[str] = ("user", "item", "rating"),
) -> Shape:
    """Tell the shape of a CSV-like file from its first line.

    Args:
        first: the file's first line.
        mapping: field → column name, or position from 1 without a header; empty: the usual names or order.
        header: whether the first line holds names.
        separator: empty takes the one of tab, `::`, `;`, `|`, `,` that cuts the first line into most fields.
        where: the file, for messages.
        counted, needed: see `find_columns`.

    Raises:
        UserError: a column is not there.
    """
    separator = separator or max(reversed(_SEPARATORS), key=lambda one: len(header_names(first, one)))
    have = header_names(first, separator)
    if header:
        return Shape(separator, len(have), find_columns(have, mapping, where, counted, needed), quoted=True)
    positions = mapping or {name: str(i) for i, name in enumerate(list(ALIASES)[: len(have)], start=1)}
    at = {}
    for name, position in positions.items():
        if not re.fullmatch("[0-9]{1,6}", position) or not 1 <= int(position) <= len(have):
            raise UserError(
                f"{where}: column {position[:40]} for {name}: without a header say positions from 1 to {len(have)}"
            )
        at[name] = int(position) - 1
    if len(have) < (2 if counted else 3):
        raise UserError(
            f"{where}: its first line has {len(have)} fields (cut at {separator!r}), not 3 or 4"
            + (_CLICKS if len(have) == 2 else "")
        )
    return Shape(separator, len(have), at, quoted=True)


def header_names(line: str, separator: str) -> list[str]:
    """Split one line into its fields, here and not by Spark."""
    if len(separator) > 1:
        return [part.strip() for part in line.split(separator)]
    try:
        return [part.strip() for part in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:  # no text at all
        return [line]


def join_quoted(lines: DataFrame, separator: str) -> DataFrame:
    """Put records together whose quoted fields have line breaks in them; `line` is then that of their first line.

    Only lines with an odd number of quotes can begin or end such a record; they come to the driver, the lines between
    them do not. A quote that is never closed costs its own line: the next record is looked for after it.

    Args:
        lines: `source`, `line`, `value`.
        separator: between fields; one of several characters knows no quotes.
    """
    if len(separator) > 1:
        return lines
    value = F.col("value")
    odd = value.contains('"') & ((F.length(value) - F.length(F.replace(value, F.lit('"'), F.lit("")))) % 2 == 1)
    found = lines.where(odd).select("source", "line", "value").limit(_MOST_ODD).toArrow()
    spans = find_spans(found.sort_by([("source", "ascending"), ("line", "ascending")]).to_pylist(), separator)
    if not spans:
        return lines
    known = lines.sparkSession.createDataFrame(pa.Table.from_pylist(spans, schema=_SPAN))
    placed = lines.alias("l").join(
        F.broadcast(known.alias("s")),
        (F.col("l.source") == F.col("s.source")) & F.col("l.line").between(F.col("s.first"), F.col("s.last")),
        "left",
    )
    placed = placed.select("l.source", "l.line", "l.value", "s.first")
    alone = placed.where("first IS NULL").select("source", "line", "value")
    parts = F.sort_array(F.collect_list(F.struct("line", "value")))["value"]
    joined = placed.where("first IS NOT NULL").groupBy("source", "first").agg(F.array_join(parts, "\n").alias("value"))
    return alone.unionByName(joined.withColumnRenamed("first", "line"))


def find_spans(odd: Sequence[Mapping[str, Any]], separator: str) -> list[dict[str, Any]]:
    """Find the records that go over several lines: `source`, `first` and `last` line of each.

    Args:
        odd: `source`, `line`, `value` of the lines with an odd number of quotes, in order.
        separator: one character.
    """
    sign = re.escape(separator)
    blank = "" if separator == " " else " *+"
    quoted = r'"[^"]*+(?:""[^"]*+)*+"'
    begins = re.compile(
        rf'(?:{blank}(?:{quoted}{blank}|[^"{sign}][^{sign}]*+)?+{sign})*+{blank}"[^"]*+(?:""[^"]*+)*+\Z'
    )
    ends = re.compile(rf'[^"]*+(?:""[^"]*+)*+"{blank}(?:{sign}|\r?\Z)')
    spans: list[dict[str, Any]] = []
    begun: Mapping[str, Any] | None = None
    for line in odd:
        near = begun is not None and begun["source"] == line["source"] and line["line"] - begun["line"] <= _MOST_LINES
        if begun is not None and near and ends.match(line["value"]):
            spans.append({"source": line["source"], "first": begun["line"], "last": line["line"]})
            begun = None
        else:
            begun = line if begins.match(line["value"]) else None
    return spans


def split_fields(lines: DataFrame, shape: Shape) -> DataFrame:
    """Cut lines into named fields: `source, line, raw, <a string for each name>, problem`.

    Fields come without surrounding blanks. `problem` says why a line could not be cut, else it is null.
    """
    value = F.col("value")
    parts = F.split(value, re.escape(shape.separator), -1)
    if shape.quoted:
        # Most lines have no quote, and splitting them is several times faster than the CSV parser.
        quoted = value.contains('"')
        names = [f"c{i}" for i in range(shape.width)]
        few = F.length(value) - F.length(F.replace(value, F.lit(shape.separator), F.lit(""))) < MOST_COLUMNS
        short = F.when(few, value) if len(shape.separator) == 1 else value
        lines = lines.withColumn("row", F.when(quoted, _parsed(short, names, shape.separator)))
        fields = F.array(*(F.coalesce(F.col(f"row.{name}"), F.lit("")) for name in names))
        parts = F.when(~quoted, parts).when(F.col("row").isNotNull() & F.col("row.bad").isNull(), fields)
    whole = lines.select("source", "line", value.alias("raw"), parts.alias("parts"))
    problem = (
        F.when(F.trim("raw") == "", "empty line")
        .when(F.col("parts").isNull() | (F.size("parts") != shape.width), wrong_width(shape))
        .otherwise(F.lit(None).cast("string"))
    )
    told = whole.select("source", "line", "raw", "parts", problem.alias("problem"))
    named = (F.trim(F.get("parts", F.lit(at))).alias(name) for name, at in shape.at.items())
    return told.select("source", "line", "raw", *named, "problem")


def listed(names: Sequence[str]) -> str:
    """List column names for a message: short, and readable even if the file is no text."""
    return "".join(c if c.isprintable() else "?" for c in ", ".join(names))[:200]


def wrong_width(shape: Shape) -> str:
    """Say that a line has too few or too many fields."""
    return f"wrong number of fields ({shape.width} expected)"


def _parsed(value: Column, names: Sequence[str], separator: str) -> Column:
    """Parse a line by Spark's CSV parser: a string for each name; `bad` is set if their number is wrong."""
    options = {
        "sep": separator,
        "escape": '"',  # CSV doubles a quote inside quotes; Spark's default is a backslash
        "mode": "PERMISSIVE",
        "columnNameOfCorruptRecord": "bad",
    }
    return F.from_csv(value, ", ".join(f"{name} string" for name in (*names, "bad")), options)

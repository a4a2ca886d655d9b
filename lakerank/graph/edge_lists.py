"""Edge lists as people have them: separators, headers, comments, ids of any kind, and lines that are wrong.

A line is an edge if it has an id in each of its first two columns (and, where weights are wanted, a finite
number of at least 0 in the third). Blank lines and lines that start with `#` say nothing. Everything else is
rejected with its file, line number and a reason. Ids become bigint if all of them are whole numbers written
the usual way (no leading zeros or plus sign), else all stay text.

`from_lines` and `from_rows` are for Spark's frames. `arrow_edge_columns`, `arrow_columns` and `usable` ask the same of
Arrow tables: they take a table only if every row can be used, and leave the others, with the reasons, to Spark.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph.file_formats import GraphFormat, metis_edges, recognize
from lakerank.lake.input_files import OLD_MAC, Input

SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": r"\s+"}
HEADERS = ("auto", "yes", "no")
REJECTED = ("source", "line", "raw", "reason")

EDGE = ("src", "dst")
NODE = ("id",)
# Names a header or a table may give to the columns, besides src, dst, id and weight themselves.
NAMES = {
    "src": (
        "src", "source", "from", "fromnodeid", "from_id", "source_id", "from_node", "from_node_id", "fromid",
        "sourceid", "src_id", "start", "start_id", "citing", "citer", "follower", "referrer", "origin", "sender",
        "source_url", "src_url", "from_url",
    ),
    "dst": (
        "dst", "destination", "target", "to", "tonodeid", "to_id", "target_id", "dest", "to_node", "to_node_id", "toid",
        "targetid", "dst_id", "destination_id", "end", "end_id", "cited", "followee", "followed", "receiver",
        "recipient", "target_url", "dst_url", "to_url",
    ),
    "id": ("id", "node", "node_id", "nodeid", "page", "page_id", "vertex"),
    "weight": ("weight", "w", "weights"),
}  # fmt: skip
_SAMPLE_LINES = 100
_MOST_COLUMNS = 20_000  # of a line: Spark's CSV parser ends the job at some more
_WHOLE = r"^(0|-?[1-9][0-9]{0,18})$"
_NOT_TEXT = "[\\x00\ufffd]"  # U+FFFD stands where bytes were not valid
_ARROW_NUMBERS = ("int8", "int16", "int32", "int64")
_ARROW_TEXTS = ("string", "large_string", "string_view")


@dataclass(frozen=True)
class Parsed:
    """Hold the rows of a file or table, parsed.

    Attributes:
        rows: the id columns (all bigint or all string, never null) and, if asked for, `weight` double.
        rejected: `source`, `line`, `raw`, `reason`.
        count: number of rows.
        rejected_count: number of rejected rows.
        wider: whether the first lines have more columns than were asked for.
    """

    rows: DataFrame
    rejected: DataFrame
    count: int
    rejected_count: int
    wider: bool = False

    @property
    def numeric(self) -> bool:
        """Whether the ids are whole numbers."""
        return self.rows.dtypes[0][1] == "bigint"

    def as_text(self, ids: Sequence[str]) -> DataFrame:
        """Return the rows with their id columns as text."""
        return self.rows.withColumns({name: F.col(name).cast("string") for name in ids})

    def all_of(self, what: str) -> Parsed:
        """Return this source, where no line may be wrong.

        Raises:
            UserError: one is; the first is named.
        """
        if self.rejected_count:
            bad = self.rejected.orderBy("source", "line").head(1)[0]
            raise UserError(f"{what}: line {bad['line']}: {bad['reason']}")
        return self


def column_for(name: str, columns: Iterable[str]) -> str | None:
    """Return the first of a table's columns that may be called `name`, upper or lower case."""
    return next((column for column in columns if column.lower() in NAMES.get(name, (name,))), None)


def parse(
    found: Input,
    ids: Sequence[str] = EDGE,
    weight: str = "no",
    separator: str = "auto",
    header: str = "auto",
    *,
    nofollow: bool = False,
) -> Parsed:
    """Parse an input by `from_lines` or `from_rows`, as it is.

    Args:
        found: what a flag names, opened.
        ids, weight, separator, header: see there; the last two say how lines are cut.
        nofollow: links of a table that its author does not vouch for (column `nofollow`) count, too.
    """
    if found.kind == "lines":
        return from_lines(found.frame, found.where, ids, weight, separator, header)
    columns = found.frame.select("row.*").columns if found.kind == "rows" else found.frame.columns
    frame = found.frame
    if found.kind == "table" and "nofollow" in columns and not nofollow:
        frame = frame.where("nofollow IS NOT TRUE")
    return from_rows(frame, found.where, columns, ids, weight)


def from_lines(
    lines: DataFrame,
    what: str,
    ids: Sequence[str] = EDGE,
    weight: str = "no",
    separator: str = "auto",
    header: str = "auto",
) -> Parsed:
    """Parse lines of text.

    Args:
        lines: `source` string, `line` bigint, `value` string.
        what: the file, for messages.
        ids: names of the id columns, in order.
        weight: `no` (further columns are ignored), `yes` (the next column is the weight) or `optional` (it is
            if it is there, else 1).
        separator: a key of `SEPARATORS`, or `auto`: of the first lines, the one that splits most of them.
        header: `yes`, `no`, or `auto`: the first line of a file is a header if its words are known column
            names (`NAMES`), or if its ids are not whole numbers and all others are.

    Raises:
        UserError: not text, nothing but blank lines and comments, or nothing that can be used.
    """
    form, lines, sample = _recognized(lines, what)
    if weight == "yes" and form.weighted is False:
        raise UserError(f"{what}: --weights: this {form.name} file has none")
    data = lines.where(~F.col("value").rlike(form.comments))
    sample = [row for row in sample if not re.match(form.comments, row["value"])]
    sample = sample or data.limit(_SAMPLE_LINES).collect()
    if not sample:
        raise UserError(f"{what}: no line of data in it")
    odd = sum(bool(re.search(_NOT_TEXT, row["value"])) for row in sample)
    if odd * 10 > len(sample):
        raise UserError(f"{what}: not UTF-8 text: {odd} of its first {len(sample)} lines are not")
    heads = _first_lines(data, sample)
    if form.size_line:
        data = data.where(~reduce(Column.__or__, (_is(row) for row in heads)))
        sample = [
            row for row in sample if (row["source"], row["line"]) not in {(r["source"], r["line"]) for r in heads}
        ]
        heads = []
    mark = SEPARATORS.get(separator) or _guess_separator([row["value"] for row in sample], len(ids))
    named = _named_columns(heads, mark, ids, weight, what) if header != "no" else None
    columns = named or {name: n for n, name in enumerate([*ids, *(["weight"] if weight != "no" else [])])}
    width = _common_width([row["value"] for row in sample], mark, columns, weight, what)
    parsed = data.select("source", "line", "value", *_split(mark, ids, weight, columns))
    parsed = parsed.withColumn("reason", _reason(mark, ids, weight, columns, width))
    first = reduce(Column.__or__, (_is(row) for row in heads)) if heads else F.lit(False)

    whole = reduce(Column.__and__, (_is_whole(F.col(name)) for name in ids))
    tally = parsed.groupBy(first.alias("first")).agg(
        F.count_if(F.col("reason").isNull()).alias("good"),
        F.count_if(F.col("reason").isNotNull()).alias("bad"),
        F.bool_and(F.when(F.col("reason").isNull(), whole)).alias("whole"),
    )
    counts = {bool(row["first"]): row for row in tally.collect()}
    rest = counts.get(False)
    heads = parsed.where(first).collect() if heads else []
    headers = [row for row in heads if named or _is_header(row, rest, ids, header)]
    if headers:
        parsed = parsed.where(~reduce(Column.__or__, (_is(row) for row in headers)))
    kept = [row for row in heads if row not in headers]
    good = (rest["good"] if rest else 0) + sum(row["reason"] is None for row in kept)
    bad = (rest["bad"] if rest else 0) + sum(row["reason"] is not None for row in kept)
    numbers = (rest is None or rest["whole"] is not False) and all(
        re.match(_WHOLE, row[name]) and -(2**63) <= int(row[name]) < 2**63
        for row in kept
        if row["reason"] is None
        for name in ids
    )
    found = replace(_finish(parsed, what, ids, weight, good, bad, numbers), wider=width > len(ids) + (weight != "no"))
    undirected = F.lit(True) if form.both_ways else F.lower("kind") == "undirected" if "kind" in columns else None
    return found if undirected is None or tuple(ids) != EDGE else _both_ways(found, undirected)


def _recognized(lines: DataFrame, what: str) -> tuple[GraphFormat, DataFrame, Sequence[Row]]:
    """Recognize the format of files; return it with the lines of edges and the first of them."""
    sample = lines.limit(_SAMPLE_LINES).collect()
    form = GraphFormat()
    if len(sample) == 1 and "\r" in sample[0]["value"]:
        raise UserError(f"{what}: {OLD_MAC}")
    if sample:
        source = sample[0]["source"]
        form = recognize([row["value"] for row in sample if row["source"] == source], source, what)
    if form.name == "METIS":
        lines, form = metis_edges(lines, what)
        sample = lines.limit(_SAMPLE_LINES).collect()
    return form, lines, sample


def _both_ways(found: Parsed, undirected: Column) -> Parsed:
    """Add the reverse of each undirected edge that is no loop."""
    back = found.rows.where(undirected & (F.col("src") != F.col("dst")))
    other = {"src": F.col("dst").alias("src"), "dst": F.col("src").alias("dst")}
    back = back.select(*(other.get(name, F.col(name)) for name in found.rows.columns))
    rows = found.rows.unionByName(back).drop("kind")
    return replace(found, rows=rows, count=found.count + back.count())


def _words(line: str, mark: str) -> list[str]:
    """Cut a line into its cells."""
    if mark in (",", ";"):
        reader = csv.reader([line.strip("\r")], delimiter=mark, skipinitialspace=True)
        try:
            return [cell.strip() for cell in next(reader, [])]
        except csv.Error:  # a carriage return within it, or a cell of more than 131,072 characters
            return [cell.strip() for cell in line.split(mark)]
    return [cell.strip(" \t\r") for cell in re.split(mark, line.strip(" \t\r") if mark != "\t" else line)]


def _named_columns(
    heads: Sequence[Row], mark: str, ids: Sequence[str], weight: str, what: str
) -> dict[str, int] | None:
    """Return where a header has the columns wanted, and Gephi's `Type` as `kind`; None if it is none that is known.

    Raises:
        UserError: files have their columns in different order, or no column is called a weight.
    """
    found: dict[str, int] | None = None
    for n, row in enumerate(heads):
        words = [_plain_name(word) for word in _words(row["value"], mark)]
        columns = {name: at for name in ids if (at := _place(name, words)) is not None}
        if len(columns) < len(ids):
            columns = {}
        elif weight != "no":
            at = _place("weight", words)
            if at is None and weight == "yes" and sorted(columns.values()) == list(range(len(ids))):
                at = len(ids) if len(words) > len(ids) else None
            if at is None and weight == "yes":
                known = ", ".join(NAMES["weight"])
                raise UserError(f"{what}: no column for `weight` (one of {known}); it has {', '.join(words)}")
            columns |= {} if at is None else {"weight": at}
        if columns and "type" in words and tuple(ids) == EDGE:
            columns["kind"] = words.index("type")
        if n and (found or {}) != columns:
            raise UserError(f"{what}: {row['source']} has its columns in another order than the files before it")
        found = columns
    return found or None


def _place(name: str, words: Sequence[str]) -> int | None:
    """Return the position of the first word that may be called `name`."""
    return next((at for at, word in enumerate(words) if word in NAMES[name]), None)


def _plain_name(word: str) -> str:
    """Return a column's name as `NAMES` has it: `Source ID` and `:START_ID` are `source_id` and `start_id`."""
    return re.sub(r"[\s.-]+", "_", word.strip().strip("\"'#:").strip().lower())


def _common_width(lines: Sequence[str], mark: str, columns: Mapping[str, int], weight: str, what: str) -> int:
    """Return how many cells most lines have.

    Raises:
        UserError: lines differ in this, so they are no edges but, perhaps, lists of neighbours.
    """
    widths = Counter(len(_words(line, mark)) for line in lines)
    common = max(widths, key=lambda width: (widths[width], width))
    wider = sum(n for width, n in widths.items() if width > max(common, max(columns.values()) + 1))
    if wider * 5 > len(lines):
        raise UserError(
            f"{what}: its lines have {min(widths)} to {max(widths)} columns: give one edge a line (lists of "
            "neighbours are not read)"
        )
    return max(common, max(columns.values()) + 1)


def from_rows(
    frame: DataFrame, what: str, columns: Sequence[str], ids: Sequence[str] = EDGE, weight: str = "no"
) -> Parsed:
    """Parse the columns wanted of a table or of Parquet rows; rows with a null id or a bad weight are
    rejected.

    Args:
        frame: `columns`, or `source`, `line` and `row`, a struct of them.
        what: the table, for messages.
        columns: its columns' names; those in `NAMES` are understood, upper or lower case.
        ids: names of the id columns.
        weight: as in `from_lines`; the column must be a number.

    Raises:
        UserError: a column is missing or has a type that is neither a whole number nor text, or no row can be
            used.
    """
    nested = list(frame.columns) == ["source", "line", "row"]
    chosen = {}
    for name in [*ids, *(["weight"] if weight != "no" else [])]:
        found = column_for(name, columns)
        if found is not None:
            chosen[name] = F.col(f"row.`{found}`" if nested else f"`{found}`")
        elif name != "weight" or weight == "yes":
            known = ", ".join(NAMES[name])
            raise UserError(f"{what}: no column for `{name}` (one of {known}); it has {', '.join(columns)}")
    where = [F.col("source"), F.col("line")] if nested else [F.lit(what), F.lit(None).cast("bigint")]
    rows = frame.select(
        where[0].alias("source"), where[1].alias("line"), *(column.alias(n) for n, column in chosen.items())
    )
    types = dict(rows.dtypes)
    for name in ids:
        if types[name] not in ("bigint", "int", "smallint", "tinyint", "string"):
            raise UserError(f"{what}: ids must be whole numbers or text, but `{name}` is {types[name]}")
    if "weight" in chosen and types["weight"] == "string":
        raise UserError(f"{what}: column `weight` is text, not a number")
    numbers = all(types[name] != "string" for name in ids)
    raw = F.concat_ws(", ", *(F.coalesce(F.col(name).cast("string"), F.lit("null")) for name in chosen))
    number = F.col("weight").cast("double") if "weight" in chosen else F.lit(1.0)
    parsed = rows.withColumn("value", raw)
    if not numbers:  # numbers are not made into text, only to be made numbers again: that costs more than reading them
        parsed = parsed.withColumns({name: F.col(name).cast("string") for name in ids})
    parsed = parsed.withColumn("weight", number).withColumn("weight_text", F.col("weight").cast("string"))
    odd = (F.col(name).isNull() if numbers else F.col(name).isNull() | (F.col(name) == "") for name in ids)
    empty = reduce(Column.__or__, odd)
    parsed = parsed.withColumn("reason", F.when(empty, "an id is empty").otherwise(_bad_weight(weight)))
    tally = parsed.agg(F.count_if(F.col("reason").isNull()).alias("good"), F.count("*").alias("all")).collect()[0]
    good, bad = tally["good"], tally["all"] - tally["good"]
    return _finish(parsed, what, ids, weight, good, bad, numbers)


def _finish(
    parsed: DataFrame,
    what: str,
    ids: Sequence[str],
    weight: str,
    good: int,
    bad: int,
    numbers: bool,
) -> Parsed:
    rejected = parsed.where("reason IS NOT NULL").select("source", "line", F.col("value").alias("raw"), "reason")
    if not good:
        unit = "edge" if len(ids) == 2 else "node"
        if not bad:
            raise UserError(f"{what}: there is no {unit} in it")
        row = rejected.orderBy("source", "line").head(1)[0]
        at = f"line {row['line']}" if row["line"] else "a row"
        raise UserError(f"{what}: none of {bad} lines is an {unit}; {at}: {row['reason']}")
    columns = [F.col(name).cast("bigint") if numbers else F.col(name) for name in ids]
    columns += [F.col("kind")] if "kind" in parsed.columns else []
    if weight != "no":
        columns.append(F.col("weight"))
    return Parsed(parsed.where("reason IS NULL").select(*columns), rejected, good, bad)


def _guess_separator(lines: Sequence[str], wanted: int) -> str:
    """Return the pattern that splits most lines into enough columns; of equals, the first in `SEPARATORS`."""
    if wanted == 1:  # a single column has no separator; a second one can only be a weight
        wanted = 2
    splits = {mark: sum(len(re.split(mark, line.strip())) >= wanted for line in lines) for mark in SEPARATORS.values()}
    return max(splits, key=lambda mark: splits[mark])


def _split(mark: str, ids: Sequence[str], weight: str, columns: Mapping[str, int]) -> list[Column]:
    """Return the id columns and, if wanted, `weight_text` and `weight`, and `kind`, from `value`.

    Args:
        mark: between the cells.
        ids, weight: see `from_lines`.
        columns: name → position of the cell; without one for `weight`, there is none.
    """
    value, most = F.col("value"), max(columns.values())
    if mark in (",", ";"):
        options = {"sep": mark, "ignoreLeadingWhiteSpace": "true", "ignoreTrailingWhiteSpace": "true"}
        short = F.when(F.size(F.split(value, mark)) <= _MOST_COLUMNS, value)
        cells = F.from_csv(short, ", ".join(f"c{n} string" for n in range(most + 1)), options)
        found = {name: cells[f"c{at}"] for name, at in columns.items()}
    else:
        text = F.btrim(value, F.lit(" \t\r")) if mark == SEPARATORS["space"] else value
        parts = F.split(text, mark, most + 2)
        found = {name: F.btrim(F.get(parts, F.lit(at)), F.lit(" \t\r")) for name, at in columns.items()}
    cut = [found[name].alias(name) for name in ids]
    if "kind" in columns:
        cut.append(found["kind"].alias("kind"))
    if weight != "no":
        text = found.get("weight", F.lit(None).cast("string"))
        cut += [text.alias("weight_text"), text.try_cast("double").alias("weight")]
        if weight == "optional":
            empty = text.isNull() | (text == "")
            cut[-1] = F.when(empty, 1.0).otherwise(text.try_cast("double")).alias("weight")
    return cut


def _reason(mark: str, ids: Sequence[str], weight: str, columns: Mapping[str, int], width: int) -> Column:
    """Return the reason a line cannot be used; null if it can."""
    empty = reduce(Column.__or__, (F.col(name).isNull() | (F.col(name) == "") for name in ids))
    unquoted = F.regexp_replace("value", '"[^"]*"', "q") if mark in (",", ";") else F.col("value")
    if mark == SEPARATORS["space"]:
        unquoted = F.btrim(unquoted, F.lit(" \t\r"))
    needed, cells = max(columns[name] for name in ids) + 1, F.size(F.split(unquoted, mark))
    return (
        F.when(F.col("value").rlike(_NOT_TEXT), "not UTF-8 text")
        .when(F.col("value").contains("\r"), "a carriage return within the line")
        .when(F.size(F.split("value", mark)) > _MOST_COLUMNS, "too many columns")
        .when(cells < needed, f"fewer than {needed} columns")
        .when(cells > width, f"more than the {width} columns of other lines")
        .when(empty, "an id is empty")
        .otherwise(_bad_weight(weight))
    )


def _bad_weight(weight: str) -> Column:
    """Return the reason `weight`, parsed from `weight_text`, cannot be used; null if it can."""
    if weight == "no":
        return F.lit(None).cast("string")
    text, number = F.col("weight_text"), F.col("weight")
    absent = (text.isNull() | (text == "")) & F.lit(weight == "yes")
    return (
        F.when(absent, "the weight is missing")
        .when(number.isNull(), "the weight is not a number")
        .when(F.isnan(number) | (F.abs(number) == float("inf")), "the weight is not finite")
        .when(number < 0, "the weight is negative")
    )


def _is_whole(column: Column) -> Column:
    whole: Column = column.rlike(_WHOLE) & column.try_cast("bigint").isNotNull()
    return whole


def _is(row: Row) -> Column:
    """Return whether a line is the one in `row`."""
    same: Column = (F.col("source") == row["source"]) & (F.col("line") == row["line"])
    return same


def _first_lines(data: DataFrame, sample: Sequence[Row]) -> Sequence[Row]:
    """Return `source`, `line` and `value` of each file's first data line; one file's is in the sample already."""
    if len(data.inputFiles()) <= 1:
        return [min(sample, key=lambda row: row["line"])]
    first = F.min_by(F.struct("line", "value"), "line").alias("first")
    found = data.groupBy("source").agg(first).select("source", "first.line", "first.value")
    return sorted(found.collect(), key=lambda row: row["source"])


def _is_header(row: Row, rest: Row | None, ids: Sequence[str], header: str) -> bool:
    if header != "auto":
        return header == "yes"
    words = [(row[name] or "").strip().strip('"').lower() for name in ids]
    if all(word in NAMES[name] for word, name in zip(words, ids, strict=True)):
        return True
    others_are_whole = rest is not None and rest["good"] > 0 and bool(rest["whole"])
    return others_are_whole and not any(re.match(_WHOLE, word) for word in words) and all(words)


def arrow_edge_columns(types: Mapping[str, str], weighted: bool) -> Mapping[str, str] | None:
    """Return which columns of a table of links to read (name → column), as `in_folder` asks; None if it lacks some.

    Args:
        types: the table's columns and their types, as Arrow calls them.
        weighted: whether weights count.
    """
    wanted = arrow_columns(types, ("src", "dst", "weight") if weighted else EDGE)
    if wanted is None:
        return None
    ends = {types[wanted[name]] for name in EDGE}
    if not (ends <= set(_ARROW_NUMBERS) or ends <= set(_ARROW_TEXTS)):
        return None
    if weighted and types[wanted["weight"]] not in (*_ARROW_NUMBERS, "float", "double"):
        return None
    return {**wanted, "nofollow": "nofollow"} if types.get("nofollow") == "bool" else wanted


def arrow_columns(types: Iterable[str], names: Sequence[str]) -> Mapping[str, str] | None:
    """Return each name and the column it stands for; None if there is none for one of them."""
    found = {name: column for name in names if (column := column_for(name, types)) is not None}
    return found if len(found) == len(names) else None


def usable(table: pa.Table | None) -> pa.Table | None:
    """Return the rows that count, ids int64 or string, others float64; None if one of them cannot be used."""
    if table is None:
        return None
    if "nofollow" in table.column_names:
        follow = pc.invert(pc.fill_null(table.column("nofollow"), False))
        table = table.filter(follow).drop_columns(["nofollow"])
    for i, name in enumerate(table.column_names):
        column = table.column(name)
        if column.null_count:
            return None
        if name in ("weight", "pagerank"):
            column = column.cast(pa.float64())
            if not pc.all(pc.and_(pc.is_finite(column), pc.greater_equal(column, 0.0)), min_count=0).as_py():
                return None
        elif str(column.type) in _ARROW_NUMBERS:
            column = column.cast(pa.int64())
        elif str(column.type) in _ARROW_TEXTS:
            column = column.cast(pa.string())
            if pc.any(pc.equal(column, ""), min_count=0).as_py():
                return None
        else:
            return None
        table = table.set_column(i, name, column)
    return table

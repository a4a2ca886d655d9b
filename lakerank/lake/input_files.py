"""Files that a flag names, as rows: text with its line numbers, Parquet with its row numbers, lists of ids.

Spark splits a big text file into pieces and forgets where each line stood. `read_lines` counts the lines of
every piece once (one row per piece comes back to the driver) and adds what came before. What it returns is
an ordinary DataFrame: no RDD, nothing cached, so it runs on Spark Connect and on serverless too.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.files import read_bytes
from lakerank.cli.stores import has_scheme, is_in_object_store, is_stored_folder, list_store
from lakerank.lake.delta_table import TableRef, is_catalog_name
from lakerank.lake.schemas import whole_id

# Spark's own reader hands over bytes, so decoding happens after it; these are the ones where a line feed
# is one byte and never part of a character.
ENCODINGS = ("utf-8", "latin-1", "auto")
_BOM = "\ufeff"
_PIECE = pa.schema(
    [("file", pa.string()), ("block", pa.int64()), ("source", pa.string())]
    + [(name, pa.int64()) for name in ("first", "size", "before")]
)


@dataclass(frozen=True)
class Input:
    """Something opened.

    Attributes:
        where: as the user wrote it, for messages.
        kind: `lines` (`source`, `line`, `value`), `rows` (`source`, `line`, `row` struct) or `table` (its own
            columns).
        frame: the rows.
    """

    where: str
    kind: str
    frame: DataFrame


def open_input(spark: SparkSession, where: str, table: TableRef | None = None) -> Input:
    """Find out what `where` is and read it.

    Args:
        spark: the session.
        where: a Delta folder or catalog name, a Parquet file or folder, a text file (.gz, .bz2 are unpacked)
            or a folder of text files.
        table: the same at the version to read, if it is a Delta table; None reads the newest.

    Raises:
        UserError: there is nothing, or it cannot be read; the message names it.
    """
    ref = table or TableRef(where)
    if ref.exists(spark):
        return Input(where, "table", ref.frame(spark))
    if is_catalog_name(where):
        try:
            expand([where])
        except UserError as error:
            raise UserError(f"{where}: no such table and no such file") from error
    if where.rstrip("/").endswith(".parquet") or any(f.endswith(".parquet") for f in expand([where])):
        return Input(where, "rows", read_rows(spark, where))
    return Input(where, "lines", read_lines(spark, where))


def read_lines(spark: SparkSession, paths: str | Sequence[str], encoding: str = "utf-8") -> DataFrame:
    """Read the lines of one or several text files: `source string, line long, value string`.

    `source` is the path as given. `line` counts from 1 in each file, as an editor does, however Spark splits
    the file. Only a line feed ends a line; carriage returns before it, and a byte-order mark at the
    start of a file, are taken off. Files whose names end in .gz or .bz2 are unpacked on the way.

    Args:
        spark: the session.
        paths: files, local or with a scheme (`s3://…`). Not patterns: `*` stands for itself. A local
            folder stands for the files in it (not in its subfolders), except those whose names start
            with `_` or `.`, which are bookkeeping by convention.
        encoding: `utf-8` (what is not valid becomes U+FFFD), `latin-1`, or `auto`: a line that is not valid
            UTF-8 is taken as latin-1.

    Raises:
        UserError: a file does not exist, cannot be read, or has a name Spark would skip.
    """
    if encoding not in ENCODINGS:
        raise UserError(f"encoding must be one of {', '.join(ENCODINGS)}, not {encoding!r}")
    files = expand([paths] if isinstance(paths, str) else paths)
    raw = spark.read.option("lineSep", "\n").option("recursiveFileLookup", "true")
    try:
        frame = raw.text([pattern_free(path) for path in files])
    except Exception as error:
        raise _reading_problem(error, files) from error
    rows = frame.select(
        F.col("_metadata.file_path").alias("file"),
        F.col("_metadata.file_block_start").alias("block"),
        F.monotonically_increasing_id().alias("id"),  # consecutive within a piece
        "value",
    )
    pieces = _pieces(rows, files)
    # As an Arrow table it becomes a local relation: from a list, classic Spark would start Python workers.
    known = spark.createDataFrame(pa.Table.from_pylist(pieces, schema=_PIECE))
    index = F.col("id") - F.col("first")
    # The numbers were counted in an earlier query: if Spark or the file changed since, say so.
    line = F.when(index.between(0, F.col("size") - 1), F.col("before") + index + 1).otherwise(
        F.raise_error(F.lit("a text file changed while it was being read; run again")).cast("bigint")
    )
    return rows.join(F.broadcast(known), ["file", "block"], "left").select(
        "source", line.alias("line"), _decoded(F.col("value"), encoding).alias("value")
    )


def first_line(spark: SparkSession, path: str, encoding: str = "utf-8") -> str:
    """Read the first line of one file (a header, say), empty if the file is; cheap for big files.

    Raises:
        UserError: the file does not exist, cannot be read, or has a name Spark would skip.
    """
    file = expand([path])[0]
    try:
        row = (
            spark.read.option("lineSep", "\n")
            .text(pattern_free(file))
            .where(F.col("_metadata.file_block_start") == 0)
            .select(_decoded(F.col("value"), encoding).alias("value"))
            .first()
        )
    except Exception as error:
        raise _reading_problem(error, [file]) from error
    return str(row["value"]).lstrip(_BOM) if row else ""


def read_rows(spark: SparkSession, paths: str | Sequence[str]) -> DataFrame:
    """Read the rows of Parquet files: `source string, line long, row struct<…>`.

    `source` is the path as given, `line` counts rows from 1 in each file.

    Args:
        spark: the session.
        paths: files, or folders of files; all with the same columns.

    Raises:
        UserError: a file does not exist, is not Parquet, or has a name Spark would skip.
    """
    files = expand([paths] if isinstance(paths, str) else paths)
    try:
        frame = spark.read.parquet(*(pattern_free(path) for path in files))
        columns = frame.columns
    except Exception as error:
        raise UserError(f"{files[0]}: not a readable Parquet file") from error
    # url_decode is for forms: it would turn a plus into a space.
    uri = F.regexp_replace(F.col("_metadata.file_path"), r"\+", "%2B")
    path = F.regexp_replace(F.url_decode(uri), r"^file:/+", "/")
    given = F.create_map(*(F.lit(text) for name in files for text in (absolute(name), name)))
    return frame.select(
        F.coalesce(given[path], path).alias("source"),
        (F.col("_metadata.row_index") + 1).alias("line"),
        F.struct(*(F.col(f"`{name}`") for name in columns)).alias("row"),
    )


def read_ids(spark: SparkSession, flag: str, file: str, column: str, kind: str) -> DataFrame:
    """Read the distinct ids in a file, one a line.

    Args:
        spark: the session.
        flag: that names the file, for messages, e.g. `--users`.
        file: text, one id a line; empty lines do not count.
        column: what the frame's one column is called, e.g. `user_id`.
        kind: its type in the lake, `bigint` or `string`.

    Raises:
        UserError: the file cannot be read, is empty, or an id is not of that kind.
    """
    try:
        lines = read_bytes(file, flag).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{flag} {file}: cannot read it as text ({error})") from error
    what = column.removesuffix("_id")
    ids: list[Any] = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UserError(f"{flag} {file}: no {what} ids in it; write one per line")
    if kind == "bigint":
        for number, line in enumerate(lines, start=1):
            if line.strip() and whole_id(line.strip()) is None:
                raise UserError(
                    f"{flag} {file}, line {number}: {line.strip()[:40]!r} is not a whole number as {what} ids are"
                )
        ids = [int(text) for text in ids]
    return spark.createDataFrame([(one,) for one in ids], f"{column} {kind}").distinct()


def table_format(where: str) -> str:
    """Return the format of the table that a local folder is, by the bookkeeping in it: `Delta`, `Iceberg` or `Hudi`;
    empty if it is none, or in a store."""
    if is_in_object_store(where):
        signs = {"_delta_log": "Delta", ".hoodie": "Hudi", "metadata": "Iceberg"}
        for sign, kind in signs.items():
            if is_stored_folder(below := f"{where.rstrip('/')}/{sign}"):
                names = [file.name for file in list_store(below) or ()] if sign == "metadata" else []
                if sign != "metadata" or any(name.endswith(".metadata.json") for name in names):
                    return kind
        return ""
    if has_scheme(where):
        return ""
    folder = Path(re.sub(r"^file:(//)?", "", where))
    if (folder / "_delta_log").is_dir():
        return "Delta"
    if (folder / ".hoodie").is_dir():
        return "Hudi"
    metadata = folder / "metadata"
    return "Iceberg" if metadata.is_dir() and any(metadata.glob("*.metadata.json")) else ""


def refuse_tables(where: str) -> None:
    """Make sure that a folder is no table of which its files alone tell nothing: rows deleted from it lie there, too.

    Raises:
        UserError: it is one; the message names its format.
    """
    kind = table_format(where)
    if kind == "Delta":
        raise UserError(f"{where}: is a Delta table, in whose files deleted rows may lie: name the table itself")
    if kind:
        raise UserError(
            f"{where}: is a table of Apache {kind}, which is not read here, and its files may hold rows that were "
            f"deleted: export it with a reader of {kind}, as Parquet or Delta"
        )


def content_digest(path: Path) -> str:
    """Return a digest of the content of a local file, or of all files in a folder and their names."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def expand(paths: Sequence[str]) -> list[str]:
    """List the files that `paths` stand for, each once.

    Raises:
        UserError: there is none, one does not exist, or has a name Spark would skip.
    """
    found: list[str] = []
    for path in paths:
        if is_in_object_store(path):
            found += _expand_stored(path)
            continue
        if has_scheme(path):
            found.append(path)
            continue
        local = Path(path.removeprefix("file:")) if path.startswith("file:") else Path(path)
        if local.is_dir():
            refuse_tables(path)
            inside = sorted(p for p in local.iterdir() if p.is_file() and not p.name.startswith(("_", ".")))
            if not inside:
                raise UserError(f"{path}: there is no file in this folder")
            found += [str(p) for p in inside]
        elif not local.exists():
            raise UserError(f"{path}: no such file (if it is on a cluster, write its scheme too: s3://…, hdfs://…)")
        elif local.name.startswith(("_", ".")):
            raise UserError(f"{path}: Spark skips files whose names start with `_` or `.`; rename it")
        else:
            found.append(str(local))
    if not found:
        raise UserError("no file to read")
    return list({absolute(path): path for path in found}.values())


def _expand_stored(path: str) -> list[str]:
    """List the files of a folder in an object store, or the file itself, as `expand` does."""
    files = list_store(path)
    if files is None:
        if path.rpartition("/")[2].startswith(("_", ".")):
            raise UserError(f"{path}: Spark skips files whose names start with `_` or `.`; rename it")
        return [path]
    refuse_tables(path)
    inside = [file.name for file in files if "/" not in file.name and not file.name.startswith(("_", "."))]
    if not inside:
        raise UserError(f"{path}: there is no file in this folder")
    return [f"{path.rstrip('/')}/{name}" for name in inside]


def plain_path(uri: str) -> str:
    """Return Spark's name of a file (`file:/a%20b`) as people write it (`/a b`)."""
    plain = unquote(uri)
    return re.sub(r"^file:/+", "/", plain)


def pattern_free(path: str) -> str:
    """Escape a path for Spark's readers, which would take `*?[]{}` in it as a pattern; local ones absolute."""
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", absolute(path))


def absolute(path: str) -> str:
    """Name a path as Spark will: from the root, without `..` (symbolic links stay)."""
    return path if has_scheme(path) or path.startswith("file:/") else os.path.normpath(Path(path).absolute())


def _pieces(rows: DataFrame, files: Sequence[str]) -> list[dict[str, object]]:
    """Return one row per piece that Spark reads: its file, the id of its first line, its lines, the lines before it."""
    counts = rows.groupBy("file", "block").agg(F.min("id").alias("first"), F.count("*").alias("size"))
    try:
        counted = counts.collect()
    except Exception as error:
        raise _reading_problem(error, files) from error
    given = {absolute(path): path for path in files}
    before: dict[str, int] = {}
    pieces: list[dict[str, object]] = []
    for row in sorted(counted, key=lambda row: (row["file"], row["block"])):
        path = plain_path(row["file"])
        done = before.get(path, 0)
        pieces.append({**row.asDict(), "source": given.get(path, path), "before": done})
        before[path] = done + row["size"]
    return pieces


def _decoded(value: Column, encoding: str) -> Column:
    """Decode text from the raw bytes that Spark's text reader puts into a string column unchecked."""
    latin = F.decode(value.cast("binary"), "ISO-8859-1")
    if encoding == "latin-1":
        text = latin
    elif encoding == "auto":
        text = F.when(F.is_valid_utf8(value), value).otherwise(latin)
    else:
        text = F.make_valid_utf8(value)
    return F.rtrim(text, F.lit("\r"))


def _reading_problem(error: Exception, files: Sequence[str]) -> Exception:
    """Put the user's share of reading errors into a sentence; return anything else unchanged."""
    text = str(error)
    which = files[0] if len(files) == 1 else next((f for f in files if Path(f).name in text), files[0])
    if isinstance(error, AnalysisException) and "PATH_NOT_FOUND" in text:
        return UserError(f"{which}: no such file")
    if "Permission denied" in text:
        return UserError(f"{which}: permission denied")
    if "No FileSystem for scheme" in text or "FileSystem not found" in text:
        return UserError(f"{which}: this Spark has no file system of that kind (its jar is missing)")
    if "FAILED_READ_FILE" in text:
        return UserError(f"{which}: cannot be read; a damaged compressed file? Fetch or pack it again")
    return error

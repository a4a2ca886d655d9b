"""A table with one row for each picture, made again only where the picture or the recipe has changed."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from lakerank.cli.errors import UserError
from lakerank.cli.progress import progress
from lakerank.lake.binary_files import SourceFile
from lakerank.lake.delta_table import TableRef, TableSink, is_catalog_name
from lakerank.lake.pictures import Pictures, contents, in_parts
from lakerank.lake.publications import Publishing
from lakerank.lake.schemas import UPSCALED_UNFINISHED, Relation
from lakerank.spark.session import cores

# A part's results wait in the JVM until their file is written; a photograph's has up to a hundred times its bytes.
_PART_BYTES = 2 << 20
_MOST_PARTS = 10_000  # more cost the scheduler too much
_PARTS_PER_CORE = 4  # so that a slow part does not leave the other cores idle for long
_INSTALMENT_SECONDS = 60  # what a killed run may lose; a commit takes about a second
_HASHES = pa.schema({"content_hash": pa.string()})

# Content of a picture's file, or why it cannot be read → values of its row; `reason` alone if it is rejected.
PictureFunction = Callable[[bytes | str], Mapping[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """Describe by what the rows are made.

    Attributes:
        function: makes a row; called in the workers.
        schema: of what it returns, without `reason`.
        constants: columns that are the same in all rows; `recipe` among them identifies all that decides a row.
        packages: what to install where workers lack a package, as pip takes it.
    """

    function: PictureFunction
    schema: pa.Schema
    constants: Mapping[str, str]
    packages: str


@dataclass(frozen=True)
class Results:
    """Count what became of the pictures.

    Attributes:
        kept: paths whose rows were there and are up to date.
        made: path, width, height and seconds of each row that was made.
        rejected: path and reason of the others.
        resumed: how many of `made` a run has made that was killed.
        finish: removes what is not needed any more when the table is published.
    """

    kept: frozenset[str]
    made: tuple[Mapping[str, Any], ...]
    rejected: tuple[tuple[str, str], ...]
    resumed: int
    finish: Callable[[], None]


def update_results(
    spark: SparkSession,
    pictures: Pictures,
    run: Publishing,
    ref: TableRef,
    relation: Relation,
    recipe: Recipe,
    announce: Callable[[int, int, int], None],
) -> Results:
    """Make the rows that are missing or out of date, and take out those whose picture is gone, in one commit.

    Nothing is written before the outcome is known to the last picture, nor if there is no row then. Until then the rows
    wait in a table beside it, where the next run finds those that a killed one has made.

    Args:
        spark: the session.
        pictures: from `open_pictures`.
        run: publishes the table.
        ref: the table at the version to go on from; without one where there is none.
        relation: its columns, with `path`, `width`, `height`, `seconds`, `content_hash` and `recipe`.
        recipe: how rows are made.
        announce: told before the work how many pictures are to be made, how many are up to date and how many of the
            latter a killed run has made.

    Raises:
        UserError: workers lack a package; a table cannot be written.
    """

    def parts(chosen: Sequence[SourceFile]) -> DataFrame:
        number = min(_MOST_PARTS, sum(file.size for file in chosen) // _PART_BYTES)
        return in_parts(spark, pictures, chosen, max(_PARTS_PER_CORE * cores(spark), number))

    key = recipe.constants["recipe"]
    earlier = (
        ref.read(spark, relation).select("path", "recipe", "content_hash").collect() if ref.pinned is not None else []
    )
    waiting = TableRef(f"{ref.location}_unfinished")
    hashes = {row["path"]: row["content_hash"] for row in earlier if row["recipe"] == key}
    there = {row["path"]: row.asDict() for row in _waiting(spark, waiting, F.col("recipe") == key)}
    known = [file for file in pictures.listed if file.relative in hashes or file.relative in there]
    found = _hashes(parts(known)) if known else {}
    kept = frozenset(path for path, now in found.items() if now is not None and hashes.get(path) == now)
    done = [row for path, row in there.items() if path not in kept and (row["content_hash"] or "") == found.get(path)]
    left = kept | {row["path"] for row in done}
    todo = [file for file in pictures.listed if file.relative not in left]
    announce(len(todo), len(left), len(done))
    made = _make(parts, todo, recipe, TableSink(waiting, UPSCALED_UNFINISHED), _PARTS_PER_CORE * cores(spark))
    made += done
    rejected = tuple(sorted((row["path"], row["reason"]) for row in made if row["reason"] is not None))
    rows = [row for row in made if row["reason"] is None]
    gone = {row["path"] for row in earlier} - kept - {row["path"] for row in rows}
    if rows:
        chosen = spark.createDataFrame(pa.Table.from_pylist(rows).select(["path", "content_hash", "instalment"]))
        new = waiting.frame(spark).join(F.broadcast(chosen), chosen.columns, "left_semi")
        if new.count() != len(rows):
            raise UserError(
                f"{waiting.location}: another run has ended and removed rows of this one; run the command again"
            )
    else:
        new = spark.createDataFrame([], UPSCALED_UNFINISHED.schema())
    if rows or (kept and gone):
        _store(spark, run, ref, relation, new, kept, gone)
    elif kept:
        run.keep(relation, ref)
    return Results(
        kept, tuple(rows), rejected, sum(row["reason"] is None for row in done), lambda: _remove(spark, waiting)
    )


def _waiting(spark: SparkSession, waiting: TableRef, which: Column) -> list[Row]:
    """Return what is known of those rows that wait."""
    if not waiting.exists(spark):
        return []
    names = ("path", "content_hash", "width", "height", "seconds", "reason", "instalment")
    return list(waiting.frame(spark).where(which).select(*names).collect())


def _remove(spark: SparkSession, waiting: TableRef) -> None:
    """Remove the rows that waited: the table, or in a store its rows, whose files go with the next VACUUM."""
    if is_catalog_name(waiting.location):
        spark.sql(f"DROP TABLE IF EXISTS {waiting.sql}").collect()
    elif waiting.folder is not None:
        shutil.rmtree(waiting.folder, ignore_errors=True)
    elif waiting.exists(spark):
        TableSink(waiting, UPSCALED_UNFINISHED).write(spark.createDataFrame([], UPSCALED_UNFINISHED.schema()))


def map_pictures(parts: DataFrame, function: PictureFunction, schema: pa.Schema) -> DataFrame:
    """Apply a function to each picture of `in_parts`, one after the other: memory does not grow with their number.

    Returns:
        `path` and the columns of `schema`, of which the function may leave out some: they are null then.
    """
    schema = pa.schema([pa.field("path", pa.string()), *schema])

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for path, content in (picture for batch in batches for picture in contents(batch)):
            yield pa.RecordBatch.from_pylist([{"path": path, **function(content)}], schema=schema)

    return parts.mapInArrow(work, from_arrow_schema(schema))


def _hash(content: bytes | str) -> dict[str, str | None]:
    return {"content_hash": None if isinstance(content, str) else hashlib.sha256(content).hexdigest()}


def _hashes(parts: DataFrame) -> dict[str, str | None]:
    """Return the hash of each picture, None of those that cannot be read."""
    return {row["path"]: row["content_hash"] for row in map_pictures(parts, _hash, _HASHES).collect()}


def _make(
    parts: Callable[[Sequence[SourceFile]], DataFrame],
    todo: Sequence[SourceFile],
    recipe: Recipe,
    sink: TableSink,
    first: int,
) -> list[dict[str, Any]]:
    """Make rows and append them, in instalments of about a minute; return what is known of them (`_waiting`)."""
    schema = pa.schema([*recipe.schema, *_HASHES, pa.field("reason", pa.string())])
    function = recipe.function

    def hashed(content: bytes | str) -> Mapping[str, Any]:
        return {**function(content), **_hash(content)}

    constants = {name: F.lit(value) for name, value in recipe.constants.items()}
    made: list[dict[str, Any]] = []
    begin, size = 0, first
    with progress(len(todo), "pictures", "pictures") as meter:
        while begin < len(todo):
            chosen, started = todo[begin : begin + size], time.monotonic()
            stamp = uuid.uuid4().hex
            rows = map_pictures(parts(chosen), hashed, schema).withColumns(constants | {"instalment": F.lit(stamp)})
            try:
                sink.append(rows)
            except Exception as error:
                if missing := re.search(r"No module named '[\w.]+'", str(error)):
                    raise UserError(
                        f"workers lack a package ({missing[0]}): pip install '{recipe.packages}' on each"
                    ) from error
                raise
            # Rejected ones have rows too, so that each picture is read once, and the reasons are read here.
            made += [row.asDict() for row in _waiting(rows.sparkSession, sink.ref, F.col("instalment") == stamp)]
            begin += len(chosen)
            meter.update(len(chosen))
            pace = _INSTALMENT_SECONDS / (time.monotonic() - started)
            size = max(first, int(len(chosen) * min(4.0, pace)))
    return made


def _store(
    spark: SparkSession,
    run: Publishing,
    ref: TableRef,
    relation: Relation,
    new: DataFrame,
    kept: Collection[str],
    gone: Collection[str],
) -> None:
    """Put the new rows beside those that are kept, and take out those that are gone, in one commit."""
    new = new.select(*relation.schema().names)
    if not kept:
        run.write(relation, new, ref.location)
        return
    names = spark.createDataFrame(pa.table({"path": pa.array(sorted(gone), pa.string())}))
    old = ref.read(spark, relation).join(F.broadcast(names), "path", "left_semi").select(*new.columns)
    changes = new.withColumn("removed", F.lit(False)).unionByName(old.withColumn("removed", F.lit(True)))
    run.change(
        relation, ref, lambda stamp: TableSink(TableRef(ref.location), relation, stamp).merge(changes, "removed")
    )

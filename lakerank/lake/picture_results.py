"""A table with one row for each picture, made again only where the picture or the recipe has changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from lakerank.cli.errors import UserError
from lakerank.lake.binary_files import SourceFile
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.pictures import Pictures, contents, in_parts
from lakerank.lake.publications import Publishing
from lakerank.lake.schemas import Relation
from lakerank.spark.checkpoint import checkpoint
from lakerank.spark.session import cores

# A part's results wait in the JVM until their file is written; a photograph's has up to a hundred times its bytes.
_PART_BYTES = 2 << 20
_MOST_PARTS = 10_000  # more cost the scheduler too much
_PARTS_PER_CORE = 4  # so that a slow part does not leave the other cores idle for long
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
    """

    kept: frozenset[str]
    made: tuple[Mapping[str, Any], ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()


def update_results(
    spark: SparkSession,
    pictures: Pictures,
    run: Publishing,
    ref: TableRef,
    relation: Relation,
    recipe: Recipe,
    scratch: str,
    announce: Callable[[int, int], None],
) -> Results:
    """Make the rows that are missing or out of date, and take out those whose picture is gone, in one commit.

    Nothing is written before the outcome is known to the last picture, nor if there is no row then.

    Args:
        spark: the session.
        pictures: from `open_pictures`.
        run: publishes the table.
        ref: the table at the version that readers read; it need not exist.
        relation: its columns, with `path`, `width`, `height`, `seconds`, `content_hash` and `recipe`.
        recipe: how rows are made.
        scratch: see `checkpoint`.
        announce: told before the work how many pictures are to be made and how many are up to date.

    Raises:
        UserError: workers lack a package; see `checkpoint`.
    """

    def parts(chosen: Sequence[SourceFile]) -> DataFrame:
        number = min(_MOST_PARTS, sum(file.size for file in chosen) // _PART_BYTES)
        return in_parts(spark, pictures, chosen, max(_PARTS_PER_CORE * cores(spark), number))

    key = recipe.constants["recipe"]
    earlier = ref.read(spark, relation).select("path", "recipe", "content_hash").collect() if ref.exists(spark) else []
    hashes = {row["path"]: row["content_hash"] for row in earlier if row["recipe"] == key}
    known = [file for file in pictures.listed if file.relative in hashes]
    kept = _unchanged(parts(known), hashes) if known else frozenset()
    todo = [file for file in pictures.listed if file.relative not in kept]
    announce(len(todo), len(kept))
    if todo:
        rows, results = _made(parts(todo), recipe, kept, scratch)
    else:
        rows, results = spark.createDataFrame([], relation.schema()), Results(kept)
    paths = {row["path"] for row in results.made}
    gone = {row["path"] for row in earlier} - kept - paths
    if paths or (kept and gone):
        _store(spark, run, ref, relation, rows, kept, gone)
    elif kept:
        run.keep(relation, ref)
    return results


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


def _unchanged(parts: DataFrame, hashes: Mapping[str, str]) -> frozenset[str]:
    """Return the pictures whose hash is the one stored for them."""
    found = map_pictures(parts, _hash, _HASHES).collect()
    return frozenset(row["path"] for row in found if row["content_hash"] == hashes[row["path"]])


def _made(parts: DataFrame, recipe: Recipe, kept: frozenset[str], scratch: str) -> tuple[DataFrame, Results]:
    """Make all rows, here and once."""
    schema = pa.schema([*recipe.schema, *_HASHES, pa.field("reason", pa.string())])
    function = recipe.function

    def hashed(content: bytes | str) -> Mapping[str, Any]:
        return {**function(content), **_hash(content)}

    try:
        outcome = checkpoint(map_pictures(parts, hashed, schema), scratch)
    except Exception as error:
        if missing := re.search(r"No module named '[\w.]+'", str(error)):
            raise UserError(
                f"workers lack a package ({missing[0]}): pip install '{recipe.packages}' on each"
            ) from error
        raise
    rows = outcome.select("path", "width", "height", "seconds", "reason").collect()
    made = tuple(row.asDict() for row in rows if row["reason"] is None)
    rejected = tuple(sorted((row["path"], row["reason"]) for row in rows if row["reason"] is not None))
    constants = {name: F.lit(value) for name, value in recipe.constants.items()}
    return outcome.where(F.col("reason").isNull()).withColumns(constants), Results(kept, made, rejected)


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

"""Follow a folder of rating files: what has come since the last time is merged into the lake, file by file once.

Structured Streaming finds the files and remembers which it has seen (its checkpoint lies in the lake); each batch of
them is read as `ingest_ratings` reads any file. A batch that was killed half way comes again, and merging it twice
changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import has_scheme, is_catalog_name
from lakerank.lake.input_files import plain_path, refuse_tables
from lakerank.recommend.data.store import ReadOptions, Source, read_source, write_ratings

FOLLOW = ("once", "always")
MOST_FILES = 1_000  # of a batch; more come in the next


def follow_folder(
    spark: SparkSession,
    folder: str,
    lake: str,
    options: ReadOptions,
    mode: str,
    scratch: str,
    always: bool,
    seconds: float,
    on_batch: Callable[[list[str], dict[str, Any]], None],
) -> None:
    """Read the files of a folder that have come since the last call; with `always`, go on waiting for more.

    Args:
        spark: the session.
        folder: of CSV or Parquet files, all with the same columns; files in it are never changed, only added.
        lake: where to.
        options: how to read them.
        mode: `append` or `merge`.
        scratch: folder for checkpoints.
        always: until the process is stopped; otherwise until all files there are read.
        seconds: between two looks at the folder.
        on_batch: called with the files of each batch and what `write_ratings` said.

    Raises:
        UserError: the folder is none, or a file cannot be read; it is tried again by the next call.
    """
    if is_catalog_name(lake):
        raise UserError(f"--lake {lake} is no folder: --follow keeps in the lake which files it has read")
    if not has_scheme(folder) and not Path(folder).is_dir():
        raise UserError(f"--source {folder}: no such folder; --follow reads the files that come into one")
    refuse_tables(folder)
    failed: list[UserError] = []

    def merge(batch: DataFrame, number: int) -> None:
        files = sorted(plain_path(row["path"]) for row in batch.select("path").collect())
        for file in files:
            try:
                checked = read_source(spark, Source(file, file), options, scratch)
                summary = write_ratings(spark, lake, checked, file, scratch, mode)
            except UserError as error:
                failed.append(error)
                raise
            on_batch([file], summary)

    named = folder if has_scheme(folder) else str(Path(folder).absolute())
    name = hashlib.sha256(named.encode()).hexdigest()[:10]
    files = spark.readStream.format("binaryFile").option("maxFilesPerTrigger", MOST_FILES).load(named)
    writer = (
        files.select(F.col("path"))
        .writeStream.foreachBatch(merge)
        .option("checkpointLocation", f"{_absolute(lake)}/_feeds/{name}")
    )
    query = (
        writer.trigger(processingTime=f"{seconds} seconds") if always else writer.trigger(availableNow=True)
    ).start()
    try:
        query.awaitTermination()
    except Exception as error:
        if failed:
            raise failed[0] from error
        raise
    finally:
        query.stop()


def _absolute(lake: str) -> str:
    return lake.rstrip("/") if has_scheme(lake) else str(Path(lake.removeprefix("file:")).absolute())

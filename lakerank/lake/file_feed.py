"""Follow a folder into which files come: Structured Streaming finds those that are new and remembers them."""

from __future__ import annotations

import hashlib
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.stores import has_scheme
from lakerank.lake.delta_table import TableRef, is_catalog_name
from lakerank.lake.input_files import plain_path, refuse_tables

MOST_FILES = 1_000  # of a batch; more come in the next
_SCHEMA = "path string, modificationTime timestamp, length bigint, content binary"


def follow_files(
    spark: SparkSession, folder: str, lake: str, on_file: Callable[[str], None], every: float | None = None
) -> None:
    """Call a function with the path of each file that has come into a folder since the last call.

    Which have been done is kept in the lake (`_feeds`). A batch of files in which one fails comes again as a whole, so
    doing a file twice must do no harm.

    Args:
        spark: the session.
        folder: files in it are never changed, only added.
        lake: a folder or a place in a store.
        on_file: what is done with each, in the order of their names.
        every: seconds between two looks at the folder, until the process is stopped; None: until all files there are
            done.

    Raises:
        UserError: the folder is none, the lake is a catalog, or what `on_file` raised.
    """
    if is_catalog_name(lake):
        raise UserError(f"--lake {lake} is no folder: --follow keeps in the lake which files it has read")
    if not has_scheme(folder) and not Path(folder).is_dir():
        raise UserError(f"--source {folder}: no such folder; --follow reads the files that come into one")
    refuse_tables(folder)
    failed: list[UserError] = []

    told: set[Path] = set()
    listed = [time.time()]  # files that were there before the batch before this one began are in this one's list

    def do_batch(batch: DataFrame, number: int) -> None:
        before, listed[0] = listed[0], time.time()
        for empty in _empty_files(folder, before) - told:  # Spark plans no scan of them, so they are in no batch
            told.add(empty)
            print(
                f"note: {empty} is empty, nothing was read from it; what comes into it later is not read either: give "
                "it under another name",
                file=sys.stderr,
                flush=True,
            )
        for path in sorted(plain_path(row["path"]) for row in batch.select("path").collect()):
            try:
                on_file(path)
            except UserError as error:
                failed.append(error)
                raise

    named = folder if has_scheme(folder) else str(Path(folder).absolute())
    home = TableRef(lake).path.rstrip("/")
    # Only paths are asked for: no content is read here.
    files = spark.readStream.format("binaryFile").schema(_SCHEMA).option("maxFilesPerTrigger", MOST_FILES).load(named)
    writer = files.select(F.col("path")).writeStream.foreachBatch(do_batch)
    writer = writer.option("checkpointLocation", f"{home}/_feeds/{hashlib.sha256(named.encode()).hexdigest()[:10]}")
    writer = writer.trigger(availableNow=True) if every is None else writer.trigger(processingTime=f"{every} seconds")
    query = writer.start()
    try:
        query.awaitTermination()
    except Exception as error:
        if failed:
            raise failed[0] from error
        raise
    finally:
        query.stop()


def _empty_files(folder: str, before: float) -> set[Path]:
    """Return the files without content in a local folder that are as old as that; those with names for bookkeeping are
    none."""
    if has_scheme(folder):
        return set()
    found = set()
    for path in Path(folder).iterdir():
        with suppress(OSError):  # moved away meanwhile
            facts = path.stat()
            if stat.S_ISREG(facts.st_mode) and not facts.st_size and facts.st_mtime <= before:
                found.add(path)
    return {path for path in found if not path.name.startswith(("_", "."))}

"""Store the rows of a frame that an iterative job builds upon, and forget how they were computed.

Without it every iteration's plan contains all earlier ones: planning time grows quadratically and the
driver ends in a StackOverflowError. `localCheckpoint` stores the rows on the executors and forgets the
plan; where a platform refuses it (Databricks serverless), a scratch folder serves the same end.
"""

from __future__ import annotations

import atexit
import re
import uuid
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from lakerank.cli.errors import UserError
from lakerank.cli.files import Lock
from lakerank.spark.array_cache import named, own_store, remove_unheld, unique_name
from lakerank.spark.array_store import BlockStore

# What the folders made in `scratch` begin with; they may be removed when the job has ended.
CHECKPOINT_PREFIX = "checkpoint-"
_own: dict[str, tuple[str, Lock | None]] = {}  # scratch folder → name and lock of this process's folder in it


def checkpoint(df: DataFrame, scratch: str = "") -> DataFrame:
    """Compute `df` once and return a frame with the same rows and no history.

    Args:
        df: any frame; it is computed now.
        scratch: folder every worker can reach, used where `localCheckpoint` is refused; what is written there is gone
            when this process has ended, unless it is on an object store.

    Raises:
        UserError: the platform refuses local checkpoints and no scratch folder was given.
    """
    try:
        return df.localCheckpoint(eager=True)
    except PySparkException as error:
        if "NOT_SUPPORTED" not in str(error).upper():
            raise
        if not scratch:
            raise UserError(
                "this Spark refuses local checkpoints, as serverless does: give --scratch, a folder all workers reach"
            ) from error
    path = f"{_own_folder(scratch.rstrip('/'))}/{CHECKPOINT_PREFIX}{uuid.uuid4().hex}"
    df.write.parquet(path)
    return df.sparkSession.read.parquet(path)


def _own_folder(scratch: str) -> str:
    """Return the folder of this process's checkpoints: in a scratch folder that Python sees, it goes with the process.

    Those that killed processes have left go, too. On an object store nobody can tell what is still needed.
    """
    root = re.sub(r"^file:(//)?", "", scratch)
    if "://" in root or root.startswith("dbfs:"):
        return scratch
    name, _ = _own.get(root, ("", None))
    if not name or not (Path(root) / name).is_dir():
        parent, name = BlockStore(root), unique_name(CHECKPOINT_PREFIX.rstrip("-"))
        try:
            Path(root).mkdir(parents=True, exist_ok=True)
            remove_unheld(parent, named(parent, CHECKPOINT_PREFIX.rstrip("-")))
            _own[root] = name, own_store(parent, name)
        except OSError:  # another machine's folder, where Spark runs
            return scratch
        if len(_own) == 1:
            atexit.register(remove_checkpoints)
    return f"{scratch}/{name}"


def remove_checkpoints() -> None:
    """Remove the checkpoints that this process has written to scratch folders; their frames are of no use then."""
    while _own:
        root, (name, lock) = _own.popitem()
        BlockStore(root).discard(name)
        if lock is not None:
            lock.release()

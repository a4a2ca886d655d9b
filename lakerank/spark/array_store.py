"""Arrays that stay where the workers can reach them, so that a job ships only their names.

Streaming 20 million rows from Spark to Python costs 6 to 12 seconds; an iterative job that did so in every
pass would spend its time there. A `BlockStore` is a folder that all workers see (a local disk for local[*],
NFS, /Volumes or /dbfs on a cluster); a block is a few named NumPy arrays under one key. Blocks are written
whole or not at all, never changed afterwards, and read back memory-mapped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakerank.cli.errors import UserError

if TYPE_CHECKING:  # blocks are written and read where pyspark is not installed
    from pyspark.sql import SparkSession

Block = dict[str, NDArray[Any]]
Sums = dict[str, tuple[float, int]]
Work = Callable[[int], list[tuple[str, float, int]]]  # block number → (what, sum, count)
Runner = Callable[[Work], Sums]  # does the work for each of the B blocks and adds up what it returns by name


@dataclass(frozen=True)
class BlockStore:
    """A folder of blocks. Keys are relative paths such as `epoch-0003/user-1`."""

    root: str

    @classmethod
    def open(cls, folder: str, flag: str) -> BlockStore:
        """Make sure `folder` can be used.

        Args:
            folder: local or mounted path (`file:` is accepted).
            flag: the flag to name when it cannot.

        Raises:
            UserError: the folder is on an object store, or cannot be written.
        """
        path = re.sub(r"^file:(//)?", "", folder)
        if "://" in path:
            raise UserError(
                f"{flag} {folder}: blocks need a folder that every worker mounts (local disk, NFS, /Volumes, "
                f"/dbfs); give one with {flag}"
            )
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{flag} {folder}: cannot create it ({error.strerror})") from error
        return cls(str(Path(path).resolve()))

    def below(self, name: str) -> BlockStore:
        """Return a store in a folder of this one."""
        return BlockStore(f"{self.root}/{name}")

    def path(self, key: str) -> Path:
        """Return the path of a key."""
        return Path(self.root) / key

    def put(self, key: str, block: Block) -> None:
        """Write a block in one step; a second writer of the same key (a repeated task) changes nothing."""
        target = self.path(key)
        fresh = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
        fresh.mkdir(parents=True)
        for name, array in block.items():
            np.save(fresh / f"{name}.npy", array)
        try:
            fresh.replace(target)
        except OSError:  # it is there already, with the same content: tasks are deterministic
            shutil.rmtree(fresh)
            if not target.is_dir():
                raise

    def get(self, key: str) -> Block:
        """Read a block; its arrays are read-only views of the files."""
        return {
            file.stem: np.load(file, mmap_mode="r" if file.stat().st_size > 4096 else None)
            for file in sorted(self.path(key).glob("*.npy"))
        }

    def has(self, key: str) -> bool:
        """Tell whether the block is there, complete."""
        return self.path(key).is_dir()

    def keys(self, folder: str = "") -> list[str]:
        """List the names directly under `folder`, sorted; unfinished blocks are not listed."""
        where = self.path(folder) if folder else Path(self.root)
        return sorted(p.name for p in where.iterdir() if not p.name.startswith(".")) if where.is_dir() else []

    def drop(self, key: str) -> None:
        """Remove a block, a folder of blocks or a JSON file, if it is there."""
        where = self.path(key)
        if where.is_file():
            where.unlink()
        else:
            shutil.rmtree(where, ignore_errors=True)

    def drop_where(self, doomed: Callable[[str], bool]) -> None:
        """Remove what stands directly in the store under the names that `doomed` picks."""
        for name in filter(doomed, self.keys()):
            self.drop(name)

    def write_json(self, key: str, values: dict[str, Any]) -> None:
        """Write a small JSON file in one step; it marks what came before it as complete."""
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Read a JSON file, or None if it is not there."""
        try:
            loaded: dict[str, Any] = json.loads(self.path(key).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return loaded


@contextmanager
def common_folder(spark: SparkSession) -> Iterator[str]:
    """Make a folder that all workers see, removed in the end, where they are on this machine; empty on a cluster."""
    if not (spark.conf.get("spark.master", "") or "").startswith("local"):
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="lakerank-blocks-") as folder:
        yield folder


def added_up(rows: list[tuple[str, float, int]]) -> Sums:
    """Add sums and counts by name, in the order given."""
    result: Sums = {}
    for name, total, n in rows:
        before, count = result.get(name, (0.0, 0))
        result[name] = (before + total, count + n)
    return result


def on_workers(spark: SparkSession, blocks: int, work: Work) -> Sums:
    """Do `work(p)` for p < blocks, one Spark task each."""

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for p in batch.column(0).to_pylist():
                names, sums, counts = zip(*work(p), strict=True)
                yield pa.RecordBatch.from_pydict(
                    {
                        "p": pa.array([p] * len(names), pa.int64()),
                        "name": pa.array(names, pa.string()),
                        "total": pa.array(sums, pa.float64()),
                        "n": pa.array(counts, pa.int64()),
                    }
                )

    rows = spark.range(0, blocks, 1, blocks).mapInArrow(task, "p bigint, name string, total double, n bigint").collect()
    # A fixed order of addition, or the last bits would depend on who finished first.
    return added_up([(row["name"], row["total"], row["n"]) for row in sorted(rows, key=lambda r: (r["p"], r["name"]))])


def in_process(blocks: int, work: Work) -> Sums:
    """Do `work(p)` for p < blocks in this process, one after the other."""
    return added_up([line for p in range(blocks) for line in sorted(work(p))])

"""A folder of block stores that may be built again: the least recently used go when they take too much room.

Who works in a store holds its lock, where the file system has locks: the system lets go of it when the process ends,
however it ends. So what a killed process has left can be told from what is at work, on one machine and over NFS.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lakerank.cli.errors import UserError
from lakerank.cli.files import LEFTOVER_SECONDS, LOCK, Lock, private_folder, try_lock
from lakerank.spark.array_store import Block, BlockStore, hidden_name, is_hidden_name

if TYPE_CHECKING:  # stores are used where pyspark is not installed
    from pyspark.sql import SparkSession

_FRESH_SECONDS = 60.0  # between making a folder and locking it
_DEPTH = 3  # folders below a scratch folder in which unfinished ones may lie
USED = ".used"  # its time of change is when the store was last used


def used(store: BlockStore) -> BlockStore:
    """Mark a store as used now, and make its folder."""
    folder = Path(store.root)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / USED).touch()
    os.utime(folder / USED)
    return store


def hold(store: BlockStore, shared: bool = False) -> Lock | None:
    """Lock a store, whose folder is there; None if another process, or another part of this one, holds it.

    Args:
        store: to lock.
        shared: others may hold it, too, if they share it.
    """
    return try_lock(Path(store.root) / LOCK, shared)


def unique_name(name: str) -> str:
    """Return a name with an ending that nobody can guess."""
    return f"{name}-{os.urandom(4).hex()}"


def named(parent: BlockStore, name: str) -> list[str]:
    """List the stores of a folder that have this name, with an ending of `unique_name` or without one."""
    return [key for key in parent.keys("") if re.fullmatch(f"{re.escape(name)}(-[0-9a-f]{{8}})?", key)]


def own_store(parent: BlockStore, name: str) -> Lock | None:
    """Make the store `name`, marked as used now, and lock it; it must not be there yet.

    It is locked before it has its name, so nobody can take it for one that a killed process has left.
    """
    fresh = used(parent.below(hidden_name(name)))
    lock = hold(fresh)
    if not parent.move_in(Path(fresh.root), name):
        parent.drop(Path(fresh.root).name)
        return hold(used(parent.below(name)))
    return lock


@contextmanager
def own_folder(parent: BlockStore, name: str) -> Iterator[BlockStore]:
    """Make a store that no other process uses, removed in the end; those that killed processes have left go, too."""
    remove_unheld(parent, named(parent, name))
    own = unique_name(name)
    lock = own_store(parent, own)
    try:
        yield parent.below(own)
    finally:
        parent.discard(own)
        if lock is not None:
            lock.release()


@contextmanager
def common_folder(spark: SparkSession) -> Iterator[str]:
    """Make a folder that all workers see, removed in the end, where they are on this machine; empty on a cluster."""
    if not (spark.conf.get("spark.master", "") or "").startswith("local"):
        yield ""
        return
    with own_folder(BlockStore(str(private_folder("lakerank", "TMPDIR"))), "blocks") as store:
        yield store.root


def cached(store: BlockStore, key: str, make: Callable[[], Block]) -> Block:
    """Return a block that can be made again, compared with its checksums; made, if it is missing or damaged.

    Of several processes that want it at once one makes it, and the others wait.
    """
    while True:
        used(store)
        if found := _intact(store, key, say=False):
            return found
        lock = hold(store)
        if lock is None:
            time.sleep(0.1)
            continue
        try:
            if found := _intact(store, key, say=True):  # made by another meanwhile
                return found
            store.discard(key)
            store.put(key, make())
            return store.get(key)
        finally:
            lock.release()


def _intact(store: BlockStore, key: str, say: bool) -> Block | None:
    if not store.has(key):
        return None
    try:
        store.verify([key])
        return store.get(key)
    except UserError as error:
        if say:
            print(f"{str(error).partition(': remove')[0]}: it is made again", file=sys.stderr, flush=True)
        return None


def remove_unheld(parent: BlockStore, names: list[str]) -> None:
    """Remove those stores of a folder that nobody holds; without locks, those that have not changed for a day."""
    for name in names:
        lock = hold(parent.below(name))
        if lock is not None:
            changed = parent.path(name).stat().st_mtime
            if lock.is_sure or changed < time.time() - LEFTOVER_SECONDS:
                parent.discard(name)
            lock.release()


def remove_leftovers(parent: BlockStore, seconds: float = LEFTOVER_SECONDS) -> None:
    """Remove what killed processes have left unfinished: hidden folders and files that are old, or held by nobody.

    Args:
        parent: a folder of stores.
        seconds: how old what has no lock must be.
    """
    root, now = Path(parent.root), time.time()
    for where, folders, files in os.walk(root):
        deep = len(Path(where).relative_to(root).parts) >= _DEPTH
        for name in filter(is_hidden_name, (*folders, *files)):
            path = Path(where) / name
            try:
                age = now - path.stat().st_mtime
            except FileNotFoundError:
                continue
            if (path / LOCK).is_file():
                if age > _FRESH_SECONDS and (lock := hold(BlockStore(str(path)))) is not None:
                    if lock.is_sure or age > seconds:
                        shutil.rmtree(path, ignore_errors=True)
                    lock.release()
            elif age > seconds:
                BlockStore(where).drop(name)
        folders[:] = [] if deep else [name for name in folders if not name.startswith(".")]


def size(folder: Path) -> int:
    """Count the bytes of all files in a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def trim(parent: BlockStore, limit: float, keep: set[str], idle_seconds: float = 3600.0) -> list[str]:
    """Remove the least recently used stores of a folder until all together take at most `limit` bytes.

    Args:
        parent: the folder; what was never marked as `used` is not touched.
        limit: in bytes.
        keep: names that stay whatever they take.
        idle_seconds: a store used less long ago stays, too, as one that somebody holds does: another job may be at
            work in it.

    Returns:
        The names removed, oldest first.
    """
    marks = Path(parent.root).glob(f"*/{USED}")
    stores = [(mark.stat().st_mtime, mark.parent, size(mark.parent)) for mark in marks]
    total, removed = sum(n for _, _, n in stores), []
    for when, folder, n in sorted(stores):
        if total <= limit:
            break
        if folder.name in keep or when >= time.time() - idle_seconds:
            continue
        lock = hold(BlockStore(str(folder)))
        if lock is not None:
            parent.discard(folder.name)
            removed.append(folder.name)
            total -= n
            lock.release()
    return removed

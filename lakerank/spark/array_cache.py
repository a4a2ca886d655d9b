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
from lakerank.spark.remote_blocks import RemoteFolder

if TYPE_CHECKING:  # stores are used where pyspark is not installed
    from pyspark.sql import SparkSession

_FRESH_SECONDS = 60.0  # between making a folder and locking it
_DEPTH = 3  # folders below a scratch folder in which unfinished ones may lie
USED = ".used"  # its time of change is when the store was last used


def used(store: BlockStore) -> BlockStore:
    """Mark a store as used now, and make its folder."""
    if store.is_remote:
        store.write_json(USED, {})
        return store
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
    if store.is_remote:  # no locks there: what may be removed goes by its age
        return Lock(-1, is_sure=False)
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
    if parent.is_remote:
        return hold(used(parent.below(name)))
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


def is_local(spark: SparkSession) -> bool:
    """Tell whether the workers are processes of this machine."""
    return (spark.conf.get("spark.master", "") or "").startswith("local")


@contextmanager
def common_folder(spark: SparkSession) -> Iterator[str]:
    """Make a folder that all workers see, removed in the end, where they are on this machine; empty on a cluster."""
    if not is_local(spark):
        yield ""
        return
    with own_folder(BlockStore(str(private_folder("lakerank", "TMPDIR"))), "blocks") as store:
        yield store.root


def cached(store: BlockStore, key: str, make: Callable[[], Block]) -> Block:
    """Return a block that can be made again, compared with its checksums; made, if it is missing or damaged.

    Of several processes that want it at once one makes it, and the others wait.
    """
    while True:
        problem: OSError | None = None
        try:
            used(store)
        except OSError as error:  # of another user, or nobody may write there: what is in it can be read all the same
            problem = error
        if found := _intact(store, key, say=False):
            return found
        if problem is not None:
            raise UserError(
                f"{store.root}: cannot write to it ({os.strerror(problem.errno or 0)}), and what should be in it has "
                "to be made first: give another folder with --cache-dir"
            ) from problem
        lock = hold(store)
        if lock is None:
            _require_lockable(store)
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


def _require_lockable(store: BlockStore) -> None:
    """Make sure that waiting for the lock of a store makes sense.

    Raises:
        UserError: it is another user's, who does not let us.
    """
    lock = Path(store.root) / LOCK
    if lock.exists() and not os.access(lock, os.R_OK | os.W_OK):
        raise UserError(f"{lock}: is another user's, and may not be locked: give another folder with --cache-dir")


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
            if lock.is_sure or parent.changed(name) < time.time() - LEFTOVER_SECONDS:
                parent.discard(name)
            lock.release()


def remove_leftovers(parent: BlockStore, seconds: float = LEFTOVER_SECONDS) -> None:
    """Remove what killed processes have left unfinished: hidden folders and files that are old, or held by nobody.

    Args:
        parent: a folder of stores.
        seconds: how old what has no lock must be.
    """
    if parent.is_remote:
        _remove_remote_leftovers(parent, seconds)
        return
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


def _remove_remote_leftovers(parent: BlockStore, seconds: float) -> None:
    newest: dict[str, float] = {}
    for stored in RemoteFolder(parent.root).list():
        parts = stored.name.split("/")
        hidden = next((n for n, part in enumerate(parts[: _DEPTH + 1]) if is_hidden_name(part)), None)
        if hidden is not None:
            name = "/".join(parts[: hidden + 1])
            newest[name] = max(newest.get(name, 0.0), stored.changed)
    for name, changed in newest.items():
        if changed < time.time() - seconds:
            parent.drop(name)


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
    if parent.is_remote:
        return _trim_remote(parent, limit, keep, idle_seconds)
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


def _trim_remote(parent: BlockStore, limit: float, keep: set[str], idle_seconds: float) -> list[str]:
    """Do what `trim` does where nothing can be locked: what was changed less than `idle_seconds` ago stays."""
    sizes: dict[str, int] = {}
    changed: dict[str, float] = {}
    marked = set()
    for stored in RemoteFolder(parent.root).list():
        name, _, inside = stored.name.partition("/")
        sizes[name] = sizes.get(name, 0) + stored.size
        changed[name] = max(changed.get(name, 0.0), stored.changed)
        marked |= {name} if inside == USED else set()
    total, removed = sum(sizes[name] for name in marked), []
    for name in sorted(marked, key=lambda name: changed[name]):
        if total <= limit:
            break
        if name not in keep and changed[name] < time.time() - idle_seconds:
            parent.discard(name)
            removed.append(name)
            total -= sizes[name]
    return removed

"""A folder of block stores that may be built again: the least recently used go when they take too much room."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from lakerank.spark.array_store import BlockStore

USED = ".used"  # its time of change is when the store was last used


def used(store: BlockStore) -> BlockStore:
    """Mark a store as used now, and make its folder."""
    folder = Path(store.root)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / USED).touch()
    os.utime(folder / USED)
    return store


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
        idle_seconds: a store used less long ago stays, too: another job may be at work in it.

    Returns:
        The names removed, oldest first.
    """
    marks = Path(parent.root).glob(f"*/{USED}")
    stores = [(mark.stat().st_mtime, mark.parent, size(mark.parent)) for mark in marks]
    total, removed = sum(n for _, _, n in stores), []
    for when, folder, n in sorted(stores):
        if total <= limit:
            break
        if folder.name not in keep and when < time.time() - idle_seconds:
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder.name)
            total -= n
    return removed

"""What is dropped from a folder of blocks when it takes too much room."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from lakerank.spark.array_cache import USED, size, trim, used
from lakerank.spark.array_store import BlockStore


def folder_of(parent: BlockStore, name: str, hours_ago: float) -> None:
    store = used(parent.below(name))
    store.put("block", {"values": np.zeros(125_000)})  # 1 MB
    when = time.time() - 3600 * hours_ago
    os.utime(Path(store.root) / USED, (when, when))


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    parent = BlockStore.open(str(tmp_path), "")
    for name, hours in (("old", 9), ("older", 12), ("new", 2), ("oldest", 30)):
        folder_of(parent, name, hours)
    assert trim(parent, 10e6, set()) == []
    assert trim(parent, 2.5e6, {"oldest"}) == ["older", "old"]
    assert parent.keys() == ["new", "oldest"]


def test_what_is_in_use_or_not_ours_stays(tmp_path: Path) -> None:
    parent = BlockStore.open(str(tmp_path), "")
    folder_of(parent, "running", 0.2)
    (tmp_path / "somebodys").mkdir()
    (tmp_path / "somebodys" / "file").write_bytes(bytes(5_000_000))
    assert trim(parent, 0, set()) == []
    used(parent.below("running"))
    assert trim(parent, 0, set(), idle_seconds=-1) == ["running"]
    assert parent.keys() == ["somebodys"]
    assert size(tmp_path) == 5_000_000

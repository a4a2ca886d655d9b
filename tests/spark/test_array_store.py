"""Blocks: whole or not there, read back as written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lakerank.cli.errors import UserError
from lakerank.spark.array_store import BlockStore


@pytest.fixture
def store(tmp_path: Path) -> BlockStore:
    return BlockStore.open(f"file://{tmp_path / 'blocks'}", "--scratch")


def test_a_block_comes_back_as_it_was(store: BlockStore) -> None:
    block = {"big": np.arange(10_000.0).reshape(100, 100), "none": np.empty((0, 3), np.int32), "one": np.array(7)}
    store.put("epoch-1/user-0", block)
    back = store.get("epoch-1/user-0")
    assert set(back) == set(block)
    for name, values in block.items():
        np.testing.assert_array_equal(back[name], values)
        assert back[name].dtype == values.dtype
    with pytest.raises(ValueError, match="read-only"):
        back["big"][0, 0] = 1.0


def test_an_unfinished_block_is_not_there(store: BlockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        store.put("a/b", {"x": np.zeros(3)})
    assert not store.has("a/b")
    assert store.keys("a") == []


def test_a_repeated_task_changes_nothing(store: BlockStore) -> None:
    store.put("k", {"x": np.zeros(3)})
    store.put("k", {"x": np.zeros(3)})
    assert store.keys() == ["k"]


def test_notes_and_dropping(store: BlockStore) -> None:
    assert store.read_json("done.json") is None
    store.write_json("done.json", {"epoch": 3})
    store.write_json("done.json", {"epoch": 4})
    assert store.read_json("done.json") == {"epoch": 4}
    store.put("k", {"x": np.zeros(3)})
    store.drop("done.json")
    store.drop("k")
    store.drop("k")
    assert store.keys() == []


def test_places_that_cannot_serve_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--scratch s3://bucket/x: blocks need a folder"):
        BlockStore.open("s3://bucket/x", "--scratch")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create it"):
        BlockStore.open(str(tmp_path / "file" / "below"), "--scratch")

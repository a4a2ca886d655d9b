"""Blocks: whole or not there, read back as written; what is missing or altered is told in one sentence."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lakerank.cli.errors import UserError
from lakerank.spark import array_store
from lakerank.spark.array_store import MANIFEST, SEAL, BlockStore, freeze_imports, hidden_name, is_hidden_name


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
    with pytest.raises(UserError, match="--scratch hdfs://name/x: blocks need a folder"):
        BlockStore.open("hdfs://name/x", "--scratch")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create it"):
        BlockStore.open(str(tmp_path / "file" / "below"), "--scratch")


BLOCK = {"small": np.arange(3), "big": np.arange(9000, dtype=np.float32)}


def flip(path: Path, at: int = -1) -> None:
    """Turn over one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_a_missing_block_is_no_empty_one(store: BlockStore) -> None:
    with pytest.raises(UserError, match=r"block .*/epoch-1/user-0 is missing: run the command again"):
        store.get("epoch-1/user-0")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda block: (block / "big.npy").write_bytes((block / "big.npy").read_bytes()[:5000]),
            "big.npy has 5,000 by",
        ),
        (lambda block: (block / "small.npy").write_bytes(b""), "small.npy has 0 bytes instead of"),
        (lambda block: (block / "big.npy").unlink(), "big.npy is missing"),
        (lambda block: (block / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda block: (block / MANIFEST).write_bytes(b"\0" * 20), "manifest.json cannot be read"),
        (lambda block: flip(block / "big.npy", 0), "big.npy cannot be read"),
    ],
)
def test_a_damaged_block_is_named_with_what_to_do(
    store: BlockStore, damage: Callable[[Path], object], said: str
) -> None:
    store.put("a/k", BLOCK)
    damage(store.path("a/k"))
    with pytest.raises(UserError) as caught:
        store.get("a/k")
    message = str(caught.value)
    assert message.startswith(f"block {store.path('a/k')} is damaged ({said}")
    assert message.endswith("): remove this folder and run the command again")


def test_one_flipped_bit_is_found_by_checksum(store: BlockStore) -> None:
    store.put("k", BLOCK | {"turned": np.asfortranarray(np.arange(12.0).reshape(3, 4)), "strided": np.arange(9)[::2]})
    store.verify(["k"])
    for file in sorted(store.path("k").glob("*.npy")):
        flip(file)
        with pytest.raises(UserError, match=f"the checksum of {file.name} is another"):
            store.verify(["k"])
        flip(file)
    store.verify(["k"])


def test_a_repeated_task_mends_a_damaged_block(store: BlockStore) -> None:
    store.put("k", BLOCK)
    (store.path("k") / "big.npy").unlink()
    store.put("k", BLOCK)
    np.testing.assert_array_equal(store.get("k")["big"], BLOCK["big"])
    flip(store.path("k") / "big.npy")
    store.put("k", BLOCK)
    store.verify(["k"])
    np.testing.assert_array_equal(store.get("k")["big"], BLOCK["big"])
    assert [path.name for path in Path(store.root).iterdir()] == ["k"]


def test_a_sealed_folder_misses_what_was_in_it(store: BlockStore) -> None:
    with pytest.raises(UserError, match="is not complete"):
        store.sealed("epoch-1")
    for key in ("user-0", "rows/item-0"):
        store.put(f"epoch-1/{key}", BLOCK)
    store.seal("epoch-1")
    sealed = store.sealed("epoch-1")
    assert sorted(sealed) == store.blocks("epoch-1") == ["rows/item-0", "user-0"]
    store.verify_sealed("epoch-1", sealed)
    store.drop("epoch-1/user-0")
    with pytest.raises(UserError, match="epoch-1/user-0 is missing"):
        store.verify_sealed("epoch-1", sealed)
    store.put("epoch-1/user-0", {"other": np.zeros(2)})  # whole, but not the one that was there
    with pytest.raises(UserError, match="it is not the one that was written at first"):
        store.verify_sealed("epoch-1", sealed)
    flip(store.path(f"epoch-1/{SEAL}"), -40)
    with pytest.raises(UserError, match=r"sealed\.json is damaged"):
        store.sealed("epoch-1")


def test_parts_are_flushed_before_what_vouches_for_them(store: BlockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []

    def watched(path: Path) -> None:
        if path != store.path("state"):
            assert not store.path(f"state/{SEAL}").exists()
        flushed.append(path)

    monkeypatch.setattr(array_store, "flush_to_disk", watched)
    store.put("state/k", BLOCK)
    store.seal("state")
    block = store.path("state/k")
    assert {block, block / "big.npy", block / "small.npy", block / MANIFEST, store.path("state")} <= set(flushed)


def test_a_damaged_note_is_told(store: BlockStore) -> None:
    store.write_json("progress.json", {"history": [{"rmse": float("nan")}], "best": 3})
    path = store.path("progress.json")
    text = path.read_text()
    path.write_text(text.replace("3", "7", 1))
    with pytest.raises(UserError, match=r"progress\.json is damaged"):
        store.read_json("progress.json")
    path.write_text(text[:10])
    with pytest.raises(UserError, match=r"progress\.json is damaged"):
        store.read_json("progress.json")


def test_names_of_what_is_unfinished_are_known_again() -> None:
    assert is_hidden_name(hidden_name("user-0"))
    assert not any(map(is_hidden_name, (".used", ".sealed.json", "user-0", "lakerank-" + "0" * 32)))


def test_what_is_imported_is_frozen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append("freeze"))
    monkeypatch.setattr(gc, "get_freeze_count", lambda: len(calls))
    freeze_imports()
    freeze_imports()
    assert calls == ["freeze"]

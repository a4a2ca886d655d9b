"""What is dropped from a folder of blocks when it takes too much room."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lakerank.cli.errors import UserError
from lakerank.spark.array_cache import (
    LOCK,
    USED,
    cached,
    hold,
    own_folder,
    own_store,
    remove_leftovers,
    remove_unheld,
    size,
    trim,
    used,
)
from lakerank.spark.array_store import Block, BlockStore, hidden_name


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


def test_a_killed_process_lets_go_of_its_folder(tmp_path: Path) -> None:
    parent = BlockStore.open(str(tmp_path), "")
    code = (
        "import sys, time\nfrom lakerank.spark.array_cache import own_store\n"
        "from lakerank.spark.array_store import BlockStore\n"
        "lock = own_store(BlockStore(sys.argv[1]), 'run')\nprint('holds', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        assert hold(parent.below("run")) is None
        remove_unheld(parent, ["run"])
        assert trim(parent, 0, set(), idle_seconds=-1) == []
        assert parent.keys() == ["run"]
        process.kill()
    remove_unheld(parent, ["run"])
    assert list(tmp_path.iterdir()) == []


def test_a_shared_folder_is_not_removed(tmp_path: Path) -> None:
    parent = BlockStore.open(str(tmp_path), "")
    folder_of(parent, "data", 9)
    first, second = (hold(parent.below("data"), shared=True) for _ in range(2))
    assert first is not None
    assert second is not None
    assert trim(parent, 0, set()) == []
    first.release()
    assert trim(parent, 0, set()) == []
    second.release()
    assert trim(parent, 0, set()) == ["data"]


def test_a_folder_of_ones_own_goes_in_the_end_with_those_of_the_dead(tmp_path: Path) -> None:
    parent = BlockStore.open(str(tmp_path), "")
    for dead in ("tune-x-0123abcd", "tune-x"):
        used(parent.below(dead))
    other = own_store(parent, "tune-x-ffffffff")
    used(parent.below("tune-xy-0123abcd"))
    with own_folder(parent, "tune-x") as first, own_folder(parent, "tune-x") as second:
        assert first.root != second.root
        names = {Path(store.root).name for store in (first, second)}
        assert set(parent.keys()) == {"tune-x-ffffffff", "tune-xy-0123abcd"} | names
    assert parent.keys() == ["tune-x-ffffffff", "tune-xy-0123abcd"]
    assert other is not None


def test_what_killed_writers_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    parent, old = BlockStore.open(str(tmp_path), ""), time.time() - 2 * 86400
    used(parent.below("data/rows"))
    left = [parent.path(folder + hidden_name("k")) for folder in ("", "data/", "data/rows/")]
    for path in left:
        path.mkdir()
        (path / "half.npy").write_bytes(b"123")
        os.utime(path, (old, old))
    young, file = parent.path(hidden_name("young")), parent.path(hidden_name("progress.json"))
    young.mkdir()
    file.write_text("{")
    os.utime(file, (old, old))
    dead, held = (parent.path(hidden_name(name)) for name in ("dead", "held"))
    for path in (dead, held):
        path.mkdir()
        (path / LOCK).touch()
        os.utime(path, (time.time() - 100,) * 2)
    lock = hold(BlockStore(str(held)))
    remove_leftovers(parent)
    assert lock is not None
    assert not any(path.exists() for path in (*left, file, dead))
    assert young.is_dir()
    assert held.is_dir()
    assert parent.has("data/rows")


def test_a_damaged_block_in_a_cache_is_made_again_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = BlockStore.open(str(tmp_path / "index"), "")
    made: list[int] = []

    def make() -> Block:
        made.append(1)
        time.sleep(0.2)
        return {"values": np.arange(5000)}

    def ask(_: int) -> Block:
        return cached(store, "arrays", make)

    with ThreadPoolExecutor(4) as pool:  # several at once: one makes it, all get it
        for block in pool.map(ask, range(4)):
            np.testing.assert_array_equal(block["values"], np.arange(5000))
    assert len(made) == 1
    assert capsys.readouterr().err == ""
    file = store.path("arrays") / "values.npy"
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)
    np.testing.assert_array_equal(ask(0)["values"], np.arange(5000))
    assert len(made) == 2
    assert "arrays is damaged (the checksum of values.npy is another): it is made again" in capsys.readouterr().err
    file.unlink()
    ask(0)
    assert len(made) == 3


def test_without_locks_a_folder_goes_by_its_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    parent = BlockStore.open(str(tmp_path), "")
    for name in ("old", "new"):
        used(parent.below(name))
        assert hold(parent.below(name)) is not None
    os.utime(tmp_path / "old", (0, 0))
    remove_unheld(parent, ["old", "new"])
    assert parent.keys() == ["new"]


def test_a_cache_that_may_not_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    store = BlockStore.open(str(tmp_path / "index"), "")
    cached(store, "arrays", lambda: {"values": np.arange(5)})
    monkeypatch.setattr(Path, "touch", refuse)  # as in the lake of another user
    found = cached(store, "arrays", lambda: {"values": np.zeros(5)})
    np.testing.assert_array_equal(found["values"], np.arange(5))
    with pytest.raises(UserError, match=r"index: cannot write to it \(Permission denied\), .* with --cache-dir"):
        cached(store, "others", lambda: {"values": np.zeros(5)})


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_what_cannot_be_locked_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    store = used(BlockStore.open(str(tmp_path / "index"), ""))
    (tmp_path / "index" / LOCK).touch()
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    if number == errno.ENOSPC:
        with pytest.raises(OSError, match="No space left"):
            hold(store)
        return
    assert hold(store) is None
    with pytest.raises(UserError, match=r"\.lock: is another user's, and may not be locked: .* with --cache-dir"):
        cached(store, "arrays", lambda: {"values": np.zeros(5)})

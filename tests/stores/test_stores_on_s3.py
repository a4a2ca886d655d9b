"""S3, without Spark: blocks, copies and publications in it; what is wrong with it is one sentence, and soon."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from s3_server import clean_environment
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.cli.files import read_bytes, remove_file, write_file, write_lines
from lakerank.cli.stores import at_hand, download, file_system, list_store, local_folder, require_store, upload
from lakerank.lake.binary_files import chunks, list_files, peek
from lakerank.lake.delta_arrow import ArrowSink, ArrowTable
from lakerank.lake.delta_table import TableRef
from lakerank.lake.input_files import expand, table_format
from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import PUBLICATIONS, RANKS
from lakerank.lake.table_log import TableLog
from lakerank.spark import remote_blocks
from lakerank.spark.array_cache import cached, own_folder, remove_leftovers, trim, used
from lakerank.spark.array_store import BlockStore, hidden_name

BLOCK = {
    "big": np.arange(10_000.0).reshape(100, 100),
    "none": np.empty((0, 3), np.int32),
    "one": np.array(7),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "true": np.array([True, False]),
}


@pytest.fixture
def store(s3: str) -> BlockStore:
    return BlockStore.open(f"{s3}/blocks", "--scratch")


def no_spark() -> object:
    raise AssertionError("Spark was asked for")


def test_a_block_comes_back_as_it_was(store: BlockStore) -> None:
    store.put("epoch-1/user-0", BLOCK)
    back = store.get("epoch-1/user-0")
    assert set(back) == set(BLOCK)
    for name, values in BLOCK.items():
        np.testing.assert_array_equal(back[name], values)
        assert (back[name].dtype, back[name].shape) == (values.dtype, values.shape)
    with pytest.raises(ValueError, match="read-only"):
        back["big"][0, 0] = 1.0
    assert isinstance(back["big"].base, np.memmap | np.ndarray)


def test_another_machine_fetches_a_block_once(
    store: BlockStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.put("a", BLOCK)
    monkeypatch.setenv("LAKERANK_CACHE", str(tmp_path / "other machine"))
    np.testing.assert_array_equal(store.get("a")["big"], BLOCK["big"])
    (copy,) = (tmp_path / "other machine").iterdir()
    before = copy.stat().st_ino
    store.get("a")
    assert copy.stat().st_ino == before
    store.put("a", {"big": np.zeros(3)})  # replaced: the old copy does not count
    np.testing.assert_array_equal(store.get("a")["big"], np.zeros(3))


def test_blocks_are_listed_sealed_verified_and_dropped(store: BlockStore) -> None:
    store.put("epoch-1/user-0", BLOCK)
    store.put("epoch-1/mean/user-0", BLOCK)
    store.write_json("progress.json", {"epoch": 1})
    assert store.keys() == ["epoch-1", "progress.json"]
    assert store.keys("epoch-1") == ["mean", "user-0"]
    assert store.blocks() == ["epoch-1/mean/user-0", "epoch-1/user-0"]
    assert store.has("epoch-1/user-0")
    assert not store.has("epoch-1")
    assert store.read_json("progress.json") == {"epoch": 1}
    assert store.read_json("other.json") is None
    store.seal("epoch-1")
    sealed = store.sealed("epoch-1")
    assert set(sealed) == {"user-0", "mean/user-0"}
    store.verify_sealed("epoch-1", sealed)
    store.put("epoch-1/user-0", {"big": np.ones(3)})
    with pytest.raises(UserError, match="not the one that was written at first"):
        store.verify_sealed("epoch-1", sealed)
    store.drop_where(lambda name: name.startswith("epoch"))
    assert store.keys() == ["progress.json"]
    with pytest.raises(UserError, match=r"block s3a://.*user-0 is missing"):
        store.get("epoch-1/user-0")
    with pytest.raises(UserError, match="not complete"):
        store.sealed("epoch-1")


def test_an_altered_block_is_an_error(store: BlockStore) -> None:
    store.put("a", BLOCK)
    system, path = file_system(f"{store.root}/a.block")
    with system.open_input_file(path) as file:
        content = bytearray(file.read())
    content[len(content) // 2] ^= 4
    with system.open_output_stream(path) as stream:
        stream.write(bytes(content))
    with pytest.raises(UserError, match="the checksum of big is another"):
        store.verify(["a"])
    with system.open_output_stream(path) as stream:
        stream.write(bytes(content[:-64]))
    with pytest.raises(UserError, match=r"block s3a://.* is damaged \(it has"):
        store.get("a")


def test_what_nobody_has_used_for_long_goes(store: BlockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run-1", "run-2"):
        used(store.below(name)).put("a", BLOCK)
    store.below(hidden_name("raw")).put("a", BLOCK)
    assert trim(store, 0.0, {"run-2"}) == []  # used a moment ago
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86400)
    remove_leftovers(store)
    assert all(not stored.name.startswith(".") for stored in remote_blocks.RemoteFolder(store.root).list())
    assert trim(store, 0.0, {"run-2"}) == ["run-1"]
    assert store.keys() == ["run-2"]


def test_a_store_of_ones_own_is_removed_in_the_end(store: BlockStore) -> None:
    with own_folder(store, "work") as own:
        own.put("a", BLOCK)
        assert cached(own, "b", lambda: BLOCK)["one"] == 7
        assert len(store.keys()) == 1
    assert store.keys() == []


def test_the_cache_makes_room(store: BlockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_blocks, "CACHE_BYTES", 100_000)
    monkeypatch.setattr(remote_blocks, "_LOOK_SECONDS", 0.0)
    for n in range(4):
        store.put(str(n), BLOCK)
    assert sum(path.stat().st_size for path in Path(os.environ["LAKERANK_CACHE"]).iterdir()) <= 100_000
    for n in range(4):
        np.testing.assert_array_equal(store.get(str(n))["big"], BLOCK["big"])


def test_files_are_read_and_written_as_local_ones(s3: str, tmp_path: Path) -> None:
    write_file(f"{s3}/a/b.txt", "hello", "--out")
    write_lines(f"{s3}/a/c.gz", ["1", "2"], "--out")
    assert read_bytes(f"{s3}/a/b.txt", "--source") == b"hello"
    assert [file.name for file in list_store(f"{s3}/a") or ()] == ["b.txt", "c.gz"]
    assert list_store(f"{s3}/a/b.txt") is None
    assert [file.relative for file in list_files(f"{s3}/a")] == ["b.txt", "c.gz"]
    assert b"".join(chunks(f"{s3}/a/b.txt")) == b"hello"
    assert peek(f"{s3}/a/b.txt", 1, 3) == b"ell"
    assert expand([f"{s3}/a"]) == [f"{s3}/a/b.txt", f"{s3}/a/c.gz"]
    assert download(s3, tmp_path / "copy") == 2
    upload(tmp_path / "copy", f"{s3}/copy")
    with local_folder(f"{s3}/made") as folder:
        (folder / "x").write_text("1")
    assert read_bytes(f"{s3}/made/x", "--out") == b"1"
    assert read_bytes(f"{s3}/copy/a/b.txt", "--source") == b"hello"
    remove_file(f"{s3}/a/b.txt")
    with pytest.raises(UserError, match=r"--source s3a://.*: no such file or folder in the store"):
        read_bytes(f"{s3}/a/b.txt", "--source")
    with pytest.raises(UserError, match="no such file or folder in the store"):
        expand([f"{s3}/nothing"])


@dataclasses.dataclass(frozen=True)
class Settings:
    data: str
    out: str


def test_what_a_command_writes_to_a_copy_comes_back(s3: str, tmp_path: Path) -> None:
    write_file(f"{s3}/data/x.txt", "1")
    write_file(f"{s3}/out/old.txt", "old")
    write_file(f"{s3}/out/gone.txt", "gone")
    (tmp_path / "y.txt").write_text("2")
    with at_hand(Settings(f"{s3}/data,{tmp_path}/y.txt", f"{s3}/out"), ("data",), ("out",)) as here:
        first, second = here.data.split(",")
        assert (Path(first, "x.txt").read_text(), Path(second).read_text()) == ("1", "2")
        assert Path(first).name == "data"  # what a set of pictures is called
        out = Path(here.out)
        (out / "new").mkdir()
        (out / "new" / "z").write_text((out / "old.txt").read_text())
        (out / ".half").write_text("no")
        (out / "gone.txt").unlink()
    assert [file.name for file in list_store(f"{s3}/out") or ()] == ["new/z", "old.txt"]


def test_publications_are_read_and_written_without_spark(s3: str) -> None:
    rows = pa.table({"id": pa.array([1, 2]), "pagerank": [0.25, 0.75]})
    with publishing(no_spark, s3, "ranks") as run:  # type: ignore[arg-type]
        run.write(RANKS, rows)
    published = Publications.read(s3, no_spark)  # type: ignore[arg-type]
    ref = published.table(RANKS)
    assert (ref.pinned, published.rows[0].tables[0].place) == (0, "./ranks")
    assert ArrowTable(ref, RANKS, no_spark).read(["id", "pagerank"]).equals(rows)  # type: ignore[arg-type]
    assert TableLog(ref, no_spark).newest == 0  # type: ignore[arg-type]
    assert table_format(f"{s3}/ranks") == "Delta"
    # The same lake by its other name.
    other = Publications.read(s3.replace("s3a:", "s3:"), no_spark)  # type: ignore[arg-type]
    assert other.table(RANKS).pinned == 0


def test_publications_at_once_all_count(s3: str) -> None:
    """Conditional puts: of two commits of one version one is refused, and is made again."""
    failed = []

    def publish(n: int) -> None:
        try:
            for k in range(3):
                with publishing(no_spark, s3, f"{n}-{k}") as run:  # type: ignore[arg-type]
                    run.settings(n=n, k=k)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    found = Publications.read(s3, no_spark).rows  # type: ignore[arg-type]
    assert sorted(row.what for row in found) == sorted(f"{n}-{k}" for n in range(4) for k in range(3))
    names = [file.name for file in list_store(f"{s3}/publications/_delta_log") or ()]
    assert sum(name.endswith(".json") for name in names) >= 12


def test_a_commit_that_is_there_is_not_replaced(s3: str) -> None:
    ref = TableRef(f"{s3}/publications")
    write_file(f"{s3}/publications/_delta_log/{0:020}.json", "{}\n")  # of somebody who was faster
    rows = pa.Table.from_pylist([], schema=PUBLICATIONS.arrow_schema())
    with pytest.raises(Exception, match=r"."):
        ArrowSink(ref, PUBLICATIONS, no_spark).append(rows)  # type: ignore[arg-type]
    assert read_bytes(f"{s3}/publications/_delta_log/{0:020}.json", "--out") == b"{}\n"


PROBLEMS = {
    "missing bucket": (
        {},
        "s3a://no-such-bucket/lake",
        "the store at http://127.0.0.1:.* has no bucket no-such-bucket",
    ),
    "wrong endpoint": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://lakes/x", "the store cannot be reached"),
    "no such host": ({"AWS_ENDPOINT_URL": "http://s3.no-such-host.invalid"}, "s3a://lakes/x", "cannot be reached"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_wrong_is_told_at_once(s3: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, place, told = PROBLEMS[problem]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    begun = time.monotonic()
    with pytest.raises(UserError, match=told) as caught:
        require_store(place)
    assert "\n" not in str(caught.value)
    assert "test-secret" not in str(caught.value)
    assert time.monotonic() - begun < 30


COMMANDS = [
    ["spark_jobs.ingest_ratings", "--lake", "lake", "--source", "PLACE"],
    ["spark_jobs.pagerank", "--lake", "PLACE"],
    ["spark_jobs.search", "--lake", "PLACE", "--query", "x"],
    ["sr_model.upscale", "PLACE/a.png", "b.png"],
]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_command_tells_it(server: dict[str, str], command: list[str], problem: str, tmp_path: Path) -> None:
    variables, place, told = PROBLEMS[problem]
    environment = clean_environment() | server | variables | {"PYTHONPATH": str(ROOT)}
    words = [word.replace("PLACE", place) for word in command]
    done = subprocess.run([sys.executable, "-m", *words], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error:" in line]
    assert told.split(".*")[-1] in line
    assert "test-secret" not in done.stderr + done.stdout
    assert json.dumps("Traceback") not in done.stderr

"""Petastorm behind its compatibility layer: no row is lost, nothing outside Petastorm is changed."""

from __future__ import annotations

import importlib.metadata
import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests_root import ROOT

from lakerank.cli.errors import UserError
from sr_model.data import petastorm_compat as compat
from sr_model.data.format import PatchRow
from sr_model.data.writer import finish, write_part

ROWS = 60


def patch(i: int) -> np.ndarray:
    return np.full((8, 8, 3), i, np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patches")
    rows = [PatchRow(patch(i), None, f"a {i % 3}.png", i, -i) for i in range(ROWS)]
    parts = [write_part(folder / f"part-{n}.parquet", rows[n::3], patch=8, row_group_rows=4) for n in range(3)]
    finish(folder, [part for part in parts if part], patch=8)
    return folder


def run_python(code: str, *argv: str) -> str:
    """In a process of its own in which any warning is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pyarrow_numpy_and_pandas_stay_as_they_are(tmp_path: Path) -> None:
    run_python(
        """
import sys
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.parquet as pq
import pyarrow.lib, pyarrow.fs, pyarrow.dataset
def snapshot():
    return {module.__name__: dict(vars(module)) for module in (np, pd, pa, pq, pa.lib, pa.fs, pa.dataset)}
before, modules = snapshot(), {name for name in sys.modules if name.startswith(("pyarrow", "numpy", "pandas"))}
import sr_model.data.petastorm_compat
after = snapshot()
for name, names in before.items():
    assert names.keys() <= after[name].keys(), name
    changed = [key for key in names if names[key] is not after[name][key]]
    added = [key for key in after[name].keys() - names.keys() if f"{name}.{key}" not in sys.modules]
    assert not changed and not added, (name, changed, added)
assert not {"pyarrow.filesystem", "pyarrow.hdfs"} & set(sys.modules)
frame = pd.DataFrame({"a": [1, 2]})
frame.to_parquet(sys.argv[1])
assert pd.read_parquet(sys.argv[1]).equals(frame)
""",
        str(tmp_path / "frame.parquet"),
    )


def test_reading_wants_no_pyspark_and_gives_no_warnings(data: Path) -> None:
    printed = run_python(
        """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pyspark", "py4j"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Blocked())
from sr_model.data.petastorm_compat import make_reader
from sr_model.data.open_stream import open_stream
with make_reader("file://" + sys.argv[1], num_epochs=1) as reader:
    print(sorted(int(row.hr[0, 0, 0]) for row in reader))
with open_stream(sys.argv[1], epochs=1) as stream:
    print(sorted(int(i) for batch in stream for i in batch.hr[:, 0, 0, 0]))
""",
        str(data),
    )
    lines = [line for line in printed.splitlines() if line.startswith("[")]
    assert lines == [str(list(range(ROWS)))] * 2


def test_petastorm_s_own_reader_gives_back_what_was_written(data: Path) -> None:
    with compat.make_reader(f"file://{data}", num_epochs=1) as reader:
        rows = {int(row.x): row for row in reader}
    assert sorted(rows) == list(range(ROWS))
    for i, row in rows.items():
        assert (row.hr == patch(i)).all()
        assert (row.source, row.y, row.hr.dtype) == (f"a {i % 3}.png", -i, np.uint8)


@pytest.mark.parametrize("kind", ["dummy", "thread", "process"])
def test_every_pool_gives_every_row(data: Path, kind: str) -> None:
    with compat.make_reader(f"file://{data}", reader_pool_type=kind, workers_count=2, num_epochs=2, seed=1) as reader:
        found = [int(row.x) for row in reader]
    assert sorted(found) == sorted([*range(ROWS), *range(ROWS)])
    if kind != "process":  # whose results come in any order, also across the end of an epoch
        assert sorted(found[:ROWS]) == list(range(ROWS))


def test_the_order_depends_on_seed_and_epoch_alone(data: Path) -> None:
    def order(seed: int, workers: int) -> list[int]:
        settings: dict[str, Any] = {"seed": seed, "workers_count": workers, "num_epochs": 2}
        with compat.make_reader(f"file://{data}", **settings) as reader:
            return [int(row.x) for row in reader]

    first = order(3, 1)
    assert all(order(3, workers) == first for workers in (2, 5) for _ in range(3))
    assert order(4, 2) != first
    assert first[:ROWS] != first[ROWS:]  # row groups are shuffled anew


def test_an_error_in_a_worker_reaches_the_reader(data: Path, tmp_path: Path) -> None:
    for file in data.iterdir():
        content = file.read_bytes()
        damaged = content[:4] + bytes(len(content) - 8) + content[-4:] if file.name == "part-1.parquet" else content
        (tmp_path / file.name).write_bytes(damaged)
    with (
        compat.make_reader(f"file://{tmp_path}", num_epochs=1, workers_count=2) as reader,
        pytest.raises(OSError, match=r"part-1\.parquet"),
    ):
        list(reader)


class Echo(compat.WorkerBase):  # type: ignore[misc]
    """Publishes what it is given."""

    def process(self, item: int) -> None:
        self.publish_func(item)


def results(pool: Any, ventilator: Any) -> list[int]:
    pool.start(Echo, None, ventilator)
    found = []
    try:
        while True:
            found.append(pool.get_results())
    except compat.EmptyResultError:
        return found
    finally:
        pool.stop()
        pool.join()


def sent_between_the_two_questions(base: type) -> tuple[Any, Any]:
    """A thread pool, and a ventilator of that class that sends everything after the pool has asked for the first time
    whether its workers are done, and before it asks whether the ventilator is."""
    pool = compat.ThreadPool(2)
    ventilator = base(pool.ventilate, [{"item": 1}, {"item": 2}], random_seed=0)
    ventilator.start = lambda: None
    asked = pool.all_workers_done
    waiting = [ventilator._ventilate]

    def all_workers_done() -> bool:
        answer = bool(asked())
        while waiting:
            waiting.pop()()
        return answer

    pool.all_workers_done = all_workers_done
    return pool, ventilator


def test_the_original_loses_rows_on_this_schedule_and_ours_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert results(*sent_between_the_two_questions(compat.Ventilator)) == [1, 2]
    monkeypatch.setattr(compat.ThreadPool, "current_worker_done", compat._worker_done)
    assert results(*sent_between_the_two_questions(compat.Ventilator)) == [1, 2]  # each of the two remedies suffices
    assert results(*sent_between_the_two_questions(compat.ConcurrentVentilator)) == []


class SendsWhileCounted(compat.Ventilator):
    """Sends its last item just after the number of sent items was read."""

    late = False

    @property
    def _ventilated_items_count(self) -> int:
        value = self._sent
        if self.late:
            self.late = False
            self._ventilate()
        return value

    @_ventilated_items_count.setter
    def _ventilated_items_count(self, value: int) -> None:
        self._sent = value


def test_what_is_sent_while_the_counts_are_compared_is_waited_for() -> None:
    ventilator = SendsWhileCounted(lambda item: None, [{"item": 1}])
    ventilator.late = True
    assert not ventilator.completed()
    if ventilator.late:  # the counts were not looked at
        ventilator.late = False
        ventilator._ventilate()
    assert not ventilator.completed()
    ventilator.processed_item()
    assert ventilator.completed()


@pytest.mark.parametrize("pool", [compat.ThreadPool, compat.SerialPool])
def test_many_short_reads_are_complete(pool: type) -> None:
    for n in range(80):
        made = pool(1 + n % 4)
        items = [{"item": i} for i in range(n % 7)]
        ventilator = compat.Ventilator(
            made.ventilate, items, iterations=1 + n % 3, max_ventilation_queue_size=1 + n % 5
        )
        assert sorted(results(made, ventilator)) == sorted(list(range(n % 7)) * (1 + n % 3))


def test_any_other_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.14.0")
    with pytest.raises(UserError, match=r"petastorm 0\.14\.0: only 0\.13\.1 is supported"):
        compat._check_version()

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UserError, match="petastorm is not installed"):
        compat._check_version()


class Trap:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"\x80\x04cnumpy\nbytes_\n\x8a\x05\x00\xe4\x0b\x54\x02\x85R.", "no Unischema"),  # bytes_(10**10)
        (b"\x80\x04cnumpy\nbytes_\n(\x8a\x05\x00\xe4\x0b\x54\x02t\x81.", "no Unischema"),
        (b"\x80\x04Nr\xff\xff\xff\x7f.", "more memory"),  # a memo of 2**31 places
        (b"\x80\x04Np999999999999\n.", "more memory"),
        (b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.", "bytearray8"),  # 64 GiB are announced
        (b"\x80\x04\x8e\x00\x00\x00\x00\x10\x00\x00\x00.", "bytes8"),
        (b"\x80\x04N." + b"\0" * (1 << 20), "more than"),
        (b"\x80\x04cnumpy\nint8\n)\x81)R.", "int8"),
        (b"\x80\x04}.", "no Unischema"),
        (b"", "."),
    ],
)
def test_a_small_pickle_fills_no_memory(pickled: bytes, reason: str) -> None:
    from sr_model.data.stored_schema import read_schema

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Exception, match=reason):
        read_schema(pickled)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_a_schema_that_is_code_is_refused_and_not_run(data: Path, tmp_path: Path) -> None:
    from sr_model.data.petastorm_reader import stored_schema
    from sr_model.data.row_groups import ReadError

    assert set(stored_schema(data)) == {"hr", "source", "x", "y"}
    mark = tmp_path / "ran"
    words = pq.read_metadata(data / "_common_metadata").metadata
    key = b"dataset-toolkit.unischema.v1"
    schema = pq.read_schema(data / "_common_metadata").with_metadata(words | {key: pickle.dumps(Trap(mark))})
    pq.write_metadata(schema, tmp_path / "_common_metadata")
    with pytest.raises(ReadError, match="which no schema needs"):
        stored_schema(tmp_path)
    assert not mark.exists()

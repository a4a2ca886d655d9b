"""The guard around a single record: whatever it does, it costs that record alone."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pyarrow as pa
import pytest

from lakerank.lake import bad_records
from lakerank.lake.bad_records import TooSlowError, attempt, batches_without_bad, storable, time_limit


def nested(depth: int) -> int:
    return nested(depth + 1)


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (lambda: {}["href"], "KeyError: 'href'"),
        (lambda: datetime.fromisoformat("0001-01-01T00:00:00+05:00").astimezone(), "OverflowError|ValueError"),
        (lambda: "\ud800".encode(), "UnicodeEncodeError"),
        (lambda: nested(0), "nested too deeply"),
        (lambda: bytearray(1 << 60), "more memory than there is"),
        (lambda: int("9" * 5000), "ValueError"),
    ],
)
def test_an_error_becomes_a_reason(work: object, reason: str) -> None:
    said = attempt(work)  # type: ignore[arg-type]
    assert isinstance(said, str)
    assert re.search(reason, said)
    assert len(said) <= 200
    said.encode()


def test_what_goes_well_is_passed_on() -> None:
    assert attempt(lambda: 7) == 7


def test_a_record_may_take_time_that_grows_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_records, "_BASE_SECONDS", 0.05)

    def busy() -> int:
        begun = time.process_time()
        while time.process_time() - begun < 0.2:
            pass
        return 7

    assert "processor time" in str(attempt(busy))
    assert attempt(busy, size=1 << 20) == 7
    assert attempt(lambda: time.sleep(0.2)) is None  # waiting for others is no fault of the record


def test_regular_expressions_are_stopped_and_the_clock_with_them() -> None:
    with pytest.raises(TooSlowError), time_limit(0.05):
        re.match(r"(a+)+b", "a" * 40)
    begun = time.process_time()
    while time.process_time() - begun < 0.1:  # no signal is left over
        pass


def test_without_signals_there_is_no_limit() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(attempt, lambda: 7).result() == 7


def to_batch(values: Sequence[object]) -> pa.RecordBatch:
    return pa.record_batch([pa.array([str(v) if isinstance(v, str) else v for v in values], pa.int64())], names=["n"])


@pytest.mark.parametrize("bad", [1 << 63, "text", "\ud800"])
def test_of_a_batch_that_arrow_refuses_only_the_culprits_are_rejected(bad: object) -> None:
    said: list[tuple[object, str]] = []

    def rejected(value: object, reason: str) -> object:
        said.append((value, reason))
        return -1

    values: list[object] = [*range(100)]
    values[40] = values[41] = values[99] = bad
    batches = list(batches_without_bad(values, to_batch, rejected))
    got = [n for batch in batches for n in batch["n"].to_pylist()]
    assert got == [-1 if value == bad and n in (40, 41, 99) else value for n, value in enumerate(values)]
    assert [value for value, _ in said] == [bad] * 3
    assert all(reason for _, reason in said)
    assert not list(batches_without_bad([], to_batch, rejected))


def test_storable_text() -> None:
    assert storable("plain") == "plain"
    assert storable("a\0b\ud800c\udfff é") == "ab\ufffdc\ufffd é"
    assert storable("\ud83d\ude00") == "\U0001f600"  # two halves that belong together

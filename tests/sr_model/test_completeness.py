"""A quick, seeded part of `benchmarks/completeness.py`: random reads, every row exactly once an epoch."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
from tests_root import ROOT


@pytest.fixture(scope="module")
def completeness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("completeness", ROOT / "benchmarks" / "completeness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["completeness"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_random_reads_lose_nothing(completeness: ModuleType) -> None:
    tally = completeness.run(range(60), 1, [completeness.read_stream, completeness.read_petastorm])
    assert tally.incomplete == []
    assert tally.reads.total() == 60
    assert len(tally.reads) >= 4  # readers and pools


def test_a_lost_row_is_noticed(completeness: ModuleType) -> None:
    def loses_one(data, draw):  # type: ignore[no-untyped-def]
        what, found, epochs = completeness.read_stream(data, draw)
        found[0] -= 1
        return what, found, epochs

    def breaks(data, draw):  # type: ignore[no-untyped-def]
        raise OSError("no disk")

    tally = completeness.run(range(4), 2, [loses_one, breaks])
    assert len(tally.incomplete) == 4

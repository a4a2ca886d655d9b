"""The short form of benchmarks/chaos.py: jobs that die at writes or are killed, and visitors; models and the index."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests_root import ROOT

pytestmark = pytest.mark.slow


def test_nothing_is_lost_or_mixed(spark: SparkSession, tmp_path: Path) -> None:
    found = importlib.util.spec_from_file_location("chaos", ROOT / "benchmarks" / "chaos.py")
    assert found is not None
    assert found.loader is not None
    chaos = importlib.util.module_from_spec(found)
    sys.modules["chaos"] = chaos  # its dataclasses ask for it
    found.loader.exec_module(chaos)
    events = chaos.Chaos(tmp_path, ["lfm", "build_index"])
    events.prepare()
    for job in events.jobs:
        events.crash(job)
        events.visit(job, 2)
        events.kill(job, 1)
    assert sum(tally.tried for tally in events.tally.values()) > 20
    assert not [lost for tally in events.tally.values() for lost in tally.lost], events.table()

"""One Spark session for the whole run: classic local[2], or Spark Connect when LAKERANK_TEST_REMOTE is set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from tests_root import ROOT

# Real sample data; tests that need it skip with the reason where it is missing.
SHARED = Path(os.environ.get("LAKERANK_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
# Tests run side by side, one a core; PyTorch's and OpenCV's threads would fight for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
REMOTE = os.environ.get("LAKERANK_TEST_REMOTE", "")

# For a JVM that lives some seconds: its second compiler costs more than it brings, and so do many small partitions.
SHORT_RUNS = "--driver-java-options -XX:TieredStopAtLevel=1 --conf spark.sql.shuffle.partitions=2 pyspark-shell"
# Nor is Java compiled for each query here (a sixth of the time); the run on Spark Connect does that.
INTERPRETED = "--conf spark.sql.codegen.wholeStage=false --conf spark.sql.codegen.factoryMode=NO_CODEGEN"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On Connect run only what is marked for it."""
    if REMOTE:
        chosen = [item for item in items if item.get_closest_marker("connect")]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The session; jobs called in-process find it as the active one."""
    from lakerank.spark.session import get_spark

    os.chdir(tmp_path_factory.mktemp("cwd"))  # a stray relative path must not land in the checkout
    os.environ["PYSPARK_SUBMIT_ARGS"] = SHORT_RUNS if REMOTE else f"{INTERPRETED} {SHORT_RUNS}"
    session = get_spark("lakerank-tests", "" if REMOTE else "local[2]", REMOTE)
    yield session
    session.stop()


@pytest.fixture
def no_checkpoints(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Spark that refuses local checkpoints, as Databricks serverless does."""

    def refuse(self: object, eager: bool = True) -> None:
        raise PySparkException("[NOT_SUPPORTED_WITH_SERVERLESS] localCheckpoint")

    monkeypatch.setattr(type(spark.range(1)), "localCheckpoint", refuse)

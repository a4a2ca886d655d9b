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

# For a JVM that lives some minutes: its second compiler costs more than it brings, and so do many small partitions.
# With one compiler Java sets aside 48 MiB for compiled code, which a session fills: it drops code to compile it again.
_JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m"
_FEW = "--conf spark.sql.shuffle.partitions=2 --conf spark.databricks.delta.snapshotPartitions=1"
SHORT_RUNS = f"--driver-java-options '{_JAVA}' {_FEW} pyspark-shell"
# Nor is Java compiled for each query here (a sixth of the time), unless LAKERANK_TEST_CODEGEN is set.
INTERPRETED = (
    ""
    if os.environ.get("LAKERANK_TEST_CODEGEN")
    else "--conf spark.sql.codegen.wholeStage=false --conf spark.sql.codegen.factoryMode=NO_CODEGEN"
)
WORKERS = "--conf spark.python.daemon.module=python_daemon"  # see there
# Folders with the longest files, which come first: what is left for the end divides well between workers.
LONGEST = ("jobs", "contracts", "recommend", "lake", "graph")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """On Connect import only files with a test for it."""
    if REMOTE and collection_path.name.startswith("test_") and collection_path.suffix == ".py":
        return None if "mark.connect" in collection_path.read_text(encoding="utf-8") else True
    return None


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On Connect run only what is marked for it; there `connect(slow=True)` is slow. Long files come first."""
    if REMOTE:
        marks = {item: item.get_closest_marker("connect") for item in items}
        for item, mark in marks.items():
            if mark and mark.kwargs.get("slow"):
                item.add_marker(pytest.mark.slow)
        config.hook.pytest_deselected(items=[item for item, mark in marks.items() if mark is None])
        items[:] = [item for item, mark in marks.items() if mark]
    rank = {folder: n for n, folder in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.parent.name, len(rank)))


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The session; jobs called in-process find it as the active one."""
    from lakerank.spark.session import get_spark

    os.chdir(tmp_path_factory.mktemp("cwd"))  # a stray relative path must not land in the checkout
    with pytest.MonkeyPatch.context() as patch:  # only for this session's JVM
        patch.setenv("PYSPARK_SUBMIT_ARGS", f"{INTERPRETED} {WORKERS} {SHORT_RUNS}")
        patch.setenv("PYTHONPATH", str(ROOT / "tests"), prepend=os.pathsep)
        session = get_spark("lakerank-tests", "" if REMOTE else "local[2]", REMOTE)
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"{INTERPRETED} {SHORT_RUNS}"  # for what a test starts
    yield session
    session.stop()


@pytest.fixture
def no_checkpoints(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Spark that refuses local checkpoints, as Databricks serverless does."""

    def refuse(self: object, eager: bool = True) -> None:
        raise PySparkException("[NOT_SUPPORTED_WITH_SERVERLESS] localCheckpoint")

    monkeypatch.setattr(type(spark.range(1)), "localCheckpoint", refuse)

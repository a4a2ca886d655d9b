"""Starting Spark: what is missing is said in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REMOTE, SHORT_RUNS
from fake_java import fake_java
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.spark import session

JAVA_ERROR = """An error occurred while calling None.org.apache.spark.api.java.JavaSparkContext.
: java.net.BindException: Failed to bind to address
\tat io.netty.channel.unix.Errors.newIOException(Errors.java:166)
\t... 3 more
"""


class Failing:
    def __init__(self, text: str) -> None:
        self.text = text

    def getOrCreate(self) -> None:
        raise RuntimeError(self.text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (JAVA_ERROR, "cannot start or reach it: java.net.BindException: Failed to bind to address"),
        (JAVA_ERROR + "Caused by: java.io.IOException: no\n\tat x.Y(Z)\n", "reach it: java.io.IOException: no"),
        ("", "cannot start or reach it: RuntimeError"),
    ],
)
def test_a_failing_start_says_the_cause_and_no_stack_frame(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        session._reach(Failing(text), "it")  # type: ignore[arg-type]
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(
    ("version", "problem"), [("11.0.2", "is version 11"), ("1.8.0_402", "is version 1"), ("17", "")]
)
def test_java_must_be_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, problem: str) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, version)))
    found = session._java_problem()
    assert (problem in found) if problem else (found is None)


def test_no_java_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "was not found: install it or set JAVA_HOME" in (session._java_problem() or "")


TALKATIVE = """
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import RANKS
from lakerank.spark.session import session
with session("probe", "local[1]") as spark:
    assert not TableRef("nowhere").exists(spark)
    TableSink(TableRef("ranks"), RANKS).write(spark.createDataFrame([(1, 1.0)], RANKS.schema()))
    print(TableRef("ranks").read(spark, RANKS).count())
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(REMOTE), reason="starts a session of its own")
@pytest.mark.parametrize("settings", ["the wheel alone", "conf/spark"])
def test_spark_says_nothing_that_a_user_cannot_act_on(tmp_path: Path, settings: str) -> None:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYSPARK_", "SPARK_"))}
    plain |= {"PYSPARK_SUBMIT_ARGS": SHORT_RUNS, "PYTHONPATH": str(ROOT)}
    plain["SPARK_CONF_DIR"] = str(tmp_path if settings == "the wheel alone" else ROOT / "conf" / "spark")
    done = subprocess.run(
        [sys.executable, "-c", TALKATIVE], env=plain, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
    # Java's own line, which no configuration reaches.
    assert set(done.stderr.splitlines()) <= {"WARNING: Using incubator modules: jdk.incubator.vector"}

"""Starting Spark: what is missing is said in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_java import fake_java

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

"""Exit codes and the summary line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs
from lakerank.spark.job import run_job


def _job(spark: SparkSession, run, *argv: str) -> int:
    return run_job(run, JobArgs, "probe", "Doc.", argv)


def test_done_is_0_and_json_is_the_last_line(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    def run(spark, args):
        print("chatter")
        return {"rows": 3}

    assert _job(spark, run, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"job": "probe", "rows": 3}
    assert _job(spark, run) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "chatter"


def test_the_users_mistake_is_2_in_one_line(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    def run(spark, args):
        raise UserError("file x.csv, row 3: no rating")

    assert _job(spark, run) == 2
    assert capsys.readouterr().err == "probe: error: file x.csv, row 3: no rating\n"
    assert _job(spark, run, "--nope") == 2


def test_the_users_mistake_that_a_worker_finds_is_2_in_one_line(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise UserError("block user-1 is damaged: run it again")
        yield from batches

    def run(spark: SparkSession, args: JobArgs) -> dict[str, object]:
        spark.range(1).mapInArrow(fail, "id bigint").collect()
        return {}

    assert _job(spark, run) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "probe: error: block user-1 is damaged: run it again"


@pytest.mark.parametrize(
    ("command", "true"),
    [
        ("lfm", "--resume goes on after the last epoch; without it the same command begins anew and removes"),
        ("tune", "--resume goes on after the finished trials; the same command without it begins anew and removes"),
        ("train", "--resume auto goes on from the last checkpoint"),
        ("build_patches", "the same command goes on: parts that are done are kept"),
        ("upscale_images", "the same command goes on: pictures that are done are kept"),
        ("pagerank", "run the same command again\n"),
    ],
)
def test_ctrl_c_is_130_and_says_how_to_go_on(command: str, true: str, capsys: pytest.CaptureFixture[str]) -> None:
    from spark_jobs import lfm, pagerank, tune, upscale_images
    from sr_model.build_patches import BuildArgs
    from sr_model.config import TrainConfig

    classes = (lfm.LfmArgs, tune.TuneArgs, TrainConfig, BuildArgs, upscale_images.UpscaleImagesArgs)
    names = ("lfm", "tune", "train", "build_patches", "upscale_images", "pagerank")
    args = dict(zip(names, (*classes, pagerank.PageRankArgs), strict=True))[command]

    def run(_: object) -> dict[str, object]:
        raise KeyboardInterrupt

    assert run_command(run, args, command, "Doc.", []) == 130
    assert f"{command}: stopped; {true}" in capsys.readouterr().err


def test_ours_is_1_with_a_trace(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    def run(spark, args):
        raise ZeroDivisionError("oops")

    assert _job(spark, run) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_session_that_was_there_stays(spark: SparkSession) -> None:
    assert _job(spark, lambda *_: {}) == 0
    assert spark.range(3).count() == 3


def test_a_wheel_task_fails_by_leaving(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args):
        raise UserError("no such volume")

    monkeypatch.setattr("sys.argv", ["probe"])
    assert run_command(run, JobArgs, "probe", "Doc.") == 2
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "client.4.1")
    with pytest.raises(SystemExit, match="2"):
        run_command(run, JobArgs, "probe", "Doc.")
    assert run_command(lambda args: {}, JobArgs, "probe", "Doc.") == 0

"""lfm and recommend end to end: real tables, twice, killed and resumed, with wrong input."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from operator import itemgetter
from pathlib import Path

import lake_tables
import pytest
from conftest import SHORT_RUNS
from pyspark.sql import SparkSession

from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import ITEM_FACTORS, ITEMS, LFM_METRICS, LFM_MODELS, RATINGS, RECOMMENDATIONS, USER_FACTORS
from lakerank.recommend.data.synthetic import generate_ratings
from spark_jobs import lfm, recommend

QUICK = ["--factors", "4", "--epochs", "3", "--blocks", "2"]


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ratings and items, as ingest_ratings leaves them."""
    folder = tmp_path_factory.mktemp("lake")
    made = generate_ratings(80, 60, 2500, rank=3, seed=1)
    when = [dt.datetime.fromtimestamp(s, dt.UTC).replace(tzinfo=None) for s in made.seconds.tolist()]
    rows = list(zip((made.users + 1).tolist(), (made.items + 1).tolist(), made.ratings.tolist(), when, strict=True))
    lake_tables.put(TableRef(str(folder / "ratings")), RATINGS, rows)
    items = [(i, f"Generated film {i}", 1990, ["Drama"]) for i in range(1, 61)]
    lake_tables.put(TableRef(str(folder / "items")), ITEMS, items)
    return str(folder)


@pytest.fixture(scope="module")
def trained(lake: str) -> str:
    """The lake with a model in it."""
    assert lfm.main(["--lake", lake, *QUICK]) == 0
    return lake


def summary(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def table(spark: SparkSession, lake: str, relation, order: str) -> list[tuple]:
    return [tuple(row) for row in sorted(lake_tables.rows(relation, lake), key=itemgetter(order))]


@pytest.mark.slow
@pytest.mark.connect
def test_trains_and_recommends_twice_the_same(
    spark: SparkSession, lake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    for _ in range(2):
        assert lfm.main(["--lake", lake, "--json", *QUICK]) == 0
        facts = summary(capsys)
        assert facts["epochs"] == 3
        assert 0 < facts["train_rmse"] < facts["test_rmse"] < 1.5
        assert facts["updates_per_second"] > 0
        assert recommend.main(["--lake", lake, "--json", "--top", "5"]) == 0
        printed = capsys.readouterr().out
        assert "Generated film" in printed
        assert json.loads(printed.splitlines()[-1])["rows"] == 80 * 5
        seen.append([table(spark, lake, r, k) for r, k in ((USER_FACTORS, "user_id"), (ITEM_FACTORS, "item_id"))])
        seen[-1].append(sorted(table(spark, lake, RECOMMENDATIONS, "user_id")))
        assert [row[1] for row in table(spark, lake, LFM_METRICS, "epoch")] == [1, 2, 3]
        assert len(table(spark, lake, LFM_MODELS, "run_id")) == 1
    assert seen[0] == seen[1]
    rated = {(row[0], row[1]) for row in table(spark, lake, RATINGS, "user_id")}
    assert not rated & {(row[0], row[2]) for row in seen[0][2]}


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--ratings", f"{lake}/ratings", "--factors", "4", "--blocks", "2", "--seed", "5"]
    whole, broken = str(tmp_path / "whole"), str(tmp_path / "broken")
    command = [sys.executable, "-m", "spark_jobs.lfm", *settings, "--lake", broken, "--epochs", "100000"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYSPARK_")}
    environment["PYSPARK_SUBMIT_ARGS"] = SHORT_RUNS
    process = subprocess.Popen(
        [*command, "--master", "local[2]"], env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:  # let it finish two epochs, then give it no chance to tidy up
        limit = time.monotonic() + 120
        while not any(e["epoch"] >= 2 for f in Path(broken).glob("_lfm/*/progress.json") for e in _epochs(f)):
            assert process.poll() is None, "ended by itself"
            assert time.monotonic() < limit, "no epoch finished"
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = max(e["epoch"] for f in Path(broken).glob("_lfm/*/progress.json") for e in _epochs(f))
    assert lfm.main([*settings, "--lake", whole, "--epochs", str(done + 2)]) == 0
    capsys.readouterr()
    assert lfm.main([*settings, "--lake", broken, "--epochs", str(done + 2), "--resume", "--json"]) == 0
    assert summary(capsys)["resumed_from"] == done
    for relation, key in ((USER_FACTORS, "user_id"), (ITEM_FACTORS, "item_id")):
        assert table(spark, broken, relation, key) == table(spark, whole, relation, key)


@pytest.fixture
def growing(spark: SparkSession, lake: str, tmp_path: Path) -> str:
    """A lake of its own with half of the ratings, for tests that add the rest."""
    half = TableRef(f"{lake}/ratings").read(spark, RATINGS).where("user_id <= 60")
    TableSink(TableRef(str(tmp_path / "ratings")), RATINGS).write(half)
    return str(tmp_path)


def _grow(spark: SparkSession, lake: str, growing: str) -> None:
    more = TableRef(f"{lake}/ratings").read(spark, RATINGS).where("user_id > 60")
    more.write.format("delta").mode("append").save(f"{growing}/ratings")


@pytest.mark.slow
def test_a_run_stays_on_its_version_of_the_table(
    spark: SparkSession, lake: str, growing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--lake", growing, *QUICK, "--json"]
    assert lfm.main([*flags, "--epochs", "2"]) == 0
    first = summary(capsys)
    _grow(spark, lake, growing)
    assert lfm.main([*flags, "--resume"]) == 0
    printed = capsys.readouterr().out
    assert "going on with version 0" in printed
    resumed = json.loads(printed.splitlines()[-1])
    assert (resumed["resumed_from"], resumed["ratings_version"], resumed["run_id"]) == (2, 0, first["run_id"])
    old = table(spark, growing, USER_FACTORS, "user_id")
    assert lfm.main(flags) == 0
    assert summary(capsys)["ratings_version"] == 1
    assert len(table(spark, growing, USER_FACTORS, "user_id")) == 80
    assert lfm.main([*flags, "--time-travel", "0"]) == 0
    assert table(spark, growing, USER_FACTORS, "user_id") == old
    assert lfm.main([*flags, "--time-travel", "7"]) == 2
    assert "has no version 7 (any more): the newest is 1" in capsys.readouterr().err


@pytest.mark.slow
def test_an_update_learns_newcomers_and_repeats_to_nothing(
    spark: SparkSession, lake: str, growing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--lake", growing, "--factors", "4", "--epochs", "12", "--lr", "0.1", "--blocks", "2", "--json"]
    assert lfm.main([*flags, "--update"]) == 2
    assert "run lfm first" in capsys.readouterr().err
    assert lfm.main(flags) == 0
    before = {row[0]: row[1:] for row in table(spark, growing, USER_FACTORS, "user_id")}
    _grow(spark, lake, growing)
    assert recommend.main(["--lake", growing, "--top", "3"]) == 0  # newcomers are folded in meanwhile
    folded = {row[4] for row in table(spark, growing, RECOMMENDATIONS, "user_id") if row[0] > 60}
    assert folded == {"latent factors"}
    capsys.readouterr()
    assert lfm.main([*flags, "--update"]) == 0
    updated = summary(capsys)
    after = {row[0]: row[1:] for row in table(spark, growing, USER_FACTORS, "user_id")}
    assert len(after) == 80
    moved = [abs(after[user][0] - before[user][0]) for user in before]
    assert 0 < max(moved) < 0.4  # it went on from the old model
    assert updated["ratings_version"] == 1
    assert lfm.main([*flags, "--update"]) == 0
    assert summary(capsys)["updated"] is False
    assert {row[0]: row[1:] for row in table(spark, growing, USER_FACTORS, "user_id")} == after
    assert lfm.main([*flags, "--update", "--seed", "9"]) == 2
    assert "the model was trained with --seed 0" in capsys.readouterr().err


@pytest.mark.slow
def test_blocks_are_kept_for_the_next_run_and_built_again_when_missing(
    lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--ratings", f"{lake}/ratings", "--lake", str(tmp_path), *QUICK, "--json"]
    found: list[dict] = []
    before: dict[Path, int] = {}
    for more in ([], ["--factors", "3"], ["--seed", "0"]):
        assert lfm.main([*flags, *more]) == 0
        found.append(summary(capsys))
        (data,) = (tmp_path / "_lfm").glob("data-*")
        made = {path: path.stat().st_mtime_ns for path in data.rglob("*.npy")}
        if len(found) == 2:
            assert made == before
            shutil.rmtree(data)
        before = made
    assert found[0]["test_rmse"] == found[2]["test_rmse"]


@pytest.mark.slow
def test_a_spark_that_refuses_checkpoints_is_served_from_scratch(
    no_checkpoints: None, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--ratings", f"{lake}/ratings", "--factors", "2", "--epochs", "1", "--split", "corner:70,30", "--json"]
    assert lfm.main(["--lake", str(tmp_path), *flags]) == 0
    (own,) = (tmp_path / "_lfm").glob(f"{summary(capsys)['run_id']}-*")
    assert sorted(path.name for path in own.iterdir()) == [".lock", ".used", "choice.json", "epoch-1", "progress.json"]


def _epochs(file: Path) -> list[dict]:
    try:
        return json.loads(file.read_text())["history"]
    except FileNotFoundError:
        return []


@pytest.mark.slow
def test_the_seeds_preset_runs_and_can_be_overridden(
    spark: SparkSession, lake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--epochs", "2", "--factors", "30", "--split", "corner:70,30", "--json"]
    few += ["--verbose", "--remote", "sc://host/;token=secret"]  # goes unused: there is a session
    assert lfm.main(["--lake", lake, "--preset", "seed-2018", *few]) == 0
    printed = capsys.readouterr().out
    for line in ("init: uniform:-5,5", "optimizer: adam", "lr: 0.0002", "lr-decay: 0.98", "lr-decay-steps: 50.0"):
        assert f"{line}   (preset seed-2018)" in printed
    assert "factors: 30   (flag)" in printed
    run = json.loads(printed.splitlines()[-1])["run_id"]
    curve = [row[3] for row in table(spark, lake, LFM_METRICS, "epoch") if row[0] == run]
    assert len(curve) == 2
    (stored,) = (row[5] for row in table(spark, lake, LFM_MODELS, "run_id") if row[0] == run)
    assert json.loads(stored)["remote"] == "sc://host/;token=***"
    assert curve[0] > 10  # factors from uniform(-5, 5) start far off


def test_early_stopping_and_schedules(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--early-stop", "1", "--valid", "0.2", "--lr", "0.5", "--lr-schedule", "bold-driver", "--json"]
    assert lfm.main(["--lake", lake, "--factors", "8", "--epochs", "40", "--blocks", "1", *flags]) == 0
    facts = summary(capsys)
    assert facts["epochs"] == facts["kept_epoch"] + 1
    assert facts["valid_rmse"] is not None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--split", "half"], "--split half: must be one of"),
        (["--optimizer", "lbfgs"], "invalid choice: 'lbfgs'"),
        (["--init", "zeros"], "--init zeros: must be normal:SIGMA or uniform:LOW,HIGH"),
        (["--lr", "-1"], "`lr` must be above 0"),
        (["--ratings", "/nowhere"], "no Delta table `ratings` at /nowhere: run ingest_ratings first"),
        (["--optimizer", "sgd", "--lr", "80", "--epochs", "9"], "diverged in epoch"),
        (["--scratch", "hdfs://x/y"], "--scratch hdfs://x/y: blocks need a folder"),
        (["--preset", "seed-1999"], "invalid choice: 'seed-1999'"),
    ],
)
def test_wrong_settings_end_with_2(
    lake: str, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lfm.main(["--lake", lake, *argv]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_ratings_of_the_wrong_shape_are_named(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spark.range(3).withColumnRenamed("id", "user_id").write.format("delta").save(str(tmp_path / "ratings"))
    assert lfm.main(["--lake", str(tmp_path)]) == 2
    assert "column `item_id` is missing" in capsys.readouterr().err


@pytest.mark.connect
def test_recommend_for_named_users_and_strangers(
    trained: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = trained
    (tmp_path / "users").write_text("3\n\n777\n")
    out = str(tmp_path / "out")
    assert (
        recommend.main(["--lake", lake, "--users", str(tmp_path / "users"), "--out", out, "--top", "2", "--json"]) == 0
    )
    printed = capsys.readouterr().out
    assert "user 777 (fallback: item bias, user not in training)" in printed
    assert json.loads(printed.splitlines()[-1])["rows"] == 4
    assert recommend.main(["--lake", lake, "--model", "popular", "--out", out]) == 0


@pytest.mark.parametrize(
    ("users", "message"),
    [("", "no user ids in it"), ("1\nx7\n", "line 2: 'x7' is not a whole number"), (None, "cannot read it")],
)
def test_wrong_users_file_ends_with_2(
    trained: str, tmp_path: Path, users: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "users"
    if users is not None:
        file.write_text(users)
    assert recommend.main(["--lake", trained, "--users", str(file)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_halves_of_two_models_are_not_mixed(
    spark: SparkSession, trained: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, answers = trained, []
    ref = TableRef.find("", USER_FACTORS, lake)
    for n in range(2):
        out = str(tmp_path / f"out{n}")
        assert recommend.main(["--lake", lake, "--top", "2", "--out", out]) == 0
        answers.append(sorted(map(tuple, TableRef(out).frame(spark).collect())))
        TableSink(ref, USER_FACTORS, stamp="another run").write(ref.read(spark, USER_FACTORS).limit(3))
    assert "user_factors was changed by somebody else since it was published" in capsys.readouterr().err
    assert answers[0] == answers[1]


def test_nothing_trained_yet_says_what_to_run(lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recommend.main(["--lake", str(tmp_path), "--ratings", f"{lake}/ratings"]) == 2
    assert "run lfm first" in capsys.readouterr().err

"""tune: what is searched and how, without Spark; and end to end: stopped, resumed, its settings given to lfm."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lake_tables
import numpy as np
import pytest
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import LFM_TRIALS, RATINGS
from lakerank.recommend.data.synthetic import generate_ratings
from lakerank.recommend.latent_factors import build_blocks, tuning
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.store import TrialTable
from lakerank.recommend.latent_factors.train import Epoch, train
from lakerank.recommend.latent_factors.tuning import Range, Trial, best_of
from lakerank.spark.array_store import BlockStore
from spark_jobs import lfm, tune
from spark_jobs.tune import TuneArgs

QUICK = ["--factors", "2:6", "--epochs", "3", "--early-stop", "1", "--blocks", "1", "--split", "random:0.2"]
SPACE = {"lr": Range(0.001, 1.0, log=True), "reg": Range(0.01, 1.0, log=True)}


def loss(config: LfmConfig, epoch: int) -> float:
    """A validation curve with its lowest point at lr 0.1 and reg 0.1 in epoch 5."""
    far = np.log10(config.lr / 0.1) ** 2 + np.log10(config.reg / 0.1) ** 2
    return 0.8 + 0.1 * float(far) + 0.01 * abs(epoch - 5)


def train_by_formula(_: Any, config: LfmConfig, store: BlockStore, on_epoch: Callable[[Epoch], None], data: Any) -> Any:
    for epoch in range(1, config.epochs + 1):
        far = config.lr > 0.6
        on_epoch(Epoch(epoch, config.lr, 1.0, np.inf if far else loss(config, epoch), None, 0.1, 1.0))
        if far:
            raise UserError("training diverged in epoch 1 (train RMSE inf): lower --lr")
    kept = min(range(1, config.epochs + 1), key=lambda epoch: loss(config, epoch))
    return SimpleNamespace(valid_rmse=loss(config, kept), epoch=kept)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[Trial]]:
    """A search of the formula; gives all trials, and checks that each was written when it ended."""
    monkeypatch.setattr(tuning, "train", train_by_formula)

    def search(trials: int, seen: list[Trial] | None = None, seed: int = 0, **changes: Any) -> list[Trial]:
        written: list[tuple[int, str]] = []
        monkeypatch.setattr(
            TrialTable, "write", lambda self, spark, rows, replaced: written.append((rows[0].trial, replaced))
        )
        study = TuneArgs(trials=trials, seed=seed, epochs=10, **changes).study()
        study = dataclasses.replace(study, space=SPACE)
        table = TrialTable(TableRef("nowhere"), "s")
        store = BlockStore.open(str(tmp_path), "--scratch")
        found = tuning.search(study, seen or [], None, store, partial(table.put, None))  # type: ignore[arg-type]
        assert written == [(t.trial, f"trial = {t.trial}") for t in found[len(seen or []) :]]
        return found

    return search


def without_time(trials: list[Trial]) -> list[Trial]:
    return [dataclasses.replace(trial, seconds=0.0) for trial in trials]


def test_a_search_finds_the_best_settings(searched: Callable[..., list[Trial]]) -> None:
    trials = searched(40)
    best = best_of(trials)
    assert best is not None
    assert best.epoch == 5
    assert tuning.final_config(best) == dataclasses.replace(best.config, epochs=5, early_stop=0)
    assert best.valid_rmse == min(t.valid_rmse for t in trials if t.state == "complete")
    assert best.valid_rmse < 0.805
    assert trials[0].config.lr == LfmConfig().lr  # the defaults come first
    # What TPE proposes is nearer to the optimum than what was drawn at random before.
    far = [loss(trial.config, 5) for trial in trials]
    assert np.median(far[tuning.RANDOM_TRIALS :]) < np.median(far[: tuning.RANDOM_TRIALS])


def test_bad_trials_are_stopped_early_and_diverged_ones_recorded(searched: Callable[..., list[Trial]]) -> None:
    trials = searched(40)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    failed = [trial for trial in trials if trial.state == "failed"]
    assert pruned
    assert all(tuning.UNPRUNED_EPOCHS <= len(trial.curve) < 10 for trial in pruned)
    assert failed
    assert all("diverged" in str(t.reason) and (t.valid_rmse, t.epoch, t.curve) == (None, None, []) for t in failed)
    assert all(trial.config.lr > 0.6 for trial in failed)
    assert all(len(trial.curve) == 10 and trial.reason is None for trial in trials if trial.state == "complete")


@pytest.mark.parametrize("stopped_after", [1, 7, 25])
def test_a_resumed_search_has_the_same_trials(searched: Callable[..., list[Trial]], stopped_after: int) -> None:
    whole = searched(30)
    assert without_time(searched(30, whole[:stopped_after])) == without_time(whole)
    assert [trial.params for trial in searched(3, seed=1)][1:] != [trial.params for trial in whole[1:3]]


def test_a_time_limit_ends_a_search_after_the_trial_under_way(searched: Callable[..., list[Trial]]) -> None:
    assert len(searched(1000, timeout=1e-6)) == 1


def test_other_mistakes_than_divergence_end_the_job(
    searched: Callable[..., list[Trial]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_valid(_: Any, config: LfmConfig, store: BlockStore, on_epoch: Callable[[Epoch], None], data: Any) -> None:
        on_epoch(Epoch(1, config.lr, 1.0, None, None, 0.1, 1.0))

    monkeypatch.setattr(tuning, "train", no_valid)
    with pytest.raises(UserError, match="no validation ratings: raise --valid"):
        searched(3)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ratings, as ingest_ratings leaves them."""
    folder = tmp_path_factory.mktemp("lake")
    made = generate_ratings(60, 40, 1500, rank=3, seed=1)
    when = [dt.datetime.fromtimestamp(s, dt.UTC).replace(tzinfo=None) for s in made.seconds.tolist()]
    rows = list(zip((made.users + 1).tolist(), (made.items + 1).tolist(), made.ratings.tolist(), when, strict=True))
    lake_tables.put(TableRef(str(folder / "ratings")), RATINGS, rows)
    return str(folder)


def rows(spark: SparkSession, lake: str, study: str) -> list[tuple[Any, ...]]:
    table = TableRef.find("", LFM_TRIALS, lake).read(spark, LFM_TRIALS).where(f"study = '{study}'").sort("trial")
    return [tuple(row) for row in table.drop("seconds").collect()]


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return facts


@pytest.mark.slow
def test_stopped_and_resumed_and_its_settings_train_the_model_it_tested(
    spark: SparkSession, lake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuning, "RANDOM_TRIALS", 2)
    parts: list[set[str]] = []
    built: list[int] = []

    def watched(ratings: Any, config: LfmConfig, store: BlockStore, *more: Any) -> Any:
        done = train(ratings, config, store, *more)
        parts.append(set(done.ratings.counts))
        return done

    def builder(*args: Any) -> Any:
        built.append(1)
        return make_blocks(*args)

    make_blocks = build_blocks.BlockBuilder.make_blocks
    monkeypatch.setattr(tuning, "train", watched)
    monkeypatch.setattr(build_blocks.BlockBuilder, "make_blocks", builder)
    assert tune.main(["--lake", lake, *QUICK, "--trials", "3", "--json"]) == 0
    facts = summary(capsys)
    whole = rows(spark, lake, facts["study"])
    assert len(whole) == facts["trials"] == 3
    # The search sees no test rating; its trials share one set of blocks, the last training has its own.
    assert parts == [{"train", "valid"}] * 3 + [{"train", "test"}]
    assert len(built) == 2
    assert not list((Path(lake) / "_lfm").iterdir())
    assert (Path(lake) / "tuning" / "trials.png").read_bytes().startswith(b"\x89PNG")

    # The settings file gives the model that was tested.
    assert lfm.main(["--lake", lake, "--conf", f"{lake}/tuning/lfm.yaml", "--json"]) == 0
    trained = summary(capsys)
    assert trained["test_rmse"] == facts["test_rmse"]
    assert trained["epochs"] == facts["best"]["epochs"]

    def stopped(ratings: Any, config: LfmConfig, store: BlockStore, *more: Any) -> Any:
        if len(parts) == 2:  # in the third trial, with an epoch done
            train(ratings, dataclasses.replace(config, epochs=1), store)
            raise KeyboardInterrupt
        return watched(ratings, config, store, *more)

    parts.clear()
    monkeypatch.setattr(tuning, "train", stopped)
    assert tune.main(["--lake", lake, *QUICK, "--trials", "3"]) == 130
    assert rows(spark, lake, facts["study"]) == whole[:2]
    monkeypatch.setattr(tuning, "train", train)
    assert tune.main(["--lake", lake, *QUICK, "--trials", "3", "--json", "--resume"]) == 0
    printed = capsys.readouterr().out
    assert f"study {facts['study']} goes on after 2 trials" in printed
    assert rows(spark, lake, facts["study"]) == whole
    assert json.loads(printed.splitlines()[-1])["test_rmse"] == facts["test_rmse"]


def test_a_search_in_which_all_diverge_says_so(
    spark: SparkSession, lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverging(ratings: Any, config: LfmConfig, store: BlockStore, *more: Any) -> None:
        raise UserError("training diverged in epoch 1 (train RMSE inf)")

    monkeypatch.setattr(tuning, "train", diverging)
    assert tune.main(["--lake", str(tmp_path), "--ratings", f"{lake}/ratings", "--trials", "2", "--resume"]) == 2
    said = capsys.readouterr()
    assert "nothing to resume for these settings and ratings" in said.out
    assert "all 2 trials diverged" in said.err
    table = TableRef.find("", LFM_TRIALS, str(tmp_path)).read(spark, LFM_TRIALS)
    assert [(row["state"], row["valid_rmse"]) for row in table.collect()] == [("failed", None)] * 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--factors", "9:3"], "--factors 9:3: must be a whole number above 0, or LOW:HIGH"),
        (["--split", "half"], "--split half: must be one of"),
        (["--valid", "0"], "`valid` must be between 0 and 1"),
        (["--model", "oracle"], "invalid choice: 'oracle'"),
        (["--ratings", "/nowhere"], "no Delta table `ratings` at /nowhere: run ingest_ratings first"),
        (["--scratch", "hdfs://x/y"], "--scratch hdfs://x/y: blocks need a folder"),
        (["--lake", "main.movies"], "main.movies has no place for them: give --out DIR"),
        (["--out", "hdfs://x/y"], "hdfs://x/y has no place for them: give --out DIR"),
    ],
)
def test_wrong_settings_end_with_2(
    lake: str, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main(["--lake", lake, *argv]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_without_optuna_it_says_what_to_install(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert tune.main([]) == 2
    assert "pip install 'lakerank[tune]'" in capsys.readouterr().err

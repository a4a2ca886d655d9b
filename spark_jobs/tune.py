"""Search for the settings of the latent-factor model that are best on validation ratings, with Optuna.

Reads `ratings`; writes `lfm_trials`, a settings file for the lfm job and a picture of the search. The test
ratings are left out until the best settings are known; then these are trained once and tested. With `--resume` a
search that was stopped goes on from the table, to the same trials. The guide is docs/tuning.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.progress import progress
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.delta_table import TableRef, TableSink, is_catalog_name
from lakerank.lake.schemas import ITEMS, LFM_TRIALS, RATINGS
from lakerank.lake.text_files import has_scheme
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.recommend.latent_factors.search_space import (
    SPACES,
    Range,
    as_yaml,
    default_point,
    parse_factors,
    search_space,
    to_config,
)
from lakerank.recommend.latent_factors.sgd_kernels import OPTIMIZERS
from lakerank.recommend.latent_factors.train import Epoch, LfmConfig, train
from lakerank.report.png_plots import trials_png
from lakerank.spark.array_store import BlockStore
from lakerank.spark.job import run_job

if TYPE_CHECKING:
    import optuna

_POSITIVE: dict[str, Any] = {"check": lambda x: x > 0, "must": "be above 0"}
_NOT_NEGATIVE: dict[str, Any] = {"check": lambda x: x >= 0, "must": "be 0 or more"}
_SHARE: dict[str, Any] = {"check": lambda x: 0 < x < 1, "must": "be between 0 and 1"}

# The first trials are drawn at random and end by themselves; TPE and the pruner need something to compare with.
RANDOM_TRIALS = 10
UNPRUNED_TRIALS = 4
UNPRUNED_EPOCHS = 4  # the first epochs say little about the last


@dataclass(frozen=True)
class TuneArgs(JobArgs):
    """Settings of the tune job."""

    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "folder for lfm.yaml and trials.png (default: `tuning` in the lake)")
    scratch: str = flag("", "folder all workers mount, for rating blocks and models (default: LAKE/_lfm)")
    split: str = flag("random:0.1", "test ratings: random:SHARE, corner:ROW,COLS, time:SHARE, leave-one-out or none")
    valid: float = flag(0.1, "share of the other ratings that trials are judged on", **_SHARE)
    model: str = flag("mf", "whose settings to search", choices=list(SPACES))
    factors: str = flag("16:128", "latent factors K: one number, or LOW:HIGH to search", metavar="K")
    optimizer: str = flag("adagrad", "how steps are scaled", choices=list(OPTIMIZERS))
    trials: int = flag(30, "settings to try, those of a resumed search included", **_POSITIVE)
    timeout: float = flag(0.0, "begin no further trial after so many seconds; 0: no limit", **_NOT_NEGATIVE)
    epochs: int = flag(40, "most passes of a trial over its training ratings", **_POSITIVE)
    early_stop: int = flag(
        3, "end a trial after so many epochs without a better validation RMSE; 0: never", **_NOT_NEGATIVE
    )
    seed: int = flag(0, "of splits, models and search", **_NOT_NEGATIVE)
    blocks: int = flag(0, "user blocks and item blocks; 0: one per core", **_NOT_NEGATIVE)
    resume: bool = flag(False, "go on with the trials in `lfm_trials` of a search with the same settings and ratings")

    def base(self) -> LfmConfig:
        """What all trials have in common."""
        by_sgd = self.model != "bayesian"
        return LfmConfig(
            model=self.model,
            optimizer=self.optimizer,
            epochs=self.epochs,
            early_stop=self.early_stop if by_sgd else 0,
            average=1 if by_sgd else None,  # type: ignore[arg-type]  # samples: the model's own default
            seed=self.seed,
            blocks=self.blocks,
        )


@dataclass(frozen=True)
class Trial:
    """One trial: a row of `lfm_trials` without the study's name.

    Attributes:
        state: complete, pruned or failed.
        params: the point searched.
        config: what was trained.
        valid_rmse, epoch: of the model that `train` kept; of a pruned trial, the best so far.
        curve: validation RMSE after each epoch.
    """

    trial: int
    state: str
    params: dict[str, float]
    config: LfmConfig
    valid_rmse: float | None
    epoch: int | None
    curve: list[float]
    seconds: float
    reason: str | None = None


@dataclass(frozen=True)
class Study:
    """A search and where its results are kept."""

    name: str
    space: Mapping[str, Range]
    base: LfmConfig
    ref: TableRef

    def read(self, spark: SparkSession) -> list[Trial]:
        """The trials in the table, in order."""
        if not self.ref.exists(spark):
            return []
        rows = self.ref.read(spark, LFM_TRIALS).where(F.col("study") == self.name).sort("trial").collect()
        return [
            Trial(
                row["trial"],
                row["state"],
                json.loads(row["params"]),
                LfmConfig(**json.loads(row["settings"])),
                row["valid_rmse"],
                row["epoch"],
                list(row["curve"]),
                row["seconds"],
                row["reason"],
            )
            for row in rows
        ]

    def write(self, spark: SparkSession, trials: Sequence[Trial], replaced: str = "true") -> None:
        """Replace those of this study's rows that match `replaced`."""
        rows = [
            (
                self.name,
                t.trial,
                t.state,
                json.dumps(t.params),
                json.dumps(dataclasses.asdict(t.config)),
                t.valid_rmse,
                t.epoch,
                t.curve,
                t.seconds,
                t.reason,
            )
            for t in trials
        ]
        frame = spark.createDataFrame(rows, LFM_TRIALS.schema())
        TableSink(self.ref, LFM_TRIALS, stamp=self.name).write(frame, f"study = '{self.name}' AND {replaced}")


def study_name(args: TuneArgs, space: Mapping[str, Range], table: Sequence[Any]) -> str:
    """The same search of the same version of a table has the same name, however long it goes on."""
    what = {
        "space": {name: dataclasses.asdict(allowed) for name, allowed in space.items()},
        "base": dataclasses.asdict(args.base()),
        "split": args.split,
        "valid": args.valid,
        "table": list(table),
    }
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]


def ask(study: Study, seen: Sequence[Trial]) -> optuna.Trial:
    """The trial that follows those seen: it depends on them, the seed and nothing else, so a search can be resumed.

    Settings are proposed by the tree-structured Parzen estimator (Bergstra, Bardenet, Bengio and Kégl 2011,
    "Algorithms for hyper-parameter optimization"); the first trial takes the defaults.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.IntDistribution(int(r.low), int(r.high), log=r.log)
        if r.whole
        else optuna.distributions.FloatDistribution(r.low, r.high, log=r.log)
        for name, r in study.space.items()
    }
    seed = int(np.random.SeedSequence([study.base.seed, len(seen)]).generate_state(1)[0])
    search = optuna.create_study(
        sampler=optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=UNPRUNED_EPOCHS),
    )
    for trial in seen:
        # Optuna leaves failed trials out of account, and TPE would go on exploring where training diverges. A pruned
        # trial without a curve is to it the worst there is.
        curve = [] if trial.state == "failed" else trial.curve
        complete = trial.state == "complete"
        search.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED,
                value=trial.valid_rmse if complete else None,
                params=dict(trial.params),
                distributions=distributions,
                intermediate_values=dict(enumerate(curve, start=1)),
            )
        )
    if not seen:
        search.enqueue_trial(default_point(study.space, study.base.model))
    return search.ask(distributions)


def run_trial(study: Study, number: int, asked: optuna.Trial, ratings: DataFrame, store: BlockStore) -> Trial:
    """Train with the settings asked for, as long as it is worth it.

    Raises:
        UserError: what is wrong with the ratings or flags; a trial that diverges is a result.
    """
    import optuna

    begun = time.perf_counter()
    config = to_config(asked.params, study.base)
    curve: list[float] = []

    def on_epoch(epoch: Epoch) -> None:
        if epoch.valid_rmse is None:
            raise UserError("no validation ratings: raise --valid")
        if not np.isfinite(epoch.valid_rmse):
            return  # `train` will say that it diverged
        curve.append(epoch.valid_rmse)
        asked.report(epoch.valid_rmse, epoch.epoch)
        if asked.should_prune():
            raise optuna.TrialPruned

    # All trials have the same rating blocks; what another one left is not for this one to go on with.
    store.drop_where(lambda key: key != "data")
    state, valid_rmse, kept, reason = "complete", None, None, None
    try:
        trained = train(ratings, config, store.below("trial"), on_epoch, store.below("data"))  # all on the same blocks
        valid_rmse, kept = trained.valid_rmse, trained.epoch
    except optuna.TrialPruned:
        state, valid_rmse, kept = "pruned", min(curve), int(np.argmin(curve)) + 1
    except UserError as error:
        if "diverged" not in str(error):
            raise
        state, reason = "failed", str(error)
    seconds = round(time.perf_counter() - begun, 3)
    return Trial(number, state, dict(asked.params), config, valid_rmse, kept, curve, seconds, reason)


def search(
    spark: SparkSession, study: Study, seen: Sequence[Trial], args: TuneArgs, ratings: DataFrame, store: BlockStore
) -> list[Trial]:
    """Try settings until there are `--trials` or `--timeout` is over; each trial is in the table when it ends."""
    trials = list(seen)
    limit = time.monotonic() + args.timeout if args.timeout else float("inf")
    with progress(args.trials, "tuning", "trial") as meter:
        meter.initial = meter.n = len(trials)  # rate and time left are those of the trials to come
        while len(trials) < args.trials and (not trials or time.monotonic() < limit):
            trial = run_trial(study, len(trials) + 1, ask(study, trials), ratings, store)
            study.write(spark, [trial], f"trial = {trial.trial}")
            trials.append(trial)
            best = best_of(trials)
            meter.write(line(trial, best), file=sys.stdout)
            meter.set_postfix_str(f"best {best.valid_rmse:.4f}" if best else "", refresh=False)
            meter.update(1)
    return trials


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial with the lowest RMSE, the earliest of equals."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return min(complete, key=lambda trial: (trial.valid_rmse or 0.0, trial.trial), default=None)


def line(trial: Trial, best: Trial | None) -> str:
    """How a trial went, for people."""
    settings = " ".join(f"{name} {value:.3g}" for name, value in trial.params.items())
    reached = "" if trial.valid_rmse is None else f", valid RMSE {trial.valid_rmse:.4f} in epoch {trial.epoch}"
    mark = "  <- best" if trial is best else ""
    return f"trial {trial.trial}: {trial.state}{reached} ({trial.seconds:.1f} s): {settings}{mark}"


def tested(best: Trial, parts: DataFrame, store: BlockStore) -> float | None:
    """Test RMSE of the best settings, trained on everything but the test ratings for the best number of epochs."""
    store.drop_where(lambda _: True)  # its blocks have other parts
    return train(parts, final_config(best), store).test_rmse


def final_config(best: Trial) -> LfmConfig:
    """What the lfm job is to train: the validation ratings are training ratings then, so nothing stops it early."""
    return dataclasses.replace(best.config, epochs=best.epoch or 0, early_stop=0)


def run(spark: SparkSession, args: TuneArgs) -> dict[str, Any]:
    """Read ratings, split, search, test the best, write."""
    begun = time.perf_counter()
    _require_optuna()
    out = _out_folder(args)
    split = Split.parse(args.split)
    space = search_space(args.model, args.optimizer, parse_factors(args.factors))
    ref = TableRef.find(args.ratings, RATINGS, args.lake)
    ratings = ref.read(spark, RATINGS)
    name = study_name(args, space, [ref.identity(spark), ref.version(spark)])
    study = Study(name, space, args.base(), TableRef.find("", LFM_TRIALS, args.lake))
    store = _open_store(args, name)
    items_ref = TableRef.find("", ITEMS, args.lake)
    items = items_ref.read(spark, ITEMS) if items_ref.exists(spark) else ratings.select("item_id").distinct()

    seen = study.read(spark)[: args.trials] if args.resume else []
    if seen:
        print(f"tune: study {name} goes on after {len(seen)} trials")
    else:
        if args.resume:
            print(f"tune: nothing to resume for these settings and ratings (study {name}): starting anew")
        study.write(spark, [])
    parts = split_ratings(ratings, items, split, args.seed, args.valid, store.root)
    trials = search(spark, study, seen, args, parts.where(F.col("part") != "test"), store)
    best = best_of(trials)
    if best is None:
        raise UserError(f"all {len(trials)} trials diverged: see `reason` in {study.ref.location}; try --optimizer")
    final = split_ratings(ratings, items, split, args.seed, scratch=store.root)
    test_rmse = tested(best, final, store) if split.kind != "none" else None
    store.drop("")  # the folder itself

    settings = as_yaml(
        final_config(best), args.split, f"Best of {len(trials)} trials, study {name}, valid RMSE {best.valid_rmse:.4f}"
    )
    _write_file(out / "lfm.yaml", settings.encode())
    points = {key: [trial.params[key] for trial in trials] for key, r in space.items() if r.low < r.high}
    picture = trials_png(
        [trial.state for trial in trials],
        [trial.valid_rmse for trial in trials],
        points,
        [key for key, allowed in space.items() if allowed.log],
    )
    _write_file(out / "trials.png", picture)
    counts = {state: sum(trial.state == state for trial in trials) for state in ("pruned", "failed")}
    print(settings, end="")
    print(
        f"tune: study {name}: {len(trials)} trials ({counts['pruned']} pruned, {counts['failed']} failed), best: trial "
        f"{best.trial}, valid RMSE {best.valid_rmse:.4f}"
        + (f", test RMSE {test_rmse:.4f}" if test_rmse is not None else "")
    )
    print(f"tune: spark-submit spark_jobs/lfm.py --lake {args.lake} --conf {out / 'lfm.yaml'}")
    print(f"tune: {out / 'trials.png'}")
    return {
        "study": name,
        "best": dataclasses.asdict(final_config(best)),
        "trials": len(trials),
        **counts,
        "valid_rmse": best.valid_rmse,
        "test_rmse": test_rmse,
        "seconds": round(time.perf_counter() - begun, 3),
    }


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UserError(f"tuning needs Optuna ({error}): pip install 'lakerank[tune]'") from error


def _open_store(args: TuneArgs, name: str) -> BlockStore:
    """The study's own folder, empty: what is worth keeping is in the table."""
    if not args.scratch and is_catalog_name(args.lake):
        raise UserError(f"--lake {args.lake} is no folder: give --scratch DIR, a folder that all workers mount")
    folder = args.scratch or f"{args.lake.rstrip('/')}/_lfm"
    store = BlockStore.open(folder, "--scratch" if args.scratch else "--lake").below(f"tune-{name}")
    store.drop_where(lambda _: True)
    return store


def _out_folder(args: TuneArgs) -> Path:
    """Where the two files go.

    Raises:
        UserError: the lake is no local folder and `--out` is not given.
    """
    if has_scheme(args.out) or (not args.out and (is_catalog_name(args.lake) or has_scheme(args.lake))):
        raise UserError(f"lfm.yaml and trials.png are local files and {args.out or args.lake} is not: give --out DIR")
    return Path(args.out) if args.out else Path(args.lake.removeprefix("file:")) / "tuning"


def _write_file(path: Path, content: bytes) -> None:
    """Write a file in one step.

    Raises:
        UserError: it cannot be written.
    """
    fresh = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.write_bytes(content)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot write it ({os.strerror(error.errno or 0)}); choose another --out") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return run_job(run, TuneArgs, "tune", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

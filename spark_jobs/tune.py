"""Search for the settings of the latent-factor model that are best on validation ratings, with Optuna.

Reads `ratings`; writes `lfm_trials`, a settings file for the lfm job and a plot of the search. The test ratings are
left out until the best settings are known; then these are trained once and tested. With `--resume` a search that was
stopped goes on from the table, to the same trials. The guide is docs/tuning.md.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from lakerank.cli.settings import NOT_NEGATIVE, POSITIVE, PROPER_FRACTION, JobArgs, flag
from lakerank.lake.publications import Publications
from lakerank.recommend.latent_factors import tuning
from lakerank.recommend.latent_factors.config import OPTIMIZERS
from lakerank.recommend.latent_factors.store import RatingsSource, TrialTable, open_scratch, study_name, tuning_folder
from lakerank.report.png_plots import trials_png
from lakerank.spark.array_cache import own_folder
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class TuneArgs(JobArgs):
    """Settings of the tune job."""

    AFTER_STOP = "--resume goes on after the finished trials; the same command without it begins anew and removes them"

    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "folder for lfm.yaml and trials.png (default: `tuning` in the lake)")
    scratch: str = flag(
        "", "folder all workers reach, also in an object store, for rating blocks and models (default: LAKE/_lfm)"
    )
    split: str = flag(
        "random:0.1", "test ratings: random:SHARE, user:SHARE, corner:ROW,COLS, time:SHARE, leave-one-out or none"
    )
    train: str = flag("", "table or file of training ratings, instead of --ratings")
    test: str = flag("", "table or file of test ratings, instead of --split; they are left out of --ratings")
    valid: float = flag(
        0.1,
        "share of the other ratings that trials are judged on",
        within=PROPER_FRACTION,
    )
    model: str = flag("mf", "whose settings to search", choices=list(tuning.SPACES))
    factors: str = flag("16:128", "latent factors K: one number, or LOW:HIGH to search", metavar="K")
    optimizer: str = flag("adagrad", "how steps are scaled", choices=list(OPTIMIZERS))
    trials: int = flag(30, "settings to try, those of a resumed search included", within=POSITIVE)
    timeout: float = flag(0.0, "begin no further trial after so many seconds; 0: no limit", within=NOT_NEGATIVE)
    epochs: int = flag(40, "most passes of a trial over its training ratings", within=POSITIVE)
    early_stop: int = flag(
        3, "end a trial after so many epochs without a better validation RMSE; 0: never", within=NOT_NEGATIVE
    )
    seed: int = flag(0, "of splits, models and search", within=NOT_NEGATIVE)
    blocks: int = flag(0, "user blocks and item blocks; 0: one per core", within=NOT_NEGATIVE)
    resume: bool = flag(False, "go on with the trials in `lfm_trials` of a search with the same settings and ratings")

    def study(self) -> tuning.Study:
        """Return the study: the search space, the settings in common, the number of trials and the time limit."""
        base = tuning.common_config(
            self.model, self.optimizer, self.epochs, self.early_stop, seed=self.seed, blocks=self.blocks
        )
        space = tuning.search_space(self.model, self.optimizer, tuning.parse_factors(self.factors))
        return tuning.Study(space, base, self.trials, self.timeout)


def run(spark: SparkSession, args: TuneArgs) -> dict[str, Any]:
    """Read ratings, search, test the best, write."""
    begun = time.perf_counter()
    tuning.require_optuna()
    out, study = tuning_folder(args.lake, args.out), args.study()
    source = RatingsSource.find(
        Publications.read(args.lake, lambda: spark), args.ratings, args.split, args.seed, args.valid,
        train=args.train, test=args.test,
    )  # fmt: skip
    name = study_name(spark, study, source)
    table = TrialTable.find(args.lake, name)
    scratch = open_scratch(args.lake, args.scratch)
    seen = table.read(spark)[: args.trials] if args.resume else []
    if seen:
        print(f"tune: study {name} goes on after {len(seen)} trials")
    else:
        if args.resume:
            print(f"tune: nothing to resume for these settings and ratings (study {name}): starting anew")
        table.clear(spark)
    with own_folder(scratch, f"tune-{name}") as store:  # what is worth keeping is in the table
        ratings = source.read(spark, store.root).where("part != 'test'")
        trials = tuning.search(study, seen, ratings, store, partial(table.put, spark))
        best = tuning.best_of(trials)
        if best is None:
            raise UserError(f"all {len(trials)} trials diverged: see `reason` in {table.ref.location}; try --optimizer")
        test_rmse = None
        if args.test or args.split != "none":
            test_rmse = tuning.score_best(best, dataclasses.replace(source, valid=0.0).read(spark, store.root), store)

    config = tuning.final_config(best)
    comment = f"Best of {len(trials)} trials, study {name}, valid RMSE {best.valid_rmse:.4f}"
    settings = tuning.as_yaml(config, args.split, comment)
    write_file(f"{out}/lfm.yaml", settings.encode(), "--out")
    write_file(f"{out}/trials.png", trials_png(*tuning.plot_columns(study, trials)), "--out")
    counts = {state: sum(trial.state == state for trial in trials) for state in ("pruned", "failed")}
    print(settings, end="")
    print(
        f"tune: study {name}: {len(trials)} trials ({counts['pruned']} pruned, {counts['failed']} failed), best: trial "
        f"{best.trial}, valid RMSE {best.valid_rmse:.4f}"
        + (f", test RMSE {test_rmse:.4f}" if test_rmse is not None else "")
    )
    print(f"tune: spark-submit spark_jobs/lfm.py --lake {args.lake} --conf {out}/lfm.yaml")
    print(f"tune: {out}/trials.png")
    return {
        "study": name,
        "best": dataclasses.asdict(config),
        "trials": len(trials),
        **counts,
        "valid_rmse": best.valid_rmse,
        "test_rmse": test_rmse,
        "seconds": round(time.perf_counter() - begun, 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_job(run, TuneArgs, "tune", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Train a latent-factor model on the ratings table, by distributed SGD or Gibbs sampling.

Reads `ratings`; writes `user_factors`, `item_factors`, `lfm_models` and `lfm_metrics`. Each finished epoch is
kept in a scratch folder, so `--resume` goes on where a killed run stopped. The guide is docs/lfm.md.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.settings import FRACTION_BELOW_ONE, NOT_NEGATIVE, POSITIVE, JobArgs, flag
from lakerank.lake.publications import Publications
from lakerank.recommend.latent_factors.config import PRESETS, LfmConfig
from lakerank.recommend.latent_factors.store import (
    RatingsSource,
    open_scratch,
    plan_run,
    plan_update,
    refit_run,
    train_run,
    write_run,
)
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class LfmArgs(LfmConfig, JobArgs):
    """Settings of the lfm job: those of training, and what is read, kept and written."""

    AFTER_STOP = "--resume goes on after the last epoch; without it the same command begins anew and removes the epochs"

    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "folder or catalog.schema for the tables written (default: the lake)")
    scratch: str = flag(
        "", "folder all workers reach, also in an object store, for rating blocks and checkpoints (default: LAKE/_lfm)"
    )
    scratch_limit: float = flag(20.0, "GB that blocks and checkpoints of earlier runs may take", within=NOT_NEGATIVE)
    split: str = flag("random:0.1", "random:SHARE, user:SHARE, corner:ROW,COLS, time:SHARE, leave-one-out or none")
    train: str = flag("", "table or file of training ratings, instead of --ratings")
    test: str = flag("", "table or file of test ratings, instead of --split; they are left out of --ratings")
    valid: float = flag(
        0.05,
        "share of the training ratings for validation, used with --early-stop",
        within=FRACTION_BELOW_ONE,
    )
    resume: bool = flag(False, "go on from the last finished epoch of a run with the same settings and table")
    time_travel: int | None = flag(
        None, "train on this version of the ratings table (default: the newest)", within=NOT_NEGATIVE
    )
    refit: bool = flag(
        False,
        "after measuring, store a model that is trained on all ratings, test ratings too; costs one training more",
    )
    update: bool = flag(False, "go on from the model in the lake with what the ratings table has gained since")
    update_epochs: int = flag(3, "passes of an update", within=POSITIVE)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Return the presets of `config`."""
        return PRESETS

    def config(self) -> LfmConfig:
        """Return the settings of training alone."""
        return LfmConfig.from_mapping(dataclasses.asdict(self))


def run(spark: SparkSession, args: LfmArgs) -> dict[str, Any]:
    """Read ratings, train, write."""
    begun = time.perf_counter()
    if args.refit and args.update:
        raise UserError("--refit goes with a training: an update of a model that has seen all ratings sees all, too")
    published = Publications.read(args.lake, lambda: spark)
    source = RatingsSource.find(
        published, args.ratings, args.split, args.seed, args.valid, train=args.train, test=args.test
    )
    scratch = open_scratch(args.lake, args.scratch)
    if args.update:
        plan = plan_update(
            spark,
            Publications.read(args.out, lambda: spark) if args.out else published,
            args.update_epochs,
            args.blocks,
            source,
            scratch,
            args.resume,
            args.time_travel,
        )
    else:
        plan = plan_run(spark, args.config(), source, scratch, args.resume, args.time_travel)
    table = source.ratings.location
    if plan.base is not None and plan.is_up_to_date:
        print(f"lfm: the model is of version {plan.version} of {table} already: nothing to do")
        return {"run_id": plan.base.run_id, "updated": False, "ratings_version": plan.version}
    if args.resume and args.time_travel is None and plan.version != plan.newest:
        print(f"lfm: going on with version {plan.version} of {table} (the newest is {plan.newest})")
    if args.resume and not plan.is_begun:
        print(f"lfm: nothing to resume for these settings and ratings (run {plan.run_id}): starting anew")
    with closing(plan):
        trained = train_run(spark, plan)
        refit = refit_run(spark, plan, trained) if args.refit else None
        write_run(spark, args.out or args.lake, plan, trained, args.shown(), refit)
    for name in plan.trim(args.scratch_limit * 1e9):
        print(f"lfm: removed {name} from {scratch.root}: --scratch-limit {args.scratch_limit:g} GB")
    print(
        f"lfm: run {plan.run_id}: epoch {trained.epoch}, {trained.described()}"
        + (f" (resumed after epoch {trained.resumed_from})" if trained.resumed_from else "")
        + ("; stored is a model that was trained on all ratings, for as long" if args.refit else "")
    )
    return {
        "run_id": plan.run_id,
        "model": plan.config.model,
        "ratings_version": plan.version,
        "train_rmse": trained.train_rmse,
        "valid_rmse": trained.valid_rmse,
        "test_rmse": trained.test_rmse,
        "test_ndcg": trained.kept.test_ndcg if trained.kept else None,
        "epochs": len(trained.history),
        "kept_epoch": trained.epoch,
        "reg": trained.config.reg,
        "lr": trained.config.lr,
        "refit": args.refit,
        "resumed_from": trained.resumed_from,
        "seconds": round(time.perf_counter() - begun, 3),
        "updates_per_second": round(max((epoch.updates_per_second for epoch in trained.history), default=0.0)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_job(run, LfmArgs, "lfm", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

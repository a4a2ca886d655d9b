"""Train a latent-factor model on the ratings table by distributed SGD.

Reads `ratings`; writes `user_factors`, `item_factors`, `lfm_models` and `lfm_metrics`. Each finished epoch is
kept in a scratch folder, so `--resume` goes on where a killed run stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.args import JobArgs, flag
from spark_jobs.lake.blocks import BlockStore
from spark_jobs.lake.contracts import ITEM_FACTORS, ITEMS, LFM_METRICS, LFM_MODELS, RATINGS, USER_FACTORS
from spark_jobs.lake.errors import UserError
from spark_jobs.lake.job import run_job
from spark_jobs.lake.lineage import CUT
from spark_jobs.lake.tables import TableRef, TableSink, is_catalog_name
from spark_jobs.recsys.models.kernels import OPTIMIZERS
from spark_jobs.recsys.models.lfm import LfmConfig, Trained, train
from spark_jobs.recsys.splits import Split, split_ratings

_POSITIVE: dict[str, Any] = {"check": lambda x: x > 0, "must": "be above 0"}
_NOT_NEGATIVE: dict[str, Any] = {"check": lambda x: x >= 0, "must": "be 0 or more"}
_SHARE: dict[str, Any] = {"check": lambda x: 0 <= x < 1, "must": "be at least 0 and below 1"}
_DEFAULT = LfmConfig()


@dataclass(frozen=True)
class LfmArgs(JobArgs):
    """Settings of the lfm job; those of training are `LfmConfig`'s."""

    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "folder or catalog.schema for the tables written (default: the lake)")
    scratch: str = flag("", "folder all workers mount, for rating blocks and checkpoints (default: LAKE/_lfm)")
    split: str = flag("random:0.1", "random:SHARE, corner:ROW,COLS, time:SHARE, leave-one-out or none")
    valid: float = flag(0.05, "share of the training ratings for validation, used with --early-stop", **_SHARE)
    factors: int = flag(_DEFAULT.factors, "latent factors K", **_POSITIVE)
    epochs: int = flag(_DEFAULT.epochs, "passes over the training ratings", **_NOT_NEGATIVE)
    optimizer: str = flag(_DEFAULT.optimizer, "how steps are scaled", choices=list(OPTIMIZERS))
    lr: float = flag(_DEFAULT.lr, "learning rate", **_POSITIVE)
    lr_schedule: str = flag("constant", "how it changes", choices=["constant", "exponential", "bold-driver"])
    lr_decay: float = flag(_DEFAULT.lr_decay, "exponential: factor per --lr-decay-steps epochs", **_POSITIVE)
    lr_decay_steps: float = flag(_DEFAULT.lr_decay_steps, "exponential: epochs per decay", **_POSITIVE)
    reg: float = flag(_DEFAULT.reg, "L2 weight of factors, per rating", **_NOT_NEGATIVE)
    reg_bias: float = flag(_DEFAULT.reg_bias, "L2 weight of biases, per rating", **_NOT_NEGATIVE)
    bias: bool = flag(True, "learn the mean and the biases")
    init: str = flag(_DEFAULT.init, "first factors: normal:SIGMA (over sqrt K) or uniform:LOW,HIGH")
    seed: int = flag(0, "of split, first factors and visiting order", **_NOT_NEGATIVE)
    early_stop: int = flag(0, "stop after so many epochs without a better validation RMSE; 0: never", **_NOT_NEGATIVE)
    blocks: int = flag(0, "user blocks and item blocks; 0: one per core", **_NOT_NEGATIVE)
    resume: bool = flag(False, "go on from the last finished epoch of a run with the same settings and ratings")

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """`seed-2018`: the settings of the report this project grew from; one iteration is one epoch here."""
        return {
            "seed-2018": {
                "factors": 1000,
                "epochs": 10_000,
                "init": "uniform:-5,5",
                "optimizer": "adam",
                "lr": 2e-4,
                "lr_schedule": "exponential",
                "lr_decay": 0.98,
                "lr_decay_steps": 50,
                "reg": 0.0,
                "bias": False,
                "split": "corner:133493,1000",
            }
        }

    def config(self) -> LfmConfig:
        """The settings of training alone."""
        return LfmConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(LfmConfig)})


def run_id(args: LfmArgs, ratings: DataFrame) -> str:
    """Name of a run: the same settings (but for --epochs) on the same ratings have the same name."""
    facts = ratings.agg(
        F.count("*").alias("n"),
        F.bit_xor(F.xxhash64("user_id", "item_id", "rating", "rated_at")).alias("hash"),
    ).first()
    settings = dataclasses.asdict(args.config()) | {
        "split": args.split,
        "valid": args.valid,
        "data": list(facts or ()),
    }
    del settings["epochs"]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def run(spark: SparkSession, args: LfmArgs) -> dict[str, Any]:
    """Read ratings, split, train, write."""
    begun = time.perf_counter()
    split = Split.parse(args.split)
    ratings = TableRef.find(args.ratings, RATINGS, args.lake).read(spark, RATINGS)
    name = run_id(args, ratings)
    store = _open_store(args, name)
    items_ref = TableRef.find("", ITEMS, args.lake)
    items = items_ref.read(spark, ITEMS) if items_ref.exists(spark) else ratings.select("item_id").distinct()
    parts = split_ratings(ratings, items, split, args.seed, args.valid if args.early_stop else 0.0, store.root)

    trained = train(parts, args.config(), store)
    _write(spark, args, name, trained)
    # These are rebuilt from the table, the same, when a run is continued.
    store.drop_where(lambda name: name in ("ratings", "blocks.json") or name.startswith(CUT))
    print(
        f"lfm: run {name}: epoch {trained.epoch}, train RMSE {trained.train_rmse:.4f}"
        + (f", test RMSE {trained.test_rmse:.4f}" if trained.test_rmse is not None else "")
        + (f" (resumed after epoch {trained.resumed_from})" if trained.resumed_from else "")
    )
    speed = max((epoch.updates_per_second for epoch in trained.history), default=0.0)
    return {
        "run_id": name,
        "train_rmse": trained.train_rmse,
        "valid_rmse": trained.valid_rmse,
        "test_rmse": trained.test_rmse,
        "epochs": len(trained.history),
        "kept_epoch": trained.epoch,
        "resumed_from": trained.resumed_from,
        "seconds": round(time.perf_counter() - begun, 3),
        "updates_per_second": round(speed),
    }


def _open_store(args: LfmArgs, name: str) -> BlockStore:
    """The run's own folder; emptied unless it is to be resumed."""
    if not args.scratch and is_catalog_name(args.lake):
        raise UserError(f"--lake {args.lake} is no folder: give --scratch DIR, a folder that all workers mount")
    folder = args.scratch or f"{args.lake.rstrip('/')}/_lfm"
    store = BlockStore.open(folder, "--scratch" if args.scratch else "--lake").below(name)
    if not args.resume:
        store.drop_where(lambda _: True)
    elif store.noted("progress.json") is None:
        print(f"lfm: nothing to resume for these settings and ratings (run {name}): starting anew")
    return store


def _write(spark: SparkSession, args: LfmArgs, name: str, trained: Trained) -> None:
    out = args.out or args.lake

    def sink(relation: Any) -> TableSink:
        return TableSink(TableRef.find("", relation, out), relation, stamp=name)

    model = (
        name,
        trained.mean,
        trained.low,
        trained.high,
        trained.epoch,
        json.dumps(args.shown()),
    )
    curve = [(name, *dataclasses.astuple(epoch)) for epoch in trained.history]
    metrics = spark.createDataFrame(
        [(n, e, lr, tr, va, te, s, ups) for n, e, lr, tr, va, te, s, ups in curve], LFM_METRICS.schema()
    )
    own = f"run_id = '{name}'"
    sink(LFM_METRICS).write(metrics, replace_where=own)
    sink(LFM_MODELS).write(spark.createDataFrame([model], LFM_MODELS.schema()), replace_where=own)
    sink(ITEM_FACTORS).write(trained.item_factors)
    sink(USER_FACTORS).write(trained.user_factors)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return run_job(run, LfmArgs, "lfm", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Train a latent-factor model on the ratings table, by distributed SGD or Gibbs sampling.

Reads `ratings`; writes `user_factors`, `item_factors`, `lfm_models` and `lfm_metrics`. Each finished epoch is
kept in a scratch folder, so `--resume` goes on where a killed run stopped. The guide is docs/lfm.md.
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

from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.delta_table import TableRef, TableSink, is_catalog_name
from lakerank.lake.schemas import ITEMS, LFM_METRICS, LFM_MODELS, RATINGS
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.recommend.latent_factors.config import IMPLICIT, MODELS, LfmConfig, model_defaults
from lakerank.recommend.latent_factors.latent import SPEC, LatentFactors
from lakerank.recommend.latent_factors.sgd_kernels import OPTIMIZERS
from lakerank.recommend.latent_factors.train import Trained, train
from lakerank.recommend.latent_factors.warm_start import Known, WarmStart
from lakerank.recommend.models.lfm_store import StoredModel, read_model
from lakerank.recommend.models.store import save_model
from lakerank.spark.array_cache import trim, used
from lakerank.spark.array_store import BlockStore
from lakerank.spark.checkpoint import CUT
from lakerank.spark.job import run_job

_POSITIVE: dict[str, Any] = {"check": lambda x: x > 0, "must": "be above 0"}
_NOT_NEGATIVE: dict[str, Any] = {"check": lambda x: x >= 0, "must": "be 0 or more"}
_SHARE: dict[str, Any] = {"check": lambda x: 0 <= x < 1, "must": "be at least 0 and below 1"}
_DEFAULT = LfmConfig()
UPDATED_MODELS = ("mf", "svdpp")  # time effects and samples do not go on from the factor tables alone


def _by_model(name: str) -> str:
    return "default: " + ", ".join(f"{model} {settings[name]}" for model, settings in MODELS.items())


@dataclass(frozen=True)
class LfmArgs(JobArgs):
    """Settings of the lfm job; those of training are `LfmConfig`'s."""

    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "folder or catalog.schema for the tables written (default: the lake)")
    scratch: str = flag("", "folder all workers mount, for rating blocks and checkpoints (default: LAKE/_lfm)")
    scratch_limit: float = flag(20.0, "GB that blocks and checkpoints of earlier runs may take there", **_NOT_NEGATIVE)
    split: str = flag("random:0.1", "random:SHARE, corner:ROW,COLS, time:SHARE, leave-one-out or none")
    valid: float = flag(0.05, "share of the training ratings for validation, used with --early-stop", **_SHARE)
    model: str = flag(_DEFAULT.model, "what to train", choices=list(MODELS))
    factors: int = flag(None, f"latent factors K ({_by_model('factors')})", **_POSITIVE)
    epochs: int = flag(None, f"passes over the training ratings ({_by_model('epochs')})", **_NOT_NEGATIVE)
    average: int = flag(None, f"mean of so many runs, or samples ({_by_model('average')})", **_POSITIVE)
    implicit: str = flag(None, f"sides with implicit feedback ({_by_model('implicit')})", choices=list(IMPLICIT))
    time: bool = flag(None, f"effects of the time of a rating ({_by_model('time')})")
    burn_in: int = flag(_DEFAULT.burn_in, "bayesian: sweeps before the first sample", **_NOT_NEGATIVE)
    optimizer: str = flag(_DEFAULT.optimizer, "how steps are scaled", choices=list(OPTIMIZERS))
    lr: float = flag(_DEFAULT.lr, "learning rate", **_POSITIVE)
    lr_schedule: str = flag("constant", "how it changes", choices=["constant", "exponential", "bold-driver"])
    lr_decay: float = flag(_DEFAULT.lr_decay, "exponential: factor per --lr-decay-steps epochs", **_POSITIVE)
    lr_decay_steps: float = flag(_DEFAULT.lr_decay_steps, "exponential: epochs per decay", **_POSITIVE)
    reg: float = flag(_DEFAULT.reg, "L2 weight of factors, per rating", **_NOT_NEGATIVE)
    reg_bias: float = flag(_DEFAULT.reg_bias, "L2 weight of biases, per rating", **_NOT_NEGATIVE)
    reg_implicit: float = flag(_DEFAULT.reg_implicit, "L2 weight of implicit factors", **_POSITIVE)
    reg_time: float = flag(_DEFAULT.reg_time, "ratings without effect added to each time effect", **_POSITIVE)
    time_bins: int = flag(_DEFAULT.time_bins, "parts an item's time is divided into", **_POSITIVE)
    bias: bool = flag(True, "learn the mean and the biases")
    init: str = flag(_DEFAULT.init, "first factors: normal:SIGMA (over sqrt K) or uniform:LOW,HIGH")
    seed: int = flag(0, "of split, first factors, visiting order and samples", **_NOT_NEGATIVE)
    early_stop: int = flag(0, "stop after so many epochs without a better validation RMSE; 0: never", **_NOT_NEGATIVE)
    blocks: int = flag(0, "user blocks and item blocks; 0: one per core", **_NOT_NEGATIVE)
    resume: bool = flag(False, "go on from the last finished epoch of a run with the same settings and table")
    time_travel: int | None = flag(
        None, "train on this version of the ratings table (default: the newest)", **_NOT_NEGATIVE
    )
    update: bool = flag(False, "go on from the model in the lake with what the ratings table has gained since")
    update_epochs: int = flag(3, "passes of an update", **_POSITIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        model_defaults(self)

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


@dataclass(frozen=True)
class Plan:
    """What is trained, on which version of the table, and under which names it is kept."""

    config: LfmConfig
    version: int
    run_id: str
    data_id: str
    base: StoredModel | None = None


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]


def plan(spark: SparkSession, args: LfmArgs, ratings: TableRef, items: TableRef, scratch: BlockStore) -> Plan:
    """Name the run: the same settings (of SGD, but for --epochs) on the same table and version have the same name.

    With --resume the version is the one that the run began with, whatever has been written to the table since.
    """
    if not ratings.exists(spark):
        ratings.read(spark, RATINGS)  # says what is missing
    newest, config, base = ratings.version(spark), args.config(), None
    version = newest if args.time_travel is None else args.time_travel
    split: dict[str, Any] = {"split": args.split, "seed": args.seed, "valid": args.valid if args.early_stop else 0.0}
    split["table"] = ratings.identity(spark)
    if args.split.startswith("corner") and items.exists(spark):
        split["items"] = [items.identity(spark), items.version(spark)]
    settings = dataclasses.asdict(config)
    if args.update:
        base = _base(spark, args, ratings)
        config = dataclasses.replace(_config_of(base), epochs=args.update_epochs, blocks=args.blocks)
        settings = {"base": base.run_id, "epochs": args.update_epochs}
    elif not config.bayesian:
        del settings["epochs"]  # a run with more epochs goes on from one with fewer
    name = _digest([settings, split])
    if args.resume and args.time_travel is None:
        begun = [int(key.removeprefix(f"{name}-v")) for key in scratch.keys("") if key.startswith(f"{name}-v")]
        if begun and max(begun) != newest:
            version = max(begun)
            print(f"lfm: going on with version {version} of {ratings.location} (the newest is {newest})")
    return Plan(config, version, f"{name}-v{version}", f"data-{_digest(split)}-v{version}", base)


def _config_of(model: StoredModel) -> LfmConfig:
    fields = {field.name for field in dataclasses.fields(LfmConfig)}
    return LfmConfig(**{key: value for key, value in model.settings.items() if key in fields})


def _base(spark: SparkSession, args: LfmArgs, ratings: TableRef) -> StoredModel:
    """The model to update.

    Raises:
        UserError: there is none, it was trained on another table or split, or is of a kind that cannot go on.
    """
    base = read_model(spark, args.out or args.lake)
    if base.row["model"] not in UPDATED_MODELS:
        raise UserError(f"--update goes with {' and '.join(UPDATED_MODELS)}, not {base.row['model']}: train it anew")
    if base.row["ratings"] != ratings.location:
        raise UserError(f"--update: the model was trained on {base.row['ratings']}, not on {ratings.location}")
    for name in ("split", "seed"):
        if base.settings[name] != getattr(args, name):
            raise UserError(
                f"--update: the model was trained with --{name} {base.settings[name]}; with another, ratings that it "
                "was tested on would be trained on"
            )
    return base


def run(spark: SparkSession, args: LfmArgs) -> dict[str, Any]:
    """Read ratings, split, train, write."""
    begun = time.perf_counter()
    split = Split.parse(args.split)
    ratings_ref = TableRef.find(args.ratings, RATINGS, args.lake)
    items_ref = TableRef.find("", ITEMS, args.lake)
    scratch = _open_scratch(args)
    what = plan(spark, args, ratings_ref, items_ref, scratch)
    if what.base is not None and what.base.row["ratings_version"] == what.version:
        print(f"lfm: the model is of version {what.version} of {ratings_ref.location} already: nothing to do")
        return {"run_id": what.base.run_id, "updated": False, "ratings_version": what.version}
    data, store = used(scratch.below(what.data_id)), used(scratch.below(what.run_id))
    if not args.resume:
        store.drop_where(lambda _: True)
    elif store.read_json("progress.json") is None:
        print(f"lfm: nothing to resume for these settings and ratings (run {what.run_id}): starting anew")

    ratings = ratings_ref.read(spark, RATINGS, what.version)
    items = items_ref.read(spark, ITEMS) if items_ref.exists(spark) else ratings.select("item_id").distinct()
    valid = args.valid if what.config.early_stop else 0.0
    parts = split_ratings(ratings, items, split, args.seed, valid, store.root)
    trained = train(parts, what.config, store, data=data, warm=_warm(what.base))
    _write(spark, args, what, ratings_ref, trained)

    store.drop_where(lambda name: name.startswith(CUT) or name == "warm")
    for name in trim(scratch, args.scratch_limit * 1e9, {what.data_id, what.run_id}):
        print(f"lfm: removed {name} from {scratch.root}: --scratch-limit {args.scratch_limit:g} GB")
    print(
        f"lfm: run {what.run_id}: epoch {trained.epoch}, train RMSE {trained.train_rmse:.4f}"
        + (f", test RMSE {trained.test_rmse:.4f}" if trained.test_rmse is not None else "")
        + (f" (resumed after epoch {trained.resumed_from})" if trained.resumed_from else "")
    )
    return {
        "run_id": what.run_id,
        "model": what.config.model,
        "ratings_version": what.version,
        "train_rmse": trained.train_rmse,
        "valid_rmse": trained.valid_rmse,
        "test_rmse": trained.test_rmse,
        "epochs": len(trained.history),
        "kept_epoch": trained.epoch,
        "resumed_from": trained.resumed_from,
        "seconds": round(time.perf_counter() - begun, 3),
        "updates_per_second": round(max((epoch.updates_per_second for epoch in trained.history), default=0.0)),
    }


def _warm(base: StoredModel | None) -> WarmStart | None:
    if base is None:
        return None
    return WarmStart(base.users, base.items, Known(base.row["mean"], base.row["epoch"], base.row["train_rmse"]))


def _open_scratch(args: LfmArgs) -> BlockStore:
    """The folder of all runs and their rating blocks."""
    if not args.scratch and is_catalog_name(args.lake):
        raise UserError(f"--lake {args.lake} is no folder: give --scratch DIR, a folder that all workers mount")
    folder = args.scratch or f"{args.lake.rstrip('/')}/_lfm"
    return BlockStore.open(folder, "--scratch" if args.scratch else "--lake")


def _write(spark: SparkSession, args: LfmArgs, what: Plan, ratings: TableRef, trained: Trained) -> None:
    out = args.out or args.lake

    def sink(relation: Any) -> TableSink:
        return TableSink(TableRef.find("", relation, out), relation, stamp=what.run_id)

    settings = args.shown() | dataclasses.asdict(what.config)
    model = (
        what.run_id,
        trained.mean,
        trained.low,
        trained.high,
        trained.epoch + (what.base.row["epoch"] if what.base else 0),
        json.dumps(settings),
        what.config.model,
        trained.train_rmse,
        trained.test_rmse,
        ratings.location,
        what.version,
    )
    curves = [
        (what.run_id if n == 0 else f"{what.run_id}.{n}", *dataclasses.astuple(epoch))
        for n, curve in enumerate(trained.curves)
        for epoch in curve
    ]
    metrics = spark.createDataFrame(curves, LFM_METRICS.schema())
    own = f"run_id = '{what.run_id}'"
    sink(LFM_METRICS).write(metrics, replace_where=f"{own} OR run_id LIKE '{what.run_id}.%'")
    sink(LFM_MODELS).write(spark.createDataFrame([model], LFM_MODELS.schema()), replace_where=own)
    save_model(spark, out, SPEC, LatentFactors.of(trained, what.config), ratings, what.run_id)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return run_job(run, LfmArgs, "lfm", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

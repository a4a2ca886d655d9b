"""Runs and searches in the lake: which ratings they read, how they are named and resumed, which tables they write.

A run is named by its settings and by the ratings table and its version. Its epochs and the rating blocks stay in a
scratch folder under these names, so that the same settings find them again. Each training has a folder of its own, with
an ending that nobody can guess, and holds its lock: two at once with the same settings do not meet.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.files import Lock
from lakerank.cli.settings import NOTHING
from lakerank.cli.stores import has_scheme, is_in_object_store
from lakerank.lake.delta_table import TableRef, TableSink, is_catalog_name
from lakerank.lake.publications import Publications, located, place_in, publishing
from lakerank.lake.schemas import ITEM_FACTORS, ITEMS, LFM_METRICS, LFM_MODELS, LFM_TRIALS, RATINGS, USER_FACTORS
from lakerank.lake.table_log import TableLog
from lakerank.recommend.data.rating_input import id_types, identity_of, read_ratings_of
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.recommend.data.store import delta_table
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.latent import SPEC, LatentFactors
from lakerank.recommend.latent_factors.train import CHAIN, PROGRESS, Trained, train
from lakerank.recommend.latent_factors.tuning import Study, Trial
from lakerank.recommend.latent_factors.warm_start import BaseStats, WarmStart
from lakerank.recommend.models.store import find_model, published_table, save_model
from lakerank.spark.array_cache import (
    hold,
    named,
    own_store,
    remove_leftovers,
    remove_unheld,
    trim,
    unique_name,
    used,
)
from lakerank.spark.array_store import BlockStore
from lakerank.spark.checkpoint import CHECKPOINT_PREFIX, checkpoint

BEGUN = (PROGRESS, f"search/{CHAIN}/{PROGRESS}")  # either is there once an epoch was finished
UPDATED_MODELS = ("mf", "svdpp", "als", "ials")  # time effects and samples do not go on from the factor tables alone


@dataclass(frozen=True)
class StoredModel:
    """The newest lfm run: its id, its frames (id, bias, factors), and its row of `lfm_models`."""

    run_id: str
    users: DataFrame
    items: DataFrame
    row: Row
    settings: dict[str, Any]


def read_model(spark: SparkSession, published: Publications) -> StoredModel:
    """Return the model that the last lfm run has published in the lake.

    Raises:
        UserError: there is none, or a table of it is gone.
    """
    saved, newest = find_model(spark, published, SPEC), published.newest(SPEC.name)
    if saved is None or newest is None:
        raise UserError(f"{published.lake} has no model `{SPEC.name}`: run {SPEC.producer} first")
    runs = published_table(published, newest, LFM_MODELS, SPEC).read(spark, LFM_MODELS)
    row = runs.where(F.col("run_id") == saved.run_id).first()
    if row is None:
        raise UserError(f"{published.lake}: `lfm_models` has no run {saved.run_id}: run {SPEC.producer} again")
    tables = saved.tables
    return StoredModel(
        saved.run_id, tables[USER_FACTORS.name], tables[ITEM_FACTORS.name], row, json.loads(row["settings"])
    )


@dataclass(frozen=True)
class RatingsSource:
    """Ratings in the lake, and how they are divided into training, validation and test.

    Attributes:
        ratings: the ratings table.
        items: the catalogue, for the split `corner`; it may be missing.
        split: as `--split` has it.
        seed: of the split.
        valid: share of the training ratings for validation.
        is_file: whether `ratings` is the place of a file, not a table.
        test: table or file of test ratings; empty: `split` says which they are.
        overlaps: whether test ratings may be among `ratings`, and are left out there.
        whole: whether all of them are training ratings, those of the test, too.
    """

    ratings: TableRef
    items: TableRef
    split: str
    seed: int
    valid: float = 0.0
    is_file: bool = False
    test: str = ""
    overlaps: bool = False
    whole: bool = False

    @classmethod
    def find(
        cls,
        published: Publications,
        ratings: str,
        split: str,
        seed: int,
        valid: float = 0.0,
        train: str = "",
        test: str = "",
        strong: bool = False,
    ) -> RatingsSource:
        """Find the tables of a lake, or ratings somewhere else.

        Args:
            published: what the lake's jobs have published.
            ratings: table; empty takes the lake's.
            split, seed, valid: see the attributes.
            train: table or file of training ratings, instead of `ratings`.
            test: table or file of test ratings, instead of `split`.
            strong: whether whole users may be held out (`users:SHARE`).

        Raises:
            UserError: there is no such split or file, or both `ratings` and `train` are given.
        """
        Split.parse(split, strong)
        if train and ratings:
            raise UserError("--train and --ratings both say what to train on: give one")
        is_file = bool(train) and delta_table(published.get_spark(), train) is None
        for flag, where in (("--train", train if is_file else ""), ("--test", test)):
            if where and not (has_scheme(where) or is_catalog_name(where) or Path(where).exists()):
                raise UserError(f"{flag} {where}: no such table or file")
        table = TableRef(train) if is_file else published.table(RATINGS, train or ratings)
        return cls(table, published.table(ITEMS), split, seed, valid, is_file, test, overlaps=not train)

    def read(self, spark: SparkSession, scratch: str, version: int | None = None) -> DataFrame:
        """Read the ratings with `part`.

        Args:
            spark: the session.
            scratch: folder for checkpoints.
            version: of the table; None reads the newest.

        Raises:
            UserError: there is no such table or version.
        """
        if self.whole:
            parts = dataclasses.replace(self, whole=False).read(spark, scratch, version)
            return parts.withColumn("part", F.lit("train"))
        if self.is_file:
            ratings = read_ratings_of(spark, "--train", self.ratings.location, scratch, {})
        else:
            # A version names the commit that made the rows; its own files may be gone where a later one has the same.
            ratings = self.ratings.read(spark, RATINGS, None if version == self.ratings.rows_version else version)
        if self.test:
            test = read_ratings_of(spark, "--test", self.test, scratch, id_types(ratings))
            test = checkpoint(test, scratch)
            pairs = ["user_id", "item_id"]
            seen = ratings.join(test.select(*pairs), pairs, "left_semi").count()
            if seen and not self.overlaps:
                print(f"--test {self.test}: {seen} of its users' items are rated in training, too", flush=True)
            elif seen:
                ratings = ratings.join(test.select(*pairs), pairs, "left_anti")
            parts = split_ratings(ratings, ratings, Split("none"), self.seed, self.valid, scratch)
            return parts.unionByName(test.withColumn("part", F.lit("test")), allowMissingColumns=True)
        items = self.items.read(spark, ITEMS) if self.items.exists(spark) else ratings.select("item_id").distinct()
        return split_ratings(ratings, items, Split.parse(self.split, strong=True), self.seed, self.valid, scratch)

    def newest(self, spark: SparkSession) -> int:
        """Return the version that made the newest rows of the ratings table.

        Raises:
            UserError: there is no such table.
        """
        if self.is_file:
            return 0
        if not self.ratings.exists(spark):
            self.ratings.read(spark, RATINGS)  # says what is missing
        return self.ratings.version(spark)

    def mark(self, spark: SparkSession, version: int) -> str:
        """Return what tells a version of the ratings table from the same one of a copy of the lake: 8 hex digits."""
        return digest(["file"])[:8] if self.is_file else TableLog(self.ratings, lambda: spark).mark(version)

    def params(self, spark: SparkSession) -> dict[str, Any]:
        """Return the parameters that the parts depend on besides the version of the ratings table."""
        params: dict[str, Any] = {"split": self.split, "seed": self.seed, "valid": self.valid}
        where = self.ratings.location
        params["table"] = identity_of(spark, where) if self.is_file else self.ratings.identity(spark)
        if self.test:
            params |= {"test": identity_of(spark, self.test), "overlaps": self.overlaps, "whole": self.whole}
        if self.split.startswith("corner") and self.items.exists(spark):
            params["items"] = [self.items.identity(spark), self.items.version(spark)]
        return params


def open_scratch(lake: str, scratch: str) -> BlockStore:
    """Open the folder of all runs and their rating blocks: the one given, or `_lfm` in the lake.

    Raises:
        UserError: the lake is a catalog and no folder is given, or the folder cannot be used.
    """
    if not scratch and is_catalog_name(lake):
        raise UserError(
            f"--lake {lake} is no folder: give --scratch DIR, a folder that all workers mount or one in an object store"
        )
    folder = scratch or f"{lake.rstrip('/')}/_lfm"
    store = BlockStore.open(folder, "--scratch" if scratch else "--lake")
    remove_leftovers(store)
    return store


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run: its settings, the version of the ratings table, and the names it is kept under.

    Attributes:
        config: settings of training.
        source: the ratings and how they are divided.
        version, newest: of the ratings table: the one to read, and the newest there is.
        run_id, data_id: names of the run and of its rating blocks.
        scratch: the folder of all runs.
        folder: of this training, in `scratch`.
        base: the model to go on from, of an update.
        holds: locks on folders, until `close`.
    """

    config: LfmConfig
    source: RatingsSource
    version: int
    newest: int
    run_id: str
    data_id: str
    scratch: BlockStore
    folder: str
    base: StoredModel | None = None
    holds: list[Lock] = field(default_factory=list, compare=False)

    @property
    def store(self) -> BlockStore:
        """Where the run's epochs are kept."""
        return self.scratch.below(self.folder)

    @property
    def is_begun(self) -> bool:
        """Whether an epoch of this run, or of the chain that goes before it, has been finished before."""
        return any(self.store.has_file(name) for name in BEGUN)

    @property
    def is_up_to_date(self) -> bool:
        """Whether the model to update is of this version of the ratings already."""
        return self.base is not None and self.base.row["ratings_version"] == self.version

    def trim(self, limit: float) -> list[str]:
        """Remove the least recently used of other runs and blocks, down to `limit` bytes; returns their names."""
        return trim(self.scratch, limit, {self.data_id, self.folder})

    def close(self) -> None:
        """Let go of the folders: nothing of the run, or of the frames it gave, will be read any more."""
        while self.holds:
            self.holds.pop().release()


def plan_run(
    spark: SparkSession,
    config: LfmConfig,
    source: RatingsSource,
    scratch: BlockStore,
    resume: bool = False,
    version: int | None = None,
    base: StoredModel | None = None,
) -> RunPlan:
    """Name a run: the same settings (but for `epochs`) on the same table and version have the same name.

    Args:
        spark: the session.
        config: settings of training.
        source: the ratings; their share for validation counts with `early_stop` only.
        scratch: the folder of all runs.
        resume: go on in the newest begun folder of that name that no other process holds, with the version of the table
            that it began with, whatever has been written since.
        version: of the ratings table; None takes the newest, or with `resume` the one of the run.
        base: the model to update.

    Raises:
        UserError: there is no ratings table.
    """
    if not config.early_stop:
        source = dataclasses.replace(source, valid=0.0)  # validation ratings would be lost to training
    newest, split = source.newest(spark), source.params(spark)
    settings = dataclasses.asdict(config)
    if base is not None:
        settings = {"base": base.run_id, "epochs": config.epochs}
    else:
        del settings["epochs"]  # a run with more epochs goes on from one with fewer
    name = digest([settings, split])
    begun = _begun_folder(scratch, name, version, lambda v: source.mark(spark, v)) if resume else None
    if begun is not None:
        version = begun.version
    version = newest if version is None else version
    run_id = f"{name}-v{version}"
    mark, holds = source.mark(spark, version), [begun.lock] if begun else []
    data_id, folder = (
        f"data-{digest(split)}-v{version}-{mark}",
        begun.name if begun else unique_name(f"{run_id}-{mark}"),
    )
    return RunPlan(config, source, version, newest, run_id, data_id, scratch, folder, base, holds)


@dataclass(frozen=True)
class _BegunFolder:
    """A folder in which a training has finished an epoch, and the lock on it."""

    name: str
    version: int
    lock: Lock


def _begun_folder(
    scratch: BlockStore, name: str, version: int | None, mark: Callable[[int], str]
) -> _BegunFolder | None:
    """Find the newest begun folder of a run that nobody holds, and lock it.

    Args:
        scratch: the folder of all runs.
        name: of the run, without the version of the ratings.
        version: of the ratings; None takes the newest.
        mark: gives the mark of a version of the ratings (`RatingsSource.mark`).
    """
    found = []
    for key in scratch.keys(""):
        match = re.fullmatch(rf"{name}-v(\d+)-([0-9a-f]{{8}})(-[0-9a-f]{{8}})?", key)
        if match is None or version not in (None, int(match[1])):
            continue
        begun = [scratch.changed(file) for name in BEGUN if scratch.has_file(file := f"{key}/{name}")]
        if begun and match[2] == mark(int(match[1])):
            found.append((int(match[1]), max(begun), key))
    for of_version, _, key in sorted(found, reverse=True):
        lock = hold(scratch.below(key))
        if lock is not None:
            return _BegunFolder(key, of_version, lock)
    return None


def plan_update(
    spark: SparkSession,
    published: Publications,
    epochs: int,
    blocks: int,
    source: RatingsSource,
    scratch: BlockStore,
    resume: bool = False,
    version: int | None = None,
) -> RunPlan:
    """Plan to go on from the model in the lake, with its own settings.

    Args:
        spark: the session.
        published: what has been published where the model is.
        epochs: passes over all ratings.
        blocks: B; 0 as cores and ratings ask for.
        source, scratch, resume, version: see `plan_run`.

    Raises:
        UserError: there is no model, it was trained on another table or split, or is of a kind that cannot go on.
    """
    source.newest(spark)  # without ratings nothing else matters
    base = read_base(spark, published, source)
    config = dataclasses.replace(LfmConfig.from_mapping(base.settings), auto=NOTHING, epochs=epochs, blocks=blocks)
    if base.settings.get("refit"):
        source = dataclasses.replace(source, split="none", valid=0.0, whole=True)  # it has seen the test ratings
    return plan_run(spark, config, source, scratch, resume, version, base)


def digest(params: Any) -> str:
    """Return a digest of ten characters for anything JSON can hold."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:10]


def read_base(spark: SparkSession, published: Publications, source: RatingsSource) -> StoredModel:
    """Read the model in the lake that an update goes on from.

    Raises:
        UserError: there is none, it was trained on another table or split, or is of a kind that cannot go on.
    """
    base = read_model(spark, published)
    if base.row["model"] not in UPDATED_MODELS:
        raise UserError(f"--update goes with {', '.join(UPDATED_MODELS)}, not {base.row['model']}: train it anew")
    if base.row["ratings"] != place_in(published.lake, source.ratings):
        trained_on = located(published.lake, base.row["ratings"])
        raise UserError(f"--update: the model was trained on {trained_on}, not on {source.ratings.location}")
    for name in ("split", "seed"):
        if base.settings[name] != getattr(source, name):
            raise UserError(
                f"--update: the model was trained with --{name} {base.settings[name]}; with another, ratings that it "
                "was tested on would be trained on"
            )
    if base.settings.get("test", "") != source.test:
        raise UserError(f"--update: the model was tested on {base.settings.get('test') or 'its split'}: give --test so")
    return base


def train_run(spark: SparkSession, plan: RunPlan) -> Trained:
    """Train what a plan says, from the last finished epoch of the folder that it has found, else anew.

    The folders stay locked until the plan is closed: the factors are read from them when they are written.

    Raises:
        UserError: see `train`; or there is no such version of the ratings.
    """
    if not plan.holds:
        plan.holds.extend(filter(None, [own_store(plan.scratch, plan.folder)]))
    remove_unheld(plan.scratch, [name for name in named(plan.scratch, plan.run_id) if name != plan.folder])
    data, store = _hold_blocks(plan), used(plan.store)
    ratings = plan.source.read(spark, store.root, plan.version)
    trained = train(ratings, plan.config, store, data=data, warm_start=_warm_start(plan.base))
    store.drop_where(lambda name: name.startswith(CHECKPOINT_PREFIX) or name == "warm")
    return trained


def refit_run(spark: SparkSession, plan: RunPlan, trained: Trained) -> Trained:
    """Train once more, on all ratings, those kept back among them, with the settings and for as long as a run was.

    It costs as much as that run, without its search. The folders stay locked until the plan of the run is closed.

    Args:
        spark: the session.
        plan: of the run that was measured.
        trained: its result.

    Raises:
        UserError: see `train`.
    """
    config = dataclasses.replace(
        trained.config,
        auto=NOTHING,
        early_stop=0,
        epochs=trained.sweeps or trained.epoch,
        burn_in=plan.config.burn_in,
    )
    source = dataclasses.replace(plan.source, split="none", valid=0.0, whole=True)
    run_id = f"{plan.run_id}-all"
    again = dataclasses.replace(
        plan,
        config=config,
        source=source,
        run_id=run_id,
        data_id=f"data-{digest(source.params(spark))}-v{plan.version}-{source.mark(spark, plan.version)}",
        folder=unique_name(run_id),
        base=None,
        holds=[],
    )
    try:
        return train_run(spark, again)
    finally:
        plan.holds.extend(again.holds)


def _hold_blocks(plan: RunPlan) -> BlockStore:
    """Open the folder of a run's rating blocks; runs share it, and while one is at work it is not removed."""
    data = plan.scratch.below(plan.data_id)
    lock = hold(used(data), shared=True)
    while lock is None:  # it is just being removed
        time.sleep(0.1)
        lock = hold(used(data), shared=True)
    plan.holds.append(lock)
    return data


def _warm_start(base: StoredModel | None) -> WarmStart | None:
    if base is None:
        return None
    stats = BaseStats(base.row["mean"], int(base.row["epoch"]), float(base.row["train_rmse"] or 0.0))
    return WarmStart(base.users, base.items, stats)


def write_run(
    spark: SparkSession,
    lake: str,
    plan: RunPlan,
    trained: Trained,
    settings: dict[str, Any],
    refit: Trained | None = None,
) -> None:
    """Write a run's factors, its learning curves and its row of `lfm_models`.

    Args:
        spark: the session.
        lake: where the tables go.
        plan: what was trained.
        trained: the result, whose errors are those of the run.
        settings: of the job, to be kept beside those of training.
        refit: the model to store instead, which has seen all ratings; None stores the one that was measured.
    """
    stored = refit or trained
    sees_all = refit is not None or bool(plan.base and plan.base.settings.get("refit"))
    if plan.base:
        settings = settings | {"split": plan.base.settings["split"], "seed": plan.base.settings["seed"]}
    model = (
        plan.run_id,
        stored.mean,
        stored.low,
        stored.high,
        stored.epoch + (plan.base.row["epoch"] if plan.base else 0),
        json.dumps(settings | dataclasses.asdict(stored.config) | {"refit": sees_all}),
        plan.config.model,
        trained.train_rmse,
        trained.test_rmse,
        place_in(lake, plan.source.ratings),
        plan.version,
    )
    curves = [
        (plan.run_id if n == 0 else f"{plan.run_id}.{n}", *dataclasses.astuple(epoch))
        for n, curve in enumerate(trained.curves)
        for epoch in curve
    ]
    metrics = spark.createDataFrame(curves, LFM_METRICS.schema())
    own = f"run_id = '{plan.run_id}'"
    with publishing(lambda: spark, lake, SPEC.name, plan.run_id) as run:
        run.add_own(LFM_METRICS, metrics, f"{own} OR run_id LIKE '{plan.run_id}.%'")
        run.add_own(LFM_MODELS, spark.createDataFrame([model], LFM_MODELS.schema()), own)
        save_model(run, SPEC, LatentFactors.of(stored, stored.config), plan.source.ratings)
        run.settings(
            measured={"split": plan.source.split, "valid_rmse": trained.valid_rmse, "test_rmse": trained.test_rmse},
            refit=sees_all,
        )


def study_name(spark: SparkSession, study: Study, source: RatingsSource) -> str:
    """Name a search: the same one of the same version of a table has the same name, however long it goes on.

    Raises:
        UserError: there is no ratings table.
    """
    space = {name: dataclasses.asdict(allowed) for name, allowed in study.space.items()}
    version = source.newest(spark)
    return digest([space, dataclasses.asdict(study.base), source.params(spark), version])


def tuning_folder(lake: str, out: str) -> str:
    """Return the folder for a search's settings file and its plot: the one given, or `tuning` in the lake.

    Raises:
        UserError: the lake is a catalog and none is given, or it is in a store that Python cannot write to.
    """
    place = out or f"{lake.removeprefix('file:').rstrip('/')}/tuning"
    if (not out and is_catalog_name(lake)) or (has_scheme(place) and not is_in_object_store(place)):
        raise UserError(f"lfm.yaml and trials.png are files and {out or lake} has no place for them: give --out DIR")
    return place.rstrip("/")


@dataclass(frozen=True)
class TrialTable:
    """The trials of one search in `lfm_trials`."""

    ref: TableRef
    study: str

    @classmethod
    def find(cls, lake: str, study: str) -> TrialTable:
        """Return the table of a lake."""
        return cls(TableRef.find("", LFM_TRIALS, lake), study)

    def read(self, spark: SparkSession) -> list[Trial]:
        """Read the trials in the table, in order."""
        if not self.ref.exists(spark):
            return []
        rows = self.ref.read(spark, LFM_TRIALS).where(F.col("study") == self.study).sort("trial").collect()
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

    def put(self, spark: SparkSession, trial: Trial) -> None:
        """Write one trial."""
        self.write(spark, [trial], f"trial = {trial.trial}")

    def clear(self, spark: SparkSession) -> None:
        """Remove the trials of this search, and make the table if there is none."""
        self.write(spark, [], "true")

    def write(self, spark: SparkSession, trials: Sequence[Trial], replaced: str) -> None:
        """Replace those of this search's rows that match `replaced`."""
        rows = [
            (
                self.study,
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
        TableSink(self.ref, LFM_TRIALS, stamp=self.study).write(frame, f"study = '{self.study}' AND {replaced}")

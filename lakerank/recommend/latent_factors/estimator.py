"""Fit latent factors as a `pyspark.ml` Estimator: who uses `pyspark.ml.recommendation.ALS` changes one import.

    from lakerank import LFM
    model = LFM(userCol="userId", itemCol="movieId", rank=64).fit(ratings)
    model.transform(pairs), model.recommendForAllUsers(10)

The job `spark_jobs/lfm.py` trains the same model, and beside that keeps runs to be resumed and writes tables.
`docs/estimator.md` has the migration and what differs from ALS.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import inf
from typing import Any, TypeVar, Unpack

from pyspark.ml import Estimator, Model
from pyspark.ml.util import MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.data.frames import check_frame, id_column, ratings_relation, type_of
from lakerank.recommend.data.splits import bucket
from lakerank.recommend.latent_factors.build_blocks import prepare_blocks
from lakerank.recommend.latent_factors.estimator_params import (
    LFMModelParams,
    LFMParams,
    ModelSettings,
    Settings,
    parameter_names,
)
from lakerank.recommend.latent_factors.latent import LatentFactors
from lakerank.recommend.latent_factors.train import train
from lakerank.recommend.latent_factors.tuning import better_of
from lakerank.spark.array_store import BlockStore
from lakerank.spark.checkpoint import checkpoint
from lakerank.spark.ml_persistence import SavedParams, Tables, TablesReader, TablesWriter, workspace

P = TypeVar("P", bound="LFM")


class LFM(Estimator["LFMModel"], LFMParams, MLWritable, MLReadable["LFM"]):
    """Fits latent factors to ratings.

    Args:
        settings: parameters by name, as of `ALS`: `userCol`, `itemCol`, `ratingCol`, `rank`, `maxIter`, `regParam`,
            `seed`, `coldStartStrategy`, …, and those of this trainer: `model`, `average`, `timestampCol`, ….
            `explainParams()` tells them all.

    Raises:
        TypeError: there is no such parameter.
    """

    def __init__(self, **settings: Unpack[Settings]) -> None:
        super().__init__()
        self._put(settings)

    def setParams(self: P, **settings: Unpack[Settings]) -> P:
        """Set parameters by name; returns self."""
        self._put(settings)
        return self

    def _fit(self, dataset: DataFrame) -> LFMModel:
        (_, model), *_ = _Fits([self], dataset)
        return model

    def fitMultiple(self, dataset: DataFrame, paramMaps: Sequence[Any]) -> Iterator[tuple[int, LFMModel]]:
        """Train a model for each of several settings; the ratings are read and cut into blocks once for all of them.

        Returns:
            (position in `paramMaps`, model) pairs; threads may share the iterator.
        """
        return _Fits([self.copy(extra) for extra in paramMaps], dataset)

    def write(self) -> MLWriter:
        """Return a writer of the parameters."""
        return TablesWriter(self)

    @classmethod
    def read(cls) -> MLReader[LFM]:
        """Return a reader of what `write` saves."""
        return TablesReader(cls, lambda tables, params: cls())


class _Fits:
    """Iterates over the fits of several estimators to one frame. Estimators that read the same columns share blocks."""

    def __init__(self, estimators: Sequence[LFM], dataset: DataFrame) -> None:
        self._dataset = check_frame(dataset)
        self._todo = list(enumerate(estimators))[::-1]
        self._left = len(estimators)
        self._ratings: dict[tuple[Any, ...], tuple[DataFrame, BlockStore]] = {}
        self._lock = threading.Lock()
        self._rooms = ExitStack()
        self._close = weakref.finalize(self, self._rooms.close)  # if nobody takes the last model

    def __iter__(self) -> Iterator[tuple[int, LFMModel]]:
        return self

    def __next__(self) -> tuple[int, LFMModel]:
        with self._lock:
            if not self._todo:
                raise StopIteration
            index, estimator = self._todo.pop()
        try:
            return index, self._fit(estimator, f"run-{index}")
        finally:
            with self._lock:
                self._left -= 1
                if not self._left:
                    self._close()

    def _fit(self, estimator: LFM, name: str) -> LFMModel:
        candidates = [estimator.config(solver) for solver in estimator.solvers()]
        config = candidates[-1]
        with parameter_names():
            with self._lock:  # the first to come cuts the blocks; the others find them
                ratings, store = self._prepared(estimator)
                blocks = prepare_blocks(ratings, store.below("data"), config.blocks, config.time, config.time_bins)
            config = better_of(candidates, blocks)
            try:
                trained = train(ratings, config, store.below(name), data=store.below("data"))
                # The blocks go, the model stays.
                users, items = (
                    checkpoint(frame, estimator.getScratchDir())
                    for frame in (trained.user_factors, trained.item_factors)
                )
            finally:
                store.drop(name)
        latent = LatentFactors.of(replace(trained, user_factors=users, item_factors=items), trained.config)
        if config.by_least_squares or config.ranks:  # as ALS predicts
            latent = replace(latent, low=-inf, high=inf)
        kinds = [type_of(self._dataset, column) for column in (estimator.getUserCol(), estimator.getItemCol())]
        model = LFMModel.of(latent, config.factors, kinds)
        model._resetUid(estimator.uid)
        return estimator._copyValues(model)

    def _prepared(self, estimator: LFM) -> tuple[DataFrame, BlockStore]:
        """Compute the ratings with `part` once, and make a folder for their blocks and the runs on them."""
        get = estimator.getOrDefault
        columns = {name: get(name) for name in ("userCol", "itemCol", "ratingCol", "timestampCol")}
        share, seed = (get("validationShare"), estimator.getSeed()) if get("earlyStop") else (0.0, 0)
        key = (*columns.values(), share, seed, get("scratchDir"))
        if key not in self._ratings:
            room = workspace(self._dataset.sparkSession, get("scratchDir"), "scratchDir")
            store = self._rooms.enter_context(room)
            self._ratings[key] = ratings_from(self._dataset, columns, share, seed, store.root), store
        return self._ratings[key]


def ratings_from(frame: Any, names: Mapping[str, str], share: float, seed: int, scratch: str) -> DataFrame:
    """Return the `ratings` relation of a frame, with `part`: train, or valid for a share of the rows.

    Args:
        frame, names, scratch: see `ratings_relation`.
        share: of the ratings for validation.
        seed: which these are.

    Raises:
        UserError: the frame does not fit.
    """
    ratings = ratings_relation(frame, names, scratch)
    part = F.when(bucket(seed, "valid") < share, "valid").otherwise("train") if share else F.lit("train")
    return ratings.withColumn("part", part)


class LFMModel(Model, LFMModelParams, MLWritable, MLReadable["LFMModel"]):
    """Fitted latent factors: r̂ = mean + user's bias + item's bias + user's features · item's features.

    Attributes:
        userFactors: frame (id, features array<float>, bias float); ids as in the training frame.
        itemFactors: the same of the items.
        rank: length of a factor vector; `features` has it times the number of averaged models.
        mean: μ of the training ratings.
        low, high: the lowest and the highest training rating, to which `transform` clips; infinite for factors alone.
        fallback: what `transform` predicts for unknown users and items; None: the mean and the biases known.
    """

    def __init__(
        self,
        userFactors: DataFrame,
        itemFactors: DataFrame,
        rank: int,
        mean: float,
        low: float,
        high: float,
        fallback: float | None = None,
    ) -> None:
        super().__init__()
        self.userFactors, self.itemFactors = userFactors, itemFactors
        self.rank, self.mean, self.low, self.high, self.fallback = rank, mean, low, high, fallback

    @classmethod
    def of(cls, latent: LatentFactors, rank: int, kinds: Sequence[str] = ("", "")) -> LFMModel:
        """Make a model of factors that were trained elsewhere, such as the tables of the `lfm` job.

        Args:
            latent: factors, mean and range.
            rank: length of a factor vector.
            kinds: types of user ids and item ids, e.g. `int`; empty: as `latent` has them.
        """

        def layout(frame: DataFrame, side: str, kind: str) -> DataFrame:
            ids = F.col(f"{side}_id").cast(kind) if kind else F.col(f"{side}_id")
            return frame.select(ids.alias("id"), F.col("factors").alias("features"), "bias")

        users, items = layout(latent.users, "user", kinds[0]), layout(latent.items, "item", kinds[1])
        return cls(users, items, rank, latent.mean, latent.low, latent.high, latent.fallback)

    def __repr__(self) -> str:
        return f"LFMModel: uid={self.uid}, rank={self.rank}"

    def setParams(self, **settings: Unpack[ModelSettings]) -> LFMModel:
        """Set parameters by name; returns self."""
        self._put(settings)
        return self

    def _transform(self, dataset: DataFrame) -> DataFrame:
        prediction, strategy = self.getPredictionCol(), self.strategy()
        check_frame(dataset)
        if prediction in dataset.columns:
            raise UserError(f"predictionCol {prediction!r}: the frame has this column already: drop it or set another")
        model = self._latent()
        # All other columns travel in one, or names such as `user_id` would clash with those of `predict`.
        rows = dataset.select(
            F.struct("*").alias("row"),
            id_column(dataset, "userCol", self.getUserCol(), type_of(model.users, "user_id")).alias("user_id"),
            id_column(dataset, "itemCol", self.getItemCol(), type_of(model.items, "item_id")).alias("item_id"),
        )
        scored, known = model.predict(rows), F.col("source") == "factors"
        if strategy == "drop":
            scored = scored.where(known)
        guess = F.col("prediction")
        if strategy == "nan":
            guess = F.when(known, guess).otherwise(F.lit(float("nan")))
        return scored.select("row.*", guess.cast("float").alias(prediction))

    def recommendForAllUsers(self, numItems: int, seen: DataFrame | None = None) -> DataFrame:
        """Return the items of highest predicted rating for each user of the training frame.

        Args:
            numItems: how many for each; fewer come back if fewer are left. Equal ratings are ordered by item id.
            seen: frame (userCol, itemCol) of pairs to leave out, such as the training frame.

        Returns:
            Frame (userCol, recommendations array<struct<itemCol, rating float>>), best first. Unlike `transform`'s,
            these ratings are not clipped.
        """
        return self._recommend(False, None, numItems, seen)

    def recommendForAllItems(self, numUsers: int, seen: DataFrame | None = None) -> DataFrame:
        """Return the users of highest rating for each item.

        Returns:
            frame (itemCol, recommendations array<struct<userCol, rating>>).
        """
        return self._recommend(True, None, numUsers, seen)

    def recommendForUserSubset(self, dataset: DataFrame, numItems: int, seen: DataFrame | None = None) -> DataFrame:
        """Recommend as `recommendForAllUsers`, for the distinct users in the column `userCol` of `dataset`.

        Users who were not in training are left out, as ALS does, unless `coldStartStrategy` is 'fallback': they get
        the items of highest bias.
        """
        return self._recommend(False, dataset, numItems, seen)

    def recommendForItemSubset(self, dataset: DataFrame, numUsers: int, seen: DataFrame | None = None) -> DataFrame:
        """Recommend as `recommendForAllItems`, for the distinct items in the column `itemCol` of `dataset`."""
        return self._recommend(True, dataset, numUsers, seen)

    def _recommend(self, swap: bool, subset: DataFrame | None, top: int, seen: DataFrame | None) -> DataFrame:
        """Recommend items to users, or with `swap` users to items: they are each other's mirror image."""
        if top < 1:
            raise UserError(f"{'numUsers' if swap else 'numItems'} {top}: must be 1 or more")
        model, turn = self._latent(swap), (-1 if swap else 1)
        settings, names = ("userCol", "itemCol")[::turn], (self.getUserCol(), self.getItemCol())[::turn]
        given = [type_of(frame, "id") for frame in (self.userFactors, self.itemFactors)[::turn]]
        kinds = (type_of(model.users, "user_id"), type_of(model.items, "item_id"))
        who = model.users.select("user_id")
        if subset is not None:
            asked = check_frame(subset).select(id_column(subset, settings[0], names[0], kinds[0]).alias("user_id"))
            asked = asked.dropna().distinct()
            who = asked if self.strategy() == "fallback" else asked.join(who, "user_id", "left_semi")
        if seen is None:
            pairs = who.sparkSession.createDataFrame([], f"user_id {kinds[0]}, item_id {kinds[1]}")
        else:
            check_frame(seen)
            ids = [id_column(seen, *side) for side in zip(settings, names, kinds, strict=True)]
            pairs = seen.select(ids[0].alias("user_id"), ids[1].alias("item_id"))
        best = model.recommend(who, pairs, top)
        ranked = F.sort_array(F.collect_list(F.struct("rank", "item_id", "score")))
        return (
            best.groupBy("user_id")
            .agg(ranked.alias("ranked"))
            .select(
                F.col("user_id").cast(given[0]).alias(names[0]),
                F.transform(
                    "ranked",
                    lambda one: F.struct(
                        one["item_id"].cast(given[1]).alias(names[1]), one["score"].cast("float").alias("rating")
                    ),
                ).alias("recommendations"),
            )
        )

    def _latent(self, swap: bool = False) -> LatentFactors:
        users, items = (self.userFactors, self.itemFactors)[:: -1 if swap else 1]

        def trained(frame: DataFrame, side: str) -> DataFrame:
            ids = id_column(frame, "", "id").alias(f"{side}_id")
            return frame.select(ids, "bias", F.col("features").alias("factors"))

        sides = trained(users, "user"), trained(items, "item")
        return LatentFactors(*sides, self.mean, self.low, self.high, fallback=self.fallback)

    def write(self) -> MLWriter:
        """Return a writer of parameters and factors."""
        params = {name: getattr(self, name) for name in ("rank", "mean", "low", "high", "fallback")}
        return TablesWriter(self, {"userFactors": self.userFactors, "itemFactors": self.itemFactors}, params)

    @classmethod
    def read(cls) -> MLReader[LFMModel]:
        """Return a reader of what `write` saves."""

        def make(tables: Tables, params: SavedParams) -> LFMModel:
            numbers = {name: params[name] for name in ("rank", "mean", "low", "high")}
            return cls(tables["userFactors"], tables["itemFactors"], **numbers, fallback=params.get("fallback"))

        return TablesReader(cls, make, ("userFactors", "itemFactors"))

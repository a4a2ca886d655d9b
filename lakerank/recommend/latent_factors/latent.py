"""Predict and recommend with latent factors: r̂ = μ + b_u + b_i + p_u·q_i, never NaN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.lake.schemas import ITEM_FACTORS, USER_FACTORS
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.factor_scorer import FactorScorer
from lakerank.recommend.latent_factors.fold_in import fold_in
from lakerank.recommend.latent_factors.preference import preference_model
from lakerank.recommend.latent_factors.train import Trained, train
from lakerank.recommend.models.array_model import UNKNOWN_ITEM, ArrayModel
from lakerank.recommend.models.base import Data, ModelSpec, SavedModel
from lakerank.recommend.models.top_n import Taste, top_unseen
from lakerank.recommend.models.training_matrix import MemmapArrays
from lakerank.recommend.models.user_histories import Biases
from lakerank.spark.array_store import BlockStore

_PARAMS = ("mean", "low", "high", "reg", "rank", "fallback")


@dataclass(frozen=True)
class LatentFactors:
    """A fitted model.

    Attributes:
        users: frame (user_id, bias, factors).
        items: frame (item_id, bias, factors).
        mean: μ in rating units.
        low, high: predictions are clipped to this range; recommendation scores are not, so that they rank.
        reg, rank: for folding in; see `with_users`.
        settings: it was trained with.
        fallback: predicted where user or item was not in training; None: the mean and the biases known.
    """

    users: DataFrame
    items: DataFrame
    mean: float
    low: float
    high: float
    reg: float = LfmConfig().reg
    rank: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    fallback: float | None = None

    @classmethod
    def of(cls, trained: Trained, config: LfmConfig) -> LatentFactors:
        """Return the model that was trained with these settings."""
        found = (trained.user_factors, trained.item_factors, trained.mean, trained.low, trained.high)
        fallback = trained.ratings.mean if config.model == "als" else None  # factors alone know no mean
        # The mean of samples is one model of more factors; that of SGD runs has theirs one after the other.
        rank = 0 if config.bayesian else int(config.factors or 0)
        return cls(*found, config.reg, rank, asdict(config), fallback)

    def with_users(self, ratings: DataFrame, reg: float, rank: int = 0) -> LatentFactors:
        """Fold in the users of `ratings` (user_id, item_id, rating), who must not be in the model; return the new one.

        Args:
            ratings: of newcomers; whoever rated nothing that the model knows stays unknown.
            reg: L2 weight, per rating.
            rank: K of one model, where several models' factors stand one after the other; 0: they are one's.
        """
        pairs = ratings.select("user_id", "item_id", "rating")
        new = fold_in(pairs, self.items, self.mean, reg, rank, self._has_bias)
        return replace(self, users=self.users.select("user_id", "bias", "factors").unionByName(new))

    def with_items(self, ratings: DataFrame, reg: float, rank: int = 0) -> LatentFactors:
        """Fold in the items of `ratings`, as `with_users`."""
        pairs = ratings.select("item_id", "user_id", "rating")
        new = fold_in(pairs, self.users, self.mean, reg, rank, self._has_bias)
        return replace(self, items=self.items.select("item_id", "bias", "factors").unionByName(new))

    @property
    def _has_bias(self) -> bool:
        """Whether rows have biases."""
        return bool(self.settings.get("bias", True))

    def with_ratings(self, ratings: DataFrame) -> LatentFactors:
        """Fold in those users of the ratings who are not in the model."""
        newcomers = ratings.join(self.users.select("user_id"), "user_id", "left_anti")
        return self.with_users(newcomers, self.reg, self.rank)

    def tables(self) -> Mapping[str, DataFrame]:
        """Return both tables of factors."""
        return {"user_factors": self.users, "item_factors": self.items}

    def params(self) -> Mapping[str, Any]:
        """Return the parameters that `load` needs beside the tables."""
        return {name: getattr(self, name) for name in (*_PARAMS, "settings")}

    def as_scorer(self, store: BlockStore | None = None) -> FactorScorer:
        """Return the scorer, this model on arrays; in a store they do not travel with each task."""
        items, users = self.items.sort("item_id").toArrow(), self.users.sort("user_id").toArrow()
        k = len(items.column("factors")[0]) if items.num_rows else 1
        arrays = {
            "q": _matrix(items.column("factors").combine_chunks(), k),
            "p": _matrix(users.column("factors").combine_chunks(), k),
            "item_bias": items.column("bias").to_numpy(),
            "user_bias": users.column("bias").to_numpy(),
        }
        placed: MemmapArrays | dict[str, NDArray[Any]] = arrays
        if store is not None:
            placed = MemmapArrays.put(store, "factors", **arrays)
        item_ids, user_ids = items.column("item_id").combine_chunks(), users.column("user_id").combine_chunks()
        numbers = (self.mean, self.reg, self.rank, self._has_bias, self.fallback)
        return FactorScorer(item_ids, user_ids, placed, *numbers)

    def explain(self, recommendations: DataFrame, most: int = 5) -> DataFrame:
        """Return the `explanations` relation; see `ArrayModel.explain`."""
        return self._as_arrays(recommendations).explain(recommendations, most)

    def similar(self, items: DataFrame, top: int) -> DataFrame:
        """Return the `similar_items` relation, by the cosine of factors; see `base.Recommender`."""
        return self._as_arrays(self.users).similar(items, top)

    def _as_arrays(self, users: DataFrame) -> ArrayModel:
        none = self.items.limit(0).select(
            F.lit(None).cast(dict(users.dtypes)["user_id"]).alias("user_id"),
            "item_id",
            F.lit(0.0).cast("float").alias("rating"),
            F.lit(None).cast("timestamp").alias("rated_at"),
        )
        return ArrayModel(self.as_scorer(), none, Biases(self.mean, np.zeros(0), self.low, self.high))

    def score(self, pairs: DataFrame) -> DataFrame:
        """Add `score` to (user_id, item_id): the predicted rating, not clipped; see `base.Recommender`."""
        known = F.col("_source").isin("factors", "item bias")
        score = F.when(known, F.col("_guess")).otherwise(F.lit(UNKNOWN_ITEM))
        return self._guess(pairs).select(*pairs.columns, score.alias("score"))

    def predict(self, pairs: DataFrame) -> DataFrame:
        """Add `prediction` (double, on the rating scale) and `source` to (user_id, item_id).

        Whoever or whatever was not in training brings no bias and no factors: `source` says `factors`,
        `user bias`, `item bias` or `mean`.
        """
        clipped = F.greatest(F.lit(self.low), F.least(F.lit(self.high), F.col("_guess")))
        source = F.col("_source").alias("source")
        return self._guess(pairs).select(*pairs.columns, clipped.alias("prediction"), source)

    def _guess(self, pairs: DataFrame) -> DataFrame:
        """Add `_guess` and `_source`."""
        users = self.users.select("user_id", F.col("bias").alias("_bu"), F.col("factors").alias("_p"))
        items = self.items.select("item_id", F.col("bias").alias("_bi"), F.col("factors").alias("_q"))
        known_user, known_item = F.col("_bu").isNotNull(), F.col("_bi").isNotNull()
        dot = F.aggregate(
            F.zip_with("_p", "_q", lambda p, q: p.cast("double") * q), F.lit(0.0), lambda total, x: total + x
        )
        guess = (
            F.lit(self.mean)
            + F.coalesce(F.col("_bu").cast("double"), F.lit(0.0))
            + F.coalesce(F.col("_bi").cast("double"), F.lit(0.0))
            + F.when(known_user & known_item, dot).otherwise(0.0)
        )
        if self.fallback is not None:
            guess = F.when(known_user & known_item, guess).otherwise(self.fallback)
        source = (
            F.when(known_user & known_item, "factors")
            .when(known_user, "user bias")
            .when(known_item, "item bias")
            .otherwise("mean")
        )
        return (
            pairs.join(users, "user_id", "left")
            .join(items, "item_id", "left")
            .withColumn("_guess", guess)
            .withColumn("_source", source)
            .drop("_bu", "_p", "_bi", "_q")
        )

    def recommend(self, users: DataFrame, seen: DataFrame, top: int, allowed: DataFrame | None = None) -> DataFrame:
        """Return the `top` items of highest predicted rating for each user, without those they have seen.

        Args:
            users: frame (user_id), distinct. Users without factors get the items of highest bias.
            seen: frame (user_id, item_id) to leave out.
            top: how many; fewer come back if fewer are left.
            allowed: frame (item_id) of the only items to choose from; None allows all.

        Returns:
            The `recommendations` relation. Equal scores are ordered by item id.
        """
        chosen = self.items if allowed is None else self.items.join(allowed.select("item_id"), "item_id", "left_semi")
        items = chosen.sort("item_id").select("item_id", "bias", "factors").toArrow()
        k = len(items.column("factors")[0]) if items.num_rows else 1
        factors_IK = _matrix(items.column("factors").combine_chunks(), k)
        q_IK = np.column_stack([factors_IK, items.column("bias").to_numpy()]).astype(np.float32, copy=False)
        known = users.join(self.users, "user_id", "left").select("user_id", "bias", "factors")
        ids = items.column("item_id").combine_chunks()
        return top_unseen(known, seen, ids, q_IK, _taste(k, self.mean), top)


def _matrix(lists: pa.Array, k: int) -> NDArray[np.float32]:
    """Convert Arrow list<float> to (rows, K) float32; a null list becomes zeros."""
    flat = np.zeros((len(lists), k), np.float32)
    valid = np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
    if len(valid):
        flat[valid] = lists.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(len(valid), k)
    return flat


def _taste(k: int, mean: float) -> Taste:
    """Return vectors (p_u, 1), for (q_i, b_i), from (user_id, bias, factors); users without factors get μ + b_i."""

    def taste(users: pa.Table) -> tuple[NDArray[np.float32], NDArray[np.float64], pa.Array]:
        p_UK = np.ones((users.num_rows, k + 1), np.float32)
        p_UK[:, :k] = _matrix(users.column("factors").combine_chunks(), k)
        bias = users.column("bias").combine_chunks()
        o_U = mean + bias.fill_null(0.0).to_numpy(zero_copy_only=False).astype(np.float64)
        return p_UK, o_U, pc.if_else(bias.is_valid(), "latent factors", "fallback: item bias, user not in training")

    return taste


def fit(data: Data, store: BlockStore, settings: LfmConfig | None = None, /) -> LatentFactors | ArrayModel:
    """Train on all of the ratings; the `lfm` job can hold some back."""
    config = settings or LfmConfig()
    trained = train(data.ratings.withColumn("part", F.lit("train")), config, store)
    model = LatentFactors.of(trained, trained.config)
    if config.ranks:
        return preference_model(model.users, model.items, model.params(), data.ratings, store)
    return model


def load(saved: SavedModel, data: Data, store: BlockStore) -> LatentFactors | ArrayModel:
    """Return the factors that `lfm` left; users who have rated since are folded in."""
    numbers = saved.params
    if LfmConfig.from_mapping(numbers["settings"]).ranks:
        users, items = (saved.tables[relation.name] for relation in (USER_FACTORS, ITEM_FACTORS))
        return preference_model(users, items, numbers, data.ratings, store)
    model = LatentFactors(
        saved.tables[USER_FACTORS.name],
        saved.tables[ITEM_FACTORS.name],
        float(numbers["mean"]),
        float(numbers["low"]),
        float(numbers["high"]),
        float(numbers["reg"]),
        int(numbers["rank"]),
        numbers["settings"],
        numbers.get("fallback"),
    )
    return model.with_ratings(data.ratings)


SPEC = ModelSpec(
    "lfm",
    fit,
    load,
    LfmConfig,
    (USER_FACTORS, ITEM_FACTORS),
    "lfm",
    rating_priority=1,
    ranks_by_value=True,
)

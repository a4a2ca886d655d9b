"""Predict and recommend with latent factors: r̂ = μ + b_u + b_i + p_u·q_i, never NaN."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.lake.blocks import BlockStore
from spark_jobs.recsys.factorization.train import LfmConfig, train
from spark_jobs.recsys.models.fold_in import fold_in
from spark_jobs.recsys.models.top_n import Taste, top_unseen


@dataclass(frozen=True)
class LatentFactors:
    """A fitted model.

    Attributes:
        users: frame (user_id, bias, factors).
        items: frame (item_id, bias, factors).
        mean: μ in rating units.
        low, high: predictions are clipped to this range; recommendation scores are not, so that they rank.
    """

    users: DataFrame
    items: DataFrame
    mean: float
    low: float
    high: float

    @classmethod
    def fit(cls, ratings: DataFrame, store: BlockStore) -> LatentFactors:
        """Train on all of `ratings` with the default settings (see `factorization.train` for the rest)."""
        trained = train(ratings.withColumn("part", F.lit("train")), LfmConfig(), store)
        return cls(trained.user_factors, trained.item_factors, trained.mean, trained.low, trained.high)

    def with_users(self, ratings: DataFrame, reg: float, rank: int = 0) -> LatentFactors:
        """This model with the users of `ratings` (user_id, item_id, rating) folded in; they must not be in it.

        Args:
            ratings: of newcomers; whoever rated nothing that the model knows stays unknown.
            reg: L2 weight, per rating.
            rank: K of one model, where several models' factors stand one after the other; 0: they are one's.
        """
        new = fold_in(ratings.select("user_id", "item_id", "rating"), self.items, self.mean, reg, rank)
        return replace(self, users=self.users.select("user_id", "bias", "factors").unionByName(new))

    def with_items(self, ratings: DataFrame, reg: float, rank: int = 0) -> LatentFactors:
        """This model with the items of `ratings` folded in, as `with_users`."""
        new = fold_in(ratings.select("item_id", "user_id", "rating"), self.users, self.mean, reg, rank)
        return replace(self, items=self.items.select("item_id", "bias", "factors").unionByName(new))

    def predict(self, pairs: DataFrame) -> DataFrame:
        """Add `prediction` (double, on the rating scale) and `source` to (user_id, item_id).

        Whoever or whatever was not in training brings no bias and no factors: `source` says `factors`,
        `user bias`, `item bias` or `mean`.
        """
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
        source = (
            F.when(known_user & known_item, "factors")
            .when(known_user, "user bias")
            .when(known_item, "item bias")
            .otherwise("mean")
        )
        return (
            pairs.join(users, "user_id", "left")
            .join(items, "item_id", "left")
            .withColumn("prediction", F.greatest(F.lit(self.low), F.least(F.lit(self.high), guess)))
            .withColumn("source", source)
            .drop("_bu", "_p", "_bi", "_q")
        )

    def recommend(self, users: DataFrame, seen: DataFrame, top: int) -> DataFrame:
        """The `top` items of highest predicted rating for each user, without those they have seen.

        Args:
            users: frame (user_id), distinct. Users without factors get the items of highest bias.
            seen: frame (user_id, item_id) to leave out.
            top: how many; fewer come back if fewer are left.

        Returns:
            The `recommendations` relation. Equal scores are ordered by item id.
        """
        items = self.items.sort("item_id").toArrow()
        k = len(items.column("factors")[0]) if items.num_rows else 1
        factors_IK = _matrix(items.column("factors").combine_chunks(), k)
        q_IK = np.column_stack([factors_IK, items.column("bias").to_numpy()]).astype(np.float32, copy=False)
        known = users.join(self.users, "user_id", "left").select("user_id", "bias", "factors")
        ids = items.column("item_id").combine_chunks()
        return top_unseen(known, seen, ids, q_IK, _taste(k, self.mean), top)


def _matrix(lists: pa.Array, k: int) -> NDArray[np.float32]:
    """Arrow list<float> → (rows, K) float32; a null list becomes zeros."""
    flat = np.zeros((len(lists), k), np.float32)
    valid = np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
    if len(valid):
        flat[valid] = lists.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(len(valid), k)
    return flat


def _taste(k: int, mean: float) -> Taste:
    """Vectors (p_u, 1), to go with (q_i, b_i), from (user_id, bias, factors); users without factors get μ + b_i."""

    def taste(users: pa.Table) -> tuple[NDArray[np.float32], NDArray[np.float64], pa.Array]:
        p_UK = np.ones((users.num_rows, k + 1), np.float32)
        p_UK[:, :k] = _matrix(users.column("factors").combine_chunks(), k)
        bias = users.column("bias").combine_chunks()
        o_U = mean + bias.fill_null(0.0).to_numpy(zero_copy_only=False).astype(np.float64)
        return p_UK, o_U, pc.if_else(bias.is_valid(), "latent factors", "fallback: item bias, user not in training")

    return taste

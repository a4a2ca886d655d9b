"""Predict and recommend with latent factors: r̂ = μ + b_u + b_i + p_u·q_i, never NaN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.lake.blocks import BlockStore
from spark_jobs.recsys.models import lfm

USERS_AT_ONCE = 256  # scores of so many users × all items are in memory together


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
        """Train on all of `ratings` with the default settings (see `lfm.train` for the rest)."""
        trained = lfm.train(ratings.withColumn("part", F.lit("train")), lfm.LfmConfig(), store)
        return cls(trained.user_factors, trained.item_factors, trained.mean, trained.low, trained.high)

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
        rank = _ranker(
            ids=items.column("item_id").combine_chunks(),
            bias=items.column("bias").to_numpy().astype(np.float32),
            factors=_matrix(items.column("factors").combine_chunks(), k),
            mean=self.mean,
            top=top,
        )
        user_type = dict(users.dtypes)["user_id"]
        item_type = dict(self.items.dtypes)["item_id"]
        gathered = (
            users.join(self.users, "user_id", "left")
            .join(seen.groupBy("user_id").agg(F.collect_set("item_id").alias("seen")), "user_id", "left")
            .select("user_id", "bias", "factors", "seen")
        )
        return gathered.mapInArrow(
            rank, f"user_id {user_type}, rank int, item_id {item_type}, score double, reason string"
        )


def _matrix(lists: pa.Array, k: int) -> NDArray[np.float32]:
    """Arrow list<float> → (rows, K) float32; a null list becomes zeros."""
    flat = np.zeros((len(lists), k), np.float32)
    valid = np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
    if len(valid):
        flat[valid] = lists.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(len(valid), k)
    return flat


def best_first(scores_I: NDArray[np.floating[Any]], top: int) -> NDArray[np.intp]:
    """Positions of the `top` highest finite scores, best first, equal ones by position."""
    top = min(top, int(np.isfinite(scores_I).sum()))
    if top == 0:
        return np.empty(0, np.intp)
    threshold = np.partition(scores_I, -top)[-top]
    candidates = np.flatnonzero(scores_I >= threshold)
    return candidates[np.lexsort((candidates, -scores_I[candidates]))][:top]


def _ranker(
    ids: pa.Array, bias: NDArray[np.float32], factors: NDArray[np.float32], mean: float, top: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Arrow batches (user_id, bias, factors, seen) in; recommendation rows out."""

    def rank(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        place = {item: position for position, item in enumerate(ids.to_pylist())}
        for whole in batches:
            for start in range(0, whole.num_rows, USERS_AT_ONCE):
                batch = whole.slice(start, USERS_AT_ONCE)
                known = batch.column("bias").is_valid().to_pylist()
                user_bias = batch.column("bias").fill_null(0.0).to_numpy(zero_copy_only=False)
                p_UK = _matrix(batch.column("factors"), factors.shape[1])
                scores_UI = p_UK @ factors.T + bias + user_bias[:, None] + np.float32(mean)
                out: dict[str, list[Any]] = {name: [] for name in ("user", "rank", "item", "score", "reason")}
                users, seen = batch.column("user_id").to_pylist(), batch.column("seen").to_pylist()
                for row, user in enumerate(users):
                    mine = scores_UI[row]
                    mine[[place[item] for item in seen[row] or () if item in place]] = -np.inf
                    best = best_first(mine, top)
                    out["user"] += [user] * len(best)
                    out["rank"] += range(1, len(best) + 1)
                    out["item"] += best.tolist()
                    out["score"] += mine[best].astype(np.float64).tolist()
                    reason = "latent factors" if known[row] else "fallback: item bias, user not in training"
                    out["reason"] += [reason] * len(best)
                yield pa.RecordBatch.from_arrays(
                    [
                        pa.array(out["user"], batch.schema.field("user_id").type),
                        pa.array(out["rank"], pa.int32()),
                        ids.take(pa.array(out["item"], pa.int64())),
                        pa.array(out["score"], pa.float64()),
                        pa.array(out["reason"], pa.string()),
                    ],
                    names=["user_id", "rank", "item_id", "score", "reason"],
                )

    return rank

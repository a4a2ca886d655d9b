"""The same list for everybody: what any personal model must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.lake.blocks import BlockStore
from spark_jobs.recsys.models.top_n import top_unseen

PRIOR_RATINGS = 25.0  # an item's mean counts as if so many more ratings of the global mean had been given


@dataclass(frozen=True)
class Popular:
    """Damped mean rating of each item: (Σr + m·μ) / (n + m), the Bayesian average.

    Attributes:
        items: frame (item_id, score double).
        mean: μ in rating units.
    """

    items: DataFrame
    mean: float

    @classmethod
    def fit(cls, ratings: DataFrame, store: BlockStore) -> Popular:
        """As `average`; the store, which iterative models need, is not used."""
        return cls.average(ratings)

    @classmethod
    def average(cls, ratings: DataFrame) -> Popular:
        """From the `ratings` relation."""
        row = ratings.agg(F.avg(F.col("rating").cast("double")).alias("mean")).first()
        mean = float(row["mean"]) if row and row["mean"] is not None else 0.0
        total, n = F.sum(F.col("rating").cast("double")), F.count("*")
        score = (total + F.lit(PRIOR_RATINGS * mean)) / (n + F.lit(PRIOR_RATINGS))
        return cls(ratings.groupBy("item_id").agg(score.alias("score")), mean)

    def predict(self, pairs: DataFrame) -> DataFrame:
        """Add `prediction` (double) and `source` (`item mean` or `mean`) to (user_id, item_id)."""
        return (
            pairs.join(self.items, "item_id", "left")
            .withColumn("prediction", F.coalesce("score", F.lit(self.mean)))
            .withColumn("source", F.when(F.col("score").isNull(), "mean").otherwise("item mean"))
            .drop("score")
        )

    def recommend(self, users: DataFrame, seen: DataFrame, top: int) -> DataFrame:
        """The `recommendations` relation: the best `top` unseen items, equal scores by item id."""
        items = self.items.sort("item_id").toArrow()
        q_IK = items.column("score").to_numpy()[:, None]

        def taste(users: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64], pa.Array]:
            n = users.num_rows
            return np.ones((n, 1)), np.zeros(n), pa.array(["popular with everybody"] * n)

        return top_unseen(users, seen, items.column("item_id").combine_chunks(), q_IK, taste, top)

"""Ask a fitted model about users: frames in, the answers as Arrow tables out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.evaluation.sampled_candidates import draw_negatives, ranked
from lakerank.recommend.evaluation.test_set import Setting, positions
from lakerank.recommend.models.base import Recommender

FULL, COLD = "full", "cold"


@dataclass(frozen=True)
class Parts:
    """Ratings divided by `splits`.

    Attributes:
        train: what models learn from.
        known: what users had rated when they are asked, of users with test ratings: train, or `history`.
        test: what is kept back.
        relevant: (user_id, item_id) of those test ratings that should have been recommended.
    """

    train: DataFrame
    known: DataFrame
    test: DataFrame
    relevant: DataFrame

    @classmethod
    def of(cls, parts: DataFrame, relevant_from: float, cold: bool) -> Parts:
        """From ratings with `part`.

        Args:
            parts: see `splits.split_ratings`.
            relevant_from: lowest relevant rating.
            cold: whether only items without training ratings are relevant.
        """
        train = parts.where("part = 'train'").drop("part")
        test = parts.where("part = 'test'").drop("part")
        relevant = test.where(F.col("rating") >= relevant_from).select("user_id", "item_id")
        if cold:
            relevant = relevant.join(train.select("item_id").distinct(), "item_id", "left_anti")
        asked = relevant.select("user_id").distinct()
        known = parts.where("part IN ('train', 'history')").drop("part").join(asked, "user_id", "left_semi")
        return cls(train, known, test, relevant.select("user_id", "item_id"))

    def setting(self, catalogue: DataFrame) -> Setting:
        """What all models are judged on.

        Args:
            catalogue: frame with `item_id`; what is rated is added to it.

        Raises:
            UserError: there is no test rating to judge on.
        """
        relevant = self.relevant.toArrow()
        if not relevant.num_rows:
            raise UserError("no relevant test rating: take another --split, or a lower --relevant")
        raters = self.train.groupBy("item_id").agg(F.count("*").alias("n"))
        counts = raters.toArrow()
        listed = [catalogue.select("item_id").toArrow().column(0), counts.column("item_id"), relevant.column("item_id")]
        items = pa.chunked_array([c for column in listed for c in column.cast(listed[0].type).chunks]).unique()
        profiles = self.known.join(raters, "item_id", "left").groupBy("user_id")
        total = profiles.agg(F.count("*").alias("n"), F.coalesce(F.sum("n"), F.lit(0)).alias("total")).toArrow()
        n_users = self.train.select("user_id").distinct().count()
        return Setting.of(relevant, items.take(pc.sort_indices(items)), counts, total, n_users)


def recommended(model: Recommender, parts: Parts, setting: Setting, top: int, candidates: str) -> NDArray[np.int32]:
    """(U, top) positions of what each user is recommended out of all items they have not rated; of `cold` ones those
    that nobody has rated in training."""
    spark = parts.test.sparkSession
    allowed = None
    if candidates == COLD:
        allowed = spark.createDataFrame(pa.table({"item_id": setting.items.filter(pa.array(setting.raters == 0))}))
    users = parts.relevant.select("user_id").distinct()
    rows = model.recommend(users, parts.known.select("user_id", "item_id"), top, allowed)
    return setting.top(rows.select("user_id", "rank", "item_id").toArrow(), top)


def negatives(parts: Parts, setting: Setting, n: int, seed: int) -> NDArray[np.int32]:
    """(P, 1 + n) candidates of each test pair: its item and `n` that its user has rated neither in training nor test;
    the same for every model."""
    asked = parts.relevant.select("user_id").distinct()
    tested = parts.test.select("user_id", "item_id").join(asked, "user_id", "left_semi")
    rated = parts.known.select("user_id", "item_id").unionByName(tested).toArrow().combine_chunks()
    pairs = (
        positions(rated.column("user_id").combine_chunks(), setting.users),
        positions(rated.column("item_id").combine_chunks(), setting.items),
    )
    drawn = draw_negatives(setting.rows, pairs, len(setting.users), len(setting.items), n, seed)
    return np.column_stack([setting.places.astype(np.int32), drawn])


def ranked_among(
    model: Recommender, parts: Parts, setting: Setting, candidates_PC: NDArray[np.int32], top: int
) -> NDArray[np.int32]:
    """(P, top) the best of each pair's candidates, by the model's scores."""
    n_pairs, n = candidates_PC.shape
    rows = np.repeat(setting.rows, n)
    keys = rows * len(setting.items) + candidates_PC.ravel()
    distinct, back = np.unique(keys, return_inverse=True)  # a user's candidates of several pairs may be the same
    own, places = np.divmod(distinct, len(setting.items))
    asked = pa.table({"user_id": setting.users.take(pa.array(own)), "item_id": setting.items.take(pa.array(places))})
    answers = (
        model.score(parts.test.sparkSession.createDataFrame(asked)).select("user_id", "item_id", "score").toArrow()
    )
    found = positions(answers.column("user_id").combine_chunks(), setting.users) * len(setting.items)
    found += positions(answers.column("item_id").combine_chunks(), setting.items)
    scores = answers.column("score").to_numpy()[np.argsort(found)]
    return ranked(scores[back].reshape(n_pairs, n), candidates_PC, top)

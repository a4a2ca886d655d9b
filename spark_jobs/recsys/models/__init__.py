"""Recommenders, by name. A new one is a module here and a line in `MODELS`; its contract is a test suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pyspark.sql import DataFrame

from spark_jobs.lake.blocks import BlockStore
from spark_jobs.recsys.models.latent import LatentFactors
from spark_jobs.recsys.models.popular import Popular


class Recommender(Protocol):
    """What every model can do (`tests/contracts/test_models.py`)."""

    def predict(self, pairs: DataFrame) -> DataFrame:
        """Add `prediction` (double, never null or NaN) and `source` to (user_id, item_id)."""
        ...

    def recommend(self, users: DataFrame, seen: DataFrame, top: int) -> DataFrame:
        """The `recommendations` relation for (user_id), without the pairs in `seen`."""
        ...


MODELS: dict[str, Callable[[DataFrame, BlockStore], Recommender]] = {
    "lfm": LatentFactors.fit,
    "popular": Popular.fit,
}

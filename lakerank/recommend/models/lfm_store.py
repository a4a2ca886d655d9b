"""The latent-factor model in the lake: two factor tables of one run, and the run's row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import ITEM_FACTORS, LFM_MODELS, USER_FACTORS


@dataclass(frozen=True)
class StoredModel:
    """What the last lfm run left: its id, its frames (id, bias, factors), and its row of `lfm_models`."""

    run_id: str
    users: DataFrame
    items: DataFrame
    row: Row

    @property
    def settings(self) -> dict[str, Any]:
        """The settings it was trained with."""
        loaded: dict[str, Any] = json.loads(self.row["settings"])
        return loaded


def read_model(spark: SparkSession, lake: str) -> StoredModel:
    """The model that the last lfm run left in the lake.

    Raises:
        UserError: a table is missing, or the two halves come from different runs.
    """
    user_ref, item_ref = TableRef.find("", USER_FACTORS, lake), TableRef.find("", ITEM_FACTORS, lake)
    users, items = user_ref.read(spark, USER_FACTORS), item_ref.read(spark, ITEM_FACTORS)
    run = user_ref.stamp(spark)
    if run != item_ref.stamp(spark):
        raise UserError(
            f"{user_ref.location} and {item_ref.location} are from different runs (one was stopped while it wrote): "
            "repeat lfm with --resume"
        )
    row = TableRef.find("", LFM_MODELS, lake).read(spark, LFM_MODELS).where(F.col("run_id") == run).first()
    if row is None:
        raise UserError(f"{lake}: table `lfm_models` has no run {run}: repeat lfm with --resume")
    return StoredModel(run, users, items, row)

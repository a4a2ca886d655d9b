"""The latent-factor model in the lake, with what its training left of itself: what an update goes on from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import ITEM_FACTORS, LFM_MODELS, USER_FACTORS
from lakerank.recommend.latent_factors.latent import SPEC
from lakerank.recommend.models.store import find_model


@dataclass(frozen=True)
class StoredModel:
    """What the last lfm run left: its id, its frames (id, bias, factors), and its row of `lfm_models`."""

    run_id: str
    users: DataFrame
    items: DataFrame
    row: Row
    settings: dict[str, Any]


def read_model(spark: SparkSession, lake: str) -> StoredModel:
    """Return the model that the last lfm run left in the lake.

    Raises:
        UserError: there is none, or its tables come from different runs.
    """
    saved = find_model(spark, lake, SPEC)
    if saved is None:
        raise UserError(f"{lake} has no model `{SPEC.name}`: run {SPEC.producer} first")
    runs = TableRef.find("", LFM_MODELS, lake).read(spark, LFM_MODELS)
    row = runs.where(F.col("run_id") == saved.run_id).first()
    if row is None:
        raise UserError(f"{lake}: table `lfm_models` has no run {saved.run_id}: repeat {SPEC.repeat}")
    tables = saved.tables
    return StoredModel(
        saved.run_id, tables[USER_FACTORS.name], tables[ITEM_FACTORS.name], row, json.loads(row["settings"])
    )

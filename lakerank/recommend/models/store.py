"""Recommenders in the lake: their tables, and a row of `recommenders` with what else they need."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import RECOMMENDERS, RELATIONS, Relation


def save_model(
    spark: SparkSession,
    lake: str,
    name: str,
    tables: Mapping[str, DataFrame],
    facts: Mapping[str, Any],
    ratings: TableRef,
) -> str:
    """Write a model's tables and its row; returns the id of the run.

    Args:
        spark: the session.
        lake: where to.
        name: in `MODELS`.
        tables: by relation; each is replaced in one commit.
        facts: fit for JSON.
        ratings: the table it was trained on.
    """
    run = uuid.uuid4().hex[:10]
    for relation, frame in tables.items():
        sink = TableSink(TableRef.find("", RELATIONS[relation], lake), RELATIONS[relation], stamp=run)
        sink.write(frame)
    row = (name, run, json.dumps(facts), ratings.location, ratings.version(spark))
    rows = spark.createDataFrame([row], RECOMMENDERS.schema())
    TableSink(TableRef.find("", RECOMMENDERS, lake), RECOMMENDERS).write(rows, replace_where=f"model = '{name}'")
    return run


def load_model(
    spark: SparkSession, lake: str, name: str, relations: Sequence[Relation], producer: str
) -> tuple[dict[str, DataFrame], dict[str, Any]]:
    """A model's tables, by relation, and its facts.

    Raises:
        UserError: it is not in the lake, or its tables come from different runs.
    """
    row = _row(spark, lake, name)
    if row is None:
        raise UserError(f"{lake} has no model `{name}`: run {producer} first")
    tables = {}
    for relation in relations:
        ref = TableRef.find("", relation, lake)
        tables[relation.name] = ref.read(spark, relation)
        if ref.stamp(spark) != row["run_id"]:
            raise UserError(f"{ref.location} is not from the run that `recommenders` names: repeat {producer}")
    facts: dict[str, Any] = json.loads(row["facts"])
    return tables, facts


def find_run(spark: SparkSession, lake: str, name: str) -> str | None:
    """The id of the run that left the model in the lake; None if none has."""
    row = _row(spark, lake, name)
    return None if row is None else str(row["run_id"])


def _row(spark: SparkSession, lake: str, name: str) -> Any:
    ref = TableRef.find("", RECOMMENDERS, lake)
    if not ref.exists(spark):
        return None
    return ref.read(spark, RECOMMENDERS).where(F.col("model") == name).first()

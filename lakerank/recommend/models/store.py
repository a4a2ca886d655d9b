"""Recommenders in the lake: their tables, and a row of `recommenders` with what else they need."""

from __future__ import annotations

import json
import uuid
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import RECOMMENDERS, RELATIONS
from lakerank.recommend.models.base import Data, ModelSpec, Recommender, SavedModel
from lakerank.spark.array_store import BlockStore


def save_model(
    spark: SparkSession, lake: str, spec: ModelSpec, model: Recommender, ratings: TableRef, run_id: str = ""
) -> str:
    """Write a model's tables and its row; return the id of the run.

    Of a blend only the weights are written, with the runs of its parts that they were learned for.

    Args:
        spark: the session.
        lake: where to.
        spec: what the model is.
        model: fitted; each of its tables is replaced in one commit.
        ratings: the table it was trained on.
        run_id: of the run, if it has one already.
    """
    run_id = run_id or uuid.uuid4().hex[:10]
    params = {name: value for name, value in model.params().items() if not (spec.parts and name == "parts")}
    for name, frame in ({} if spec.parts else model.tables()).items():
        TableSink(TableRef.find("", RELATIONS[name], lake), RELATIONS[name], stamp=run_id).write(frame)
    row = (spec.name, run_id, json.dumps(params), ratings.location, ratings.version(spark))
    rows = spark.createDataFrame([row], RECOMMENDERS.schema())
    TableSink(TableRef.find("", RECOMMENDERS, lake), RECOMMENDERS).write(rows, f"model = '{spec.name}'")
    return run_id


def find_model(spark: SparkSession, lake: str, spec: ModelSpec) -> SavedModel | None:
    """Return the model that its job left in the lake; None if it has not run.

    A blend consists of those of its parts that are there; it has weights if they were learned for these runs of them.

    Raises:
        UserError: the model's tables come from different runs.
    """
    if spec.parts:
        return _find_blend(spark, lake, spec)
    if not spec.relations:
        return SavedModel({})
    row = _row(spark, lake, spec)
    if row is None:
        return None
    tables = {}
    for relation in spec.relations:
        ref = TableRef.find("", relation, lake)
        tables[relation.name] = ref.read(spark, relation)
        if ref.stamp(spark) != row["run_id"]:
            raise UserError(
                f"{ref.location} and `recommenders` are from different runs (one was stopped while it wrote): "
                f"repeat {spec.repeat or spec.producer}"
            )
    return SavedModel(tables, json.loads(row["params"]), row["run_id"])


def _find_blend(spark: SparkSession, lake: str, spec: ModelSpec) -> SavedModel:
    parts = {name: saved for name, part in spec.parts.items() if (saved := find_model(spark, lake, part)) is not None}
    runs = {name: saved.run_id for name, saved in parts.items()}
    row = _row(spark, lake, spec)
    params: dict[str, Any] = {} if row is None else json.loads(row["params"])
    if params.get("runs") != runs:
        params = {"runs": runs}
    tables = {name: frame for saved in parts.values() for name, frame in saved.tables.items()}
    return SavedModel(tables, params | {"parts": {name: saved.params for name, saved in parts.items()}})


def open_model(
    spark: SparkSession,
    lake: str,
    spec: ModelSpec,
    data: Data,
    ratings: TableRef,
    store: BlockStore,
    relearn: bool = False,
) -> Recommender:
    """Return the model that is in the lake, asked about the users in `data.ratings`.

    The weights of a blend that has none yet are learned, and saved.

    Args:
        spark: the session.
        lake: where it is.
        spec: what the model is.
        data: the ratings at hand.
        ratings: the table they are from.
        store: a folder that all workers see.
        relearn: learn the weights of a blend anew.

    Raises:
        UserError: the model is not there, or its tables come from different runs.
    """
    saved = find_model(spark, lake, spec)
    if saved is None:
        raise UserError(f"{lake} has no model `{spec.name}`: run {spec.producer} first")
    if relearn:
        params = {name: value for name, value in saved.params.items() if name != "weights"}
        saved = SavedModel(saved.tables, params, saved.run_id)
    model = spec.load(saved, data, store)
    if spec.parts and "weights" not in saved.params:
        save_model(spark, lake, spec, model, ratings)
    return model


def _row(spark: SparkSession, lake: str, spec: ModelSpec) -> Any:
    ref = TableRef.find("", RECOMMENDERS, lake)
    if not ref.exists(spark):
        return None
    return ref.read(spark, RECOMMENDERS).where(F.col("model") == spec.name).first()

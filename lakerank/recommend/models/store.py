"""Recommenders in the lake: their tables, published together with what else they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import TableRef
from lakerank.lake.publications import Publication, Publications, Publishing, publishing
from lakerank.lake.schemas import ITEMS, RATINGS, RELATIONS, TAGS, Relation
from lakerank.recommend.models.array_model import under_rules
from lakerank.recommend.models.base import Data, ModelSpec, Recommender, SavedModel
from lakerank.recommend.models.rules import exclusions, make_rules, read_rules
from lakerank.spark.array_store import BlockStore


def read_ratings(spark: SparkSession, published: Publications, given: str) -> tuple[TableRef, DataFrame]:
    """Return the ratings table that a flag names, or the lake's, at the version that readers read, and its rows.

    Raises:
        UserError: there is none, or it is not as its schema says.
    """
    ref = published.table(RATINGS, given)
    return ref, ref.read(spark, RATINGS)


def read_data(spark: SparkSession, published: Publications, ratings: TableRef, rows: DataFrame | None = None) -> Data:
    """Read the ratings, and items and tags where the lake has them, as they were published.

    Args:
        spark: the session.
        published: what the lake's jobs have published.
        ratings: the table.
        rows: ratings that are read already, from somewhere else than the table.

    Raises:
        UserError: there are no ratings, or a table is not as its schema says.
    """
    refs = {relation: published.table(relation) for relation in (ITEMS, TAGS)}
    items, tags = (ref.read(spark, relation) if ref.exists(spark) else None for relation, ref in refs.items())
    return Data(ratings.read(spark, RATINGS) if rows is None else rows, items, tags)


def save_model(run: Publishing, spec: ModelSpec, model: Recommender, ratings: TableRef) -> dict[str, TableRef]:
    """Write a model's tables and note what else it needs, to be published; return the tables as written, by name.

    Of a blend only the weights are kept, with the runs of its parts that they were learned for.

    Args:
        run: publishes `spec.name`.
        spec: what the model is.
        model: fitted.
        ratings: the table it was trained on.
    """
    params = {name: value for name, value in model.params().items() if not (spec.parts and name == "parts")}
    tables = {} if spec.parts else model.tables()
    written = {name: run.write(RELATIONS[name], frame) for name, frame in tables.items()}
    run.settings(params=params)
    run.reads(RATINGS, ratings)
    return written


def find_model(spark: SparkSession, published: Publications, spec: ModelSpec) -> SavedModel | None:
    """Return the model that its job has published in the lake; None if it has not run.

    A blend consists of those of its parts that are there; it has weights if they were learned for these runs of them.

    Raises:
        UserError: a table of the model is gone.
    """
    if spec.parts:
        return _find_blend(spark, published, spec)
    if not spec.relations:
        return SavedModel({})
    newest = published.newest(spec.name)
    if newest is None:
        return None
    tables = {
        relation.name: published_table(published, newest, relation, spec).read(spark, relation)
        for relation in spec.relations
    }
    return SavedModel(tables, newest.settings["params"], newest.run_id)


def published_table(published: Publications, newest: Publication, relation: Relation, spec: ModelSpec) -> TableRef:
    """Return a table of a model at the version that was published.

    Raises:
        UserError: it is gone; the message says what makes it again.
    """
    member = newest.table(relation)
    if member is None:
        raise UserError(f"{published.lake}: `{spec.name}` has no `{relation.name}`: run {spec.producer} again")
    return published.member(member, relation)


def _find_blend(spark: SparkSession, published: Publications, spec: ModelSpec) -> SavedModel:
    found = {name: find_model(spark, published, part) for name, part in spec.parts.items()}
    parts = {name: saved for name, saved in found.items() if saved is not None}
    runs = {name: saved.run_id for name, saved in parts.items()}
    newest = published.newest(spec.name)
    params: Mapping[str, Any] = {} if newest is None else newest.settings["params"]
    if params.get("runs") != runs:
        params = {"runs": runs}
    tables = {name: frame for saved in parts.values() for name, frame in saved.tables.items()}
    return SavedModel(tables, {**params, "parts": {name: saved.params for name, saved in parts.items()}})


def open_model(
    spark: SparkSession,
    published: Publications,
    spec: ModelSpec,
    data: Data,
    ratings: TableRef,
    store: BlockStore,
    relearn: bool = False,
) -> Recommender:
    """Return the model that is in the lake, asked about the users in `data.ratings`.

    The weights of a blend that has none yet are learned, and published.

    Args:
        spark: the session.
        published: what the lake's jobs have published.
        spec: what the model is.
        data: the ratings at hand.
        ratings: the table they are from.
        store: a folder that all workers see.
        relearn: learn the weights of a blend anew.

    Raises:
        UserError: the model is not there, or a table of it is gone.
    """
    saved = find_model(spark, published, spec)
    if saved is None:
        raise UserError(f"{published.lake} has no model `{spec.name}`: run {spec.producer} first")
    if relearn:
        params = {name: value for name, value in saved.params.items() if name != "weights"}
        saved = SavedModel(saved.tables, params, saved.run_id)
    model = spec.load(saved, data, store)
    if spec.parts and "weights" not in saved.params:
        with publishing(lambda: spark, published.lake, spec.name) as run:
            save_model(run, spec, model, ratings)
    return model


def within_rules(
    model: Recommender,
    where: str,
    excluded: DataFrame | None,
    data: Data,
    store: BlockStore,
    allowed: DataFrame | None = None,
) -> tuple[Recommender, DataFrame | None]:
    """Return a model that recommends within rules, and the only items to choose from, for its `recommend`.

    Args:
        model: any.
        where: table or file of rules (`rules.read_rules`); empty: there are none but `excluded`.
        excluded: frame (item_id), never recommended; None: nothing is.
        data: what the model was opened with.
        store: a folder that all workers see.
        allowed: frame (item_id) of the only items to choose from so far; None allows all.

    Raises:
        UserError: the rules cannot be read, or one is none.
    """
    spark = data.ratings.sparkSession
    tables = [read_rules("--rules", where, lambda: spark)] if where else []
    if excluded is not None:
        tables.append(exclusions(excluded.select("item_id").toArrow().column("item_id").combine_chunks()))
    catalogue = None if data.items is None else data.items.select("item_id", "genres").toArrow()
    items = model.as_scorer(store).items
    users = pa.int64() if dict(data.ratings.dtypes)["user_id"] == "bigint" else pa.string()
    rules = make_rules(f"--rules {where}", pa.concat_tables(tables), items, catalogue, users)
    if not rules.only_hides:
        return under_rules(model, rules, data.ratings, store), allowed
    # Every model can do so by itself, and some faster than by their scores.
    kind = "bigint" if pa.types.is_integer(items.type) else "string"  # with it also of no rows on Connect
    shown = spark.createDataFrame(pa.table({"item_id": items.filter(pa.array(~rules.hidden))}), f"item_id {kind}")
    return model, shown if allowed is None else shown.join(allowed.select("item_id"), "item_id", "left_semi")

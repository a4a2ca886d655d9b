"""Neighbours: an item is recommended for the items beside it that a user has rated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from scipy import sparse

from lakerank.lake.schemas import SIMILAR_ITEMS
from lakerank.recommend.models.array_model import ArrayModel
from lakerank.recommend.models.base import Data, Stored
from lakerank.recommend.models.item_weights import ItemWeights
from lakerank.recommend.models.training_matrix import Training
from lakerank.recommend.neighbors.measures import Similarity
from lakerank.recommend.neighbors.nearest import nearest
from lakerank.spark.array_store import BlockStore

NAME = "neighbors"


@dataclass(frozen=True)
class NeighborsConfig:
    """Settings.

    Attributes:
        how: what similarity is.
        recency: see `recency_weights`; 0 takes old ratings for as good as new ones.
    """

    how: Similarity = field(default_factory=lambda: Similarity(weighting="tf-idf"))
    recency: float = 0.8


def fit(data: Data, store: BlockStore, config: NeighborsConfig | None = None) -> ArrayModel:
    """Find the neighbours of all rated items.

    Raises:
        UserError: no ratings, or settings that contradict each other.
    """
    config = config or NeighborsConfig()
    spark = data.ratings.sparkSession
    training = Training.collect(data.ratings, store)
    work = store.below("item-neighbors")
    work.drop_where(lambda _: True)
    found = nearest(spark, training.matrix.T.tocsr(), config.how, work)
    tables = {SIMILAR_ITEMS.name: found.table(spark, training.items, "item")}
    return _model(training, found.matrix(), data.ratings, store, config, tables)


def similar_users(ratings: DataFrame, store: BlockStore, how: Similarity) -> DataFrame:
    """The `similar_users` relation: users compared by what they rated.

    Raises:
        UserError: as `fit`.
    """
    training = Training.collect(ratings, store)
    work = store.below("user-neighbors")
    work.drop_where(lambda _: True)
    found = nearest(ratings.sparkSession, training.matrix, how, work)
    return found.table(ratings.sparkSession, training.block.users, "user")


def load(stored: Stored, data: Data, store: BlockStore) -> ArrayModel:
    """The neighbours that were kept, with the biases and popularity of the ratings at hand."""
    training = Training.collect(data.ratings, store)
    table = stored.tables[SIMILAR_ITEMS.name]
    config = _config(stored.facts)
    weights = weights_of(table, training.items, "similarity")
    return _model(training, weights, data.ratings, store, config, {SIMILAR_ITEMS.name: table})


def weights_of(table: DataFrame, items: pa.Array, column: str) -> sparse.csr_matrix:
    """(I, I) row `other_id`, column `item_id` of a table; items not in the list are left out."""
    rows = table.select("item_id", "other_id", column).toArrow()
    at = [pc.index_in(rows.column(name).combine_chunks(), value_set=items) for name in ("other_id", "item_id")]
    kept = pc.and_(pc.is_valid(at[0]), pc.is_valid(at[1]))
    other, item = (place.filter(kept).to_numpy() for place in at)
    values = rows.column(column).combine_chunks().filter(kept).to_numpy(zero_copy_only=False)
    return sparse.coo_matrix((values, (other, item)), shape=(len(items), len(items))).tocsr()


def refit(facts: Mapping[str, Any], data: Data, store: BlockStore) -> ArrayModel:
    """As `fit`, with the settings of a model that was kept."""
    return fit(data, store, _config(facts))


def _config(facts: Mapping[str, Any]) -> NeighborsConfig:
    return NeighborsConfig(Similarity(**facts["how"]), float(facts["recency"]))


def _model(
    training: Training,
    weights: sparse.csr_matrix,
    history: DataFrame,
    store: BlockStore,
    config: NeighborsConfig,
    tables: dict[str, DataFrame],
) -> ArrayModel:
    scorer = ItemWeights.make(
        NAME, training.items, training.block, weights.astype(np.float32), store, config.recency, rates=True
    )
    facts: dict[str, Any] = {"how": dataclasses.asdict(config.how), "recency": config.recency}
    return ArrayModel(scorer, history, scorer.biases, tables, facts)

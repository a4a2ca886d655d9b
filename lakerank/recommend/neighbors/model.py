"""Neighbours: an item is recommended for the items beside it that a user has rated."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from scipy import sparse

from lakerank.cli.settings import NOT_NEGATIVE, flag
from lakerank.lake.schemas import SIMILAR_ITEMS
from lakerank.recommend.models.array_model import ArrayModel
from lakerank.recommend.models.base import Data, ModelSpec, SavedModel
from lakerank.recommend.models.item_weights import ItemWeights, read_weights
from lakerank.recommend.models.training_matrix import TrainingMatrix
from lakerank.recommend.neighbors.solver import WEIGHTINGS, Similarity, nearest
from lakerank.spark.array_store import BlockStore

NAME = "neighbors"


@dataclass(frozen=True)
class NeighborsConfig(Similarity):
    """Settings of the neighbourhood model: those of similarity, and recency.

    Attributes:
        recency: see `recency_weights`; 0 takes old ratings for as good as new ones.
    """

    weighting: str = flag(None, "of cosine's values (default: tf-idf for cosine, else none)", choices=WEIGHTINGS)
    recency: float = flag(0.8, "power by which older ratings count less; 0: all alike", within=NOT_NEGATIVE)

    def __post_init__(self) -> None:
        """Fill in the weighting; see `Similarity`."""
        if not self.weighting:
            object.__setattr__(self, "weighting", "tf-idf" if self.measure == "cosine" else "none")
        super().__post_init__()


def fit(data: Data, store: BlockStore, settings: NeighborsConfig | None = None, /) -> ArrayModel:
    """Find the neighbours of all rated items.

    Raises:
        UserError: no ratings, or settings that contradict each other.
    """
    config = settings or NeighborsConfig()
    spark = data.ratings.sparkSession
    training = TrainingMatrix.collect(data.ratings, store)
    work = store.below("item-neighbors")
    work.drop_where(lambda _: True)
    found = nearest(spark, training.matrix.T.tocsr(), config, work)
    tables = {SIMILAR_ITEMS.name: found.table(spark, training.items, "item")}
    return _model(training, found.matrix(), data.ratings, store, config, tables)


def similar_users(ratings: DataFrame, store: BlockStore, how: Similarity) -> DataFrame:
    """Return the `similar_users` relation: users compared by what they rated.

    Raises:
        UserError: as `fit`.
    """
    training = TrainingMatrix.collect(ratings, store)
    work = store.below("user-neighbors")
    work.drop_where(lambda _: True)
    found = nearest(ratings.sparkSession, training.matrix, how, work)
    return found.table(ratings.sparkSession, training.block.users, "user")


def load(saved: SavedModel, data: Data, store: BlockStore) -> ArrayModel:
    """Return the model with the neighbours that were saved, and the biases and popularity of the ratings at hand."""
    training = TrainingMatrix.collect(data.ratings, store)
    table = saved.tables[SIMILAR_ITEMS.name]
    config = NeighborsConfig(**saved.params["settings"])
    weights = read_weights(table, training.items, "similarity")
    return _model(training, weights, data.ratings, store, config, {SIMILAR_ITEMS.name: table})


def _model(
    training: TrainingMatrix,
    weights: sparse.csr_matrix,
    history: DataFrame,
    store: BlockStore,
    config: NeighborsConfig,
    tables: dict[str, DataFrame],
) -> ArrayModel:
    scorer = ItemWeights.make(
        NAME, training.items, training.block, weights.astype(np.float32), store, config.recency, rates=True
    )
    params = {"settings": dataclasses.asdict(config)}
    return ArrayModel(scorer, history, scorer.biases, tables, params)


SPEC = ModelSpec(NAME, fit, load, NeighborsConfig, (SIMILAR_ITEMS,), "neighbors", rating_priority=3)

"""Neighbours: an item is recommended for the items beside it that a user has rated."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from scipy import sparse

from lakerank.cli.settings import AUTO, NOT_NEGATIVE, NOTHING, auto_flag, flag
from lakerank.lake.schemas import SIMILAR_ITEMS
from lakerank.recommend.models.array_model import ArrayModel
from lakerank.recommend.models.base import Data, ModelSpec, SavedModel
from lakerank.recommend.models.item_weights import ItemWeights, read_weights
from lakerank.recommend.models.last_ratings import AS_GOOD, RECENCIES, LastRatings, keep_largest
from lakerank.recommend.models.training_matrix import TrainingMatrix
from lakerank.recommend.neighbors.solver import MEASURES, WEIGHTINGS, Similarity, all_similarities, nearest
from lakerank.spark.array_store import BlockStore

NAME = "neighbors"
USUAL: dict[str, Any] = {"measure": "cosine", "weighting": "tf-idf", "shrink": 10.0, "recency": 0.8}
COMPARED = (("cosine", "tf-idf"), ("cosine", "none"), ("cosine", "bm25"), ("jaccard", "none"))  # measure and weighting
SHRINKS = (0.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class NeighborsConfig(Similarity):
    """Settings of the neighbourhood model: those of similarity, and recency.

    Attributes:
        measure, weighting, shrink: of similarity; they and `recency` are chosen by what users rated last, unless they
            are given.
        recency: see `recency_weights`; 0 takes old ratings for as good as new ones.
        auto: which of them are chosen, with commas between; `none`: none is. None takes those that are not given.
    """

    measure: str = flag(
        None, "of similarity; auto: chosen by what users rated last", choices=[*MEASURES, AUTO], auto=True
    )
    weighting: str = flag(
        None, "of cosine's values; auto: chosen with the measure", choices=[*WEIGHTINGS, AUTO], auto=True
    )
    shrink: float = flag(None, "n common raters count n / (n + shrink); auto: chosen", within=NOT_NEGATIVE, auto=True)
    recency: float = flag(
        None, "power by which older ratings count less; 0: all alike; auto: chosen", within=NOT_NEGATIVE, auto=True
    )
    auto: str = auto_flag(
        list(USUAL), "what to choose, of measure,weighting,shrink,recency, or none (default: what is not given)"
    )

    def __post_init__(self) -> None:
        """Fill in what is not given; see `Similarity`."""
        if self.values == "ratings" and not self.measure:
            object.__setattr__(self, "measure", "cosine")  # nothing else compares ratings as they are
        unset = [name for name in USUAL if getattr(self, name) is None]
        if "measure" not in unset and "weighting" in unset:
            unset.remove("weighting")
        if not self.auto:
            object.__setattr__(self, "auto", ",".join(unset) or NOTHING)
        for name in unset:
            object.__setattr__(self, name, "none" if name == "weighting" and self.measure != "cosine" else USUAL[name])
        if not self.weighting:
            object.__setattr__(self, "weighting", "tf-idf" if self.measure == "cosine" else "none")
        super().__post_init__()


def fit(data: Data, store: BlockStore, settings: NeighborsConfig | None = None, /) -> ArrayModel:
    """Find the neighbours of all rated items.

    Raises:
        UserError: no ratings, or settings that contradict each other.
    """
    spark = data.ratings.sparkSession
    training = TrainingMatrix.collect(data.ratings, store)
    config = decided(settings or NeighborsConfig(), training)
    work = store.below("item-neighbors")
    work.drop_where(lambda _: True)
    found = nearest(spark, training.matrix.T.tocsr(), config, work)
    tables = {SIMILAR_ITEMS.name: found.table(spark, training.items, "item")}
    return _model(training, found.matrix(), data.ratings, store, config, tables)


def decided(config: NeighborsConfig, training: TrainingMatrix) -> NeighborsConfig:
    """Return settings of which all are decided: what is open is chosen by what users of `training` rated last.

    The usual ones stay where nothing else is better by more than chance.
    """
    last = None if config.auto == NOTHING else LastRatings.of(training)
    if last is None:
        return dataclasses.replace(config, auto=NOTHING)
    open_ = config.auto.split(",")
    pairs = COMPARED if "measure" in open_ else ((config.measure, config.weighting),)
    shrinks = SHRINKS if "shrink" in open_ else (config.shrink,)
    tastes = {one: last.taste(one) for one in (RECENCIES if "recency" in open_ else (config.recency,))}
    x_IU = last.block.matrix(last.block.ratings, last.n_items).T.tocsr()
    found: dict[tuple[str, str, float, float], float] = {}
    for measure, weighting in pairs:
        if "measure" in open_ and "weighting" not in open_ and measure == "cosine" and weighting != config.weighting:
            continue
        for shrink in shrinks:
            how = dataclasses.replace(config, auto=NOTHING, measure=measure, weighting=weighting, shrink=shrink)
            weights_II = sparse.csr_matrix(keep_largest(all_similarities(x_IU, how), how.top))
            for recency, taste in tastes.items():
                found[measure, weighting, shrink, recency] = last.score((taste @ weights_II).toarray())
    best = max(found, key=lambda key: found[key])
    usual = (config.measure, config.weighting, config.shrink, config.recency)
    if found.get(usual, 0.0) >= found[best] * (1 - AS_GOOD):
        best = usual
    words = zip(("measure", "weighting", "shrink", "recency"), best, strict=True)
    chosen: dict[str, Any] = dict(words)
    print("neighbors: chose " + " ".join(f"--{name} {value}" for name, value in chosen.items()), flush=True)
    return dataclasses.replace(config, auto=NOTHING, **chosen)


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

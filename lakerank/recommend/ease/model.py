"""EASE as a recommender: an item's score is the sum of the weights of what a user has rated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from scipy import sparse

from lakerank.cli.errors import UserError
from lakerank.cli.settings import NOT_NEGATIVE, POSITIVE, CheckedSettings, flag
from lakerank.lake.schemas import LINEAR_WEIGHTS
from lakerank.recommend.ease.solver import Ease
from lakerank.recommend.models.array_model import ArrayModel, default_sources
from lakerank.recommend.models.base import Data, ModelSpec, SavedModel, Scorer
from lakerank.recommend.models.item_weights import ItemWeights, read_weights
from lakerank.recommend.models.training_matrix import MemmapArrays, TrainingMatrix
from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.array_store import BlockStore

NAME = "linear"
_TABLE_TASKS, _ROWS_AT_ONCE = 8, 1 << 18


@dataclass(frozen=True)
class LinearConfig(CheckedSettings):
    """Settings.

    Attributes:
        reg: λ, in users.
        top: weights kept for each item, the largest by size.
        max_items: items with the most ratings that may speak for others; where users are no more than that and fewer
            than items, all items do. Memory is 8 bytes × max_items² (4 above 12,000).
        recency: see `recency_weights`.
    """

    reg: float = flag(200.0, "L2 weight λ, in users", within=POSITIVE)
    top: int = flag(300, "weights kept for each item, the largest by size", within=POSITIVE)
    max_items: int = flag(20_000, "items, by number of ratings, that may speak for others", within=POSITIVE)
    recency: float = flag(0.8, "power by which older ratings count less; 0: all alike", within=NOT_NEGATIVE)


def fit(data: Data, store: BlockStore, settings: LinearConfig | None = None, /) -> ArrayModel:
    """Solve for the weights between all rated items; on the driver.

    Raises:
        UserError: no ratings, or λ is too small.
    """
    config = settings or LinearConfig()
    training = TrainingMatrix.collect(data.ratings, store)
    try:
        weights = Ease.solve(training.matrix, config.reg, config.max_items).largest(config.top)
    except np.linalg.LinAlgError as error:
        raise UserError(
            f"--reg {config.reg:g} is too small for these ratings ({error}): try {config.reg * 10:g}"
        ) from error
    scorer = _scorer(training, weights, store, config)
    table = _table(data.ratings.sparkSession, training.items, scorer.weights)
    return _model(scorer, data.ratings, config, table)


def load(saved: SavedModel, data: Data, store: BlockStore) -> ArrayModel:
    """Return the model with the weights that were saved, and the biases and popularity of the ratings at hand."""
    training = TrainingMatrix.collect(data.ratings, store)
    table = saved.tables[LINEAR_WEIGHTS.name]
    weights = read_weights(table, training.items, "weight")
    config = LinearConfig(**saved.params["settings"])
    return _model(_scorer(training, weights, store, config), data.ratings, config, table)


def _scorer(
    training: TrainingMatrix, weights: sparse.csr_matrix, store: BlockStore, config: LinearConfig
) -> ItemWeights:
    return ItemWeights.make(NAME, training.items, training.block, weights, store, config.recency, rates=False)


def _model(scorer: ItemWeights, history: DataFrame, config: LinearConfig, table: DataFrame) -> ArrayModel:
    tables = {LINEAR_WEIGHTS.name: table}
    return ArrayModel(scorer, history, scorer.biases, tables, {"settings": asdict(config)}, sources=_sources)


def _sources(scorer: Scorer, block: Histories, rows: NDArray[Any], positions: NDArray[Any]) -> list[str]:
    """Return the sources of the predictions: EASE ranks; ratings are predicted by biases alone, and the rows say so."""
    found = default_sources(scorer, block, rows, positions)
    return ["user and item bias" if word == NAME else word for word in found]


def _table(spark: SparkSession, items: pa.Array, weights: MemmapArrays) -> DataFrame:
    kind = "bigint" if pa.types.is_integer(items.type) else "string"
    tasks = spark.range(0, _TABLE_TASKS, 1, _TABLE_TASKS)
    return tasks.mapInArrow(_teller(items, weights), f"item_id {kind}, other_id {kind}, weight float")


def _teller(items: pa.Array, weights: MemmapArrays) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        starts, n = np.asarray(weights["starts"]), len(weights["values"])
        for batch in batches:
            for task in batch.column(0).to_pylist():
                end = (task + 1) * n // _TABLE_TASKS
                for lo in range(task * n // _TABLE_TASKS, end, _ROWS_AT_ONCE):
                    hi = min(lo + _ROWS_AT_ONCE, end)
                    rated = np.searchsorted(starts, np.arange(lo, hi), side="right") - 1
                    yield pa.RecordBatch.from_pydict(
                        {
                            "item_id": items.take(pa.array(np.asarray(weights["positions"][lo:hi]))),
                            "other_id": items.take(pa.array(rated)),
                            "weight": pa.array(np.asarray(weights["values"][lo:hi])),
                        }
                    )

    return work


SPEC = ModelSpec(NAME, fit, load, LinearConfig, (LINEAR_WEIGHTS,), "linear")

"""EASE as a recommender: an item's score is the sum of the weights of what a user has rated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from scipy import sparse

from lakerank.cli.errors import UserError
from lakerank.cli.settings import NOT_NEGATIVE, NOTHING, POSITIVE, CheckedSettings, auto_flag, flag
from lakerank.lake.schemas import LINEAR_WEIGHTS
from lakerank.recommend.ease.solver import REGS, TOPS, Ease, choose
from lakerank.recommend.models.array_model import ArrayModel, default_sources
from lakerank.recommend.models.base import Data, ModelSpec, SavedModel, Scorer
from lakerank.recommend.models.item_weights import ItemWeights, read_weights
from lakerank.recommend.models.last_ratings import RECENCIES, LastRatings
from lakerank.recommend.models.training_matrix import MemmapArrays, TrainingMatrix
from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.array_store import BlockStore

NAME = "linear"
USUAL: dict[str, Any] = {"reg": 200.0, "top": 300, "recency": 0.8}  # where there are too few users to choose by
MOST_WEIGHTS = 50_000_000  # that are kept if nobody says how many: 0.4 GB
_TABLE_TASKS, _ROWS_AT_ONCE = 8, 1 << 18


@dataclass(frozen=True)
class LinearConfig(CheckedSettings):
    """Settings.

    Attributes:
        reg: λ, in users. It, `top` and `recency` are chosen by what users rated last, unless they are given.
        top: weights kept for each item, the largest by size.
        max_items: items with the most ratings that may speak for others; where users are no more than that and fewer
            than items, all items do. Memory is 8 bytes × max_items² (4 above 12,000).
        recency: see `recency_weights`.
        auto: which of them are chosen, with commas between; `none`: none is. None takes those that are not given.
    """

    reg: float = flag(None, "L2 weight λ, in users; auto: chosen by what users rated last", within=POSITIVE, auto=True)
    top: int = flag(None, "weights kept for each item, the largest by size; auto: chosen", within=POSITIVE, auto=True)
    max_items: int = flag(20_000, "items, by number of ratings, that may speak for others", within=POSITIVE)
    recency: float = flag(
        None, "power by which older ratings count less; 0: all alike; auto: chosen", within=NOT_NEGATIVE, auto=True
    )
    auto: str = auto_flag(list(USUAL), "what to choose, of reg,top,recency, or none (default: what is not given)")

    def __post_init__(self) -> None:
        """Fill in what is not given; see `CheckedSettings`."""
        unset = [name for name in USUAL if getattr(self, name) is None]
        if not self.auto:
            object.__setattr__(self, "auto", ",".join(unset) or NOTHING)
        for name in unset:
            object.__setattr__(self, name, USUAL[name])
        super().__post_init__()


def fit(data: Data, store: BlockStore, settings: LinearConfig | None = None, /) -> ArrayModel:
    """Solve for the weights between all rated items; on the driver.

    Raises:
        UserError: no ratings, or λ is too small.
    """
    training = TrainingMatrix.collect(data.ratings, store)
    config = decided(settings or LinearConfig(), training)
    try:
        weights = Ease.solve(training.matrix, config.reg, config.max_items).largest(config.top)
    except np.linalg.LinAlgError as error:
        raise UserError(
            f"--reg {config.reg:g} is too small for these ratings ({error}): try {config.reg * 10:g}"
        ) from error
    scorer = _scorer(training, weights, store, config)
    table = _table(data.ratings.sparkSession, training.items, scorer.weights)
    return _model(scorer, data.ratings, config, table)


def decided(config: LinearConfig, training: TrainingMatrix) -> LinearConfig:
    """Return settings of which all are decided: what is open is chosen by what users of `training` rated last."""
    last = None if config.auto == NOTHING else LastRatings.of(training)
    if last is None:
        return replace(config, auto=NOTHING)
    open_ = config.auto.split(",")
    n_items = len(training.items)
    found = choose(
        last,
        min(n_items, config.max_items, max(TOPS[-1], MOST_WEIGHTS // n_items)),
        REGS if "reg" in open_ else (config.reg,),
        TOPS if "top" in open_ else (config.top,),
        RECENCIES if "recency" in open_ else (config.recency,),
    )
    print(f"linear: chose --reg {found.reg:g} --top {found.top} --recency {found.recency:g}", flush=True)
    return replace(config, auto=NOTHING, reg=found.reg, top=found.top, recency=found.recency)


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

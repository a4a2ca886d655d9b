"""Recommend the same list to everybody: what any personal model must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakerank.recommend.models.array_model import ArrayModel
from lakerank.recommend.models.base import Data, ModelSpec, NoSettings, Reason, SavedModel, Scorer
from lakerank.recommend.models.training_matrix import TrainingMatrix
from lakerank.recommend.models.user_histories import Biases, Histories
from lakerank.spark.array_store import BlockStore

NAME = "popularity"
PRIOR_RATINGS = 25.0  # an item's mean counts as if so many more ratings of the global mean had been given


@dataclass(frozen=True)
class Popularity:
    """A `Scorer`: items are ranked by their number of ratings, of equal ones by the higher mean.

    Attributes:
        items: (I) ids, ascending.
        counts: int64 (I), ratings.
        means: float64 (I), (Σr + m·μ) / (n + m), the damped mean rating.
    """

    items: pa.Array
    counts: NDArray[np.int64]
    means: NDArray[np.float64]
    name: str = NAME

    @classmethod
    def of(cls, items: pa.Array, block: Histories) -> Popularity:
        """Make one from all training ratings."""
        counts = np.bincount(block.positions, minlength=len(items))
        mean = float(block.ratings.mean(dtype=np.float64)) if len(block.ratings) else 0.0
        total = np.bincount(block.positions, block.ratings, len(items))
        return cls(items, counts, (total + PRIOR_RATINGS * mean) / (counts + PRIOR_RATINGS))

    @property
    def known(self) -> NDArray[np.bool_]:
        """A mask of the items with ratings, bool (I)."""
        return self.counts > 0

    def is_warm(self, block: Histories) -> NDArray[np.bool_]:
        """Return a mask of the users with ratings, bool (U); it makes no difference to the scores."""
        return block.counts > 0

    def scores(self, block: Histories) -> NDArray[np.float64]:
        """Return the number of ratings of each item as its score, (U, I); the mean shows in the decimals."""
        return np.tile(self.counts + self.means / 1000.0, (len(block), 1))

    def ratings(self, block: Histories) -> NDArray[np.float64]:
        """Return the damped means as predicted ratings, (U, I)."""
        return np.tile(self.means, (len(block), 1))

    def item_similarity(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return −∞ for all pairs, (N, I): popularity knows of no similar items."""
        return np.full((len(positions), len(self.items)), -np.inf)

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        """Return one summand."""
        return [Reason(self.name, -1, float(self.counts[position] + self.means[position] / 1000.0))]


def fit(data: Data, store: BlockStore, settings: NoSettings | None = None, /) -> ArrayModel:
    """Count the ratings at hand."""
    training = TrainingMatrix.collect(data.ratings, store)
    biases = Biases.fit(training.block, len(training.items))
    return ArrayModel(Popularity.of(training.items, training.block), data.ratings, biases, reasons=_reasons)


def load(saved: SavedModel, data: Data, store: BlockStore) -> ArrayModel:
    """Count the ratings at hand: nothing is saved."""
    return fit(data, store)


def _reasons(scorer: Scorer, block: Histories, rows: NDArray[Any], positions: NDArray[Any]) -> list[str]:
    return ["popular with everybody"] * len(rows)


SPEC = ModelSpec("popular", fit, load, personal=False, knows_similar=False)

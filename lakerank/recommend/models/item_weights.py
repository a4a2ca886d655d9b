"""Score items by what stands beside what a user has rated: a sparse matrix of weights between items.

score(u, i) = Σ_{j rated by u} x_uj · w_ji. Neighbours and linear models differ only in where w comes from.
Shape suffixes: U users of a block, I items, P ratings, W weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from scipy import sparse

from lakerank.recommend.models.base import Reason
from lakerank.recommend.models.training_matrix import MemmapArrays
from lakerank.recommend.models.user_histories import POPULARITY_SHARE, Biases, Histories, recency_weights
from lakerank.spark.array_store import BlockStore

SIMILARITY_PRIOR = 1.0  # similarity of 0 deviation, added to the neighbours of each prediction


@dataclass(frozen=True)
class ItemWeights:
    """A `Scorer`.

    Attributes:
        name: see `Scorer`.
        items: (I) ids, ascending.
        known: bool (I), items with ratings.
        weights: `starts` (I + 1), `positions` int32 (W), `values` float32 (W): for each rated item j the items i
            that it speaks for, and w_ji.
        biases: of the training ratings.
        popularity: float64 (I), ratings of each item over the most that one has.
        recency: see `recency_weights`.
        rates: whether ratings are predicted from the weights, as similarities; otherwise by biases.
    """

    name: str
    items: pa.Array
    known: NDArray[np.bool_]
    weights: MemmapArrays
    biases: Biases
    popularity: NDArray[np.float64]
    recency: float
    rates: bool

    @classmethod
    def make(
        cls,
        name: str,
        items: pa.Array,
        block: Histories,
        weights: sparse.csr_matrix,
        store: BlockStore,
        recency: float,
        rates: bool,
    ) -> ItemWeights:
        """Make one out of all training ratings and the matrix w (I, I), row j, column i."""
        counts = np.bincount(block.positions, minlength=len(items))
        kept = MemmapArrays.put(
            store,
            f"weights-{name}",
            starts=weights.indptr.astype(np.int64),
            positions=weights.indices.astype(np.int32),
            values=weights.data.astype(np.float32),
        )
        popularity = counts / max(counts.max(initial=0), 1)
        return cls(name, items, counts > 0, kept, Biases.fit(block, len(items)), popularity, recency, rates)

    @property
    def _matrix(self) -> sparse.csr_matrix:
        w, n = self.weights, len(self.items)
        return sparse.csr_matrix((w["values"], w["positions"], w["starts"]), shape=(n, n))

    def is_warm(self, block: Histories) -> NDArray[np.bool_]:
        """Return a mask of the users with ratings, bool (U)."""
        return block.counts > 0

    def scores(self, block: Histories) -> NDArray[np.float64]:
        """Return the scores Σ x_uj w_ji, (U, I); see `Scorer`."""
        taste = block.matrix(self._taste(block), len(self.items))
        return np.asarray((taste @ self._matrix).toarray() + POPULARITY_SHARE * self.popularity)

    def _taste(self, block: Histories) -> NDArray[np.float64]:
        return recency_weights(block, self.recency)

    def ratings(self, block: Histories) -> NDArray[np.float64]:
        """Return the predicted ratings, (U, I): biases, and if `rates` the weighted mean of the residuals of similar
        items (Sarwar et al. 2001, section 3.2.1, around biases instead of means)."""
        guess = self.biases.ratings(block)
        if self.rates:
            n, w = len(self.items), self._matrix
            left = (block.matrix(self.biases.residuals(block), n) @ w).toarray()
            total = (block.matrix(np.ones(len(block.positions)), n) @ w).toarray()
            guess += left / (total + SIMILARITY_PRIOR)
        return guess

    def item_similarity(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the weights of others for the items at `positions`, (N, I); see `Scorer`."""
        columns = self._matrix[:, positions].T.tocoo()
        like = np.full((len(positions), len(self.items)), -np.inf)
        like[columns.row, columns.col] = columns.data
        return like

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        """Return one summand for each rated item with a weight; see `Scorer`."""
        one = block.part(row, row + 1)
        column: Any = self._matrix[one.positions][:, [position]].toarray()[:, 0]
        values = self._taste(one) * column
        reasons = [Reason(self.name, int(one.positions[p]), float(values[p])) for p in np.flatnonzero(values)]
        return [*reasons, Reason("popularity", -1, float(POPULARITY_SHARE * self.popularity[position]))]


def read_weights(table: DataFrame, items: pa.Array, column: str) -> sparse.csr_matrix:
    """Return a table as a sparse matrix, (I, I): row `other_id`, column `item_id`; unlisted items are left out."""
    rows = table.select("item_id", "other_id", column).toArrow()
    at = [pc.index_in(rows.column(name).combine_chunks(), value_set=items) for name in ("other_id", "item_id")]
    kept = pc.and_(pc.is_valid(at[0]), pc.is_valid(at[1]))
    other, item = (position.filter(kept).to_numpy() for position in at)
    values = rows.column(column).combine_chunks().filter(kept).to_numpy(zero_copy_only=False)
    return sparse.coo_matrix((values, (other, item)), shape=(len(items), len(items))).tocsr()

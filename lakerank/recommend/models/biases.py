"""μ + b_u + b_i: what can be said of a rating by who gave it and to what, without knowing how the two fit.

Biases are shrunken means of what is left (Koren 2010, *Factor in the neighbors*, section 2.1): items first, then users.
Users' are computed from their histories when they are asked about, so newcomers have one too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.recommend.models.user_histories import Histories

ITEM_PRIOR, USER_PRIOR = 5.0, 5.0  # ratings of 0 deviation added to each item and user


@dataclass(frozen=True)
class Biases:
    """The parameters of the biases.

    Attributes:
        mean: μ, in rating units.
        of_items: float64 (I), b_i; 0 for items that nobody rated.
        low, high: the rating scale, as far as it was seen.
    """

    mean: float
    of_items: NDArray[np.float64]
    low: float
    high: float

    @classmethod
    def fit(cls, block: Histories, n_items: int) -> Biases:
        """From all training ratings."""
        if not len(block.ratings):
            return cls(0.0, np.zeros(n_items), 0.0, 0.0)
        r = block.ratings.astype(np.float64)
        mean = float(r.mean())
        total = np.bincount(block.places, r - mean, n_items)
        of_items = total / (np.bincount(block.places, minlength=n_items) + ITEM_PRIOR)
        return cls(mean, of_items, float(r.min()), float(r.max()))

    def of_users(self, block: Histories) -> NDArray[np.float64]:
        """(U) b_u; 0 for users without ratings."""
        left = block.ratings - self.mean - self.of_items[block.places]
        return np.bincount(block.rows, left, len(block)) / (block.counts + USER_PRIOR)

    def residuals(self, block: Histories) -> NDArray[np.float64]:
        """(P) what biases leave of each rating."""
        known = self.mean + self.of_items[block.places] + self.of_users(block)[block.rows]
        return np.asarray(block.ratings - known, np.float64)

    def ratings(self, block: Histories) -> NDArray[np.float64]:
        """(U, I) μ + b_u + b_i."""
        return self.mean + self.of_users(block)[:, None] + self.of_items[None, :]


def items_of(table: pa.Table) -> pa.Array:
    """The distinct ids in `item_id`, ascending."""
    ids = table.column("item_id").combine_chunks().unique()
    return ids.take(pc.sort_indices(ids))

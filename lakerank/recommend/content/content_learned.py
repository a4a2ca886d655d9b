"""Score items by features whose worth was learned from all users' ratings.

Two linear models over the same features. What a user would *choose*: x_u V q̃_i, where V are directions of who rated
what and q̃_i is where an item stands in them by its features alone. How they would *rate* it: μ + quality_i + z_i·w_u,
with w_u the user's own ridge regression under a shared prior.

Shape suffixes: U users of a block, I items, P ratings, K directions, D dense features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from lakerank.recommend.content.features import Features
from lakerank.recommend.content.item_features import KeptFeatures
from lakerank.recommend.content.learning import Ratings, Taste
from lakerank.recommend.models.base import Reason
from lakerank.recommend.models.memmap_arrays import Kept
from lakerank.recommend.models.recency import recency_weights
from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.array_store import BlockStore

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LearnedContent:
    """A `Scorer`.

    Attributes:
        name, items, known: see `Scorer`; known are items with a feature of their own.
        catalogue: the items' features.
        kept: float64 `quality` (I) in rating units, `directions` V (I, K), `factors_KI` q̃ (K, I), `typical` (K), the
            mean of x_u V over the training users, for users without ratings.
        mean: μ, in rating units.
        taste: the prior of w_u.
        recency: see `recency_weights`; they are x_u.
    """

    name: str
    items: pa.Array
    known: NDArray[np.bool_]
    catalogue: KeptFeatures
    kept: Kept
    mean: float
    taste: Taste
    recency: float

    @classmethod
    def make(
        cls,
        name: str,
        features: Features,
        store: BlockStore,
        recency: float,
        *,
        mean: float,
        quality: Floats,
        taste: Taste,
        directions: Floats,
        factors: Floats,
        typical: Floats,
    ) -> LearnedContent:
        """Out of what was learned; the arrays go to the store."""
        kept = Kept.put(
            store,
            f"{name}-learned",
            quality=quality,
            directions=np.ascontiguousarray(directions),
            factors_KI=np.ascontiguousarray(factors.T),
            typical=np.asarray(typical),
        )
        catalogue = KeptFeatures.put(store, f"{name}-features", features)
        return cls(name, features.items, catalogue.known, catalogue, kept, mean, taste, recency)

    def features(self) -> Features:
        """The catalogue."""
        return self.catalogue.features(self.items)

    def serves(self, block: Histories) -> NDArray[np.bool_]:
        """(U) who has rated something."""
        return block.counts > 0

    def scores(self, block: Histories) -> Floats:
        """(U, I) x_u V q̃_i; see `Scorer`."""
        chosen = block.matrix(recency_weights(block, self.recency), len(self.items))
        p_UK = np.asarray(chosen @ self.kept["directions"])
        p_UK[~self.serves(block)] = self.kept["typical"]
        # Not by BLAS, whose last bits depend on how many users are asked about together.
        return np.asarray(sparse.csr_matrix(p_UK) @ self.kept["factors_KI"])

    def weights(self, block: Histories) -> Floats:
        """(U, D) w_u, in rating units."""
        left = block.ratings - self.mean - self.kept["quality"][block.places]
        return self.taste.of(Ratings(block.starts, block.places, left.astype(np.float64)), self.catalogue.z_ID)

    def ratings(self, block: Histories) -> Floats:
        """(U, I) μ + quality_i + z_i·w_u; see `Scorer`."""
        own_IU = self.catalogue.z_ID @ np.ascontiguousarray(self.weights(block).T)
        return np.asarray(self.mean + self.kept["quality"] + own_IU.T)

    def likeness(self, places: NDArray[np.int64]) -> Floats:
        """(N, I) cosines of profiles; see `Scorer`."""
        return self.catalogue.likeness(places)

    def explain(self, block: Histories, row: int, place: int) -> list[Reason]:
        """One summand for each rated item; see `Scorer`."""
        one = block.part(row, row + 1)
        q_K = self.kept["factors_KI"][:, place]
        if not len(one.places):
            return [Reason("content, typical user", -1, float(self.kept["typical"] @ q_K))]
        values = recency_weights(one, self.recency) * (self.kept["directions"][one.places] @ q_K)
        return [
            Reason(self.name, place, value) for place, value in zip(one.places.tolist(), values.tolist(), strict=True)
        ]

    def tastes(self, block: Histories) -> Iterator[tuple[Any, Floats, list[str]]]:
        """Each user with their weights on the dense features, in rating units, and the names of these."""
        names = self.catalogue.names[: self.catalogue.dense]
        for user, own in zip(block.users, self.weights(block), strict=True):
            yield user, own, names

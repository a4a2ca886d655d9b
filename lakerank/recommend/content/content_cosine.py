"""Score items by the cosine of their profile with the user's: the classic heuristic, which learns nothing.

Shape suffixes: U users of a block, I items, P ratings, F features.
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
from lakerank.recommend.models.base import Reason
from lakerank.recommend.models.biases import Biases
from lakerank.recommend.models.recency import recency_weights
from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.array_store import BlockStore

Floats = NDArray[np.float64]
POPULARITY_SHARE = 1e-6  # orders what the profiles leave equal, and all for users without ratings
LIKE_PRIOR = 1.0  # similarity of 0 deviation, added to the items of each prediction


@dataclass(frozen=True)
class ProfileCosine:
    """A `Scorer`.

    Attributes:
        name, items, known: see `Scorer`; known are items with a feature.
        catalogue: the items' features.
        biases: of the training ratings.
        popularity: float64 (I), ratings of each item over the most that one has.
        recency: see `recency_weights`.
    """

    name: str
    items: pa.Array
    known: NDArray[np.bool_]
    catalogue: KeptFeatures
    biases: Biases
    popularity: Floats
    recency: float

    @classmethod
    def make(
        cls,
        name: str,
        features: Features,
        biases: Biases,
        counts: NDArray[Any],
        store: BlockStore,
        recency: float,
    ) -> ProfileCosine:
        """Out of the catalogue and how many ratings each item has."""
        catalogue = KeptFeatures.put(store, f"{name}-features", features)
        popularity = counts / max(counts.max(initial=0), 1)
        return cls(name, features.items, catalogue.known, catalogue, biases, popularity, recency)

    def features(self) -> Features:
        """The catalogue."""
        return self.catalogue.features(self.items)

    def serves(self, block: Histories) -> NDArray[np.bool_]:
        """(U) who has rated something that has features."""
        return np.asarray(block.matrix(np.ones(len(block.places)), len(self.items)) @ self.known > 0)

    def scores(self, block: Histories) -> Floats:
        """(U, I) cos(Σ_j x_uj p_j, p_i), x the recency of a rating; see `Scorer`."""
        profiles, own = self._profiles(block)
        return np.asarray((own @ profiles.T).toarray() + POPULARITY_SHARE * self.popularity)

    def _profiles(self, block: Histories) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """The items' profiles, and the users' (U, F), of length 1."""
        profiles = self.catalogue.profiles
        own = block.matrix(recency_weights(block, self.recency), len(self.items)) @ profiles
        lengths = np.sqrt(np.asarray(own.multiply(own).sum(axis=1)).ravel())
        return profiles, sparse.csr_matrix(sparse.diags(1.0 / np.where(lengths > 0, lengths, 1.0)) @ own)

    def ratings(self, block: Histories) -> Floats:
        """(U, I) the user's mean rating, and the mean of how far their ratings are from it, weighted by the cosine of
        the rated item's profile with that of the item in question; see `Scorer`."""
        n, profiles = len(self.items), self.catalogue.profiles
        mean = self.biases.mean
        typical_U = mean + np.bincount(block.rows, block.ratings - mean, len(block)) / (block.counts + LIKE_PRIOR)
        far = (block.matrix(block.ratings - typical_U[block.rows], n) @ profiles @ profiles.T).toarray()
        like = (block.matrix(np.ones(len(block.places)), n) @ profiles @ profiles.T).toarray()
        return np.asarray(typical_U[:, None] + far / (like + LIKE_PRIOR))

    def likeness(self, places: NDArray[np.int64]) -> Floats:
        """(N, I) cosines of profiles; see `Scorer`."""
        return self.catalogue.likeness(places)

    def explain(self, block: Histories, row: int, place: int) -> list[Reason]:
        """One summand for each rated item that shares a feature; see `Scorer`."""
        one = block.part(row, row + 1)
        profiles = self.catalogue.profiles
        weights = recency_weights(one, self.recency)
        length = sparse.linalg.norm(one.matrix(weights, len(self.items)) @ profiles)
        values = weights * (profiles[one.places] @ profiles[[place]].T).toarray()[:, 0] / (length or 1.0)
        reasons = [Reason(self.name, int(one.places[p]), float(values[p])) for p in np.flatnonzero(values)]
        return [*reasons, Reason("popularity", -1, float(POPULARITY_SHARE * self.popularity[place]))]

    def tastes(self, block: Histories) -> Iterator[tuple[Any, Floats, list[str]]]:
        """Each user with the entries of their profile that are not 0, and the names of these features."""
        _, own = self._profiles(block)
        for k, user in enumerate(block.users):
            lo, hi = own.indptr[k], own.indptr[k + 1]
            yield user, own.data[lo:hi], [self.catalogue.names[f] for f in own.indices[lo:hi]]

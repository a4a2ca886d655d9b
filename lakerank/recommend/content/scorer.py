"""Score items by what they are about: by features whose worth was learned, or by the cosine of profiles.

Shape suffixes: U users of a block, I items, P ratings, F features, K directions, D dense features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from lakerank.recommend.content.features import Features, MemmapFeatures
from lakerank.recommend.content.solver import Ratings, Taste
from lakerank.recommend.models.base import Reason
from lakerank.recommend.models.training_matrix import MemmapArrays
from lakerank.recommend.models.user_histories import POPULARITY_SHARE, Biases, Histories, recency_weights
from lakerank.spark.array_store import BlockStore

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LearnedContent:
    """A `Scorer`.

    Attributes:
        name, items, known: see `Scorer`; known are items with a feature of their own.
        catalogue: the items' features.
        arrays: float64 `quality` (I) in rating units, `directions` V (I, K), `factors_KI` q̃ (K, I), `typical` (K), the
            mean of x_u V over the training users, for users without ratings.
        mean: μ, in rating units.
        taste: the prior of w_u.
        recency: see `recency_weights`; they are x_u.
    """

    name: str
    items: pa.Array
    known: NDArray[np.bool_]
    catalogue: MemmapFeatures
    arrays: MemmapArrays
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
        """Make one out of what was learned; the arrays go to the store."""
        kept = MemmapArrays.put(
            store,
            f"{name}-learned",
            quality=quality,
            directions=np.ascontiguousarray(directions),
            factors_KI=np.ascontiguousarray(factors.T),
            typical=np.asarray(typical),
        )
        catalogue = MemmapFeatures.put(store, f"{name}-features", features)
        return cls(name, features.items, catalogue.known, catalogue, kept, mean, taste, recency)

    def features(self) -> Features:
        """Return the catalogue."""
        return self.catalogue.features(self.items)

    def is_warm(self, block: Histories) -> NDArray[np.bool_]:
        """Return a mask of the users with ratings, bool (U)."""
        return block.counts > 0

    def scores(self, block: Histories) -> Floats:
        """Return the scores x_u V q̃_i, (U, I); see `Scorer`."""
        chosen = block.matrix(recency_weights(block, self.recency), len(self.items))
        p_UK = np.asarray(chosen @ self.arrays["directions"])
        p_UK[~self.is_warm(block)] = self.arrays["typical"]
        # Not by BLAS, whose last bits depend on how many users are asked about together.
        return np.asarray(sparse.csr_matrix(p_UK) @ self.arrays["factors_KI"])

    def weights(self, block: Histories) -> Floats:
        """Return the users' feature weights w_u, (U, D), in rating units."""
        left = block.ratings - self.mean - self.arrays["quality"][block.positions]
        return self.taste.of(Ratings(block.starts, block.positions, left.astype(np.float64)), self.catalogue.z_ID)

    def ratings(self, block: Histories) -> Floats:
        """Return the predicted ratings μ + quality_i + z_i·w_u, (U, I); see `Scorer`."""
        own_IU = self.catalogue.z_ID @ np.ascontiguousarray(self.weights(block).T)
        return np.asarray(self.mean + self.arrays["quality"] + own_IU.T)

    def item_similarity(self, positions: NDArray[np.int64]) -> Floats:
        """Return the cosines of profiles, (N, I); see `Scorer`."""
        return self.catalogue.item_similarity(positions)

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        """Return one summand for each rated item; see `Scorer`."""
        one = block.part(row, row + 1)
        q_K = self.arrays["factors_KI"][:, position]
        if not len(one.positions):
            return [Reason("content, typical user", -1, float(self.arrays["typical"] @ q_K))]
        values = recency_weights(one, self.recency) * (self.arrays["directions"][one.positions] @ q_K)
        return [
            Reason(self.name, rated, value)
            for rated, value in zip(one.positions.tolist(), values.tolist(), strict=True)
        ]

    def tastes(self, block: Histories) -> Iterator[tuple[Any, Floats, list[str]]]:
        """Return each user with their weights on the dense features, in rating units, and the names of these."""
        names = self.catalogue.names[: self.catalogue.dense]
        for user, own in zip(block.users, self.weights(block), strict=True):
            yield user, own, names


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
    catalogue: MemmapFeatures
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
        """Make one out of the catalogue and how many ratings each item has."""
        catalogue = MemmapFeatures.put(store, f"{name}-features", features)
        popularity = counts / max(counts.max(initial=0), 1)
        return cls(name, features.items, catalogue.known, catalogue, biases, popularity, recency)

    def features(self) -> Features:
        """Return the catalogue."""
        return self.catalogue.features(self.items)

    def is_warm(self, block: Histories) -> NDArray[np.bool_]:
        """Return a mask of the users with a rated item that has features, bool (U)."""
        return np.asarray(block.matrix(np.ones(len(block.positions)), len(self.items)) @ self.known > 0)

    def scores(self, block: Histories) -> Floats:
        """Return the scores cos(Σ_j x_uj p_j, p_i), (U, I), x the recency of a rating; see `Scorer`."""
        profiles, own = self._profiles(block)
        return np.asarray((own @ profiles.T).toarray() + POPULARITY_SHARE * self.popularity)

    def _profiles(self, block: Histories) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """Return the items' profiles, and the users' (U, F), of length 1."""
        profiles = self.catalogue.profiles
        own = block.matrix(recency_weights(block, self.recency), len(self.items)) @ profiles
        lengths = np.sqrt(np.asarray(own.multiply(own).sum(axis=1)).ravel())
        return profiles, sparse.csr_matrix(sparse.diags(1.0 / np.where(lengths > 0, lengths, 1.0)) @ own)

    def ratings(self, block: Histories) -> Floats:
        """Return the predicted ratings, (U, I): the user's mean, plus the mean deviation of their ratings from it,
        weighted by the cosine of the rated item's profile with that of the item in question; see `Scorer`."""
        n, profiles = len(self.items), self.catalogue.profiles
        mean = self.biases.mean
        typical_U = mean + np.bincount(block.rows, block.ratings - mean, len(block)) / (block.counts + LIKE_PRIOR)
        far = (block.matrix(block.ratings - typical_U[block.rows], n) @ profiles @ profiles.T).toarray()
        like = (block.matrix(np.ones(len(block.positions)), n) @ profiles @ profiles.T).toarray()
        return np.asarray(typical_U[:, None] + far / (like + LIKE_PRIOR))

    def item_similarity(self, positions: NDArray[np.int64]) -> Floats:
        """Return the cosines of profiles, (N, I); see `Scorer`."""
        return self.catalogue.item_similarity(positions)

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        """Return one summand for each rated item that shares a feature; see `Scorer`."""
        one = block.part(row, row + 1)
        profiles = self.catalogue.profiles
        weights = recency_weights(one, self.recency)
        length = sparse.linalg.norm(one.matrix(weights, len(self.items)) @ profiles)
        values = weights * (profiles[one.positions] @ profiles[[position]].T).toarray()[:, 0] / (length or 1.0)
        reasons = [Reason(self.name, int(one.positions[p]), float(values[p])) for p in np.flatnonzero(values)]
        return [*reasons, Reason("popularity", -1, float(POPULARITY_SHARE * self.popularity[position]))]

    def tastes(self, block: Histories) -> Iterator[tuple[Any, Floats, list[str]]]:
        """Return each user with the entries of their profile that are not 0, and the names of these features."""
        _, own = self._profiles(block)
        for k, user in enumerate(block.users):
            lo, hi = own.indptr[k], own.indptr[k + 1]
            yield user, own.data[lo:hi], [self.catalogue.names[f] for f in own.indices[lo:hi]]

"""The features of a catalogue where the workers can reach them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from lakerank.recommend.content.features import CONSTANT, Features
from lakerank.recommend.models.memmap_arrays import Kept
from lakerank.spark.array_store import BlockStore


@dataclass(frozen=True)
class KeptFeatures:
    """`Features` in a store.

    Attributes:
        kept: features and profiles as `x_` and `p_` starts, places, values (see `sparse.csr_matrix`).
        names: (F).
        dense: D.
        known: (I) whether an item has any feature of its own.
    """

    kept: Kept
    names: list[str]
    dense: int
    known: NDArray[np.bool_]

    @classmethod
    def put(cls, store: BlockStore, key: str, features: Features) -> KeptFeatures:
        """Write them; what stood under the key is replaced."""
        x, p = features.x_IF, features.profiles()
        kept = Kept.put(
            store, key,
            x_starts=x.indptr, x_places=x.indices, x_values=x.data,
            p_starts=p.indptr, p_places=p.indices, p_values=p.data,
        )  # fmt: skip
        own = np.diff(x.indptr) > int(CONSTANT in features.names)
        return cls(kept, list(features.names), features.dense, own)

    def features(self, items: pa.Array) -> Features:
        """As they were put, with the ids that belong to them."""
        return Features(items, tuple(self.names), self._matrix("x"))

    @property
    def z_ID(self) -> sparse.csr_matrix:
        """(I, D) the dense features."""
        return self._matrix("x")[:, : self.dense].tocsr()

    @property
    def profiles(self) -> sparse.csr_matrix:
        """(I, F) see `Features.profiles`."""
        return self._matrix("p")

    def likeness(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N, I) cosines of the profiles at `places` with all, −∞ where both share no feature."""
        profiles = self.profiles
        like = (profiles[places] @ profiles.T).toarray()
        like[like <= 0] = -np.inf
        like[np.arange(len(places)), places] = -np.inf
        return np.asarray(like)

    def _matrix(self, which: str) -> sparse.csr_matrix:
        parts = tuple(np.asarray(self.kept[f"{which}_{name}"]) for name in ("values", "places", "starts"))
        return sparse.csr_matrix(parts, shape=(len(self.known), len(self.names)))

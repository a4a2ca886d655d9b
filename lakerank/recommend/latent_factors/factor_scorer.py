"""Latent factors as arrays: μ + b_u + b_i + p_u·q_i, for users of the training and, folded in, for newcomers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.recommend.latent_factors.fold_in import solve
from lakerank.recommend.models.base import Reason
from lakerank.recommend.models.training_matrix import MemmapArrays
from lakerank.recommend.models.user_histories import Histories


@dataclass(frozen=True)
class FactorScorer:
    """A `Scorer`.

    Attributes:
        items, users: ids (I) ascending, and (V) of the training.
        arrays: float32 `q` (I, K), `item_bias` (I), `p` (V, K), `user_bias` (V).
        mean: μ.
        reg, rank, bias: see `fold_in`.
        fallback: predicted for users nothing is known of; None: their mean and the biases of the items.
    """

    items: pa.Array
    users: pa.Array
    arrays: Mapping[str, NDArray[Any]] | MemmapArrays
    mean: float
    reg: float
    rank: int
    bias: bool = True
    fallback: float | None = None
    name: str = "latent factors"

    @property
    def known(self) -> NDArray[np.bool_]:
        """A mask of the known items, bool (I): all, as others have no factors."""
        return np.ones(len(self.items), np.bool_)

    def is_warm(self, block: Histories) -> NDArray[np.bool_]:
        """Return a mask of the users in training or with ratings since, bool (U)."""
        return np.asarray((self._at(block) >= 0) | (block.counts > 0))

    def scores(self, block: Histories) -> NDArray[np.float64]:
        """Return the predicted ratings as scores, (U, I), not clipped."""
        return self._products(block)

    def ratings(self, block: Histories) -> NDArray[np.float64]:
        """Return the predicted ratings, (U, I)."""
        guess = self._products(block)
        if self.fallback is not None:
            guess[~self.is_warm(block)] = self.fallback
        return guess

    def _products(self, block: Histories) -> NDArray[np.float64]:
        """Return μ + b_u + b_i + p_u·q_i, (U, I)."""
        p_UK, b_U = self._taste(block)
        b_I = self.arrays["item_bias"].astype(np.float64)
        product = p_UK.astype(np.float64) @ self.arrays["q"].T.astype(np.float64)
        return np.asarray(self.mean + b_U[:, None] + b_I + product)

    def item_similarity(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cosines of the factors, (N, I)."""
        q = self.arrays["q"].astype(np.float64)
        q = q / np.maximum(np.linalg.norm(q, axis=1), 1e-12)[:, None]
        like = q[positions] @ q.T
        like[np.arange(len(positions)), positions] = -np.inf
        return np.asarray(like)

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        """Return μ, the two biases, and the dot product of the user's and the item's factors."""
        p_UK, b_U = self._taste(block.part(row, row + 1))
        fit = float(p_UK[0].astype(np.float64) @ self.arrays["q"][position].astype(np.float64))
        return [
            Reason("mean rating", -1, self.mean),
            Reason("user bias", -1, float(b_U[0])),
            Reason("item bias", -1, float(self.arrays["item_bias"][position])),
            Reason(self.name, -1, fit),
        ]

    def _at(self, block: Histories) -> NDArray[np.int64]:
        """Return the row of each user in the training, (U); −1 for newcomers."""
        if block.users.type != self.users.type:
            return np.full(len(block), -1)
        positions = pc.index_in(block.users, value_set=self.users).fill_null(-1)
        return np.asarray(positions.to_numpy(zero_copy_only=False))

    def _taste(self, block: Histories) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return factors and biases of users, (U, K) and (U); zeros for those who rated nothing."""
        at = self._at(block)
        p_UK = np.zeros((len(block), self.arrays["q"].shape[1]), np.float32)
        b_U = np.zeros(len(block))
        p_UK[at >= 0] = self.arrays["p"][at[at >= 0]]
        b_U[at >= 0] = self.arrays["user_bias"][at[at >= 0]]
        new = (at < 0) & (block.counts > 0)
        if new.any():
            mine = new[block.rows]
            rows = np.cumsum(new)[block.rows[mine]] - 1
            bias, q = (np.array(self.arrays[name], np.float32) for name in ("item_bias", "q"))
            left = block.ratings[mine] - np.float32(self.mean)
            models = q.shape[1] // self.rank if self.rank else 1
            p_UK[new], b_U[new], _ = solve(
                rows, block.positions[mine], left, int(new.sum()), bias, q, self.reg, models, self.bias
            )
        return p_UK, b_U

"""A run's state between two epochs.

A run owns a `BlockStore`. `epoch-N/` holds what epoch N left: `user-P` and `item-Q` (`factors` (rows, K) and `bias`
(rows), float32, and the optimiser's state), `effects-SIDE-P` and `shift-SIDE-P-Q` (time effects, and the same for each
rating of a block), `centre-SIDE-W` (implicit feedback) and, of a Gibbs sampler, `hyper`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.latent_factors.arrays import SIDES
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.rating_blocks import RatingBlocks
from lakerank.spark.array_store import Block, BlockStore


@dataclass(frozen=True)
class Run:
    """Settings, ratings and the folder of one run. Workers get a copy."""

    config: LfmConfig
    data: RatingBlocks
    root: str

    @property
    def store(self) -> BlockStore:
        """The run's state."""
        return BlockStore(self.root)

    @property
    def timed(self) -> bool:
        """Whether there are time effects."""
        return self.config.time and self.data.days

    @property
    def mean(self) -> float:
        """μ; 0 without biases."""
        return self.data.mean if self.config.bias else 0.0

    def rng(self, *key: int) -> np.random.Generator:
        """Random numbers that depend on the seed and the key alone."""
        return np.random.default_rng([self.config.seed, *key])

    def whole_side(self, state: str, side: str) -> NDArray[np.float32]:
        """All rows of a side, (rows, K + 1): factors, then the bias."""
        whole = np.empty((self.data.size(side), self.config.factors + 1), np.float32)
        for p in range(self.data.blocks):
            whole[p :: self.data.blocks] = joined(self.store.get(f"{state}/{side}-{p}"))
        return whole

    def shift(self, state: str, p: int, q: int) -> NDArray[np.float32] | None:
        """Time effects on each rating of block (p, q), both sides' together; None if there are none yet."""
        keys = [f"{state}/shift-{side}-{p}-{q}" for side in SIDES]
        found = [self.store.get(key)["shift"] for key in keys if self.store.has(key)]
        return None if not found else np.sum(found, axis=0, dtype=np.float32)


def joined(block: Block) -> NDArray[np.float32]:
    """A block's rows as (rows, K + 1): factors, then the bias."""
    return np.column_stack([block["factors"], block["bias"]])

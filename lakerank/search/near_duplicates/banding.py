"""How many MinHash values make a band, and how many bands find a pair of a given similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakerank.cli.errors import UserError

PERMUTATIONS = 128
RECALL = 0.999  # of pairs exactly at the threshold; those above it are found more surely
_SEED = 20_260_101
LOWEST = 0.1  # below, even bands of one row miss too much


@dataclass(frozen=True)
class Banding:
    """`bands` groups of `rows` MinHash values; two sets are compared if they agree on all rows of some band."""

    bands: int
    rows: int

    @staticmethod
    def for_threshold(threshold: float) -> Banding:
        """The longest bands (so the fewest pairs to compare) that still find `RECALL` of pairs at the threshold.

        Args:
            threshold: Jaccard similarity, 0.1 to 1.

        Raises:
            UserError: the threshold is outside that range.
        """
        if not LOWEST <= threshold <= 1:
            raise UserError(f"near-duplicates: the threshold is {threshold}; it must be {LOWEST} to 1")
        for rows in range(PERMUTATIONS, 0, -1):
            banding = Banding(PERMUTATIONS // rows, rows)
            if banding.recall(threshold) >= RECALL:
                return banding
        raise AssertionError("128 bands of one row find 0.999999 of pairs at 0.1")

    def recall(self, similarity: float) -> float:
        """Probability that two sets of this Jaccard similarity are compared: 1 − (1 − sʳ)ᵇ.

        Source: Leskovec, Rajaraman, Ullman, *Mining of Massive Datasets*, section 3.4.2.
        """
        return float(1 - (1 - similarity**self.rows) ** self.bands)

    def permutations(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Factors (odd) and summands of x ↦ a·x + b modulo 2³², uint32[bands · rows] each; always the same."""
        size = self.bands * self.rows
        numbers = np.random.default_rng(_SEED).integers(0, 1 << 32, (2, PERMUTATIONS), dtype=np.uint32)[:, :size]
        return numbers[0] | np.uint32(1), numbers[1].copy()

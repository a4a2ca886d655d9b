"""Choose the settings of models that rank by what users rated last: held-out ratings, and how far up they come.

The search works on the items with the most ratings, as dense matrices: there are most of the ratings, and many settings
cost no more than one training. Shape suffixes: V users asked, I items of the search, P ratings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lakerank.recommend.models.training_matrix import TrainingMatrix
from lakerank.recommend.models.user_histories import Histories, recency_weights

SEARCH_ITEMS = 2_000  # with the most ratings; a matrix of their pairs is 32 MB
USERS_ASKED = 1_000
FEWEST_USERS = 50  # with so few, chance chooses
RECENCIES = (0.0, 0.4, 0.8)  # powers that are tried
AS_GOOD = (
    5e-3  # of the score: what is no more than this worse is as good, and the usual setting or the smaller is taken
)


@dataclass(frozen=True)
class LastRatings:
    """Ratings without the last one of some users, and these.

    Attributes:
        block: all users' ratings of the items of the search, without those held out; positions are in these items.
        asked: the users asked, a part of `block`.
        targets: (V) position of what each rated last.
        n_items: I.
    """

    block: Histories
    asked: Histories
    targets: NDArray[np.int64]
    n_items: int

    @classmethod
    def of(cls, training: TrainingMatrix, seed: int = 0) -> LastRatings | None:
        """Hold out the newest rating of some users; of those of the same second, or without times, any.

        Returns:
            None if fewer than `FEWEST_USERS` have more than one rating.
        """
        n_items = len(training.items)
        counts = np.bincount(training.block.positions, minlength=n_items)
        chosen = np.sort(np.argsort(-counts, kind="stable")[:SEARCH_ITEMS])
        to = np.full(n_items, -1, np.int32)
        to[chosen] = np.arange(len(chosen))
        block = training.block.reindex(to)
        rng = np.random.default_rng(seed)
        several = np.flatnonzero(block.counts > 1)
        if len(several) < FEWEST_USERS:
            return None
        users = np.sort(rng.permutation(several)[:USERS_ASKED])
        newest_first = np.lexsort((rng.random(len(block.positions)), -block.seconds, block.rows))
        held = newest_first[block.starts[users]]
        left = np.ones(len(block.positions), np.bool_)
        left[held] = False
        rest = _only(block, left)
        asked = np.zeros(len(block), np.bool_)
        asked[users] = True
        return cls(rest, _users(rest, asked), block.positions[held].astype(np.int64), len(chosen))

    def ones(self) -> sparse.csr_matrix:
        """Return the matrix of ones of all users, (users, I)."""
        return self.block.matrix(np.ones(len(self.block.positions)), self.n_items)

    def taste(self, recency: float) -> sparse.csr_matrix:
        """Return the weights of what the users asked have rated, (V, I)."""
        return self.asked.matrix(recency_weights(self.asked, recency), self.n_items)

    def score(self, scores_VI: NDArray[np.floating[Any]]) -> float:
        """Return the mean of 1 / log₂(1 + rank) of what users rated last, among what they have not rated; 0 to 1."""
        own = self.asked
        scores = np.array(scores_VI, np.float64)
        scores[own.rows, own.positions] = -np.inf
        mine = scores[np.arange(len(own)), self.targets][:, None]
        rank = 1 + (scores > mine).sum(axis=1) + ((scores == mine).sum(axis=1) - 1) / 2
        return float(np.mean(1 / np.log2(1 + rank)))


def _only(block: Histories, kept: NDArray[np.bool_]) -> Histories:
    """Return some of the ratings, of the same users."""
    counts = np.bincount(block.rows[kept], minlength=len(block))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Histories(block.users, starts, block.positions[kept], block.ratings[kept], block.seconds[kept])


def _users(block: Histories, chosen: NDArray[np.bool_]) -> Histories:
    """Return the ratings of some of the users."""
    kept = chosen[block.rows]
    starts = np.concatenate([[0], np.cumsum(block.counts[chosen])]).astype(np.int64)
    users = block.users.filter(np.asarray(chosen))
    return Histories(users, starts, block.positions[kept], block.ratings[kept], block.seconds[kept])


def keep_largest(weights_II: NDArray[np.floating[Any]], top: int) -> NDArray[np.float64]:
    """Return a matrix with the `top` entries of greatest size in each column; the others are 0."""
    n = len(weights_II)
    if top >= n:
        return np.asarray(weights_II, np.float64)
    smaller = np.argpartition(-np.abs(weights_II), top - 1, axis=0)[top:]
    kept = np.array(weights_II, np.float64)
    np.put_along_axis(kept, smaller, 0.0, axis=0)
    return kept

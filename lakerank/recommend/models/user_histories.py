"""Users' histories as arrays, one block of users at a time; recency weights, and the biases of users and items.

Shape suffixes: U users of the block, P ratings, I items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse


@dataclass(frozen=True)
class Histories:
    """The ratings of a block of users, user by user, each user's by the position of the item.

    Attributes:
        users: (U) ids; some may have no ratings.
        starts: int64 (U + 1); the ratings of user u are those from `starts[u]` to `starts[u + 1]`.
        positions: int32 (P), positions of the items in the list of items that these histories belong to.
        ratings: float32 (P).
        seconds: int64 (P), when, in Unix time; 0 where it is not known.
    """

    users: pa.Array
    starts: NDArray[np.int64]
    positions: NDArray[np.int32]
    ratings: NDArray[np.float32]
    seconds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The user of each rating by position in `users`, (P)."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of ratings of each user, (U)."""
        return np.diff(self.starts)

    @classmethod
    def of(cls, users: pa.Array, items: pa.Array, ratings: pa.Table) -> Histories:
        """Make one from rows of ratings; those of other users and of unknown items are left out.

        Args:
            users: (U) distinct ids.
            items: (I) distinct ids.
            ratings: `user_id`, `item_id`, `rating`, and `rated_at` or `seconds` if there are times.
        """
        rows = pc.index_in(_flat(ratings.column("user_id")), value_set=users)
        positions = pc.index_in(_flat(ratings.column("item_id")).cast(items.type), value_set=items)
        return cls.at(users, rows, positions, _flat(ratings.column("rating")), seconds_of(ratings))

    @classmethod
    def at(
        cls, users: pa.Array, rows: pa.Array, positions: pa.Array, ratings: pa.Array, seconds: pa.Array
    ) -> Histories:
        """Make one from columns (P) in any order; where a row or position is null, the rating is left out."""
        known = pc.and_(pc.is_valid(rows), pc.is_valid(positions))
        own, where = (column.filter(known).to_numpy(zero_copy_only=False) for column in (rows, positions))
        order = np.lexsort((where, own))
        values = [column.filter(known).to_numpy(zero_copy_only=False)[order] for column in (ratings, seconds)]
        starts = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=len(users)))]).astype(np.int64)
        return cls(users, starts, where[order].astype(np.int32), values[0].astype(np.float32), values[1])

    def reindex(self, to: NDArray[np.int32]) -> Histories:
        """Return these histories for another list of items: `to` (I) has each item's new position, −1 where the list
        lacks it."""
        positions = to[self.positions]
        kept = positions >= 0
        counts = np.bincount(self.rows[kept], minlength=len(self))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Histories(self.users, starts, positions[kept], self.ratings[kept], self.seconds[kept])

    def newest(self, most: int) -> Histories:
        """Return these users with at most so many ratings each, the newest; of the same second, those of lower
        position."""
        order = np.lexsort((self.positions, -self.seconds, self.rows))
        kept = np.zeros(len(order), np.bool_)
        kept[order] = np.arange(len(order)) - self.starts[self.rows[order]] < most
        starts = np.concatenate([[0], np.cumsum(np.minimum(self.counts, most))]).astype(np.int64)
        return Histories(self.users, starts, self.positions[kept], self.ratings[kept], self.seconds[kept])

    def anonymous(self) -> Histories:
        """Return these ratings, of users without an id."""
        return Histories(pa.nulls(len(self), self.users.type), self.starts, self.positions, self.ratings, self.seconds)

    def part(self, lo: int, hi: int) -> Histories:
        """Return the users from `lo` to `hi` (excluded)."""
        a, b = self.starts[lo], self.starts[hi]
        return Histories(
            self.users[lo:hi],
            self.starts[lo : hi + 1] - a,
            self.positions[a:b],
            self.ratings[a:b],
            self.seconds[a:b],
        )

    def matrix(self, values: NDArray[Any], n_items: int) -> sparse.csr_matrix:
        """Return a sparse matrix of these values, (P) → (U, I)."""
        return sparse.csr_matrix((values, self.positions, self.starts), shape=(len(self), n_items))


def seconds_of(ratings: pa.Table) -> pa.Array:
    """Return unix seconds (P) from `seconds` or `rated_at`; 0 where there is no time."""
    if "seconds" in ratings.column_names:
        return _flat(ratings.column("seconds"))
    if "rated_at" not in ratings.column_names:
        return pa.array(np.zeros(ratings.num_rows, np.int64))
    return _flat(ratings.column("rated_at")).cast(pa.timestamp("s"), safe=False).cast(pa.int64()).fill_null(0)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


# Orders what a scorer of histories leaves equal, and all items for users without ratings.
POPULARITY_SHARE = 1e-6


def recency_weights(block: Histories, power: float) -> NDArray[np.float64]:
    """Return the recency weights (1 + number of the user's newer ratings)^−power, (P); equal within a second.

    Where there are no times all weights are 1. A power law of the position fits sessions, in which seconds pass, and
    years, alike.
    """
    order = np.lexsort((-block.seconds, block.rows))
    rows, seconds = block.rows[order], block.seconds[order]
    at = np.arange(len(order))
    first = np.ones(len(order), np.bool_)
    first[1:] = (rows[1:] != rows[:-1]) | (seconds[1:] != seconds[:-1])
    newer = np.maximum.accumulate(np.where(first, at, 0)) - block.starts[rows]
    weights = np.empty(len(order))
    weights[order] = (1.0 + newer) ** -power
    return weights


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
        """Make one from all training ratings."""
        if not len(block.ratings):
            return cls(0.0, np.zeros(n_items), 0.0, 0.0)
        r = block.ratings.astype(np.float64)
        mean = float(r.mean())
        total = np.bincount(block.positions, r - mean, n_items)
        of_items = total / (np.bincount(block.positions, minlength=n_items) + ITEM_PRIOR)
        return cls(mean, of_items, float(r.min()), float(r.max()))

    def of_users(self, block: Histories) -> NDArray[np.float64]:
        """Return the user biases b_u, (U); 0 for users without ratings."""
        left = block.ratings - self.mean - self.of_items[block.positions]
        return np.bincount(block.rows, left, len(block)) / (block.counts + USER_PRIOR)

    def residuals(self, block: Histories) -> NDArray[np.float64]:
        """Return the residual of each rating after the biases, (P)."""
        known = self.mean + self.of_items[block.positions] + self.of_users(block)[block.rows]
        return np.asarray(block.ratings - known, np.float64)

    def ratings(self, block: Histories) -> NDArray[np.float64]:
        """Return the predicted ratings μ + b_u + b_i, (U, I)."""
        return self.mean + self.of_users(block)[:, None] + self.of_items[None, :]


def items_of(table: pa.Table) -> pa.Array:
    """Return the distinct ids in `item_id`, ascending."""
    ids = table.column("item_id").combine_chunks().unique()
    return ids.take(pc.sort_indices(ids))

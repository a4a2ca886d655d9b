"""The files of an epoch: rating blocks, the ratings row by row, and a run's state after each epoch.

`RatingBlocks` belong to a set of ratings and are shared by runs: `ratings/PART-P-Q`, `ids/SIDE-P`, and `rows/SIDE-P`,
the layouts by row. SGD visits ratings block by block; Gibbs sampling, implicit feedback and time effects need whole
rows. A layout is made from the blocks once. It holds no ratings, but where each stands in the blocks: `order` points
into the concatenation of user p's blocks (p, 0 … B−1), or of item q's blocks (0 … B−1, q).
Which blocks have no ratings is written down: any other one that is missing is an error, never "no ratings".

A `Run` owns a store of its own. `epoch-N/` holds what epoch N left: `user-P` and `item-Q` (`factors` (rows, K) and
`bias` (rows), float32, and the optimiser's state), `effects-SIDE-P` and `shift-SIDE-P-Q` (time effects, and the same
for each rating of a block), `centre-SIDE-W` (implicit feedback) and, of a Gibbs sampler, `hyper` and `mean/`, the mean
of its samples as a state of its own. A state is sealed
when its epoch is finished: what a resumed run goes on from is what that epoch left, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.spark.array_store import Block, BlockStore

PARTS = ("train", "valid", "test")
SIDES = ("user", "item")
NO_DAY = -(1 << 31)  # of a rating without a time


@dataclass(frozen=True)
class RatingBlocks:
    """Where the blocks are, and what they hold. Users and items are numbered by sorted id; number n is row
    n div B of block n mod B.

    Attributes:
        root: folder of the store.
        blocks: B.
        n_users, n_items: of the training ratings; a held-out rating of anyone else has number −1.
        counts: number of ratings by part.
        mean, deviation, low, high: of the training ratings.
        days: whether each rating's day is kept, for time effects.
        edges: days that divide the training ratings into parts of equal size, ascending; for an item's time bins.
        empty: the blocks (`PART-P-Q`, of parts that have ratings) without any.
    """

    root: str
    blocks: int
    n_users: int
    n_items: int
    counts: dict[str, int]
    mean: float
    deviation: float
    low: float
    high: float
    days: bool
    edges: tuple[int, ...] = ()
    empty: frozenset[str] = frozenset()

    @property
    def store(self) -> BlockStore:
        """The blocks: `ratings/PART-P-Q` and `ids/SIDE-P`."""
        return BlockStore(self.root)

    @property
    def held_out(self) -> tuple[str, ...]:
        """The parts held out that have ratings."""
        return tuple(part for part in ("valid", "test") if self.counts.get(part))

    def size(self, side: str) -> int:
        """Return the number of users or items."""
        return self.n_users if side == "user" else self.n_items

    def rows(self, side: str, p: int) -> int:
        """Return the number of users or items in block p."""
        return len(range(p, self.size(side), self.blocks))

    def get(self, part: str, p: int, q: int) -> Block | None:
        """Return the ratings of users p with items q: `rows`, `cols` (int32, −1 unknown), `ratings` (float32), `tiles`
        (int64 boundaries), and `days` (int32) if kept. None if there are none.

        Raises:
            UserError: the block is missing or damaged.
        """
        name = f"{part}-{p}-{q}"
        return None if name in self.empty or not self.counts.get(part) else self.store.get(f"ratings/{name}")


def other_side(side: str) -> str:
    """Return the side across: item of user, user of item."""
    return "item" if side == "user" else "user"


def pair(side: str, p: int, turn: int) -> tuple[int, int]:
    """Return the pair (user block, item block) of a row block's `turn`-th rating block."""
    return (p, turn) if side == "user" else (turn, p)


def gather(data: RatingBlocks, side: str, p: int, name: str) -> NDArray[Any]:
    """Concatenate one array of all training blocks of row block p."""
    found = (data.get("train", *pair(side, p, turn)) for turn in range(data.blocks))
    parts = [np.asarray(block[name]) for block in found if block is not None]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def lengths(data: RatingBlocks, side: str, p: int, part: str = "train") -> list[int]:
    """Count the ratings in each block of row block p."""
    found = (data.get(part, *pair(side, p, turn)) for turn in range(data.blocks))
    return [0 if block is None else len(block["ratings"]) for block in found]


def time_bins(days: NDArray[np.int32], edges: Sequence[int]) -> NDArray[np.int64]:
    """Find which of the len(edges) + 1 parts of time a day falls in; −1 without a day."""
    return np.where(days == NO_DAY, -1, np.searchsorted(np.asarray(edges, np.int64), days, side="right"))


def make_layout(data: RatingBlocks, side: str, p: int, again: bool = False) -> None:
    """Write `rows/SIDE-p` unless it is there; `again` if it is there and damaged.

    It holds `indptr` (int64, rows + 1), `others` (int32, the other side's numbers), `order` (int64), and with days
    `groups` (int32: which time effect a rating falls under, −1 none) and `sizes` (int64 (1), number of effects).
    A user's effects are days, an item's are time bins.
    """
    key = f"rows/{side}-{p}"
    if data.store.has(key) and not again:
        return
    mine, theirs = ("rows", "cols") if side == "user" else ("cols", "rows")
    row = gather(data, side, p, mine).astype(np.int64)
    turns = np.repeat(np.arange(data.blocks), lengths(data, side, p))
    across = gather(data, side, p, theirs).astype(np.int64) * data.blocks + turns
    days = gather(data, side, p, "days") if data.days else None
    keys = row * data.size(other_side(side)) + across
    order = np.argsort(keys) if days is None else np.lexsort((across, days, row))
    n_rows = data.rows(side, p)
    indptr = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=n_rows), out=indptr[1:])
    layout: Block = {"indptr": indptr, "others": across[order].astype(np.int32), "order": order.astype(np.int64)}
    if days is not None:
        day = days[order]
        if side == "user":
            ids = row[order] * (1 << 32) + day.astype(np.int64)
            keep = ids[day != NO_DAY]
            found, inverse = np.unique(keep, return_inverse=True)
            groups = np.full(len(ids), -1, np.int32)
            groups[day != NO_DAY] = inverse
            layout |= {"groups": groups, "sizes": np.array([len(found)]), "known": found}
        else:
            bins = len(data.edges) + 1
            at = time_bins(day, data.edges)
            layout |= {"groups": np.where(at < 0, -1, row[order] * bins + at).astype(np.int32)}
            layout |= {"sizes": np.array([n_rows * bins])}
    data.store.put(key, layout)


def make_layouts(data: RatingBlocks, p: int) -> list[tuple[str, float, int]]:
    """Write the layouts of both sides' row block p unless they are there: the work of a runner."""
    for side in SIDES:
        make_layout(data, side, p)
    return [("layouts", 0.0, 0)]


def held_out_groups(data: RatingBlocks, side: str, ratings: Block, p: int) -> NDArray[np.int64]:
    """Find the time effect each held-out rating of row block p falls under; −1 if training had none."""
    days = np.asarray(ratings["days"])
    if side == "item":
        bins, at = len(data.edges) + 1, time_bins(days, data.edges)
        return np.where((at < 0) | (ratings["cols"] < 0), -1, ratings["cols"].astype(np.int64) * bins + at)
    known = data.store.get(f"rows/user-{p}")["known"]
    if not len(known):
        return np.full(len(days), -1)
    ids = ratings["rows"].astype(np.int64) * (1 << 32) + days
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[at] == ids, at, -1)


def degrees(data: RatingBlocks, side: str) -> NDArray[np.int64]:
    """Count the training ratings of each row, by global number."""
    counts = np.zeros(data.size(side), np.int64)
    for p in range(data.blocks):
        counts[p :: data.blocks] = np.diff(data.store.get(f"rows/{side}-{p}")["indptr"])
    return counts


@dataclass(frozen=True)
class Run:
    """Settings, ratings and the folder of one run. Workers get a copy.

    Attributes:
        config, data, root: settings, ratings, folder.
        settles: whether it ends as soon as its validation error stops falling; of a Gibbs sampler.
    """

    config: LfmConfig
    data: RatingBlocks
    root: str
    settles: bool = False

    @property
    def store(self) -> BlockStore:
        """The run's state."""
        return BlockStore(self.root)

    @property
    def has_time_effects(self) -> bool:
        """Whether there are time effects."""
        return self.config.time and self.data.days

    @property
    def needs_layouts(self) -> bool:
        """Whether row layouts are needed: all but plain SGD visits whole rows."""
        whole = self.config.bayesian or self.config.by_least_squares or self.config.ranks
        return whole or bool(self.config.implicit_sides) or self.has_time_effects

    @property
    def mean(self) -> float:
        """μ; 0 without biases."""
        return self.data.mean if self.config.bias else 0.0

    def rng(self, *key: int) -> np.random.Generator:
        """Return a generator of random numbers that depend on the seed and the key alone."""
        return np.random.default_rng([self.config.seed, *key])

    def all_rows(self, state: str, side: str) -> NDArray[np.float32]:
        """Return all rows of a side, (rows, K + 1): factors, then the bias."""
        whole = np.empty((self.data.size(side), self.config.factors + 1), np.float32)
        for p in range(self.data.blocks):
            whole[p :: self.data.blocks] = with_bias_column(self.store.get(f"{state}/{side}-{p}"))
        return whole

    def shift(self, state: str, p: int, q: int) -> NDArray[np.float32] | None:
        """Time effects on each rating of block (p, q), both sides' together; None if there are none yet."""
        keys = [f"{state}/shift-{side}-{p}-{q}" for side in SIDES]
        found = [self.store.get(key)["shift"] for key in keys if self.store.has(key)]
        return None if not found else np.sum(found, axis=0, dtype=np.float32)


def with_bias_column(block: Block) -> NDArray[np.float32]:
    """Return a block's rows as (rows, K + 1): factors, then the bias."""
    return np.column_stack([block["factors"], block["bias"]])

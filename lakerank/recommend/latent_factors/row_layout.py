"""The same ratings row by row: all of a user's together, all of an item's together, and which time they fall in.

SGD visits ratings block by block; Gibbs sampling, implicit feedback and time effects need whole rows. These layouts
are made from the blocks once and stay beside them. A layout holds no ratings, but where each stands in the blocks:
`order` points into the concatenation of user p's blocks (p, 0 … B−1), or of item q's blocks (0 … B−1, q).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.latent_factors.arrays import NO_DAY
from lakerank.recommend.latent_factors.rating_blocks import RatingBlocks
from lakerank.spark.array_store import Block


def other(side: str) -> str:
    """The side across."""
    return "item" if side == "user" else "user"


def pair(side: str, p: int, turn: int) -> tuple[int, int]:
    """Number (user block, item block) of a row block's `turn`-th rating block."""
    return (p, turn) if side == "user" else (turn, p)


def gather(data: RatingBlocks, side: str, p: int, name: str) -> NDArray[Any]:
    """One array of all training blocks of row block p, one after the other."""
    found = (data.get("train", *pair(side, p, turn)) for turn in range(data.blocks))
    parts = [np.asarray(block[name]) for block in found if block is not None]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def lengths(data: RatingBlocks, side: str, p: int, part: str = "train") -> list[int]:
    """Number of ratings in each block of row block p."""
    found = (data.get(part, *pair(side, p, turn)) for turn in range(data.blocks))
    return [0 if block is None else len(block["ratings"]) for block in found]


def time_bins(days: NDArray[np.int32], edges: Sequence[int]) -> NDArray[np.int64]:
    """Which of the len(edges) + 1 parts of time a day falls in; −1 without a day."""
    return np.where(days == NO_DAY, -1, np.searchsorted(np.asarray(edges, np.int64), days, side="right"))


def make_layout(data: RatingBlocks, side: str, p: int) -> None:
    """Write `rows/SIDE-p` unless it is there.

    It holds `indptr` (int64, rows + 1), `others` (int32, the other side's numbers), `order` (int64), and with days
    `groups` (int32: which time effect a rating falls under, −1 none) and `sizes` (int64 (1), number of effects).
    A user's effects are days, an item's are time bins.
    """
    key = f"rows/{side}-{p}"
    if data.store.has(key):
        return
    mine, theirs = ("rows", "cols") if side == "user" else ("cols", "rows")
    row = gather(data, side, p, mine).astype(np.int64)
    turns = np.repeat(np.arange(data.blocks), lengths(data, side, p))
    across = gather(data, side, p, theirs).astype(np.int64) * data.blocks + turns
    days = gather(data, side, p, "days") if data.days else None
    keys = row * data.size(other(side)) + across
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


def held_groups(data: RatingBlocks, side: str, held: Block, p: int) -> NDArray[np.int64]:
    """The time effect each held-out rating of row block p falls under; −1 if training had none."""
    days = np.asarray(held["days"])
    if side == "item":
        bins, at = len(data.edges) + 1, time_bins(days, data.edges)
        return np.where((at < 0) | (held["cols"] < 0), -1, held["cols"].astype(np.int64) * bins + at)
    known = data.store.get(f"rows/user-{p}")["known"]
    if not len(known):
        return np.full(len(days), -1)
    ids = held["rows"].astype(np.int64) * (1 << 32) + days
    place = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[place] == ids, place, -1)


def degrees(data: RatingBlocks, side: str) -> NDArray[np.int64]:
    """Number of training ratings of each row, by global number."""
    counts = np.zeros(data.size(side), np.int64)
    for p in range(data.blocks):
        counts[p :: data.blocks] = np.diff(data.store.get(f"rows/{side}-{p}")["indptr"])
    return counts

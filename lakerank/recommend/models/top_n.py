"""The best unseen items of each user: exact search for the largest inner products, a batch of users at a time.

What users have seen is the bulk of the data (144 pairs a user in MovieLens against one vector). Neither grouped in
the JVM nor shuffled row by row, it is packed where it is read: columns of pairs, cut into one piece for each batch
of users, so that a shuffle moves some thousand streams instead of millions of rows.

Shape suffixes: U users of a batch, I items, K factors, N best items, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.recommend.models.batch_shuffle import FEW_USERS, MOST_BATCHES, packer
from lakerank.spark.arrow_ipc import from_bytes
from lakerank.spark.jit import compiled

USERS_AT_ONCE = 512  # users of a batch, on average
ITEMS_AT_ONCE = 512  # with so many users their scores are 1 MiB of float32: they stay in the second-level cache
PAIRS_AT_ONCE = 1 << 20  # seen pairs packed together, about 20 MB

Floats = NDArray[np.floating[Any]]
# A table of users → vectors (U, K), numbers (U) to add to their scores, and in words where the scores come from (U).
Taste = Callable[[pa.Table], tuple[Floats, Floats, pa.Array]]


def top_unseen(users: DataFrame, seen: DataFrame, items: pa.Array, q_IK: Floats, taste: Taste, top: int) -> DataFrame:
    """Return the `recommendations` relation: each user's `top` items of highest score, without those they have seen.

    The score is o_u + p_u·q_i in float64. A worker holds the items' ids and vectors, and of one batch of about
    `USERS_AT_ONCE` users the vectors, what these have seen and one tile of scores. The users are counted at once.

    Args:
        users: frame (user_id, …), distinct users; the other columns are for `taste`.
        seen: frame (user_id, item_id) to leave out; repeats and unknown users and items are harmless.
        items: ids, ascending: equal scores are ordered by them.
        q_IK: the items' vectors, float32 or float64.
        taste: o_u, p_u and the reason, computed in the workers.
        top: how many; fewer come back if fewer are left. Items with an infinite score or NaN never come back.
    """
    n_users = users.count()
    user_type, item_type = dict(users.dtypes)["user_id"], "bigint" if pa.types.is_integer(items.type) else "string"
    batch = F.pmod(F.hash("user_id"), F.lit(min(MOST_BATCHES, n_users // USERS_AT_ONCE + 1))).alias("batch")
    pairs = seen.select(F.col("user_id").cast(user_type), F.col("item_id").cast(item_type))
    if n_users <= FEW_USERS:
        pairs = pairs.join(F.broadcast(users.select("user_id")), "user_id", "left_semi")
    packed = pairs.select(batch, "user_id", "item_id").mapInArrow(
        packer("pairs", PAIRS_AT_ONCE, partial(_positions, items=items)), "batch int, pairs binary"
    )
    return (
        users.select(batch, "*")
        .groupBy("batch")
        .cogroup(packed.groupBy("batch"))
        .applyInArrow(
            _ranker(items, q_IK, taste, top),
            f"user_id {user_type}, rank int, item_id {item_type}, score double, reason string",
        )
    )


def best_unseen(
    p_UK: Floats, o_U: Floats, q_IK: Floats, longest: float, rows_P: NDArray[Any], items_P: NDArray[Any], top: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return positions and scores of each user's `top` items of highest o_u + p_u·q_i, best first, equal ones by
    position.

    Args:
        p_UK, q_IK: vectors of users and items, float32 or float64.
        o_U: what is added to a user's scores.
        longest: the greatest ‖q_i‖ (`longest_vector`), the same for all batches.
        rows_P, items_P: pairs to leave out, by position.
        top: N; at most I columns come back.

    Returns:
        int32 (U, N) and float64 (U, N); where fewer are left, or scores are not finite, −1 and −inf fill the end.
    """
    n_users, n_items = len(p_UK), len(q_IK)
    shape = n_users, min(top, n_items)
    positions, scores = np.full(shape, -1, np.int32), np.full(shape, -np.inf)
    if 0 in shape:
        return positions, scores
    p32, q32 = np.ascontiguousarray(p_UK, np.float32), np.ascontiguousarray(q_IK, np.float32)
    seen = np.zeros((n_users, (n_items + 7) // 8), np.uint8)
    mark_seen(seen, rows_P, items_P)
    k = p_UK.shape[1]
    # |float32 product − true product| is at most (K + 2)·2⁻²⁴·‖p‖‖q‖ to first order, in whatever order the sum is
    # taken, both vectors rounded to float32 included (Higham 2002, Accuracy and Stability, section 3.1); 2 more are
    # for the second order, and the last term for what underflows.
    lengths_U = np.linalg.norm(p_UK.astype(np.float64, copy=False), axis=1)
    slack_U = (k + 4) * 2.0**-24 * longest * lengths_U + k * float(np.finfo(np.float32).tiny)
    bar_U = np.full(n_users, -np.inf, np.float32)
    room = np.empty(n_users * ITEMS_AT_ONCE, np.float32)
    for first in range(0, n_items, ITEMS_AT_ONCE):
        tile = q32[first : first + ITEMS_AT_ONCE]
        rough_UT = room[: n_users * len(tile)].reshape(n_users, len(tile))
        with np.errstate(invalid="ignore", over="ignore"):  # an item with NaN or ∞ among its factors
            np.matmul(p32, tile.T, out=rough_UT)
        keep_best(rough_UT, first, p_UK, q_IK, o_U, slack_U, bar_U, seen, scores, positions)
    return positions, scores


def longest_vector(q_IK: Floats) -> float:
    """Return the greatest length of the finite rows; 0 if there are none."""
    lengths_I = np.linalg.norm(q_IK.astype(np.float64, copy=False), axis=1)
    return float(np.max(lengths_I, initial=0.0, where=np.isfinite(lengths_I)))


def _positions(pairs: pa.Table, items: pa.Array) -> pa.Table:
    """Map (batch, user_id, item_id) to (batch, user_id, item): the position of the item; unknown ones are dropped."""
    return pairs.set_column(2, "item", pc.index_in(pairs.column("item_id"), value_set=items)).drop_null()


def _ranker(items: pa.Array, q_IK: Floats, taste: Taste, top: int) -> Callable[[pa.Table, pa.Table], pa.Table]:
    """Return a function that ranks items for a batch of users: (users, packed seen items) → recommendations."""
    longest = longest_vector(q_IK)

    def rank(users: pa.Table, packed: pa.Table) -> pa.Table:
        ids = users.column("user_id").combine_chunks()
        rows_P, items_P = _seen(ids, packed.column("pairs").to_pylist())
        p_UK, o_U, reasons = taste(users)
        positions_UN, scores_UN = best_unseen(p_UK, o_U, q_IK, longest, rows_P, items_P, top)
        rows, ranks = np.nonzero(positions_UN >= 0)
        return pa.table(
            {
                "user_id": ids.take(pa.array(rows)),
                "rank": pa.array(ranks.astype(np.int32) + 1),
                "item_id": items.take(pa.array(positions_UN[rows, ranks])),
                "score": pa.array(scores_UN[rows, ranks]),
                "reason": reasons.take(pa.array(rows)),
            }
        )

    return rank


def _seen(ids: pa.Array, streams: list[bytes]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return positions (P) of users in the batch, and of items; pairs of users outside the batch are dropped."""
    if not streams or not len(ids):
        return np.empty(0, np.int32), np.empty(0, np.int32)
    pairs = pa.concat_tables(map(from_bytes, streams))
    rows = pc.index_in(pairs.column("user_id").combine_chunks(), value_set=ids)
    asked = pc.is_valid(rows)
    return rows.filter(asked).to_numpy(), pairs.column("item").filter(asked).to_numpy()


_STRIDE = 64  # scores compared at once: 4 vectors of 512 bits; most strides hold nothing to keep
_DOUBLE_ROUNDING = 2.0**-50  # some float64 roundings, relative
_FLOAT_ROUNDING = 2.0**-23  # one float32 rounding, relative


@compiled(nogil=True)
def mark_seen(bits: Any, rows_P: Any, items_P: Any) -> None:
    """Set bit `item` of row `row` for each pair; repeats are harmless.

    Args:
        bits: uint8 (U, ⌈I/8⌉), changed in place.
        rows_P, items_P: integers, positions of the user in the batch and of the item.
    """
    for pair in range(len(rows_P)):
        item = items_P[pair]
        bits[rows_P[pair], item >> 3] |= np.uint8(1 << (item & 7))


# Reordered sums make the float64 product a vector loop; NaN and infinity must stay what they are.
@compiled(fastmath={"reassoc", "contract"}, nogil=True)
def keep_best(
    rough_UT: Any,
    first: int,
    p_UK: Any,
    q_IK: Any,
    offset_U: Any,
    slack_U: Any,
    bar_U: Any,
    bits: Any,
    scores_UN: Any,
    items_UN: Any,
) -> None:
    """Take the items of one tile that belong among the best N of a user into that user's list.

    A rough float32 score only says which items may get in. Those are scored again in float64, one after another
    in the same way for everybody, and this score decides, so the result depends neither on the batch a user is
    in nor on the BLAS. Of N·ln(I/N) items in random order only so many get that far.

    Tiles must come in ascending order: of equal scores the first stays.

    Args:
        rough_UT: float32, p_u·q_i of the items `first` … `first` + T − 1.
        first: position of the tile's first item.
        p_UK, q_IK: float32 or float64, factors.
        offset_U: float64, added to the product.
        slack_U: float64, how far a rough score can be from the true product at most.
        bar_U: float32, changed in place: no item with a rough score up to this can get in. −inf at the start.
        bits: uint8 (U, ⌈I/8⌉), items to leave out (`mark_seen`).
        scores_UN, items_UN: float64 and int32, changed in place: the lists, best first. −inf and −1 at the start.
    """
    n_users, n_tile = rough_UT.shape
    n_factors, last = p_UK.shape[1], scores_UN.shape[1] - 1
    for u in range(n_users):
        bar = bar_U[u]
        for lo in range(0, n_tile, _STRIDE):
            hi = min(lo + _STRIDE, n_tile)
            hits = np.int32(0)
            for t in range(lo, hi):
                hits += np.int32(not rough_UT[u, t] <= bar)  # so written that NaN is a hit
            if hits == 0:
                continue
            for t in range(lo, hi):
                item = first + t
                if rough_UT[u, t] <= bar or (bits[u, item >> 3] >> (item & 7)) & 1:
                    continue
                product = 0.0
                for k in range(n_factors):
                    product += np.float64(p_UK[u, k]) * np.float64(q_IK[item, k])
                score = offset_U[u] + product
                if not scores_UN[u, last] < score < np.inf:
                    continue
                position = last
                while position > 0 and scores_UN[u, position - 1] < score:
                    scores_UN[u, position] = scores_UN[u, position - 1]
                    items_UN[u, position] = items_UN[u, position - 1]
                    position -= 1
                scores_UN[u, position] = score
                items_UN[u, position] = item
                worst = scores_UN[u, last]
                lowest = worst - offset_U[u] - slack_U[u] - _DOUBLE_ROUNDING * (abs(worst) + abs(offset_U[u]))
                bar = np.float32(lowest - _FLOAT_ROUNDING * abs(lowest))
        bar_U[u] = bar


def top_k(scores_UI: Any, hidden_UI: Any, top: int) -> tuple[Any, Any]:
    """Return positions int32 (U, N) and scores float64 (U, N), best first, equal ones by position.

    Args:
        scores_UI: numbers; NaN and −∞ never come back.
        hidden_UI: bool, what to leave out.
        top: N; at most I columns come back. Where fewer are left, −1 and −∞ fill the end.
    """
    shape = len(scores_UI), min(top, scores_UI.shape[1])
    positions, best = np.full(shape, -1, np.int32), np.full(shape, -np.inf)
    if 0 not in shape:
        _insert_top_k(scores_UI, hidden_UI, positions, best)
    return positions, best


@compiled(nogil=True)
def _insert_top_k(scores_UI: Any, hidden_UI: Any, positions_UN: Any, best_UN: Any) -> None:
    """Write `top_k` into given arrays."""
    last = best_UN.shape[1] - 1
    for u in range(scores_UI.shape[0]):
        for i in range(scores_UI.shape[1]):
            score = np.float64(scores_UI[u, i])
            if not score > best_UN[u, last] or hidden_UI[u, i]:
                continue
            position = last
            while position > 0 and best_UN[u, position - 1] < score:
                best_UN[u, position] = best_UN[u, position - 1]
                positions_UN[u, position] = positions_UN[u, position - 1]
                position -= 1
            best_UN[u, position] = score
            positions_UN[u, position] = i

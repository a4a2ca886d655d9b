"""The inner loops of ranking, compiled: which items were seen, and which of a tile's scores reach the best lists.

Shape suffixes: U users of a batch, I items, T items of a tile, K factors, N best items kept, P seen pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lakerank.spark.jit import compiled

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
                place = last
                while place > 0 and scores_UN[u, place - 1] < score:
                    scores_UN[u, place] = scores_UN[u, place - 1]
                    items_UN[u, place] = items_UN[u, place - 1]
                    place -= 1
                scores_UN[u, place] = score
                items_UN[u, place] = item
                worst = scores_UN[u, last]
                lowest = worst - offset_U[u] - slack_U[u] - _DOUBLE_ROUNDING * (abs(worst) + abs(offset_U[u]))
                bar = np.float32(lowest - _FLOAT_ROUNDING * abs(lowest))
        bar_U[u] = bar

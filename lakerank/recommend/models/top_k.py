"""The best N of each row of scores, compiled. Shape suffixes: U rows, I items, N best kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from lakerank.spark.jit import compiled


def best_rows(scores_UI: Any, hidden_UI: Any, top: int) -> tuple[Any, Any]:
    """Positions int32 (U, N) and scores float64 (U, N), best first, equal ones by position.

    Args:
        scores_UI: numbers; NaN and −∞ never come back.
        hidden_UI: bool, what to leave out.
        top: N; at most I columns come back. Where fewer are left, −1 and −∞ fill the end.
    """
    shape = len(scores_UI), min(top, scores_UI.shape[1])
    places, best = np.full(shape, -1, np.int32), np.full(shape, -np.inf)
    if 0 not in shape:
        keep_best_of_rows(scores_UI, hidden_UI, places, best)
    return places, best


@compiled(nogil=True)
def keep_best_of_rows(scores_UI: Any, hidden_UI: Any, places_UN: Any, best_UN: Any) -> None:
    """`best_rows` into arrays that are given."""
    last = best_UN.shape[1] - 1
    for u in range(scores_UI.shape[0]):
        for i in range(scores_UI.shape[1]):
            score = np.float64(scores_UI[u, i])
            if not score > best_UN[u, last] or hidden_UI[u, i]:
                continue
            place = last
            while place > 0 and best_UN[u, place - 1] < score:
                best_UN[u, place] = best_UN[u, place - 1]
                places_UN[u, place] = places_UN[u, place - 1]
                place -= 1
            best_UN[u, place] = score
            places_UN[u, place] = i

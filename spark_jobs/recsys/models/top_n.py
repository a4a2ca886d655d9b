"""The best unseen items of each user, ranked by the workers: what a recommender does with its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

USERS_AT_ONCE = 256  # scores of so many users × all items may be in memory together

# A batch of users → for each its scores of all items (I floats, written over), and in words where they come from.
Scorer = Callable[[pa.RecordBatch], Iterable[tuple[NDArray[np.floating[Any]], str]]]


def top_unseen(users: DataFrame, seen: DataFrame, items: pa.Table, score: Scorer, top: int) -> DataFrame:
    """The `recommendations` relation: each user's `top` items of highest score, without those they have seen.

    A worker holds all item ids, the scores of `USERS_AT_ONCE` users and what these have seen. Users and `seen` are
    shuffled to meet; nothing is joined with the items.

    Args:
        users: frame (user_id, …), distinct users; the other columns are for `score`.
        seen: frame (user_id, item_id) to leave out; repeats and unknown items are harmless.
        items: column `item_id`, ascending: equal scores are ordered by it.
        score: runs in the workers.
        top: how many; fewer come back if fewer are left. Items with a score of −inf or NaN never come back.
    """
    ids = items.column("item_id").combine_chunks()
    user_type, item_type = dict(users.dtypes)["user_id"], "bigint" if pa.types.is_integer(ids.type) else "string"
    gathered = users.join(seen.groupBy("user_id").agg(F.collect_set("item_id").alias("_seen")), "user_id", "left")
    return gathered.mapInArrow(
        _ranker(ids, score, top),
        f"user_id {user_type}, rank int, item_id {item_type}, score double, reason string",
    )


def best_first(scores_I: NDArray[np.floating[Any]], top: int) -> NDArray[np.intp]:
    """Positions of the `top` highest finite scores, best first, equal ones by position."""
    finite = np.isfinite(scores_I)
    top = min(top, int(finite.sum()))
    if top == 0:
        return np.empty(0, np.intp)
    scores_I = np.where(finite, scores_I, -np.inf)
    threshold = np.partition(scores_I, -top)[-top]
    candidates = np.flatnonzero(scores_I >= threshold)
    return candidates[np.lexsort((candidates, -scores_I[candidates]))][:top]


def _ranker(ids: pa.Array, score: Scorer, top: int) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def rank(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        place = {item: position for position, item in enumerate(ids.to_pylist())}
        for whole in batches:
            for start in range(0, whole.num_rows, USERS_AT_ONCE):
                yield _ranked(whole.slice(start, USERS_AT_ONCE), ids, place, score, top)

    return rank


def _ranked(batch: pa.RecordBatch, ids: pa.Array, place: dict[Any, int], score: Scorer, top: int) -> pa.RecordBatch:
    """Recommendation rows of one batch of users."""
    out: dict[str, list[Any]] = {name: [] for name in ("user", "rank", "item", "score", "reason")}
    users, seen = batch.column("user_id").to_pylist(), batch.column("_seen").to_pylist()
    for user, theirs, (mine_I, reason) in zip(users, seen, score(batch), strict=True):
        mine_I[[place[item] for item in theirs or () if item in place]] = -np.inf
        best = best_first(mine_I, top)
        out["user"] += [user] * len(best)
        out["rank"] += range(1, len(best) + 1)
        out["item"] += best.tolist()
        out["score"] += mine_I[best].astype(np.float64).tolist()
        out["reason"] += [reason] * len(best)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(out["user"], batch.schema.field("user_id").type),
            pa.array(out["rank"], pa.int32()),
            ids.take(pa.array(out["item"], pa.int64())),
            pa.array(out["score"], pa.float64()),
            pa.array(out["reason"], pa.string()),
        ],
        names=["user_id", "rank", "item_id", "score", "reason"],
    )

"""Why a recommendation: the summands of its score, largest first."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from lakerank.recommend.models.base import Reason, Scorer
from lakerank.recommend.models.batch_shuffle import block_of, unpack

REST = "all else"


def largest(reasons: list[Reason], most: int) -> list[Reason]:
    """The `most` largest by size, and one more with the sum of the others, if there are any."""
    ordered = sorted(reasons, key=lambda reason: (-abs(reason.value), reason.source, reason.because))
    if len(ordered) <= most:
        return ordered
    return [*ordered[:most], Reason(REST, -1, sum(reason.value for reason in ordered[most:]))]


def explainer(scorer: Scorer, most: int) -> Callable[[pa.Table, pa.Table], pa.Table]:
    """Work for a batch of (user_id, rank, item_id) and the pieces of what these users have rated."""

    def work(asked: pa.Table, pieces: pa.Table) -> pa.Table:
        ids = asked.column("user_id").combine_chunks().unique()
        block, _ = block_of(ids, scorer.items, unpack(pieces))
        rows = pc.index_in(asked.column("user_id"), value_set=ids).to_pylist()
        places = pc.index_in(asked.column("item_id"), value_set=scorer.items).to_pylist()
        columns: dict[str, list[object]] = {"rank": [], "place": [], "source": [], "because": [], "contribution": []}
        owners: list[int] = []
        for row, place, rank in zip(rows, places, asked.column("rank").to_pylist(), strict=True):
            for n, reason in enumerate(largest(scorer.explain(block, row, place), most), start=1):
                owners.append(row)
                columns["rank"].append(rank)
                columns["place"].append(n)
                columns["source"].append(reason.source)
                columns["because"].append(reason.because if reason.because >= 0 else None)
                columns["contribution"].append(reason.value)
        return pa.table(
            {
                "user_id": ids.take(pa.array(owners, pa.int64())),
                "rank": pa.array(columns["rank"], pa.int32()),
                "place": pa.array(columns["place"], pa.int32()),
                "source": pa.array(columns["source"], pa.string()),
                "because_id": scorer.items.take(pa.array(columns["because"], pa.int64())),
                "contribution": pa.array(columns["contribution"], pa.float64()),
            }
        )

    return work

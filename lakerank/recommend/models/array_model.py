"""A recommender that answers in frames, out of a scorer that knows arrays: users travel in batches to the workers.

A worker holds the scorer, what one batch of users has rated, and a few (U, I) matrices of their scores
(`batch_shuffle.CELLS_AT_ONCE` bounds one). Shape suffixes: U users of a batch, I items, N best items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.recommend.models.base import Floats, Reason, Recommender, Scorer
from lakerank.recommend.models.batch_shuffle import batch_of, block_of, pack, unpack, with_seen
from lakerank.recommend.models.rules import BOOSTED, Rules
from lakerank.recommend.models.top_n import top_k
from lakerank.recommend.models.user_histories import Biases, Histories
from lakerank.spark.array_store import BlockStore

Reasons = Callable[[Scorer, Histories, NDArray[Any], NDArray[Any]], list[str]]
UNKNOWN_ITEM = -1e9  # the score of an item that a model knows nothing of: below all others, and finite
SIMILAR_AT_ONCE = 64  # items whose similarity to all others is held at once


def default_reasons(scorer: Scorer, block: Histories, rows: NDArray[Any], positions: NDArray[Any]) -> list[str]:
    """Return the sources of the scores of these users (rows) and items (positions): the scorer, or its fallback."""
    personal = scorer.is_warm(block)[rows]
    return [scorer.name if mine else "fallback: popularity, nothing known of this user" for mine in personal.tolist()]


def default_sources(scorer: Scorer, block: Histories, rows: NDArray[Any], positions: NDArray[Any]) -> list[str]:
    """Return the sources of the predictions for these users and items (−1: not in the catalogue)."""
    known = positions >= 0
    known[known] = scorer.known[positions[known]]
    words = np.array(["mean", "item bias", "user bias", scorer.name], object)
    found: list[str] = words[known + 2 * scorer.is_warm(block)[rows]].tolist()
    return found


@dataclass(frozen=True)
class ArrayModel:
    """A `Recommender` (see `base.py` for the methods).

    Attributes:
        scorer: what it knows of items.
        history: the `ratings` relation: what the users have rated whom it may be asked about.
        biases: for predictions of items outside the scorer's catalogue, and the rating scale.
        frames, notes: what `tables` and `facts` return.
        reasons, sources: the words in `recommendations.reason`, and in `source` of predictions.
        rules: what `recommend` and `explain` keep to besides; None: nothing.
    """

    scorer: Scorer
    history: DataFrame
    biases: Biases
    saved_tables: Mapping[str, DataFrame] = field(default_factory=dict)
    saved_params: Mapping[str, Any] = field(default_factory=dict)
    reasons: Reasons = default_reasons
    sources: Reasons = default_sources
    rules: Rules | None = None

    def with_ratings(self, ratings: DataFrame) -> ArrayModel:
        """Return this model with other histories: for the users of these ratings."""
        return replace(self, history=ratings)

    def as_scorer(self, store: BlockStore) -> Scorer:
        """Return the scorer."""
        return self.scorer

    def tables(self) -> Mapping[str, DataFrame]:
        """Return the tables to save, by relation."""
        return self.saved_tables

    def params(self) -> Mapping[str, Any]:
        """Return the parameters to save."""
        return self.saved_params

    def recommend(self, users: DataFrame, seen: DataFrame, top: int, allowed: DataFrame | None = None) -> DataFrame:
        """Return the `recommendations` relation; see `base.Recommender`."""
        hidden_I = np.zeros(len(self.scorer.items), np.bool_)
        if allowed is not None:
            ids = allowed.select("item_id").distinct().toArrow().column("item_id").combine_chunks()
            hidden_I = ~pc.is_in(self.scorer.items, value_set=ids.cast(self.scorer.items.type)).to_numpy(False)
        user_type = dict(users.dtypes)["user_id"]
        return self._by_batch(
            users.select("user_id"),
            seen,
            _recommender(self.scorer, hidden_I, top, self.reasons, self.rules),
            f"user_id {user_type}, rank int, item_id {self._item_type}, score double, reason string",
        )

    def predict(self, pairs: DataFrame) -> DataFrame:
        """Add `prediction` and `source`; see `base.Recommender`."""
        return self._of_pairs(
            pairs, _predictor(self.scorer, self.biases, self.sources), "prediction double, source string"
        )

    def score(self, pairs: DataFrame) -> DataFrame:
        """Add `score`; see `base.Recommender`."""
        return self._of_pairs(pairs, _pair_scorer(self.scorer), "score double")

    def explain(self, recommendations: DataFrame, most: int = 5) -> DataFrame:
        """Return the `explanations` relation: for each recommendation the `most` largest summands of its score and
        the sum of
        the rest, which add up to it.

        Args:
            recommendations: (user_id, rank, item_id), as `recommend` returned them.
            most: summands named; more than these become one, `all else`.
        """
        user_type = dict(recommendations.dtypes)["user_id"]
        return self._by_batch(
            recommendations.select("user_id", "rank", "item_id"),
            None,
            explainer(self.scorer, most, self.rules),
            f"user_id {user_type}, rank int, position int, source string, because_id {self._item_type}, "
            "contribution double",
        )

    def similar(self, items: DataFrame, top: int) -> DataFrame:
        """Return the `similar_items` relation; see `base.Recommender`."""
        kind = self._item_type
        return (
            items.select(F.col("item_id").cast(kind))
            .distinct()
            .mapInArrow(
                _similar(self.scorer, top),
                f"item_id {kind}, rank int, other_id {kind}, similarity double, support bigint",
            )
        )

    @property
    def _item_type(self) -> str:
        return "bigint" if pa.types.is_integer(self.scorer.items.type) else "string"

    def _of_pairs(self, pairs: DataFrame, work: Callable[[pa.Table, pa.Table], pa.Table], columns: str) -> DataFrame:
        asked = pairs.select("user_id", "item_id").distinct()
        schema = f"user_id {dict(pairs.dtypes)['user_id']}, item_id {dict(self.history.dtypes)['item_id']}, {columns}"
        # The pairs travel as pairs to leave out would: what a worker needs to know of them is the same.
        found = self._by_batch(asked.select("user_id").distinct(), asked, work, schema)
        return pairs.join(found, ["user_id", "item_id"], "left")

    def _by_batch(
        self, asked: DataFrame, pairs: DataFrame | None, work: Callable[[pa.Table, pa.Table], pa.Table], schema: str
    ) -> DataFrame:
        """Run `work` on each batch of `asked` (user_id, …) with the packed ratings of these users and `pairs`."""
        users = asked.select("user_id").distinct()
        n_users, n_items = users.count(), len(self.scorer.items)
        rows = with_seen(self.history, self.history.limit(0) if pairs is None else pairs)
        packed = pack(rows, users, n_users, n_items)
        batches = asked.select(batch_of(n_users, n_items), "*").groupBy("batch")
        return batches.cogroup(packed.groupBy("batch")).applyInArrow(work, schema)


def under_rules(model: Recommender, rules: Rules, ratings: DataFrame, store: BlockStore) -> ArrayModel:
    """Return a model that recommends within rules.

    Args:
        model: any.
        rules: for the items of its scorer.
        ratings: what its users have rated.
        store: a folder that all workers see.
    """
    if isinstance(model, ArrayModel):
        return replace(model, rules=rules)
    scorer = model.as_scorer(store)
    return ArrayModel(scorer, ratings, Biases(0.0, np.zeros(0), 0.0, 0.0), rules=rules)


def _recommender(
    scorer: Scorer, hidden_I: NDArray[np.bool_], top: int, reasons: Reasons, rules: Rules | None
) -> Callable[[pa.Table, pa.Table], pa.Table]:
    def work(users: pa.Table, packed: pa.Table) -> pa.Table:
        ids = users.column("user_id").combine_chunks()
        block, seen = block_of(ids, scorer.items, unpack(packed))
        hidden_UI = np.repeat(hidden_I[None, :], len(block), axis=0)
        rows, positions = _positions(ids, scorer.items, seen)
        hidden_UI[rows[positions >= 0], positions[positions >= 0]] = True
        if rules is None:
            positions_UN, best_UN = top_k(scorer.scores(block), hidden_UI, top)
        else:
            rules.hide(ids.to_pylist(), hidden_UI)
            positions_UN, best_UN = rules.choose(rules.boosted(scorer.scores(block)), hidden_UI, top)
        rows, ranks = np.nonzero(positions_UN >= 0)
        chosen = positions_UN[rows, ranks]
        words = reasons(scorer, block, rows, chosen)
        if rules is not None:
            words = rules.described(words, chosen)
        return pa.table(
            {
                "user_id": ids.take(pa.array(rows)),
                "rank": pa.array(ranks.astype(np.int32) + 1),
                "item_id": scorer.items.take(pa.array(chosen)),
                "score": pa.array(best_UN[rows, ranks]),
                "reason": pa.array(words, pa.string()),
            }
        )

    return work


def _predictor(scorer: Scorer, biases: Biases, sources: Reasons) -> Callable[[pa.Table, pa.Table], pa.Table]:
    def work(users: pa.Table, packed: pa.Table) -> pa.Table:
        ids = users.column("user_id").combine_chunks()
        block, pairs = block_of(ids, scorer.items, unpack(packed))
        rows, positions = _positions(ids, scorer.items, pairs)
        listed = positions >= 0
        guess = np.full(len(rows), biases.mean)
        if len(biases.of_items) == len(scorer.items):
            guess += biases.of_users(block)[rows]
        guess[listed] = scorer.ratings(block)[rows[listed], positions[listed]]
        return pairs.append_column("prediction", pa.array(np.clip(guess, biases.low, biases.high))).append_column(
            "source", pa.array(sources(scorer, block, rows, positions), pa.string())
        )

    return work


def _pair_scorer(scorer: Scorer) -> Callable[[pa.Table, pa.Table], pa.Table]:
    def work(users: pa.Table, packed: pa.Table) -> pa.Table:
        ids = users.column("user_id").combine_chunks()
        block, pairs = block_of(ids, scorer.items, unpack(packed))
        rows, positions = _positions(ids, scorer.items, pairs)
        found = np.full(len(rows), UNKNOWN_ITEM)
        listed = positions >= 0
        found[listed] = scorer.scores(block)[rows[listed], positions[listed]]
        return pairs.append_column("score", pa.array(found))

    return work


def _positions(users: pa.Array, items: pa.Array, pairs: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row of the user and the position of the item (−1: not in the list) of each pair."""
    rows = pc.index_in(pairs.column("user_id").combine_chunks(), value_set=users)
    positions = pc.index_in(pairs.column("item_id").combine_chunks().cast(items.type), value_set=items)
    return (
        rows.to_numpy(zero_copy_only=False).astype(np.int64),
        positions.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64),
    )


def _similar(scorer: Scorer, top: int) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            found = pc.index_in(batch.column(0), value_set=scorer.items).drop_null()
            asked = found.to_numpy(zero_copy_only=False).astype(np.int64)
            for lo in range(0, len(asked), SIMILAR_AT_ONCE):
                yield _similar_rows(scorer, asked[lo : lo + SIMILAR_AT_ONCE], top)

    return work


def _similar_rows(scorer: Scorer, asked: NDArray[np.int64], top: int) -> pa.RecordBatch:
    like: Floats = scorer.item_similarity(asked)
    positions, best = top_k(like, np.zeros(like.shape, np.bool_), top)
    rows, ranks = np.nonzero(positions >= 0)
    return pa.RecordBatch.from_pydict(
        {
            "item_id": scorer.items.take(pa.array(asked[rows])),
            "rank": pa.array(ranks.astype(np.int32) + 1),
            "other_id": scorer.items.take(pa.array(positions[rows, ranks])),
            "similarity": pa.array(best[rows, ranks]),
            "support": pa.nulls(len(rows), pa.int64()),
        }
    )


REST = "all else"


def largest(reasons: list[Reason], most: int) -> list[Reason]:
    """Return the `most` largest by size, and one more with the sum of the others, if there are any."""
    ordered = sorted(reasons, key=lambda reason: (-abs(reason.value), reason.source, reason.because))
    if len(ordered) <= most:
        return ordered
    return [*ordered[:most], Reason(REST, -1, sum(reason.value for reason in ordered[most:]))]


def summands(
    scorer: Scorer, block: Histories, row: int, position: int, rules: Rules | None, deviation: Callable[[int], float]
) -> list[Reason]:
    """Return the summands of a score, among them what a rule adds to it.

    Args:
        scorer, block, row, position: see `Scorer.explain`.
        rules: those that hold; None: none.
        deviation: of a row, the standard deviation of its user's scores; asked only where a boost is explained.
    """
    found = scorer.explain(block, row, position)
    if rules is None or not rules.boost[position]:
        return found
    return [*found, Reason(BOOSTED, -1, deviation(row) * float(rules.boost[position]))]


def explainer(scorer: Scorer, most: int, rules: Rules | None = None) -> Callable[[pa.Table, pa.Table], pa.Table]:
    """Return work for a batch of (user_id, rank, item_id) and the packed ratings of these users."""

    def work(asked: pa.Table, packed: pa.Table) -> pa.Table:
        ids = asked.column("user_id").combine_chunks().unique()
        block, _ = block_of(ids, scorer.items, unpack(packed))
        rows = pc.index_in(asked.column("user_id"), value_set=ids).to_pylist()
        positions = pc.index_in(asked.column("item_id"), value_set=scorer.items).to_pylist()
        columns: dict[str, list[object]] = {"rank": [], "position": [], "source": [], "because": [], "contribution": []}
        owners: list[int] = []

        @cache
        def deviation(row: int) -> float:
            return float(Rules.deviation(scorer.scores(block.part(row, row + 1)))[0])

        for row, position, rank in zip(rows, positions, asked.column("rank").to_pylist(), strict=True):
            if position is None:  # no item of this model
                continue
            for n, reason in enumerate(
                largest(summands(scorer, block, row, position, rules, deviation), most), start=1
            ):
                owners.append(row)
                columns["rank"].append(rank)
                columns["position"].append(n)
                columns["source"].append(reason.source)
                columns["because"].append(reason.because if reason.because >= 0 else None)
                columns["contribution"].append(reason.value)
        return pa.table(
            {
                "user_id": ids.take(pa.array(owners, pa.int64())),
                "rank": pa.array(columns["rank"], pa.int32()),
                "position": pa.array(columns["position"], pa.int32()),
                "source": pa.array(columns["source"], pa.string()),
                "because_id": scorer.items.take(pa.array(columns["because"], pa.int64())),
                "contribution": pa.array(columns["contribution"], pa.float64()),
            }
        )

    return work

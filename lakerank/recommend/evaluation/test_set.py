"""Hold what all models are evaluated on: who is asked, what they should be told, and what was known.

Shape suffixes: U users asked, I items, P test pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.recommend.evaluation.metrics import (
    BY_USER,
    OVERALL,
    Metric,
    Sums,
    coverage,
    gini,
    hits,
    mean_over,
    popularity_lift,
    surprise,
)


@dataclass(frozen=True)
class EvaluationSet:
    """Attributes:
    users: (U) ids of the users with relevant test ratings, ascending.
    items: (I) ids of the catalogue, ascending.
    rows, positions: (P) user and item of each relevant test rating, by position.
    raters: (I) training users who rated each item.
    n_training_users: users with training ratings.
    counts: (U) training ratings of each user.
    profile: (U) mean share of training users who rated what the user has rated; NaN without training ratings.
    """

    users: pa.Array
    items: pa.Array
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    raters: NDArray[np.int64]
    n_training_users: int
    counts: NDArray[np.int64]
    profile: NDArray[np.float64]

    @classmethod
    def of(
        cls, relevant: pa.Table, items: pa.Array, raters: pa.Table, profiles: pa.Table, n_users: int
    ) -> EvaluationSet:
        """Make one from columns in any order.

        Args:
            relevant: `user_id`, `item_id` of the relevant test ratings.
            items: distinct ids, ascending; all relevant items are among them.
            raters: `item_id`, `n`, of the training ratings.
            profiles: `user_id`, `n` (ratings), `total` (Σ over them of the raters of the item), of users asked.
            n_users: users with training ratings.
        """
        users = _flat(relevant, "user_id").unique()
        users = users.take(pc.sort_indices(users))
        of_item, of_user = (
            _columns_by_position(table, key, values)
            for table, key, values in ((raters, "item_id", items), (profiles, "user_id", users))
        )
        counts, total = of_user("n"), of_user("total")
        profile = np.where(counts > 0, total / np.maximum(counts, 1) / max(n_users, 1), np.nan)
        rows = positions_of(_flat(relevant, "user_id"), users)
        positions = positions_of(_flat(relevant, "item_id"), items)
        return cls(users, items, rows, positions, of_item("n"), n_users, counts, profile)

    @property
    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Users (U) by group."""
        return user_groups(self.counts, self.profile)

    def top(self, recommendations: pa.Table, n: int) -> NDArray[np.int32]:
        """Return the positions of recommended items out of (`user_id`, `rank`, `item_id`), (U, n); −1 where there is
        none."""
        rows = positions_of(_flat(recommendations, "user_id"), self.users)
        ranks = _flat(recommendations, "rank").to_numpy()
        kept = (rows >= 0) & (ranks <= n)
        found = np.full((len(self.users), n), -1, np.int32)
        positions = positions_of(_flat(recommendations, "item_id"), self.items)
        found[rows[kept], ranks[kept] - 1] = positions[kept]
        return found

    def ranked(self, top_UN: NDArray[np.int32], metrics: list[Metric]) -> dict[str, Sums]:
        """Return metrics of full rankings, by name; those of all users at once are not among them (`overall`)."""
        found: dict[str, Sums] = {}
        share_I = self.raters / max(self.n_training_users, 1)
        for metric in metrics:
            cut = top_UN[:, : metric.cutoff]
            if metric.kind in BY_USER:
                hit, relevant = hits(cut, self.rows, self.positions, len(self.items))
                values = BY_USER[metric.kind](_full(hit, metric.cutoff), relevant)
                found[metric.name] = Sums(values, np.ones(len(values)))
            elif metric.kind == "novelty":
                found[metric.name] = Sums(*_weighted(mean_over(cut, surprise(self.raters, self.n_training_users))))
            elif metric.kind == "popularity":
                found[metric.name] = Sums(*_weighted(mean_over(cut, share_I)))
            elif metric.kind == "popularity-lift":
                found[metric.name] = Sums(*popularity_lift(cut, share_I, self.profile))
        return found

    def overall(self, top_UN: NDArray[np.int32], metrics: list[Metric]) -> dict[str, float]:
        """Return metrics of all users' recommendations together, by name."""
        compute = {"coverage": coverage, "gini": gini}
        return {
            metric.name: compute[metric.kind](top_UN[:, : metric.cutoff], len(self.items))
            for metric in metrics
            if metric.kind in OVERALL
        }

    def sampled_candidates(self, top_PN: NDArray[np.int32], metrics: list[Metric]) -> dict[str, Sums]:
        """Return metrics of a ranking for each test pair, in which its item is the one relevant; users weigh by their
        pairs.

        Args:
            top_PN: positions of the best candidates of each pair, best first.
            metrics: those that are `finds_relevant`.
        """
        found = {}
        pairs = np.bincount(self.rows, minlength=len(self.users)).astype(np.float64)
        for metric in metrics:
            hit = _full(top_PN[:, : metric.cutoff] == self.positions[:, None], metric.cutoff)
            values = BY_USER[metric.kind](hit, np.ones(len(hit), np.int64))
            found[metric.name] = Sums(_totals(self.rows, values, len(self.users)), pairs)
        return found

    def accuracy(self, predicted: pa.Table) -> dict[str, Sums]:
        """Return RMSE and MAE from (`user_id`, `rating`, `prediction`); rows of users who are not asked are left
        out."""
        rows = positions_of(_flat(predicted, "user_id"), self.users)
        error = _flat(predicted, "prediction").to_numpy() - _flat(predicted, "rating").to_numpy().astype(np.float64)
        rows, error = rows[rows >= 0], error[rows >= 0]
        n = np.bincount(rows, minlength=len(self.users)).astype(np.float64)
        squares, sizes = (_totals(rows, values, len(self.users)) for values in (error**2, np.abs(error)))
        return {"rmse": Sums(squares, n, root=True), "mae": Sums(sizes, n)}


def positions_of(ids: pa.Array, listed: pa.Array) -> NDArray[np.int64]:
    """Return the positions of ids in a list; −1 where it lacks them."""
    found = pc.index_in(ids.cast(listed.type), value_set=listed).fill_null(-1)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


def _flat(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _columns_by_position(table: pa.Table, key: str, listed: pa.Array) -> Any:
    """Return a function of a column's name: its values by position in the list, 0 where there is no row."""
    at = positions_of(_flat(table, key), listed)

    def column(name: str) -> NDArray[np.int64]:
        values = np.zeros(len(listed), np.int64)
        values[at[at >= 0]] = _flat(table, name).to_numpy()[at >= 0]
        return values

    return column


def _totals(rows: NDArray[np.int64], values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the sums of the values by row, (n)."""
    return np.asarray(np.bincount(rows, values, n), np.float64)


def _full(hit: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Pad with columns of misses up to N: an item that was not recommended is no hit."""
    return np.pad(hit, ((0, 0), (0, n - hit.shape[1]))) if hit.shape[1] < n else hit


def _weighted(pair: tuple[NDArray[np.float64], NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, weights = pair
    return values * weights, weights


EVERYONE = "all"
NEW = "new"  # no training rating
ACTIVITY = ("light", "medium", "heavy")
TASTE = ("niche", "mixed", "blockbuster")


def user_groups(counts_U: NDArray[Any], profile_U: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Return users (U) of each group that has any, everyone first.

    Activity and taste each divide the users who have training ratings into thirds (ties go to the lower third, so
    that the same user is in the same group whoever else is there with the same number).

    Args:
        counts_U: training ratings of each user.
        profile_U: mean popularity of what they rated; NaN without any.
    """
    known = counts_U > 0
    found = {EVERYONE: np.ones(len(counts_U), bool), NEW: ~known}
    for names, values in ((ACTIVITY, counts_U.astype(np.float64)), (TASTE, profile_U)):
        if not known.any():
            continue
        edges = np.quantile(values[known], [1 / 3, 2 / 3])
        third = np.searchsorted(edges, np.where(known, values, 0.0), side="left")
        found |= {name: known & (third == k) for k, name in enumerate(names)}
    return {name: chosen for name, chosen in found.items() if chosen.any()}

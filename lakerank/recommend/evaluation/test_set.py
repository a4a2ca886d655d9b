"""What all models are judged on: who is asked, what they should be told, and what was known.

Shape suffixes: U users asked, I items, P test pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.recommend.evaluation import exposure, ranking
from lakerank.recommend.evaluation.bootstrap import Sums
from lakerank.recommend.evaluation.metrics import WHOLE, Measure
from lakerank.recommend.evaluation.user_groups import user_groups


@dataclass(frozen=True)
class Setting:
    """Attributes:
    users: (U) ids of the users with relevant test ratings, ascending.
    items: (I) ids of the catalogue, ascending.
    rows, places: (P) user and item of each relevant test rating, by position.
    raters: (I) training users who rated each item.
    n_training_users: users with training ratings.
    counts: (U) training ratings of each user.
    profile: (U) mean share of training users who rated what the user has rated; NaN without training ratings.
    """

    users: pa.Array
    items: pa.Array
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    raters: NDArray[np.int64]
    n_training_users: int
    counts: NDArray[np.int64]
    profile: NDArray[np.float64]

    @classmethod
    def of(cls, relevant: pa.Table, items: pa.Array, raters: pa.Table, profiles: pa.Table, n_users: int) -> Setting:
        """From columns in any order.

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
            _spread(table, key, values)
            for table, key, values in ((raters, "item_id", items), (profiles, "user_id", users))
        )
        counts, total = of_user("n"), of_user("total")
        profile = np.where(counts > 0, total / np.maximum(counts, 1) / max(n_users, 1), np.nan)
        return cls(
            users, items, positions(_flat(relevant, "user_id"), users), positions(_flat(relevant, "item_id"), items),
            of_item("n"), n_users, counts, profile,
        )  # fmt: skip

    @property
    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Users (U) by group."""
        return user_groups(self.counts, self.profile)

    def top(self, recommendations: pa.Table, n: int) -> NDArray[np.int32]:
        """(U, n) positions of recommended items out of (`user_id`, `rank`, `item_id`); −1 where there is none."""
        rows = positions(_flat(recommendations, "user_id"), self.users)
        ranks = _flat(recommendations, "rank").to_numpy()
        kept = (rows >= 0) & (ranks <= n)
        found = np.full((len(self.users), n), -1, np.int32)
        places = positions(_flat(recommendations, "item_id"), self.items)
        found[rows[kept], ranks[kept] - 1] = places[kept]
        return found

    def ranked(self, top_UN: NDArray[np.int32], measures: list[Measure]) -> dict[str, Sums]:
        """Measures of full rankings, by name; those of all users at once are not among them (`whole`)."""
        found: dict[str, Sums] = {}
        share_I = self.raters / max(self.n_training_users, 1)
        for measure in measures:
            cut = top_UN[:, : measure.cutoff]
            if measure.kind in ranking.BY_USER:
                hit, relevant = ranking.hits(cut, self.rows, self.places, len(self.items))
                values = ranking.BY_USER[measure.kind](_full(hit, measure.cutoff), relevant)
                found[measure.name] = Sums(values, np.ones(len(values)))
            elif measure.kind == "novelty":
                found[measure.name] = Sums(
                    *_weighted(exposure.mean_over(cut, exposure.surprise(self.raters, self.n_training_users)))
                )
            elif measure.kind == "popularity":
                found[measure.name] = Sums(*_weighted(exposure.mean_over(cut, share_I)))
            elif measure.kind == "popularity-lift":
                found[measure.name] = Sums(*exposure.popularity_lift(cut, share_I, self.profile))
        return found

    def whole(self, top_UN: NDArray[np.int32], measures: list[Measure]) -> dict[str, float]:
        """Measures of all users' recommendations together, by name."""
        compute = {"coverage": exposure.coverage, "gini": exposure.gini}
        return {
            measure.name: compute[measure.kind](top_UN[:, : measure.cutoff], len(self.items))
            for measure in measures
            if measure.kind in WHOLE
        }

    def sampled(self, top_PN: NDArray[np.int32], measures: list[Measure]) -> dict[str, Sums]:
        """Measures of a ranking for each test pair, in which its item is the one relevant; users weigh by their pairs.

        Args:
            top_PN: positions of the best candidates of each pair, best first.
            measures: those that `finds`.
        """
        found = {}
        pairs = np.bincount(self.rows, minlength=len(self.users)).astype(np.float64)
        for measure in measures:
            hit = _full(top_PN[:, : measure.cutoff] == self.places[:, None], measure.cutoff)
            values = ranking.BY_USER[measure.kind](hit, np.ones(len(hit), np.int64))
            found[measure.name] = Sums(_totals(self.rows, values, len(self.users)), pairs)
        return found

    def accuracy(self, predicted: pa.Table) -> dict[str, Sums]:
        """RMSE and MAE from (`user_id`, `rating`, `prediction`); rows of users who are not asked are left out."""
        rows = positions(_flat(predicted, "user_id"), self.users)
        error = _flat(predicted, "prediction").to_numpy() - _flat(predicted, "rating").to_numpy().astype(np.float64)
        rows, error = rows[rows >= 0], error[rows >= 0]
        n = np.bincount(rows, minlength=len(self.users)).astype(np.float64)
        squares, sizes = (_totals(rows, values, len(self.users)) for values in (error**2, np.abs(error)))
        return {"rmse": Sums(squares, n, root=True), "mae": Sums(sizes, n)}


def positions(ids: pa.Array, listed: pa.Array) -> NDArray[np.int64]:
    """Where ids stand in a list; −1 if they do not."""
    found = pc.index_in(ids.cast(listed.type), value_set=listed).fill_null(-1)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


def _flat(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _spread(table: pa.Table, key: str, listed: pa.Array) -> Any:
    """A function of a column's name: its values by position in the list, 0 where there is no row."""
    at = positions(_flat(table, key), listed)

    def column(name: str) -> NDArray[np.int64]:
        values = np.zeros(len(listed), np.int64)
        values[at[at >= 0]] = _flat(table, name).to_numpy()[at >= 0]
        return values

    return column


def _totals(rows: NDArray[np.int64], values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """(n) sums of the values by row."""
    return np.asarray(np.bincount(rows, values, n), np.float64)


def _full(hit: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """With columns of misses up to N: what was not recommended is no hit."""
    return np.pad(hit, ((0, 0), (0, n - hit.shape[1]))) if hit.shape[1] < n else hit


def _weighted(pair: tuple[NDArray[np.float64], NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, weights = pair
    return values * weights, weights

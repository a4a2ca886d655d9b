"""Recommend to one user at a time within milliseconds: a published model as mapped arrays, without a Spark session.

What `recommend` writes into a table for everybody is computed here when somebody asks, from the same tables at the
versions that one publication names, so both say the same. Users are found by binary search, scores are one product of
a vector and the items' matrix, and what a user has rated lies beside it.

Shape suffixes: V users, I items, K factors, P ratings, N best items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.lake.publications import Publication
from lakerank.recommend.latent_factors.build_blocks import unpack_ids
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.factor_scorer import FactorScorer
from lakerank.recommend.latent_factors.fold_in import solve
from lakerank.recommend.latent_factors.preference import PairwiseScorer, PreferenceScorer
from lakerank.recommend.models.array_model import default_reasons, largest, summands
from lakerank.recommend.models.base import Reason, Scorer
from lakerank.recommend.models.item_weights import ItemWeights
from lakerank.recommend.models.rules import Rules, genre_positions, make_rules, typed_id
from lakerank.recommend.models.top_n import best_unseen, top_k
from lakerank.recommend.models.user_histories import POPULARITY_SHARE, Biases, Histories
from lakerank.spark.array_store import Block
from lakerank.spark.jit import compiled

REASONS_SHOWN = 5


class _MappedWeights(ItemWeights):
    """A scorer of one user at a time: only the rows of what that user has rated are touched, not the whole matrix."""

    def scores(self, block: Histories) -> NDArray[np.float64]:
        """Return the scores Σ x_uj w_ji, (1, I); the sums are taken in the order of `ItemWeights.scores`."""
        found, w = np.zeros((1, len(self.items))), self.weights
        add_rows(w["starts"], w["positions"], w["values"], block.positions, self._taste(block), found[0])
        return np.asarray(found + POPULARITY_SHARE * self.popularity)

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        """Return one summand for each rated item with a weight; see `Scorer`."""
        w, values = self.weights, np.empty(len(block.positions))
        weights_of(w["starts"], w["positions"], w["values"], block.positions, position, values)
        values *= self._taste(block)
        reasons = [Reason(self.name, int(block.positions[p]), float(values[p])) for p in np.flatnonzero(values)]
        return [*reasons, Reason("popularity", -1, float(POPULARITY_SHARE * self.popularity[position]))]


@compiled(nogil=True)
def add_rows(starts_I: Any, columns_W: Any, values_W: Any, rows_P: Any, by_P: Any, sums_I: Any) -> None:
    """Add rows of a sparse matrix, each times a number, to `sums_I` (float64), in place."""
    for p in range(len(rows_P)):
        for w in range(starts_I[rows_P[p]], starts_I[rows_P[p] + 1]):
            sums_I[columns_W[w]] += by_P[p] * values_W[w]


@compiled(nogil=True)
def weights_of(starts_I: Any, columns_W: Any, values_W: Any, rows_P: Any, column: int, found_P: Any) -> None:
    """Write the values that rows of a sparse matrix have in one column, 0 where there is none.

    Args:
        columns_W: ascending within each row.
        found_P: float64, filled.
    """
    for p in range(len(rows_P)):
        low, high = starts_I[rows_P[p]], starts_I[rows_P[p] + 1]
        end = high
        while low < high:
            middle = (low + high) // 2
            if columns_W[middle] < column:
                low = middle + 1
            else:
                high = middle
        found_P[p] = values_W[low] if low < end and columns_W[low] == column else 0.0


@dataclass(frozen=True)
class Recommended:
    """One item for a user.

    Attributes:
        position: in the model's items.
        score: what it is ranked by.
        reason: which model gave the score, and which fallback or rule if any.
        summands: of the score, the largest first; empty unless they were asked for.
    """

    position: int
    score: float
    reason: str
    summands: Sequence[Reason] = ()


@dataclass(frozen=True)
class ServedModel:
    """One version of a model, ready to be asked.

    Attributes:
        name: of the model.
        run_id, number: of the run, and of the publication that names its tables.
        block: its arrays, mapped.
        items: (I) ids.
        users: (V) ids, ascending.
        params: what the model was saved with.
        catalogue: the `items` relation in the order of `items`, null where an item is not in it; or None.
        rules: what it keeps to, or None.
    """

    name: str
    run_id: str
    number: int
    block: Block
    items: pa.Array
    users: pa.Array
    params: Mapping[str, Any]
    catalogue: pa.Table | None
    rules: Rules | None = None

    @classmethod
    def of(cls, name: str, publication: Publication, block: Block, rows: pa.Table | None) -> ServedModel:
        """Make one of its arrays and of the catalogue's rows."""
        items, users = (
            unpack_ids({name.removeprefix(f"{side}-"): block[name] for name in block if name.startswith(f"{side}-")})
            for side in ("item", "user")
        )
        if rows is not None:
            at = pc.index_in(items, value_set=rows.column("item_id").combine_chunks().cast(items.type))
            rows = rows.take(at).combine_chunks()
        params = publication.settings["params"]
        return cls(name, publication.run_id, publication.number, block, items, users, params, rows)

    def __len__(self) -> int:
        return len(self.users)

    def within(self, flag: str, table: pa.Table) -> ServedModel:
        """Return this model under rules.

        Raises:
            UserError: one of them is none.
        """
        return replace(self, rules=make_rules(flag, table, self.items, self._known, self.users.type))

    @property
    def _known(self) -> pa.Table | None:
        """The rows of the catalogue that there are."""
        return None if self.catalogue is None else self.catalogue.filter(pc.is_valid(self.catalogue.column("item_id")))

    def user(self, text: str) -> Any:
        """Return the id that a text stands for.

        Raises:
            ValueError: ids are whole numbers, and it is none.
        """
        return typed_id(text, self.users.type, "user")

    def positions(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the positions of items by their ids as text; unknown ones are left out.

        Raises:
            ValueError: ids are whole numbers, and one is none.
        """
        if not texts:  # the search below would make a table of all items all the same
            return np.empty(0, np.int64)
        ids = pa.array([typed_id(text, self.items.type, "item") for text in texts], self.items.type)
        return _numbers(pc.index_in(ids, value_set=self.items).drop_null())

    def without_genres(self, genres: str) -> NDArray[np.int64]:
        """Return the positions of the items that have none of these genres.

        Args:
            genres: separated by commas, whatever the case.

        Raises:
            ValueError: no item has one of them.
        """
        wanted = {name.strip().lower() for name in genres.split(",")}
        having = [self._genres[name] for name in wanted if name in self._genres]
        if not having:
            raise ValueError(f"No item has the genre {genres}")
        return np.setdiff1d(np.arange(len(self.items)), np.concatenate(having))

    @cached_property
    def _genres(self) -> Mapping[str, NDArray[np.int64]]:
        """The positions of the items of each genre, whose name is in small letters."""
        return {name.lower(): positions for name, positions in genre_positions(self.items, self._known).items()}

    def row_of(self, user: Any) -> int:
        """Return the row of a user; −1 for unknown ones."""
        if pa.types.is_integer(self.users.type):
            ids = self.block["user-ids"]
            at = int(np.searchsorted(ids, user))
            return at if at < len(ids) and ids[at] == user else -1
        low, high = 0, len(self.users)
        while low < high:
            middle = (low + high) // 2
            if self.users[middle].as_py().encode() < user.encode():  # as Arrow sorts
                low = middle + 1
            else:
                high = middle
        return low if low < len(self.users) and self.users[low].as_py() == user else -1

    def history(self, user: Any) -> Histories:
        """Return what a user has rated, as a block of one."""
        row, block = self.row_of(user), self.block
        a, b = (int(block["starts"][row]), int(block["starts"][row + 1])) if row >= 0 else (0, 0)
        own = (np.asarray(block[name][a:b]) for name in ("positions", "ratings", "seconds"))
        return Histories(pa.array([user], self.users.type), np.array([0, b - a], np.int64), *own)

    def recommend(
        self, user: Any, top: int, hidden: NDArray[np.int64], include_seen: bool = False, explain: bool = False
    ) -> tuple[bool, list[Recommended]]:
        """Return the best items for a user, and whether anything is known of the user.

        Args:
            user: an id.
            top: N; fewer come back if fewer are left.
            hidden: positions of items to leave out besides.
            include_seen: recommend also what the user has rated.
            explain: give the summands of the scores.
        """
        block = self.history(user)
        scorer = self._scorer(block)
        left_out = hidden if include_seen else np.concatenate([hidden, block.positions.astype(np.int64)])
        if self.rules is None and isinstance(scorer, FactorScorer):
            positions, scores = self._by_product(scorer, left_out, top)
        else:
            hidden_UI = np.zeros((1, len(self.items)), np.bool_)
            hidden_UI[0, left_out] = True
            found = scorer.scores(block)
            if self.rules is None:
                positions, scores = top_k(found, hidden_UI, top)
            else:
                self.rules.hide([user], hidden_UI)
                positions, scores = self.rules.choose(self.rules.boosted(found), hidden_UI, top)
        chosen = positions[0][positions[0] >= 0]

        @cache
        def deviation(_: int) -> float:
            return float(Rules.deviation(scorer.scores(block))[0])

        words = default_reasons(scorer, block, np.zeros(len(chosen), np.int64), chosen)
        if self.rules is not None:
            words = self.rules.described(words, chosen)
        return bool(scorer.is_warm(block)[0]), [
            Recommended(
                position,
                float(score),
                word,
                largest(summands(scorer, block, 0, position, self.rules, deviation), REASONS_SHOWN) if explain else (),
            )
            for position, score, word in zip(chosen.tolist(), scores[0].tolist(), words, strict=False)
        ]

    def _by_product(
        self, scorer: FactorScorer, left_out: NDArray[np.int64], top: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return what `LatentFactors.recommend` does: exact, without scores of all items in float64."""
        p = np.append(scorer.arrays["p"][0], np.float32(1))[None, :].astype(np.float32)
        offset = np.array([self.params["mean"] + float(scorer.arrays["user_bias"][0])])
        rows = np.zeros(len(left_out), np.int64)
        vectors, longest = self.block["vectors"], float(self.block["longest"][0])
        return best_unseen(p, offset, np.asarray(vectors), longest, rows, left_out, top)

    def _scorer(self, block: Histories) -> Scorer:
        """Return the scorer for one user: what it would look up of all users is that of this one."""
        return self._common if self._common is not None else self._factors(block)

    @cached_property
    def _common(self) -> Scorer | None:
        """The scorer that serves all users, where there is one."""
        mean, low, high = self.block["scale"].tolist()
        biases = Biases(mean, np.asarray(self.block["rating_bias"]), low, high)
        popularity = np.asarray(self.block["popularity"])
        if self.name != "lfm":
            weights: Any = {name: np.asarray(self.block[f"w_{name}"]) for name in ("starts", "positions", "values")}
            known = np.asarray(self.block["counts"]) > 0
            recency = float(self.params["settings"]["recency"])
            return _MappedWeights(self.name, self.items, known, weights, biases, popularity, recency, False)
        config = LfmConfig.from_mapping(self.params["settings"])
        if not config.ranks:
            return None
        kind = PreferenceScorer if config.by_least_squares else PairwiseScorer
        arrays = {name: np.asarray(self.block[name]) for name in ("q", "gram", "item_bias")}
        return kind(self.items, arrays, config, biases, popularity)

    def _factors(self, block: Histories) -> FactorScorer:
        """Return a scorer for the one user of a block, found or folded in."""
        q, item_bias = self.block["vectors"][:, :-1], self.block["vectors"][:, -1]
        row = self.row_of(block.users[0].as_py())
        at = int(self.block["trained"][row]) if row >= 0 else -1
        p, bias = np.zeros((1, q.shape[1]), np.float32), np.zeros(1, np.float32)
        rank, has_bias = int(self.params["rank"]), bool(self.params["settings"].get("bias", True))
        if at >= 0:
            p[0], bias[0] = self.block["p"][at], self.block["user_bias"][at]
        elif len(block.positions):
            own, n = block.positions, len(block.positions)
            left = block.ratings - np.float32(self.params["mean"])
            models = q.shape[1] // rank if rank else 1
            positions, rows = np.arange(n, dtype=np.int32), np.zeros(n, np.int64)
            reg = float(self.params["reg"])
            p, bias, _ = solve(rows, positions, left, 1, item_bias[own], np.array(q[own]), reg, models, has_bias)
        known = block.users if at >= 0 or len(block.positions) else block.users[:0]
        arrays = {"p": p, "user_bias": bias, "q": q, "item_bias": item_bias}
        mean, fallback = float(self.params["mean"]), self.params.get("fallback")
        return FactorScorer(self.items, known, arrays, mean, float(self.params["reg"]), rank, has_bias, fallback)


def _numbers(column: pa.Array) -> NDArray[np.int64]:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)

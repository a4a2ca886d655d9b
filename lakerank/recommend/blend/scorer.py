"""Several scorers as one: each part's scores in its own standard deviations, weighted.

score(u, i) = Σ_m w_m(n_u) · (s_m(u, i) − mean_m(u)) / deviation_m(u), mean and deviation over the part's catalogue. How
much a part is worth depends on how many ratings n_u the user has. A part that does not have an item says nothing of it.
Shape suffixes: U users of a block, I items of the blend, M parts, G groups of users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.recommend.models.base import Reason, Scorer
from lakerank.recommend.models.user_histories import Biases, Histories

EDGES = (1, 6, 21)  # numbers of ratings at which the next group of users begins
START = "starting point"
_ROUNDING = 1e-9  # of the largest score: scores that differ by less are equal


@dataclass(frozen=True)
class Part:
    """A scorer in a blend.

    Attributes:
        name: in `MODELS`.
        scorer: what it is.
        at: int32 (its items), their positions in the blend.
    """

    name: str
    scorer: Scorer
    at: NDArray[np.int32]

    def own(self, block: Histories, n_items: int) -> Histories:
        """Return the block in the part's own positions."""
        to = np.full(n_items, -1, np.int32)
        to[self.at] = np.arange(len(self.at))
        return block.reindex(to)

    def standard(self, block: Histories, n_items: int) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[Any]]:
        """Return standardised scores, (U, I), 0 for items the part lacks; and each user's mean and deviation, (U)."""
        scores = np.asarray(self.scorer.scores(self.own(block, n_items)), np.float64)
        mean_U, deviation_U = scores.mean(axis=1), scores.std(axis=1)
        some = deviation_U > _ROUNDING * np.abs(scores).max(axis=1, initial=0.0)
        deviation_U = np.where(some, deviation_U, 1.0)
        standard = np.zeros((len(block), n_items))
        standard[:, self.at] = (scores - mean_U[:, None]) / deviation_U[:, None]
        return standard, mean_U, deviation_U


@dataclass(frozen=True)
class BlendScorer:
    """A `Scorer`.

    Attributes:
        items: (I) all items of all parts, ascending.
        parts: at least one.
        weights: float64 (G, M).
        biases: for predictions where no part has any.
        raters: names of the parts that predict ratings, the best first.
    """

    items: pa.Array
    parts: tuple[Part, ...]
    weights: NDArray[np.float64]
    biases: Biases
    raters: tuple[str, ...]
    name: str = "blend"

    @classmethod
    def make(
        cls,
        scorers: dict[str, Scorer],
        weights: NDArray[np.float64],
        biases: tuple[pa.Array, Biases],
        raters: tuple[str, ...],
    ) -> BlendScorer:
        """Put parts together.

        Args:
            scorers: the parts, by name.
            weights: (G, M), in their order.
            biases: items (ascending) and their biases.
            raters: see the attributes.
        """
        items = union_of([scorer.items for scorer in scorers.values()])
        parts = tuple(Part(name, scorer, _positions(scorer.items, items)) for name, scorer in scorers.items())
        of_items = np.zeros(len(items))
        at = _positions(biases[0], items)
        of_items[at[at >= 0]] = biases[1].of_items[at >= 0]
        known = Biases(biases[1].mean, of_items, biases[1].low, biases[1].high)
        return cls(items, parts, weights, known, raters)

    @property
    def known(self) -> NDArray[np.bool_]:
        """A mask of the items that any part knows, bool (I)."""
        known = np.zeros(len(self.items), np.bool_)
        for part in self.parts:
            known[part.at] |= part.scorer.known
        return known

    def is_warm(self, block: Histories) -> NDArray[np.bool_]:
        """Return a mask of the users with ratings, bool (U)."""
        return block.counts > 0

    def weights_of(self, block: Histories) -> NDArray[np.float64]:
        """Return the weights of each user's parts, (U, M)."""
        return self.weights[np.searchsorted(EDGES, block.counts, side="right")]

    def scores(self, block: Histories) -> NDArray[np.float64]:
        """Return the blended scores, (U, I); see the module."""
        total = np.zeros((len(block), len(self.items)))
        for m, part in enumerate(self.parts):
            total += self.weights_of(block)[:, m, None] * part.standard(block, len(self.items))[0]
        return total

    def ratings(self, block: Histories) -> NDArray[np.float64]:
        """Return the predicted ratings of the best part that knows the item, (U, I); biases where none does."""
        guess = self.biases.ratings(block)
        for part in reversed(self.rating_parts()):
            own = part.scorer.ratings(part.own(block, len(self.items)))
            known = part.scorer.known
            guess[:, part.at[known]] = np.asarray(own)[:, known]
        return guess

    def rating_parts(self) -> list[Part]:
        """Return the parts that predict ratings, the best first; of latent factors those that do not only rank."""
        named = [part for name in self.raters for part in self.parts if part.name == name]
        return [part for part in named if getattr(part.scorer, "rates", True)]

    def item_similarity(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the similarities by the first part that knows the item, (N, I)."""
        like = np.full((len(positions), len(self.items)), -np.inf)
        for part in self.parts:
            own = np.full(len(self.items), -1)
            own[part.at] = np.arange(len(part.at))
            left = np.flatnonzero(~np.isfinite(like).any(axis=1) & (own[positions] >= 0))
            if len(left):
                like[np.ix_(left, part.at)] = part.scorer.item_similarity(own[positions[left]])
        return like

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        """Return the summands of the parts, in the blend's units, and the parts' means."""
        one = block.part(row, row + 1)
        found, start = [], 0.0
        for m, part in enumerate(self.parts):
            weight = float(self.weights_of(one)[0, m])
            mine = np.flatnonzero(part.at == position)
            if weight == 0.0 or not len(mine):
                continue
            _, mean, deviation = part.standard(one, len(self.items))
            unit = weight / float(deviation[0])
            start -= unit * float(mean[0])
            for reason in part.scorer.explain(part.own(one, len(self.items)), 0, int(mine[0])):
                because = int(part.at[reason.because]) if reason.because >= 0 else -1
                found.append(Reason(reason.source, because, unit * reason.value))
        return [*found, Reason(START, -1, start)]


def rating_source(scorer: Scorer, block: Histories, rows: NDArray[Any], positions: NDArray[Any]) -> list[str]:
    """Return the sources of the predictions, for users (rows) and items (positions; −1: in no catalogue)."""
    assert isinstance(scorer, BlendScorer)
    personal = scorer.is_warm(block)[rows]
    rated = np.append(scorer.biases.of_items != 0, False)[positions]
    words = np.array(["mean", "item bias", "user bias", "biases"], object)[rated + 2 * personal]
    for part in reversed(scorer.rating_parts()):
        known = np.zeros(len(scorer.items) + 1, np.bool_)
        known[part.at] = part.scorer.known
        served = part.scorer.is_warm(part.own(block, len(scorer.items)))[rows]
        words[known[positions] & served] = part.scorer.name
    found: list[str] = words.tolist()
    return found


def leading_part(scorer: Scorer, block: Histories, rows: NDArray[Any], positions: NDArray[Any]) -> list[str]:
    """Return the part that adds most to each score, or that nothing is known of the user."""
    assert isinstance(scorer, BlendScorer)
    shares = np.stack(
        [
            scorer.weights_of(block)[rows, m] * part.standard(block, len(scorer.items))[0][rows, positions]
            for m, part in enumerate(scorer.parts)
        ]
    )
    words = [f"blend: most by {part.scorer.name}" for part in scorer.parts]
    personal = scorer.is_warm(block)[rows].tolist()
    best = shares.argmax(axis=0).tolist() if len(rows) else []
    return [
        words[m] if mine else f"fallback: {scorer.parts[m].scorer.name}, nothing known of this user"
        for m, mine in zip(best, personal, strict=True)
    ]


def union_of(lists: list[pa.Array]) -> pa.Array:
    """Return all ids, ascending."""
    ids = pc.unique(pa.chunked_array(lists))
    return ids.take(pc.sort_indices(ids))


def _positions(ids: pa.Array, items: pa.Array) -> NDArray[np.int32]:
    return np.asarray(pc.index_in(ids, value_set=items).fill_null(-1).to_numpy(zero_copy_only=False), np.int32)

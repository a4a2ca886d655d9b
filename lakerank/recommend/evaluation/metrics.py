"""Metrics by name: ranked lists against what users liked, and what is recommended, liked or not.

Shape suffixes: U users, N recommendations, P pairs of user and relevant item, I items of the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.cli.errors import UserError

Floats = NDArray[np.float64]
Hits = NDArray[np.bool_]
Counts = NDArray[np.int64]

# Kinds that need a number of recommendations, as `ndcg@10`, and what they say.
RANKED = {
    "ndcg": "normalised discounted cumulative gain, binary; the ideal has min(N, relevant) hits",
    "recall": "hits ÷ relevant items (trec_eval)",
    "recall-capped": "hits ÷ min(N, relevant items), which can reach 1 (Liang et al. 2018)",
    "precision": "hits ÷ N",
    "map": "average precision: Σ precision at each hit ÷ relevant items (trec_eval's map_cut)",
    "mrr": "1 ÷ position of the first hit",
    "hr": "hit rate: 1 if there is any hit",
    "novelty": "mean of −log2 p(item), p the share of training users who rated it, 1 added above and below",
    "popularity": "mean share of training users who rated the recommended items",
    "popularity-lift": "by how much more popular they are than what the same users have rated, as a share of that",
    "coverage": "share of the catalogue that is recommended to somebody",
    "gini": "how unequally recommendations fall on the items of the catalogue, 0 equally, 1 all on one",
}
RATED = {"rmse": "root of the mean squared error, rating units", "mae": "mean absolute error, rating units"}
OVERALL = ("coverage", "gini")  # of all users at once: no value of one user, so no interval
USUAL = (
    "rmse,mae,ndcg@10,recall@10,recall-capped@10,map@10,mrr@10,hr@10,coverage@10,novelty@10,popularity@10,"
    "popularity-lift@10"
)


@dataclass(frozen=True)
class Metric:
    """A kind of metric and, unless it is of ratings, how many recommendations it looks at."""

    kind: str
    cutoff: int = 0

    @property
    def name(self) -> str:
        """As it is asked for: `ndcg@10`."""
        return f"{self.kind}@{self.cutoff}" if self.cutoff else self.kind

    @property
    def ranked(self) -> bool:
        """Whether it is computed from recommendations (else from predicted ratings)."""
        return self.kind in RANKED

    @property
    def finds_relevant(self) -> bool:
        """Whether it says how well relevant items are found; only these go with sampled candidates."""
        return self.ranked and self.kind not in (*OVERALL, "novelty", "popularity", "popularity-lift")


@dataclass(frozen=True)
class Sums:
    """A metric as Σ top ÷ Σ bottom over users, (U) each; of that the root for an RMSE."""

    top: Floats
    bottom: Floats
    root: bool = False

    def value(self) -> float:
        """Return the value; NaN where no user counts."""
        return float(ratio(np.array([self.top.sum()]), np.array([self.bottom.sum()]), self.root)[0])

    def of(self, chosen: NDArray[np.bool_]) -> Sums:
        """Return the sums of some of the users, a mask (U); 0 for the others."""
        return Sums(np.where(chosen, self.top, 0.0), np.where(chosen, self.bottom, 0.0), self.root)


def ratio(top: Floats, bottom: Floats, root: bool) -> Floats:
    """Return top ÷ bottom, of that the root if asked for; NaN where bottom is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(bottom == 0, np.nan, top / np.where(bottom == 0, 1.0, bottom))
        return np.sqrt(value) if root else value


def parse_metrics(text: str) -> list[Metric]:
    """Return metrics from `rmse,ndcg@10`, each once.

    Raises:
        UserError: a name is unknown, or its number is missing, not one, or not wanted.
    """
    found: dict[str, Metric] = {}
    for name in filter(None, (part.strip().lower() for part in text.split(","))):
        kind, at, cutoff = name.partition("@")
        if kind in RATED and not at:
            found[name] = Metric(kind)
        elif kind in RATED:
            raise UserError(f"--metrics: `{name}`: {kind} is of predicted ratings and takes no number")
        elif kind not in RANKED:
            raise UserError(f"--metrics: `{name}` is not one of {', '.join((*RATED, *RANKED))}")
        elif not (re.fullmatch("[0-9]{1,6}", cutoff) and int(cutoff)):
            raise UserError(f"--metrics: `{name[:40]}` needs a number of recommendations, as {kind}@10")
        else:
            found[name] = Metric(kind, int(cutoff))
    if not found:
        raise UserError(f"--metrics: name at least one, as {USUAL}")
    return list(found.values())


def hits(top_UN: NDArray[np.int32], rows_P: NDArray[Any], items_P: NDArray[Any], n_items: int) -> tuple[Hits, Counts]:
    """Return a mask of the relevant recommendations, and the number of relevant items of each user.

    Args:
        top_UN: positions of the recommended items, best first; −1 fills the end.
        rows_P, items_P: the relevant pairs, by position, each once; an item of −1 or beyond `n_items` cannot be
            recommended, but counts.
        n_items: items that positions may stand for.

    Returns:
        bool (U, N) and int64 (U).
    """
    relevant = np.bincount(rows_P, minlength=len(top_UN)).astype(np.int64)
    can_be = (np.asarray(items_P) >= 0) & (np.asarray(items_P) < n_items)
    keys = np.sort(np.asarray(rows_P, np.int64)[can_be] * n_items + np.asarray(items_P, np.int64)[can_be])
    if not len(keys):
        return np.zeros(top_UN.shape, bool), relevant
    asked = np.arange(len(top_UN), dtype=np.int64)[:, None] * n_items + top_UN
    position = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return (keys[position] == asked) & (top_UN >= 0), relevant


def discounted_gain(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """Compute nDCG, (U): Σ 1/log2(position + 1) over the hits ÷ that sum over the min(N, relevant) first positions
    (Järvelin and Kekäläinen 2002, binary gains)."""
    gains = 1.0 / np.log2(np.arange(2.0, hit_UN.shape[1] + 2.0))
    ideal = np.concatenate([[1.0], np.cumsum(gains)])  # nobody without relevant items has a hit: 0 / 1
    return np.asarray(hit_UN @ gains / ideal[np.minimum(relevant_U, hit_UN.shape[1])], np.float64)


def recall(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """Compute recall, (U): hits ÷ relevant items."""
    return np.asarray(hit_UN.sum(axis=1) / np.maximum(relevant_U, 1), np.float64)


def recall_capped(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """Compute recall over what N places can hold, (U): hits ÷ min(N, relevant items)."""
    return np.asarray(hit_UN.sum(axis=1) / np.clip(relevant_U, 1, hit_UN.shape[1]), np.float64)


def precision(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """Compute precision, (U): hits ÷ N, also where fewer than N were recommended."""
    return np.asarray(hit_UN.mean(axis=1), np.float64)


def average_precision(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """Compute average precision, (U): Σ over the hits of the precision down to there ÷ relevant items."""
    so_far = np.cumsum(hit_UN, axis=1) / np.arange(1, hit_UN.shape[1] + 1)
    return np.asarray((so_far * hit_UN).sum(axis=1) / np.maximum(relevant_U, 1), np.float64)


def reciprocal_rank(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """Compute the reciprocal rank, (U): 1 ÷ position of the first hit; 0 without one."""
    return np.asarray(hit_UN.any(axis=1) / (hit_UN.argmax(axis=1) + 1.0), np.float64)


def hit_rate(hit_UN: Hits, relevant_U: Counts) -> Floats:
    """Compute the hit rate, (U): 1 if there is any hit, else 0."""
    return np.asarray(hit_UN.any(axis=1), np.float64)


BY_USER: dict[str, Callable[[Hits, Counts], Floats]] = {
    "ndcg": discounted_gain,
    "recall": recall,
    "recall-capped": recall_capped,
    "precision": precision,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hr": hit_rate,
}


Positions = NDArray[np.int32]


def coverage(top_UN: Positions, n_items: int) -> float:
    """Return the share of the catalogue that is recommended to at least one user."""
    return len(np.unique(top_UN[top_UN >= 0])) / max(n_items, 1)


def gini(top_UN: Positions, n_items: int) -> float:
    """Compute the Gini coefficient of how often each item of the catalogue is recommended, 0 to 1 − 1/I."""
    times = np.sort(np.bincount(top_UN[top_UN >= 0], minlength=n_items)).astype(np.float64)
    if not times.sum():
        return 0.0
    position = np.arange(1, n_items + 1)
    return float((2 * position - n_items - 1) @ times / (n_items * times.sum()))


def surprise(raters_I: NDArray[Any], n_users: int) -> Floats:
    """Return the self-information of items, (I): −log2((n + 1) / (U + 1)) in bits, n the training users who rated the
    item (Vargas and Castells 2011, with 1 added so that items nobody rated have a value)."""
    return np.asarray(-np.log2((raters_I + 1.0) / (n_users + 1.0)), np.float64)


def mean_over(top_UN: Positions, values_I: Floats) -> tuple[Floats, Floats]:
    """Return the mean value of the items each user is recommended, (U), and 1 for users with any, else 0."""
    there = top_UN >= 0
    n = there.sum(axis=1)
    if not len(values_I):
        return np.zeros(len(top_UN)), np.zeros(len(top_UN))
    total = np.where(there, values_I[top_UN], 0.0).sum(axis=1)
    return total / np.maximum(n, 1), (n > 0).astype(np.float64)


def popularity_lift(top_UN: Positions, share_I: Floats, profile_U: Floats) -> tuple[Floats, Floats]:
    """Return numerators and denominators, (U), of (Σ p(recommended) − Σ p(rated)) / Σ p(rated), the group average
    popularity's change of Abdollahpouri et al. 2019 (*The unfairness of popularity bias in recommendation*).

    Args:
        top_UN: recommended items.
        share_I: share of training users who rated each item.
        profile_U: mean of these over what each user rated in training; NaN without any: the user is left out.
    """
    recommended, any_U = mean_over(top_UN, share_I)
    counts = (any_U > 0) & np.isfinite(profile_U)
    return np.where(counts, recommended - profile_U, 0.0), np.where(counts, profile_U, 0.0)

"""What is recommended, whether it is liked or not: how much of the catalogue, how popular, how new.

Shape suffixes: U users, N recommendations, I items of the catalogue.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.int32]


def coverage(top_UN: Positions, n_items: int) -> float:
    """Share of the catalogue that is recommended to at least one user."""
    return len(np.unique(top_UN[top_UN >= 0])) / max(n_items, 1)


def gini(top_UN: Positions, n_items: int) -> float:
    """Gini coefficient of how often each item of the catalogue is recommended, 0 to 1 − 1/I."""
    times = np.sort(np.bincount(top_UN[top_UN >= 0], minlength=n_items)).astype(np.float64)
    if not times.sum():
        return 0.0
    place = np.arange(1, n_items + 1)
    return float((2 * place - n_items - 1) @ times / (n_items * times.sum()))


def surprise(raters_I: NDArray[Any], n_users: int) -> Floats:
    """(I) self-information −log2((n + 1) / (U + 1)) in bits, n the training users who rated the item
    (Vargas and Castells 2011, with 1 added so that items nobody rated have a value)."""
    return np.asarray(-np.log2((raters_I + 1.0) / (n_users + 1.0)), np.float64)


def mean_over(top_UN: Positions, values_I: Floats) -> tuple[Floats, Floats]:
    """Mean value of the items each user is recommended, (U), and 1 for users who are recommended any, else 0."""
    there = top_UN >= 0
    n = there.sum(axis=1)
    if not len(values_I):
        return np.zeros(len(top_UN)), np.zeros(len(top_UN))
    total = np.where(there, values_I[top_UN], 0.0).sum(axis=1)
    return total / np.maximum(n, 1), (n > 0).astype(np.float64)


def popularity_lift(top_UN: Positions, share_I: Floats, profile_U: Floats) -> tuple[Floats, Floats]:
    """Numerators and denominators, (U), of (Σ p(recommended) − Σ p(rated)) / Σ p(rated), the group average
    popularity's change of Abdollahpouri et al. 2019 (*The unfairness of popularity bias in recommendation*).

    Args:
        top_UN: recommended items.
        share_I: share of training users who rated each item.
        profile_U: mean of these over what each user rated in training; NaN without any: the user is left out.
    """
    recommended, any_U = mean_over(top_UN, share_I)
    counts = (any_U > 0) & np.isfinite(profile_U)
    return np.where(counts, recommended - profile_U, 0.0), np.where(counts, profile_U, 0.0)

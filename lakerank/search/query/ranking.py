"""The settings of a search that weigh evidence against one another; one set serves all collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", int, str)


@dataclass(frozen=True)
class Feedback:
    """Query expansion from the first results (pseudo-relevance feedback, Rocchio 1971 on BM25F impacts).

    The best pages' terms are weighed by Σ_d share_d · impact(term, d), where a page's share is its part of the sum of
    their scores; the heaviest are added with `weight` times their part of the heaviest one's weight. Long questions
    gain by it; of short queries that name one thing it takes the focus, so it waits for `units` words that count.

    Attributes:
        pages: how many of the first results.
        terms: how many terms, those of the query among them.
        weight: of the heaviest term; the query's own words have 1.
        units: in auto mode, the number of words from which on it is used.
    """

    pages: int = 10
    terms: int = 40
    weight: float = 1.0
    units: int = 5


@dataclass(frozen=True)
class Ranking:
    """How scores are made.

    Attributes:
        rank_weight: of the link prior, in BM25F's units; 0 leaves links out.
        feedback: see `Feedback`.
    """

    rank_weight: float = 0.5
    feedback: Feedback = Feedback()


def link_prior(pageranks: NDArray[np.float64], ranked: int, total: float) -> NDArray[np.float32]:
    """The log-linear prior: log₁₀ of how many times its even share of rank a page has, 0 to 3.

    Pages with less than their share have 0 as those without a rank: a documentation's leaf pages are no worse for
    being leaves. Beyond a thousand times the prior stops, so that no rank, however it came about, replaces a match.

    Args:
        pageranks: float64, probabilities; 0 where unknown.
        ranked: how many pages of the collection have a rank. total: the sum of their ranks.
    """
    if total <= 0:
        return np.zeros(len(pageranks), np.float32)
    share = pageranks * (ranked / total)
    prior: NDArray[np.float32] = np.clip(np.log10(np.maximum(share, 1e-12)), 0.0, 3.0).astype(np.float32)
    return prior


def expanded(query: Mapping[T, float], heaviest: Sequence[tuple[T, float]], weight: float) -> dict[T, float]:
    """A query's weights with those of the heaviest terms of its first results.

    Args:
        query: term → weight. heaviest: terms and what they weigh, heaviest first.
        weight: that the heaviest gets; the query's own most frequent term has 1.
    """
    if not heaviest:
        return dict(query)
    most, largest = max(query.values()), heaviest[0][1]
    weights = {term: own / most for term, own in query.items()}
    for term, value in heaviest:
        weights[term] = weights.get(term, 0.0) + weight * (value / largest)
    return weights

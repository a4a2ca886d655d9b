"""Loops that score: every page, or only those that can be among the best."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.search.query.impact_kernels import BLOCK
from lakerank.search.query.lookup_kernels import seek
from lakerank.spark.jit import compiled

_BLOCK = BLOCK


@compiled(nogil=True)
def _worse(score: float, tie: int, other: float, other_tie: int) -> bool:
    return score < other or (score == other and tie > other_tie)


@compiled(nogil=True)
def _sift(scores: NDArray[np.float64], found: NDArray[np.int32], tie: NDArray[np.int32], size: int) -> None:
    """Move the heap's root, which was replaced, to its place; the worst is at the root."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        if child + 1 < size and _worse(scores[child + 1], tie[found[child + 1]], scores[child], tie[found[child]]):
            child += 1
        if not _worse(scores[child], tie[found[child]], scores[at], tie[found[at]]):
            return
        scores[at], scores[child] = scores[child], scores[at]
        found[at], found[child] = found[child], found[at]
        at = child


@compiled(nogil=True)
def _offer(
    doc: Any,
    score: float,
    size: int,
    scores: NDArray[np.float64],
    found: NDArray[np.int32],
    tie: NDArray[np.int32],
) -> int:
    """Offer a page to the heap of the best; returns the heap's size."""
    if size < len(scores):
        at = size
        scores[at], found[at] = score, doc
        while at > 0:
            up = (at - 1) // 2
            if not _worse(scores[at], tie[found[at]], scores[up], tie[found[up]]):
                break
            scores[at], scores[up] = scores[up], scores[at]
            found[at], found[up] = found[up], found[at]
            at = up
        return size + 1
    if _worse(scores[0], tie[found[0]], score, tie[doc]):
        scores[0], found[0] = score, doc
        _sift(scores, found, tie, size)
    return size


@compiled(nogil=True)
def _sort_heap(scores: NDArray[np.float64], found: NDArray[np.int32], tie: NDArray[np.int32], size: int) -> None:
    """Best first."""
    for last in range(size - 1, 0, -1):
        scores[0], scores[last] = scores[last], scores[0]
        found[0], found[last] = found[last], found[0]
        _sift(scores, found, tie, last)


@compiled(nogil=True)
def score_all(
    terms: NDArray[np.int64],
    weights: NDArray[np.float64],
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    values: NDArray[np.float32],
    prior: NDArray[np.float32],
    prior_weight: float,
    allowed: NDArray[np.uint8],
    extra: NDArray[np.float64],
    tie: NDArray[np.int32],
    sums: NDArray[np.float64],
    scores: NDArray[np.float64],
    found: NDArray[np.int32],
) -> tuple[int, int]:
    """Score every page that has one of the terms, list after list.

    Args:
        terms, weights: of the query, in the order in which shares are added.
        ends, docs, values: of the index. prior: float32 of the pages, times `prior_weight` in each score.
        allowed: uint8 of the pages (0: not a result), or empty: all are.
        extra: float64 of the pages, more to add (phrases), or empty; pages with some count as found.
        tie: int32, order of pages with equal scores. sums: float64 of the pages, zeros; zeros again afterwards.
        scores, found: out, the best, best first.

    Returns:
        How many of the best there are, and how many pages were found.
    """
    size, matches = 0, 0
    for i in range(len(terms)):
        begin = ends[terms[i] - 1] if terms[i] > 0 else 0
        weight = weights[i]
        for at in range(begin, ends[terms[i]]):
            sums[docs[at]] += weight * values[at]
    for doc in range(len(sums)):
        total = sums[doc]
        sums[doc] = 0.0
        if len(extra) > 0:
            total += extra[doc]
        if total > 0.0 and (len(allowed) == 0 or allowed[doc]):
            matches += 1
            size = _offer(doc, total + prior_weight * prior[doc], size, scores, found, tie)
    _sort_heap(scores, found, tie, size)
    return size, matches


@compiled(nogil=True)
def score_best(
    terms: NDArray[np.int64],
    weights: NDArray[np.float64],
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    values: NDArray[np.float32],
    block_firsts: NDArray[np.int64],
    maxima: NDArray[np.float32],
    prior: NDArray[np.float32],
    prior_weight: float,
    highest_prior: float,
    tie: NDArray[np.int32],
    scores: NDArray[np.float64],
    found: NDArray[np.int32],
) -> int:
    """The same best pages, scored page after page, passing over those that cannot be among them.

    MaxScore (Turtle and Flood 1995) with block maxima (Ding and Suel 2011): terms whose largest shares together
    cannot lift a page over the worst of the best so far do not bring up pages of their own, and a page's shares are
    looked up only while the maxima of its blocks leave it a chance. Shares are added in the order of `terms`, so that
    scores are those of `score_all` to the last bit.

    Args:
        block_firsts, maxima: of `block_maxima`; weights must not be negative.
        highest_prior: the largest of `prior_weight · prior`.
        Others as in `score_all`.

    Returns:
        How many of the best there are.
    """
    count, size = len(terms), 0
    at, stop, begin = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    most, bound = np.zeros(count, np.float64), np.zeros(count + 1, np.float64)
    for i in range(count):
        begin[i] = ends[terms[i] - 1] if terms[i] > 0 else 0
        at[i], stop[i] = begin[i], ends[terms[i]]
        for block in range(block_firsts[terms[i]], block_firsts[terms[i] + 1]):
            most[i] = max(most[i], weights[i] * maxima[block])
    order = np.argsort(most)  # the least important terms first
    for i in range(count):
        bound[i + 1] = bound[i] + most[order[i]]
    slack = 1.0 + 1e-9  # sums are rounded in another order than bounds
    first = 0  # terms before it in `order` bring up no pages
    share = np.zeros(count, np.float64)
    while first < count:
        doc = np.int64(1) << 40
        for j in range(first, count):
            i = order[j]
            if at[i] < stop[i] and docs[at[i]] < doc:
                doc = np.int64(docs[at[i]])
        if doc == np.int64(1) << 40:
            break
        total = 0.0
        for j in range(first, count):
            i = order[j]
            share[i] = 0.0
            if at[i] < stop[i] and docs[at[i]] == doc:
                share[i] = weights[i] * values[at[i]]
                total += share[i]
                at[i] += 1
        full = size == len(scores)
        threshold = scores[0] if full else -1.0
        alive = True
        own = prior_weight * prior[doc]
        for j in range(first - 1, -1, -1):
            i = order[j]
            share[i] = 0.0
            if not alive:
                continue
            if full and (total + bound[j + 1]) * slack + own < threshold:
                alive = False
                continue
            low = seek(docs, at[i], stop[i], doc)
            at[i] = low
            if low < stop[i] and docs[low] == doc:
                if full:
                    block = block_firsts[terms[i]] + (low - begin[i]) // _BLOCK
                    if (total + weights[i] * maxima[block] + bound[j]) * slack + own < threshold:
                        alive = False
                        continue
                share[i] = weights[i] * values[low]
                total += share[i]
        if alive:
            exact = 0.0
            for i in range(count):
                exact += share[i]
            if exact > 0.0:
                size = _offer(doc, exact + own, size, scores, found, tie)
                if size == len(scores):
                    while first < count and bound[first + 1] * slack + highest_prior < scores[0]:
                        first += 1
    _sort_heap(scores, found, tie, size)
    return size

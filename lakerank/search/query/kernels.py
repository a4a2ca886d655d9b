"""Compiled loops of a query: find terms and pages, match phrases, score every page or only those that can be best."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.search.index.coding import FIELD_SHIFT
from lakerank.spark.jit import compiled

BLOCK = 128  # postings that share one maximum
_BLOCK, _SHIFT = BLOCK, FIELD_SHIFT


@compiled(nogil=True)
def find_term(data: NDArray[np.uint8], ends: NDArray[np.int64], wanted: NDArray[np.uint8]) -> int:
    """Find the number of a term in the sorted list of terms; -1 if it is not there."""
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        begin = ends[middle - 1] if middle else 0
        size = ends[middle] - begin
        order = 0
        for i in range(min(size, len(wanted))):
            if data[begin + i] != wanted[i]:
                order = -1 if data[begin + i] < wanted[i] else 1
                break
        if order == 0:
            if size == len(wanted):
                return middle
            order = -1 if size < len(wanted) else 1
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return -1


@compiled(nogil=True)
def seek(docs: NDArray[np.int32], low: Any, stop: Any, doc: Any) -> Any:
    """Find the first posting from `low` on, before `stop`, whose page is not below `doc` (galloping search)."""
    step = 1
    while low + step < stop and docs[low + step] < doc:
        low += step
        step *= 2
    high = min(low + step, stop)
    while low < high:
        middle = (low + high) // 2
        if docs[middle] < doc:
            low = middle + 1
        else:
            high = middle
    return low


@compiled(nogil=True)
def sum_impacts(
    feedback: NDArray[np.int32],
    shares: NDArray[np.float64],
    doc_begins: NDArray[np.int64],
    terms: NDArray[np.int32],
    values: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Sum the impacts of the terms of some pages, each page times its share; terms ascending."""
    n = 0
    for i in range(len(feedback)):
        n += doc_begins[feedback[i] + 1] - doc_begins[feedback[i]]
    all_terms, all_values = np.empty(n, np.int32), np.empty(n, np.float64)
    n = 0
    for i in range(len(feedback)):
        for at in range(doc_begins[feedback[i]], doc_begins[feedback[i] + 1]):
            all_terms[n], all_values[n] = terms[at], shares[i] * values[at]
            n += 1
    order = np.argsort(all_terms, kind="mergesort")
    m = 0
    out_terms, out_values = np.empty(n, np.int32), np.empty(n, np.float64)
    for at in order:
        if m and out_terms[m - 1] == all_terms[at]:
            out_values[m - 1] += all_values[at]
        else:
            out_terms[m], out_values[m] = all_terms[at], all_values[at]
            m += 1
    return out_terms[:m], out_values[:m]


@compiled(nogil=True)
def phrase_frequencies(
    terms: NDArray[np.int64],
    steps: NDArray[np.int64],
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    position_ends: NDArray[np.int64],
    positions: NDArray[np.uint32],
    fields: int,
) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Find the pages in which terms stand one after another.

    Args:
        terms: int64, at least one. steps: int64, position of each behind the first.
        ends, docs, position_ends, positions: of the index. fields: how many there are.

    Returns:
        Pages int32 (n), ascending, and how often in each field, uint16 (n, fields).
    """
    count = len(terms)
    at, stop = np.zeros(count, np.int64), np.zeros(count, np.int64)
    rare = 0
    for i in range(count):
        at[i] = ends[terms[i] - 1] if terms[i] > 0 else 0
        stop[i] = ends[terms[i]]
        if stop[i] - at[i] < stop[rare] - at[rare]:
            rare = i
    out_docs = np.empty(stop[rare] - at[rare], np.int32)
    out_tfs = np.zeros((stop[rare] - at[rare], fields), np.uint16)
    n = 0
    for lead in range(at[rare], stop[rare]):
        doc, together = docs[lead], True
        at[rare] = lead
        for i in range(count):
            if i == rare:
                continue
            low = seek(docs, at[i], stop[i], doc)
            at[i] = low
            if low >= stop[i] or docs[low] != doc:
                together = False
                break
        if not together:
            continue
        begin = position_ends[lead - 1] if lead > 0 else 0
        hits = 0
        for spot in range(begin, position_ends[lead]):
            whole = True
            for i in range(count):
                if i == rare:
                    continue
                wanted = np.int64(positions[spot]) + steps[i] - steps[rare]
                low = position_ends[at[i] - 1] if at[i] > 0 else 0
                high = position_ends[at[i]]
                last = high
                while low < high:
                    middle = (low + high) // 2
                    if positions[middle] < wanted:
                        low = middle + 1
                    else:
                        high = middle
                if low >= last or positions[low] != wanted:
                    whole = False
                    break
            if whole:
                out_tfs[n, positions[spot] >> _SHIFT] += 1
                hits += 1
        if hits:
            out_docs[n] = doc
            n += 1
    return out_docs[:n], out_tfs[:n]


@compiled(nogil=True)
def _worse(score: float, tiebreak: int, other: float, other_tiebreak: int) -> bool:
    return score < other or (score == other and tiebreak > other_tiebreak)


@compiled(nogil=True)
def _sift(scores: NDArray[np.float64], found: NDArray[np.int32], tiebreak: NDArray[np.int32], size: int) -> None:
    """Move the heap's root, which was replaced, down to where it belongs; the worst is at the root."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        if child + 1 < size and _worse(
            scores[child + 1], tiebreak[found[child + 1]], scores[child], tiebreak[found[child]]
        ):
            child += 1
        if not _worse(scores[child], tiebreak[found[child]], scores[at], tiebreak[found[at]]):
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
    tiebreak: NDArray[np.int32],
) -> int:
    """Offer a page to the heap of the best; returns the heap's size."""
    if size < len(scores):
        at = size
        scores[at], found[at] = score, doc
        while at > 0:
            up = (at - 1) // 2
            if not _worse(scores[at], tiebreak[found[at]], scores[up], tiebreak[found[up]]):
                break
            scores[at], scores[up] = scores[up], scores[at]
            found[at], found[up] = found[up], found[at]
            at = up
        return size + 1
    if _worse(scores[0], tiebreak[found[0]], score, tiebreak[doc]):
        scores[0], found[0] = score, doc
        _sift(scores, found, tiebreak, size)
    return size


@compiled(nogil=True)
def _sort_heap(scores: NDArray[np.float64], found: NDArray[np.int32], tiebreak: NDArray[np.int32], size: int) -> None:
    """Sort the heap in place, best first."""
    for last in range(size - 1, 0, -1):
        scores[0], scores[last] = scores[last], scores[0]
        found[0], found[last] = found[last], found[0]
        _sift(scores, found, tiebreak, last)


@compiled(nogil=True)
def score_all(
    terms: NDArray[np.int64],
    weights: NDArray[np.float64],
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    values: NDArray[np.float32],
    prior: NDArray[np.float32],
    prior_weight: float,
    marks: NDArray[np.uint8],
    wanted: int,
    tiebreak: NDArray[np.int32],
    sums: NDArray[np.float64],
    scores: NDArray[np.float64],
    found: NDArray[np.int32],
) -> tuple[int, int]:
    """Score every page that has one of the terms, list after list.

    Args:
        terms, weights: of the query, in the order in which shares are added.
        ends, docs, values: of the index. prior: float32 of the pages, times `prior_weight` in each score.
        marks, wanted: uint8 of the pages, and which of them may be results; empty: all are.
        tiebreak: int32, order of pages with equal scores. sums: float64 of the pages, zeros; zeros again afterwards.
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
        if total > 0.0 and (len(marks) == 0 or marks[doc] == wanted):
            matches += 1
            size = _offer(doc, total + prior_weight * prior[doc], size, scores, found, tiebreak)
    _sort_heap(scores, found, tiebreak, size)
    return size, matches


@compiled(nogil=True)
def score_listed(
    candidates: NDArray[np.int32],
    shares: NDArray[np.float64],
    terms: NDArray[np.int64],
    weights: NDArray[np.float64],
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    values: NDArray[np.float32],
    prior: NDArray[np.float32],
    prior_weight: float,
    tiebreak: NDArray[np.int32],
    scores: NDArray[np.float64],
    found: NDArray[np.int32],
) -> tuple[int, int]:
    """Score some pages, looking each one up in the lists of the terms; what they score elsewhere, to the last bit.

    Args:
        candidates: int32, ascending: the pages that may be results.
        shares: float64 of the candidates, more to add (phrases), or empty; those with some count as found.
        Others as in `score_all`.

    Returns:
        How many of the best there are, and how many pages were found.
    """
    count, size, matches = len(terms), 0, 0
    at, stop = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for i in range(count):
        at[i] = ends[terms[i] - 1] if terms[i] > 0 else 0
        stop[i] = ends[terms[i]]
    for n in range(len(candidates)):
        doc = candidates[n]
        total = 0.0
        for i in range(count):
            low = seek(docs, at[i], stop[i], doc)
            at[i] = low
            if low < stop[i] and docs[low] == doc:
                total += weights[i] * values[low]
        if len(shares) > 0:
            total += shares[n]
        if total > 0.0:
            matches += 1
            size = _offer(doc, total + prior_weight * prior[doc], size, scores, found, tiebreak)
    _sort_heap(scores, found, tiebreak, size)
    return size, matches


@compiled(nogil=True)
def pages_having(
    terms: NDArray[np.int64], ends: NDArray[np.int64], docs: NDArray[np.int32], marks: NDArray[np.uint8]
) -> NDArray[np.int32]:
    """Find the pages that have one of the terms, ascending; `marks`: uint8 of the pages, zeros before and after."""
    n = 0
    for i in range(len(terms)):
        for at in range(ends[terms[i] - 1] if terms[i] > 0 else 0, ends[terms[i]]):
            n += marks[docs[at]] == 0
            marks[docs[at]] = 1
    out = np.empty(n, np.int32)
    n = 0
    for doc in range(len(marks)):
        if marks[doc]:
            marks[doc] = 0
            out[n] = doc
            n += 1
    return out


@compiled(nogil=True)
def common(one: NDArray[np.int32], other: NDArray[np.int32], there: bool) -> NDArray[np.int32]:
    """Keep those of the first ascending list that the second has (`there`), or those that it has not."""
    out, n, at = np.empty(len(one), np.int32), 0, np.int64(0)
    for i in range(len(one)):
        at = seek(other, at, len(other), one[i])
        if (at < len(other) and other[at] == one[i]) == there:
            out[n] = one[i]
            n += 1
    return out[:n]


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
    marks: NDArray[np.uint8],
    wanted: int,
    tiebreak: NDArray[np.int32],
    scores: NDArray[np.float64],
    found: NDArray[np.int32],
) -> int:
    """Find the same best pages as `score_all`, page after page, passing over those that cannot be among them.

    MaxScore (Turtle and Flood 1995) with block maxima (Ding and Suel 2011): terms whose largest shares together
    cannot lift a page over the worst of the best so far do not bring up pages of their own, and a page's shares are
    looked up only while the maxima of its blocks leave it a chance. Shares are added in the order of `terms`, so that
    scores are those of `score_all` to the last bit.

    Args:
        block_firsts, maxima: of `block_maxima`; weights must not be negative.
        highest_prior: the largest of `prior_weight · prior`.
        marks, wanted: uint8 of the pages, and which of them may be results; empty: all are.
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
        if len(marks) > 0 and marks[doc] != wanted:
            continue
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
                size = _offer(doc, exact + own, size, scores, found, tiebreak)
                if size == len(scores):
                    while first < count and bound[first + 1] * slack + highest_prior < scores[0]:
                        first += 1
    _sort_heap(scores, found, tiebreak, size)
    return size

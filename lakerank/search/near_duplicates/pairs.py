"""Pairs of similar sets: compare the sets that share a band key, and join what is similar; the loops are compiled.

Shape suffixes: N texts, S shingles of all texts, B bands, M pairs. The set of text i is the ascending
sets_S[span_N2[i, 0] : span_N2[i, 1]]. `order` holds texts, those with the same key side by side: such a run is a
bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakerank.search.near_duplicates.shingles import Banding, shingle
from lakerank.spark.jit import compiled


def near_pairs(
    texts: Sequence[str], threshold: float = 0.8, shingle_words: int = 5
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the pairs of texts whose sets of word shingles have a Jaccard similarity of at least `threshold`.

    MinHash only proposes pairs; each is then measured exactly, so none is wrong, and a pair at the threshold is
    missed with a probability of at most 0.001 (0.00005 at 0.8). Texts without words are in no pair.

    Args:
        texts: n texts.
        threshold: 0.1 to 1.
        shingle_words: words in a shingle; a shorter text is one shingle.

    Returns:
        int64[m, 2], positions of both texts, the smaller first, in ascending order; float64[m], their similarity.

    Raises:
        UserError: the threshold is out of its range.
    """
    banding = Banding.for_threshold(threshold)
    found = shingle(pa.array(texts, pa.large_string()), banding, shingle_words)
    filled = np.flatnonzero(np.diff(found.ptr))
    span = np.stack([found.ptr[:-1], found.ptr[1:]], axis=1)
    first, second, similarity = [], [], []
    for band in range(banding.bands):
        keys = found.keys[:, band].copy()
        order = filled[np.argsort(keys[filled], kind="stable")]
        ends = bucket_ends(keys, order)
        a, b, alike = similar_in_band(order, ends, found.keys, band, span, found.sets, threshold)
        first.append(a)
        second.append(b)
        similarity.append(alike)
    pairs = np.stack([np.concatenate(first), np.concatenate(second)], axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], np.concatenate(similarity)[order]


@compiled(nogil=True)
def jaccard(x: Any, y: Any, least: float) -> float:
    """Measure |x ∩ y| / |x ∪ y| of ascending uint64 sets, not empty; 0 if their sizes alone put it below `least`."""
    if min(len(x), len(y)) / max(len(x), len(y)) < least:
        return 0.0
    i, j, common = 0, 0, 0
    while i < len(x) and j < len(y):
        a, b = x[i], y[j]
        common += a == b
        i += a <= b
        j += b <= a
    return common / (len(x) + len(y) - common)


@compiled(nogil=True)
def _alike(span_N2: Any, sets_S: Any, i: int, j: int, least: float) -> float:
    return jaccard(sets_S[span_N2[i, 0] : span_N2[i, 1]], sets_S[span_N2[j, 0] : span_N2[j, 1]], least)


@compiled(nogil=True)
def similarities(span_N2: Any, sets_S: Any, a_M: Any, b_M: Any, least: float) -> Any:
    """Measure the Jaccard similarity of the sets a_M[i] and b_M[i]; float64 (M)."""
    found_M = np.empty(len(a_M))
    for i in range(len(a_M)):
        found_M[i] = _alike(span_N2, sets_S, a_M[i], b_M[i], least)
    return found_M


@compiled(nogil=True)
def find(parent_N: Any, i: int) -> int:
    """Find the least text joined with i; shortens the way there."""
    while parent_N[i] != i:
        parent_N[i] = parent_N[parent_N[i]]
        i = parent_N[i]
    return i


@compiled(nogil=True)
def unite(parent_N: Any, a_M: Any, b_M: Any) -> None:
    """Join the ends of each pair."""
    for pair in range(len(a_M)):
        a, b = find(parent_N, a_M[pair]), find(parent_N, b_M[pair])
        parent_N[max(a, b)] = min(a, b)


@compiled(nogil=True)
def roots(parent_N: Any) -> Any:
    """Find the least text of each one's group; int64 (N)."""
    out = np.empty(len(parent_N), np.int64)
    for i in range(len(parent_N)):
        out[i] = find(parent_N, i)
    return out


@compiled(nogil=True)
def bucket_ends(keys_N: Any, order: Any) -> Any:
    """Return the positions in `order` where buckets end, with 0 before them, int64."""
    ends = np.empty(len(order) + 1, np.int64)
    ends[0] = 0
    n = 0
    for at in range(1, len(order) + 1):
        if at == len(order) or keys_N[order[at]] != keys_N[order[at - 1]]:
            n += 1
            ends[n] = at
    return ends[: n + 1].copy()


@compiled(nogil=True)
def join_with_first(order: Any, ends: Any, span_N2: Any, sets_S: Any, least: float, parent_N: Any) -> None:
    """Compare each text with the first of its bucket (round 1); `parent_N` joins those at least `least` alike."""
    for bucket in range(len(ends) - 1):
        hub = order[ends[bucket]]
        for at in range(ends[bucket] + 1, ends[bucket + 1]):
            a, b = find(parent_N, hub), find(parent_N, order[at])
            if a != b and _alike(span_N2, sets_S, hub, order[at], least) >= least:
                parent_N[max(a, b)] = min(a, b)


@compiled(nogil=True)
def crossing_start(group_N: Any, order: Any, first: int, at: int, start: int) -> int:
    """Return the start of the run of texts of one group that `at` is in.

    `start` is that of the position before, in a bucket that begins at `first`.
    """
    if at == first or group_N[order[at]] != group_N[order[at - 1]]:
        return at
    return start


@compiled(nogil=True)
def join_across(
    order: Any, ends: Any, group_N: Any, span_N2: Any, sets_S: Any, least: float, limit: int, parent_N: Any
) -> None:
    """Compare texts of different groups in the same bucket (round 2), each with at most `limit` before its group.

    Args:
        order: int64, by bucket, group, text.
        ends: int64, see `bucket_ends`.
        group_N: int64, each text's group after round 1.
        span_N2, sets_S: int64 and uint64, the sets.
        least: similarity from which on two texts are joined.
        limit: comparisons for each text in each bucket.
        parent_N: int64, changed in place.
    """
    for bucket in range(len(ends) - 1):
        first, start = ends[bucket], ends[bucket]
        for at in range(first, ends[bucket + 1]):
            start = crossing_start(group_N, order, first, at, start)
            for other in range(max(first, start - limit), start):
                i, j = order[at], order[other]
                a, b = find(parent_N, i), find(parent_N, j)
                # What is joined already needs no proof: only the groups matter.
                if a != b and _alike(span_N2, sets_S, i, j, least) >= least:
                    parent_N[max(a, b)] = min(a, b)


@compiled(nogil=True)
def crossing_pairs(order: Any, ends: Any, group_N: Any, limit: int) -> Any:
    """List the pairs that `join_across` looks at: two int64 (M)."""
    count = 0
    a_M, b_M = np.empty(1024, np.int64), np.empty(1024, np.int64)
    for bucket in range(len(ends) - 1):
        first, start = ends[bucket], ends[bucket]
        for at in range(first, ends[bucket + 1]):
            start = crossing_start(group_N, order, first, at, start)
            for other in range(max(first, start - limit), start):
                if count == len(a_M):
                    a_M = np.concatenate((a_M, np.empty_like(a_M)))
                    b_M = np.concatenate((b_M, np.empty_like(b_M)))
                a_M[count], b_M[count] = order[other], order[at]
                count += 1
    return a_M[:count], b_M[:count]


@compiled(nogil=True)
def similar_in_band(order: Any, ends: Any, keys_NB: Any, band: int, span_N2: Any, sets_S: Any, least: float) -> Any:
    """Find all pairs of a band's buckets that no earlier band has brought together and are at least `least` alike.

    Returns:
        `a_M`, `b_M` int64 with a < b, and `similarity_M` float64.
    """
    count = 0
    a_M, b_M, similarity_M = np.empty(1024, np.int64), np.empty(1024, np.int64), np.empty(1024)
    for bucket in range(len(ends) - 1):
        for at in range(ends[bucket], ends[bucket + 1]):
            for other in range(ends[bucket], at):
                i, j = order[other], order[at]
                earlier = False
                for b in range(band):
                    earlier |= keys_NB[i, b] == keys_NB[j, b]
                if earlier:
                    continue
                similarity = _alike(span_N2, sets_S, i, j, least)
                if similarity < least:
                    continue
                if count == len(a_M):
                    a_M = np.concatenate((a_M, np.empty_like(a_M)))
                    b_M = np.concatenate((b_M, np.empty_like(b_M)))
                    similarity_M = np.concatenate((similarity_M, np.empty_like(similarity_M)))
                a_M[count], b_M[count], similarity_M[count] = min(i, j), max(i, j), similarity
                count += 1
    return a_M[:count], b_M[:count], similarity_M[:count]

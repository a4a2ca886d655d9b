"""Loops over positions: where terms stand one after another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lakerank.search.index.coding import FIELD_SHIFT
from lakerank.search.query.lookup_kernels import seek
from lakerank.spark.jit import compiled

_SHIFT = FIELD_SHIFT


@compiled(nogil=True)
def phrase_frequencies(
    terms: NDArray[np.int64],
    steps: NDArray[np.int64],
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    place_ends: NDArray[np.int64],
    places: NDArray[np.uint32],
    fields: int,
) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Where terms stand one after another.

    Args:
        terms: int64, at least one. steps: int64, position of each behind the first.
        ends, docs, place_ends, places: of the index. fields: how many there are.

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
        begin = place_ends[lead - 1] if lead > 0 else 0
        hits = 0
        for spot in range(begin, place_ends[lead]):
            whole = True
            for i in range(count):
                if i == rare:
                    continue
                wanted = np.int64(places[spot]) + steps[i] - steps[rare]
                low = place_ends[at[i] - 1] if at[i] > 0 else 0
                high = place_ends[at[i]]
                last = high
                while low < high:
                    middle = (low + high) // 2
                    if places[middle] < wanted:
                        low = middle + 1
                    else:
                        high = middle
                if low >= last or places[low] != wanted:
                    whole = False
                    break
            if whole:
                out_tfs[n, places[spot] >> _SHIFT] += 1
                hits += 1
        if hits:
            out_docs[n] = doc
            n += 1
    return out_docs[:n], out_tfs[:n]

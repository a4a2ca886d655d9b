"""Loops that find things: a term, a page in a list, the terms of some pages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.spark.jit import compiled


@compiled(nogil=True)
def find_term(data: NDArray[np.uint8], ends: NDArray[np.int64], wanted: NDArray[np.uint8]) -> int:
    """Number of a term in the sorted list of terms, or -1."""
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
    """The first place from `low` on, before `stop`, whose page is not below `doc`: doubling steps, then halving."""
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
def gather(
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

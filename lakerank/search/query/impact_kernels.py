"""Loops that make an index ready: impacts, their maxima, terms by page."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.spark.jit import compiled

BLOCK = 128  # postings that share one maximum
_BLOCK = BLOCK


@compiled(nogil=True)
def impacts(
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    tfs: NDArray[np.uint16],
    norms: NDArray[np.float64],
    idfs: NDArray[np.float64],
    k1: float,
    out: NDArray[np.float32],
) -> None:
    """Each posting's share of a score (`fields.Weighting`).

    Args:
        ends: int64, where each term's postings end. docs: int32. tfs: uint16 (n, fields).
        norms: float64 (pages, fields), w_f / (1 − b_f + b_f · len_f / mean len_f).
        idfs: float64, of the terms. k1: > 0. out: out, float32 (n).
    """
    at = 0
    for term in range(len(ends)):
        while at < ends[term]:
            x = 0.0
            for field in range(tfs.shape[1]):
                x += tfs[at, field] * norms[docs[at], field]
            out[at] = idfs[term] * (x / (k1 + x))
            at += 1


@compiled(nogil=True)
def shares_of(
    docs: NDArray[np.int32], tfs: NDArray[Any], norms: NDArray[np.float64], idf: float, k1: float
) -> NDArray[np.float64]:
    """Shares in the score of a list of pages with the given frequencies, as `impacts`."""
    out = np.zeros(len(docs), np.float64)
    for at in range(len(docs)):
        x = 0.0
        for field in range(tfs.shape[1]):
            x += tfs[at, field] * norms[docs[at], field]
        out[at] = idf * (x / (k1 + x))
    return out


@compiled(nogil=True)
def block_maxima(
    ends: NDArray[np.int64], values: NDArray[np.float32], firsts: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The largest value in each run of `BLOCK` postings; term t's runs begin at `firsts[t]` (out, terms + 1)."""
    begin = 0
    for term in range(len(ends)):
        firsts[term + 1] = firsts[term] + (ends[term] - begin + _BLOCK - 1) // _BLOCK
        begin = ends[term]
    out = np.zeros(firsts[-1], np.float32)
    begin = 0
    for term in range(len(ends)):
        for at in range(begin, ends[term]):
            block = firsts[term] + (at - begin) // _BLOCK
            out[block] = max(out[block], values[at])
        begin = ends[term]
    return out


@compiled(nogil=True)
def transpose(
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    values: NDArray[np.float32],
    wanted: NDArray[np.bool_],
    doc_begins: NDArray[np.int64],
    terms_out: NDArray[np.int32],
    values_out: NDArray[np.float32],
) -> None:
    """Postings by page: page d's terms are `doc_begins[d]:doc_begins[d + 1]` (out, pages + 1, zeros before)."""
    at = 0
    for term in range(len(ends)):
        while at < ends[term]:
            doc_begins[docs[at] + 1] += wanted[term]
            at += 1
    for doc in range(1, len(doc_begins)):
        doc_begins[doc] += doc_begins[doc - 1]
    fill = doc_begins[:-1].copy()
    at = 0
    for term in range(len(ends)):
        while at < ends[term]:
            if wanted[term]:
                place = fill[docs[at]]
                terms_out[place], values_out[place] = term, values[at]
                fill[docs[at]] = place + 1
            at += 1

"""Postings as bytes: how a term's list is coded in the lake.

A page in a list is a number coded in groups of seven bits (least first, the eighth bit says that more follow):
the step from the page before it, doubled, plus one where the term stands just once and in the body alone. Otherwise a
byte follows that has a bit for each field, and the frequency in each of these fields. Positions are a list of their
own: for each page and field the steps between them. So a query without phrases never reads them.

A row has a checksum (`mix_bytes`), compared before its lists are decoded; the decoder keeps within its arrays even so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.search.index.fields import BODY, FIELDS
from lakerank.spark.jit import compiled

FIELD_SHIFT = 28  # positions have the field above these bits, the position in the field below
POSITION_MASK = (1 << FIELD_SHIFT) - 1
_FIELDS = len(FIELDS)
_BODY = BODY


@compiled(nogil=True)
def _put(out: NDArray[np.uint8], at: int, value: int) -> int:
    while value >= 128:
        out[at] = (value & 127) | 128
        value >>= 7
        at += 1
    out[at] = value
    return at + 1


@compiled(nogil=True)
def group_by_term(
    terms: NDArray[np.int32],
    docs: NDArray[np.int32],
    positions: NDArray[np.uint32],
    begins: NDArray[np.int64],
    docs_out: NDArray[np.int32],
    positions_out: NDArray[np.uint32],
) -> None:
    """Sort occurrences by term (counting sort); the order within a term stays.

    Args:
        terms: int32, term of each occurrence. docs: int32. positions: uint32.
        begins: int64, where each term's occurrences begin; changed to where they end.
        docs_out, positions_out: out, of the same lengths.
    """
    for i in range(len(terms)):
        at = begins[terms[i]]
        docs_out[at], positions_out[at] = docs[i], positions[i]
        begins[terms[i]] = at + 1


@compiled(nogil=True)
def encode(
    order: NDArray[Any],
    begins: NDArray[np.int64],
    docs: NDArray[np.int32],
    positions: NDArray[np.uint32],
    postings: NDArray[np.uint8],
    position_bytes: NDArray[np.uint8],
    posting_byte_ends: NDArray[np.int64],
    position_byte_ends: NDArray[np.int64],
    counts: NDArray[np.int32],
) -> None:
    """Encode the lists of all terms.

    Args:
        order: int, terms in the order in which their lists are wanted.
        begins: int64, terms + 1; occurrences of term t are `begins[t]:begins[t + 1]`.
        docs: int32, of each occurrence, ascending within a term. positions: uint32, ascending within a page.
        postings, position_bytes: out, large enough. posting_byte_ends, position_byte_ends: out, where each list ends.
        counts: out, pages in each list.
    """
    at, where = 0, 0
    tf = np.zeros(_FIELDS, np.int64)
    for rank in range(len(order)):
        i, end = begins[order[rank]], begins[order[rank] + 1]
        before, pages = -1, 0
        while i < end:
            doc, mask, total = docs[i], 0, 0
            tf[:] = 0
            last_field, last = -1, 0
            while i < end and docs[i] == doc:
                field, position = positions[i] >> FIELD_SHIFT, positions[i] & POSITION_MASK
                where = _put(position_bytes, where, position - (last if field == last_field else 0))
                last_field, last = field, position
                mask |= 1 << field
                tf[field] += 1
                total += 1
                i += 1
            single = total == 1 and mask == 1 << _BODY
            at = _put(postings, at, ((doc - before - 1) << 1) | single)
            if not single:
                postings[at] = mask
                at += 1
                for field in range(_FIELDS):
                    if tf[field]:
                        at = _put(postings, at, tf[field])
            before = doc
            pages += 1
        posting_byte_ends[rank], position_byte_ends[rank], counts[rank] = at, where, pages


def room(occurrences: int) -> tuple[int, int]:
    """Return the greatest number of bytes that `encode` may need for postings and positions."""
    return 7 * occurrences + 64, 4 * occurrences + 64  # step, fields and one frequency; 28 bits of a position


@compiled(nogil=True, inline="always")
def _mix(h: Any, word: Any) -> Any:
    """Fold a word into a checksum: no two words give the same from one `h`, nor one word from two of them."""
    h = (h ^ word) * np.uint64(0x9E3779B97F4A7C15)
    return h ^ (h >> np.uint64(29))


@compiled(nogil=True)
def mix_bytes(data: NDArray[np.uint8], offsets: NDArray[np.int64], sums: NDArray[np.uint64]) -> None:
    """Fold rows of bytes into the checksums of these rows, eight at a time: a change within eight is always noticed.

    Args:
        data: uint8, all rows. offsets: int64 (rows + 1), where each begins.
        sums: uint64, changed in place.
    """
    for row in range(len(sums)):
        at, end = offsets[row], offsets[row + 1]
        h = _mix(sums[row], np.uint64(end - at))
        while at + 8 <= end:
            word = np.uint64(0)
            for i in range(8):
                word |= np.uint64(data[at + i]) << np.uint64(8 * i)
            h = _mix(h, word)
            at += 8
        word = np.uint64(0)
        for i in range(end - at):
            word |= np.uint64(data[at + i]) << np.uint64(8 * i)
        sums[row] = _mix(h, word)


@compiled(nogil=True)
def _get(data: NDArray[np.uint8], at: Any, end: Any) -> tuple[Any, Any]:
    """Decode a number that begins at `at` < `end`; one that goes on beyond `end` gives a place beyond it, too."""
    value, shift = np.int64(0), 0
    while data[at] >= 128:
        value |= (np.int64(data[at]) & 127) << shift
        shift += 7
        at += 1
        if at >= end or shift > 56:
            return value, end + 1
    return value | (np.int64(data[at]) << shift), at + 1


@compiled(nogil=True)
def decode(
    postings: NDArray[np.uint8],
    begins: NDArray[Any],
    stops: NDArray[Any],
    counts: NDArray[np.int32],
    bases: NDArray[np.int64],
    limits: NDArray[np.int64],
    lists: NDArray[np.int64],
    numbers: NDArray[np.int32],
    sizes: NDArray[np.int64],
    docs: NDArray[np.int32],
    tfs: NDArray[np.uint16],
    position_bytes: NDArray[np.uint8],
    position_byte_begins: NDArray[Any],
    position_byte_stops: NDArray[Any],
    ends: NDArray[np.int64],
    positions: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Decode lists into arrays, leaving out pages that are no longer there.

    Args:
        postings: uint8, all lists. begins, stops: int, where each begins and ends. counts: int32, pages in each.
        bases: int64, what to add to a list's page numbers before they are looked up in `numbers`. limits: int64, where
            in `numbers` the pages of the list's segment end.
        lists: int64, term that each list belongs to, ascending. Of the terms, `sizes` counts the pages (out).
        numbers: int32, page's number in the open index, or -1.
        docs: out, int32. tfs: out, uint16 (n, fields); higher frequencies count as 65,535.
        position_bytes, position_byte_begins, position_byte_stops: as `postings`, `begins` and `stops`.
        ends: out, int64 of n, where each page's positions end. positions: out, uint32.

    Returns:
        Numbers of postings and of positions, and the first list that cannot be what `encode` made, or -1.
    """
    n, m, most = 0, 0, len(positions)
    tf = np.zeros(_FIELDS, np.int64)
    for row in range(len(counts)):
        at, where, doc = begins[row], position_byte_begins[row], -1
        stop, position_stop = stops[row], position_byte_stops[row]
        for _ in range(counts[row]):
            if at >= stop:
                return n, m, row
            value, at = _get(postings, at, stop)
            doc += (value >> 1) + 1
            if doc >= limits[row] - bases[row] or doc < 0:
                return n, m, row
            tf[:] = 0
            if value & 1:
                tf[_BODY] = 1
            else:
                if at >= stop:
                    return n, m, row
                mask = postings[at]
                at += 1
                for field in range(_FIELDS):
                    if mask & (1 << field):
                        if at >= stop:
                            return n, m, row
                        tf[field], at = _get(postings, at, stop)
            number = numbers[bases[row] + doc]
            for field in range(_FIELDS):
                position = 0
                if tf[field] > position_stop - where or tf[field] > most - m:
                    return n, m, row
                for _ in range(tf[field]):
                    if where >= position_stop:
                        return n, m, row
                    step, where = _get(position_bytes, where, position_stop)
                    position += step
                    if number >= 0:
                        positions[m] = (field << FIELD_SHIFT) | position
                        m += 1
                if number >= 0:
                    tfs[n, field] = min(tf[field], 65535)
            if number >= 0:
                docs[n], ends[n] = number, m
                sizes[lists[row]] += 1
                n += 1
        if at != stop or where != position_stop:
            return n, m, row
    return n, m, -1

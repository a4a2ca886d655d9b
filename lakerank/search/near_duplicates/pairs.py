"""All pairs of similar texts, in memory and without Spark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakerank.search.near_duplicates.banding import Banding
from lakerank.search.near_duplicates.pair_kernels import bucket_ends, similar_in_band
from lakerank.search.near_duplicates.texts import shingled


def near_pairs(
    texts: Sequence[str], threshold: float = 0.8, shingle_words: int = 5
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of texts whose sets of word shingles have a Jaccard similarity of at least `threshold`.

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
    found = shingled(pa.array(texts, pa.large_string()), banding, shingle_words)
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

"""The inner loop of similarity, compiled: one row's sums with all others, then the best of them.

A row meets only those that share a column with it, so the work is Σ over columns of (ratings in the column)², and one
accumulator of R numbers stays in a core's cache. Shape suffixes: R rows, C columns, P ratings, N neighbours kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lakerank.spark.jit import compiled

JACCARD, COSINE, ADJUSTED, PEARSON = 0, 1, 2, 3
_TINY = 1e-12  # a shorter row has no direction
_ROUNDING = 1e-10  # of a sum of squares: a variance that is no more is 0, rounded


@compiled(nogil=True)
def nearest_rows(
    first: int,
    starts_R: Any,
    columns_P: Any,
    values_P: Any,
    starts_C: Any,
    rows_P: Any,
    column_values_P: Any,
    norms_R: Any,
    measure: int,
    popularity: float,
    shrink: float,
    min_support: int,
    positions_RN: Any,
    similar_RN: Any,
    support_RN: Any,
) -> None:
    """Return the N most alike of the rows `first` … `first` + len(positions), best first, equal ones by number.

    Args:
        first: the first row to do.
        starts_R, columns_P, values_P: the matrix by rows.
        starts_C, rows_P, column_values_P: the same matrix by columns.
        norms_R: float64, lengths of the rows, for cosine.
        measure, popularity, shrink, min_support: see `Similarity`.
        positions_RN, similar_RN, support_RN: int32, float64, int32, filled; −1, 0 and 0 where there are fewer.
    """
    n_rows, n_kept = len(starts_R) - 1, positions_RN.shape[1]
    xy, common = np.zeros(n_rows), np.zeros(n_rows, np.int32)
    width = n_rows if measure >= ADJUSTED else 1
    xx, yy, sx, sy = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    touched = np.empty(n_rows, np.int32)
    for out in range(positions_RN.shape[0]):
        row, met = first + out, 0
        for p in range(starts_R[row], starts_R[row + 1]):
            c, x = columns_P[p], values_P[p]
            for q in range(starts_C[c], starts_C[c + 1]):
                other = rows_P[q]
                if common[other] == 0:
                    touched[met] = other
                    met += 1
                common[other] += 1
                if measure == COSINE:
                    xy[other] += x * column_values_P[q]
                elif measure >= ADJUSTED:
                    y = column_values_P[q]
                    xy[other] += x * y
                    xx[other] += x * x
                    yy[other] += y * y
                    sx[other] += x
                    sy[other] += y
        positions_RN[out, :], similar_RN[out, :], support_RN[out, :] = -1, 0.0, 0
        own = starts_R[row + 1] - starts_R[row]
        for t in range(met):
            other = touched[t]
            n = np.float64(common[other])
            like = 0.0
            if other != row and n >= min_support:
                if measure == JACCARD:
                    like = n / (own + (starts_R[other + 1] - starts_R[other]) - n)
                elif measure == COSINE:
                    if popularity == 0.5:
                        length = norms_R[row] * norms_R[other]
                    else:
                        length = norms_R[row] ** (2.0 * popularity) * norms_R[other] ** (2.0 * (1.0 - popularity))
                    like = xy[other] / length if length > _TINY else 0.0
                else:
                    a, b, ab = xx[other], yy[other], xy[other]
                    if measure == PEARSON:
                        a -= sx[other] * sx[other] / n
                        b -= sy[other] * sy[other] / n
                        ab -= sx[other] * sy[other] / n
                    like = ab / np.sqrt(a * b) if a > _ROUNDING * xx[other] and b > _ROUNDING * yy[other] else 0.0
                like *= n / (n + shrink)
            if like > 0.0:
                _keep(positions_RN[out], similar_RN[out], support_RN[out], n_kept, other, like, common[other])
            xy[other], common[other] = 0.0, 0
            if measure >= ADJUSTED:
                xx[other], yy[other], sx[other], sy[other] = 0.0, 0.0, 0.0, 0.0


@compiled(nogil=True)
def _keep(positions_N: Any, similar_N: Any, support_N: Any, n_kept: int, other: int, like: float, support: int) -> None:
    """Insert into a list that is in order: higher similarity first, of equal ones the lower number."""
    position = n_kept
    while position > 0 and (
        positions_N[position - 1] < 0
        or similar_N[position - 1] < like
        or (similar_N[position - 1] == like and positions_N[position - 1] > other)
    ):
        position -= 1
    if position == n_kept:
        return
    for k in range(n_kept - 1, position, -1):
        positions_N[k], similar_N[k], support_N[k] = positions_N[k - 1], similar_N[k - 1], support_N[k - 1]
    positions_N[position], similar_N[position], support_N[position] = other, like, support

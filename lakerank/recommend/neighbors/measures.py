"""What similarity is measured by, and what each rating counts for.

Shape suffixes: P ratings, R things compared (items, or users), C what they are compared by (users, or items).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lakerank.cli.errors import UserError

# The kernel sums over common raters only what the measure needs (`kernels.py`).
MEASURES = {"jaccard": 0, "cosine": 1, "adjusted-cosine": 2, "pearson": 3}
WEIGHTINGS = ("none", "tf-idf", "bm25")
BM25_K1, BM25_B = 100.0, 0.8  # long documents and counts that saturate late: what fits ratings (implicit's defaults)


@dataclass(frozen=True)
class Similarity:
    """How two things are compared.

    Attributes:
        measure: `jaccard`: common raters over all raters; `cosine`: of the vectors of values;
            `adjusted-cosine`: of deviations from the mean of each column, over common columns (Sarwar et al. 2001);
            `pearson`: correlation over common columns.
        weighting: of cosine's values: `none`, `tf-idf` (columns with few ratings say more), `bm25` (also long rows
            count for less; similarity is then the plain product, without bound).
        values: for cosine, `ones` (that there is a rating) or `ratings`.
        shrink: n common columns count n / (n + shrink) (Koren 2010).
        min_support: fewer common columns: not alike at all.
        top: how many are kept for each, the most alike first; similarity up to 0 is never kept.
        popularity: cosine's denominator is |i|^2p · |j|^2(1−p) for a neighbour j of i; 0.5 is the plain cosine, more
            favours neighbours with many ratings (Aiolli 2013).
    """

    measure: str = "cosine"
    weighting: str = "none"
    values: str = "ones"
    shrink: float = 10.0
    min_support: int = 2
    top: int = 100
    popularity: float = 0.5

    def checked(self) -> Similarity:
        """Itself.

        Raises:
            UserError: settings that contradict each other.
        """
        if self.measure != "cosine":
            for name, plain in (("weighting", "none"), ("popularity", 0.5)):
                if getattr(self, name) != plain:
                    raise UserError(f"--{name} {getattr(self, name)} goes with --measure cosine, not {self.measure}")
        return self

    def lengths(self, x_RC: sparse.csr_matrix) -> NDArray[np.float64]:
        """(R) what cosine divides by, for weighed rows."""
        if self.weighting == "bm25":
            return np.ones(x_RC.shape[0])
        return np.asarray(np.sqrt(x_RC.multiply(x_RC).sum(axis=1)), np.float64).ravel()

    def weigh(self, x_RC: sparse.csr_matrix) -> sparse.csr_matrix:
        """The values that the kernel adds up, float64, in place of the ratings."""
        x = sparse.csr_matrix(x_RC, dtype=np.float64, copy=True)
        rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        if self.measure == "adjusted-cosine":
            x.data -= _means(x.data, x.indices, x.shape[1])[x.indices]
        elif self.measure == "pearson":  # the same for any constant taken off a row; small numbers lose less
            x.data -= _means(x.data, rows, x.shape[0])[rows]
        elif self.values == "ones" or self.measure == "jaccard":
            x.data[:] = 1.0
        if self.weighting != "none":
            x.data *= self._importance(x, rows)
        return x

    def _importance(self, x: sparse.csr_matrix, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(P) factors of the values, by the formulas of text retrieval: rows are documents, columns are terms."""
        per_column = np.bincount(x.indices, minlength=x.shape[1])
        idf = np.log(x.shape[0] / (1.0 + per_column))
        idf = np.maximum(idf, 0.0)[x.indices]
        if self.weighting == "tf-idf":
            return np.asarray(np.sqrt(x.data) * idf / np.where(x.data == 0, 1.0, x.data))
        length = np.bincount(rows, x.data, x.shape[0])
        norm = (1.0 - BM25_B) + BM25_B * length / max(length.mean(), 1e-12)
        return np.asarray((BM25_K1 + 1.0) / (BM25_K1 * norm[rows] + x.data) * idf)


def _means(values: NDArray[np.float64], groups: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(groups, values, n) / np.maximum(np.bincount(groups, minlength=n), 1))

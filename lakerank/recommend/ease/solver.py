"""EASE: the ridge regression of every item on all others at once (Steck 2019, *Embarrassingly shallow autoencoders*).

With X the (users, items) matrix of ones, P = (XᵀX + λI)⁻¹ and B_ij = −P_ij / P_jj for i ≠ j, B_jj = 0, minimise
‖X − XB‖² + λ‖B‖². By the Woodbury identity, with the hat matrix H = Xᵀ(XXᵀ + λI)⁻¹X, the same is
B_ij = H_ij / (1 − H_jj): where users are fewer than items, a matrix of users² is inverted instead of items².

Where both are too many, the C items with the most ratings speak for all: the regression of item j outside of them is
P_CC (XᵀX)_Cj, exact for weights restricted to the C items. Shape suffixes: U users, I items, C items that speak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

from lakerank.recommend.models.last_ratings import AS_GOOD, LastRatings, keep_largest

Floats = NDArray[np.floating[Any]]
DOUBLE_UP_TO = 12_000  # rows of a matrix that is inverted in float64; a larger one, in float32, is 0.6 GB and more
COLUMNS_AT_ONCE = 256


@dataclass(frozen=True)
class Ease:
    """Half of the work: what has been inverted.

    Attributes:
        x_UI: the matrix of ones, by rows.
        inverse: (XXᵀ + λI)⁻¹ if `dual`, else (X_CᵀX_C + λI)⁻¹.
        dual: whether it is that of users.
        core: (C) positions of the items that speak; all of them if `dual`.
    """

    x_UI: sparse.csc_matrix
    inverse: Floats
    dual: bool
    core: NDArray[np.int64]

    @classmethod
    def solve(cls, x_UI: sparse.csr_matrix, reg: float, most: int) -> Ease:
        """Invert the smaller of the two matrices.

        Args:
            x_UI: ratings; all count 1.
            reg: λ, above 0.
            most: C at most, and rows at most of a matrix of users.
        """
        x = sparse.csc_matrix(x_UI, dtype=np.float32, copy=True)
        x.data[:] = 1.0
        n_users, n_items = x.shape
        everything = np.arange(n_items)
        if n_users <= min(n_items, most):
            return cls(x, inverted(gram(x.T.tocsc(), n_users), reg), True, everything)
        counts = np.diff(x.indptr)
        core = np.sort(np.argsort(-counts, kind="stable")[:most])
        return cls(x, inverted(gram(x[:, core], len(core)), reg), False, core)

    def columns(self, lo: int, hi: int) -> Floats:
        """Return the weights of all that speak for items `lo` … `hi`, (C, hi − lo); 0 for an item itself."""
        if self.dual:
            hat = self.x_UI.T @ (self.inverse @ self.x_UI[:, lo:hi].toarray().astype(self.inverse.dtype))
            own = hat[np.arange(lo, hi), np.arange(hi - lo)].copy()
            weights = np.asarray(hat / (1.0 - own))
            weights[np.arange(lo, hi), np.arange(hi - lo)] = 0.0
            return weights
        at = np.searchsorted(self.core, np.arange(lo, hi))
        inside = (at < len(self.core)) & (self.core[np.minimum(at, len(self.core) - 1)] == np.arange(lo, hi))
        weights = np.empty((len(self.core), hi - lo), self.inverse.dtype)
        j = at[inside]
        own_columns = self.inverse[:, j]
        weights[:, inside] = -own_columns / self.inverse[j, j]
        weights[j, np.flatnonzero(inside)] = 0.0
        if not inside.all():
            crossed = (self.x_UI[:, self.core].T @ self.x_UI[:, np.arange(lo, hi)[~inside]]).toarray()
            weights[:, ~inside] = self.inverse @ crossed.astype(self.inverse.dtype)
        return weights

    def largest(self, top: int) -> sparse.csr_matrix:
        """Return the `top` weights of greatest size in each column, (I, I), row j for item j that was rated."""
        parts = list(self._largest_by_block(top))
        rows, columns, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        n = self.x_UI.shape[1]
        return sparse.coo_matrix((values, (rows, columns)), shape=(n, n), dtype=np.float32).tocsr()

    def _largest_by_block(self, top: int) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], Floats]]:
        n, kept = self.x_UI.shape[1], min(top, len(self.core))
        for lo in range(0, n, COLUMNS_AT_ONCE):
            hi = min(lo + COLUMNS_AT_ONCE, n)
            weights_JC = np.ascontiguousarray(self.columns(lo, hi).T, np.float32)
            best = np.argpartition(-np.abs(weights_JC), kept - 1, axis=1)[:, :kept]
            values = np.take_along_axis(weights_JC, best, axis=1)
            some = values != 0
            columns = (lo + np.nonzero(some)[0]).astype(np.int32)
            yield self.core[best[some]].astype(np.int32), columns, values[some]


REGS = tuple(12.5 * 2.0**n for n in range(10))  # λ, in users, that are tried
TOPS = (300, 1_000)  # weights kept for each item that are tried, before all are


@dataclass(frozen=True)
class LinearChoice:
    """Settings that rank best what users rated last.

    Attributes:
        reg: λ. top: weights kept for each item. recency: see `recency_weights`.
        scores: of each λ at its best recency.
    """

    reg: float
    top: int
    recency: float
    scores: dict[float, float]


def choose(
    last: LastRatings, n_items: int, regs: Sequence[float], tops: Sequence[int], recencies: Sequence[float]
) -> LinearChoice:
    """Choose λ, the number of weights kept and recency among those given, by one eigendecomposition for all of them.

    With XᵀX = V S Vᵀ the hat matrix of every λ is H = V S/(S + λ) Vᵀ, and users with weights x of what they have rated
    score x H / (1 − H_jj). Of numbers of weights the smallest counts that is as good as all.

    Args:
        last: what is asked.
        n_items: of the model itself: all weights of an item are that many.
        regs, tops, recencies: to choose from.
    """
    x_UI = last.ones()
    few_users = x_UI.shape[0] < x_UI.shape[1]
    values, vectors = np.linalg.eigh((x_UI @ x_UI.T if few_users else x_UI.T @ x_UI).toarray())
    some = values > 1e-9 * values[-1]
    values, vectors = values[some], vectors[:, some]
    v_IR = (x_UI.T @ vectors / np.sqrt(values) if few_users else vectors).astype(np.float32)
    squares_IR = v_IR**2
    found: dict[tuple[float, float], float] = {}
    for recency in recencies:
        along_VR = last.taste(recency).astype(np.float32) @ v_IR
        for reg in regs:
            share_R = (values / (values + reg)).astype(np.float32)
            scores_VI = (along_VR * share_R) @ v_IR.T / (1.0 - squares_IR @ share_R)
            found[reg, recency] = last.score(scores_VI)
    reg, recency = max(found, key=lambda key: found[key])
    share_R = (values / (values + reg)).astype(np.float32)
    weights_II = (v_IR * share_R) @ v_IR.T / (1.0 - squares_IR @ share_R)
    np.fill_diagonal(weights_II, 0.0)
    taste, best = last.taste(recency), found[reg, recency]
    top = tops[0] if len(tops) == 1 else n_items
    for few in sorted(tops) if len(tops) > 1 else ():
        if few >= n_items or (
            few < last.n_items and last.score(taste @ keep_largest(weights_II, few)) >= best * (1 - AS_GOOD)
        ):
            top = min(few, n_items)
            break
    return LinearChoice(reg, top, recency, {r: max(found[r, one] for one in recencies) for r in regs})


def gram(x: sparse.csc_matrix, n: int) -> Floats:
    """Compute xᵀx, (n, n), by blocks of rows, the only sparse part; column-major, float64 up to `DOUBLE_UP_TO`."""
    out = np.empty((n, n), np.float64 if n <= DOUBLE_UP_TO else np.float32, order="F")
    by_row = x.tocsr()
    for lo in range(0, n, COLUMNS_AT_ONCE):
        hi = min(lo + COLUMNS_AT_ONCE, n)
        out[:, lo:hi] = (x[:, lo:hi].T @ by_row).toarray().T
    return out


def inverted(g: Floats, reg: float) -> Floats:
    """Invert g + λI for a symmetric g ≥ 0, in its own memory.

    Raises:
        np.linalg.LinAlgError: it is not positive definite, by rounding: λ is too small.
    """
    g[np.diag_indices(len(g))] += reg
    factor, invert = (lapack.dpotrf, lapack.dpotri) if g.dtype == np.float64 else (lapack.spotrf, lapack.spotri)
    lower, failed = factor(g, lower=1, overwrite_a=1)
    if not failed:
        lower, failed = invert(lower, lower=1, overwrite_c=1)
    if failed:
        raise np.linalg.LinAlgError(f"not positive definite with λ = {reg:g}")
    for lo in range(0, len(lower), 1024):  # the upper half, block by block: np.tril would need the memory twice
        hi = min(lo + 1024, len(lower))
        corner = np.tril(lower[lo:hi, lo:hi])
        lower[lo:hi, lo:hi] = corner + np.tril(corner, -1).T
        lower[lo:hi, hi:] = lower[hi:, lo:hi].T
    return np.asarray(lower)

"""Inner loops over whole rows, compiled: posterior draws of factors, regression on implicit feedback.

Shape suffixes: R rows of one side, O rows of the other, D = K + 1 (factors, then the bias), N ratings, C columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lakerank.recommend.latent_factors.sgd_kernels import FAST
from lakerank.spark.jit import compiled

CHUNK = 2048  # ratings whose factors are gathered at once: 270 KB at K = 32, which a core's cache holds


@compiled(fastmath=FAST, nogil=True)
def draw_rows(
    indptr: Any,
    others_N: Any,
    targets_N: Any,
    v_OD: Any,
    centre_RD: Any,
    precision_DD: Any,
    weight_R: Any,
    alpha: float,
    noise_RD: Any,
    out_RD: Any,
    left_N: Any,
) -> None:
    """Draw each row x from its posterior N(A⁻¹b, A⁻¹), A = wΛ + α Σ v vᵀ, b = wΛc + α Σ v·target.

    Salakhutdinov and Mnih 2008, "Bayesian probabilistic matrix factorization using MCMC", eq. 11 to 13. With
    Cholesky's A = LLᵀ, x = L⁻ᵀ(L⁻¹b + z) has that mean and covariance for standard normal z.

    Args:
        indptr: int64 (R + 1); others_N: int32, rows of `v_OD`; targets_N: float32, what v·x shall be.
        v_OD: float32, the other side's factors, and 1 in the last column.
        centre_RD: float32 prior means c; precision_DD: float64 Λ; weight_R: float64 w, 1 for a prior that is the same
            for all rows; alpha: precision of a rating.
        noise_RD: float64, standard normal z; zeros give the mode.
        out_RD: float32, the draws; left_N: float32, target − v·x afterwards.
    """
    d = v_OD.shape[1]
    w = np.empty((CHUNK, d), np.float32)
    y, x = np.empty(d), np.empty(d)
    for r in range(indptr.shape[0] - 1):
        gram = np.zeros((d, d), np.float64)
        b = np.zeros(d, np.float64)
        for start in range(indptr[r], indptr[r + 1], CHUNK):
            n = min(CHUNK, indptr[r + 1] - start)
            for t in range(n):
                o = others_N[start + t]
                for f in range(d):
                    w[t, f] = v_OD[o, f]
            part = w[:n]
            gram += np.dot(part.T, part)
            b += np.dot(part.T, targets_N[start : start + n])
        weight = weight_R[r]
        a = weight * precision_DD + alpha * gram
        low = np.linalg.cholesky(a)
        for f in range(d):
            s = alpha * b[f]
            for g in range(d):
                s += weight * precision_DD[f, g] * centre_RD[r, g]
            for g in range(f):
                s -= low[f, g] * y[g]
            y[f] = s / low[f, f]
        for f in range(d - 1, -1, -1):
            s = y[f] + noise_RD[r, f]
            for g in range(f + 1, d):
                s -= low[g, f] * x[g]
            x[f] = s / low[f, f]
            out_RD[r, f] = x[f]
        for t in range(indptr[r], indptr[r + 1]):
            o = others_N[t]
            dot = np.float32(0)
            for f in range(d):
                dot += v_OD[o, f] * out_RD[r, f]
            left_N[t] = targets_N[t] - dot


@compiled(fastmath=FAST, nogil=True)
def regress_rows(
    indptr: Any, others_N: Any, weight_O: Any, left_OC: Any, coef_RC: Any, ridge: float, noise_RC: Any
) -> float:
    """One Gauss–Seidel sweep of regressing `left` on who rated what; with noise, one sweep of Gibbs sampling.

    left_o = Σ_r w_o·coef_r + noise, over the rows r that o has rated; columns are independent. For each row in turn,
    coef_r ← N((Σ w·(left + w·coef_r)) / (Σw² + ridge), 1 / (Σw² + ridge)), and `left` is kept up to date.

    Args:
        indptr, others_N: the rows' layout (int64 (R + 1), int32).
        weight_O: float32, 1/√(number of ratings) of each o.
        left_OC: float32, what is not explained yet; changed in place.
        coef_RC: float32 coefficients; changed in place.
        ridge: L2 weight of a coefficient, in units of the noise.
        noise_RC: float32, standard normal; zeros give the least squares.

    Returns:
        Σ coef² afterwards.
    """
    columns = coef_RC.shape[1]
    step = np.empty(columns, np.float32)
    total = 0.0
    for r in range(indptr.shape[0] - 1):
        square = np.float32(0)
        step[:] = 0
        for t in range(indptr[r], indptr[r + 1]):
            o = others_N[t]
            w = weight_O[o]
            square += w * w
            for c in range(columns):
                step[c] += w * left_OC[o, c]
        precision = square + np.float32(ridge)
        deviation = np.float32(1) / np.sqrt(precision)
        for c in range(columns):
            fresh = (step[c] + square * coef_RC[r, c]) / precision + deviation * noise_RC[r, c]
            step[c] = fresh - coef_RC[r, c]
            coef_RC[r, c] = fresh
            total += np.float64(fresh) * np.float64(fresh)
        for t in range(indptr[r], indptr[r + 1]):
            o = others_N[t]
            w = weight_O[o]
            for c in range(columns):
                left_OC[o, c] -= w * step[c]
    return total

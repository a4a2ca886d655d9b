"""The inner loops of SGD, compiled: float32, one pass over a block of ratings.

Shape suffixes: U users in a block, I items in a block, K factors, N ratings.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lakerank.spark.jit import compiled

SGD, ADAGRAD, ADAM = 0, 1, 2
OPTIMIZERS = {"sgd": SGD, "adagrad": ADAGRAD, "adam": ADAM}

# Reordered sums and fused operations make the loops vectors; NaN and infinity must stay what they are, or a
# diverging run could not be told from a good one. No "afn": numba 0.68 then calls a function it does not link.
FAST = {"reassoc", "contract", "arcp", "nsz"}
_BETA1, _BETA2, _EPS = np.float32(0.9), np.float32(0.999), np.float32(1e-8)  # Kingma and Ba 2015


@compiled(fastmath=FAST, inline="always")
def _adam_step(m: Any, v: Any, row: int, f: int, g: Any, fix1: Any, fix2: Any) -> Any:
    """Update one weight's two moments; return the direction to step in."""
    m[row, f] = _BETA1 * m[row, f] + (np.float32(1) - _BETA1) * g
    v[row, f] = _BETA2 * v[row, f] + (np.float32(1) - _BETA2) * g * g
    return (m[row, f] * fix1) / (np.sqrt(v[row, f] * fix2) + _EPS)


@compiled(fastmath=FAST)
def _at(centre: Any, row: int, f: int) -> Any:
    """A row's centre; without centres (None) 0, and no memory is read: numba drops the branch."""
    if centre is None:
        return np.float32(0)
    return centre[row, f]


@compiled(fastmath=FAST, nogil=True)
def train_block(
    rows_N: Any,
    cols_N: Any,
    ratings_N: Any,
    tiles: Any,
    order: Any,
    p_UK: Any,
    bu_U: Any,
    q_IK: Any,
    bi_I: Any,
    centre_u: Any,
    centre_i: Any,
    slots_u: Any,
    slots_i: Any,
    steps_u: Any,
    steps_i: Any,
    mean: Any,
    lr: Any,
    reg: Any,
    reg_bias: Any,
    with_bias: bool,
    optimizer: int,
) -> float:
    """One SGD pass over a block, tile by tile; changes factors, biases and optimiser state in place.

    For each rating: e = r − (μ + b_u + b_i + p_u·q_i); p_u ← p_u + η(e·q_i − λ(p_u − c_u)) and likewise for q_i,
    b_u and b_i (Koren, Bell and Volinsky 2009; the centre c is what implicit feedback expects, 0 without it).
    AdaGrad keeps one accumulator per row, the mean of its squared gradient, as LIBMF does (Chin et al. 2015):
    η = lr / √G. Adam is lazy: a row's moments move only when the row is visited, and its own step count corrects
    their start (Kingma and Ba 2015).

    Args:
        rows_N, cols_N: int32, index of user and item within their blocks.
        ratings_N: float32.
        tiles: int64 (T + 1), where each tile of ratings begins; a tile's rows fit the cache.
        order: int64 (T), the order in which tiles are visited.
        p_UK, q_IK: float32 factors.
        bu_U, bi_I: float32 biases.
        centre_u, centre_i: float32 (U, K + 1) and (I, K + 1), the bias's centre in the last column; or None.
        slots_u, slots_i: float32 optimiser state: AdaGrad (rows, 1, 2) = accumulators of factors and bias;
            Adam (2, rows, K + 1) = moments, the bias in the last column; SGD: anything.
        steps_u, steps_i: int32 (rows), Adam's count of visits.
        mean: float32 μ.
        lr, reg, reg_bias: float32 step size and L2 weights of factors and biases, per rating.
        with_bias: whether biases are learned.
        optimizer: SGD, ADAGRAD or ADAM.

    Returns:
        Sum of e² over the block, each error taken before its own update; NaN as soon as one is not finite.
    """
    k = p_UK.shape[1]
    inverse_k = np.float32(1.0 / k)
    one = np.float32(1)
    total = 0.0
    for tile in order:
        for n in range(tiles[tile], tiles[tile + 1]):
            u, i = rows_N[n], cols_N[n]
            dot = np.float32(0)
            for f in range(k):
                dot += p_UK[u, f] * q_IK[i, f]
            e = ratings_N[n] - (mean + bu_U[u] + bi_I[i] + dot)
            if not np.isfinite(e):
                return np.nan
            total += np.float64(e) * np.float64(e)
            gu = reg_bias * (bu_U[u] - _at(centre_u, u, k)) - e
            gi = reg_bias * (bi_I[i] - _at(centre_i, i, k)) - e
            if optimizer == ADAGRAD:
                eta_u = lr / np.sqrt(slots_u[u, 0, 0])
                eta_i = lr / np.sqrt(slots_i[i, 0, 0])
                sum_u, sum_i = np.float32(0), np.float32(0)
                for f in range(k):
                    pf, qf = p_UK[u, f], q_IK[i, f]
                    gp = reg * (pf - _at(centre_u, u, f)) - e * qf
                    gq = reg * (qf - _at(centre_i, i, f)) - e * pf
                    sum_u += gp * gp
                    sum_i += gq * gq
                    p_UK[u, f] = pf - eta_u * gp
                    q_IK[i, f] = qf - eta_i * gq
                slots_u[u, 0, 0] += sum_u * inverse_k
                slots_i[i, 0, 0] += sum_i * inverse_k
                if with_bias:
                    bu_U[u] -= lr / np.sqrt(slots_u[u, 0, 1]) * gu
                    bi_I[i] -= lr / np.sqrt(slots_i[i, 0, 1]) * gi
                    slots_u[u, 0, 1] += gu * gu
                    slots_i[i, 0, 1] += gi * gi
            elif optimizer == SGD:
                for f in range(k):
                    pf, qf = p_UK[u, f], q_IK[i, f]
                    p_UK[u, f] = pf - lr * (reg * (pf - _at(centre_u, u, f)) - e * qf)
                    q_IK[i, f] = qf - lr * (reg * (qf - _at(centre_i, i, f)) - e * pf)
                if with_bias:
                    bu_U[u] -= lr * gu
                    bi_I[i] -= lr * gi
            else:
                steps_u[u] += 1
                steps_i[i] += 1
                fix1_u = one / (one - _BETA1 ** np.float32(steps_u[u]))
                fix2_u = one / (one - _BETA2 ** np.float32(steps_u[u]))
                fix1_i = one / (one - _BETA1 ** np.float32(steps_i[i]))
                fix2_i = one / (one - _BETA2 ** np.float32(steps_i[i]))
                for f in range(k):
                    pf, qf = p_UK[u, f], q_IK[i, f]
                    gp = reg * (pf - _at(centre_u, u, f)) - e * qf
                    gq = reg * (qf - _at(centre_i, i, f)) - e * pf
                    p_UK[u, f] = pf - lr * _adam_step(slots_u[0], slots_u[1], u, f, gp, fix1_u, fix2_u)
                    q_IK[i, f] = qf - lr * _adam_step(slots_i[0], slots_i[1], i, f, gq, fix1_i, fix2_i)
                if with_bias:
                    bu_U[u] -= lr * _adam_step(slots_u[0], slots_u[1], u, k, gu, fix1_u, fix2_u)
                    bi_I[i] -= lr * _adam_step(slots_i[0], slots_i[1], i, k, gi, fix1_i, fix2_i)
    return total


@compiled(fastmath=FAST, nogil=True)
def predict_pairs(rows_N: Any, cols_N: Any, p_UK: Any, bu_U: Any, q_IK: Any, bi_I: Any, out_N: Any) -> None:
    """Add b_u + b_i + p_u·q_i to `out_N` (float32); index −1 stands for an unknown row.

    An unknown user or item contributes neither bias nor factors: the prediction falls back to what is known.
    """
    for n in range(rows_N.shape[0]):
        u, i = rows_N[n], cols_N[n]
        guess = np.float32(0)
        if u >= 0:
            guess += bu_U[u]
        if i >= 0:
            guess += bi_I[i]
        if u >= 0 and i >= 0:
            for f in range(p_UK.shape[1]):
                guess += p_UK[u, f] * q_IK[i, f]
        out_N[n] += guess

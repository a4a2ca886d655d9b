"""Implicit feedback: what a user rated at all says where their factors should be, and who rated an item says so of it.

SVD++ (Koren 2008) predicts with p_u + |N(u)|^-½ Σ_j y_j. Here p_u itself has that sum as its centre: a prior mean for
the sampler, the point that SGD's L2 term pulls to. It is the same model in other coordinates, with two gains: the
inner loops stay those of plain factorisation, and y is a regression of P on who rated what, which needs no ratings
and no learning rate (Simm et al. 2015, "Macau: scalable Bayesian multi-relational factorization", with the rated
items as features). Both sides may have it; that is "SVD++ flipped" (Rendle, Zhang and Koren 2019).

The columns of the regression are independent, so each worker takes some of them; a sampler first turns them by the
Cholesky factor C of the prior precision, which makes their noise independent, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.latent_factors.predictions import FAST
from lakerank.recommend.latent_factors.run_state import Run, degrees, other_side
from lakerank.spark.jit import compiled


def columns(run: Run, w: int) -> NDArray[np.int64]:
    """Return the columns of (K factors, bias) that worker w regresses."""
    return np.array_split(np.arange(run.config.factors + 1), run.data.blocks)[w]


def _gathered(run: Run, state: str, side: str, name: str) -> NDArray[np.float32] | None:
    keys = [f"{state}/centre-{side}-{w}" for w in range(run.data.blocks)]
    if not run.store.has(keys[0]):
        return None
    return np.concatenate([run.store.get(key)[name] for key in keys], axis=1)


def rotation(run: Run, state: str, side: str) -> NDArray[np.float64] | None:
    """Return C, (K + 1)²: what a state's centres are multiplied by; None is the identity."""
    key = f"{state}/hyper"
    return np.linalg.cholesky(run.store.get(key)[f"{side}_precision"]) if run.store.has(key) else None


def centre_rows(run: Run, state: str, side: str, p: int) -> NDArray[np.float32] | None:
    """Return the centres of block p's rows by implicit feedback, (rows, K + 1) float32; None without it (yet)."""
    if side not in run.config.implicit_sides:
        return None
    fit = _gathered(run, state, side, "fit")
    if fit is None:
        return None
    mine, turn = fit[p :: run.data.blocks], rotation(run, state, side)
    return mine if turn is None else (mine @ np.linalg.inv(turn)).astype(np.float32)


def regress(
    run: Run,
    before: str,
    after: str,
    side: str,
    w: int,
    mean: NDArray[np.float64],
    ridge: float,
    rng: np.random.Generator | None,
) -> float:
    """Regress one side's rows on who rated what, for worker w's columns; write `after/centre-SIDE-W`.

    Args:
        before, after: states; the rows are those of `after`, coefficients go on from those of `before`.
        mean: (K + 1) the rows' common mean.
        ridge: L2 weight of the coefficients, in units of the rows' noise.
        rng: draw coefficients instead of descending to them.

    Returns:
        Σ of the squared coefficients.
    """
    data, mine = run.data, columns(run, w)
    across = other_side(side)
    old, new = rotation(run, before, side), rotation(run, after, side)
    rows = run.all_rows(after, side) - mean.astype(np.float32)
    turned = rows[:, mine] if new is None else (rows @ new[:, mine].astype(np.float32))
    fit, coef = (_gathered(run, before, side, name) for name in ("fit", "coef"))
    if fit is None or coef is None:
        fit = np.zeros((data.size(side), len(mine)), np.float32)
        coef = np.zeros((data.size(across), len(mine)), np.float32)
    elif old is None or new is None:
        fit, coef = fit[:, mine], coef[:, mine]
    else:
        change = np.linalg.solve(old, new[:, mine]).astype(np.float32)
        fit, coef = fit @ change, coef @ change
    left = np.ascontiguousarray(turned - fit, np.float32)
    weight = (1.0 / np.sqrt(np.maximum(degrees(data, side), 1))).astype(np.float32)
    total = 0.0
    coef = np.array(coef)
    for q in range(data.blocks):
        layout = data.store.get(f"rows/{across}-{q}")
        part = np.ascontiguousarray(coef[q :: data.blocks])
        noise = np.zeros(part.shape, np.float32) if rng is None else rng.standard_normal(part.shape, np.float32)
        total += regress_rows(layout["indptr"], layout["others"], weight, left, part, ridge, noise)
        coef[q :: data.blocks] = part
    run.store.put(f"{after}/centre-{side}-{w}", {"fit": (turned - left).astype(np.float32), "coef": coef})
    return total


@compiled(fastmath=FAST, nogil=True)
def regress_rows(
    indptr: Any, others_N: Any, weight_O: Any, left_OC: Any, coef_RC: Any, ridge: float, noise_RC: Any
) -> float:
    """Regress `left` on who rated what, one Gauss–Seidel sweep; with noise, one sweep of Gibbs sampling.

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

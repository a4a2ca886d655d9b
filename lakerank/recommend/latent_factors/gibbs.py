"""Bayesian matrix factorisation by Gibbs sampling: no learning rate, no regularisation to tune.

Salakhutdinov and Mnih 2008, "Bayesian probabilistic matrix factorization using Markov chain Monte Carlo", with three
additions: biases as a further factor, time effects, and prior means from implicit feedback (`centres`). In a sweep all
users are drawn given the items, then all items given the users; rows of one side are independent of each other, so
each worker draws its block (the data flow of ALS, whose solution is the mean of these draws). Then the hyperparameters
are drawn from the moments that the workers left.

Shape suffixes of the loop: R rows of one side, O rows of the other, D = K + 1 (factors, then the bias), N ratings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.latent_factors import sgd
from lakerank.recommend.latent_factors.implicit_feedback import centre_rows, regress
from lakerank.recommend.latent_factors.predictions import (
    FAST,
    effect_of_each,
    error_of,
    fit_effects,
    store_effects,
)
from lakerank.recommend.latent_factors.run_state import (
    SIDES,
    Run,
    gather,
    other_side,
    pair,
    with_bias_column,
)
from lakerank.spark.array_store import Block, BlockStore, Runner, Sums
from lakerank.spark.jit import compiled

CHUNK = 2048  # ratings whose factors are gathered at once: 270 KB at K = 32, which a core's cache holds
DESCENT_EPOCHS = 8  # of SGD, whose factors the chain starts from: from random ones it needs hundreds of sweeps
PRIOR_SCATTER = 1.0  # of the Wishart prior: the sum of squares, in rating units, of D rows seen before
PRIOR_COUNT = 1.0  # of the Normal prior of the mean: as if one row at 0 had been seen
MEAN = "mean"  # folder, in that of a state, of the mean of the samples so far
ROUNDING = 1e-7  # of the longest direction: a shorter one is none
FIRST_RIDGE, FIRST_STRENGTH = 10.0, 20.0  # of implicit coefficients and time effects, until they are drawn


def start(run: Run, runner: Runner) -> None:
    """Write `epoch-0`: the factors a short descent leaves, and hyperparameters drawn given these."""
    short = replace(run.config, model="mf", implicit="none", time=False, average=1, optimizer="adagrad")
    descent = Run(short, run.data, run.store.below("descent").root)
    descent.store.drop_where(lambda _: True)  # may be half there
    sgd.start(descent, runner)
    for number in range(1, DESCENT_EPOCHS + 1):
        sgd.epoch(descent, runner, number, short.lr)
        descent.store.drop(f"epoch-{number - 1}")

    def work(p: int) -> list[tuple[str, float, int]]:
        for side in SIDES:
            rows = descent.store.get(f"epoch-{DESCENT_EPOCHS}/{side}-{p}")
            _store_rows(run, "epoch-0", side, p, with_bias_column(rows), None)
        return [("start", 0.0, 0)]

    runner(work)
    descent.store.drop("")
    deviation = max(run.data.deviation, 1e-6)
    first: Block = {f"{side}_strength": np.array(FIRST_STRENGTH / deviation**2) for side in SIDES}
    variance = deviation**2 / 2  # of what is left of a rating, until it is drawn
    _draw_hyper(run, 0, {"train": (variance * run.data.counts["train"], run.data.counts["train"])}, first)
    run.store.put("epoch-0/ridge", {side: np.array(FIRST_RIDGE) for side in SIDES})


def _store_rows(
    run: Run, state: str, side: str, p: int, rows: NDArray[np.float32], centres: NDArray[np.float32] | None
) -> None:
    """Write a block's rows, and the moments that the hyperparameters are drawn from."""
    run.store.put(f"{state}/{side}-{p}", {"factors": np.ascontiguousarray(rows[:, :-1]), "bias": rows[:, -1].copy()})
    own = rows.astype(np.float64) - (0 if centres is None else centres)
    run.store.put(f"{state}/moments-{side}-{p}", {"sum": own.sum(axis=0), "scatter": own.T @ own})


def _draw_side(run: Run, number: int, side: str, p: int) -> list[tuple[str, float, int]]:
    """Draw the rows of one block given the other side, and its time effects given these."""
    before, after, across = f"epoch-{number - 1}", f"epoch-{number}", other_side(side)
    theirs = run.all_rows(before if side == "user" else after, across)
    hyper = run.store.get(f"{before}/hyper")
    alpha = float(hyper["alpha"])
    layout = run.data.store.get(f"rows/{side}-{p}")
    order, others = layout["order"], layout["others"]
    known = (
        {name: _shifts(run, before if name == side or side == "user" else after, name, side, p) for name in SIDES}
        if run.has_time_effects
        else {}
    )
    targets = gather(run.data, side, p, "ratings")[order] - np.float32(run.mean) - theirs[others, -1]
    for shift in known.values():
        targets -= shift[order]
    theirs[:, -1] = 1
    prior = np.asarray(hyper[f"{side}_mean"])
    n_rows, d = run.data.rows(side, p), theirs.shape[1]
    centres = centre_rows(run, before, side, p)
    centre = np.broadcast_to(prior, (n_rows, d)) if centres is None else prior + centres
    rng = run.rng(4, number, SIDES.index(side), p)
    rows, left = np.empty((n_rows, d), np.float32), np.empty(len(targets), np.float32)
    draw_rows(
        np.asarray(layout["indptr"]),
        np.asarray(others),
        targets.astype(np.float32),
        theirs,
        np.ascontiguousarray(centre, np.float32),
        np.ascontiguousarray(hyper[f"{side}_precision"]),
        np.ones(n_rows),
        alpha,
        rng.standard_normal((n_rows, d)),
        rows,
        left,
    )
    _store_rows(run, after, side, p, rows, centres)
    found = []
    if run.has_time_effects:
        left += known[side][order]
        strength = float(hyper[f"{side}_strength"]) / alpha
        effects = fit_effects(left, layout["groups"], int(layout["sizes"][0]), strength, rng, alpha)
        store_effects(run, after, side, p, effects)
        left -= effect_of_each(effects, layout["groups"])
        found.append((f"{side} effects", float(np.square(effects, dtype=np.float64).sum()), len(effects)))
    return [*found, ("train", float(np.square(left, dtype=np.float64).sum()), len(left))]


def _shifts(run: Run, state: str, name: str, side: str, p: int) -> NDArray[np.float32]:
    """Return one side's time effects on the ratings of row block p, block after block; zeros before there are any."""
    parts = []
    for turn in range(run.data.blocks):
        u, i = pair(side, p, turn)
        block = run.data.get("train", u, i)
        if block is not None:
            key = f"{state}/shift-{name}-{u}-{i}"
            n = len(block["ratings"])
            parts.append(run.store.get(key)["shift"] if run.store.has(key) else np.zeros(n, np.float32))
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def normal_wishart(
    count: int,
    total: NDArray[np.float64],
    scatter: NDArray[np.float64],
    prior: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw mean (D) and precision Λ (D, D) of rows of which Σx and Σxxᵀ are known (their eq. 14).

    The prior is Λ ~ Wishart(diag(`prior`)⁻¹, D) and mean ~ N(0, (β₀Λ)⁻¹) with β₀ = 1. The draw of Λ is Bartlett's.
    """
    d = len(total)
    mean = total / max(count, 1)
    weight = PRIOR_COUNT + count
    scale = np.diag(prior) + scatter - count * np.outer(mean, mean)
    scale += PRIOR_COUNT * count / weight * np.outer(mean, mean)
    half = np.linalg.cholesky(np.linalg.inv((scale + scale.T) / 2))
    lower = np.tril(rng.standard_normal((d, d)), -1)
    lower[np.diag_indices(d)] = np.sqrt(rng.chisquare(d + count - np.arange(d)))
    root = half @ lower
    precision = root @ root.T
    centre = count * mean / weight
    draw = np.linalg.solve(np.linalg.cholesky(weight * precision).T, rng.standard_normal(d))
    return centre + draw, precision


def gamma_precision(total: float, n: int, rng: np.random.Generator, scale: float = 1.0) -> float:
    """Draw a precision from its posterior given n values with sum of squares `total`; prior Gamma(1, `scale`)."""
    return float(rng.gamma(1 + n / 2, 1 / (scale + total / 2)))


def _draw_hyper(run: Run, number: int, sums: Sums, before: Block) -> None:
    """Draw what `epoch-N/hyper` holds, given the rows of that state and the hyperparameters before."""
    rng, deviation = run.rng(5, number), max(run.data.deviation, 1e-6)
    prior = np.full(run.config.factors + 1, PRIOR_SCATTER * deviation)
    prior[-1] *= deviation
    hyper: Block = {"alpha": np.array(gamma_precision(*sums["train"], rng, deviation**2))}
    for side in SIDES:
        moments = [run.store.get(f"epoch-{number}/moments-{side}-{p}") for p in range(run.data.blocks)]
        total = np.sum([m["sum"] for m in moments], axis=0)
        scatter = np.sum([m["scatter"] for m in moments], axis=0)
        mean, precision = normal_wishart(run.data.size(side), total, scatter, prior, rng)
        strength = float(before[f"{side}_strength"])
        if f"{side} effects" in sums:
            strength = gamma_precision(*sums[f"{side} effects"], rng, deviation**2)
        hyper |= {f"{side}_mean": mean, f"{side}_precision": precision, f"{side}_strength": np.array(strength)}
    run.store.put(f"epoch-{number}/hyper", hyper)


def go_on(run: Run, chain: BlockStore, state: str, runner: Runner) -> None:
    """Write `epoch-0` from a state of another chain, on other ratings of the same users and items.

    Time effects start anew: which rating falls under which is another thing there.
    """

    def work(p: int) -> list[tuple[str, float, int]]:
        for side in SIDES:
            for name in ("", "moments-", "centre-"):
                if chain.has(key := f"{state}/{name}{side}-{p}"):
                    run.store.put(f"epoch-0/{name}{side}-{p}", _copied(chain.get(key)))
        return [("start", 0.0, 0)]

    runner(work)
    for name in ("hyper", "ridge"):
        run.store.put(f"epoch-0/{name}", _copied(chain.get(f"{state}/{name}")))


def _copied(block: Block) -> Block:
    return {name: np.array(values) for name, values in block.items()}


def epoch(run: Run, runner: Runner, number: int) -> Sums:
    """Draw one sweep: users, items, hyperparameters, implicit coefficients; then the error of the mean so far."""
    runner(lambda p: _draw_side(run, number, "user", p))
    drawn = runner(lambda p: _draw_side(run, number, "item", p)) | {}
    if run.has_time_effects:
        users = [run.store.get(f"epoch-{number}/effects-user-{p}")["effects"] for p in range(run.data.blocks)]
        drawn["user effects"] = (
            float(sum(np.square(e, dtype=np.float64).sum() for e in users)),
            sum(len(e) for e in users),
        )
    _draw_hyper(run, number, drawn, run.store.get(f"epoch-{number - 1}/hyper"))
    sums = runner(lambda p: _finish(run, number, p))
    rng, ridge = run.rng(6, number), run.store.get(f"epoch-{number - 1}/ridge")
    drawn_ridge: Block = dict(ridge)
    for side in run.config.implicit_sides:
        total, n = sums[f"{side} coefficients"]
        drawn_ridge[side] = np.array(gamma_precision(total, n, rng))
    run.store.put(f"epoch-{number}/ridge", drawn_ridge)
    state = f"epoch-{number}"
    if number > run.config.burn_in:
        turns = _compression(run, number)
        runner(lambda p: _take_mean(run, number, p, turns))
        state = f"{state}/{MEAN}"
    error = runner(error_of([(run, state)], run.data.held_out)) if run.data.held_out else {}
    return sums | error | {"train": drawn["train"]}


def _finish(run: Run, number: int, p: int) -> list[tuple[str, float, int]]:
    """Draw worker p's columns of the implicit coefficients; leave the moments of the mean's factors of block p."""
    before, after = f"epoch-{number - 1}", f"epoch-{number}"
    hyper, ridge = run.store.get(f"{after}/hyper"), run.store.get(f"{before}/ridge")
    found: list[tuple[str, float, int]] = []
    for side in run.config.implicit_sides:
        rng = run.rng(7, number, SIDES.index(side), p)
        mean = np.asarray(hyper[f"{side}_mean"])
        total = regress(run, before, after, side, p, mean, float(ridge[side]), rng)
        width = run.store.get(f"{after}/centre-{side}-{p}")["coef"].size
        found.append((f"{side} coefficients", total, width))
    if number > run.config.burn_in:
        for side in SIDES:
            stacked = _stacked(run, number, side, p).astype(np.float64)
            run.store.put(f"{after}/moments-mean-{side}-{p}", {"scatter": stacked.T @ stacked})
    return found or [("nothing", 0.0, 0)]


def _share(run: Run, number: int) -> float:
    """Return the weight of the newest sample in the mean: sample s counts s times as much as the first.

    A chain begins far from where it ends, and goes on drifting for a long time; so weighed, what it drew early on soon
    hardly counts, and all of three quarters of the samples do (Shamir and Zhang 2013, "Stochastic gradient descent for
    non-smooth optimization", of averages of this kind).
    """
    return 2.0 / (number - run.config.burn_in + 1)


def _stacked(run: Run, number: int, side: str, p: int) -> NDArray[np.float32]:
    """Return block p's factors of mean and newest sample side by side, so that their products are those of the new
    mean, float32 (rows, W)."""
    share, before = _share(run, number), f"epoch-{number - 1}/{MEAN}/{side}-{p}"
    newest = np.asarray(run.store.get(f"epoch-{number}/{side}-{p}")["factors"]) * np.float32(np.sqrt(share))
    if not run.store.has(before):
        return newest
    return np.column_stack([run.store.get(before)["factors"] * np.float32(np.sqrt(1.0 - share)), newest])


def _compression(run: Run, number: int) -> dict[str, NDArray[np.float64]] | None:
    """Return what each side's stacked factors P and Q are multiplied by, (W, R); None where they are few enough.

    P Qᵀ is the mean prediction of the factors; the R columns left have its best approximation of that rank, the
    truncated singular value decomposition, from the moments PᵀP and QᵀQ alone.
    """
    grams = {
        side: np.sum(
            [run.store.get(f"epoch-{number}/moments-mean-{side}-{p}")["scatter"] for p in range(run.data.blocks)],
            axis=0,
        )
        for side in SIDES
    }
    return compression(grams["user"], grams["item"], int(run.config.average * run.config.factors))


def compression(
    gram_p: NDArray[np.float64], gram_q: NDArray[np.float64], rank: int
) -> dict[str, NDArray[np.float64]] | None:
    """Return matrices (W, R), R ≤ `rank`, with which P and Q keep most of P Qᵀ; None if W is no more than that.

    With PᵀP = E Λ Eᵀ, the columns in the brackets of P = (P E Λ^-½) Λ^½ Eᵀ are orthonormal; so the decomposition of
    P Qᵀ is that of the small matrix between them.

    Args:
        gram_p, gram_q: PᵀP and QᵀQ, (W, W).
        rank: R at most.
    """
    if len(gram_p) <= rank:
        return None
    roots, back = [], []
    for gram in (gram_p, gram_q):
        values, vectors = np.linalg.eigh(gram)
        size = np.sqrt(np.maximum(values, 0.0))
        some = size > ROUNDING * size.max(initial=0.0)
        roots.append(size[some, None] * vectors[:, some].T)
        back.append(vectors[:, some] / size[some])
    left, middle, right = np.linalg.svd(roots[0] @ roots[1].T, full_matrices=False)
    half = np.sqrt(middle[:rank])
    return {"user": back[0] @ left[:, :rank] * half, "item": back[1] @ right[:rank].T * half}


def _take_mean(
    run: Run, number: int, p: int, turns: dict[str, NDArray[np.float64]] | None
) -> list[tuple[str, float, int]]:
    """Write block p of the mean of the samples so far: a state as that of a sample, with more factors."""
    share = np.float32(_share(run, number))

    def mean_of(key: str, name: str) -> NDArray[np.float32]:
        newest = np.asarray(run.store.get(f"epoch-{number}/{key}")[name])
        if not run.store.has(before := f"epoch-{number - 1}/{MEAN}/{key}"):
            return newest
        mean = share * newest + (np.float32(1) - share) * run.store.get(before)[name]
        return np.asarray(mean, np.float32)

    for side in SIDES:
        factors = _stacked(run, number, side, p)
        if turns is not None:
            factors = factors @ turns[side].astype(np.float32)
        rows: Block = {"factors": factors, "bias": mean_of(f"{side}-{p}", "bias")}
        run.store.put(f"epoch-{number}/{MEAN}/{side}-{p}", rows)
        if run.has_time_effects:
            key = f"effects-{side}-{p}"
            run.store.put(f"epoch-{number}/{MEAN}/{key}", {"effects": mean_of(key, "effects")})
    return [("mean", 0.0, 0)]


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

"""Alternating least squares on blocks: of ratings (`als`), and of preferences behind clicks and counts (`ials`).

`als` fits r ≈ x_u·y_i as MLlib does: min Σ (r − x_u·y_i)² + λ (Σ n_u‖x_u‖² + Σ n_i‖y_i‖²) (Zhou, Wilkinson, Schreiber
and Pan 2008). `ials` fits preferences p = 1 where r > 0, else 0, to every pair of a user and an item, seen or not:

    Σ_seen w (p − x_u·y_i)² + α₀ Σ_unseen (x_u·y_i)² + λ (Σ d_u^ν‖x_u‖² + Σ d_i^ν‖y_i‖²),   w = 1 + α|r|

(Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets", whose α₀ is 1; with α₀ below 1
and d = n + α₀·(pairs), the objective of Rendle, Krichene, Zhang and Koren 2022, "Revisiting the performance of iALS on
item recommendation benchmarks", up to a scale of the factors). The sum over all unseen pairs needs only the Gram matrix
of the other side, which is a sum over its blocks.

The data flow is the Gibbs sampler's: all items are solved for given the users, then all users given these items; each
worker does its block. So after an epoch users fit the items that stand beside them. With many factors a row is not
solved for whole, but `width` factors at a time, the others held fixed (iALS++; Rendle, Krichene, Zhang and Koren 2021,
"iALS++: speeding up matrix factorization with subspace optimization"): K·width instead of K² steps a rating.

Shape suffixes of the loops: R rows of one side, O rows of the other, D factors, N ratings.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakerank.recommend.latent_factors.build_blocks import scramble
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.predictions import FAST, error_of
from lakerank.recommend.latent_factors.run_state import SIDES, RatingBlocks, Run, gather, other_side
from lakerank.recommend.latent_factors.sgd import initial_rows
from lakerank.recommend.latent_factors.warm_start import BaseStats, warm_rows
from lakerank.recommend.models.last_ratings import AS_GOOD
from lakerank.recommend.models.user_histories import Histories, recency_weights
from lakerank.spark.array_store import Block, Runner, Sums
from lakerank.spark.jit import compiled

REG, LONG_ROW = 0.01, 40.0  # see `sized`
UNSEEN, LEAST_UNOBSERVED, MOST_UNOBSERVED = 40.0, 0.02, 0.25
CHUNK = 2048  # ratings whose factors are gathered at once
LEAST_RIDGE = 1e-7  # of the mean diagonal, added to it: what λ = 0 leaves singular can be solved
SWEEPS, CLOSE = 200, 1e-7  # of the solver with nonnegative factors: at most, and the relative step it ends at
RANKED = 10  # the learning curve's ranking quality is of the first so many items
RECENCIES = (0.0, 0.4, 0.8, 1.2)  # powers that are tried (`choose_recency`)
ASKED, FEWEST_ASKED, ASKED_AT_ONCE = 400, 50, 64  # users whose last choice is looked at; with fewer, chance chooses
SCORES_AT_ONCE, MOST_SCORES = 1 << 24, 1 << 28  # users × items of one product, and of one look at the ranking
FEWEST_RANKED = 200


def sized(config: LfmConfig, data: RatingBlocks) -> LfmConfig:
    """Return settings with the weights that fit the size of the ratings where they are left to it (`ials`, 0).

    With n̄ = N / √(users·items), the geometric mean of a row's ratings over both sides, λ is REG·min(1, (LONG_ROW/n̄)^¼),
    and α₀ such that the unseen pairs weigh `UNSEEN` times what was seen, at most `MOST_UNOBSERVED`. Chosen on five real
    sets of 28,000 to 100,000 ratings, by nDCG on their test parts, and one of 0.9 million generated ones; not tried on
    others.
    """
    if not config.ranks:
        return config
    n, pairs = data.counts["train"], data.n_users * data.n_items
    reg = REG * min(1.0, (LONG_ROW * np.sqrt(pairs) / n) ** 0.25)
    unobserved = min(MOST_UNOBSERVED, max(LEAST_UNOBSERVED, UNSEEN * n / pairs))
    return replace(config, reg=config.reg or float(reg), unobserved=config.unobserved or float(unobserved))


def start(run: Run, runner: Runner, base_stats: BaseStats | None = None) -> None:
    """Write `epoch-0`: random rows, or a model's where it has them."""

    def work(p: int) -> list[tuple[str, float, int]]:
        for number, side in enumerate(SIDES):
            n = run.data.rows(side, p)
            rows = initial_factors(n, run.config, run.rng(number, p))
            if base_stats is not None:
                fresh: Block = {"factors": rows, "bias": np.zeros(n, np.float32)}
                rows = warm_rows(run, base_stats, side, p, fresh)["factors"]
            _store_rows(run, "epoch-0", side, p, rows)
        return [("start", 0.0, 0)]

    runner(work)


def initial_factors(rows: int, config: LfmConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw factors (rows, K) for the start of training.

    `als`, and preferences under MLlib's loss, have MLlib's start: vectors of length 1 without negative values.
    """
    if config.model != "als" and config.unobserved < 1:
        drawn = initial_rows(rows, config, rng)["factors"]
        return np.abs(drawn) if config.nonnegative else drawn
    if not config.by_least_squares:
        return initial_rows(rows, config, rng)["factors"]
    drawn = np.abs(rng.standard_normal((rows, config.factors)))
    return np.asarray(drawn / np.maximum(np.linalg.norm(drawn, axis=1), 1e-12)[:, None], np.float32)


def _store_rows(run: Run, state: str, side: str, p: int, rows: NDArray[np.float32]) -> None:
    """Write a block's rows, and their share of the Gram matrix."""
    run.store.put(f"{state}/{side}-{p}", {"factors": rows, "bias": np.zeros(len(rows), np.float32)})
    run.store.put(f"{state}/gram-{side}-{p}", {"gram": gram_of(rows)})


def gram_of(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Compute the Gram matrix Σ x xᵀ of rows (R, D) in float64, (D, D), a few rows at a time."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for lo in range(0, len(rows), CHUNK):
        part = rows[lo : lo + CHUNK].astype(np.float64)
        total += part.T @ part
    return total


def _all_rows(run: Run, state: str, side: str) -> NDArray[np.float32]:
    """Return all rows of a side, (rows, K)."""
    whole = np.empty((run.data.size(side), run.config.factors), np.float32)
    for p in range(run.data.blocks):
        whole[p :: run.data.blocks] = run.store.get(f"{state}/{side}-{p}")["factors"]
    return whole


def _gram(run: Run, state: str, side: str) -> NDArray[np.float64]:
    """Return the Gram matrix of all rows of a side, added up in the order of the blocks."""
    k = run.config.factors
    return sum(
        (np.asarray(run.store.get(f"{state}/gram-{side}-{p}")["gram"]) for p in range(run.data.blocks)),
        np.zeros((k, k)),
    )


def observations(
    config: LfmConfig, ratings: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]], float]:
    """Return what seen pairs say, of ratings (N): weights w − α₀, targets w·p, both of the ratings' type; and Σ w·p².

    Of `als` all weights are 1 and the targets are the ratings.
    """
    if not config.ranks:
        return np.ones_like(ratings), ratings, float(np.square(ratings, dtype=np.float64).sum())
    weights = (1 + config.alpha * np.abs(ratings)).astype(ratings.dtype)
    targets = np.where(ratings > 0, weights, 0).astype(ratings.dtype)
    return (weights - config.unobserved).astype(ratings.dtype), targets, float(targets.sum(dtype=np.float64))


def ridges(config: LfmConfig, counts: NDArray[Any], others: int) -> NDArray[np.float64]:
    """Return the L2 weight of each row, (R): λ·d^ν.

    Args:
        config: settings; with `reg_scale` pairs d is n + α₀·others, else n, the number of what was seen.
        counts: (R) n, or the sum of shares of what was seen; others: rows of the other side.
    """
    seen = counts.astype(np.float64)
    if config.ranks and config.reg_scale == "pairs":
        seen += config.unobserved * others
    return np.asarray(config.reg * seen**config.reg_power)


def solve_side(
    config: LfmConfig,
    indptr: NDArray[np.int64],
    others: NDArray[np.int32],
    ratings: NDArray[np.float32],
    theirs: NDArray[np.floating[Any]],
    gram: NDArray[np.float64],
    rows: NDArray[np.floating[Any]],
    exact: bool = False,
    shares: NDArray[np.floating[Any]] | None = None,
) -> tuple[float, float]:
    """Solve for rows given the other side; changes `rows` (R, D) in place, which is where descent goes on from.

    Args:
        config: settings.
        indptr, others, ratings: (R + 1), (N), (N): what each row has seen, and the rows of `theirs`.
        theirs: (O, D), float32 for speed or float64; gram: its Gram matrix over all O rows.
        rows: see above.
        exact: solve whole rows even if `width` says otherwise.
        shares: (N), 0 to 1: to what share each pair counts as seen, and as unseen to the rest; None: all are seen.

    Returns:
        The loss on what was seen, less α₀(x·y)² of these pairs; and the regularisation.
    """
    weights, targets, constant = observations(config, ratings.astype(theirs.dtype))
    seen = np.ones(len(ratings)) if shares is None else shares
    if shares is not None:
        constant = float((targets * shares).sum(dtype=np.float64))
        weights, targets = (weights * shares).astype(weights.dtype), (targets * shares).astype(targets.dtype)
    if config.ranks and config.reg_scale == "ratings":  # MLlib counts preferences only
        seen = seen * (ratings > 0)
    counts = np.diff(np.concatenate([[0.0], np.cumsum(seen)])[indptr])
    ridge = ridges(config, counts, len(theirs))
    background = (gram * (config.unobserved if config.ranks else 0.0)).astype(np.float64)
    loss = np.empty(len(rows))
    arrays = (np.asarray(indptr), np.asarray(others), weights, targets, theirs, background, ridge)
    if config.width and config.width < theirs.shape[1] and not exact and not config.nonnegative:
        descend_rows(*arrays, config.width, rows, loss)
    else:
        solve_rows(*arrays, config.nonnegative, rows, loss)
    size = np.square(rows, dtype=np.float64).sum(axis=1)
    return float(loss.sum()) + constant, float(size @ ridge)


def fold_in_users(
    config: LfmConfig, block: Histories, q_IK: NDArray[np.float64], gram: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve for the factors of users given the items', exactly, (U, K); zeros for those without ratings.

    Args:
        config: settings of the training; `recency` says what older choices count.
        block: what the users have seen, by position in `q_IK`.
        q_IK, gram: factors of all items, and Σ q qᵀ.
    """
    rows = np.zeros((len(block), q_IK.shape[1]))
    shares = recency_weights(block, config.recency) if config.recency else None
    solve_side(config, block.starts, block.positions, block.ratings, q_IK, gram, rows, exact=True, shares=shares)
    return rows


def choose_recency(config: LfmConfig, block: Histories, q_IK: NDArray[np.float64]) -> float:
    """Return the power of recency that ranks best what users chose last, given what they had chosen before.

    The items' factors have seen these last choices in training, as much as all others of a user; so each power has the
    same advantage, and the order of the powers is that of a training without them (seen on ml-latest-small). The score
    is the mean of 1 / log₂(1 + rank) among all unseen items; a smaller power is taken if none is `AS_GOOD` better.

    Args:
        config: settings of the training.
        block: all choices of the users asked, by position in `q_IK`.
        q_IK: factors of all items.

    Returns:
        One of `RECENCIES`; 0 where too few users have choices with different times.
    """
    order = np.lexsort((block.positions, -block.seconds, block.rows))
    first = block.starts[:-1]
    told = np.zeros(len(block), np.bool_)  # users of whom it is known what they chose last, and something before
    several = block.counts > 1
    newest, before_it = order[first[several]], order[first[several] + 1]
    told[several] = (block.seconds[newest] > block.seconds[before_it]) & (block.ratings[newest] > 0)
    if told.sum() < FEWEST_ASKED:
        return 0.0
    users, held = np.flatnonzero(told), order[first[told]]
    kept = told[block.rows]
    kept[held] = False
    counts = block.counts[users] - 1
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ids = block.users.take(pa.array(users))
    before = Histories(ids, starts, block.positions[kept], block.ratings[kept], block.seconds[kept])
    wanted, gram = block.positions[held], gram_of(q_IK)
    scores: dict[float, float] = {}
    for power in RECENCIES:
        settings = replace(config, recency=power)
        gain = 0.0
        for lo in range(0, len(users), ASKED_AT_ONCE):
            part = before.part(lo, min(lo + ASKED_AT_ONCE, len(users)))
            scores_UI = fold_in_users(settings, part, q_IK, gram) @ q_IK.T
            scores_UI[part.rows, part.positions] = -np.inf
            mine = scores_UI[np.arange(len(part)), wanted[lo : lo + len(part)]][:, None]
            gain += float((1 / np.log2(1 + (scores_UI >= mine).sum(axis=1))).sum())
        scores[power] = gain / len(users)
    best = max(scores.values())
    return min(power for power, score in scores.items() if score >= best * (1 - AS_GOOD))


def _solve_block(run: Run, number: int, side: str, p: int) -> list[tuple[str, float, int]]:
    """Solve for the rows of one block given the other side."""
    before, after, across = f"epoch-{number - 1}", f"epoch-{number}", other_side(side)
    known = before if side == "item" else after
    layout = run.data.store.get(f"rows/{side}-{p}")
    ratings = gather(run.data, side, p, "ratings")[layout["order"]]
    rows = np.array(run.store.get(f"{before}/{side}-{p}")["factors"])
    theirs, gram = _all_rows(run, known, across), _gram(run, known, across)
    loss, penalty = solve_side(run.config, layout["indptr"], layout["others"], ratings, theirs, gram, rows)
    _store_rows(run, after, side, p, rows)
    n = len(ratings)
    return [("seen", loss, n), (f"{side} penalty", penalty, len(rows))]


def epoch(run: Run, runner: Runner, number: int) -> Sums:
    """Solve for all items, then for all users; then the error, or the ranking quality, on what is held out.

    Returns:
        Of `als` the sums of squared errors. Of `ials` `loss` (the objective, and the number of ratings), and for each
        part held out `PART ndcg` and `PART hits` over the users that were looked at.
    """
    state = f"epoch-{number}"
    items = runner(partial(_solve_block, run, number, "item"))
    users = runner(partial(_solve_block, run, number, "user"))
    seen, n = users["seen"]
    penalty = items["item penalty"][0] + users["user penalty"][0]
    if not run.config.ranks:
        held = runner(error_of([(run, state)], run.data.held_out)) if run.data.held_out else {}
        return held | {"train": (seen, n), "loss": (seen + penalty, n)}
    everywhere = float((_gram(run, state, "user") * _gram(run, state, "item")).sum())
    loss = seen + run.config.unobserved * everywhere + penalty
    held = runner(partial(rank_held_out, run, state)) if run.data.held_out else {}
    return held | {"loss": (loss, n)}


def rank_held_out(run: Run, state: str, p: int) -> list[tuple[str, float, int]]:
    """Rank all items but those of training for users of block p; sum nDCG@10 and hits by part held out.

    Of many users some are looked at, always the same, so that a look costs at most `MOST_SCORES` products. An item that
    was not in training cannot be found and counts as missed.
    """
    found: list[tuple[str, float, int]] = []
    q_IK = run.all_rows(state, "item")  # the bias in the last column
    p_UK = np.append(run.store.get(f"{state}/user-{p}")["factors"], np.ones((run.data.rows("user", p), 1)), axis=1)
    p_UK = p_UK.astype(np.float32)
    layout, blocks = run.data.store.get(f"rows/user-{p}"), run.data.blocks
    most = max(FEWEST_RANKED, MOST_SCORES // len(q_IK)) // blocks + 1
    for part in run.data.held_out:
        held = [(q, run.data.get(part, p, q)) for q in range(blocks)]
        pairs = [(b["rows"], numbers(b["cols"], q, blocks)) for q, b in held if b is not None]
        if not pairs:
            continue
        rows, items = (np.concatenate(column) for column in zip(*pairs, strict=True))
        rows, items = rows[rows >= 0], items[rows >= 0]
        users = np.unique(rows)
        order = np.argsort(scramble(users.astype(np.uint64), p), kind="stable")
        users = np.sort(users[order[:most]])
        gain, hits = 0.0, 0.0
        for lo in range(0, len(users), max(1, SCORES_AT_ONCE // len(q_IK))):
            mine = users[lo : lo + max(1, SCORES_AT_ONCE // len(q_IK))]
            scores = p_UK[mine] @ q_IK.T
            for n, user in enumerate(mine):
                scores[n, layout["others"][layout["indptr"][user] : layout["indptr"][user + 1]]] = -np.inf
            best = _best(scores, RANKED)
            for n, user in enumerate(mine):
                one_gain, one_hit = ranking_quality(best[n], items[rows == user])
                gain, hits = gain + one_gain, hits + one_hit
        found += [(f"{part} ndcg", gain, len(users)), (f"{part} hits", hits, len(users))]
    return found or [("nothing", 0.0, 0)]


def numbers(positions: NDArray[np.int32], block: int, blocks: int) -> NDArray[np.int64]:
    """Return the numbers of rows by their positions in a block; −1 stays."""
    return np.where(positions < 0, -1, positions.astype(np.int64) * blocks + block)


def _best(scores: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """Return the columns of the `top` largest values of each row, the largest first, equal ones by column."""
    top = min(top, scores.shape[1])
    some = np.sort(np.argpartition(-scores, top - 1, axis=1)[:, :top], axis=1)
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def ranking_quality(best: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[float, float]:
    """Return nDCG of a ranked list for the items wanted, each worth 1; and 1 if any of them is in it, else 0."""
    hit = np.isin(best, wanted[wanted >= 0])
    discounts = 1 / np.log2(np.arange(2, len(best) + 2))
    return float(discounts[hit].sum() / discounts[: len(wanted)].sum()), float(hit.any())


@compiled(fastmath=FAST, nogil=True)
def solve_rows(
    indptr: Any,
    others_N: Any,
    weights_N: Any,
    targets_N: Any,
    v_OD: Any,
    background_DD: Any,
    ridge_R: Any,
    nonnegative: bool,
    x_RD: Any,
    loss_R: Any,
) -> None:
    """Solve for each row x: A x = b, A = background + Σ weight·v vᵀ + ridge·I, b = Σ target·v.

    Args:
        indptr: int64 (R + 1); others_N: int32, rows of `v_OD`; weights_N, targets_N: of its type.
        v_OD: float32 or float64, the other side's factors; background_DD: float64, α₀ times their Gram matrix.
        ridge_R: float64.
        nonnegative: the best x without negative values instead (`_nonnegative_solution`).
        x_RD: the rows, of that type, too; overwritten.
        loss_R: float64, Σ weight·(x·v)² − 2·target·(x·v) of each row.
    """
    d = v_OD.shape[1]
    w = np.empty((CHUNK, d), v_OD.dtype)
    x = np.empty(d)
    for r in range(indptr.shape[0] - 1):
        a = background_DD.copy()
        b = np.zeros(d, np.float64)
        for begin in range(indptr[r], indptr[r + 1], CHUNK):
            n = min(CHUNK, indptr[r + 1] - begin)
            for t in range(n):
                o = others_N[begin + t]
                root = np.sqrt(weights_N[begin + t])
                target = targets_N[begin + t]
                for f in range(d):
                    w[t, f] = v_OD[o, f] * root
                    b[f] += target * v_OD[o, f]
            part = w[:n]
            a += np.dot(part.T, part)
        _add_ridge(a, ridge_R[r])
        if nonnegative:
            for f in range(d):
                x[f] = max(np.float64(x_RD[r, f]), 0.0)
            _nonnegative_solution(a, b, x)
        else:
            _cholesky_solution(a, b, x)
        for f in range(d):
            x_RD[r, f] = x[f]
        loss = 0.0
        for t in range(indptr[r], indptr[r + 1]):
            o = others_N[t]
            guess = np.float64(0)
            for f in range(d):
                guess += v_OD[o, f] * x_RD[r, f]
            loss += (weights_N[t] * guess - 2 * targets_N[t]) * guess
        loss_R[r] = loss


@compiled(fastmath=FAST, nogil=True)
def descend_rows(
    indptr: Any,
    others_N: Any,
    weights_N: Any,
    targets_N: Any,
    v_OD: Any,
    background_DD: Any,
    ridge_R: Any,
    width: int,
    x_RD: Any,
    loss_R: Any,
) -> None:
    """Lower each row's loss by `width` factors at a time: a Newton step, which is exact for these (iALS++).

    Arguments are those of `solve_rows`; the rows are read and overwritten.
    """
    d = v_OD.shape[1]
    w = np.empty((CHUNK, width), np.float32)
    for r in range(indptr.shape[0] - 1):
        first, n_all = indptr[r], indptr[r + 1] - indptr[r]
        guess = np.empty(n_all, np.float32)
        for t in range(n_all):
            o = others_N[first + t]
            dot = np.float32(0)
            for f in range(d):
                dot += v_OD[o, f] * x_RD[r, f]
            guess[t] = dot
        for low in range(0, d, width):
            size = min(width, d - low)
            a = background_DD[low : low + size, low : low + size].copy()
            b = np.empty(size, np.float64)
            for f in range(size):
                s = -ridge_R[r] * x_RD[r, low + f]
                for g in range(d):
                    s -= background_DD[low + f, g] * x_RD[r, g]
                b[f] = s
            pull = np.zeros(size, np.float32)
            for begin in range(0, n_all, CHUNK):
                n = min(CHUNK, n_all - begin)
                for t in range(n):
                    at = first + begin + t
                    o = others_N[at]
                    root = np.sqrt(weights_N[at])
                    e = targets_N[at] - weights_N[at] * guess[begin + t]
                    for f in range(size):
                        w[t, f] = v_OD[o, low + f] * root
                        pull[f] += e * v_OD[o, low + f]
                part = np.ascontiguousarray(w[:n, :size])
                a += np.dot(part.T, part)
            for f in range(size):
                b[f] += pull[f]
            _add_ridge(a, ridge_R[r])
            step = np.empty(size)
            _cholesky_solution(a, b, step)
            for f in range(size):
                x_RD[r, low + f] += np.float32(step[f])
            for t in range(n_all):
                o = others_N[first + t]
                dot = np.float32(0)
                for f in range(size):
                    dot += v_OD[o, low + f] * np.float32(step[f])
                guess[t] += dot
        loss = 0.0
        for t in range(n_all):
            at = first + t
            loss += np.float64(weights_N[at] * guess[t] - np.float32(2) * targets_N[at]) * np.float64(guess[t])
        loss_R[r] = loss


@compiled(fastmath=FAST, nogil=True)
def _add_ridge(a: Any, ridge: float) -> None:
    """Add the ridge to the diagonal, and `LEAST_RIDGE` of its mean."""
    d = a.shape[0]
    trace = 0.0
    for f in range(d):
        trace += a[f, f]
    for f in range(d):
        a[f, f] += ridge + LEAST_RIDGE * trace / d + 1e-30


@compiled(fastmath=FAST, nogil=True)
def _cholesky_solution(a: Any, b: Any, x: Any) -> None:
    """Solve a x = b for positive definite a."""
    low = np.linalg.cholesky(a)
    d = b.shape[0]
    for f in range(d):
        s = b[f]
        for g in range(f):
            s -= low[f, g] * x[g]
        x[f] = s / low[f, f]
    for f in range(d - 1, -1, -1):
        x[f] /= low[f, f]
        for g in range(f):  # row by row, as the matrix lies in memory
            x[g] -= low[f, g] * x[f]


@compiled(fastmath=FAST, nogil=True)
def _nonnegative_solution(a: Any, b: Any, x: Any) -> None:
    """Minimise xᵀa x − 2bᵀx over x ≥ 0, one coordinate after the other, from x on.

    The problem is strictly convex, so this ends at the one solution (that of MLlib's NNLS).
    """
    d = b.shape[0]
    left = np.empty(d)  # b − a x
    for f in range(d):
        s = b[f]
        for g in range(d):
            s -= a[f, g] * x[g]
        left[f] = s
    for _ in range(SWEEPS):
        most, size = 0.0, 0.0
        for f in range(d):
            new = max(0.0, x[f] + left[f] / a[f, f])
            step = new - x[f]
            if step != 0.0:
                x[f] = new
                for g in range(d):
                    left[g] -= a[f, g] * step
            most, size = max(most, abs(step)), max(size, abs(new))
        if most <= CLOSE * size:
            break

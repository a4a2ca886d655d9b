"""Distributed SGD (DSGD; Gemulla, Nijkamp, Haas and Sismanis 2011): an epoch, from its strata to the compiled loop.

A stratum is B blocks that share no user and no item, so B workers train it at the same time without seeing each
other's rows; B strata make an epoch, and the item factors move on between them.

Shape suffixes of the loop: U users in a block, I items in a block, K factors, N ratings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.latent_factors.config import OPTIMIZERS, LfmConfig, parse_init
from lakerank.recommend.latent_factors.implicit_feedback import centre_rows, regress
from lakerank.recommend.latent_factors.predictions import FAST, error_of, sgd_effects
from lakerank.recommend.latent_factors.run_state import SIDES, Run
from lakerank.recommend.latent_factors.warm_start import BaseStats, warm_rows
from lakerank.spark.array_store import Block, Runner, Sums
from lakerank.spark.jit import compiled

SGD, ADAGRAD, ADAM = (OPTIMIZERS.index(name) for name in ("sgd", "adagrad", "adam"))
_BETA1, _BETA2, _EPS = np.float32(0.9), np.float32(0.999), np.float32(1e-8)  # Kingma and Ba 2015

Centre = NDArray[np.float32] | None  # (rows, K + 1), the bias's in the last column


def initial_rows(rows: int, config: LfmConfig, rng: np.random.Generator) -> Block:
    """Draw factors (rows, K) float32 and biases (rows) for the start of training."""
    kind, numbers = parse_init(config.init)
    k = config.factors
    if kind == "normal":
        factors = rng.standard_normal((rows, k), dtype=np.float32) * np.float32(numbers[0] / np.sqrt(k))
    else:
        low, high = numbers
        factors = rng.random((rows, k), dtype=np.float32) * np.float32(high - low) + np.float32(low)
    return {"factors": factors, "bias": np.zeros(rows, np.float32)}


def initial_slots(rows: int, config: LfmConfig) -> Block:
    """Return the optimiser's state at the start of training."""
    slots = {
        "sgd": lambda: np.zeros((1, 1, 1), np.float32),
        # 1, not 0: the first steps are not divided by almost nothing (LIBMF's choice too)
        "adagrad": lambda: np.ones((rows, 1, 2), np.float32),
        "adam": lambda: np.zeros((2, rows, config.factors + 1), np.float32),
    }[config.optimizer]()
    return {"slots": slots, "steps": np.zeros(rows if config.optimizer == "adam" else 0, np.int32)}


def start(run: Run, runner: Runner, base_stats: BaseStats | None = None) -> None:
    """Write `epoch-0`, from a model's rows where it has them."""

    def work(p: int) -> list[tuple[str, float, int]]:
        for number, side in enumerate(SIDES):
            rows = run.data.rows(side, p)
            state = initial_rows(rows, run.config, run.rng(number, p)) | initial_slots(rows, run.config)
            run.store.put(
                f"epoch-0/{side}-{p}", state if base_stats is None else warm_rows(run, base_stats, side, p, state)
            )
        return [("start", 0.0, 0)]

    runner(work)


def train_in_place(
    users: Block,
    items: Block,
    ratings: Block,
    config: LfmConfig,
    mean: float,
    lr: float,
    rng: np.random.Generator,
    centres: tuple[Centre, Centre] = (None, None),
) -> float:
    """Train on one block once, tiles in random order; return the sum of squared errors before each update."""
    return float(
        train_block(
            ratings["rows"],
            ratings["cols"],
            ratings["ratings"],
            ratings["tiles"],
            rng.permutation(len(ratings["tiles"]) - 1),
            users["factors"],
            users["bias"],
            items["factors"],
            items["bias"],
            *centres,
            users["slots"],
            items["slots"],
            users["steps"],
            items["steps"],
            np.float32(mean),
            np.float32(lr),
            np.float32(config.reg),
            np.float32(config.reg_bias),
            config.bias,
            OPTIMIZERS.index(config.optimizer),
        )
    )


@dataclass(frozen=True)
class Stratum:
    """The input and output of one stratum: it goes on from the rows of state `before` and leaves those of `after`."""

    run: Run
    epoch: int
    lr: float
    before: str
    after: str
    shift: int

    def train(self, p: int) -> list[tuple[str, float, int]]:
        """Train user block p with the item block that is its turn."""
        run, q = self.run, (p + self.shift) % self.run.data.blocks
        users, items = (
            {name: np.array(values) for name, values in run.store.get(f"{self.before}/{key}").items()}
            for key in (f"user-{p}", f"item-{q}")
        )
        error, count = 0.0, 0
        ratings = run.data.get("train", p, q)
        if ratings is not None:
            last = f"epoch-{self.epoch - 1}"
            effects = run.shift(last, p, q)
            if effects is not None:
                ratings = ratings | {"ratings": ratings["ratings"] - effects}
            centres = _both(centre_rows(run, last, "user", p), centre_rows(run, last, "item", q), users, items)
            rng = run.rng(2, self.epoch, p, q)
            error = train_in_place(users, items, ratings, run.config, run.mean, self.lr, rng, centres)
            count = len(ratings["rows"])
        run.store.put(f"{self.after}/user-{p}", users)
        run.store.put(f"{self.after}/item-{q}", items)
        return [("train", error, count)]


def _both(user: Centre, item: Centre, users: Block, items: Block) -> tuple[Centre, Centre]:
    """Return both sides' centres, or none: the kernel is compiled for these two cases."""
    if user is None and item is None:
        return None, None
    pairs = ((user, users), (item, items))
    width = users["factors"].shape[1] + 1
    filled = (np.zeros((len(rows["bias"]), width)) if centre is None else centre for centre, rows in pairs)
    first, second = (np.ascontiguousarray(centre, np.float32) for centre in filled)
    return first, second


def _strata(run: Run, number: int, lr: float) -> list[Stratum]:
    """Return the epoch's strata in random order."""
    state, found = f"epoch-{number - 1}", []
    for turn, shift in enumerate(run.rng(3, number).permutation(run.data.blocks), start=1):
        after = f"epoch-{number}" if turn == run.data.blocks else f"epoch-{number}-step-{turn}"
        found.append(Stratum(run, number, lr, state, after, int(shift)))
        state = after
    return found


def epoch(run: Run, runner: Runner, number: int, lr: float) -> Sums:
    """Train one epoch: B strata, then time effects and implicit feedback, then the error on what is held out."""
    last, done = f"epoch-{number - 1}", f"epoch-{number}"
    trained = [runner(stratum.train)["train"] for stratum in _strata(run, number, lr)]
    if run.has_time_effects:
        for side in SIDES:
            runner(partial(sgd_effects, run, last, done, side))
    score = error_of([(run, done)], run.data.held_out)

    def finish(p: int) -> list[tuple[str, float, int]]:
        for side in run.config.implicit_sides:
            mean = np.zeros(run.config.factors + 1)
            regress(run, last, done, side, p, mean, run.config.reg_implicit, None)
        return score(p)

    error, count = (sum(column) for column in zip(*trained, strict=True))
    return runner(finish) | {"train": (error, int(count))}


@compiled(fastmath=FAST, inline="always")
def _adam_step(m: Any, v: Any, row: int, f: int, g: Any, fix1: Any, fix2: Any) -> Any:
    """Update one weight's two moments; return the direction to step in."""
    m[row, f] = _BETA1 * m[row, f] + (np.float32(1) - _BETA1) * g
    v[row, f] = _BETA2 * v[row, f] + (np.float32(1) - _BETA2) * g * g
    return (m[row, f] * fix1) / (np.sqrt(v[row, f] * fix2) + _EPS)


@compiled(fastmath=FAST)
def _at(centre: Any, row: int, f: int) -> Any:
    """Return a row's centre; without centres (None) 0, and no memory is read: numba drops the branch."""
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
    """Train on a block, tile by tile; changes factors, biases and optimiser state in place.

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

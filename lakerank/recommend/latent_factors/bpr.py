"""Bayesian personalised ranking on the strata of SGD: what a user has chosen shall score above what they have not.

Rendle, Freudenthaler, Gantner and Schmidt-Thieme 2009, "BPR: Bayesian personalized ranking from implicit feedback":
min Σ −ln σ(x_u·(y_i − y_j) + b_i − b_j) + λ(‖x_u‖² + ‖y_i‖² + ‖y_j‖²)/2 over what was seen (u, i) and items j that were
not, drawn at random from all. In a stratum a worker may write one block of items only, and i and j are seldom in the
same. So a pair is visited twice: where i is, x_u and y_i take their step against a j from anywhere; where j is, y_j
takes its step against an i from anywhere. What lies in another block is read as it was when the epoch began. With one
block there is one visit. Steps are scaled by AdaGrad, one accumulator a row, as in `sgd.py`. All that is random follows
from the seed.

Shape suffixes of the loops: U users and I items of a block, K factors, N ratings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.latent_factors.als import rank_held_out
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.predictions import FAST
from lakerank.recommend.latent_factors.run_state import Run, gather
from lakerank.spark.array_store import Runner, Sums
from lakerank.spark.jit import compiled

MOST_DRAWS = 8  # until an item is found that the user has not seen; then the pair is left out
FOLD_PASSES = 30  # over what a newcomer has seen


def seen_keys(rows: NDArray[Any], items: NDArray[Any], n_items: int) -> NDArray[np.int64]:
    """Return the sorted keys row·items + item of pairs, which the loops look pairs up in."""
    return np.sort(rows.astype(np.int64) * n_items + items)


@dataclass(frozen=True)
class _Stratum:
    """One stratum: it goes on from the rows of state `before` and leaves those of `after`."""

    run: Run
    epoch: int
    before: str
    after: str
    shift: int

    def train(self, p: int) -> list[tuple[str, float, int]]:
        """Train user block p with the item block that is its turn."""
        run, config, blocks = self.run, self.run.config, self.run.data.blocks
        q = (p + self.shift) % blocks
        users, mine = (
            {name: np.array(values) for name, values in run.store.get(f"{self.before}/{key}").items()}
            for key in (f"user-{p}", f"item-{q}")
        )
        rows, items, ratings = _seen(run, p)
        rng, keys = run.rng(8, self.epoch, p, q), seen_keys(rows, items, run.data.n_items)
        rows, items = rows[ratings > 0], items[ratings > 0]
        whole = run.all_rows(f"epoch-{self.epoch - 1}", "item")
        y, b = np.ascontiguousarray(whole[:, :-1]), whole[:, -1].copy()
        slots = np.ones((len(y), 1, 2), np.float32)
        y[q::blocks], b[q::blocks], slots[q::blocks] = mine["factors"], mine["bias"], mine["slots"]
        weights = np.float32(config.lr), np.float32(config.reg), np.float32(config.reg_bias)

        def visit(chosen: NDArray[np.int64], draw: tuple[int, int, int], learns: tuple[bool, bool, bool]) -> Any:
            chosen = rng.permutation(chosen)
            first = np.uint64(rng.integers(0, 1 << 63))
            sides = users["factors"], y, b, users["slots"], slots
            return train_pairs(rows[chosen], items[chosen], keys, first, draw, *sides, *weights, learns)

        everything = (0, 1, len(y))
        here = np.flatnonzero(items % blocks == q)
        if blocks == 1:
            loss, count = visit(here, everything, (True, True, True))
        else:
            loss, count = visit(here, everything, (True, True, False))
            some = np.flatnonzero(rng.random(len(items)) < 1 / blocks)
            visit(some, (q, blocks, len(mine["bias"])), (False, False, True))
        trained = {"factors": y[q::blocks], "bias": b[q::blocks], "slots": slots[q::blocks], "steps": mine["steps"]}
        run.store.put(f"{self.after}/user-{p}", users)
        run.store.put(f"{self.after}/item-{q}", {name: np.ascontiguousarray(v) for name, v in trained.items()})
        return [("loss", float(loss), int(count))]


def _seen(run: Run, p: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Return row, item number and rating of all that users of block p have seen, (N) each."""
    layout = run.data.store.get(f"rows/user-{p}")
    rows = np.repeat(np.arange(run.data.rows("user", p), dtype=np.int32), np.diff(layout["indptr"]))
    return rows, np.asarray(layout["others"]), gather(run.data, "user", p, "ratings")[layout["order"]]


def epoch(run: Run, runner: Runner, number: int) -> Sums:
    """Train one epoch: B strata in random order; then the ranking quality on what is held out.

    Returns:
        `loss`, the sum of −ln σ before each step and the number of pairs; and what `als.epoch` returns of `ials`.
    """
    state, total, count = f"epoch-{number - 1}", 0.0, 0
    for turn, shift in enumerate(run.rng(3, number).permutation(run.data.blocks), start=1):
        after = f"epoch-{number}" if turn == run.data.blocks else f"epoch-{number}-step-{turn}"
        loss, n = runner(_Stratum(run, number, state, after, int(shift)).train)["loss"]
        state, total, count = after, total + loss, count + int(n)
    held = runner(partial(rank_held_out, run, f"epoch-{number}")) if run.data.held_out else {}
    return held | {"loss": (total, max(count, 1))}


def fold_in(
    config: LfmConfig,
    starts: NDArray[np.int64],
    positions: NDArray[np.int32],
    ratings: NDArray[np.floating[Any]],
    q_IK: NDArray[np.float32],
    bias_I: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Descend to the factors of users given the items, (U, K): the loss above with the items held fixed.

    A user's factors do not depend on the others of the block.

    Args:
        config: settings of the training.
        starts, positions, ratings: (U + 1), (P), (P): what each user has seen.
        q_IK, bias_I: of all items.
    """
    rows = np.zeros((len(starts) - 1, q_IK.shape[1]), np.float32)
    still = np.empty((0, 1, 2), np.float32)
    for user in range(len(rows)):
        own = positions[starts[user] : starts[user + 1]]
        liked = own[ratings[starts[user] : starts[user + 1]] > 0]
        if not len(liked):
            continue
        x, slots = rows[user : user + 1], np.ones((1, 1, 2), np.float32)
        zeros, keys = np.zeros(len(liked), np.int32), np.sort(own.astype(np.int64))
        for turn in range(FOLD_PASSES):
            first = np.uint64(config.seed + turn)
            train_pairs(
                zeros, liked, keys, first, (0, 1, len(q_IK)), x, q_IK, bias_I, slots, still, np.float32(config.lr),
                np.float32(config.reg), np.float32(config.reg_bias), (True, False, False),
            )  # fmt: skip
    return rows


@compiled(fastmath=FAST, nogil=True)
def _has(keys: Any, key: int) -> bool:
    """Look a key up among sorted ones."""
    low, high = 0, keys.shape[0]
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return bool(low < keys.shape[0] and keys[low] == key)


@compiled(nogil=True)
def _mixed(n: Any) -> Any:
    """Return the n-th number of SplitMix64 (Steele, Lea and Flood 2014)."""
    z = n * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled(fastmath=FAST, nogil=True)
def train_pairs(
    rows_N: Any,
    cols_N: Any,
    keys: Any,
    first: Any,
    draw: Any,
    x_UK: Any,
    y_IK: Any,
    b_I: Any,
    slots_u: Any,
    slots_i: Any,
    lr: Any,
    reg: Any,
    reg_bias: Any,
    learns: Any,
) -> tuple[float, int]:
    """Take a step for each pair that was seen, against one item that was not; changes the arrays in place.

    Args:
        rows_N, cols_N: int32, row of the user in `x_UK` and of the item in `y_IK`.
        keys: see `seen_keys`.
        first: uint64, where the sequence of draws begins.
        draw: the first, the step and the number of the rows of `y_IK` to draw from.
        x_UK, y_IK: float32 factors; b_I: float32 biases of items.
        slots_u, slots_i: float32 (rows, 1, 2), AdaGrad's accumulators of factors and bias.
        lr, reg, reg_bias: float32 step size and L2 weights, per pair.
        learns: which take their step: the user, the item that was seen, the item drawn.

    Returns:
        The sum of −ln σ before each step, and the number of pairs.
    """
    k, n_items = x_UK.shape[1], y_IK.shape[0]
    start, stride, n_draw = draw
    learns_u, learns_i, learns_j = learns
    inverse_k, one = np.float32(1.0 / k), np.float32(1)
    total, count, at = 0.0, 0, first * np.uint64(0x2545F4914F6CDD1D)
    for n in range(rows_N.shape[0]):
        u, i = rows_N[n], cols_N[n]
        j = np.int64(-1)
        for _ in range(MOST_DRAWS):
            at += np.uint64(1)
            drawn = start + stride * np.int64(_mixed(at) % np.uint64(n_draw))
            if not _has(keys, np.int64(u) * n_items + drawn):
                j = drawn
                break
        if j < 0:
            continue
        margin = b_I[i] - b_I[j]
        for f in range(k):
            margin += x_UK[u, f] * (y_IK[i, f] - y_IK[j, f])
        total += np.log1p(np.exp(-np.float64(abs(margin)))) + max(-np.float64(margin), 0.0)
        count += 1
        e = one / (one + np.exp(margin))  # 1 − σ
        eta_u, eta_i, eta_j = np.float32(0), np.float32(0), np.float32(0)
        if learns_u:
            eta_u = lr / np.sqrt(slots_u[u, 0, 0])
        if learns_i:
            eta_i = lr / np.sqrt(slots_i[i, 0, 0])
        if learns_j:
            eta_j = lr / np.sqrt(slots_i[j, 0, 0])
        sum_u, sum_i, sum_j = np.float32(0), np.float32(0), np.float32(0)
        for f in range(k):
            xf, yi, yj = x_UK[u, f], y_IK[i, f], y_IK[j, f]
            gx = reg * xf - e * (yi - yj)
            gi = reg * yi - e * xf
            gj = reg * yj + e * xf
            sum_u += gx * gx
            sum_i += gi * gi
            sum_j += gj * gj
            if learns_u:
                x_UK[u, f] = xf - eta_u * gx
            if learns_i:
                y_IK[i, f] = yi - eta_i * gi
            if learns_j:
                y_IK[j, f] = yj - eta_j * gj
        if learns_u:
            slots_u[u, 0, 0] += sum_u * inverse_k
        if learns_i:
            slots_i[i, 0, 0] += sum_i * inverse_k
            gi = reg_bias * b_I[i] - e
            b_I[i] -= lr / np.sqrt(slots_i[i, 0, 1]) * gi
            slots_i[i, 0, 1] += gi * gi
        if learns_j:
            slots_i[j, 0, 0] += sum_j * inverse_k
            gj = reg_bias * b_I[j] + e
            b_I[j] -= lr / np.sqrt(slots_i[j, 0, 1]) * gj
            slots_i[j, 0, 1] += gj * gj
    return total, count

"""Bayesian personalised ranking on the strata of SGD: what a user has chosen shall score above what they have not.

Rendle, Freudenthaler, Gantner and Schmidt-Thieme 2009, "BPR: Bayesian personalized ranking from implicit feedback":
min Σ −ln σ(x_u·(y_i − y_j) + b_i − b_j) + λ(‖x_u‖² + ‖y_i‖² + ‖y_j‖²)/2 over what was seen (u, i) and items j that were
not, drawn at random. A worker draws j from the item block that it has in this stratum: its rows are there, nobody else
touches them, and over an epoch's strata every item has its turn. Steps are scaled by AdaGrad, one accumulator a row, as
in `sgd.py`. All that is random follows from the seed.

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
from lakerank.recommend.latent_factors.run_state import Run
from lakerank.spark.array_store import Runner, Sums
from lakerank.spark.jit import compiled

MOST_DRAWS = 8  # until an item is found that the user has not seen; then the pair is left out
FOLD_PASSES = 30  # over what a newcomer has seen


def seen_keys(rows: NDArray[Any], cols: NDArray[Any], n_items: int) -> NDArray[np.int64]:
    """Return the sorted keys row·items + col of pairs, which the loops look pairs up in."""
    return np.sort(rows.astype(np.int64) * n_items + cols)


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
        run, config, q = self.run, self.run.config, (p + self.shift) % self.run.data.blocks
        users, items = (
            {name: np.array(values) for name, values in run.store.get(f"{self.before}/{key}").items()}
            for key in (f"user-{p}", f"item-{q}")
        )
        loss, count = 0.0, 0
        block = run.data.get("train", p, q)
        if block is not None:
            liked = np.asarray(block["ratings"]) > 0
            rows, cols = np.asarray(block["rows"])[liked], np.asarray(block["cols"])[liked]
            rng = run.rng(8, self.epoch, p, q)
            keys = seen_keys(block["rows"], block["cols"], len(items["factors"]))
            order = rng.permutation(len(rows))
            first = np.uint64(rng.integers(0, 1 << 63))
            loss, count = train_pairs(
                rows[order], cols[order], keys, first, users["factors"], items["factors"], items["bias"],
                users["slots"], items["slots"], np.float32(config.lr), np.float32(config.reg),
                np.float32(config.reg_bias), True,
            )  # fmt: skip
        run.store.put(f"{self.after}/user-{p}", users)
        run.store.put(f"{self.after}/item-{q}", items)
        return [("loss", loss, count)]


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
                zeros, liked, keys, first, x, q_IK, bias_I, slots, still, np.float32(config.lr),
                np.float32(config.reg), np.float32(config.reg_bias), False,
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
    x_UK: Any,
    y_IK: Any,
    b_I: Any,
    slots_u: Any,
    slots_i: Any,
    lr: Any,
    reg: Any,
    reg_bias: Any,
    both: bool,
) -> tuple[float, int]:
    """Take a step for each pair that was seen, against one item that was not; changes the arrays in place.

    Args:
        rows_N, cols_N: int32, user and item within their blocks.
        keys: see `seen_keys`.
        first: uint64, where the sequence of draws begins.
        x_UK, y_IK: float32 factors; b_I: float32 biases of items.
        slots_u, slots_i: float32 (rows, 1, 2), AdaGrad's accumulators of factors and bias.
        lr, reg, reg_bias: float32 step size and L2 weights, per pair.
        both: whether items learn, too.

    Returns:
        The sum of −ln σ before each step, and the number of pairs.
    """
    k, n_items = x_UK.shape[1], y_IK.shape[0]
    inverse_k, one = np.float32(1.0 / k), np.float32(1)
    total, count, at = 0.0, 0, first * np.uint64(0x2545F4914F6CDD1D)
    for n in range(rows_N.shape[0]):
        u, i = rows_N[n], cols_N[n]
        j = np.int64(-1)
        for _ in range(MOST_DRAWS):
            at += np.uint64(1)
            drawn = np.int64(_mixed(at) % np.uint64(n_items))
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
        eta_u = lr / np.sqrt(slots_u[u, 0, 0])
        sum_u = np.float32(0)
        if not both:
            for f in range(k):
                gx = reg * x_UK[u, f] - e * (y_IK[i, f] - y_IK[j, f])
                sum_u += gx * gx
                x_UK[u, f] -= eta_u * gx
            slots_u[u, 0, 0] += sum_u * inverse_k
            continue
        eta_i, eta_j = lr / np.sqrt(slots_i[i, 0, 0]), lr / np.sqrt(slots_i[j, 0, 0])
        sum_i, sum_j = np.float32(0), np.float32(0)
        for f in range(k):
            xf, yi, yj = x_UK[u, f], y_IK[i, f], y_IK[j, f]
            gx = reg * xf - e * (yi - yj)
            gi = reg * yi - e * xf
            gj = reg * yj + e * xf
            sum_u += gx * gx
            sum_i += gi * gi
            sum_j += gj * gj
            x_UK[u, f] = xf - eta_u * gx
            y_IK[i, f] = yi - eta_i * gi
            y_IK[j, f] = yj - eta_j * gj
        slots_u[u, 0, 0] += sum_u * inverse_k
        slots_i[i, 0, 0] += sum_i * inverse_k
        slots_i[j, 0, 0] += sum_j * inverse_k
        gi, gj = reg_bias * b_I[i] - e, reg_bias * b_I[j] + e
        b_I[i] -= lr / np.sqrt(slots_i[i, 0, 1]) * gi
        b_I[j] -= lr / np.sqrt(slots_i[j, 0, 1]) * gj
        slots_i[i, 0, 1] += gi * gi
        slots_i[j, 0, 1] += gj * gj
    return total, count

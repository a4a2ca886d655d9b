"""Predict the ratings of a block from a run's state: biases, factors and time effects; and fit the time effects.

Time-aware biases are a user's mood on one day and an item's standing in one part of time. Koren 2009, "Collaborative
filtering with temporal dynamics": b_u(t) = b_u + b_{u,day}, b_i(t) = b_i + b_{i,bin}. An effect is the mean of what
the rest of the model leaves of its ratings, shrunk as if `strength` more ratings without effect had been given; a
sampler adds noise to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.latent_factors.run_state import RatingBlocks, Run, held_out_groups, lengths, other_side, pair
from lakerank.spark.array_store import Work
from lakerank.spark.jit import compiled

# Reordered sums and fused operations make the loops vectors; NaN and infinity must stay what they are, or a
# diverging run could not be told from a good one. No "afn": numba 0.68 then calls a function it does not link.
FAST = {"reassoc", "contract", "arcp", "nsz"}


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


def predictions(run: Run, state: str, part: str, p: int, q: int) -> NDArray[np.float32]:
    """Predict each rating of a block by one state, time effects included, not clipped; float32 (N)."""
    block = run.data.get(part, p, q)
    assert block is not None
    users, items = run.store.get(f"{state}/user-{p}"), run.store.get(f"{state}/item-{q}")
    guess = np.full(len(block["ratings"]), run.mean, np.float32)
    predict_pairs(block["rows"], block["cols"], users["factors"], users["bias"], items["factors"], items["bias"], guess)
    shift = _train_shift(run, state, p, q) if part == "train" else held_out_shift(run, state, part, p, q)
    return guess if shift is None else guess + shift


def _train_shift(run: Run, state: str, p: int, q: int) -> NDArray[np.float32] | None:
    if not run.has_time_effects or not run.store.has(f"{state}/effects-user-{p}"):
        return None
    total: NDArray[np.float32] | None = None
    for side, row, turn in (("user", p, q), ("item", q, p)):
        effects = run.store.get(f"{state}/effects-{side}-{row}")["effects"]
        starts = np.cumsum([0, *lengths(run.data, side, row)])
        mine = effect_per_rating(run.data, side, row, effects)[starts[turn] : starts[turn + 1]]
        total = mine if total is None else total + mine
    return total


def squared_error(guess: NDArray[np.floating[Any]], ratings: NDArray[np.float32], data: RatingBlocks) -> float:
    """Sum the squared errors (r − r̂)², r̂ clipped to the rating scale."""
    errors = np.asarray(ratings, np.float64) - np.clip(guess, np.float32(data.low), np.float32(data.high))
    return float(errors @ errors)


def error_of(models: Sequence[tuple[Run, str]], parts: Sequence[str]) -> Work:
    """Return the work that sums the squared error of user block p on each part.

    Args:
        models: (run, state) pairs on the same ratings; their mean is the prediction.
        parts: of train, valid and test.
    """
    data = models[0][0].data

    def work(p: int) -> list[tuple[str, float, int]]:
        found = []
        for part in parts:
            total, n = 0.0, 0
            for q in range(data.blocks):
                block = data.get(part, p, q)
                if block is not None:
                    guess = np.zeros(len(block["ratings"]), np.float32)
                    for run, state in models:
                        guess += predictions(run, state, part, p, q)
                    guess /= np.float32(len(models))
                    total += squared_error(guess, block["ratings"], data)
                    n += len(block["ratings"])
            found.append((part, total, n))
        return found or [("nothing", 0.0, 0)]

    return work


def fit_effects(
    left: NDArray[np.float32],
    groups: NDArray[np.int32],
    size: int,
    strength: float,
    rng: np.random.Generator | None,
    alpha: float = 1.0,
) -> NDArray[np.float32]:
    """Fit the time effects of one block of rows.

    Args:
        left: (N) what they shall explain; groups: (N) which effect, −1 none; size: number of effects.
        strength: ratings' worth of shrinkage (for a sampler, prior precision over α).
        rng: draw from the posterior instead of taking its mean.
        alpha: precision of a rating, for the draw.
    """
    used = groups >= 0
    total = np.bincount(groups[used], left[used], size)
    weight = np.bincount(groups[used], minlength=size) + strength
    effects = total / weight
    if rng is not None:
        effects += rng.standard_normal(size) / np.sqrt(alpha * weight)
    return effects.astype(np.float32)


def effect_of_each(effects: NDArray[np.float32], groups: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Look up the effect each rating falls under; 0 where the group is −1."""
    found: NDArray[np.float32] = np.append(effects, np.float32(0))[groups]
    return found


def store_effects(run: Run, state: str, side: str, p: int, effects: NDArray[np.float32]) -> None:
    """Write a row block's effects, and for each rating of its blocks what they add."""
    run.store.put(f"{state}/effects-{side}-{p}", {"effects": effects})
    shift, start = effect_per_rating(run.data, side, p, effects), 0
    for turn, n in enumerate(lengths(run.data, side, p)):
        if n:
            user, item = pair(side, p, turn)
            run.store.put(f"{state}/shift-{side}-{user}-{item}", {"shift": shift[start : start + n]})
        start += n


def effect_per_rating(data: RatingBlocks, side: str, p: int, effects: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the effects on all training ratings of row block p, block after block; float32 (N)."""
    layout = data.store.get(f"rows/{side}-{p}")
    shift = np.zeros(len(layout["order"]), np.float32)
    shift[layout["order"]] = effect_of_each(effects, layout["groups"])
    return shift


def sgd_effects(run: Run, before: str, after: str, side: str, p: int) -> list[tuple[str, float, int]]:
    """Fit one side's effects of row block p to what the factors of state `after` leave.

    The other side's effects are those of `after` if they are there already, else those of `before`.
    """
    layout, strength = run.data.store.get(f"rows/{side}-{p}"), run.config.reg_time
    across, parts = other_side(side), []
    for turn in range(run.data.blocks):
        user, item = pair(side, p, turn)
        block = run.data.get("train", user, item)
        if block is None:
            continue
        u, i = (run.store.get(f"{after}/{name}") for name in (f"user-{user}", f"item-{item}"))
        guess = np.full(len(block["ratings"]), run.mean, np.float32)
        predict_pairs(block["rows"], block["cols"], u["factors"], u["bias"], i["factors"], i["bias"], guess)
        for state in (after, before):
            if run.store.has(key := f"{state}/shift-{across}-{user}-{item}"):
                guess += run.store.get(key)["shift"]
                break
        parts.append(block["ratings"] - guess)
    left = np.concatenate(parts)[layout["order"]] if parts else np.empty(0, np.float32)
    effects = fit_effects(left, layout["groups"], int(layout["sizes"][0]), strength, None)
    store_effects(run, after, side, p, effects)
    return [("effects", float(np.square(effects, dtype=np.float64).sum()), len(effects))]


def held_out_shift(run: Run, state: str, part: str, p: int, q: int) -> NDArray[np.float32] | None:
    """Sum what the effects of a state add to each held-out rating of block (p, q); None without effects."""
    if not run.has_time_effects:
        return None
    held = run.data.get(part, p, q)
    assert held is not None
    total = np.zeros(len(held["ratings"]), np.float32)
    for side, row in (("user", p), ("item", q)):
        key = f"rows/held-{side}-{part}-{p}-{q}"
        if not run.data.store.has(key):
            run.data.store.put(key, {"groups": held_out_groups(run.data, side, held, row)})
        groups = run.data.store.get(key)["groups"]
        effects = run.store.get(f"{state}/effects-{side}-{row}")["effects"]
        total += effect_of_each(effects, groups)
    return total

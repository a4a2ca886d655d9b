"""Time-aware biases: a user's mood on one day, an item's standing in one part of time.

Koren 2009, "Collaborative filtering with temporal dynamics": b_u(t) = b_u + b_{u,day}, b_i(t) = b_i + b_{i,bin}.
An effect is the mean of what the rest of the model leaves of its ratings, shrunk as if `strength` more ratings
without effect had been given; a sampler adds noise to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.latent_factors.rating_blocks import RatingBlocks
from lakerank.recommend.latent_factors.row_layout import held_groups, lengths, other, pair
from lakerank.recommend.latent_factors.run_state import Run
from lakerank.recommend.latent_factors.sgd_kernels import predict_pairs


def fit_effects(
    left: NDArray[np.float32],
    groups: NDArray[np.int32],
    size: int,
    strength: float,
    rng: np.random.Generator | None,
    alpha: float = 1.0,
) -> NDArray[np.float32]:
    """Effects of one block of rows.

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


def of_groups(effects: NDArray[np.float32], groups: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """The effect each rating falls under; 0 where the group is −1."""
    found: NDArray[np.float32] = np.append(effects, np.float32(0))[groups]
    return found


def store_effects(run: Run, state: str, side: str, p: int, effects: NDArray[np.float32]) -> None:
    """Write a row block's effects, and for each rating of its blocks what they add."""
    run.store.put(f"{state}/effects-{side}-{p}", {"effects": effects})
    shift, start = per_rating(run.data, side, p, effects), 0
    for turn, n in enumerate(lengths(run.data, side, p)):
        if n:
            user, item = pair(side, p, turn)
            run.store.put(f"{state}/shift-{side}-{user}-{item}", {"shift": shift[start : start + n]})
        start += n


def per_rating(data: RatingBlocks, side: str, p: int, effects: NDArray[np.float32]) -> NDArray[np.float32]:
    """The effects on all training ratings of row block p, block after block."""
    layout = data.store.get(f"rows/{side}-{p}")
    shift = np.zeros(len(layout["order"]), np.float32)
    shift[layout["order"]] = of_groups(effects, layout["groups"])
    return shift


def sgd_effects(run: Run, before: str, after: str, side: str, p: int) -> list[tuple[str, float, int]]:
    """Fit one side's effects of row block p to what the factors of state `after` leave.

    The other side's effects are those of `after` if they are there already, else those of `before`.
    """
    layout, strength = run.data.store.get(f"rows/{side}-{p}"), run.config.reg_time
    across, parts = other(side), []
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


def held_shift(run: Run, state: str, part: str, p: int, q: int) -> NDArray[np.float32] | None:
    """What the effects of a state add to each held-out rating of block (p, q); None without effects."""
    if not run.timed:
        return None
    held = run.data.get(part, p, q)
    assert held is not None
    total = np.zeros(len(held["ratings"]), np.float32)
    for side, row in (("user", p), ("item", q)):
        key = f"rows/held-{side}-{part}-{p}-{q}"
        if not run.data.store.has(key):
            run.data.store.put(key, {"groups": held_groups(run.data, side, held, row)})
        groups = run.data.store.get(key)["groups"]
        effects = run.store.get(f"{state}/effects-{side}-{row}")["effects"]
        total += of_groups(effects, groups)
    return total

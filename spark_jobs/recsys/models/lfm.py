"""Latent factors by distributed SGD: R ≈ μ + b_u + b_i + P·Qᵀ over the observed ratings only.

Ratings are divided into B × B blocks, by user and by item. A stratum is B blocks that share no user and no
item, so B workers can train it at the same time without seeing each other's rows; B strata make an epoch and
the item factors move on between them (DSGD; Gemulla, Nijkamp, Haas and Sismanis 2011, "Large-scale matrix
factorization with distributed stochastic gradient descent"). The rating blocks stay in a `BlockStore`; Spark
ships only their names, one small job per stratum.

Every step is determined by the settings and the data: order within a block is a hash of user, item and seed,
strata and tiles are visited in seeded order, and each step writes new files. So a run that was killed goes on
from its last finished epoch to bitwise the same factors (same block count, same machine type).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.lake.blocks import BlockStore
from spark_jobs.lake.errors import UserError
from spark_jobs.lake.progress import progress
from spark_jobs.recsys.models.lfm_config import LfmConfig, parse_init
from spark_jobs.recsys.models.lfm_workers import Step, Work, factor_frame, initialise, on_workers, scorer
from spark_jobs.recsys.models.rating_blocks import Data, prepare

__all__ = ["Epoch", "LfmConfig", "Trained", "learning_rate", "train"]


@dataclass(frozen=True)
class Epoch:
    """What one pass did. RMSEs are in rating units; None where that part is empty."""

    epoch: int
    lr: float
    train_rmse: float
    valid_rmse: float | None
    test_rmse: float | None
    seconds: float
    updates_per_second: float


@dataclass(frozen=True)
class Trained:
    """Factors of the kept epoch, with the curve that led there.

    Attributes:
        user_factors: frame (user_id, bias float, factors array<float>).
        item_factors: frame (item_id, bias float, factors array<float>).
        mean: μ, 0 without biases.
        train_rmse, valid_rmse, test_rmse: of the kept factors.
    """

    user_factors: DataFrame
    item_factors: DataFrame
    mean: float
    low: float
    high: float
    epoch: int
    history: list[Epoch]
    train_rmse: float
    valid_rmse: float | None
    test_rmse: float | None
    resumed_from: int


def learning_rate(config: LfmConfig, history: list[Epoch]) -> float:
    """η of the epoch after `history`."""
    if config.lr_schedule == "exponential":
        return float(config.lr * config.lr_decay ** (len(history) / config.lr_decay_steps))
    if config.lr_schedule == "bold-driver" and len(history) >= 2:
        better = history[-1].train_rmse < history[-2].train_rmse
        return history[-1].lr * (1.05 if better else 0.5)
    return history[-1].lr if config.lr_schedule == "bold-driver" and history else config.lr


def _require_convergence(history: list[Epoch], data: Data, config: LfmConfig) -> None:
    """Stop a run whose error is no number, or is growing far beyond the rating scale."""
    rmse, earlier = history[-1].train_rmse, [epoch.train_rmse for epoch in history[:-1]]
    far = rmse > 2 * (data.high - data.low + 1) and bool(earlier) and rmse > 2 * min(earlier)
    if not np.isfinite(rmse) or far:
        raise UserError(
            f"training diverged in epoch {history[-1].epoch} (train RMSE {rmse:.3g}): lower --lr (now "
            f"{history[-1].lr:g}) or raise --reg (now {config.reg:g})"
        )


def _rmse(sums: dict[str, tuple[float, int]], part: str) -> float | None:
    total, n = sums.get(part, (0.0, 0))
    return float(np.sqrt(total / n)) if n else None


def _run_epoch(
    spark: SparkSession,
    config: LfmConfig,
    data: Data,
    store: BlockStore,
    number: int,
    lr: float,
    held: tuple[str, ...],
) -> Epoch:
    """One pass: B strata in random order, then the error on what is held out."""
    blocks, before, error, count = data.blocks, f"epoch-{number - 1}", 0.0, 0
    score = scorer(store, f"epoch-{number}", blocks, data.mean, data.low, data.high, held)
    shifts = np.random.default_rng([config.seed, 3, number]).permutation(blocks)
    begun = time.perf_counter()
    for turn, shift in enumerate(shifts, start=1):
        after = f"epoch-{number}" if turn == blocks else f"epoch-{number}-step-{turn}"
        step = Step(store, config, blocks, data.mean, before, after, number, int(shift), lr)
        # One block is trained and scored by one task; several must all be trained before any can be scored.
        sums = on_workers(spark, blocks, step.run if blocks > 1 else _one_after_the_other(step.run, score))
        error, count = error + sums["train"][0], count + sums["train"][1]
        before = after
    seconds = time.perf_counter() - begun
    if blocks > 1 and held:
        sums = on_workers(spark, blocks, score)
    return Epoch(
        epoch=number,
        lr=lr,
        train_rmse=float(np.sqrt(error / count)),
        valid_rmse=_rmse(sums, "valid"),
        test_rmse=_rmse(sums, "test"),
        seconds=seconds,
        updates_per_second=count / seconds,
    )


def _one_after_the_other(first: Work, second: Work) -> Work:
    return lambda p: first(p) + second(p)


def train(
    ratings: DataFrame, config: LfmConfig, store: BlockStore, on_epoch: Callable[[Epoch], None] = lambda _: None
) -> Trained:
    """Fit the model, or go on with a fit that the store has begun.

    Args:
        ratings: the `ratings` relation with `part`: train, valid (for early stopping) or test.
        config: settings; a store belongs to one combination of settings (but for `epochs`) and ratings.
        store: empty for a new fit. After each epoch it holds what is needed to go on from there.
        on_epoch: called after each epoch of this call.

    Raises:
        UserError: no training ratings, a bad `init`, or the run diverged.
    """
    parse_init(config.init)
    spark = ratings.sparkSession
    saved = store.noted("progress.json") or {"history": [], "best": 0, "blocks": 0}
    # A run goes on with the blocks it began with, wherever it goes on: its factors lie in that many pieces.
    data = prepare(ratings, store, config.blocks or saved["blocks"], config.seed)
    if not config.bias:
        data = replace(data, mean=0.0)
    blocks = data.blocks
    held = tuple(part for part in ("valid", "test") if data.counts.get(part))

    history = [Epoch(**line) for line in saved["history"]]
    best: int = saved["best"]
    if not history:
        store.drop("epoch-0")  # may be half there
        on_workers(spark, blocks, initialise(store, config, data))
    resumed_from = len(history)
    _forget_all_but(store, {0 if not history else history[-1].epoch, best})

    with progress(config.epochs, "training", "epoch") as meter:
        meter.update(min(resumed_from, config.epochs))
        for number in range(resumed_from + 1, config.epochs + 1):
            if _should_stop(config, history, best):
                break
            line = _run_epoch(spark, config, data, store, number, learning_rate(config, history), held)
            history.append(line)
            _require_convergence(history, data, config)
            best = _best_epoch(history, best, config)
            note = {"history": [vars(epoch) for epoch in history], "best": best, "blocks": blocks}
            store.note("progress.json", note)
            _forget_all_but(store, {number, best})
            on_epoch(line)
            shown = {"train": line.train_rmse, "valid": line.valid_rmse, "test": line.test_rmse}
            text = " ".join(f"{part} {rmse:.4f}" for part, rmse in shown.items() if rmse is not None)
            meter.set_postfix_str(text, refresh=False)
            meter.update(1)

    kept = best if config.early_stop else (history[-1].epoch if history else 0)
    final = f"epoch-{kept}"
    score = scorer(store, final, blocks, data.mean, data.low, data.high, ("train", *held))
    sums = on_workers(spark, blocks, score)
    return Trained(
        user_factors=factor_frame(spark, store, final, "user", blocks, data.users),
        item_factors=factor_frame(spark, store, final, "item", blocks, data.items),
        mean=data.mean,
        low=data.low,
        high=data.high,
        epoch=kept,
        history=history,
        train_rmse=_rmse(sums, "train") or 0.0,
        valid_rmse=_rmse(sums, "valid"),
        test_rmse=_rmse(sums, "test"),
        resumed_from=resumed_from,
    )


def _best_epoch(history: list[Epoch], best: int, config: LfmConfig) -> int:
    """The epoch to keep: the lowest validation RMSE when stopping early, else the newest."""
    newest = history[-1]
    if not config.early_stop or newest.valid_rmse is None:
        return newest.epoch
    former = history[best - 1].valid_rmse if best else None
    return newest.epoch if former is None or newest.valid_rmse < former else best


def _should_stop(config: LfmConfig, history: list[Epoch], best: int) -> bool:
    return bool(config.early_stop and history and history[-1].epoch - best >= config.early_stop)


def _forget_all_but(store: BlockStore, epochs: set[int]) -> None:
    """Drop states of other epochs and of strata in between, finished or not."""
    keep = {f"epoch-{epoch}" for epoch in epochs}
    store.drop_where(lambda name: name.startswith("epoch-") and name not in keep)

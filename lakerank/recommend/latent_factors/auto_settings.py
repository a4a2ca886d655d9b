"""Choose regularisation, learning rate and length of a training on validation ratings, by a short search.

How much L2 is best and after how many epochs to stop depend on the ratings, but hardly on the number of factors: with 8
factors and with 128 the same settings win, at the same epoch. So the search trains small models (`SEARCH_FACTORS`) on
most of the training ratings, each until the error on the rest rises, and the model that was asked for is trained once,
on all of them, with what was found. It goes from one L2 weight to twice or half of it for as long as that is better,
at a high learning rate, and compares the best with a lower rate in the end.

Its cost is bounded by that of the training itself: `BUDGET` times the epochs that a training has where nothing is
chosen, an epoch of K factors counting K + `OVERHEAD`. The decisions, with figures, are in docs/adr/0045.

A Gibbs sampler has only its length to choose (`choose_sweeps`): a chain runs without the validation ratings until its
error on them stops falling, and another one goes on from there with all ratings.

Preferences (`ials`) have two weights to choose (`choose_weights`), which small models find in the same way, by how they
rank what was held out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from lakerank.cli.settings import NOTHING
from lakerank.recommend.latent_factors.build_blocks import scramble
from lakerank.recommend.latent_factors.config import MODELS, LfmConfig
from lakerank.recommend.latent_factors.run_state import PARTS, RatingBlocks
from lakerank.spark.array_store import Block, BlockStore, Runner

SEARCH_FACTORS = 16
FEWEST_RATINGS = 5_000  # of training; with fewer, chance chooses
BUDGET = 1.0  # of the epochs of a training where nothing is chosen
OVERHEAD = 8  # what an epoch costs besides its factors, in factors
FIRST_REG, STEP = 0.05, 2.0
LOWEST_REG, HIGHEST_REG = 0.003, 0.8
# The first rate searches, as it needs half of the epochs; the second is compared with it in the end.
RATES = {"adagrad": (0.1, 0.05), "sgd": (0.02, 0.01), "adam": (0.004, 0.002)}
AS_GOOD = 2e-3  # of the error: a lower rate that is no more than this worse is taken, as many factors gain more by it
PATIENCE = 2  # epochs without a better error, after which a trial ends
MOST_EPOCHS = 40
WEIGHT_FACTORS, WEIGHT_EPOCHS, WEIGHT_STEPS = 32, 8, 2  # of a trial of `ials`, a seventh of its usual training
AS_GOOD_RANKING = 0.02  # of nDCG@10: small models of few epochs order close weights otherwise than large ones do
FEWEST_SWEEPS = 20  # that the error is watched for
GAIN = 3e-4  # of the error: what a fifth of the sweeps must bring for the chain to go on
MOST_SWEEPS = 600
FEWEST_SAMPLES = 100  # of the chain that goes on with all ratings
SECOND_BURN_IN = 10  # sweeps in which a chain that goes on takes in the ratings that were held out


@dataclass(frozen=True)
class TrialOutcome:
    """What a short training reached.

    Attributes:
        reg, lr: its settings.
        epochs: after how many epochs its error was lowest.
        error: RMSE of the validation ratings then; infinity if it diverged.
        trained: epochs that it took.
    """

    reg: float
    lr: float
    epochs: int
    error: float
    trained: int


TrainTrial = Callable[[LfmConfig], tuple[list[float], int]]  # settings → validation RMSEs by epoch, and which counts


def choose_settings(config: LfmConfig, train_trial: TrainTrial) -> tuple[dict[str, Any], list[TrialOutcome]]:
    """Search for the settings of SGD that `config` leaves open; return them by name, and the trials.

    Args:
        config: what will be trained; `chosen` names what is open.
        train_trial: trains with some settings on a part of the ratings; raises `UserError` if that diverges.
    """
    fixed_length = "epochs" not in config.chosen
    usual = int(MODELS[config.model]["epochs"])
    cost_of_all = BUDGET * (config.epochs if fixed_length else usual) * (config.factors + OVERHEAD)
    k = min(SEARCH_FACTORS, config.factors)
    left = cost_of_all / (k + OVERHEAD)  # epochs
    rates = RATES[config.optimizer] if "lr" in config.chosen else (config.lr,)
    found: dict[tuple[float, float], TrialOutcome] = {}

    def trial(reg: float, lr: float) -> TrialOutcome | None:
        """Train with these settings; None if that is more than may be spent."""
        nonlocal left
        known = found.get((reg, lr))
        if known is not None:
            return known
        limit = config.epochs if fixed_length else int(min(MOST_EPOCHS, left))
        if (found and limit > left) or limit < 1:
            return None
        settings = replace(
            config,
            auto=NOTHING,
            factors=k,
            average=1,
            reg=reg,
            lr=lr,
            epochs=limit,
            early_stop=0 if fixed_length else PATIENCE,
        )
        try:
            curve, best = train_trial(settings)
            outcome = TrialOutcome(reg, lr, best, curve[best - 1], len(curve))
        except UserError as error:
            if "diverged" not in str(error):
                raise
            outcome = TrialOutcome(reg, lr, 1, float("inf"), limit)
        left -= outcome.trained
        found[reg, lr] = outcome
        return outcome

    def better(one: TrialOutcome | None, other: TrialOutcome | None) -> bool:
        return one is not None and (other is None or one.error < other.error)

    best = trial(FIRST_REG if "reg" in config.chosen else config.reg, rates[0])
    if "reg" in config.chosen:
        for factor in (1 / STEP, STEP):
            while best is not None and LOWEST_REG <= best.reg * factor <= HIGHEST_REG:
                further = trial(best.reg * factor, best.lr)
                if not better(further, best):
                    break
                best = further
            if best is not None and best.reg < FIRST_REG:
                break  # less is better, so more is not
    for lr in rates[1:]:
        if best is not None and not fixed_length and best.epochs * best.lr / lr > left:
            break  # it would not come to its end
        slower = trial(best.reg if best else FIRST_REG, lr)
        if slower is not None and (best is None or slower.error < best.error * (1 + AS_GOOD)):
            best = slower
    if best is None or not np.isfinite(best.error):
        return {}, list(found.values())
    values = {"reg": best.reg, "lr": best.lr, "epochs": best.epochs}
    return {name: values[name] for name in config.chosen}, list(found.values())


@dataclass(frozen=True)
class WeightsOutcome:
    """What a short training of preferences reached: its settings, and nDCG@10 of what was held out."""

    reg: float
    unobserved: float
    ndcg: float


def choose_weights(
    config: LfmConfig, open_: tuple[str, ...], train_trial: Callable[[LfmConfig], float]
) -> tuple[dict[str, float], list[WeightsOutcome]]:
    """Search for λ and α₀ of `ials`, from those that fit the size of the ratings; return them by name, and the trials.

    λ is doubled or halved for as long as that ranks better, at most `WEIGHT_STEPS` times; then α₀ is, and λ the other
    way, as their product decides how many factors matter (on check-ins the best weights lie along such a line). Small
    models of few epochs are compared, for no more than `BUDGET` allows. What fits the size is kept unless other weights
    rank `AS_GOOD_RANKING` better, as a held-out part is small.

    Args:
        config: what will be trained, with both weights.
        open_: of `reg` and `unobserved`.
        train_trial: trains with some settings on a part of the ratings; returns nDCG@10 of the rest.
    """
    small = replace(
        config,
        auto=NOTHING,
        factors=min(WEIGHT_FACTORS, config.factors),
        epochs=min(WEIGHT_EPOCHS, max(config.epochs, 1)),
        early_stop=0,
    )
    most = BUDGET * config.epochs * (config.factors + OVERHEAD) / (small.epochs * (small.factors + OVERHEAD))
    found: list[WeightsOutcome] = []

    def trial(reg: float, unobserved: float) -> WeightsOutcome:
        found.append(WeightsOutcome(reg, unobserved, train_trial(replace(small, reg=reg, unobserved=unobserved))))
        return found[-1]

    if most < 3:  # nothing could be compared
        return {}, []
    first = best = trial(config.reg, config.unobserved)
    for name in open_:
        for factor in (STEP, 1 / STEP):
            start = best
            for _ in range(WEIGHT_STEPS):
                values = {"reg": best.reg, "unobserved": best.unobserved}
                values[name] *= factor
                if name == "unobserved" and "reg" in open_:
                    values["reg"] /= factor
                if values["unobserved"] > 1 or len(found) + 1 > most:
                    break
                further = trial(**values)
                if further.ndcg <= best.ndcg:
                    break
                best = further
            if best is not start:
                break  # it is better this way, so it is not that way
    if best.ndcg < first.ndcg * (1 + AS_GOOD_RANKING):
        best = first
    return {"reg": best.reg, "unobserved": best.unobserved}, found


def validation_share(n: int) -> float:
    """Return the share of n training ratings that a search holds out: a tenth of few, a twentieth of many."""
    return float(np.clip(20_000 / max(n, 1), 0.05, 0.1))


def hold_out(data: RatingBlocks, store: BlockStore, share: float, seed: int, runner: Runner) -> RatingBlocks:
    """Divide the training ratings of blocks once more: into training and validation; the other parts are left out.

    Which are held out depends on the numbers of user and item and the seed. Numbers of users and items stay, also of
    those that are left without training ratings.

    Args:
        data: blocks of ratings.
        store: where the new blocks go.
        share: of the training ratings, for validation.
        seed: another seed holds out others.
        runner: does the work for each user block.
    """
    store.drop("")

    def divide(p: int) -> list[tuple[str, float, int]]:
        told = []
        for q in range(data.blocks):
            block = data.get("train", p, q)
            held = np.zeros(0, np.bool_) if block is None else _drawn(data, block, p, q, share, seed)
            for part, mine in (("train", ~held), ("valid", held)):
                n = int(mine.sum())
                told.append((part, 0.0, n) if n else (f"empty {part}-{p}-{q}", 0.0, 1))
                if block is not None and n:
                    store.put(f"ratings/{part}-{p}-{q}", _rows_of(block, mine))
        return told

    sums = runner(divide)
    empty = frozenset(name.removeprefix("empty ") for name in sums if name.startswith("empty "))
    counts = {part: n for part, (_, n) in sums.items() if part in PARTS}
    return replace(data, root=store.root, counts=counts, empty=empty)


def _drawn(data: RatingBlocks, block: Block, p: int, q: int, share: float, seed: int) -> NDArray[np.bool_]:
    u = np.asarray(block["rows"], np.int64) * data.blocks + p
    i = np.asarray(block["cols"], np.int64) * data.blocks + q
    keys = scramble((u * data.n_items + i).astype(np.uint64), seed + 1)
    return np.asarray((keys >> np.uint64(11)).astype(np.float64) / float(1 << 53) < share)


def _rows_of(block: Block, chosen: NDArray[np.bool_]) -> Block:
    """Return some ratings of a block, in their order; its tiles shrink."""
    before = np.concatenate([[0], np.cumsum(chosen)])
    rows: Block = {name: np.asarray(values)[chosen] for name, values in block.items() if name != "tiles"}
    starts = before[np.asarray(block["tiles"])]
    rows["tiles"] = np.unique(starts).astype(np.int64)
    return rows


def describe_choice(settings: dict[str, Any], trials: list[TrialOutcome]) -> str:
    """Say what was chosen and how, in one line."""
    if not settings:
        return "nothing could be chosen: the defaults are taken"
    words = {"reg": "--reg {:g}", "lr": "--lr {:g}", "epochs": "--epochs {}"}
    told = " ".join(words[name].format(value) for name, value in settings.items())
    best = min(trials, key=lambda trial: trial.error)
    epochs = sum(trial.trained for trial in trials)
    return f"chose {told} by {len(trials)} short trainings ({epochs} epochs), validation RMSE {best.error:.4f}"


def stops_falling(curve: list[float | None], burn_in: int) -> bool:
    """Tell whether the error of a chain's mean has stopped falling: the last fifth of its sweeps brought hardly any."""
    n = len(curve)
    window = max(FEWEST_SWEEPS, n // 5)
    if n < burn_in + 2 * window or curve[-1] is None:
        return False
    before = curve[n - 1 - window]
    return before is None or before - curve[-1] < GAIN * curve[-1]

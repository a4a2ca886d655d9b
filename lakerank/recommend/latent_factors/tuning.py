"""Search for settings of a latent-factor model: what may be tried, which settings come next, how a trial went.

A point of the search space is a dictionary of numbers, and `to_config` makes it an `LfmConfig`. Optuna proposes the
points; it is an extra of its own, so it is imported where it is needed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import yaml
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from scipy import sparse

from lakerank.cli.errors import UserError
from lakerank.cli.progress import print_above, progress
from lakerank.cli.settings import NOTHING
from lakerank.recommend.latent_factors import als, sgd
from lakerank.recommend.latent_factors.build_blocks import arrange, scramble
from lakerank.recommend.latent_factors.config import LfmConfig, parse_init
from lakerank.recommend.latent_factors.predictions import predict_pairs
from lakerank.recommend.latent_factors.run_state import RatingBlocks
from lakerank.recommend.latent_factors.train import Epoch, train
from lakerank.spark.array_store import Block, BlockStore

if TYPE_CHECKING:
    import optuna

# The first trials are drawn at random and end by themselves; TPE and the pruner need something to compare with.
RANDOM_TRIALS = 10
UNPRUNED_TRIALS = 4
UNPRUNED_EPOCHS = 4  # the first epochs say little about the last
DIGITS = 3  # significant digits of a setting: finer differences are noise, and a settings file is read by people


@dataclass(frozen=True)
class Range:
    """The values a setting may take: from `low` to `high`, both included.

    Attributes:
        log: searched by ratio rather than by difference; `low` is above 0.
        whole: whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


# A step of 1 means something else to each optimiser.
_LR = {"adagrad": Range(0.02, 0.5, log=True), "sgd": Range(0.001, 0.1, log=True), "adam": Range(1e-4, 0.02, log=True)}
_BY_SGD = {
    "lr_decay": Range(0.9, 1.0),  # per epoch; 1 is a constant rate
    "reg": Range(0.005, 0.5, log=True),
    "reg_bias": Range(1e-4, 0.1, log=True),
    "init_sigma": Range(0.02, 1.0, log=True),  # SIGMA of `--init normal:SIGMA`
}
_IMPLICIT = {"reg_implicit": Range(0.5, 50.0, log=True)}
_TIME = {"reg_time": Range(1.0, 100.0, log=True)}
SPACES: dict[str, Mapping[str, Range]] = {
    "mf": _BY_SGD,
    "svdpp": _BY_SGD | _IMPLICIT,
    "timesvdpp": _BY_SGD | _IMPLICIT | _TIME,
    "bayesian": {},  # its variances are sampled too: only the number of factors is left to choose
}


def parse_factors(text: str) -> Range:
    """Parse `LOW:HIGH`, searched by ratio, or one number, which is fixed.

    Raises:
        UserError: anything else.
    """
    low, _, high = text.partition(":")
    try:
        numbers = int(low), int(high or low)
    except ValueError:
        numbers = (0, 0)
    if not 0 < numbers[0] <= numbers[1]:
        raise UserError(f"--factors {text}: must be a whole number above 0, or LOW:HIGH to search, e.g. 16:128")
    return Range(*numbers, log=True, whole=True)


def search_space(model: str, optimizer: str, factors: Range) -> dict[str, Range]:
    """Return the ranges by name, in a fixed order: settings of `LfmConfig`, and `init_sigma`."""
    return {"factors": factors} | ({} if model == "bayesian" else {"lr": _LR[optimizer]}) | dict(SPACES[model])


def to_config(point: Mapping[str, float], base: LfmConfig) -> LfmConfig:
    """Return `base` with a point's settings, rounded to `DIGITS` significant digits."""
    changes: dict[str, float | str] = {"auto": NOTHING}
    for name, value in point.items():
        number = value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
        if name == "init_sigma":
            changes["init"] = f"normal:{number:g}"
        else:
            changes[name] = number
    if "lr_decay" in changes:
        changes |= {"lr_schedule": "exponential", "lr_decay_steps": 1.0}
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]  # each by its own type


def common_config(model: str, optimizer: str, epochs: int, early_stop: int, seed: int, blocks: int) -> LfmConfig:
    """Return the settings that all trials have in common; samples of the Bayesian model end by no early stop."""
    by_sgd = model != "bayesian"
    return LfmConfig(
        model=model,
        auto=NOTHING,
        optimizer=optimizer,
        epochs=epochs,
        early_stop=early_stop if by_sgd else 0,
        average=1 if by_sgd else LfmConfig(model).average,
        seed=seed,
        blocks=blocks,
    )


def default_point(space: Mapping[str, Range], model: str) -> dict[str, float]:
    """Return `LfmConfig`'s defaults as a point of the space; what lies outside is left out."""
    default = LfmConfig(model)
    _, (sigma, *_) = parse_init(default.init)
    point = {**dataclasses.asdict(default), "init_sigma": sigma, "lr_decay": 1.0}
    return {name: point[name] for name, allowed in space.items() if point[name] in allowed}


def as_yaml(config: LfmConfig, split: str, comment: str) -> str:
    """Write a settings file of the lfm job, as text.

    Args:
        config: what to train.
        split: the job's `--split`, so that the file gives the test RMSE that tuning printed.
        comment: its first line.
    """
    settings = {key.replace("_", "-"): value for key, value in dataclasses.asdict(config).items()} | {"split": split}
    return f"# {comment}\n{yaml.safe_dump(settings, sort_keys=False)}"


MOST_COMPARED = 200_000  # training ratings up to which candidates are tried: seconds in one process
FEWEST_HELD_OUT = 20
HELD_OUT = 0.1


def better_of(candidates: Sequence[LfmConfig], data: RatingBlocks) -> LfmConfig:
    """Return the settings that predict a tenth of the training ratings best after training on the others.

    Few ratings are tried in this process, in one block. Of so few that a tenth says nothing the first candidate is
    taken, of more than `MOST_COMPARED` the last, untried.

    Args:
        candidates: of the models `als` and `mf`.
        data: blocks with training ratings.
    """
    n = data.counts["train"]
    if len(candidates) == 1 or n > MOST_COMPARED:
        return candidates[-1]
    u, i, r = training_pairs(data)
    held = scramble((u.astype(np.int64) * data.n_items + i).astype(np.uint64), 7) < np.uint64(HELD_OUT * 2**64)
    # Nothing can be said of users and items that the others do not have.
    held &= np.isin(u, u[~held]) & np.isin(i, i[~held])
    if np.count_nonzero(held) < FEWEST_HELD_OUT:
        return candidates[0]
    known = (u[~held], i[~held], r[~held])
    errors = []
    for config in candidates:
        users, items, mean = _fit_in_process(config, data, *known)
        guess = np.full(np.count_nonzero(held), mean, np.float32)
        predict_pairs(u[held], i[held], users["factors"], users["bias"], items["factors"], items["bias"], guess)
        if config.bias:
            guess = np.clip(guess, known[2].min(), known[2].max())
        error = float(np.square(guess.astype(np.float64) - r[held]).mean())
        errors.append(error if np.isfinite(error) else np.inf)
    return candidates[int(np.argmin(errors))]


def training_pairs(data: RatingBlocks) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Return the training ratings by number of user and item, and the ratings, (N) each."""
    found = []
    for p in range(data.blocks):
        for q in range(data.blocks):
            if (block := data.get("train", p, q)) is not None:
                users, items = block["rows"] * data.blocks + p, block["cols"] * data.blocks + q
                found.append((users.astype(np.int32), items.astype(np.int32), block["ratings"]))
    u, i, r = (np.concatenate(column) for column in zip(*found, strict=True))
    return u, i, r


def _fit_in_process(
    config: LfmConfig, data: RatingBlocks, u: NDArray[np.int32], i: NDArray[np.int32], r: NDArray[np.float32]
) -> tuple[Block, Block, float]:
    """Train on ratings in memory, by one block; return the users, the items and μ."""
    rng = np.random.default_rng(config.seed)
    users, items = (als.initial_factors(n, config, rng) for n in (data.n_users, data.n_items))
    sides: tuple[Block, Block] = tuple(  # type: ignore[assignment]
        {"factors": rows, "bias": np.zeros(len(rows), np.float32)} for rows in (users, items)
    )
    if config.by_least_squares:
        csr = sparse.csr_matrix((r, (u, i)), shape=(data.n_users, data.n_items))
        layouts = csr.T.tocsr(), csr
        for _ in range(config.epochs):
            for layout, theirs, mine in zip(layouts, (users, items), (items, users), strict=True):
                at = layout.indptr.astype(np.int64), layout.indices.astype(np.int32), layout.data
                als.solve_side(config, *at, theirs, als.gram_of(theirs), mine)
        return *sides, 0.0
    mean = float(r.mean(dtype=np.float64)) if config.bias else 0.0
    for side in sides:
        side |= sgd.initial_slots(len(side["bias"]), config)
    block = arrange(u, i, r, 1, data.n_items)
    for _ in range(config.epochs):
        sgd.train_in_place(*sides, block, config, mean, config.lr, rng)
    return *sides, mean


@dataclass(frozen=True)
class Trial:
    """One trial: a row of `lfm_trials` without the study's name.

    Attributes:
        state: complete, pruned or failed.
        params: the point searched.
        config: what was trained.
        valid_rmse, epoch: of the model that `train` kept; of a pruned trial, the best so far.
        curve: validation RMSE after each epoch.
    """

    trial: int
    state: str
    params: dict[str, float]
    config: LfmConfig
    valid_rmse: float | None
    epoch: int | None
    curve: list[float]
    seconds: float
    reason: str | None = None


@dataclass(frozen=True)
class Study:
    """A search.

    Attributes:
        space: the range of each setting that is searched.
        base: what all trials have in common.
        trials: how many to make, those of a search that goes on included.
        timeout: begin no further trial after so many seconds; 0: no limit.
    """

    space: Mapping[str, Range]
    base: LfmConfig
    trials: int
    timeout: float = 0.0


def require_optuna() -> None:
    """Make sure that Optuna can be imported.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna  # noqa: F401  # an extra: who does not tune does without
    except ImportError as error:
        raise UserError(f"tuning needs Optuna ({error}): pip install 'lakerank[tune]'") from error


def ask(study: Study, seen: Sequence[Trial]) -> optuna.Trial:
    """Propose the trial that follows those seen.

    It depends on them, the seed and nothing else, so a search can be resumed.
    Settings are proposed by the tree-structured Parzen estimator (Bergstra, Bardenet, Bengio and Kégl 2011,
    "Algorithms for hyper-parameter optimization"); the first trial takes the defaults.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.IntDistribution(int(r.low), int(r.high), log=r.log)
        if r.whole
        else optuna.distributions.FloatDistribution(r.low, r.high, log=r.log)
        for name, r in study.space.items()
    }
    seed = int(np.random.SeedSequence([study.base.seed, len(seen)]).generate_state(1)[0])
    search = optuna.create_study(
        sampler=optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=UNPRUNED_EPOCHS),
    )
    for trial in seen:
        # Optuna leaves failed trials out of account, and TPE would go on exploring where training diverges. A pruned
        # trial without a curve is to it the worst there is.
        curve = [] if trial.state == "failed" else trial.curve
        complete = trial.state == "complete"
        search.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED,
                value=trial.valid_rmse if complete else None,
                params=dict(trial.params),
                distributions=distributions,
                intermediate_values=dict(enumerate(curve, start=1)),
            )
        )
    if not seen:
        search.enqueue_trial(default_point(study.space, study.base.model))
    return search.ask(distributions)


def run_trial(study: Study, number: int, asked: optuna.Trial, ratings: DataFrame, store: BlockStore) -> Trial:
    """Train with the settings asked for, as long as it is worth it.

    Raises:
        UserError: what is wrong with the ratings or flags; a trial that diverges is a result.
    """
    import optuna

    begun = time.perf_counter()
    config = to_config(asked.params, study.base)
    curve: list[float] = []

    def on_epoch(epoch: Epoch) -> None:
        if epoch.valid_rmse is None:
            raise UserError("no validation ratings: raise --valid")
        if not np.isfinite(epoch.valid_rmse):
            return  # `train` will say that it diverged
        curve.append(epoch.valid_rmse)
        asked.report(epoch.valid_rmse, epoch.epoch)
        if asked.should_prune():
            raise optuna.TrialPruned

    # All trials have the same rating blocks; what another one left is not for this one to go on with.
    store.drop_where(lambda key: key != "data")
    state, valid_rmse, kept, reason = "complete", None, None, None
    try:
        trained = train(ratings, config, store.below("trial"), on_epoch, store.below("data"))  # all on the same blocks
        valid_rmse, kept = trained.valid_rmse, trained.epoch
    except optuna.TrialPruned:
        state, valid_rmse, kept = "pruned", min(curve), int(np.argmin(curve)) + 1
    except UserError as error:
        if "diverged" not in str(error):
            raise
        state, reason = "failed", str(error)
    seconds = round(time.perf_counter() - begun, 3)
    return Trial(number, state, dict(asked.params), config, valid_rmse, kept, curve, seconds, reason)


def search(
    study: Study, seen: Sequence[Trial], ratings: DataFrame, store: BlockStore, on_trial: Callable[[Trial], None]
) -> list[Trial]:
    """Try settings until there are as many trials as wanted, or the time is over.

    Args:
        study: what to search.
        seen: trials made before.
        ratings: the `ratings` relation with `part`: train and valid.
        store: for blocks and models.
        on_trial: called with each trial when it ends.

    Returns:
        All trials, those seen included.
    """
    trials = list(seen)
    limit = time.monotonic() + study.timeout if study.timeout else float("inf")
    with progress(study.trials, "tuning", "trial") as meter:
        meter.initial = meter.n = len(trials)  # rate and time left are those of the trials to come
        while len(trials) < study.trials and (not trials or time.monotonic() < limit):
            trial = run_trial(study, len(trials) + 1, ask(study, trials), ratings, store)
            on_trial(trial)
            trials.append(trial)
            best = best_of(trials)
            print_above(describe(trial, best))
            meter.set_postfix_str(f"best {best.valid_rmse:.4f}" if best else "", refresh=False)
            meter.update(1)
    return trials


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial with the lowest RMSE, the earliest of equals."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return min(complete, key=lambda trial: (trial.valid_rmse or 0.0, trial.trial), default=None)


def describe(trial: Trial, best: Trial | None) -> str:
    """Say how a trial went, in one line."""
    settings = " ".join(f"{name} {value:.3g}" for name, value in trial.params.items())
    reached = "" if trial.valid_rmse is None else f", valid RMSE {trial.valid_rmse:.4f} in epoch {trial.epoch}"
    mark = "  <- best" if trial is best else ""
    return f"trial {trial.trial}: {trial.state}{reached} ({trial.seconds:.1f} s): {settings}{mark}"


def score_best(best: Trial, ratings: DataFrame, store: BlockStore) -> float | None:
    """Train the best settings on all but the test ratings, for their best number of epochs; return the test RMSE."""
    store.drop_where(lambda _: True)  # its blocks have other parts
    return train(ratings, final_config(best), store).test_rmse


def final_config(best: Trial) -> LfmConfig:
    """Return the settings for lfm: the validation ratings are training ratings then, so nothing stops it early."""
    return dataclasses.replace(best.config, epochs=best.epoch or 0, early_stop=0)


def plot_columns(
    study: Study, trials: Sequence[Trial]
) -> tuple[list[str], list[float | None], dict[str, list[float]], list[str]]:
    """Return the data of a plot of a search: states, validation RMSEs, settings, and which are searched by ratio."""
    searched = {name: [trial.params[name] for trial in trials] for name, r in study.space.items() if r.low < r.high}
    states, values = [trial.state for trial in trials], [trial.valid_rmse for trial in trials]
    return states, values, searched, [name for name, allowed in study.space.items() if allowed.log]

"""Latent factors: r̂ = μ + b_u + b_i + p_u·q_i over the observed ratings only, by SGD, Gibbs sampling or least squares;
or preferences p_u·q_i over all pairs (`ials`).

Ratings are divided into B × B blocks, by user and by item, which stay in a `BlockStore`; Spark ships only names, a
few small jobs per epoch. With one block the whole loop runs inside a task, and no epoch waits for Spark.

Every step is determined by the settings and the data: blocks are ordered by a hash, strata and tiles visited in seeded
order, and each step writes new files. So a run that was killed goes on from its last finished epoch to bitwise the
same factors (same block count, same machine type).

A finished epoch is sealed with checksums, and flushed to disk as often as that takes little of the time. The state that
was flushed before it is kept beside it: a run whose newest state is damaged goes back to that one.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.progress import progress
from lakerank.cli.settings import NOTHING
from lakerank.recommend.latent_factors import als, bpr, gibbs, sgd
from lakerank.recommend.latent_factors.auto_settings import (
    FEWEST_RATINGS,
    FEWEST_SAMPLES,
    MOST_SWEEPS,
    SECOND_BURN_IN,
    choose_settings,
    choose_weights,
    describe_choice,
    hold_out,
    stops_falling,
    validation_share,
)
from lakerank.recommend.latent_factors.build_blocks import prepare_blocks, unpack_ids
from lakerank.recommend.latent_factors.config import LfmConfig, parse_init
from lakerank.recommend.latent_factors.predictions import effect_of_each, error_of
from lakerank.recommend.latent_factors.run_state import RatingBlocks, Run, make_layouts
from lakerank.recommend.latent_factors.warm_start import WarmStart
from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.array_store import BlockStore, Runner, Sums, in_process, on_workers

_EPOCH = re.compile(r"epoch-(\d+)")  # the name of an epoch's state
ROWS_AT_ONCE = 8192
SECONDS_PER_TASK = 5.0  # with one block: a task does epochs for so long, then the driver shows them
FLUSH_SHARE = 0.01  # of the time may go into flushing states to disk, the last one of a call excepted
CHOICE = "choice.json"  # settings that were chosen on validation ratings
CHAIN = "chain"  # of a sampler whose length is chosen: the samples without the validation ratings
PROGRESS = "progress.json"  # the learning curve, the best epoch, and which states were flushed


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch. RMSEs are in rating units; None where that part is empty, or the model only ranks.

    Of least squares `objective` is the loss per training rating, regularisation included. Of a model that ranks
    `valid_ndcg` and `test_ndcg` are nDCG@10 of what is held out among all items but those of training.
    """

    epoch: int
    lr: float
    train_rmse: float | None
    valid_rmse: float | None
    test_rmse: float | None
    seconds: float
    updates_per_second: float
    objective: float | None = None
    valid_ndcg: float | None = None
    test_ndcg: float | None = None

    @classmethod
    def of(cls, number: int, lr: float, sums: Sums, seconds: float) -> Epoch:
        """Make one from the sums that an epoch returns."""
        count = sums["loss" if "loss" in sums else "train"][1]
        return cls(
            epoch=number,
            lr=lr,
            train_rmse=_rmse(sums, "train"),
            valid_rmse=_rmse(sums, "valid"),
            test_rmse=_rmse(sums, "test"),
            seconds=seconds,
            updates_per_second=count / seconds,
            objective=_mean(sums, "loss"),
            valid_ndcg=_mean(sums, "valid ndcg"),
            test_ndcg=_mean(sums, "test ndcg"),
        )

    @property
    def valid_error(self) -> float | None:
        """What early stopping wants low, on the validation ratings: RMSE, or 1 − nDCG@10; None without them."""
        return self.valid_rmse if self.valid_ndcg is None else 1 - self.valid_ndcg

    def described(self) -> str:
        """Say how good it is, in a few words for the progress bar."""
        shown = {"train": self.train_rmse, "valid": self.valid_rmse, "test": self.test_rmse}
        ranked = {"valid nDCG@10": self.valid_ndcg, "test nDCG@10": self.test_ndcg}
        if self.train_rmse is None:
            shown = {"loss": self.objective}
        return " ".join(f"{part} {value:.4f}" for part, value in (shown | ranked).items() if value is not None)


@dataclass(frozen=True)
class Trained:
    """Factors of the kept epoch, or of several models whose predictions are averaged.

    Attributes:
        user_factors: frame (user_id, bias float, factors array<float>).
        item_factors: frame (item_id, bias float, factors array<float>).
        mean: μ, 0 without biases.
        epoch: the epoch kept (of the first run, the newest sample).
        history: the learning curve of the first run; `curves` has those of all.
        train_rmse, valid_rmse, test_rmse: of the kept factors; None if they only rank.
        ratings: the blocks it was trained on.
        config: the settings it was trained with: what was chosen and what follows the size of the ratings is filled in;
            its `auto` is still what was asked for.
        sweeps: that a sampler made until its error stopped falling; 0 if that was not asked for.
        states: runs and the names of their states that the factors are the mean of.
    """

    user_factors: DataFrame
    item_factors: DataFrame
    mean: float
    low: float
    high: float
    epoch: int
    history: list[Epoch]
    curves: list[list[Epoch]]
    train_rmse: float | None
    valid_rmse: float | None
    test_rmse: float | None
    resumed_from: int
    ratings: RatingBlocks
    config: LfmConfig
    states: list[tuple[Run, str]]
    sweeps: int = 0

    @property
    def kept(self) -> Epoch | None:
        """The line of the learning curve of the epoch kept; None if nothing was trained."""
        return self.history[self.epoch - 1] if self.history and self.epoch else None

    def described(self) -> str:
        """Say how good it is, in a few words."""
        kept = self.kept
        found = {"train RMSE": self.train_rmse, "test RMSE": self.test_rmse}
        if kept is not None and self.train_rmse is None:
            found = {"loss": kept.objective, "valid nDCG@10": kept.valid_ndcg, "test nDCG@10": kept.test_ndcg}
        said = [f"{what} {value:.4f}" for what, value in found.items() if value is not None]
        return ", ".join(said) or "random factors"


def learning_rate(config: LfmConfig, history: Sequence[Epoch]) -> float:
    """Return the learning rate η of the epoch after `history`."""
    if config.lr_schedule == "exponential":
        return float(config.lr * config.lr_decay ** (len(history) / config.lr_decay_steps))
    if config.lr_schedule == "bold-driver" and len(history) >= 2:
        better = _train_error(history[-1]) < _train_error(history[-2])
        return history[-1].lr * (1.05 if better else 0.5)
    return history[-1].lr if config.lr_schedule == "bold-driver" and history else config.lr


def _has_diverged(history: Sequence[Epoch], data: RatingBlocks) -> bool:
    """Return whether the error is no number, or is growing far beyond the rating scale."""
    rmse, earlier = _train_error(history[-1]), [_train_error(epoch) for epoch in history[:-1]]
    if history[-1].train_rmse is None:
        return not np.isfinite(rmse)
    far = rmse > 2 * (data.high - data.low + 1) and bool(earlier) and rmse > 2 * min(earlier)
    return not np.isfinite(rmse) or far


def _train_error(epoch: Epoch) -> float:
    """Return the training RMSE, or the objective of a model that has none."""
    error = epoch.objective if epoch.train_rmse is None else epoch.train_rmse
    return np.inf if error is None else error


def _mean(sums: Sums, part: str) -> float | None:
    total, n = sums.get(part, (0.0, 0))
    return float(total / n) if n else None


def _rmse(sums: Sums, part: str) -> float | None:
    square = _mean(sums, part)
    return None if square is None else float(np.sqrt(max(square, 0.0) if square == square else square))


def _best_epoch(history: Sequence[Epoch], best: int, config: LfmConfig) -> int:
    """Return the epoch to keep: the lowest validation error when stopping early, else the newest."""
    newest = history[-1]
    if not config.early_stop or newest.valid_error is None:
        return newest.epoch
    former = history[best - 1].valid_error if best else None
    return newest.epoch if former is None or newest.valid_error < former else best


def _kept_epochs(config: LfmConfig, history: Sequence[Epoch], best: int) -> list[int]:
    """Return the epoch whose factors make the model: the best one or the last, which has the mean of all samples."""
    return [best if config.early_stop and not config.bayesian else len(history)]


def _is_finished(run: Run, history: Sequence[Epoch], best: int) -> bool:
    config = run.config
    if len(history) >= config.epochs or (history and _has_diverged(history, run.data)):
        return True
    if run.settles:
        return stops_falling([epoch.valid_rmse for epoch in history], config.burn_in)
    return bool(config.early_stop and history and history[-1].epoch - best >= config.early_stop)


def _load_progress(run: Run) -> tuple[list[Epoch], int]:
    """Load the learning curve so far and the best epoch from the store."""
    saved = run.store.read_json(PROGRESS) or {"history": [], "best": 0}
    return [Epoch(**line) for line in saved["history"]], saved["best"]


def _save_progress(run: Run, history: Sequence[Epoch], best: int, flushed: int, earlier: int) -> None:
    """Write the learning curve: the states it tells of are finished.

    Args:
        run: whose curve it is.
        history, best: see `_load_progress`.
        flushed: the newest epoch whose state was flushed to disk.
        earlier: the newest such one before the last epoch; 0: none.
    """
    values = {"history": [vars(epoch) for epoch in history], "best": best, "blocks": run.data.blocks}
    run.store.write_json(PROGRESS, values | {"flushed": flushed, "earlier": earlier})


@dataclass
class Flushes:
    """Decides when a state is flushed to disk: so that flushing takes `FLUSH_SHARE` of the time.

    Attributes:
        seconds: that the last flush took, or is thought to take.
        since: when it ended.
    """

    seconds: float = 0.05
    since: float = field(default_factory=time.perf_counter)

    def seal(self, store: BlockStore, state: str, now: bool = False) -> bool:
        """Seal a state, and flush it first if it is time to; returns whether it was flushed."""
        begun = time.perf_counter()
        due = now or begun - self.since > self.seconds / FLUSH_SHARE
        store.seal(state, due)
        if due:
            self.since = time.perf_counter()
            self.seconds = self.since - begun
        return due


def _train_epochs(run: Run, runner: Runner, seconds: float, flushes: Flushes | None = None) -> None:
    """Do at least one epoch, and more for as long as `seconds` allow; each is stored when it is done."""
    config, began, flushes = run.config, time.perf_counter(), flushes or Flushes()
    history, best = _load_progress(run)
    flushed = int((run.store.read_json(PROGRESS) or {}).get("flushed", 0))
    while not _is_finished(run, history, best):
        number, lr, begun = len(history) + 1, learning_rate(config, history), time.perf_counter()
        if config.by_least_squares:
            sums, lr = als.epoch(run, runner, number), 0.0
        elif config.ranks:
            sums = bpr.epoch(run, runner, number)
        elif config.bayesian:
            sums, lr = gibbs.epoch(run, runner, number), 0.0
        else:
            sums = sgd.epoch(run, runner, number, lr)
        history.append(Epoch.of(number, lr, sums, time.perf_counter() - begun))
        best = _best_epoch(history, best, config)
        last = _is_finished(run, history, best)
        earlier = flushed
        if flushes.seal(run.store, f"epoch-{number}", last):
            flushed = number
        _save_progress(run, history, best, flushed, earlier)
        _drop_old_epochs(run, history, best, earlier)
        if last or time.perf_counter() - began > seconds:
            break


def _drop_old_epochs(run: Run, history: Sequence[Epoch], best: int, earlier: int = 0) -> None:
    """Drop the states no longer needed: of kept epochs all but rows and effects, of others all.

    Args:
        run: whose states they are.
        history, best: the curve, of which the newest state is kept whole.
        earlier: an epoch whose state is kept whole, too, with what a model of that time would be made of.
    """
    whole = {f"epoch-{n}" for n in (len(history), earlier)} - {"epoch-0"}
    if not history:
        whole = {"epoch-0"}
    kept = {f"epoch-{n}" for n in _kept_then(run.config, history, (len(history), earlier))}
    run.store.drop_where(lambda name: name.startswith("epoch-") and name not in kept | whole)
    for name in kept - whole:
        for key in run.store.keys(name):
            if not _is_of_model(key):
                run.store.drop(f"{name}/{key}")


def _kept_then(config: LfmConfig, history: Sequence[Epoch], moments: Sequence[int]) -> set[int]:
    """Return the epochs whose factors made the model when so many epochs were done."""
    kept: set[int] = set()
    for n in moments:
        kept |= set(_kept_epochs(config, history[:n], _best_of(config, history[:n]))) if n else set()
    return kept


def _best_of(config: LfmConfig, history: Sequence[Epoch]) -> int:
    """Return the epoch to keep of a whole curve."""
    if not config.early_stop:
        return len(history)
    best = 0
    for done in range(1, len(history) + 1):
        best = _best_epoch(history[:done], best, config)
    return best


def _is_of_model(key: str) -> bool:
    """Tell whether a block of a state is needed for the model, and not only to train on."""
    return key.startswith(("user-", "item-", "effects-", "mean"))


def _go_back_to_intact(run: Run, title: str) -> None:
    """Compare a run's states with their checksums; go back to the newest one that is intact, or to the beginning."""
    try:
        history, _ = _load_progress(run)
        saved = run.store.read_json(PROGRESS) or {}
    except (UserError, KeyError, TypeError) as error:
        print(f"{title}: starting anew: {_first_clause(error)}", flush=True)
        _forget(run)
        return
    moments = [n for n in dict.fromkeys((len(history), int(saved.get("earlier", 0)))) if n]
    for n in moments:
        try:
            for number in {n} | _kept_then(run.config, history, (n,)):
                sealed = run.store.sealed(f"epoch-{number}")
                wanted = {key: mark for key, mark in sealed.items() if number == n or _is_of_model(key)}
                run.store.verify_sealed(f"epoch-{number}", wanted)
        except UserError as error:
            print(f"{title}: epoch {n} cannot be gone on from: {_first_clause(error)}", flush=True)
            continue
        if n < len(history):
            print(f"{title}: going back to epoch {n}", flush=True)
            best = _best_of(run.config, history[:n])
            _save_progress(run, history[:n], best, flushed=n, earlier=0)
            _drop_old_epochs(run, history[:n], best)
        # What a killed run had done of the next epoch is not sealed: nothing of it may stand for the epoch's own.
        for name in run.store.keys(""):
            if (found := _EPOCH.fullmatch(name)) and int(found[1]) > n:
                run.store.drop(name)
        return
    if moments:
        print(f"{title}: no state of an earlier epoch is intact: starting anew", flush=True)
    _forget(run)


def _forget(run: Run) -> None:
    """Remove all states of a run."""
    run.store.drop_where(lambda name: name.startswith("epoch-") or name in (PROGRESS, "warm", "descent"))


def _first_clause(error: Exception) -> str:
    """Return what an error says is wrong, without what to do about it."""
    return str(error).partition(": ")[0]


def _train_member(
    spark: SparkSession, run: Run, on_epoch: Callable[[Epoch], None], title: str, warm_start: WarmStart | None
) -> tuple[list[Epoch], int, list[int]]:
    """Train one run to its end; returns its curve, the epoch it was resumed from, and the epochs kept."""
    config, blocks = run.config, run.data.blocks
    _go_back_to_intact(run, title)
    history, best = _load_progress(run)
    whole = partial(on_workers, spark, blocks)

    def locally(work: Callable[[Runner], None]) -> None:
        def task(p: int) -> list[tuple[str, float, int]]:
            work(partial(in_process, 1))
            return [("done", 0.0, 0)]

        on_workers(spark, 1, task)

    if run.needs_layouts:
        whole(partial(make_layouts, run.data))
    if not history:
        if warm_start is not None:
            warm_start.save(run.store)
        if config.by_least_squares:
            als.start(run, whole, warm_start.stats if warm_start else None)
        elif config.bayesian:
            chain = run.store.below(f"search/{CHAIN}")
            sweeps = len((chain.read_json(PROGRESS) or {"history": []})["history"])
            if sweeps:
                gibbs.go_on(run, chain, f"epoch-{sweeps}", whole)
                run.store.drop("search")
            else:
                gibbs.start(run, whole)
        else:
            sgd.start(run, whole, warm_start.stats if warm_start else None)
    resumed_from, flushes = len(history), Flushes()
    with progress(config.epochs, title, "epoch") as meter:
        meter.update(min(resumed_from, config.epochs))
        while not _is_finished(run, history, best):
            if blocks == 1:
                locally(lambda runner: _train_epochs(run, runner, SECONDS_PER_TASK))
            else:
                _train_epochs(run, whole, 0.0, flushes)
            known = len(history)
            history, best = _load_progress(run)
            for line in history[known:]:
                on_epoch(line)
                meter.set_postfix_str(line.described(), refresh=False)
                meter.update(1)
        if history and _has_diverged(history, run.data):
            what = f"training diverged in epoch {history[-1].epoch}"
            if config.by_least_squares:
                raise UserError(f"{what}: raise --reg (now {config.reg:g})")
            raise UserError(
                f"{what} (train RMSE {history[-1].train_rmse:.3g}): lower --lr (now {history[-1].lr:g}) or raise --reg "
                f"(now {config.reg:g})"
            )
    _drop_old_epochs(run, history, best)
    return history, resumed_from, _kept_epochs(config, history, best) if history else [0]


def train(
    ratings: DataFrame,
    config: LfmConfig,
    store: BlockStore,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    data: BlockStore | None = None,
    warm_start: WarmStart | None = None,
) -> Trained:
    """Fit the model, or go on with a fit that the store has begun.

    Args:
        ratings: the `ratings` relation with `part`: train, valid (for early stopping) or test.
        config: settings; a store belongs to one combination of settings (but for `epochs`) and ratings.
        store: empty for a new fit. After each epoch it holds what is needed to go on from there.
        on_epoch: called after each epoch of this call; what it raises ends the training.
        data: where rating blocks are kept (default: `data` in `store`); belongs to one set of ratings and parts, and
            may be shared by runs.
        warm_start: a model to start from instead of random factors; of SGD or least squares, with as many factors.

    Raises:
        UserError: no training ratings, a bad `init`, times are wanted and missing, or the run diverged.
    """
    parse_init(config.init)
    spark = ratings.sparkSession
    # A run goes on with the blocks it began with, wherever it goes on: its factors lie in that many pieces.
    blocks = prepare_blocks(
        ratings, data or store.below("data"), config.blocks or _blocks_of(store), config.time, config.time_bins
    )
    if config.model == "timesvdpp" and not blocks.days:
        raise UserError("--model timesvdpp: the ratings have no times (`rated_at` is null): use --model svdpp")
    given, config = config, als.sized(config, blocks)
    members = 1 if config.bayesian else config.average
    curves: list[list[Epoch]] = []
    models: list[tuple[Run, str]] = []
    resumed_from, kept = 0, 0
    asked, config = config.auto, _with_choice(spark, config, blocks, store, open_weight=not given.unobserved)
    for n in range(members):
        own = store if n == 0 else store.below(f"run-{n}")
        run = Run(replace(config, seed=config.seed + n), blocks, own.root)
        title = "training" if members == 1 else f"training {n + 1} of {members}"
        curve, resumed, epochs = _train_member(spark, run, on_epoch, title, warm_start)
        curves.append(curve)
        models += [(run, model_state(run, epoch)) for epoch in epochs]
        if n == 0:
            resumed_from, kept = resumed, epochs[-1]
    if config.recency is None:
        chosen_recency = _choose_recency(ratings, config, blocks, *models[0])
        config = replace(config, recency=chosen_recency)
    # How good a ranking is stands in its learning curve; it has no rating to be wrong by.
    errors = () if config.ranks else ("train", *blocks.held_out)
    sums = on_workers(spark, blocks.blocks, error_of(models, errors)) if errors else {}
    return Trained(
        user_factors=factor_frame(spark, models, "user"),
        item_factors=factor_frame(spark, models, "item"),
        mean=models[0][0].mean,
        low=blocks.low,
        high=blocks.high,
        epoch=kept,
        history=curves[0],
        curves=curves,
        train_rmse=None if config.ranks else _rmse(sums, "train") or 0.0,
        valid_rmse=_rmse(sums, "valid"),
        test_rmse=_rmse(sums, "test"),
        resumed_from=resumed_from,
        ratings=blocks,
        config=replace(config, auto=asked),
        states=models,
        sweeps=int((store.read_json(CHOICE) or {}).get("sweeps", 0)),
    )


def model_state(run: Run, epoch: int) -> str:
    """Return the name of the state that makes the model: of a sampler the mean of its samples, once there is one."""
    state = f"epoch-{epoch}"
    return f"{state}/{gibbs.MEAN}" if run.store.keys(f"{state}/{gibbs.MEAN}") else state


def _choose_recency(ratings: DataFrame, config: LfmConfig, blocks: RatingBlocks, run: Run, state: str) -> float:
    """Return what older choices shall count, by the last choices of some users; 0 without times."""
    if "rated_at" not in ratings.columns:
        return 0.0
    share = int(min(1.0, als.ASKED / max(blocks.n_users, 1)) * (1 << 20))
    some = F.pmod(F.xxhash64(F.col("user_id"), F.lit(config.seed)), F.lit(1 << 20)) < F.lit(share)
    timed = ratings.where((F.col("part") == "train") & F.col("rated_at").isNotNull() & some)
    table = timed.select("user_id", "item_id", "rating", "rated_at").toArrow()
    if not table.num_rows:
        return 0.0
    parts = [(unpack_ids(blocks.store.get(f"ids/item-{p}")), run.store.get(f"{state}/item-{p}")["factors"])
             for p in range(blocks.blocks)]  # fmt: skip
    items = pa.concat_arrays([ids for ids, _ in parts])
    q_IK = np.concatenate([factors for _, factors in parts]).astype(np.float64)
    users = table.column("user_id").combine_chunks().unique()
    chosen = als.choose_recency(config, Histories.of(users.take(pc.sort_indices(users)), items, table), q_IK)
    print(f"lfm: chose --recency {chosen:g} by what users chose last", flush=True)
    return chosen


def _with_choice(
    spark: SparkSession, config: LfmConfig, blocks: RatingBlocks, store: BlockStore, open_weight: bool
) -> LfmConfig:
    """Return settings in which all is decided: what is open is chosen on validation ratings, once in a store.

    Args:
        spark, config, blocks, store: see `train`.
        open_weight: whether `unobserved` of `ials` is chosen with `reg`.
    """
    if not config.chosen:
        return config
    if config.ranks and (config.model != "ials" or "reg" not in config.chosen):
        return replace(config, auto=NOTHING)  # weights are all that is searched for, and only those of `ials`
    saved = store.read_json(CHOICE)
    if saved is None:
        n = blocks.counts["train"]
        saved = {}
        if n >= FEWEST_RATINGS:
            work, whole = store.below("search"), partial(on_workers, spark, blocks.blocks)
            held = hold_out(blocks, work.below("data"), validation_share(n), config.seed, whole)
            if config.ranks:
                saved = _choose_weights(spark, config, held, work, open_weight)
            else:
                saved = (_choose_sweeps if config.bayesian else _choose_by_trials)(spark, config, held, work)
            if not config.bayesian:
                work.drop("")
        store.write_json(CHOICE, saved)
    decided = {name: value for name, value in saved.items() if name in (*config.chosen, "burn_in", "unobserved")}
    return replace(config, auto=NOTHING, **decided)


def _choose_by_trials(spark: SparkSession, config: LfmConfig, held: RatingBlocks, work: BlockStore) -> dict[str, Any]:
    """Return what a search among short trainings found."""
    numbers = itertools.count(1)

    def train_trial(settings: LfmConfig) -> tuple[list[float], int]:
        folder = f"trial-{next(numbers)}"
        run = Run(settings, held, work.below(folder).root)
        title = f"trying --reg {settings.reg:g} --lr {settings.lr:g}"
        curve, _, kept = _train_member(spark, run, lambda _: None, title, None)
        work.drop(folder)
        return [float(epoch.valid_rmse or 0.0) for epoch in curve], kept[-1]

    found, trials = choose_settings(config, train_trial)
    print(f"lfm: {describe_choice(found, trials)}", flush=True)
    return found


def _choose_weights(
    spark: SparkSession, config: LfmConfig, held: RatingBlocks, work: BlockStore, open_weight: bool
) -> dict[str, Any]:
    """Return the weights of preferences that rank best in a search among short trainings."""
    numbers = itertools.count(1)

    def train_trial(settings: LfmConfig) -> float:
        folder = f"trial-{next(numbers)}"
        run = Run(settings, held, work.below(folder).root)
        title = f"trying --reg {settings.reg:.3g} --unobserved {settings.unobserved:.3g}"
        curve, *_ = _train_member(spark, run, lambda _: None, title, None)
        work.drop(folder)
        return curve[-1].valid_ndcg or 0.0

    names = ("reg", "unobserved") if open_weight else ("reg",)
    found, trials = choose_weights(config, names, train_trial)
    if not found:
        return {}
    told = f"--reg {found['reg']:.3g} --unobserved {found['unobserved']:.3g} by {len(trials)} short trainings"
    print(f"lfm: chose {told}, nDCG@10 {max(trial.ndcg for trial in trials):.4f}", flush=True)
    return dict(found)


def _choose_sweeps(spark: SparkSession, config: LfmConfig, held: RatingBlocks, work: BlockStore) -> dict[str, Any]:
    """Run a chain until the error of its mean has stopped falling; return how long the one that follows shall be."""
    longest = replace(config, auto=NOTHING, epochs=MOST_SWEEPS)
    run = Run(longest, held, work.below(CHAIN).root, settles=True)
    curve, _, _ = _train_member(spark, run, lambda _: None, "sampling without the validation ratings", None)
    n = len(curve)
    why = "stopped falling" if n < MOST_SWEEPS else "was still falling when the most sweeps were done"
    print(f"lfm: validation RMSE {curve[-1].valid_rmse:.4f} {why} after {n} sweeps", flush=True)
    more = max(FEWEST_SAMPLES, (n - config.burn_in) // 2)
    return {"epochs": SECOND_BURN_IN + more, "burn_in": SECOND_BURN_IN, "sweeps": n}


def _blocks_of(store: BlockStore) -> int:
    """Return the number of blocks that a run has begun with; 0 if it has not begun, or nobody can tell."""
    try:
        return int((store.read_json(PROGRESS) or {}).get("blocks", 0))
    except UserError:
        return 0  # said when the states are compared


def factor_frame(spark: SparkSession, models: Sequence[tuple[Run, str]], side: str) -> DataFrame:
    """Return the frame (id, bias float, factors array<float>) of one side of the mean of several models.

    Their factors stand one after the other, over √(number of models): p·q is then the mean of their products. The
    bias has the time effects in it as they were on average over the row's ratings.

    Args:
        models: (run, state) pairs on the same ratings.
        side: user or item.
    """
    data = models[0][0].data

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for p in batch.column(0).to_pylist():
                ids = unpack_ids(data.store.get(f"ids/{side}-{p}"))
                blocks = [run.store.get(f"{state}/{side}-{p}") for run, state in models]
                bias = np.stack([_bias(run, state, side, p) for run, state in models]).mean(axis=0)
                scale = np.float32(1 / np.sqrt(len(models)))
                for lo in range(0, len(ids), ROWS_AT_ONCE):
                    factors = np.concatenate([b["factors"][lo : lo + ROWS_AT_ONCE] for b in blocks], axis=1) * scale
                    lists = pa.FixedSizeListArray.from_arrays(pa.array(factors.ravel()), factors.shape[1])
                    yield pa.RecordBatch.from_arrays(
                        [
                            ids.slice(lo, ROWS_AT_ONCE),
                            pa.array(bias[lo : lo + ROWS_AT_ONCE]),
                            lists.cast(pa.list_(pa.float32())),
                        ],
                        names=[f"{side}_id", "bias", "factors"],
                    )

    kind = "bigint" if "ids" in data.store.get(f"ids/{side}-0") else "string"
    schema = f"{side}_id {kind}, bias float, factors array<float>"
    return spark.range(0, data.blocks, 1, data.blocks).mapInArrow(read, schema)


def _bias(run: Run, state: str, side: str, p: int) -> NDArray[np.float32]:
    """Return a row's bias with its time effects as they were on average over its ratings."""
    bias = np.asarray(run.store.get(f"{state}/{side}-{p}")["bias"])
    if not run.has_time_effects or not run.store.has(f"{state}/effects-{side}-{p}"):
        return bias
    layout = run.data.store.get(f"rows/{side}-{p}")
    effects = run.store.get(f"{state}/effects-{side}-{p}")["effects"]
    indptr = layout["indptr"]
    each, counts = np.append(effect_of_each(effects, layout["groups"]), 0), np.diff(indptr)
    totals = np.where(counts > 0, np.add.reduceat(each, indptr[:-1]), 0)
    return (bias + totals / np.maximum(counts, 1)).astype(np.float32)

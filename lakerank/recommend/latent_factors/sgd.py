"""Distributed SGD (DSGD; Gemulla, Nijkamp, Haas and Sismanis 2011).

A stratum is B blocks that share no user and no item, so B workers train it at the same time without seeing each
other's rows; B strata make an epoch, and the item factors move on between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.latent_factors import sgd_kernels
from lakerank.recommend.latent_factors.arrays import SIDES
from lakerank.recommend.latent_factors.config import LfmConfig, parse_init
from lakerank.recommend.latent_factors.implicit_feedback import centre_rows, regress
from lakerank.recommend.latent_factors.map_blocks import Runner, Sums
from lakerank.recommend.latent_factors.row_layout import make_layout
from lakerank.recommend.latent_factors.run_state import Run
from lakerank.recommend.latent_factors.scoring import scorer
from lakerank.recommend.latent_factors.time_effects import sgd_effects
from lakerank.recommend.latent_factors.warm_start import Known, warmed
from lakerank.spark.array_store import Block

Centre = NDArray[np.float32] | None  # (rows, K + 1), the bias's in the last column


def initial_rows(rows: int, config: LfmConfig, rng: np.random.Generator) -> Block:
    """Factors (rows, K) float32 and biases (rows) at the start of training."""
    kind, numbers = parse_init(config.init)
    k = config.factors
    if kind == "normal":
        factors = rng.standard_normal((rows, k), dtype=np.float32) * np.float32(numbers[0] / np.sqrt(k))
    else:
        low, high = numbers
        factors = rng.random((rows, k), dtype=np.float32) * np.float32(high - low) + np.float32(low)
    return {"factors": factors, "bias": np.zeros(rows, np.float32)}


def initial_slots(rows: int, config: LfmConfig) -> Block:
    """The optimiser's state at the start of training."""
    slots = {
        "sgd": lambda: np.zeros((1, 1, 1), np.float32),
        # 1, not 0: the first steps are not divided by almost nothing (LIBMF's choice too)
        "adagrad": lambda: np.ones((rows, 1, 2), np.float32),
        "adam": lambda: np.zeros((2, rows, config.factors + 1), np.float32),
    }[config.optimizer]()
    return {"slots": slots, "steps": np.zeros(rows if config.optimizer == "adam" else 0, np.int32)}


def start(run: Run, runner: Runner, warm: Known | None = None) -> None:
    """Write `epoch-0`, from a model's rows where it has them, and the row layouts where they will be needed."""

    def work(p: int) -> list[tuple[str, float, int]]:
        for number, side in enumerate(SIDES):
            rows = run.data.rows(side, p)
            state = initial_rows(rows, run.config, run.rng(number, p)) | initial_slots(rows, run.config)
            run.store.put(f"epoch-0/{side}-{p}", state if warm is None else warmed(run, warm, side, p, state))
            if run.config.implicit_sides or run.timed:
                make_layout(run.data, side, p)
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
    """One pass over one block, tiles in random order; returns the sum of squared errors before each update."""
    return float(
        sgd_kernels.train_block(
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
            sgd_kernels.OPTIMIZERS[config.optimizer],
        )
    )


@dataclass(frozen=True)
class Stratum:
    """What one stratum reads and writes: it goes on from the rows of state `before` and leaves those of `after`."""

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
    """Both sides' centres, or none: the kernel is compiled for these two cases."""
    if user is None and item is None:
        return None, None
    pairs = ((user, users), (item, items))
    width = users["factors"].shape[1] + 1
    filled = (np.zeros((len(rows["bias"]), width)) if centre is None else centre for centre, rows in pairs)
    first, second = (np.ascontiguousarray(centre, np.float32) for centre in filled)
    return first, second


def _strata(run: Run, number: int, lr: float) -> list[Stratum]:
    """The epoch's strata in random order."""
    state, found = f"epoch-{number - 1}", []
    for turn, shift in enumerate(run.rng(3, number).permutation(run.data.blocks), start=1):
        after = f"epoch-{number}" if turn == run.data.blocks else f"epoch-{number}-step-{turn}"
        found.append(Stratum(run, number, lr, state, after, int(shift)))
        state = after
    return found


def epoch(run: Run, runner: Runner, number: int, lr: float) -> Sums:
    """One pass: B strata, then time effects and centres, then the error on what is held out."""
    last, done = f"epoch-{number - 1}", f"epoch-{number}"
    trained = [runner(stratum.train)["train"] for stratum in _strata(run, number, lr)]
    if run.timed:
        for side in SIDES:
            runner(partial(sgd_effects, run, last, done, side))
    score = scorer([(run, done)], run.data.held)

    def finish(p: int) -> list[tuple[str, float, int]]:
        for side in run.config.implicit_sides:
            mean = np.zeros(run.config.factors + 1)
            regress(run, last, done, side, p, mean, run.config.reg_implicit, None)
        return score(p)

    error, count = (sum(column) for column in zip(*trained, strict=True))
    return runner(finish) | {"train": (error, int(count))}

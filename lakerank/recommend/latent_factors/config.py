"""Settings of the latent-factor models: name, default, help text and range of each stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lakerank.cli.errors import UserError
from lakerank.cli.settings import NOT_NEGATIVE, NOTHING, POSITIVE, PROBABILITY, CheckedSettings, auto_flag, flag

# What a model is, and its defaults where the others differ. Choosing a model sets what nobody set.
_RATES = {"factors": 64, "epochs": 20, "average": 1, "implicit": "none", "time": False, "bias": True}
_PLAIN = _RATES | {"bias": False}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "mf": _RATES,
    "svdpp": _RATES | {"implicit": "both"},
    "timesvdpp": _RATES | {"implicit": "both", "time": True},
    "bayesian": _RATES | {"factors": 32, "epochs": 120, "average": 8, "implicit": "both", "time": True},
    "als": _PLAIN | {"factors": 10, "epochs": 10, "reg": 0.1},
    "ials": _PLAIN | {"factors": 128, "epochs": 16, "reg": 0.0},
    "bpr": _PLAIN | {"factors": 64, "epochs": 60, "reg": 0.01},
}
# What is chosen on validation ratings unless it is given (`choose_settings`), and its value where nothing is chosen.
CHOSEN: Mapping[str, Any] = {"reg": 0.05, "lr": 0.05}
BY_LEAST_SQUARES = ("als", "ials")
RANKING = ("ials", "bpr")  # fitted to what was seen, whatever the rating: they rank and predict no ratings
REG_SCALES = ("pairs", "ratings")
IMPLICIT = ("none", "user", "item", "both")
OPTIMIZERS = ("sgd", "adagrad", "adam")  # the compiled loop knows them by their place here
# Named settings of the `lfm` job.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Those of the report this project grew from; one iteration is one epoch here.
    "seed-2018": {
        "factors": 1000,
        "epochs": 10_000,
        "init": "uniform:-5,5",
        "optimizer": "adam",
        "lr": 2e-4,
        "lr_schedule": "exponential",
        "lr_decay": 0.98,
        "lr_decay_steps": 50,
        "reg": 0.0,
        "bias": False,
        "split": "corner:133493,1000",
    }
}


def _by_model(name: str) -> str:
    return "default: " + ", ".join(f"{model} {settings[name]}" for model, settings in MODELS.items())


@dataclass(frozen=True)
class LfmConfig(CheckedSettings):
    """How to train: every setting once, with its default, help text and range; the `lfm` job's flags are derived.

    Attributes:
        model: `mf`; `svdpp` (implicit feedback: which items a user rated, and who rated an item); `timesvdpp`
            (biases that change with time, too); all three by SGD. `bayesian`: all of it by Gibbs sampling. `als`: plain
            factors by alternating least squares. `ials`: preferences behind clicks and counts, for ranking. `bpr`:
            what was seen ranks above what was not, by SGD on drawn pairs.
        factors: K, length of a factor vector.
        epochs: passes over the training ratings; a sweep of the Gibbs sampler is one.
        auto: which of `reg`, `lr` and `epochs` are chosen on validation ratings, with commas between; `none`: nothing
            is. None takes those that are not given, if `reg` is not; of the Gibbs sampler `epochs`; of `ials` `reg`,
            and with it `unobserved`.
        average: predict by the mean of so many SGD runs that differ in their seeds; of the Gibbs sampler, keep the mean
            of its samples in at most so many times K factors.
        implicit: whose factors are drawn to what they rated, or were rated by: none, user, item or both.
        time: effects of a user's day and of an item's time bin, where ratings have times.
        burn_in: sweeps before the first sample is kept.
        optimizer: `sgd`, `adagrad` or `adam`.
        lr: learning rate η of the first epoch.
        lr_schedule: `constant`; `exponential` (η·decay^(epoch/steps)); `bold-driver` (×1.05 after an epoch
            that lowered the training error, ×0.5 after one that did not).
        lr_decay, lr_decay_steps: of `exponential`; steps in epochs.
        reg: L2 weight λ of the factors, per rating.
        reg_bias: L2 weight of the biases, per rating.
        reg_implicit: L2 weight of the implicit factors, each as a whole.
        reg_time: a time effect counts as if so many more ratings without effect had been given.
        time_bins: an item's time is divided into so many parts with equally many ratings of all items.
        bias: learn μ, b_u and b_i.
        unobserved: α₀, weight of a pair of user and item that was not seen; one that was weighs 1 + `alpha`·rating.
            Of `ials`, 0 for this or for `reg` takes what fits the size of the ratings (`als.sized`), from which a
            search begins where `reg` is chosen (`choose_weights`).
        alpha: see `unobserved`.
        reg_power: ν: `als` and `ials` weigh a row's L2 norm by λ·d^ν.
        reg_scale: what d is: `pairs` (n + α₀·(rows of the other side), the weight of all of a row's pairs) or
            `ratings` (n, of `ials` those above 0, as MLlib has it).
        recency: of `ials`, when a user is asked about: what they chose n choices ago counts as chosen to a share of
            (1 + n)^−recency, and as unseen to the rest. None: chosen after training (`choose_recency`), where there are
            times. Training itself weighs all alike.
        width: factors of a row that are solved for at once; 0: all, which is exact.
        nonnegative: no factor is below 0.
        init: `normal:SIGMA` (divided by √K) or `uniform:LOW,HIGH`.
        seed: of initial factors, visiting order and samples.
        early_stop: stop after this many epochs without a better validation RMSE; 0 never stops early.
        blocks: B; 0 takes one per core, or more where the ratings ask for it.
    """

    model: str = flag("mf", "what to train", choices=list(MODELS))
    factors: int = flag(None, f"latent factors K ({_by_model('factors')})", within=POSITIVE)
    epochs: int = flag(
        None,
        f"passes over the training ratings; auto: chosen ({_by_model('epochs')} if nothing is chosen)",
        within=NOT_NEGATIVE,
        auto=True,
    )
    auto: str = auto_flag(
        [*CHOSEN, "epochs"],
        "what to choose on validation ratings, of reg,lr,epochs, or none (default: what is not given, if reg is not)",
    )
    average: int = flag(
        None,
        f"mean of so many runs; bayesian: times K factors, which keep the mean of its samples ({_by_model('average')})",
        within=POSITIVE,
    )
    implicit: str = flag(None, f"sides with implicit feedback ({_by_model('implicit')})", choices=list(IMPLICIT))
    time: bool = flag(None, f"effects of the time of a rating ({_by_model('time')})")
    burn_in: int = flag(20, "bayesian: sweeps before the first sample", within=NOT_NEGATIVE)
    optimizer: str = flag("adagrad", "how steps are scaled", choices=list(OPTIMIZERS))
    lr: float = flag(None, f"learning rate; auto: chosen ({CHOSEN['lr']} if nothing is)", within=POSITIVE, auto=True)
    lr_schedule: str = flag("constant", "how it changes", choices=["constant", "exponential", "bold-driver"])
    lr_decay: float = flag(0.98, "exponential: factor per --lr-decay-steps epochs", within=POSITIVE)
    lr_decay_steps: float = flag(1.0, "exponential: epochs per decay", within=POSITIVE)
    reg: float = flag(
        None,
        f"L2 weight of factors, per rating; auto: chosen ({CHOSEN['reg']} if nothing is). als takes 0.1, bpr 0.01; "
        "ials 0: by size",
        within=NOT_NEGATIVE,
        auto=True,
    )
    reg_bias: float = flag(0.01, "L2 weight of biases, per rating", within=NOT_NEGATIVE)
    reg_implicit: float = flag(5.0, "L2 weight of implicit factors", within=POSITIVE)
    reg_time: float = flag(10.0, "ratings without effect added to each time effect", within=POSITIVE)
    time_bins: int = flag(30, "parts an item's time is divided into", within=POSITIVE)
    bias: bool = flag(None, "learn the mean and the biases (default: all but als, ials and bpr)")
    unobserved: float = flag(
        0.0, "ials: weight of a pair that was not seen; 0: by size, or chosen with --reg", within=PROBABILITY
    )
    alpha: float = flag(0.0, "ials: weight that each count adds to the 1 of a pair that was seen", within=NOT_NEGATIVE)
    reg_power: float = flag(1.0, "als, ials: power of a row's frequency in its L2 weight", within=NOT_NEGATIVE)
    reg_scale: str = flag("pairs", "ials: what a row's frequency counts", choices=list(REG_SCALES))
    recency: float | None = flag(
        None,
        "ials: power by which older choices of who is asked about count less; 0: all alike; auto: chosen",
        within=NOT_NEGATIVE,
        auto=True,
    )
    width: int = flag(32, "als, ials: factors of a row solved for at once; 0: all", within=NOT_NEGATIVE)
    nonnegative: bool = flag(False, "als, ials: no factor below 0")
    init: str = flag("normal:0.1", "first factors: normal:SIGMA (over sqrt K) or uniform:LOW,HIGH")
    seed: int = flag(0, "of split, first factors, visiting order and samples", within=NOT_NEGATIVE)
    early_stop: int = flag(0, "stop after so many epochs without better validation RMSE; 0: never", within=NOT_NEGATIVE)
    blocks: int = flag(0, "user blocks and item blocks; 0: one per core", within=NOT_NEGATIVE)

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UserError(f"--model {self.model}: must be one of {', '.join(MODELS)}")
        if not self.auto:
            object.__setattr__(self, "auto", ",".join(self._not_given()) or NOTHING)
        for name, value in {**CHOSEN, **MODELS[self.model]}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.recency is None and self.model != "ials":
            object.__setattr__(self, "recency", 0.0)
        if self.recency and self.model != "ials":
            raise UserError(f"--recency {self.recency:g} goes with --model ials, not {self.model}")
        if self.implicit not in IMPLICIT:
            raise UserError(f"--implicit {self.implicit}: must be one of {', '.join(IMPLICIT)}")
        self._check_plain()
        if not self.bias and (self.bayesian or self.time or self.implicit != "none"):
            raise UserError("--no-bias goes with --model mf only: the other models are built around biases")
        if self.bayesian and self.early_stop:
            raise UserError("--early-stop goes with SGD: samples of the bayesian model are averaged, none is the best")
        if self.bayesian and 0 < self.epochs <= self.burn_in:
            raise UserError(
                f"--epochs {self.epochs} must be more than --burn-in {self.burn_in}: no sample would be kept"
            )
        super().__post_init__()

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> LfmConfig:
        """Pick the settings of training among others, such as those of a row of `lfm_models`."""
        names = {field.name for field in fields(cls)}
        return LfmConfig(**{name: value for name, value in settings.items() if name in names})

    def _not_given(self) -> list[str]:
        """Return which settings are to be chosen: without `reg` those that are not given; of a sampler its length."""
        unset = [name for name in (*CHOSEN, "epochs") if getattr(self, name) is None]
        if self.early_stop and "epochs" in unset:
            unset.remove("epochs")
        if self.model == "ials":
            return [name for name in unset if name == "reg"]
        if self.by_least_squares or self.ranks:
            return []
        if self.bayesian:
            return [name for name in unset if name == "epochs"]
        return unset if "reg" in unset else []

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the settings that are to be chosen on validation ratings."""
        return () if self.auto == NOTHING else tuple(self.auto.split(","))

    @property
    def bayesian(self) -> bool:
        """Whether factors are sampled rather than descended to."""
        return self.model == "bayesian"

    def _check_plain(self) -> None:
        if self.nonnegative and not self.by_least_squares:
            raise UserError(f"--nonnegative goes with --model {' and '.join(BY_LEAST_SQUARES)}, not {self.model}")
        if not self.by_least_squares and not self.ranks:
            return
        if self.model == "bpr" and self.optimizer != "adagrad":
            raise UserError(f"--optimizer {self.optimizer}: --model bpr goes with adagrad")
        for name, none in {"implicit": "none", "time": False, "bias": False, "average": 1}.items():
            if getattr(self, name) != none:
                raise UserError(f"--{name}: --model {self.model} has factors alone; leave it out")

    @property
    def by_least_squares(self) -> bool:
        """Whether rows are solved for in turn rather than descended to or sampled."""
        return self.model in BY_LEAST_SQUARES

    @property
    def ranks(self) -> bool:
        """Whether it is fitted to preferences, for ranking, and predicts no ratings."""
        return self.model in RANKING

    @property
    def implicit_sides(self) -> tuple[str, ...]:
        """The sides with implicit feedback: of `user` and `item`."""
        return {"none": (), "user": ("user",), "item": ("item",), "both": ("user", "item")}[self.implicit]


def parse_init(text: str) -> tuple[str, tuple[float, ...]]:
    """Parse `normal:SIGMA` or `uniform:LOW,HIGH` (bare `normal` is 0.1).

    Raises:
        UserError: anything else.
    """
    kind, _, rest = text.strip().replace("(", ":").rstrip(")").partition(":")
    try:
        numbers = tuple(float(part) for part in rest.split(",")) if rest else ()
    except ValueError:
        numbers = (np.nan,)
    if kind == "normal" and len(numbers) <= 1 and all(n >= 0 for n in numbers):
        return kind, numbers or (0.1,)
    if kind == "uniform" and len(numbers) == 2 and numbers[0] < numbers[1]:
        return kind, numbers
    raise UserError(f"--init {text}: must be normal:SIGMA or uniform:LOW,HIGH, e.g. normal:0.1 or uniform:-5,5")

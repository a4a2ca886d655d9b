"""How the latent-factor model is trained: every setting in one place, as the job's flags and tests set them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lakerank.cli.errors import UserError

# What a model is, and its defaults where the others differ. Choosing a model sets what nobody set.
MODELS: Mapping[str, Mapping[str, Any]] = {
    "mf": {"factors": 64, "epochs": 20, "average": 1, "implicit": "none", "time": False},
    "svdpp": {"factors": 64, "epochs": 20, "average": 1, "implicit": "both", "time": False},
    "timesvdpp": {"factors": 64, "epochs": 20, "average": 1, "implicit": "both", "time": True},
    "bayesian": {"factors": 32, "epochs": 120, "average": 16, "implicit": "both", "time": True},
}
IMPLICIT = ("none", "user", "item", "both")


def model_defaults(settings: Any) -> None:
    """Fill the fields of a frozen dataclass that are None with the defaults of its `model`."""
    for name, value in MODELS[settings.model].items():
        if getattr(settings, name) is None:
            object.__setattr__(settings, name, value)


@dataclass(frozen=True)
class LfmConfig:
    """How to train.

    Attributes:
        model: `mf`; `svdpp` (implicit feedback: which items a user rated, and who rated an item); `timesvdpp`
            (biases that change with time, too); all three by SGD. `bayesian`: all of it by Gibbs sampling.
        factors: K, length of a factor vector.
        epochs: passes over the training ratings; a sweep of the Gibbs sampler is one.
        average: predict by the mean of so many models: SGD runs that differ in their seeds, or samples.
        burn_in: sweeps before the first sample is kept.
        implicit: whose factors are drawn to what they rated, or were rated by: none, user, item or both.
        time: effects of a user's day and of an item's time bin, where ratings have times.
        optimizer: `sgd`, `adagrad` or `adam`.
        lr: learning rate η of the first epoch.
        reg: L2 weight λ of the factors, per rating.
        reg_bias: L2 weight of the biases, per rating.
        reg_implicit: L2 weight of the implicit factors, each as a whole.
        reg_time: a time effect counts as if so many more ratings without effect had been given.
        time_bins: an item's time is divided into so many parts with equally many ratings of all items.
        init: `normal:SIGMA` (divided by √K) or `uniform:LOW,HIGH`.
        seed: of initial factors, visiting order and samples.
        lr_schedule: `constant`; `exponential` (η·decay^(epoch/steps)); `bold-driver` (×1.05 after an epoch
            that lowered the training error, ×0.5 after one that did not).
        lr_decay, lr_decay_steps: of `exponential`; steps in epochs.
        early_stop: stop after this many epochs without a better validation RMSE; 0 never stops early.
        bias: learn μ, b_u and b_i.
        blocks: B; 0 takes one per core, or more where the ratings ask for it.
    """

    model: str = "mf"
    factors: int = None  # type: ignore[assignment]  # these five: the model's own, see MODELS
    epochs: int = None  # type: ignore[assignment]
    average: int = None  # type: ignore[assignment]
    implicit: str = None  # type: ignore[assignment]
    time: bool = None  # type: ignore[assignment]
    burn_in: int = 20
    optimizer: str = "adagrad"
    lr: float = 0.05
    reg: float = 0.1
    reg_bias: float = 0.01
    reg_implicit: float = 5.0
    reg_time: float = 10.0
    time_bins: int = 30
    init: str = "normal:0.1"
    seed: int = 0
    lr_schedule: str = "constant"
    lr_decay: float = 0.98
    lr_decay_steps: float = 1.0
    early_stop: int = 0
    bias: bool = True
    blocks: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UserError(f"--model {self.model}: must be one of {', '.join(MODELS)}")
        model_defaults(self)
        if self.implicit not in IMPLICIT:
            raise UserError(f"--implicit {self.implicit}: must be one of {', '.join(IMPLICIT)}")
        if not self.bias and (self.bayesian or self.time or self.implicit != "none"):
            raise UserError("--no-bias goes with --model mf only: the other models are built around biases")
        if self.bayesian and self.early_stop:
            raise UserError("--early-stop goes with SGD: samples of the bayesian model are averaged, none is the best")
        if self.bayesian and 0 < self.epochs <= self.burn_in:
            raise UserError(
                f"--epochs {self.epochs} must be more than --burn-in {self.burn_in}: no sample would be kept"
            )

    @property
    def bayesian(self) -> bool:
        """Whether factors are sampled rather than descended to."""
        return self.model == "bayesian"

    @property
    def implicit_sides(self) -> tuple[str, ...]:
        """The sides with implicit feedback: of `user` and `item`."""
        return {"none": (), "user": ("user",), "item": ("item",), "both": ("user", "item")}[self.implicit]


def parse_init(text: str) -> tuple[str, tuple[float, ...]]:
    """`normal:SIGMA` or `uniform:LOW,HIGH` (bare `normal` is 0.1).

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

"""How the latent-factor model is trained: every setting in one place, as the job's flags and tests set them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spark_jobs.lake.errors import UserError


@dataclass(frozen=True)
class LfmConfig:
    """How to train.

    Attributes:
        factors: K, length of a factor vector.
        epochs: passes over the training ratings.
        optimizer: `sgd`, `adagrad` or `adam`.
        lr: learning rate η of the first epoch.
        reg: L2 weight λ of the factors, per rating.
        reg_bias: L2 weight of the biases, per rating.
        init: `normal:SIGMA` (divided by √K) or `uniform:LOW,HIGH`.
        seed: of initial factors and visiting order.
        lr_schedule: `constant`; `exponential` (η·decay^(epoch/steps)); `bold-driver` (×1.05 after an epoch
            that lowered the training error, ×0.5 after one that did not).
        lr_decay, lr_decay_steps: of `exponential`; steps in epochs.
        early_stop: stop after this many epochs without a better validation RMSE; 0 never stops early.
        bias: learn μ, b_u and b_i.
        blocks: B; 0 takes one per core, or more where the ratings ask for it.
    """

    factors: int = 64
    epochs: int = 20
    optimizer: str = "adagrad"
    lr: float = 0.05
    reg: float = 0.1
    reg_bias: float = 0.01
    init: str = "normal:0.1"
    seed: int = 0
    lr_schedule: str = "constant"
    lr_decay: float = 0.98
    lr_decay_steps: float = 1.0
    early_stop: int = 0
    bias: bool = True
    blocks: int = 0


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

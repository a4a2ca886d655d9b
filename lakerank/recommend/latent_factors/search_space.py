"""What tuning may change: a range for every setting that is worth searching, by model and optimiser.

Nothing here knows an optimiser of settings or Spark: a point of the space is a dictionary of numbers, and
`to_config` makes it an `LfmConfig`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from lakerank.cli.errors import UserError
from lakerank.recommend.latent_factors.config import LfmConfig, parse_init

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
    """`LOW:HIGH`, searched by ratio, or one number, which is fixed.

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
    """The ranges by name, in a fixed order: settings of `LfmConfig`, and `init_sigma`."""
    return {"factors": factors} | ({} if model == "bayesian" else {"lr": _LR[optimizer]}) | dict(SPACES[model])


def to_config(point: Mapping[str, float], base: LfmConfig) -> LfmConfig:
    """`base` with a point's settings, rounded to `DIGITS` significant digits."""
    changes: dict[str, float | str] = {}
    for name, value in point.items():
        number = value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
        if name == "init_sigma":
            changes["init"] = f"normal:{number:g}"
        else:
            changes[name] = number
    if "lr_decay" in changes:
        changes |= {"lr_schedule": "exponential", "lr_decay_steps": 1.0}
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]  # each by its own type


def default_point(space: Mapping[str, Range], model: str) -> dict[str, float]:
    """Where `LfmConfig`'s defaults lie in the space; what lies outside is left out."""
    default = LfmConfig(model)
    _, (sigma, *_) = parse_init(default.init)
    point = {**dataclasses.asdict(default), "init_sigma": sigma, "lr_decay": 1.0}
    return {name: point[name] for name, allowed in space.items() if point[name] in allowed}


def as_yaml(config: LfmConfig, split: str, comment: str) -> str:
    """A settings file of the lfm job.

    Args:
        config: what to train.
        split: the job's `--split`, so that the file gives the test RMSE that tuning printed.
        comment: its first line.
    """
    settings = {key.replace("_", "-"): value for key, value in dataclasses.asdict(config).items()} | {"split": split}
    return f"# {comment}\n{yaml.safe_dump(settings, sort_keys=False)}"

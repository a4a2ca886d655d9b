"""The search space: what may be searched, and that each point of it is a settings file of the lfm job."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakerank.cli.errors import UserError
from lakerank.cli.settings import parse_args
from lakerank.recommend.latent_factors.config import OPTIMIZERS, LfmConfig, parse_init
from lakerank.recommend.latent_factors.train import learning_rate
from lakerank.recommend.latent_factors.tuning import (
    SPACES,
    Range,
    as_yaml,
    default_point,
    parse_factors,
    search_space,
    to_config,
)
from spark_jobs.lfm import LfmArgs

EVERY = [(model, optimizer) for model in SPACES for optimizer in OPTIMIZERS]


def test_factors_are_fixed_or_searched() -> None:
    assert parse_factors("32") == Range(32, 32, log=True, whole=True)
    assert parse_factors("8:64") == Range(8, 64, log=True, whole=True)


@pytest.mark.parametrize("text", ["0", "64:8", "8:x", "", "8:16:32", "1.5"])
def test_wrong_factors_are_named(text: str) -> None:
    with pytest.raises(UserError, match=r"--factors .*: must be a whole number above 0, or LOW:HIGH"):
        parse_factors(text)


@pytest.mark.parametrize(("model", "optimizer"), EVERY)
def test_every_corner_of_every_space_is_a_settings_file(model: str, optimizer: str, tmp_path: Path) -> None:
    space = search_space(model, optimizer, parse_factors("8:64"))
    for end in ("low", "high"):
        point = {name: int(r.low) if r.whole else getattr(r, end) for name, r in space.items()}
        config = to_config(point, LfmConfig(model, optimizer=optimizer, epochs=37))
        parse_init(config.init)
        file = tmp_path / f"{end}.yaml"
        file.write_text(as_yaml(config, "time:0.2", "a comment: with a colon"))
        args = parse_args(LfmArgs, "lfm", "", ["--conf", str(file)])
        assert args.config() == config
        assert args.split == "time:0.2"


def test_settings_are_tried_as_they_are_printed() -> None:
    point = {"factors": 1234, "lr": 0.0123456, "lr_decay": 0.98765, "reg": 1.23456e-4, "init_sigma": 0.0456789}
    config = to_config(point, LfmConfig(seed=4))
    assert (config.factors, config.lr, config.lr_decay, config.reg) == (1234, 0.0123, 0.988, 0.000123)
    assert config.init == "normal:0.0457"
    assert config.seed == 4
    assert learning_rate(config, []) == 0.0123
    assert config.lr_schedule == "exponential"


@pytest.mark.parametrize("model", SPACES)
def test_the_defaults_are_a_point_of_their_space(model: str) -> None:
    # A search begins with them, so it never ends with something worse on the validation ratings.
    space = search_space(model, LfmConfig().optimizer, parse_factors("16:128"))
    point = default_point(space, model)
    assert list(point) == list(space)
    config = to_config(point, LfmConfig(model))
    assert [learning_rate(config, [None] * n) for n in range(3)] == [LfmConfig().lr] * 3  # type: ignore[list-item]
    assert (config.factors, config.reg, config.init) == (LfmConfig(model).factors, LfmConfig().reg, LfmConfig().init)


def test_defaults_outside_the_space_are_left_to_the_search() -> None:
    assert "factors" not in default_point(search_space("mf", "adagrad", parse_factors("8:16")), "mf")
    assert "lr" not in default_point(search_space("mf", "adam", parse_factors("8:16")), "mf")

"""How a training run gets its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakerank.cli.errors import UserError
from lakerank.cli.settings import parse_args
from sr_model.config import TrainConfig, as_flags


def settings(*words: str) -> TrainConfig:
    return parse_args(TrainConfig, "train", "", as_flags(words))


def test_key_value_is_a_flag() -> None:
    config = settings("lr=3e-4", "batch=8", "augment=false", "steps_init=7", "losses=mse=1,adversarial=0.01")
    assert (config.lr, config.batch, config.augment, config.steps_init) == (3e-4, 8, False, 7)
    assert config.losses == "mse=1,adversarial=0.01"


def test_a_flag_with_an_equals_sign_in_its_value_stays_whole() -> None:
    assert settings("--losses", "mse=1,adversarial=0.01").losses == "mse=1,adversarial=0.01"
    assert settings("--no-augment", "lr=1e-3").lr == 1e-3


def test_named_configs_all_parse() -> None:
    for name in TrainConfig.presets():
        settings("--config", name)


def test_the_seed_s_config_holds_the_seed_s_settings() -> None:
    config = settings("--config", "seed-2018")
    assert (config.batch, config.crop, config.optimizer, config.lr) == (16, 384, "rmsprop", 1e-4)
    assert (config.n_epoch_init, config.n_epoch, config.checkpoint_epochs) == (0, 1500, 10)
    assert (config.adversarial, config.losses) == ("wgan", "mse=1.0,adversarial=0.001")
    assert (config.net, config.discriminator) == ("srresnet5", "seed")


def test_a_file_of_settings_with_a_mapping_of_losses(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("losses_init: {l1: 1.0, vgg: 6.0e-3}\nbatch: 4\n")
    config = settings(f"--config={file}", "batch=5")
    assert config.losses_init == "l1=1.0,vgg=0.006"
    assert config.batch == 5  # the command line wins


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config", "sed-2018"), "neither a file nor one of"),
        (("--config",), "needs a name"),
        (("learning_rate=1",), "unrecognized arguments: --learning-rate"),
        (("lr=fast",), "invalid float"),
        (("lr=0",), "`lr` must be above 0"),
        (("net=resnet",), "invalid choice: 'resnet'"),
        (("mode=pretrain",), "invalid choice: 'pretrain'"),
    ],
)
def test_what_is_wrong_is_said(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(*words)

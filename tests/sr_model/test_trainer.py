"""What one training step changes, and what it leaves alone."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lakerank.cli.errors import UserError
from sr_model.config import TrainConfig
from sr_model.device import Degrade
from sr_model.losses import LossSettings, make_losses
from sr_model.training.optim import Muon, lr_factor
from sr_model.training.trainer import Trainer

PATCH = 32  # of which the `srgan` discriminator leaves 2 × 2
TINY = TrainConfig(mode="srresnet", net="tiny", lr=1e-3, ema=0.9, losses_init="mse=1", amp="none")


def smooth_patches(n: int, seed: int = 0) -> torch.Tensor:
    """(n, 3, PATCH, PATCH) in [-1, 1]: grey waves, which a small net can learn."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:PATCH, :PATCH] / PATCH
    waves = [np.sin(2 * np.pi * (a * x + b * y + rng.random())) for a, b in rng.uniform(-4, 4, (n, 2))]
    return torch.tensor(np.array(waves), dtype=torch.float32)[:, None].repeat(1, 3, 1, 1)


def batch(n: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    hr = smooth_patches(n, seed)
    return Degrade()((hr + 1) * 127.5) / 127.5 - 1, hr


def trainer(config: TrainConfig, adversarial: bool = False) -> Trainer:
    made = Trainer(config, torch.device("cpu"))
    losses = config.losses if adversarial else config.losses_init
    made.begin(make_losses(losses, LossSettings(config.adversarial), torch.device("cpu")), PATCH)
    return made


def gan(kind: str, losses: str = "mse=1,adversarial=1e-3", **changes: Any) -> Trainer:
    """With a discriminator of a quarter of the width, which takes a sixteenth of the time."""
    changes = {"discriminator_width": 16, **changes}
    config = dataclasses.replace(TINY, mode="srgan", adversarial=kind, losses=losses, **changes)
    return trainer(config, adversarial=True)


def frozen(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "muon"])
def test_one_batch_is_learnt_by_heart(optimizer: str) -> None:
    one = trainer(dataclasses.replace(TINY, optimizer=optimizer))
    lr, hr = batch(2)
    first = float(one.step(lr, hr, 1.0)["mse"])
    for _ in range(150):
        last = float(one.step(lr, hr, 1.0)["mse"])
    assert last < first / 5, (first, last)


@pytest.mark.parametrize("kind", ["vanilla", "wgan", "wgan-gp", "relativistic", "hinge"])
def test_each_network_s_step_leaves_the_other_alone(kind: str) -> None:
    one = gan(kind)
    assert one.discriminator is not None
    lr, hr = batch()
    sr = one.generator(lr)
    generator, discriminator = frozen(one.generator), frozen(one.discriminator)
    one.update_discriminator(sr.detach(), hr, 1.0)
    assert same(generator, one.generator.state_dict())
    assert not same(discriminator, one.discriminator.state_dict())
    weights = {name: p.detach().clone() for name, p in one.discriminator.named_parameters()}
    one.update_generator(sr, hr)
    assert not same(generator, one.generator.state_dict())
    assert same(weights, dict(one.discriminator.named_parameters()))


@pytest.mark.parametrize("kind", ["vanilla", "wgan", "wgan-gp", "relativistic", "hinge"])
def test_the_discriminator_learns_to_tell_them_apart(kind: str) -> None:
    one = gan(kind, optimizer="adam", lr=1e-4)
    assert one.discriminator is not None
    _, hr = batch(8)
    made = hr.roll(1, 0) * 0.2
    for _ in range(10):
        one.update_discriminator(made, hr, 1.0)
    with torch.no_grad():
        one.discriminator.train()
        assert one.discriminator(hr).mean() > one.discriminator(made).mean()


@pytest.mark.parametrize("kind", ["vanilla", "relativistic"])
def test_features_lead_the_generator_and_leave_the_game_as_it_is(kind: str) -> None:
    """A negligible weight changes nothing but the parts; a large one brings the features nearer."""
    lr, hr = batch()
    plain, light = gan(kind), gan(kind, "mse=1,adversarial=1e-3,features=1e-12")
    parts = light.step(lr, hr, 1.0)
    assert float(parts.pop("features")) > 0
    assert {k: float(v) for k, v in plain.step(lr, hr, 1.0).items()} == pytest.approx(
        {k: float(v) for k, v in parts.items()}, rel=1e-5
    )
    assert plain.discriminator is not None
    assert light.discriminator is not None
    assert same(dict(plain.discriminator.named_parameters()), dict(light.discriminator.named_parameters()))

    one = gan(kind, "mse=1e-9,adversarial=1e-9,features=1")
    sr = one.generator(lr)
    first = float(one.update_generator(sr, hr)["features"])  # against a discriminator that stays as it is
    for _ in range(60):
        last = float(one.update_generator(one.generator(lr), hr)["features"])
    assert last < first / 2


def test_the_discriminator_may_learn_more_slowly() -> None:
    def moved(**changes: Any) -> tuple[float, float]:
        one = gan("vanilla", optimizer="rmsprop", discriminator_width=8, **changes)
        nets = one.generator, one.discriminator
        assert nets[1] is not None
        before = [next(iter(net.parameters())).detach().clone() for net in nets]
        one.step(*batch(), 1.0)
        after = [next(iter(net.parameters())).detach() for net in nets]
        of_g, of_d = (float((a - b).abs().max()) for a, b in zip(after, before, strict=True))
        return of_g, of_d

    alike, slow = moved(), moved(discriminator_lr=1e-4)  # lr is 1e-3
    assert slow[1] == pytest.approx(alike[1] / 10, rel=0.01)
    assert slow[0] == pytest.approx(alike[0], rel=0.01)


def test_the_discriminator_is_as_wide_as_it_is_told() -> None:
    one = gan("vanilla", discriminator_width=8)
    assert one.discriminator is not None
    assert next(iter(one.discriminator.parameters())).shape == (8, 3, 3, 3)


def test_wgan_clips_the_discriminator() -> None:
    one = gan("wgan", optimizer="rmsprop", lr=1e-2)
    assert one.discriminator is not None
    one.step(*batch(), 1.0)
    assert max(float(p.abs().max()) for p in one.discriminator.parameters()) <= 0.01


def test_the_average_follows_and_is_what_is_saved() -> None:
    one = trainer(TINY)
    lr, hr = batch()
    assert one.average is not None
    before, begun = one.average.module.tail.weight.clone(), one.generator.tail.weight.detach().clone()
    one.step(lr, hr, 1.0)
    decay = 2 / 11  # (1 + updates) / (10 + updates), while that is below the ema
    after = one.generator.tail.weight.detach()
    assert not torch.equal(begun, after)
    assert torch.allclose(one.average.module.tail.weight, before + (1 - decay) * (after - before), atol=1e-8)
    assert one.ema_model is one.average.module
    assert trainer(dataclasses.replace(TINY, ema=0.0)).ema_model is not None


def test_gradient_clipping_bounds_the_step() -> None:
    free = trainer(dataclasses.replace(TINY, optimizer="rmsprop"))
    tight = trainer(dataclasses.replace(TINY, optimizer="rmsprop", grad_clip=1e-3))
    lr, hr = batch()
    for one in (free, tight):
        one.step(lr, hr, 1.0)
    assert grad_norm(free.generator) > 1e-2
    assert grad_norm(tight.generator) == pytest.approx(1e-3, rel=1e-3)


def grad_norm(net: nn.Module) -> float:
    return float(torch.stack([p.grad.norm() for p in net.parameters() if p.grad is not None]).norm())


def test_bf16_learns_too() -> None:
    one = trainer(dataclasses.replace(TINY, amp="bf16"))
    lr, hr = batch()
    first = float(one.step(lr, hr, 1.0)["mse"])
    for _ in range(60):
        last = float(one.step(lr, hr, 1.0)["mse"])
    assert last < first / 2
    assert all(p.dtype == torch.float32 for p in one.generator.parameters())


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_restored_trainer_takes_the_identical_next_step(adversarial: bool) -> None:
    first = gan("wgan-gp") if adversarial else trainer(TINY)
    for seed in range(3):
        first.step(*batch(seed=seed), 1.0)
    state = copy.deepcopy(first.state_dict())
    torch.manual_seed(99)  # the other process has drawn other numbers
    second = gan("wgan-gp") if adversarial else trainer(TINY)
    second.load_state_dict(state)
    b = second.step(*batch(seed=7), 1.0)
    torch.set_rng_state(state["rng"])
    a = first.step(*batch(seed=7), 1.0)
    assert {k: float(v) for k, v in a.items()} == {k: float(v) for k, v in b.items()}
    assert same(first.generator.state_dict(), second.generator.state_dict())


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_do() -> None:
    one = trainer(TINY)
    lr, hr = batch()
    hr[0, 0, 0, 0] = float("nan")
    parts = one.step(lr, hr, 1.0)
    with pytest.raises(UserError, match=r"step 7: the loss `mse` is nan.*step-3.pt.*Lower lr"):
        one.check_finite(parts, 7, "the last good checkpoint is step-3.pt")


def test_muon_steps_are_orthogonal() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(8, 4, 3, 3))
    kernel.grad = torch.randn(8, 4, 3, 3)
    Muon([kernel], lr=1.0).step()
    values = torch.linalg.svdvals(kernel.detach().reshape(8, -1))
    # Jordan's coefficients aim at [0.7, 1.2], not at 1.
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_schedules() -> None:
    def at(share: float, **settings: Any) -> float:
        return lr_factor(dataclasses.replace(TINY, **settings), share)

    assert [at(s, schedule="step") for s in (0.0, 0.49, 0.5, 1.0)] == pytest.approx([1.0, 1.0, 0.1, 0.1])
    assert [at(s, schedule="cosine") for s in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5, 0.0])
    assert [at(s, schedule="linear", decay_at=0.4) for s in (0.2, 0.4, 0.7, 1.0)] == pytest.approx([1, 1, 0.5, 0])
    assert at(0.05, schedule="constant", warmup=0.1) == pytest.approx(0.5)


def test_twenty_steps_give_the_losses_they_gave_before() -> None:
    one = trainer(TINY)
    losses = [float(one.step(*batch(seed=step), 1.0)["mse"]) for step in range(20)]
    assert losses[::5] == pytest.approx(GOLDEN, rel=2e-3), [round(x, 6) for x in losses[::5]]


GOLDEN = [0.151697, 0.117927, 0.104326, 0.060648]


def test_how_weights_begin_can_be_chosen() -> None:
    seeded = trainer(dataclasses.replace(TINY, net="srresnet5", init="normal002")).generator
    theirs = trainer(dataclasses.replace(TINY, net="srresnet5", init="default")).generator
    assert float(seeded.head[0].weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    norms = torch.cat([part.weight.detach() for part in seeded.modules() if isinstance(part, nn.BatchNorm2d)])
    assert float(norms.mean()) == pytest.approx(1.0, abs=0.005)
    assert float(norms.std()) == pytest.approx(0.02, rel=0.15)
    # PyTorch draws uniformly within 1/sqrt(fan-in); BN begins as it is.
    bound = (3 * 9 * 9) ** -0.5
    assert 0.9 * bound < float(theirs.head[0].weight.detach().abs().max()) <= bound
    assert all((part.weight == 1).all() for part in theirs.modules() if isinstance(part, nn.BatchNorm2d))


def test_nothing_is_written_by_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer(TINY).step(*batch(), 1.0)
    assert not list(tmp_path.iterdir())

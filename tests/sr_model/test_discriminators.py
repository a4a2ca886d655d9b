"""Discriminators: layers as in the seed and the paper, logits of single pictures, patches of one size."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from lakerank.cli.errors import UserError
from sr_model.nets.discriminators import DISCRIMINATORS, make_discriminator
from sr_model.nets.init import initialise

NAMES = list(DISCRIMINATORS)


def conv(a: int, b: int, k: int) -> int:
    """Weights of a conv without bias, and batch normalisation's gamma and beta."""
    return a * b * k * k + 2 * b


def by_hand(name: str, patch: int) -> int:
    """Parameters by the figures in the texts, at full width."""
    if name == "srgan":  # Ledig et al. 2017, figure 4
        channels = [64, 64, 128, 128, 256, 256, 512, 512]
        dense = (512 * (patch // 16) ** 2 + 1) * 1024 + 1024 + 1
        first = 3 * 64 * 9 + 64
        return first + sum(conv(a, b, 3) for a, b in itertools.pairwise(channels)) + dense
    channels = [64, 128, 256, 512, 1024]
    halving = 3 * 64 * 16 + 64 + sum(conv(a, b, 4) for a, b in itertools.pairwise(channels))
    tail = conv(1024, 512, 1) + conv(512, 128, 1) + conv(128, 512, 3)
    return halving + tail + 512 * (patch // 32) ** 2 + 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("patch", [96, 128])
def test_has_the_parameters_of_its_description(name: str, patch: int) -> None:
    with torch.device("meta"):
        made = make_discriminator(name, patch)
    assert sum(p.numel() for p in made.parameters()) == by_hand(name, patch)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Kernel, stride, channels.
        (
            "seed",
            [(4, 2, 64), (4, 2, 128), (4, 2, 256), (4, 2, 512), (4, 2, 1024), (1, 1, 512), (1, 1, 128), (3, 1, 512)],
        ),
        (
            "srgan",
            [(3, 1, 64), (3, 2, 64), (3, 1, 128), (3, 2, 128), (3, 1, 256), (3, 2, 256), (3, 1, 512), (3, 2, 512)],
        ),
    ],
)
def test_has_the_convs_of_its_description(name: str, expected: list[tuple[int, int, int]]) -> None:
    with torch.device("meta"):
        made = make_discriminator(name)
    convs = [part for part in made.modules() if isinstance(part, nn.Conv2d)]
    assert [(part.kernel_size[0], part.stride[0], part.out_channels) for part in convs] == expected
    norms = [part for part in made.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == len(convs) - 1  # none after the first
    assert {part.negative_slope for part in made.modules() if isinstance(part, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("patch", [96, 128])
def test_gives_one_finite_logit_for_each_picture(name: str, patch: int) -> None:
    logits = make_discriminator(name, patch, width=8)(torch.rand(3, 3, patch, patch) * 2 - 1)
    assert logits.shape == (3,)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("name", "layers"), [("seed", 5), ("srgan", 8)])
def test_what_it_looks_at_are_the_activations_behind_its_verdict(name: str, layers: int) -> None:
    net = make_discriminator(name, 32, width=8).eval()
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    features, logits = net.features_and_logits(x)
    assert torch.equal(logits, net(x))
    assert len(features) == layers
    assert all(len(seen) == 2 and seen.min() < 0 < seen.max() for seen in features)
    first = nn.functional.leaky_relu(net.trunk[0](x), 0.2)
    assert torch.equal(features[0], first)
    with pytest.raises(UserError, match="set crop=32"):
        net.features_and_logits(x[..., :16, :16])


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_linear_without_a_sigmoid(name: str) -> None:
    net = make_discriminator(name, 32, width=8).eval()
    last = [part for part in net.modules() if isinstance(part, nn.Linear)][-1]
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        before = net(x)
        last.weight.mul_(1000)
        assert torch.allclose(net(x), 1000 * before, rtol=1e-4)
        last.bias.add_(-50)
        assert torch.allclose(net(x), 1000 * before - 50, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_permuted_pictures_give_permuted_logits(name: str, training: bool) -> None:
    net = make_discriminator(name, 64, width=8).train(training)
    x, order = torch.rand(4, 3, 64, 64) * 2 - 1, torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        assert torch.allclose(net(x)[order], net(x[order]), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_a_batch_do_not_see_each_other_when_it_does_not_train(name: str) -> None:
    net = make_discriminator(name, 64, width=8).eval()
    x = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(net(x), torch.cat([net(one[None]) for one in x]), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    net = make_discriminator(name, 64, width=8)
    net(torch.rand(4, 3, 64, 64) * 2 - 1).square().sum().backward()
    for key, param in net.named_parameters():
        assert param.grad is not None, key
        assert param.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", NAMES)
def test_begins_as_the_seed_does(name: str) -> None:
    torch.manual_seed(0)
    net = make_discriminator(name, 64, width=16)
    weights = torch.cat([p.weight.detach().flatten() for p in net.modules() if isinstance(p, nn.Conv2d | nn.Linear)])
    gammas = torch.cat([p.weight.detach() for p in net.modules() if isinstance(p, nn.BatchNorm2d)])
    assert float(weights.mean()) == pytest.approx(0, abs=1e-3)
    assert float(weights.std()) == pytest.approx(0.02, rel=0.02)
    assert float(gammas.mean()) == pytest.approx(1, abs=0.005)
    assert float(gammas.std()) == pytest.approx(0.02, rel=0.15)
    assert all(not p.any() for key, p in net.named_parameters() if key.endswith("bias"))


def test_the_seed_s_tail_is_residual() -> None:
    net = make_discriminator("seed", 64, width=8).eval()
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        for part in net.get_submodule("tail").modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.zero_()
        logits = net(x)
        without = net.get_submodule("out")(nn.functional.leaky_relu(net.get_submodule("trunk")(x), 0.2).flatten(1))
    assert torch.allclose(logits, without.squeeze(1))
    assert float((logits[0] - logits[1]).abs()) > 0


@pytest.mark.parametrize(("name", "step"), [("seed", 32), ("srgan", 16)])
def test_patches_that_do_not_halve_are_refused(name: str, step: int) -> None:
    make_discriminator(name, step, width=8)
    for patch in (0, -step, step // 2, step + 1, 100):
        with pytest.raises(UserError, match=rf"discriminator {name}: .*multiple of {step}.*not {patch}"):
            make_discriminator(name, patch, width=8)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_another_size_are_refused(name: str) -> None:
    net = make_discriminator(name, 64, width=8)
    with pytest.raises(UserError, match=f"discriminator {name}: was made for 64×64 pictures, not 96×64"):
        net(torch.zeros(1, 3, 64, 96))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="discriminator patchgan: must be one of seed, srgan"):
        make_discriminator("patchgan")
    with pytest.raises(UserError, match="init xavier"):
        initialise(nn.Conv2d(1, 1, 1), "xavier")


def test_default_init_changes_nothing() -> None:
    layer = nn.Conv2d(3, 4, 3)
    before = layer.weight.detach().clone()
    initialise(layer, "default")
    assert torch.equal(before, layer.weight)

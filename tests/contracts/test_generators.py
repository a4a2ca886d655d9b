"""What every generator must do, whatever is inside."""

from __future__ import annotations

import pytest
import torch

from lakerank.cli.errors import UserError
from sr_model.nets import GENERATORS, make_generator

# Weights and biases by hand, from the papers' figures: conv k×k from a to b channels is a·b·k² (+ b).
PARAMETERS = {
    "srresnet5": 733_507,
    "srresnet16": 1_547_350,
    "msrresnet": 1_517_571,
    "tiny": 97_424,
}


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    return make_generator(request.param)


def test_counts_are_known_for_all() -> None:
    assert set(PARAMETERS) == set(GENERATORS)


@pytest.mark.parametrize("name", GENERATORS)
def test_has_the_parameters_of_its_description(name: str) -> None:
    assert sum(p.numel() for p in make_generator(name).parameters()) == PARAMETERS[name]


def conv(a: int, b: int, k: int, bias: bool = True) -> int:
    return a * b * k * k + bias * b


def test_the_counts_follow_from_the_papers() -> None:
    block = 2 * (conv(64, 64, 3, bias=False) + 2 * 64)
    ends = conv(3, 64, 9) + conv(64, 64, 3, bias=False) + 2 * 64 + 2 * conv(64, 256, 3) + conv(64, 3, 9)
    assert PARAMETERS["srresnet5"] == 5 * block + ends
    assert PARAMETERS["srresnet16"] == 16 * (block + 1) + ends + 3  # one slope for each PReLU
    plain = 2 * conv(64, 64, 3)
    assert PARAMETERS["msrresnet"] == conv(3, 64, 3) + 16 * plain + 2 * conv(64, 256, 3) + conv(64, 64, 3) + conv(
        64, 3, 3
    )
    assert PARAMETERS["tiny"] == conv(1, 32, 3) + 10 * conv(32, 32, 3) + conv(32, 16, 3)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (24, 24)])
def test_enlarges_four_times(generator: torch.nn.Module, size: tuple[int, int]) -> None:
    generator.eval()
    with torch.no_grad():
        out = generator(torch.rand(2, 3, *size) * 2 - 1)
    assert out.shape == (2, 3, 4 * size[0], 4 * size[1])
    assert generator.scale == 4
    assert torch.isfinite(out).all()


def test_pictures_of_a_batch_do_not_see_each_other(generator: torch.nn.Module) -> None:
    generator.eval()
    x = torch.rand(3, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        together, alone = generator(x), torch.cat([generator(one[None]) for one in x])
    assert torch.allclose(together, alone, atol=1e-5)


def test_every_parameter_learns(generator: torch.nn.Module) -> None:
    generator.train()
    (generator(torch.rand(2, 3, 8, 8) * 2 - 1) - torch.rand(2, 3, 32, 32)).square().mean().backward()
    for name, param in generator.named_parameters():
        assert param.grad is not None, name
        assert param.grad.abs().sum() > 0, name


def test_the_same_seed_gives_the_same_weights(generator: torch.nn.Module) -> None:
    torch.manual_seed(0)
    name = next(n for n in GENERATORS if PARAMETERS[n] == sum(p.numel() for p in generator.parameters()))
    again = make_generator(name)
    for (key, a), b in zip(generator.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_tiny_begins_near_bicubic() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    bicubic = torch.nn.functional.interpolate(x, scale_factor=4, mode="bicubic")
    assert (make_generator("tiny")(x) - bicubic).abs().mean() < 0.05


def test_msrresnet_adds_to_the_bilinear_picture() -> None:
    generator = make_generator("msrresnet")
    torch.nn.init.zeros_(generator.tail.weight)
    torch.nn.init.zeros_(generator.tail.bias)
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    assert torch.allclose(generator(x), torch.nn.functional.interpolate(x, scale_factor=4, mode="bilinear"))


def test_tiny_adds_the_same_to_red_green_and_blue() -> None:
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    added = make_generator("tiny")(x) - torch.nn.functional.interpolate(x, scale_factor=4, mode="bicubic")
    assert torch.allclose(added[:, 0], added[:, 1], atol=1e-6)
    assert torch.allclose(added[:, 0], added[:, 2], atol=1e-6)


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match="did you mean srresnet16"):
        make_generator("srresnet-16")

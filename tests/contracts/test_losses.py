"""What every loss must do: content losses compare pictures, adversarial ones weigh a discriminator's logits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lakerank.cli.errors import UserError
from sr_model.losses import ADVERSARIAL, LOSSES, Loss, LossSettings, make_losses
from sr_model.losses.adversarial import feature_distance, gradient_penalty
from sr_model.losses.vgg import VGGLoss, find_weights, parse_layer, smallest_side

CPU = torch.device("cpu")
EPSILON = 1e-3  # Charbonnier's


def vgg_features() -> nn.Sequential:
    """Torchvision's VGG19 convs with small random weights and biases; the dense layers would take seconds."""
    from torchvision.models import vgg19

    with torch.device("meta"):
        features = vgg19(weights=None).features
    made: nn.Sequential = features.to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for param in made.parameters():
            nn.init.normal_(param, 0.0, 1 / math.sqrt(param[0].numel()) if param.dim() == 4 else 0.1)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def features() -> nn.Sequential:
    return vgg_features()


@pytest.fixture(scope="module")
def weights(features: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision's, except that the dense layers are left out."""
    file = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, file)
    return file


@pytest.fixture
def settings(weights: Path) -> LossSettings:
    return LossSettings(vgg_weights=str(weights), vgg_layer="2,2")


@pytest.fixture(params=LOSSES)
def spec(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]


@pytest.fixture
def loss(spec: Loss, settings: LossSettings) -> Any:
    return spec.make(settings)


@pytest.fixture
def side(spec: Loss, settings: LossSettings) -> int:
    """Of pictures that every loss takes: 8, or what it needs."""
    return max(8, spec.smallest(settings))


def pictures(n: int = 2, side: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two unlike batches (n, 3, side, side) in [-1, 1], float64."""
    drawn = torch.rand(2, n, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drawn * 2 - 1).unbind()


def in_double(loss: Any) -> Any:
    return loss.double() if isinstance(loss, nn.Module) else loss


# --- content


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_content_is_zero_for_equal_pictures(loss: Any, side: int, dtype: torch.dtype) -> None:
    x, _ = pictures(side=side)
    assert float(loss(x.to(dtype), x.to(dtype))) == 0.0


def test_content_is_positive_and_grows_with_the_difference(loss: Any, side: int) -> None:
    x, y = (batch.float() for batch in pictures(side=side))
    near, far = float(loss(x + 0.1 * (y - x), x)), float(loss(y, x))
    assert 0 < near < far


def test_content_is_the_mean_over_the_batch(loss: Any, side: int) -> None:
    x, y = pictures(side=side)
    once, twice = in_double(loss)(x, y), loss(x.repeat(2, 1, 1, 1), y.repeat(2, 1, 1, 1))
    assert float(twice) == pytest.approx(float(once), rel=1e-9)
    alone = torch.stack([loss(x[i : i + 1], y[i : i + 1]) for i in range(2)]).mean()
    assert float(alone) == pytest.approx(float(once), rel=1e-9)


def test_content_agrees_with_finite_differences(loss: Any, spec: Loss, settings: LossSettings) -> None:
    x, y = pictures(n=1, side=max(4, spec.smallest(settings)))
    x.requires_grad_(True)
    assert torch.autograd.gradcheck(in_double(loss), (x, y), eps=1e-6, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_content_keeps_the_dtype_and_is_finite(loss: Any, side: int, dtype: torch.dtype) -> None:
    x, y = (batch.to(dtype) for batch in pictures(side=side))
    x.requires_grad_(True)
    value = loss(x, y)
    value.backward()
    assert value.shape == ()
    assert value.dtype == dtype
    assert x.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_content_stays_on_the_device(name: str, weights: Path) -> None:
    meta = torch.device("meta")
    settings = LossSettings(vgg_weights=str(weights), vgg_layer="1,2")
    made, side = make_losses(name, settings, meta), max(8, LOSSES[name].smallest(settings))
    total, _ = made(torch.empty(1, 3, side, side, device=meta), torch.empty(1, 3, side, side, device=meta))
    assert total.device == meta


@pytest.mark.parametrize("n", [1, 3])
def test_content_takes_pictures_of_the_smallest_size(loss: Any, spec: Loss, settings: LossSettings, n: int) -> None:
    x, y = (batch.float() for batch in pictures(n, side=spec.smallest(settings)))
    assert torch.isfinite(loss(x, y))


@pytest.mark.parametrize("name", LOSSES)
def test_patches_smaller_than_the_smallest_size_are_refused(name: str, settings: LossSettings) -> None:
    smallest = LOSSES[name].smallest(settings)
    make_losses(name, settings, CPU, patch=smallest)
    with pytest.raises(UserError, match=f"`{name}` needs patches of at least {smallest} pixels, not {smallest - 1}"):
        make_losses(name, settings, CPU, patch=smallest - 1)


@pytest.mark.parametrize(
    ("name", "red", "green", "blue", "expected"),
    [
        ("mse", 0.3, 0.0, -0.6, (0.09 + 0.36) / 3),
        ("l1", 0.3, 0.0, -0.6, 0.9 / 3),
        # sqrt(3)·ε is where the root is 2ε.
        ("charbonnier", math.sqrt(3) * EPSILON, 0.0, -math.sqrt(3) * EPSILON, 2 * EPSILON / 3),
        ("luma", 0.3, 0.3, 0.3, 0.3),
        ("luma", 1.0, 0.0, 0.0, 65.481 / 219),
        ("luma", 0.0, 0.0, -1.0, 24.966 / 219),
    ],
)
def test_pixel_losses_have_their_known_values(
    name: str, red: float, green: float, blue: float, expected: float
) -> None:
    x, _ = pictures()
    change = torch.tensor([red, green, blue], dtype=torch.float64).view(1, 3, 1, 1)
    assert float(LOSSES[name].make(LossSettings())(x + change, x)) == pytest.approx(expected, rel=1e-9)


# --- VGG


def hand_cut(features: nn.Sequential, pool: int, conv: int, x: Tensor) -> Tensor:
    """The features of the paper, by walking through the layers and counting."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)  # ImageNet's
    x = ((x + 1) / 2 - mean) / std
    pools, convs = 1, 0
    for part in features:
        if isinstance(part, nn.MaxPool2d):
            pools, convs = pools + 1, 0
        if isinstance(part, nn.Conv2d):
            convs += 1
        x = part(x)
        if isinstance(part, nn.ReLU) and (pools, convs) == (pool, conv):
            return x / 12.75
    raise AssertionError("no such layer")


@pytest.mark.parametrize(("pool", "conv"), [(1, 1), (2, 2), (3, 4), (5, 4)])
def test_vgg_equals_a_hand_cut_network(features: nn.Sequential, weights: Path, pool: int, conv: int) -> None:
    x, y = (batch.float() for batch in pictures(side=32))
    expected = (hand_cut(features, pool, conv, x) - hand_cut(features, pool, conv, y)).square().mean()
    assert float(VGGLoss(f"{pool},{conv}", weights)(x, y)) == pytest.approx(float(expected), rel=1e-4)


def test_random_vgg_is_always_the_same_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = VGGLoss("2,2")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    x, y = (batch.float() for batch in pictures())
    assert float(first(x, y)) == float(VGGLoss("2,2")(x, y)) > 0


def test_vgg_itself_does_not_learn() -> None:
    x, y = (batch.float() for batch in pictures())
    made = VGGLoss("2,2").train()
    made(x.requires_grad_(True), y).backward()
    assert all(p.grad is None and not p.requires_grad for p in made.parameters())


def test_missing_weights_are_said_with_the_place_the_address_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError) as raised:
        find_weights("")
    for part in (str(tmp_path), "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "vgg_weights", "vgg-random"):
        assert part in str(raised.value)
    with pytest.raises(UserError, match=r"nowhere\.pth: no such file"):
        find_weights(str(tmp_path / "nowhere.pth"))


def test_torchvision_s_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert find_weights("") == cached


@pytest.mark.parametrize("content", [b"", b"no weights at all", None])
def test_a_file_that_is_no_vgg_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "other.pth"
    if content is None:
        torch.save({"conv.weight": torch.zeros(1)}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"other\.pth: not torchvision's VGG19 \(.+\)"):
        VGGLoss("1,1", file)


@pytest.mark.parametrize("text", ["6,1", "0,1", "1,3", "5", "5,0", "a,b", "", "2,-1", "²,4", "5,²", "9" * 5000 + ",1"])
def test_a_layer_that_vgg19_lacks_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="vgg_layer") as told:
        parse_layer(text)
    assert len(str(told.value)) < 200


@pytest.mark.parametrize(("layer", "side"), [("1,2", 1), ("2,2", 2), ("5,4", 16)])
def test_the_smallest_size_is_what_the_poolings_leave_one_pixel_of(layer: str, side: int) -> None:
    assert smallest_side(layer) == VGGLoss(layer).smallest == side


def test_patches_too_small_for_the_layer_are_refused() -> None:
    x, y = (batch.float() for batch in pictures(side=8))
    with pytest.raises(UserError, match="8×8 patches are too small"):
        VGGLoss("5,1")(x, y)


# --- adversarial

LN2 = math.log(2)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# (real, fake) → loss of the discriminator, loss of the generator.
KNOWN = {
    "vanilla": [
        ([0.0], [0.0], 2 * LN2, LN2),
        ([2.0, -1.0], [0.5], (softplus(-2) + softplus(1)) / 2 + softplus(0.5), softplus(-0.5)),
    ],
    "wgan": [([3.0, 1.0], [1.0], -1.0, -1.0), ([0.0], [0.0], 0.0, 0.0)],
    "wgan-gp": [([3.0, 1.0], [1.0], -1.0, -1.0)],
    "relativistic": [
        ([7.0], [7.0], LN2, LN2),
        ([2.0], [0.0], softplus(-2), softplus(2)),
        # Real is 1 and 3 against an average fake of 0; fake is 0 against an average real of 2.
        (
            [1.0, 3.0],
            [0.0],
            ((softplus(-1) + softplus(-3)) / 2 + softplus(-2)) / 2,
            ((softplus(1) + softplus(3)) / 2 + softplus(2)) / 2,
        ),
    ],
    "hinge": [([0.5], [-2.0], 0.5, 2.0), ([2.0, 0.0], [0.0], 0.5 + 1.0, 0.0)],
}


def test_known_values_stand_for_all() -> None:
    assert set(KNOWN) == set(ADVERSARIAL)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_losses_have_their_known_values(name: str) -> None:
    for real, fake, of_d, of_g in KNOWN[name]:
        d_real, d_fake = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
        assert float(ADVERSARIAL[name].discriminator_loss(d_real, d_fake)) == pytest.approx(of_d, abs=1e-12)
        assert float(ADVERSARIAL[name].generator_loss(d_fake, d_real)) == pytest.approx(of_g, abs=1e-12)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_only_losses_that_say_so_look_at_the_real_logits(name: str) -> None:
    kind, d_fake = ADVERSARIAL[name], torch.tensor([0.3])
    if kind.needs_real:
        assert kind.generator_loss(d_fake, torch.tensor([1.0])) != kind.generator_loss(d_fake, torch.tensor([2.0]))
    else:
        assert kind.generator_loss(d_fake, None) == kind.generator_loss(d_fake, torch.tensor([2.0]))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_each_player_gains_by_moving_its_logits(name: str) -> None:
    """The generator by raising those of its pictures; the discriminator by lowering them and raising the real ones."""
    kind = ADVERSARIAL[name]
    d_real = torch.tensor([0.4, -0.2, 0.7], dtype=torch.float64, requires_grad=True)
    d_fake = torch.tensor([0.1, -0.5, 0.9], dtype=torch.float64, requires_grad=True)  # within hinge's margin
    (down,) = torch.autograd.grad(kind.generator_loss(d_fake, d_real), d_fake)
    assert (down < 0).all()
    real, fake = torch.autograd.grad(kind.discriminator_loss(d_real, d_fake), (d_real, d_fake))
    assert (real < 0).all()
    assert (fake > 0).all()


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_losses_agree_with_finite_differences(name: str) -> None:
    kind = ADVERSARIAL[name]
    d_real = torch.tensor([0.4, -3.0, 2.0], dtype=torch.float64, requires_grad=True)
    d_fake = torch.tensor([0.1, -2.5, 1.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(kind.discriminator_loss, (d_real, d_fake))
    assert torch.autograd.gradcheck(kind.generator_loss, (d_fake, d_real))


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize(("real", "fake"), [(1e4, -1e4), (-1e4, 1e4), (1e4, 1e4), (-1e4, -1e4)])
def test_adversarial_losses_stay_finite_for_huge_logits(name: str, real: float, fake: float) -> None:
    d_real = torch.full((3,), real, requires_grad=True)
    d_fake = torch.full((3,), fake, requires_grad=True)
    kind = ADVERSARIAL[name]
    for value in (kind.discriminator_loss(d_real, d_fake), kind.generator_loss(d_fake, d_real)):
        assert torch.isfinite(value)
        for grad in torch.autograd.grad(value, (d_real, d_fake), allow_unused=True):
            assert grad is None or torch.isfinite(grad).all()


def test_a_generator_that_fools_nobody_still_gets_the_full_gradient() -> None:
    """Why −log D rather than log(1 − D): the latter's would be 0 here."""
    d_fake = torch.tensor([-1e4], requires_grad=True)
    (grad,) = torch.autograd.grad(ADVERSARIAL["vanilla"].generator_loss(d_fake, None), d_fake)
    assert grad.item() == pytest.approx(-1.0)


def test_only_wgan_clips_and_only_wgan_gp_penalises() -> None:
    assert {name: kind.clip for name, kind in ADVERSARIAL.items() if kind.clip} == {"wgan": 0.01}
    assert {name: kind.penalty for name, kind in ADVERSARIAL.items() if kind.penalty} == {"wgan-gp": 10.0}


class Linear(nn.Module):
    """D(x) = ⟨w, x⟩, whose slope is w everywhere."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.w).flatten(1).sum(1)


def test_the_gradient_penalty_of_a_linear_discriminator_is_known() -> None:
    x, y = pictures(side=2)
    net = Linear(torch.arange(12, dtype=torch.float64).view(3, 2, 2))
    norm = float(net.w.detach().norm())
    penalty = gradient_penalty(net, x, y)
    assert penalty.item() == pytest.approx((norm - 1) ** 2)
    (grad,) = torch.autograd.grad(penalty, net.w)
    assert torch.allclose(grad, 2 * (norm - 1) * net.w.detach() / norm)


def test_the_gradient_penalty_looks_between_real_and_made() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return x.square().flatten(1).sum(1)

    real, fake = torch.ones(64, 3, 2, 2), -torch.ones(64, 3, 2, 2)
    gradient_penalty(Spy(), real, fake)
    (points,) = seen
    shares = points[:, 0, 0, 0]
    assert torch.equal(points, shares.view(-1, 1, 1, 1).expand_as(points))  # one share for each picture
    assert shares.min() < -0.5
    assert shares.max() > 0.5
    assert shares.abs().max() <= 1


def test_a_flat_discriminator_has_a_finite_penalty() -> None:
    net = Linear(torch.zeros(3, 2, 2))
    penalty = gradient_penalty(net, torch.ones(2, 3, 2, 2), -torch.ones(2, 3, 2, 2))
    assert penalty.item() == 1.0
    penalty.backward()  # type: ignore[no-untyped-call]
    assert net.w.grad is not None
    assert torch.isfinite(net.w.grad).all()


def test_the_distance_of_features_is_the_mean_over_layers_of_the_mean_difference() -> None:
    made = [torch.zeros(2, 3, 4, 4), torch.full((2, 8, 2, 2), 5.0)]
    true = [torch.full((2, 3, 4, 4), -2.0), torch.full((2, 8, 2, 2), 2.0)]
    assert feature_distance(made, true).item() == pytest.approx((2 + 3) / 2)
    assert feature_distance(true, true).item() == 0
    with pytest.raises(ValueError, match="shorter"):
        feature_distance(made, true[:1])


# --- by name


def test_the_total_is_the_weighted_sum_and_the_parts_are_unweighted() -> None:
    x, y = pictures()
    made = make_losses("mse=2, l1=0.5, adversarial=1e-3", LossSettings("hinge"), CPU)
    total, parts = made(x.requires_grad_(True), y)
    assert set(parts) == {"mse", "l1"}
    assert total.item() == pytest.approx((2 * (x - y).square().mean() + 0.5 * (x - y).abs().mean()).item())
    assert parts["mse"].item() == pytest.approx((x - y).square().mean().item())
    assert total.requires_grad
    assert not any(part.requires_grad for part in parts.values())
    assert made.adversarial is ADVERSARIAL["hinge"]
    assert made.adversarial_weight == 1e-3
    assert made.features_weight == 0
    assert make_losses("mse,adversarial=1e-3,features=0.5", LossSettings(), CPU).features_weight == 0.5


def test_without_an_adversarial_weight_there_is_no_adversarial_loss() -> None:
    made = make_losses("l1", LossSettings("wgan"), CPU)
    assert made.adversarial is None
    assert made.adversarial_weight == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mze=1", "did you mean mse"),
        ("adversary=1,mse=1", "did you mean adversarial"),
        ("zzz=1", "known: mse, l1"),
        ("mse=x", "NAME=WEIGHT"),
        ("mse=0", "must be above 0"),
        ("mse=-1", "must be above 0"),
        ("mse=nan", "must be above 0"),
        ("mse=inf", "must be above 0"),
        ("mse=1,mse=2", "twice"),
        ("adversarial=1e-3", "at least one content loss"),
        ("adversarial=1e-3,features=1", "at least one content loss"),
        ("feature=1,mse=1,adversarial=1", "did you mean features"),
        ("mse=1,features=1", "features needs a discriminator; add adversarial"),
        ("", "at least one content loss"),
    ],
)
def test_wrong_settings_are_refused_with_what_to_do(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_losses(text, LossSettings(), CPU)


def test_an_unknown_adversarial_loss_is_refused() -> None:
    with pytest.raises(UserError, match="must be one of vanilla, wgan"):
        make_losses("mse=1,adversarial=1", LossSettings("minimax"), CPU)

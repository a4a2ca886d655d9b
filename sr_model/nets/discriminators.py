"""Discriminators by name: (N, 3, P, P) in [-1, 1] to (N,) logits, without a sigmoid."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from lakerank.cli.errors import UserError
from sr_model.nets.init import initialise


def _conv(a: int, b: int, kernel: int, stride: int = 1, norm: bool = True, act: bool = True) -> list[nn.Module]:
    """Make conv, BN and LeakyReLU 0.2; BN brings the bias."""
    parts: list[nn.Module] = [nn.Conv2d(a, b, kernel, stride, padding=(kernel - 1) // 2, bias=not norm)]
    parts += [nn.BatchNorm2d(b)] if norm else []
    parts += [nn.LeakyReLU(0.2)] if act else []
    return parts


def _check_patch(name: str, patch: int, step: int) -> None:
    if patch < step or patch % step:
        raise UserError(f"discriminator {name}: patches must be a multiple of {step} wide, not {patch}; set crop")


def _check_size(name: str, x_NCHW: Tensor, patch: int) -> None:
    height, width = x_NCHW.shape[-2:]
    if (height, width) != (patch, patch):
        raise UserError(
            f"discriminator {name}: was made for {patch}×{patch} pictures, not {width}×{height}; set crop={patch}"
        )


class Discriminator(nn.Module):
    """Share what all have: a trunk of convolutions, and a head that makes one logit of its output."""

    trunk: nn.Sequential

    def __init__(self, name: str, patch: int) -> None:
        super().__init__()
        self.name, self.patch = name, patch

    def head_logits(self, trunk_NCHW: Tensor) -> Tensor:
        """Make logits (N,) of the trunk's output."""
        raise NotImplementedError

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map (N, 3, P, P) to logits (N,)."""
        _check_size(self.name, x_NCHW, self.patch)
        return self.head_logits(self.trunk(x_NCHW))

    def features_and_logits(self, x_NCHW: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the activations (N, c, h, w) after each LeakyReLU of the trunk, and the logits (N,)."""
        _check_size(self.name, x_NCHW, self.patch)
        features = []
        for part in self.trunk:
            x_NCHW = part(x_NCHW)
            if isinstance(part, nn.LeakyReLU):
                features.append(x_NCHW)
        return features, self.head_logits(x_NCHW)


class SeedDiscriminator(Discriminator):
    """The seed's: five 4×4 stride-2 convs, one 1×1, a residual tail, one linear output.

    A shorter form of TensorLayer's SRGAN of 2018, which halves six times and has one more conv before the tail and
    one more in it.

    Args:
        patch: side of the pictures, a multiple of 32.
        width: channels of the first conv; the deepest have 16 times as many.
    """

    def __init__(self, patch: int, width: int = 64) -> None:
        super().__init__("seed", patch)
        _check_patch("seed", patch, 32)
        layers = _conv(3, width, 4, 2, norm=False)
        for i in range(4):
            layers += _conv(width * 2**i, width * 2 ** (i + 1), 4, 2)
        layers += _conv(16 * width, 8 * width, 1, act=False)
        self.trunk = nn.Sequential(*layers)
        self.tail = nn.Sequential(*_conv(8 * width, 2 * width, 1), *_conv(2 * width, 8 * width, 3, act=False))
        self.act = nn.LeakyReLU(0.2)
        self.out = nn.Linear(8 * width * (patch // 32) ** 2, 1)
        initialise(self, "normal002")

    def head_logits(self, trunk_NCHW: Tensor) -> Tensor:
        """Apply the residual tail and the linear output."""
        return cast(Tensor, self.out(self.act(trunk_NCHW + self.tail(trunk_NCHW)).flatten(1)).squeeze(1))


class SRGANDiscriminator(Discriminator):
    """The paper's (Ledig et al. 2017, figure 4): eight 3×3 convs, every second with stride 2, two dense layers.

    Args:
        patch: side of the pictures, a multiple of 16.
        width: channels of the first conv; the last have 8 times as many.
    """

    def __init__(self, patch: int, width: int = 64) -> None:
        super().__init__("srgan", patch)
        _check_patch("srgan", patch, 16)
        layers = [*_conv(3, width, 3, norm=False), *_conv(width, width, 3, 2)]
        for i in range(3):
            layers += _conv(width * 2**i, width * 2 ** (i + 1), 3)
            layers += _conv(width * 2 ** (i + 1), width * 2 ** (i + 1), 3, 2)
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(8 * width * (patch // 16) ** 2, 16 * width),
            nn.LeakyReLU(0.2),
            nn.Linear(16 * width, 1),
        )
        initialise(self, "normal002")

    def head_logits(self, trunk_NCHW: Tensor) -> Tensor:
        """Apply the two dense layers."""
        return cast(Tensor, self.head(trunk_NCHW).squeeze(1))


DISCRIMINATORS: dict[str, Callable[[int, int], Discriminator]] = {
    "seed": SeedDiscriminator,
    "srgan": SRGANDiscriminator,
}


def make_discriminator(name: str, patch: int = 96, width: int = 64) -> Discriminator:
    """Make a discriminator with fresh weights, N(0, 0.02) from torch's random state.

    Args:
        name: a key of `DISCRIMINATORS`.
        patch: side of the square pictures it will see, in pixels.
        width: channels of its first conv.

    Raises:
        UserError: no discriminator has this name, or it cannot take such patches.
    """
    if name not in DISCRIMINATORS:
        raise UserError(f"discriminator {name}: must be one of {', '.join(DISCRIMINATORS)}")
    return DISCRIMINATORS[name](patch, width)

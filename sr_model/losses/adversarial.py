"""Adversarial losses by name: what the discriminator minimises and what the generator does.

All work on logits (N,), one for each picture, without a sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Adversarial:
    """Describe an adversarial loss.

    Attributes:
        discriminator_loss: (d_real, d_fake) → scalar.
        generator_loss: (d_fake, d_real or None) → scalar.
        needs_real: the generator's loss looks at the real pictures' logits too.
        clip: after each step the discriminator's weights are clamped to ±clip; 0: they are not.
        penalty: weight of the gradient penalty; 0: none.
    """

    discriminator_loss: Callable[[Tensor, Tensor], Tensor]
    generator_loss: Callable[[Tensor, Tensor | None], Tensor]
    needs_real: bool = False
    clip: float = 0.0
    penalty: float = 0.0


def _vanilla_d(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """Compute −log D(real) − log(1 − D(fake)); softplus(−x) is −log sigmoid(x) without overflow."""
    return F.softplus(-d_real).mean() + F.softplus(d_fake).mean()


def _vanilla_g(d_fake: Tensor, d_real: Tensor | None = None) -> Tensor:
    """Compute −log D(fake) (SRGAN, equation 6, as the mean): large gradients while the discriminator is not fooled."""
    return F.softplus(-d_fake).mean()


def _wasserstein_d(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """Compute the mean of fake minus the mean of real (Arjovsky et al. 2017, algorithm 1)."""
    return d_fake.mean() - d_real.mean()


def _wasserstein_g(d_fake: Tensor, d_real: Tensor | None = None) -> Tensor:
    return -d_fake.mean()


def _relativistic_d(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """Compute the relativistic average loss: real must look more real than the average fake, and the other way round
    (ESRGAN, section 3.2)."""
    return (F.softplus(-(d_real - d_fake.mean())).mean() + F.softplus(d_fake - d_real.mean()).mean()) / 2


def _relativistic_g(d_fake: Tensor, d_real: Tensor | None = None) -> Tensor:
    assert d_real is not None
    return (F.softplus(d_real - d_fake.mean()).mean() + F.softplus(-(d_fake - d_real.mean())).mean()) / 2


def _hinge_d(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """Compute the hinge loss: no gain beyond a margin of 1 (Lim and Ye 2017)."""
    return F.relu(1 - d_real).mean() + F.relu(1 + d_fake).mean()


ADVERSARIAL: dict[str, Adversarial] = {
    "vanilla": Adversarial(_vanilla_d, _vanilla_g),
    "wgan": Adversarial(_wasserstein_d, _wasserstein_g, clip=0.01),
    "wgan-gp": Adversarial(_wasserstein_d, _wasserstein_g, penalty=10.0),
    "relativistic": Adversarial(_relativistic_d, _relativistic_g, needs_real=True),
    "hinge": Adversarial(_hinge_d, _wasserstein_g),
}


def feature_distance(made: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """Compute the distance of two pictures' features in a discriminator (Wang et al. 2018, pix2pixHD, equation 4).

    Args:
        made: activations of its layers, as `Discriminator.features_and_logits` gives them.
        true: of the true pictures, without gradient.

    Returns:
        The mean over layers of the mean absolute difference; a scalar.
    """
    return torch.stack([F.l1_loss(a, b).float() for a, b in zip(made, true, strict=True)]).mean()


def gradient_penalty(discriminator: nn.Module, real_NCHW: Tensor, fake_NCHW: Tensor) -> Tensor:
    """Compute the mean of (‖∇D‖ − 1)² at random points between real and made (Gulrajani et al. 2017, equation 3).

    Args:
        discriminator: (N, 3, H, W) → (N,).
        real_NCHW: in [-1, 1].
        fake_NCHW: in [-1, 1], detached.

    Returns:
        A scalar that can be differentiated by the discriminator's weights.
    """
    share = torch.rand(len(real_NCHW), 1, 1, 1, device=real_NCHW.device, dtype=real_NCHW.dtype)
    between = (share * real_NCHW + (1 - share) * fake_NCHW).requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    return cast(Tensor, (slope.flatten(1).norm(dim=1) - 1).square().mean())

"""Losses by name, with weights: total = content + weight · adversarial + weight · features.

A new content loss is a file beside this one and an entry of `LOSSES`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lakerank.cli.errors import UserError
from sr_model.losses import pixel
from sr_model.losses.adversarial import ADVERSARIAL, Adversarial
from sr_model.losses.vgg import VGGLoss, find_weights, smallest_side

ContentLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LossSettings:
    """Hold what some losses need to know besides their weight.

    Attributes:
        adversarial: the adversarial loss, a key of `ADVERSARIAL`.
        vgg_weights: file of VGG19's weights; empty: torchvision's cache.
        vgg_layer: `i,j` of φ(i,j).
    """

    adversarial: str = "vanilla"
    vgg_weights: str = ""
    vgg_layer: str = "5,4"


@dataclass(frozen=True)
class Loss:
    """Describe a content loss.

    Attributes:
        make: settings → a function of (made, true), both (N, 3, H, W) in [-1, 1], to a scalar.
        smallest: settings → the least H and W in pixels that the function takes.
    """

    make: Callable[[LossSettings], ContentLoss]
    smallest: Callable[[LossSettings], int] = lambda _: 1


LOSSES: Mapping[str, Loss] = {
    "mse": Loss(lambda _: pixel.mse),
    "l1": Loss(lambda _: pixel.l1),
    "charbonnier": Loss(lambda _: pixel.charbonnier),
    "luma": Loss(lambda _: pixel.luma),
    "vgg": Loss(lambda s: VGGLoss(s.vgg_layer, find_weights(s.vgg_weights)), lambda s: smallest_side(s.vgg_layer)),
    "vgg-random": Loss(lambda s: VGGLoss(s.vgg_layer), lambda s: smallest_side(s.vgg_layer)),
}

# Losses that need a discriminator; the trainer computes them.
GAN_LOSSES = ("adversarial", "features")


@dataclass(frozen=True)
class TotalLoss:
    """Sum weighted content losses; hold what the trainer needs for the adversarial ones.

    Attributes:
        content: name → weight and function.
        adversarial: the adversarial loss; None: there is no discriminator.
        adversarial_weight: of the adversarial loss.
        features_weight: of the distance between the discriminator's features (`feature_distance`); 0: not computed.
    """

    content: Mapping[str, tuple[float, ContentLoss]]
    adversarial: Adversarial | None
    adversarial_weight: float
    features_weight: float = 0.0

    def __call__(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted content loss, and each part by name, unweighted and detached."""
        parts = {name: (weight, loss(sr_NCHW, hr_NCHW)) for name, (weight, loss) in self.content.items()}
        total = torch.stack([weight * value for weight, value in parts.values()]).sum()
        return total, {name: value.detach() for name, (_, value) in parts.items()}


def parse_weights(text: str) -> dict[str, float]:
    """Parse `mse=1,adversarial=1e-3` as a mapping.

    Raises:
        UserError: not of this form, a weight that is no positive number, a name twice.
    """
    found: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            weight = float(number) if equals else 1.0
        except ValueError:
            raise UserError(f"losses: `{part}` must be NAME=WEIGHT, e.g. mse=1") from None
        if not 0 < weight < float("inf"):
            raise UserError(f"losses: the weight of `{name}` must be above 0, not {number}")
        if name in found:
            raise UserError(f"losses: `{name}` stands there twice")
        found[name] = weight
    return found


def make_losses(text: str, settings: LossSettings, device: torch.device, patch: int | None = None) -> TotalLoss:
    """Make the losses that a setting names.

    Args:
        text: NAME=WEIGHT,…; `adversarial` is the one of `settings.adversarial`, `features` compares the features of
            its discriminator, the others are in `LOSSES`.
        settings: of those that need some.
        device: where the networks among them are put.
        patch: side in pixels of the HR patches they will compare; None: not known yet.

    Raises:
        UserError: an unknown name, no content loss, `features` without `adversarial`, patches that are too small, or
            weights of VGG that are not to be had.
    """
    weights = parse_weights(text)
    for name in weights:
        if name not in LOSSES and name not in GAN_LOSSES:
            close = difflib.get_close_matches(name, [*LOSSES, *GAN_LOSSES], n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join([*LOSSES, *GAN_LOSSES])}"
            raise UserError(f"losses: no loss is called `{name}`; {hint}")
    if settings.adversarial not in ADVERSARIAL:
        raise UserError(f"adversarial {settings.adversarial}: must be one of {', '.join(ADVERSARIAL)}")
    content: dict[str, tuple[float, ContentLoss]] = {}
    for name, weight in weights.items():
        if name not in GAN_LOSSES:
            smallest = LOSSES[name].smallest(settings)
            if patch is not None and patch < smallest:
                raise UserError(f"losses: `{name}` needs patches of at least {smallest} pixels, not {patch}; set crop")
            loss = LOSSES[name].make(settings)
            content[name] = (weight, loss.to(device) if isinstance(loss, torch.nn.Module) else loss)
    if not content:
        raise UserError(f"losses `{text}`: at least one content loss is needed ({', '.join(LOSSES)})")
    weight, features = (weights.get(name, 0.0) for name in GAN_LOSSES)
    if features and not weight:
        raise UserError(f"losses `{text}`: features needs a discriminator; add adversarial=1e-3")
    return TotalLoss(content, ADVERSARIAL[settings.adversarial] if weight else None, weight, features)


__all__ = [
    "ADVERSARIAL",
    "GAN_LOSSES",
    "LOSSES",
    "Adversarial",
    "Loss",
    "LossSettings",
    "TotalLoss",
    "make_losses",
    "parse_weights",
]

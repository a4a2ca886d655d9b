"""Losses by name, with weights: total = content + weight · adversarial + weight · features."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lakerank.cli.errors import UserError
from sr_model.losses import pixel
from sr_model.losses.adversarial import ADVERSARIAL, Adversarial
from sr_model.losses.vgg import VGGLoss, find_weights

ContentLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LossSettings:
    """What some losses need to know besides their weight.

    Attributes:
        adversarial: kind of game, a key of `ADVERSARIAL`.
        vgg_weights: file of VGG19's weights; empty: torchvision's cache.
        vgg_layer: `i,j` of φ(i,j).
    """

    adversarial: str = "vanilla"
    vgg_weights: str = ""
    vgg_layer: str = "5,4"


def _vgg(settings: LossSettings) -> ContentLoss:
    return VGGLoss(settings.vgg_layer, find_weights(settings.vgg_weights))


def _vgg_random(settings: LossSettings) -> ContentLoss:
    return VGGLoss(settings.vgg_layer)


# Each makes a function of (made, true), both (N, 3, H, W) in [-1, 1].
LOSSES: Mapping[str, Callable[[LossSettings], ContentLoss]] = {
    "mse": lambda _: pixel.mse,
    "l1": lambda _: pixel.l1,
    "charbonnier": lambda _: pixel.charbonnier,
    "luma": lambda _: pixel.luma,
    "vgg": _vgg,
    "vgg-random": _vgg_random,
}


# Losses that need the discriminator; the trainer computes them.
GAME = ("adversarial", "features")


@dataclass(frozen=True)
class TotalLoss:
    """Weighted content losses, and those of the game if there is any.

    Attributes:
        content: name → weight and function.
        adversarial: the game; None: there is no discriminator.
        adversarial_weight: of what the discriminator says.
        features_weight: of the difference in what it sees (`feature_distance`); 0: not computed.
    """

    content: Mapping[str, tuple[float, ContentLoss]]
    adversarial: Adversarial | None
    adversarial_weight: float
    features_weight: float = 0.0

    def __call__(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted content loss, and each part by name, unweighted and detached."""
        parts = {name: (weight, loss(sr_NCHW, hr_NCHW)) for name, (weight, loss) in self.content.items()}
        total = torch.stack([weight * value for weight, value in parts.values()]).sum()
        return total, {name: value.detach() for name, (_, value) in parts.items()}


def parse_weights(text: str) -> dict[str, float]:
    """`mse=1,adversarial=1e-3` as a mapping.

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


def make_losses(text: str, settings: LossSettings, device: torch.device) -> TotalLoss:
    """The losses a setting names.

    Args:
        text: NAME=WEIGHT,…; `adversarial` is the game of `settings.adversarial`, `features` compares what its
            discriminator sees, the others are in `LOSSES`.
        settings: of those that need some.
        device: where the networks among them are put.

    Raises:
        UserError: an unknown name, no content loss, `features` without a game, or weights of VGG that are not to be
            had.
    """
    weights = parse_weights(text)
    for name in weights:
        if name not in LOSSES and name not in GAME:
            close = difflib.get_close_matches(name, [*LOSSES, *GAME], n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join([*LOSSES, *GAME])}"
            raise UserError(f"losses: no loss is called `{name}`; {hint}")
    if settings.adversarial not in ADVERSARIAL:
        raise UserError(f"adversarial {settings.adversarial}: must be one of {', '.join(ADVERSARIAL)}")
    content: dict[str, tuple[float, ContentLoss]] = {}
    for name, weight in weights.items():
        if name not in GAME:
            loss = LOSSES[name](settings)
            content[name] = (weight, loss.to(device) if isinstance(loss, torch.nn.Module) else loss)
    if not content:
        raise UserError(f"losses `{text}`: at least one content loss is needed ({', '.join(LOSSES)})")
    weight, features = (weights.get(name, 0.0) for name in GAME)
    if features and not weight:
        raise UserError(f"losses `{text}`: features needs a discriminator; add adversarial=1e-3")
    return TotalLoss(content, ADVERSARIAL[settings.adversarial] if weight else None, weight, features)


__all__ = ["ADVERSARIAL", "LOSSES", "Adversarial", "LossSettings", "TotalLoss", "make_losses", "parse_weights"]

"""Self-ensemble: a generator asked eight times, about the turned and mirrored picture."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

_WAYS = 8


class SelfEnsemble(nn.Module):
    """Average what a generator makes of a picture in its eight positions, each turned back.

    A little better, eight times the work, and to be compared with nothing that does not do it too (Timofte et al. 2016,
    "Seven ways to improve example-based single image super resolution"; EDSR's "+").

    Args:
        generator: (N, 3, h, w) to (N, 3, scale·h, scale·w), with `.scale`; what it says about tiles holds here too.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.scale = int(generator.scale)  # type: ignore[arg-type]
        self.step = int(getattr(generator, "step", 1))
        self.most_margin = getattr(generator, "most_margin", None)
        self.whole = bool(getattr(generator, "whole", False))

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        """Map (N, 3, h, w) to (N, 3, scale·h, scale·w), as the generator does."""
        made = cast(Tensor, self.generator(lr_NCHW))
        for way in range(1, _WAYS):
            made = made + _undone(self.generator(_turned(lr_NCHW, way)), way)
        return made / _WAYS


def _turned(x_NCHW: Tensor, way: int) -> Tensor:
    turned = torch.rot90(x_NCHW, way % 4, (2, 3))
    return turned.flip(3) if way >= 4 else turned


def _undone(x_NCHW: Tensor, way: int) -> Tensor:
    return torch.rot90(x_NCHW.flip(3) if way >= 4 else x_NCHW, -(way % 4), (2, 3))

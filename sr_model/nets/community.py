"""Generators of other projects (Real-ESRGAN, SwinIR, HAT and some forty more), built by spandrel from their weights.

spandrel (an extra: `pip install 'lakerank[spandrel]'`) recognises the architecture and its sizes by the names and
shapes of the tensors, and says how such a net wants to be used. Its own reading of files is not taken:
`sr_model.weights` reads them, tensors alone.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lakerank.cli.errors import UserError

COMMUNITY = "community"  # in the place of a net's name in `GENERATORS`
# Input pixels around a tile. These nets see hundreds of pixels, or all of the picture through attention or pooling,
# but what lies far hardly counts; ComfyUI overlaps its tiles by as much, chaiNNer and Real-ESRGAN by less.
MOST_MARGIN = 32


class CommunityGenerator(nn.Module):
    """Run a net of another project as a generator of ours: RGB in [-1, 1] to RGB in [-1, 1].

    Args:
        descriptor: spandrel's `ImageModelDescriptor`, in evaluation mode.

    Attributes:
        scale: the factor; 1 for nets that restore.
        architecture: its name, as spandrel calls it.
        most_margin: see `margin_of`.
        step: tiles begin at multiples of it, since the net cuts its input into squares of this side: what spandrel asks
            for, and windows of attention and the halvings of a U-Net, to which most of these nets pad by themselves.
        smallest: side of the smallest input that is not padded.
        whole: the net is to be given whole pictures, since it cuts them itself or takes squares alone.
        tiles_show: spandrel advises against tiles, since the net goes by the whole picture.
        supports_half: whether it may compute in float16.
        supports_bfloat16: whether it may compute in bfloat16.
    """

    most_margin = MOST_MARGIN

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.net: nn.Module = descriptor.model
        self._run = descriptor  # pads as the net needs and clamps; holds the same module
        self.scale = int(descriptor.scale)
        self.architecture = str(descriptor.architecture.name)
        self.step = math.lcm(int(descriptor.size_requirements.multiple_of), *_grids(self.net))
        self.smallest = int(descriptor.size_requirements.minimum)
        self.whole = descriptor.tiling.name == "INTERNAL" or bool(descriptor.size_requirements.square)
        self.tiles_show = descriptor.tiling.name == "DISCOURAGED"
        self.supports_half = bool(descriptor.supports_half)
        self.supports_bfloat16 = bool(descriptor.supports_bfloat16)
        self._channels = int(descriptor.input_channels)

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        """Map (N, 3, h, w) to (N, 3, scale·h, scale·w); a net of one channel is given each colour by itself."""
        n, channels, height, width = lr_NCHW.shape
        x = (lr_NCHW + 1) / 2
        if self._channels == 1:
            x = x.reshape(n * channels, 1, height, width)
        # One at a time, which is all that spandrel promises.
        made = torch.cat([self._run(one[None]) for one in x])
        return made.reshape(n, channels, *made.shape[2:]) * 2 - 1


def _grids(net: nn.Module) -> Iterator[int]:
    """List the sides of the squares into which a net cuts its input, as SwinIR, HAT and NAFNet name them."""
    for name in ("window_size", "padder_size"):
        sides = getattr(net, name, 1)
        for side in sides if isinstance(sides, tuple | list) else (sides,):
            if isinstance(side, int) and 1 < side <= 64:  # larger ones make no grid that tiles could keep to
                yield side


def build_community(tensors: Mapping[str, Tensor], where: str) -> CommunityGenerator:
    """Build a net of another project from its weights.

    Args:
        tensors: by name, as the project stores them, prefixes of wrappers and all.
        where: of the file, for messages.

    Raises:
        UserError: spandrel is not installed, it knows no such architecture, or the net makes no picture of a picture.
    """
    spandrel = _spandrel(where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's advice to the authors of those nets
            descriptor = spandrel.ModelLoader().load_from_state_dict(dict(tensors))
    except spandrel.UnsupportedModelError as error:
        raise UserError(
            f"{where}: no generator of ours, and spandrel {spandrel.__version__} knows no architecture "
            "with such tensors"
        ) from error
    except Exception as error:  # of forty architectures, each with its own ways to fail on tensors that are nearly its
        told = (str(error).splitlines() or [""])[-1].strip()[:200]
        raise UserError(
            f"{where}: spandrel {spandrel.__version__} cannot build a net from its tensors "
            f"({type(error).__name__}: {told})"
        ) from error
    name = descriptor.architecture.name
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise UserError(f"{where}: {name} fills holes and needs a mask; give a model that enlarges")
    if (descriptor.input_channels, descriptor.output_channels) not in ((1, 1), (3, 3)):
        raise UserError(
            f"{where}: this {name} makes {descriptor.output_channels} channels of {descriptor.input_channels}; "
            "give one for RGB or grey pictures"
        )
    return CommunityGenerator(descriptor.eval()).eval()


def unwrapped(saved: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """Take the tensors of a net out of what a project saved them in (`params_ema`, `state_dict`, prefixes of wrappers).

    Args:
        saved: what the file holds.
        where: of the file, for messages.

    Raises:
        UserError: spandrel is not installed, or there are no tensors in it.
    """
    spandrel = _spandrel(where)
    try:
        found = spandrel.canonicalize_state_dict(dict(saved))
        tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    except (AttributeError, TypeError, KeyError) as error:  # keys that are no text
        raise UserError(f"{where}: no generator of ours, and no weights of another project ({error})") from error
    if not tensors:
        raise UserError(
            f"{where}: no generator of ours, and no weights of another project (it holds no tensors by name)"
        )
    return tensors


def _spandrel(where: str) -> Any:
    try:
        return importlib.import_module("spandrel")
    except ImportError as error:
        raise UserError(
            f"{where}: no generator of ours; those of other projects need spandrel ({error}): "
            "pip install 'lakerank[spandrel]'"
        ) from error

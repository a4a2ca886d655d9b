"""Networks by name. A generator maps (N, 3, h, w) in [-1, 1] to (N, 3, 4h, 4w), unclamped; `.scale` is 4."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from torch import nn

from lakerank.cli.errors import UserError
from sr_model.nets.msrresnet import MSRResNet
from sr_model.nets.srresnet import SRResNet
from sr_model.nets.tiny import Tiny

SCALE = 4

GENERATORS: dict[str, Callable[[], nn.Module]] = {
    "srresnet5": partial(SRResNet, blocks=5),  # the seed's depth
    "srresnet16": partial(SRResNet, blocks=16),  # Ledig et al. 2017
    "msrresnet": MSRResNet,  # without batch normalisation, as BasicSR trains it
    "tiny": Tiny,  # real time on a laptop's CPU for small pictures
}


def make_generator(name: str) -> nn.Module:
    """Make a generator with fresh weights.

    Raises:
        UserError: no generator has this name.
    """
    if name not in GENERATORS:
        close = difflib.get_close_matches(name, GENERATORS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(GENERATORS)}"
        raise UserError(f"--net {name}: no such generator; {hint}")
    return GENERATORS[name]()

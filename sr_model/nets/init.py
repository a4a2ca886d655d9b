"""Fresh weights of a network."""

from __future__ import annotations

from torch import nn

from lakerank.cli.errors import UserError


def initialise(module: nn.Module, how: str) -> None:
    """Set fresh weights in place.

    Args:
        module: the whole network.
        how: `default` keeps PyTorch's; `normal002` draws conv and linear weights from N(0, 0.02), batch
            normalisation's gamma from N(1, 0.02) and sets biases to 0 (DCGAN; the seed's code).

    Raises:
        UserError: another name.
    """
    if how == "default":
        return
    if how != "normal002":
        raise UserError(f"init {how}: must be `default` or `normal002`")
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.normal_(part.weight, 0.0, 0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
            nn.init.zeros_(part.bias)

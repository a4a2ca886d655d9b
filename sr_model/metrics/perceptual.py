"""LPIPS (Zhang et al., CVPR 2018) through the `lpips` package, with AlexNet's weights from this machine.

Nothing is downloaded: without the weights the metric is left out, with the reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lakerank.cli.errors import UserError
from sr_model.metrics.base import Unavailable
from sr_model.weights import load_pt

_CACHED = "alexnet-owt-7be5be79.pth"  # torchvision's name of the ImageNet weights


def load_lpips(weights: str = "", border: int = 4) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]:
    """Load LPIPS as a function of two (H, W, 3) uint8 RGB pictures; 0 is equal, higher is worse.

    Args:
        weights: AlexNet's state dict as torchvision saves it; empty: torchvision's cache.
        border: pixels cut off on each side.

    Raises:
        Unavailable: no package, or no weights in the cache.
        UserError: the file that was given is not there or not AlexNet's.
    """
    try:
        from lpips import LPIPS
    except ImportError as error:
        raise Unavailable("the package lpips is not installed; pip install 'lakerank[lpips]'") from error
    path = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints" / _CACHED
    if not path.is_file():
        if weights:
            raise UserError(
                f"--lpips-weights {weights}: no such file; give AlexNet's weights as torchvision saves them"
            )
        raise Unavailable(f"AlexNet's weights are not in torchvision's cache ({path}); give --lpips-weights FILE")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # lpips calls torchvision in a way it deprecates
        net = LPIPS(net="alex", pnet_rand=True, verbose=False)
    _fill(net, path)
    net.eval().requires_grad_(False)

    def score(hr_HWC: NDArray[np.uint8], sr_HWC: NDArray[np.uint8]) -> float:
        if hr_HWC.shape != sr_HWC.shape:
            raise ValueError(f"pictures of different shapes: {hr_HWC.shape} and {sr_HWC.shape}")
        hr, sr = (_tensor(x, border) for x in (hr_HWC, sr_HWC))
        if min(hr.shape[2:]) < 32:  # AlexNet's poolings leave nothing of smaller ones
            return float("nan")
        with torch.inference_mode():
            return float(net(hr, sr))

    return score


def _fill(net: nn.Module, path: Path) -> None:
    """Fill in AlexNet's convolutions, which lpips holds in five slices under their torchvision numbers."""
    try:
        saved = load_pt(path)
        held: dict[str, Tensor] = {
            k.removeprefix("features."): v for k, v in saved.items() if k.startswith("features.")
        }
        trunk = net.get_submodule("net")
        renamed = {name: held[".".join(name.split(".")[1:])] for name in trunk.state_dict()}
        trunk.load_state_dict(renamed)
    except Exception as error:  # unpickling foreign bytes raises nearly anything
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{path}: does not hold torchvision's AlexNet weights ({reason})") from error


def _tensor(rgb_HWC: NDArray[np.uint8], border: int) -> Tensor:
    inner = rgb_HWC[border : rgb_HWC.shape[0] - border, border : rgb_HWC.shape[1] - border]
    return torch.from_numpy(inner.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1

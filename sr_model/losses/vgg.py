"""Content loss on VGG19 features, φ(i,j) of SRGAN: pictures that look alike rather than match by pixel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lakerank.cli.errors import UserError
from sr_model.weights import load_pt

# torchvision's VGG19_Weights.IMAGENET1K_V1 and the name it is cached under.
ADDRESS = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
_CONVS = (2, 2, 4, 4, 4)  # of VGG19 before each max-pooling
# Brings the features to the size of pixel values (SRGAN, section 3.2: "rescaled by 1/12.75").
_RESCALE = 1 / 12.75
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's VGG was trained


def parse_layer(text: str) -> tuple[int, int]:
    """Parse `5,4` as (5, 4).

    Raises:
        UserError: not a layer of VGG19.
    """
    if found := re.fullmatch(r"\s*([1-5])\s*,\s*([1-9])\s*", text):
        pool, conv = int(found[1]), int(found[2])
        if conv <= _CONVS[pool - 1]:
            return pool, conv
    raise UserError(
        f"vgg_layer {text[:20]}: must be i,j with i from 1 to 5 and j up to {_CONVS} convs, e.g. 5,4 or 2,2"
    )


def smallest_side(layer: str) -> int:
    """Return the least side in pixels of which the poolings before a layer leave something."""
    return 1 << (parse_layer(layer)[0] - 1)


def find_weights(given: str) -> Path:
    """Find the file of VGG19's weights.

    Raises:
        UserError: there is none; says where it was looked for and what to do.
    """
    if given:
        if not Path(given).is_file():
            raise UserError(f"vgg_weights {given}: no such file; fetch {ADDRESS}, or use the loss vgg-random")
        return Path(given)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / ADDRESS.rpartition("/")[2]
    if not cached.is_file():
        raise UserError(
            f"the vgg loss needs VGG19's weights and {cached} is not there: fetch {ADDRESS} and pass "
            "vgg_weights=FILE, or use the loss vgg-random (random weights, nothing to fetch)"
        )
    return cached


class VGGLoss(nn.Module):
    """Compute the mean squared difference of the features after the j-th conv (and ReLU) before the i-th max-pooling.

    Args:
        layer: `i,j`; the paper uses 5,4 and 2,2.
        weights: torchvision's state dict of VGG19 (`.pth`), of which only the convs up to the layer are needed;
            None: random weights (He et al. 2015), always the same ones. Randomly weighted VGG features were
            proposed as a perceptual loss in arXiv 2103.10571; figures made with them are not those of SRGAN's.

    Raises:
        UserError: the layer is none of VGG19's, or the file holds no such weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layer: str = "5,4", weights: Path | None = None) -> None:
        super().__init__()
        from torchvision.models import vgg19  # slow to import

        pool, conv = parse_layer(layer)
        before = sum(_CONVS[: pool - 1])
        depth = 2 * (before + conv) + (pool - 1)  # each conv has its ReLU, each stage ended in a pooling
        with torch.device("meta"):  # the dense layers, six sevenths of VGG19, are never made
            layers = list(vgg19(weights=None).features)[:depth]
        self.smallest = smallest_side(layer)
        self.features = nn.Sequential(*layers).to_empty(device="cpu").eval().requires_grad_(False)
        if weights is None:
            _randomise(self.features)
        else:
            _load(self.features, weights)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
        """Compare two batches (N, 3, H, W) in [-1, 1]: a scalar of their dtype, differentiable by `sr_NCHW` only.

        Raises:
            UserError: pictures that the poolings before the layer leave nothing of.
        """
        if min(sr_NCHW.shape[-2:]) < self.smallest:
            height, width = sr_NCHW.shape[-2:]
            raise UserError(f"vgg loss: {width}×{height} patches are too small for this vgg_layer; take a lower i")
        with torch.no_grad():
            wanted = self._phi(hr_NCHW)
        return F.mse_loss(self._phi(sr_NCHW), wanted).to(sr_NCHW.dtype)

    def _phi(self, x_NCHW: Tensor) -> Tensor:
        seen = ((x_NCHW.to(self.mean.dtype) + 1) / 2 - self.mean) / self.std
        return cast(Tensor, self.features(seen)) * _RESCALE


def _randomise(features: nn.Sequential) -> None:
    """Draw the same weights every time, without touching the random state that training draws from."""
    generator = torch.Generator().manual_seed(0)
    for part in features:
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
            assert part.bias is not None
            nn.init.zeros_(part.bias)


def _load(features: nn.Sequential, path: Path) -> None:
    try:
        state = load_pt(path)
        features.load_state_dict({name: state[f"features.{name}"] for name in features.state_dict()})
    except Exception as error:  # unpickling foreign bytes raises nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise UserError(f"{path}: not torchvision's VGG19 ({reason}); fetch {ADDRESS}") from error

"""Enlarge pictures of any size in overlapping tiles: no seams, and memory that does not grow with the picture's.

Each tile is enlarged with a margin of its real surroundings, as wide as the net sees, and only its core is kept. At
the picture's own border the tile ends there too, so that the net pads there as it would for the whole picture. So
the result is the whole picture's, up to rounding. That holds for nets that treat every place alike: convolutions,
pixel shuffles, interpolation by a whole factor. A net with a global operation (attention over the whole picture,
global pooling, instance normalisation) has no such margin; `margin_of` says so, and it has to run on the whole. Nets of
other projects are given a margin that is narrower than what they see, as their own tools do.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lakerank.cli.errors import UserError

# How far a probe looks for the end of what a net sees, in input pixels; deeper nets are run on the whole picture.
_FARTHEST = 384
_FIRST_REACH = 48  # enough for all generators here (40 for 16 blocks under two 9×9 convolutions)
_STRIP = 16  # width of the probe: room for any padding mode at little work
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, to make grey of three channels again

Pixels = NDArray[Any]
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Span:
    """Describe a tile along one axis, in input pixels.

    Attributes:
        start, stop: the core, which is kept.
        low, high: core and margin, which the net is given.
    """

    start: int
    stop: int
    low: int
    high: int


def spans(length: int, tile: int, margin: int, step: int = 1) -> list[Span]:
    """Cut an axis into cores of about equal length, none longer than `tile`.

    Args:
        length: of the axis.
        tile: longest core; 0 is one core for all.
        margin: how much of the surroundings the net is given, where there are any, at least.
        step: what the net is given begins and ends at multiples of it, unless the axis does not.
    """
    count = -(-length // tile) if tile else 1
    cuts = [length * i // count for i in range(count + 1)]
    return [
        Span(
            start,
            stop,
            max(0, (start - margin) // step * step),
            min(length, -(-(stop + margin) // step) * step),
        )
        for start, stop in itertools.pairwise(cuts)
    ]


def margin_of(generator: nn.Module) -> int:
    """Measure how far the net sees: an output pixel depends on no input pixel farther away than this, in input pixels.

    Measured, not derived: a NaN passes through every operation, even through a weight of zero, so that one line of
    NaN in a picture marks the output that can depend on it. On the CPU, in a copy; a convolution that smears the
    NaN (Winograd, FFT) could only make the margin wider than needed. Of a net with `.most_margin` no more is measured
    than that, and it is the margin of one that sees farther.

    Raises:
        UserError: the net sees farther than 384 pixels, or all of the picture, and has no `.most_margin`.
    """
    probe = copy.deepcopy(generator).float().cpu().eval()
    return max(_margin_along(probe, int(probe.scale), axis) for axis in (2, 3))  # type: ignore[arg-type]


def _margin_along(probe: nn.Module, scale: int, axis: int) -> int:
    most = getattr(probe, "most_margin", None)
    reach = _FIRST_REACH if most is None else int(most)
    while reach <= _FARTHEST:
        shape = [1, 3, _STRIP, _STRIP]
        shape[axis] = 2 * reach + 1
        picture = torch.zeros(shape)
        picture.select(axis, reach).fill_(torch.nan)
        with torch.inference_mode():
            out = cast(Tensor, probe(picture))
        touched = out.isnan().any(dim=1).any(dim=5 - axis - 1)[0]  # along the axis
        where = touched.nonzero().flatten()
        if not len(where):
            return 0  # a net that ignores its input
        before, after = reach * scale - int(where[0]), int(where[-1]) - (reach * scale + scale - 1)
        if int(where[0]) > 0 and int(where[-1]) < len(touched) - 1:
            return max(0, -(-max(before, after) // scale))
        if most is not None:
            return int(most)
        reach *= 2
    raise UserError(
        f"{type(probe).__name__}: each of its pixels depends on input more than {_FARTHEST} pixels away, so tiles "
        "would show; give --tile 0 to run it on whole pictures"
    )


class Bicubic(nn.Module):
    """Upscale by Keys' cubic with a = −0.5, as a generator: for what a net was not trained on, such as transparency.

    Args:
        scale: the factor.
    """

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, scale·h, scale·w)."""
        # antialias changes nothing when enlarging but the kernel: a is −0.5 with it and −0.75 without.
        size = (lr_NCHW.shape[2] * self.scale, lr_NCHW.shape[3] * self.scale)
        return nn.functional.interpolate(lr_NCHW, size=size, mode="bicubic", align_corners=False, antialias=True)


def upscale_tiled(
    generator: nn.Module,
    image_HWC: Pixels,
    tile: int = 256,
    overlap: int | None = None,
    batch: int = 1,
    *,
    half: bool = False,
    out: Pixels | None = None,
    advance: Progress | None = None,
) -> Pixels:
    """Upscale a picture tile by tile.

    Args:
        generator: in evaluation mode, on the device that is to compute; has `.scale`.
        image_HWC: (H, W, 3), or (H, W, 1) for grey, which is given to the net as three equal channels. uint8,
            uint16, or float32 in [-1, 1].
        tile: longest side of a tile without its margin, in input pixels; 0 is the whole picture at once.
        overlap: margin on each side, in input pixels; None measures what the net needs (`margin_of`).
        batch: equal tiles of a row that are computed together.
        half: compute in float16 on a GPU, bfloat16 on a CPU, where that is safe.
        out: where to write, e.g. a memory-mapped file; None allocates it.
        advance: called with the number of input pixels each time some are done.

    Returns:
        (scale·H, scale·W, C), `out` if it was given, of the picture's type; integers are rounded and clamped.

    Raises:
        UserError: see `margin_of`.
        ValueError: another shape or type, or an output of another size than the net's `.scale` says.
    """
    check_pixels(image_HWC)
    if tile < 0 or batch < 1 or (overlap is not None and overlap < 0):
        raise ValueError("tile and overlap must be 0 or more, batch 1 or more")
    height, width, channels = image_HWC.shape
    scale = int(generator.scale)  # type: ignore[arg-type]
    if out is None:
        out = np.empty((height * scale, width * scale, channels), image_HWC.dtype)
    elif out.shape != (height * scale, width * scale, channels) or out.dtype != image_HWC.dtype:
        raise ValueError(f"out must be {(height * scale, width * scale, channels)} of {image_HWC.dtype}")
    whole = not tile or (tile >= height and tile >= width)
    margin = 0 if whole else margin_of(generator) if overlap is None else overlap
    step = int(getattr(generator, "step", 1))
    columns = spans(width, tile, margin, step)
    for row in spans(height, tile, margin, step):
        for group in _alike(columns, batch):
            windows = np.stack([image_HWC[row.low : row.high, span.low : span.high] for span in group])
            made = _run(generator, windows, half)
            if made.shape[1:3] != (windows.shape[1] * scale, windows.shape[2] * scale):
                raise ValueError(f"the net made {made.shape} of {windows.shape}, not {scale} times as large")
            for span, part in zip(group, made, strict=True):
                core = part[(row.start - row.low) * scale :, (span.start - span.low) * scale :]
                high, wide = (row.stop - row.start) * scale, (span.stop - span.start) * scale
                top, left = row.start * scale, span.start * scale
                out[top : top + high, left : left + wide] = core[:high, :wide]
                if advance:
                    advance((row.stop - row.start) * (span.stop - span.start))
    return out


def check_pixels(image_HWC: Pixels) -> None:
    """Refuse what is no picture.

    Raises:
        ValueError: not (H, W, 1 or 3), empty, or neither uint8, uint16 nor float32.
    """
    if image_HWC.ndim != 3 or image_HWC.shape[2] not in (1, 3) or 0 in image_HWC.shape:
        raise ValueError(f"a picture must be (H, W, 3) or (H, W, 1) and not empty, not {image_HWC.shape}")
    if image_HWC.dtype not in (np.uint8, np.uint16, np.float32):
        raise ValueError(f"a picture must be uint8, uint16 or float32, not {image_HWC.dtype}")


def _alike(columns: list[Span], batch: int) -> Iterator[list[Span]]:
    """Group neighbours of equal size, at most `batch` of them."""
    group: list[Span] = []
    for span in columns:
        if group and (len(group) == batch or span.high - span.low != group[0].high - group[0].low):
            yield group
            group = []
        group.append(span)
    yield group


def _run(generator: nn.Module, windows_NHWC: Pixels, half: bool) -> Pixels:
    """Run the net on a few windows: same type and channels out."""
    top = {"uint8": 255.0, "uint16": 65535.0}.get(windows_NHWC.dtype.name)
    device = next((tensor.device for tensor in generator.state_dict().values()), torch.device("cpu"))
    x = windows_NHWC.astype(np.float32)
    if top is not None:
        x = x * np.float32(2 / top) - np.float32(1)
    grey = x.shape[3] == 1
    low = torch.float16 if device.type == "cuda" else torch.bfloat16
    # In half precision pixels lie channel by channel in memory, as its kernels want them; in float32 it makes no odds.
    order = torch.channels_last if half else torch.contiguous_format
    lr_NCHW = torch.from_numpy(x).permute(0, 3, 1, 2).to(device).contiguous(memory_format=order)
    with torch.inference_mode():
        with torch.autocast(device.type, low, enabled=half):  # the net alone: what follows has more than 8 bits
            y = cast(Tensor, generator(lr_NCHW.expand(-1, 3, -1, -1)))
        y = y.float().permute(0, 2, 3, 1)
        if grey:
            y = (y @ torch.from_numpy(_LUMA).to(device))[..., None]
        if top is not None:
            y = ((y.clamp(-1, 1) + 1) * (top / 2)).round()
    return y.cpu().numpy().astype(windows_NHWC.dtype)

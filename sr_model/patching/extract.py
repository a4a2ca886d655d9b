"""Extract training patches from a picture: a pure function, for a Spark worker or any other process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lakerank.cli.errors import UserError
from sr_model.data.format import PatchRow
from sr_model.degrade import downscale, modcrop


@dataclass(frozen=True)
class PatchPlan:
    """Hold how patches are extracted.

    Attributes:
        patch: side of a patch in HR pixels, a multiple of `scale`.
        stride: from one patch to the next, a multiple of `scale`.
        scale: HR pixels per LR pixel.
        min_gradient: patches whose luma changes less from pixel to pixel are left out (see `gradient`); 0: none.
        store_lr: store LR patches too, cut from the LR of the whole picture.
        multiscale: sizes at which each picture is cut; 1 is as it is, 0.5 half as wide and high.
    """

    patch: int = 96
    stride: int = 96
    scale: int = 4
    min_gradient: float = 3.0
    store_lr: bool = False
    multiscale: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            UserError: patch or stride is no positive multiple of the scale, or a size makes no sense.
        """
        sizes = [f"{size:g}" for size in self.multiscale]  # as they stand in the patches' names
        if not sizes or len(set(sizes)) < len(sizes) or not all(0 < size <= 1 for size in self.multiscale):
            raise UserError(f"--multiscale {','.join(sizes)}: must be different sizes above 0, up to 1")
        for name, value in (("patch", self.patch), ("stride", self.stride)):
            if value < self.scale or value % self.scale:
                raise UserError(f"--{name} {value}: must be a positive multiple of the scale {self.scale}")


class TooSmall(ValueError):
    """Tell of a picture without room for one patch."""


def patch_starts(length: int, plan: PatchPlan) -> list[int]:
    """Return the offsets of patches along one side of `length` pixels; the last one ends with the picture."""
    last = (length - plan.patch) // plan.scale * plan.scale
    found = list(range(0, last + 1, plan.stride))
    return found if found[-1] == last else [*found, last]


def gradient(patch_HWC: NDArray[np.uint8]) -> float:
    """Compute the mean difference between neighbours, of the luma in 0…255, over both directions."""
    # In thousandths, whole numbers that float32 holds exactly: every machine finds the same patches too flat.
    luma = patch_HWC @ np.array([299, 587, 114], np.float32)
    across, down = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    return float((across.mean(dtype=np.float64) + down.mean(dtype=np.float64)) / 2000)


def extract_patches(image_HWC: NDArray[np.uint8], source: str, plan: PatchPlan) -> Iterator[PatchRow | None]:
    """Extract the patches of a picture, row by row, at each of the plan's sizes; None for each that is too flat.

    A shrunk picture is called `source@size`. Sizes that leave no room for a patch are passed over.

    Args:
        image_HWC: (H, W, 3) uint8 RGB; at the right and below it is cut to multiples of the scale.
        source: its name, kept with each patch.
        plan: how they are extracted.

    Raises:
        TooSmall: it has no room for one patch, at no size.
    """
    height, width = image_HWC.shape[:2]
    fitting = [size for size in plan.multiscale if min(_shrunk(height, width, size)) >= plan.patch]
    if not fitting:
        raise TooSmall(f"{width} × {height} pixels, smaller than a patch of {plan.patch}")
    for size in fitting:
        name = source if size == 1 else f"{source}@{size:g}"
        yield from _extract_at(_resized(image_HWC, size), name, plan)


def _shrunk(height: int, width: int, size: float) -> tuple[int, int]:
    return round(height * size), round(width * size)


def _resized(image_HWC: NDArray[np.uint8], size: float) -> NDArray[np.uint8]:
    if size == 1:
        return image_HWC
    height, width = _shrunk(image_HWC.shape[0], image_HWC.shape[1], size)
    # As Real-ESRGAN does: Lanczos keeps more of the finest detail than bicubic, and that is what is to be learned.
    return np.asarray(Image.fromarray(image_HWC).resize((width, height), Image.Resampling.LANCZOS))


def _extract_at(image_HWC: NDArray[np.uint8], source: str, plan: PatchPlan) -> Iterator[PatchRow | None]:
    image = modcrop(image_HWC, plan.scale)
    height, width = image.shape[:2]
    small = downscale(image, plan.scale) if plan.store_lr else None
    side = plan.patch // plan.scale
    for y in patch_starts(height, plan):
        for x in patch_starts(width, plan):
            hr = image[y : y + plan.patch, x : x + plan.patch]
            if plan.min_gradient and gradient(hr) < plan.min_gradient:
                yield None
                continue
            v, u = y // plan.scale, x // plan.scale
            yield PatchRow(hr, None if small is None else small[v : v + side, u : u + side], source, x, y)

"""A generator on whole pictures: colour through the net, transparency beside it, smaller tiles when memory ends."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lakerank.cli.errors import UserError
from sr_model.images import BrokenImage
from sr_model.inference import SMALLEST_TILE
from sr_model.inference.pictures import Picture, check_size, decode_picture, size_of
from sr_model.inference.tiles import Bicubic, Progress, margin_of, upscale_tiled
from sr_model.nets.ensemble import SelfEnsemble


def upscale_picture(
    generator: nn.Module,
    picture: Picture,
    tile: int = 256,
    overlap: int | None = None,
    batch: int = 1,
    half: bool = False,
    advance: Progress | None = None,
) -> Picture:
    """Upscale a picture by `generator.scale`; it stays of the same kind.

    Colour goes through the net, transparency through bicubic interpolation. What colour wholly transparent pixels
    have does not matter to the eye, but the net would let it shine into its surroundings, so they get their nearest
    visible neighbour's first.

    Args:
        generator: in evaluation mode.
        picture: from `read_picture`.
        tile, overlap, batch, half, advance: see `upscale_tiled`.

    Raises:
        UserError: see `margin_of`.
    """
    scale = int(generator.scale)  # type: ignore[arg-type]
    pixels, alpha = picture.pixels, None
    if picture.alpha is not None:
        pixels = bleed(pixels, picture.alpha)
        alpha = _enlarged_alpha(picture.alpha, scale, tile)
    made = upscale_tiled(generator, pixels, tile, overlap, batch, half=half, advance=advance)
    return replace(picture, pixels=made, alpha=alpha)


def _enlarged_alpha(alpha_HW1: NDArray[Any], scale: int, tile: int) -> NDArray[Any]:
    if alpha_HW1.min() == alpha_HW1.max():
        size = (alpha_HW1.shape[0] * scale, alpha_HW1.shape[1] * scale, 1)
        return np.full(size, alpha_HW1.flat[0], alpha_HW1.dtype)
    return upscale_tiled(Bicubic(scale).eval(), alpha_HW1, tile)


def bleed(pixels: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Give wholly transparent pixels the colour of the nearest that is not.

    Args:
        pixels: (H, W, C).
        alpha: (H, W, 1).

    Returns:
        A copy, or `pixels` itself if nothing or everything is transparent.
    """
    hidden = alpha[..., 0] == 0
    if not hidden.any() or hidden.all():
        return pixels
    from scipy import ndimage  # only for pictures with transparency

    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    filled: NDArray[Any] = pixels[nearest[0], nearest[1]]
    return filled


class Upscaler:
    """Upscale picture after picture; take smaller tiles from then on when GPU memory ends.

    Args:
        generator: in evaluation mode, on its device.
        tile, batch, half: see `upscale_tiled`.
        self_ensemble: see `SelfEnsemble`.

    A net of another project is asked for whole pictures, or larger tiles, where it needs them.

    Attributes:
        notes: sentences about the generator that its user should know.

    Raises:
        UserError: see `margin_of`; or half precision for a net that does not compute in it.
    """

    def __init__(
        self, generator: nn.Module, tile: int = 256, batch: int = 1, half: bool = False, self_ensemble: bool = False
    ) -> None:
        if half:
            on_gpu = any(tensor.is_cuda for tensor in generator.state_dict().values())
            low = "float16" if on_gpu else "bfloat16"
            if not getattr(generator, "supports_half" if on_gpu else "supports_bfloat16", True):
                raise UserError(
                    f"--half: {generator.architecture} does not compute in {low}, spandrel says; leave it out"
                )
            generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.notes = _notes(generator, tile)
        tile = 0 if getattr(generator, "whole", False) else tile
        tile = max(tile, int(getattr(generator, "smallest", 0))) if tile else 0
        generator = SelfEnsemble(generator) if self_ensemble else generator
        self.generator, self.tile, self.batch, self.half = generator, tile, batch, half
        self.scale = int(generator.scale)  # type: ignore[arg-type]
        self.overlap = margin_of(generator) if tile else 0

    def enlarge(self, content: bytes, kind: str, advance: Progress | None = None) -> Picture:
        """Upscale the picture of a file's content.

        Args:
            content: of a picture's file.
            kind: the format it is to be written in, a key of `FORMATS`; what it cannot hold is refused at once.
            advance: see `upscale_tiled`.

        Raises:
            BrokenImage: a picture that cannot be read or written, or for which memory does not suffice.
            UserError: GPU memory does not suffice for the smallest tile either.
        """
        height, width = size_of(content)
        check_size(height * self.scale, width * self.scale, kind)
        self._check_memory(height, width)
        return self._enlarged(decode_picture(content), advance)

    def _enlarged(self, picture: Picture, advance: Progress | None) -> Picture:
        while True:
            counted = 0

            def count(pixels: int) -> None:
                nonlocal counted
                counted += pixels
                if advance:
                    advance(pixels)

            try:
                return upscale_picture(
                    self.generator, picture, self.tile, self.overlap, self.batch, self.half, advance=count
                )
            except torch.OutOfMemoryError as error:
                longest = max(picture.pixels.shape[:2])
                smaller = (min(self.tile, longest) if self.tile else longest) // 2
                if smaller < SMALLEST_TILE:
                    raise UserError(f"--tile {self.tile}: GPU memory does not suffice; use --device cpu") from error
                if not self.tile:
                    self.overlap = margin_of(self.generator)
                self.tile, self.batch = smaller, 1
                print(f"upscale: GPU memory does not suffice; going on with --tile {smaller}", file=sys.stderr)
                torch.cuda.empty_cache()
                if advance:
                    advance(-counted)

    def _check_memory(self, height: int, width: int) -> None:
        """Refuse a picture that is too large for memory."""
        # The result, Pillow's copy of it and what is being written: about 12 bytes a pixel, more at 16 bits.
        free = available_bytes()
        needed = height * width * self.scale**2 * 12
        if free is not None and needed > free:
            raise BrokenImage(
                f"{width} × {height} becomes {width * self.scale} × {height * self.scale} pixels, which need "
                f"{needed / 2**30:.1f} GiB of memory where {free / 2**30:.1f} are free; cut it into parts first"
            )


def _notes(generator: nn.Module, tile: int) -> tuple[str, ...]:
    """Say what a net of another project is, and what it makes of tiles."""
    name = getattr(generator, "architecture", "")
    if not name:
        return ()
    notes = [f"the generator is {name} of another project, ×{generator.scale}"]
    if tile and generator.whole:
        notes.append(f"{name} is given whole pictures, since it cuts them itself or takes squares alone")
    elif tile and generator.tiles_show:
        notes.append(f"{name} goes by the whole picture, and tiles may show: --tile 0 where memory suffices")
    return tuple(notes)


_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Return the free memory of the machine or, where that is less, of the container; None where it cannot be told.

    Linux only: /proc/meminfo's MemAvailable, and memory.max of control groups, version 2.
    """
    found = [value for value in (_of_machine(), _of_container()) if value is not None]
    return min(found) if found else None


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _of_container() -> int | None:
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        stats = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        # Cached files count as used, but give way.
        cache = sum(int(line.split()[1]) for line in stats if line.startswith(("inactive_file ", "active_file ")))
        return max(0, int(limit) - used + cache)
    except (OSError, ValueError):  # no control groups, or `max`: no limit
        return None

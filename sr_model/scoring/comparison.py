"""A picture for people: LR, bicubic, SR and HR side by side, whole and a detail enlarged, with their PSNR."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_TILE = 288  # pixels; four of them fit a page's width
_GAP = 6
_TEXT = 20


def comparison(panels: Sequence[tuple[str, NDArray[np.uint8], float | None]], detail: int = 96) -> NDArray[np.uint8]:
    """Draw panels in a row, the detail with most contrast below them.

    Args:
        panels: caption, picture, PSNR in dB (None where it makes no sense); all pictures (H, W, 3) uint8 RGB of
            one size, the last one the true one.
        detail: side of the detail in pixels, at most the picture's.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    truth = panels[-1][1]
    side = min(detail, *truth.shape[:2])
    top, left = busiest(truth, side)
    height = max(1, round(_TILE * truth.shape[0] / truth.shape[1]))
    page = Image.new("RGB", (len(panels) * (_TILE + _GAP) - _GAP, height + _TILE + _GAP + _TEXT), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(13)
    for column, (caption, image, psnr) in enumerate(panels):
        x = column * (_TILE + _GAP)
        whole = Image.fromarray(image)
        small = whole.resize((_TILE, height), Image.Resampling.LANCZOS)
        ratio = _TILE / truth.shape[1]
        box = (left * ratio, top * ratio, (left + side) * ratio, (top + side) * ratio)
        ImageDraw.Draw(small).rectangle(box, outline="red")
        page.paste(small, (x, _TEXT))
        close = whole.crop((left, top, left + side, top + side))
        page.paste(close.resize((_TILE, _TILE), Image.Resampling.NEAREST), (x, _TEXT + height + _GAP))
        text = caption if psnr is None or math.isnan(psnr) else f"{caption}  {psnr:.2f} dB"
        draw.text((x + 2, 2), text, fill="black", font=font)
    return np.asarray(page)


def busiest(image_HWC: NDArray[np.uint8], side: int) -> tuple[int, int]:
    """Find top and left of the square with the steepest mean gradient, on a grid of a quarter of its side."""
    grey = image_HWC.astype(np.float64).mean(axis=2)
    steep = np.zeros_like(grey)
    steep[1:] += np.abs(np.diff(grey, axis=0))
    steep[:, 1:] += np.abs(np.diff(grey, axis=1))
    sums = np.pad(steep.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    step = max(1, side // 4)
    tops = np.arange(0, grey.shape[0] - side + 1, step)
    lefts = np.arange(0, grey.shape[1] - side + 1, step)
    t, l = tops[:, None], lefts[None, :]  # noqa: E741 (top and left)
    inside = sums[t + side, l + side] - sums[t, l + side] - sums[t + side, l] + sums[t, l]
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(tops[row]), int(lefts[column])

"""Mirrored and turned pictures: the eight symmetries of the square."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

try:
    import cv2

    _HAS_CV2 = True
except ImportError:  # a training machine may lack it; numpy gives the same bytes, several times slower
    _HAS_CV2 = False

LEFT_RIGHT, UP_DOWN, SWAP = 1, 2, 4

P = TypeVar("P", bound=np.generic)


def turned(image_HWC: NDArray[P], turn: int) -> NDArray[P]:
    """Return a view mirrored left and right (bit 1), up and down (bit 2), axes swapped (bit 4), in this order."""
    if turn & LEFT_RIGHT:
        image_HWC = image_HWC[:, ::-1]
    if turn & UP_DOWN:
        image_HWC = image_HWC[::-1]
    return image_HWC.transpose(1, 0, 2) if turn & SWAP else image_HWC


def turn_into(out_HWC: NDArray[np.uint8], image_HWC: NDArray[np.uint8], turn: int) -> None:
    """Write `turned(image_HWC, turn)` into a contiguous array of that shape.

    Args:
        out_HWC: (H, W, 3), or (W, H, 3) if the axes are swapped; C-contiguous.
        image_HWC: (H, W, 3) uint8 whose pixels are contiguous; rows may lie apart, as in a crop.
        turn: 0 to 7.
    """
    if turn == 0:
        out_HWC[...] = image_HWC
    elif not _HAS_CV2:
        _pixels(out_HWC)[...] = turned(_pixels(image_HWC)[..., None], turn)[..., 0]
    elif turn in _FLIPS:
        cv2.flip(image_HWC, _FLIPS[turn], out_HWC)
    else:
        cv2.transpose(image_HWC, out_HWC)
        if turn != SWAP:
            cv2.flip(out_HWC, _FLIPS_AFTER_SWAP[turn], out_HWC)


_FLIPS = {1: 1, 2: 0, 3: -1}  # OpenCV's codes: 1 left and right, 0 up and down, -1 both
_FLIPS_AFTER_SWAP = {5: 0, 6: 1, 7: -1}


def _pixels(image_HWC: NDArray[np.uint8]) -> NDArray[np.void]:
    """View pixels instead of bytes as elements: numpy then moves three bytes at a time."""
    return image_HWC.view("V3")[..., 0]

"""How LR pictures are made from HR ones: MATLAB's antialiased bicubic `imresize`, which the field's figures rest on.

The kernel is Keys' cubic with a = −0.5 (Keys 1981, equation 15). When shrinking it is stretched by the factor, so
that it also removes what the small grid cannot hold; pixels beyond the border are mirrored, the edge pixel twice.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lakerank.cli.errors import UserError

METHODS = ("matlab", "pillow")
# Interpolation without a stretched kernel aliases; nets trained for clean input fall below bicubic on it.
_ALIASED = ("inter_cubic", "cv2", "opencv", "nearest", "bilinear", "bicubic-no-antialias")


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute Keys' kernel with a = −0.5 at distance `x`."""
    d = np.abs(x)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d <= 1, near, np.where(d <= 2, far, 0.0))


@lru_cache(maxsize=256)
def taps(n_in: int, n_out: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the indices of the input pixels of each output pixel, and their weights.

    Args:
        n_in: length of the input.
        n_out: length of the output; the factor is their ratio.

    Returns:
        Indices and weights, both (n_out, taps); each row of weights sums to 1.
    """
    scale = n_out / n_in
    shrink = min(scale, 1.0)
    width = 4.0 / shrink
    centre = (np.arange(1, n_out + 1) / scale + 0.5 * (1 - 1 / scale))[:, None]
    left = np.floor(centre - width / 2)
    index = left + np.arange(int(np.ceil(width)) + 2)[None, :]
    weights = shrink * cubic(shrink * (centre - index))
    weights /= weights.sum(axis=1, keepdims=True)
    mirror = np.concatenate([np.arange(n_in), np.arange(n_in)[::-1]])
    source = mirror[(index.astype(np.intp) - 1) % (2 * n_in)]
    used = np.any(weights != 0, axis=0)
    return source[:, used], weights[:, used]


def resize_weights(n_in: int, n_out: int) -> NDArray[np.float64]:
    """Return `taps` as a matrix (n_out, n_in): output = matrix · input."""
    index, weights = taps(n_in, n_out)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], index), weights)
    return matrix


def _along_rows(image: NDArray[np.float64], n_out: int) -> NDArray[np.float64]:
    """Resize axis 0 of (H, W, C)."""
    index, weights = taps(image.shape[0], n_out)
    out = np.zeros((n_out, *image.shape[1:]))
    for tap in range(index.shape[1]):  # some twenty passes over the output instead of one huge gather
        out += weights[:, tap, None, None] * image[index[:, tap]]
    return out


def imresize(image: NDArray[np.float64], height: int, width: int, round_uint8: bool = False) -> NDArray[np.float64]:
    """Resize as MATLAB's `imresize(image, [height width], 'bicubic')`.

    Args:
        image: (H, W, C) float64 on any range.
        height: of the result.
        width: of the result.
        round_uint8: round and clamp to 0…255 after each of the two passes, as MATLAB does with uint8 input.

    Returns:
        (height, width, C) float64. The axis that shrinks most is done first; rows before columns if equal.
    """

    def stored(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(np.floor(x + 0.5), 0, 255) if round_uint8 else x

    rows_first = height / image.shape[0] <= width / image.shape[1]
    out = image
    for rows in (rows_first, not rows_first):
        if rows:
            out = stored(_along_rows(out, height))
        else:
            out = stored(_along_rows(out.transpose(1, 0, 2), width).transpose(1, 0, 2))
    return out


def check_method(method: str) -> None:
    """Refuse what the field does not mean by LR.

    Raises:
        UserError: an interpolation without antialiasing, or an unknown name.
    """
    if method.lower() in _ALIASED:
        raise UserError(
            f"degradation {method}: it does not remove what the small picture cannot hold (no antialiasing), and "
            f"figures made with it compare to nobody's; use {' or '.join(METHODS)}"
        )
    if method not in METHODS:
        raise UserError(f"degradation {method}: must be {' or '.join(METHODS)}")


def modcrop(image: NDArray[np.uint8], scale: int = 4) -> NDArray[np.uint8]:
    """Cut (H, W, C) at the right and below to multiples of `scale`."""
    return image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]


def downscale(hr_HWC: NDArray[np.uint8], scale: int = 4, method: str = "matlab") -> NDArray[np.uint8]:
    """Make the LR picture of an HR one.

    Args:
        hr_HWC: (H, W, C) uint8, sides multiples of `scale` (see `modcrop`).
        scale: the factor.
        method: `matlab`, or `pillow` (its BICUBIC, antialiased too, several times faster).

    Returns:
        (H/scale, W/scale, C) uint8.

    Raises:
        UserError: another method.
        ValueError: the sides are no multiples.
    """
    check_method(method)
    height, width = hr_HWC.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"{height} × {width} is no multiple of {scale}")
    if method == "pillow":
        small = Image.fromarray(hr_HWC).resize((width // scale, height // scale), Image.Resampling.BICUBIC)
        return np.asarray(small)
    return imresize(hr_HWC.astype(np.float64), height // scale, width // scale, True).astype(np.uint8)


def bicubic_upscale(lr_HWC: NDArray[np.uint8], scale: int = 4) -> NDArray[np.uint8]:
    """Upscale by the baseline, MATLAB's bicubic enlargement, of (h, w, C) uint8."""
    height, width = lr_HWC.shape[:2]
    return imresize(lr_HWC.astype(np.float64), height * scale, width * scale, True).astype(np.uint8)

"""Bytes of a picture to 8-bit RGB, as training and evaluation want it."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# More than any camera with one shot, sixteen times the largest DIV2K picture; a file of 300 KB may claim far more, and
# each of some copies that decoding makes takes three or four bytes a pixel.
MAX_PIXELS = 1 << 26
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


class BrokenImage(Exception):
    """Tell of a picture that cannot be used; the message is the reason in a few words, without the file's name."""


def decode_rgb(data: bytes, name: str = "") -> NDArray[np.uint8]:
    """Decode a picture's pixels, (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Grey and palette become RGB, CMYK is converted, 16 bits are reduced to 8 (the upper ones), transparency is
    laid over white.

    Args:
        data: the file's content.
        name: for Pillow, which knows some formats by their suffix only; may be empty.

    Raises:
        BrokenImage: not a picture, damaged, cut short, empty, or larger than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit stands below
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise BrokenImage(f"{image.width} × {image.height} pixels are more than {MAX_PIXELS}")
                image.load()
                turned = ImageOps.exif_transpose(image)
                return np.ascontiguousarray(np.asarray(_as_rgb(turned)))
    except BrokenImage:
        raise
    except Image.DecompressionBombError as error:
        raise BrokenImage(f"more than {MAX_PIXELS} pixels") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        what = "not a picture" if isinstance(error, UnidentifiedImageError) else f"damaged ({error})"
        raise BrokenImage(what) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey, in 16 or 32 bits
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray((np.clip(values, 0, 65535) / 257 + 0.5).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, (255, 255, 255, 255)), over).convert("RGB")
    return image.convert("RGB")

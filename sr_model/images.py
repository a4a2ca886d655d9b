"""Bytes of a picture to pixels: the one way in which every command opens a picture, and 8-bit RGB for training."""

from __future__ import annotations

import importlib
import io
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lakerank.cli.errors import UserError

# More than any camera with one shot, sixteen times the largest DIV2K picture; a file of 300 KB may claim far more, and
# each of some copies that decoding makes takes three or four bytes a pixel.
MAX_PIXELS = 1 << 26
MAX_BYTES = 8 * MAX_PIXELS + (64 << 20)  # of a file: four channels of 16 bits, not packed, and what else it holds
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif")
# As Pillow names them. Of all that it knows, some are programs (PostScript), and each is a decoder to be fooled.
READ_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF", "HEIF")
_PNG_SIGN = b"\x89PNG\r\n\x1a\n"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class BrokenImage(Exception):
    """Tell of a picture that cannot be used; the message is the reason in a few words, without the file's name."""


def known_formats() -> list[str]:
    """Return those of `READ_FORMATS` that this Pillow knows: it wants no others to be named."""
    Image.init()
    return [kind for kind in READ_FORMATS if kind in Image.OPEN]


def check_bytes(size: int) -> None:
    """Refuse a picture by the bytes of its file, before it is read: a small archive may hold a file that fills memory.

    Raises:
        BrokenImage: more than `MAX_BYTES`.
    """
    if size > MAX_BYTES:
        raise BrokenImage(f"a file of {size >> 20} MiB is more than {MAX_BYTES >> 20}; cut it into parts first")


def read_file(path: Path) -> bytes:
    """Read a picture's file.

    Raises:
        BrokenImage: see `check_bytes`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        check_bytes(os.fstat(file.fileno()).st_size)
        return file.read(MAX_BYTES)


def reason_of(error: Exception) -> str:
    """Say in a few words why a picture cannot be used, whatever reading it or working on it raised."""
    if isinstance(error, BrokenImage):
        return str(error)
    told = " ".join(str(error).split())[:200]
    # PyTorch's own words, of its own error on a GPU and of a RuntimeError on a CPU.
    if isinstance(error, MemoryError) or "out of memory" in told or "allocate memory" in told:
        return "memory does not suffice; cut it into parts first"
    return f"cannot be used ({type(error).__name__}: {told})"


@contextmanager
def opened(data: bytes) -> Iterator[tuple[Image.Image, int]]:
    """Open a picture and decode all of it; yield it with the bits a channel in its file, 8 or 16.

    The picture is decoded before anything else asks it: what Pillow reads of a damaged picture on the way to its
    EXIF block, say, stays in it, black from the damage on, and a second look finds nothing wrong.

    Args:
        data: the file's content.

    Raises:
        BrokenImage: not a picture, damaged, cut short, empty, of 32 bits a channel, or larger than `MAX_PIXELS`; so
            is what goes wrong in the block.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about broken EXIF, and about large pictures: our own limit stands below
            know_heif(data)
            with Image.open(io.BytesIO(data), formats=known_formats()) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width} × {image.height} pixels"
                    raise BrokenImage(f"{size} are more than {MAX_PIXELS}; cut it into parts first")
                bits = _bits(image)  # loading forgets how it was stored
                if bits > 16 or (image.mode in ("I", "F") and bits != 16):
                    raise BrokenImage("32 bits a channel are not supported; convert it to 8 or 16 bits")
                if image.format == "PNG":
                    _check_png(data)
                if image.format == "AVIF":
                    _check_avif(data)
                image.load()
                yield image, bits
    except (BrokenImage, UserError):
        raise
    except UnidentifiedImageError as error:
        raise BrokenImage(_unknown_kind(data)) from error
    except Image.DecompressionBombError as error:
        raise BrokenImage(f"more than {MAX_PIXELS} pixels; cut it into parts first") from error
    except MemoryError as error:
        raise BrokenImage(reason_of(error)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise BrokenImage(f"damaged ({error})") from error


def _bits(image: Image.Image) -> int:
    """Return the bits a channel in the file, which Pillow's mode does not tell for colour."""
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
        return max(8, int(max(bits) if isinstance(bits, tuple) else bits))
    return 16 if any(";16" in str(tile) for tile in getattr(image, "tile", ())) or ";16" in image.mode else 8


def _check_png(data: bytes) -> None:
    """Compare the checksums of a PNG's chunks, which Pillow does not for those that hold the pixels.

    Raises:
        BrokenImage: one does not agree, or the file ends before its last chunk.
    """
    at, name = len(_PNG_SIGN), b""
    while name != b"IEND":
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + length
        if len(data) < end + 4:
            raise BrokenImage("damaged (cut short)")
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise BrokenImage(f"damaged (the checksum of its part {name.decode('latin-1')!a} does not agree)")
        at = end + 4


def _check_avif(data: bytes) -> None:
    """Ask OpenCV's decoder too, where it is there: Pillow's shows most damage of an AVIF as if it were picture.

    Of 400 pictures with one bit flipped Pillow took 323, OpenCV 46; it takes all kinds of sound ones that were tried.

    Raises:
        BrokenImage: OpenCV refuses it.
    """
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError:  # optional: 16-bit pictures need it
        return
    if cv2.haveImageWriter("a.avif"):  # else it was built without AVIF
        log = cv2.utils.logging
        before = log.setLogLevel(log.LOG_LEVEL_SILENT)  # it tells of each damaged file on stderr
        try:
            found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        finally:
            log.setLogLevel(before)
        if found is None:
            raise BrokenImage("damaged (its data contradict themselves)")


def know_heif(data: bytes) -> bool:
    """Teach Pillow HEIC, as iPhones write it, if a file of it comes along and the plugin is installed.

    Args:
        data: the file's content, or its first 12 bytes.

    Returns:
        Whether it can be read; True for other files.
    """
    if data[4:8] != b"ftyp" or data[8:12] not in _HEIF_BRANDS:
        return True
    try:
        importlib.import_module("pi_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def _unknown_kind(data: bytes) -> str:
    """Say what a file is that Pillow does not know."""
    if not know_heif(data):
        return "HEIC needs a plugin: pip install 'lakerank[heif]', or convert it to PNG or JPEG"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "this Pillow reads no AVIF; convert it to PNG or JPEG"
    return f"not a picture of a known kind ({', '.join(SUFFIXES)})"


def decode_rgb(data: bytes) -> NDArray[np.uint8]:
    """Decode a picture's pixels, (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Grey and palette become RGB, CMYK is converted, 16 bits are reduced to 8 (the upper ones), transparency is
    laid over white.

    Args:
        data: the file's content.

    Raises:
        BrokenImage: see `opened`.
    """
    with opened(data) as (image, _):
        return np.ascontiguousarray(np.asarray(_as_rgb(ImageOps.exif_transpose(image))))


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey, in 16 or 32 bits
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray((np.clip(values, 0, 65535) / 257 + 0.5).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, (255, 255, 255, 255)), over).convert("RGB")
    return image.convert("RGB")

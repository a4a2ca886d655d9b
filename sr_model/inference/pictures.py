"""Pictures in and out of files without loss of kind: grey, transparency, 16 bits and colour profile are kept.

What a format cannot hold is said in a sentence instead of dropped in silence.
"""

from __future__ import annotations

import importlib
import io
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from lakerank.cli.errors import UserError
from lakerank.cli.files import atomic_path
from sr_model.images import BrokenImage, know_heif, known_formats, opened, read_file

FORMATS: Mapping[str, tuple[str, ...]] = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
}
_LONGEST = {"jpeg": 65_500, "webp": 16_383}  # pixels a side: libjpeg's and WebP's own limits
_MOST_EXIF, _MOST_PROFILE = 65_533, 255 * 65_519  # bytes that a JPEG holds, in one segment and in 255
_DEEP = ("png", "tiff")  # hold 16 bits a channel
_ORIENTATION, _WIDTH, _HEIGHT, _EXIF_IFD = 0x0112, 0xA002, 0xA003, 0x8769

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """Hold a picture as it lay in its file, upright.

    Attributes:
        pixels: (H, W, 3) RGB or (H, W, 1) grey; uint8 or uint16.
        alpha: (H, W, 1) of the same type, 0 is transparent; None if the file has none. Not premultiplied.
        profile: ICC colour profile of `pixels`, empty if none.
        exif: EXIF block without orientation, empty if none.
        notes: sentences about what could not be kept.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    profile: bytes = b""
    exif: bytes = b""
    notes: tuple[str, ...] = ()

    @property
    def grey(self) -> bool:
        """Tell whether it has one channel."""
        return bool(self.pixels.shape[2] == 1)

    @property
    def depth(self) -> int:
        """Return the bits a channel, 8 or 16."""
        return self.pixels.dtype.itemsize * 8


def format_of(path: Path) -> str:
    """Return the format of `FORMATS` that a file's suffix means; empty for none of them."""
    return next((name for name, suffixes in FORMATS.items() if path.suffix.lower() in suffixes), "")


def size_of(source: Path | bytes) -> tuple[int, int]:
    """Read height and width from the head of a file or its content, before orientation; (0, 0) if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(source, bytes):
                know_heif(source)
            else:
                with source.open("rb") as file:
                    know_heif(file.read(12))
            with Image.open(
                io.BytesIO(source) if isinstance(source, bytes) else source, formats=known_formats()
            ) as image:
                return image.height, image.width
    except Exception:  # reading it will say what is wrong
        return 0, 0


def read_picture(path: Path) -> Picture:
    """Read PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC; of several frames or pages the first.

    Palettes become RGB, CMYK and Lab become sRGB through their profile where they have one.

    Raises:
        BrokenImage: see `opened` and `check_bytes`.
        OSError: the file cannot be read.
    """
    return decode_picture(read_file(path))


def decode_picture(data: bytes) -> Picture:
    """Read a picture from a file's content, as `read_picture` does."""
    with opened(data) as (image, bits):
        return _decoded(image, bits, data)


def _decoded(image: Image.Image, bits: int, data: bytes) -> Picture:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"only the first of {frames} frames is taken")
    profile = image.info.get("icc_profile") or b""
    if profile and not _is_profile(profile):
        notes.append("its colour profile is damaged and left out")
        profile = b""
    orientation, exif = _exif(image)
    pixels: Pixels | None = None
    if bits == 16:
        pixels = _deep_pixels(image, data)
        if pixels is None:
            notes.append(f"16 bits of the kind {image.mode} are reduced to 8")
    if pixels is None:
        image.load()
        image, profile = _plain(image, profile)
        pixels = np.asarray(image)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    pixels = _turned(pixels, orientation)
    colours = 1 if pixels.shape[2] <= 2 else 3
    alpha = pixels[..., colours:] if pixels.shape[2] > colours else None
    return Picture(
        np.ascontiguousarray(pixels[..., :colours]),
        None if alpha is None else np.ascontiguousarray(alpha),
        profile,
        exif,
        tuple(notes),
    )


def _is_profile(profile: bytes) -> bool:
    """Tell whether colour management can read an ICC profile."""
    try:
        ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError):
        return False
    return True


def _deep_pixels(image: Image.Image, data: bytes) -> Pixels | None:
    """Decode a picture to uint16 (H, W[, 2, 3 or 4]) in RGB order; None for kinds that OpenCV changes."""
    if image.mode.startswith("I"):
        image.load()
        values = np.asarray(image)
        return values.astype(np.uint16) if values.min() >= 0 and values.max() <= 65535 else None
    cv2 = _opencv()
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    channels = 1 if read is None or read.ndim == 2 else read.shape[2]
    if read is None or read.dtype != np.uint16 or read.shape[:2] != (image.height, image.width):
        return None
    if image.has_transparency_data != (channels in (2, 4)) or image.mode not in ("L", "LA", "RGB", "RGBA"):
        return None
    if channels >= 3:
        read = read[..., [2, 1, 0, 3][:channels]]
        if image.mode in ("L", "LA"):  # OpenCV spreads grey over three channels when there is alpha
            read = read[..., [0, 3][: channels - 2]]
    return np.asarray(read, np.uint16)


def _opencv() -> Any:
    """Import OpenCV, which 16-bit colour alone needs.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise UserError(f"pictures of 16 bits need OpenCV ({error}): pip install 'lakerank[sr]'") from error


def _plain(image: Image.Image, profile: bytes) -> tuple[Image.Image, bytes]:
    """Convert to L, LA, RGB or RGBA; return it with the profile that then holds."""
    if image.mode in ("CMYK", "LAB", "YCbCr"):
        if profile and image.mode != "YCbCr":
            try:
                source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
                if converted is not None:
                    return converted, b""
            except (ImageCms.PyCMSError, OSError):
                pass  # a profile that is damaged or of another kind: the plain formula does
        if image.mode == "LAB":
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image.convert("RGB"), b""
        return image.convert("RGB"), b"" if image.mode == "CMYK" else profile
    grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    if image.mode.startswith("I"):  # 16-bit grey that could not be had as such
        values = np.clip(np.asarray(image, np.float64), 0, 65535)
        return Image.fromarray((values / 257 + 0.5).astype(np.uint8)), profile
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        wanted = "LA" if grey else "RGBA"
        # Pillow turns a transparent grey value into alpha only on the way over RGBA.
        return image.convert("RGBA").convert(wanted) if image.mode in ("1", "L") else image.convert(wanted), profile
    return image.convert("L" if grey else "RGB"), profile


def _exif(image: Image.Image) -> tuple[int, bytes]:
    """Return the orientation still to be applied, and the rest of the EXIF block that may go into another file."""
    try:
        exif = image.getexif()
        if image.format == "TIFF":  # there it is the file's own structure, and Pillow and OpenCV turn the picture
            return 1, b""
        orientation = int(exif.get(_ORIENTATION, 1))
        exif.pop(_ORIENTATION, None)
        # The sizes inside would be wrong; the picture's own are in the file's head.
        inner = exif.get_ifd(_EXIF_IFD)
        inner.pop(_WIDTH, None)
        inner.pop(_HEIGHT, None)
        return orientation, exif.tobytes() if len(exif) else b""
    except Exception:  # damaged EXIF raises nearly anything, and is no reason to refuse the picture
        return 1, b""


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Apply EXIF orientation 1…8 to (H, W, C)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def check_size(height: int, width: int, kind: str) -> None:
    """Refuse what a format cannot hold.

    Raises:
        BrokenImage: a side is too long.
    """
    longest = _LONGEST.get(kind)
    if longest and max(height, width) > longest:
        raise BrokenImage(f"{width} × {height} is more than {kind} holds ({longest} a side); use --format png")


def fit(picture: Picture, kind: str) -> Picture:
    """Fit a picture to what a format can hold, with a note for each thing given up.

    Args:
        picture: any.
        kind: a key of `FORMATS`.

    Raises:
        BrokenImage: too large for the format.
    """
    notes = list(picture.notes)
    height, width = picture.pixels.shape[:2]
    check_size(height, width, kind)
    pixels, alpha, profile, exif = picture.pixels, picture.alpha, picture.profile, picture.exif
    if picture.depth == 16 and kind not in _DEEP:
        notes.append(f"16 bits become 8, since {kind} holds no more; png and tiff keep them")
        pixels = to_8_bits(pixels)
        alpha = None if alpha is None else to_8_bits(alpha)
    if alpha is not None and kind == "jpeg":
        notes.append("transparency is laid over white, since jpeg has none; png, webp and tiff keep it")
        top = np.float32(255)
        share = alpha.astype(np.float32) / top
        pixels = (pixels * share + top * (1 - share) + np.float32(0.5)).astype(pixels.dtype)
        alpha = None
    if kind == "jpeg" and len(exif) > _MOST_EXIF:
        notes.append(
            f"its EXIF block of {len(exif)} bytes is left out, since jpeg holds {_MOST_EXIF}; png and webp keep it"
        )
        exif = b""
    if kind == "jpeg" and len(profile) > _MOST_PROFILE:
        notes.append(f"its colour profile of {len(profile)} bytes is left out, since jpeg holds {_MOST_PROFILE}")
        profile = b""
    if kind == "tiff":
        exif = b""  # there it would be the file's own structure
        if picture.depth == 16 and (not picture.grey or alpha is not None) and profile:
            notes.append("the colour profile is left out, which 16-bit colour tiff cannot be given here; png keeps it")
            profile = b""
    return replace(picture, pixels=pixels, alpha=alpha, profile=profile, exif=exif, notes=tuple(notes))


def to_8_bits(values: Pixels) -> Pixels:
    """Round uint16 to the nearest uint8: 65535 is 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def write_picture(picture: Picture, path: Path, kind: str, quality: int = 95) -> Picture:
    """Write a picture whole or not at all; parents are made.

    Args:
        picture: what to write.
        path: of the file; replaced if it is there.
        kind: a key of `FORMATS`.
        quality: 1…100 of jpeg and webp; webp is lossless at 100.

    Returns:
        The picture as it was written, with notes (`fit`).

    Raises:
        BrokenImage: the format cannot hold it.
        OSError: the disk's complaint.
    """
    picture = fit(picture, kind)
    with atomic_path(path) as fresh, fresh.open("wb") as file:
        _save(picture, kind, quality, file)
    return picture


def encode_picture(picture: Picture, kind: str, quality: int = 95) -> tuple[bytes, Picture]:
    """Encode the bytes that `write_picture` writes; return them and the picture as it is in them.

    Args:
        picture, kind, quality: see `write_picture`.

    Raises:
        BrokenImage: the format cannot hold it.
    """
    picture, buffer = fit(picture, kind), io.BytesIO()
    _save(picture, kind, quality, buffer)
    return buffer.getvalue(), picture


def _save(picture: Picture, kind: str, quality: int, file: IO[bytes]) -> None:
    if picture.depth == 16:
        file.write(_deep_bytes(picture, kind))
    else:
        _save_8_bits(picture, kind, quality, file)


def _save_8_bits(picture: Picture, kind: str, quality: int, file: IO[bytes]) -> None:
    if picture.alpha is None:
        whole = picture.pixels[..., 0] if picture.grey else picture.pixels
    else:
        whole = np.concatenate([picture.pixels, picture.alpha], axis=2)
    options: dict[str, Any] = {}
    if kind == "jpeg":
        options = {"quality": quality, "subsampling": 0 if quality >= 90 else 2, "optimize": True}
    elif kind == "webp":
        # exact keeps the colour below transparent parts
        options = {"quality": quality, "lossless": quality == 100, "exact": True}
    elif kind == "tiff":
        options = {"compression": "tiff_deflate"}
    else:
        options = {"compress_level": 4}  # level 6 takes twice as long for a few hundredths of the size
    if picture.profile:
        options["icc_profile"] = picture.profile
    if picture.exif:
        options["exif"] = picture.exif
    Image.fromarray(whole).save(file, format=kind, **options)


def _deep_bytes(picture: Picture, kind: str) -> bytes:
    """Encode 16 bits through OpenCV, which Pillow has for grey only."""
    cv2 = _opencv()
    pixels = picture.pixels
    if picture.alpha is not None:
        pixels = np.repeat(pixels, 3, axis=2) if picture.grey else pixels
        whole = np.concatenate([pixels[..., ::-1], picture.alpha], axis=2)
    else:
        whole = pixels[..., ::-1]
    if kind == "tiff" and picture.grey and picture.alpha is None and picture.profile:
        buffer = io.BytesIO()
        Image.fromarray(picture.pixels[..., 0]).save(
            buffer, format="tiff", compression="tiff_deflate", icc_profile=picture.profile
        )
        return buffer.getvalue()
    done, coded = cv2.imencode(".png" if kind == "png" else ".tiff", np.ascontiguousarray(whole))
    if not done:
        raise BrokenImage(f"OpenCV cannot write it as {kind}")
    data = bytes(coded)
    return _with_profile(data, picture.profile) if kind == "png" and picture.profile else data


def _with_profile(png: bytes, profile: bytes) -> bytes:
    """Put an iCCP chunk behind a PNG's head (ISO/IEC 15948, 11.3.2.3), which OpenCV does not write."""
    body = b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile)
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    end_of_head = 8 + 25  # signature; IHDR with 13 bytes of content
    return png[:end_of_head] + chunk + png[end_of_head:]

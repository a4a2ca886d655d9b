"""Picture files: kind, depth, transparency, profile and orientation survive reading and writing."""

from __future__ import annotations

import base64
import io
import resource
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import SHARED
from PIL import Image, ImageCms, ImageOps, features

from lakerank.cli.errors import UserError
from sr_model import images
from sr_model.images import BrokenImage, decode_rgb
from sr_model.inference import pictures
from sr_model.inference.pictures import FORMATS, Picture, decode_picture, read_picture, write_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def values(channels: int, dtype: type = np.uint8, height: int = 13, width: int = 10) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(7).integers(0, top, (height, width, channels), endpoint=True).astype(dtype)


def coded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_round_trip(tmp_path: Path, kind: str, dtype: type, channels: int, alpha: bool) -> None:
    picture = Picture(values(channels, dtype), values(1, dtype)[::-1] if alpha else None)
    write_picture(picture, tmp_path / "x", kind)
    back = read_picture(tmp_path / "x")
    assert back.depth == np.iinfo(dtype).bits
    assert (back.alpha is not None) == alpha
    if alpha:
        np.testing.assert_array_equal(back.alpha, picture.alpha)
    same_kind = not (channels == 1 and alpha and dtype == np.uint16)  # OpenCV writes that as RGBA
    assert back.grey == (channels == 1 and same_kind)
    np.testing.assert_array_equal(back.pixels, picture.pixels if same_kind else np.repeat(picture.pixels, 3, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]  # no part left


def test_webp_is_lossless_at_100_and_keeps_colour_below_transparency(tmp_path: Path) -> None:
    picture = Picture(values(3), np.zeros((13, 10, 1), np.uint8))
    write_picture(picture, tmp_path / "x.webp", "webp", quality=100)
    back = read_picture(tmp_path / "x.webp")
    np.testing.assert_array_equal(back.pixels, picture.pixels)
    assert back.alpha is not None
    assert not back.alpha.any()


def test_jpeg_keeps_grey(tmp_path: Path) -> None:
    smooth = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 3, (64, 1, 1))
    write_picture(Picture(smooth), tmp_path / "x.jpg", "jpeg")
    back = read_picture(tmp_path / "x.jpg")
    assert back.grey
    assert np.abs(back.pixels.astype(int) - smooth).max() <= 3


def test_16_bit_files_of_other_programs_are_read_unchanged() -> None:
    colour, clear = values(3, np.uint16), values(4, np.uint16)
    for suffix in (".png", ".tiff"):
        read = decode_picture(cv2.imencode(suffix, colour)[1].tobytes())
        np.testing.assert_array_equal(read.pixels, colour[..., ::-1])
        read = decode_picture(cv2.imencode(suffix, clear)[1].tobytes())
        np.testing.assert_array_equal(read.pixels, clear[..., 2::-1])
        np.testing.assert_array_equal(read.alpha, clear[..., 3:])
    grey = values(1, np.uint16)
    np.testing.assert_array_equal(decode_picture(coded(Image.fromarray(grey[..., 0]), "png")).pixels, grey)
    np.testing.assert_array_equal(decode_picture(coded(Image.fromarray(grey[..., 0]), "tiff")).pixels, grey)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_orientation_is_applied_and_then_gone(tmp_path: Path, orientation: int, kind: str) -> None:
    image = Image.fromarray(values(3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a maker"
    data = coded(image, kind, exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    read = decode_picture(data)
    np.testing.assert_array_equal(read.pixels, wanted)
    write_picture(read, tmp_path / "x.png", "png")
    again = Image.open(tmp_path / "x.png")
    assert again.getexif().get(0x0112, 1) == 1
    assert again.getexif().get(0x010F) == (None if kind == "tiff" else "a maker")
    np.testing.assert_array_equal(read_picture(tmp_path / "x.png").pixels, wanted)


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("colour", [False, True])
def test_orientation_of_16_bits(kind: str, colour: bool) -> None:
    """Pillow and OpenCV both may turn: once must be turned, not twice."""
    deep = values(3 if colour else 1, np.uint16)
    data = cv2.imencode(f".{kind}", deep[..., ::-1])[1].tobytes()
    turned = _png_with_orientation(data, 6) if kind == "png" else _tiff_with_orientation(data, 6)
    np.testing.assert_array_equal(decode_picture(turned).pixels, np.rot90(deep, -1))


def _png_with_orientation(png: bytes, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    return png[:33] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + png[33:]


def _tiff_with_orientation(tiff: bytes, orientation: int) -> bytes:
    """A second directory behind everything, with the entry added."""
    at = struct.unpack_from("<I", tiff, 4)[0]
    count = struct.unpack_from("<H", tiff, at)[0]
    entries = [tiff[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    entries = [entry for entry in entries if struct.unpack("<H", entry[:2])[0] != 274]
    entries.append(struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2])[0])
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    end = len(tiff) + len(tiff) % 2
    return tiff[:4] + struct.pack("<I", end) + tiff[8:].ljust(end - 8, b"\0") + directory


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_profile_is_kept_or_missed_aloud(tmp_path: Path, kind: str, dtype: type, channels: int) -> None:
    written = write_picture(Picture(values(channels, dtype), profile=SRGB), tmp_path / "x", kind)
    kept = Image.open(tmp_path / "x").info.get("icc_profile") == SRGB
    assert kept == (written.profile == SRGB)
    assert kept != any("profile" in note for note in written.notes)
    assert kept or (kind, dtype, channels) == ("tiff", np.uint16, 3)


def test_jpeg_lays_transparency_over_white_and_says_so(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 3), 100, np.uint8)
    alpha = np.zeros((16, 16, 1), np.uint8)
    alpha[8:] = 255
    written = write_picture(Picture(pixels, alpha), tmp_path / "x.jpg", "jpeg", quality=100)
    back = read_picture(tmp_path / "x.jpg")
    assert back.alpha is None
    assert back.pixels[:7].min() >= 253
    assert np.abs(back.pixels[9:].astype(int) - 100).max() <= 2
    assert "transparency" in written.notes[0]


def test_16_bits_become_8_for_jpeg_and_say_so(tmp_path: Path) -> None:
    written = write_picture(Picture(np.full((8, 8, 1), 257 * 77, np.uint16)), tmp_path / "x.jpg", "jpeg", 100)
    assert "16 bits" in written.notes[0]
    assert np.abs(read_picture(tmp_path / "x.jpg").pixels.astype(int) - 77).max() <= 1


@pytest.mark.parametrize(("deep", "plain"), [(0, 0), (65535, 255), (128, 0), (129, 1), (257 * 77, 77), (65406, 254)])
def test_8_bits_are_the_nearest(deep: int, plain: int) -> None:
    assert pictures.to_8_bits(np.array([deep], np.uint16))[0] == plain


def test_palette_bilevel_and_transparent_palette() -> None:
    image = Image.fromarray(values(3)).quantize(16)
    np.testing.assert_array_equal(decode_picture(coded(image, "png")).pixels, np.asarray(image.convert("RGB")))
    clear = decode_picture(coded(image, "png", transparency=3))
    assert clear.alpha is not None
    np.testing.assert_array_equal(clear.alpha[..., 0] == 0, np.asarray(image) == 3)
    bilevel = decode_picture(coded(Image.fromarray(values(1)[..., 0] > 99), "png"))
    assert bilevel.grey
    assert set(np.unique(bilevel.pixels)) == {0, 255}


def test_a_transparent_grey_value_becomes_alpha() -> None:
    grey = values(1)
    grey[2, 3] = 55
    read = decode_picture(coded(Image.fromarray(grey[..., 0]), "png", transparency=55))
    assert read.grey
    assert read.alpha is not None
    np.testing.assert_array_equal(read.alpha == 0, grey == 55)


def test_cmyk_becomes_rgb_without_its_profile() -> None:
    image = Image.new("CMYK", (9, 9), (0, 255, 255, 0))
    read = decode_picture(coded(image, "jpeg", icc_profile=b"not a profile"))
    assert read.pixels.shape == (9, 9, 3)
    assert read.profile == b""
    assert read.pixels[4, 4, 0] > 200 > 60 > read.pixels[4, 4, 1]


def test_of_several_pages_the_first_is_taken_and_said() -> None:
    pages = [Image.new("L", (5, 4), level) for level in (10, 20, 30)]
    read = decode_picture(coded(pages[0], "tiff", save_all=True, append_images=pages[1:]))
    assert np.all(read.pixels == 10)
    assert read.notes == ("only the first of 3 frames is taken",)


CASES = SHARED.parent / "cases" / "pictures"


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")
@pytest.mark.parametrize(
    ("name", "said"), [("crc.png", "damaged"), ("float.tif", "32 bits"), ("int32.tif", "32 bits"), ("badicc.png", "")]
)
def test_every_command_refuses_the_same_pictures(name: str, said: str) -> None:
    data = (CASES / name).read_bytes()
    for decode in (decode_rgb, decode_picture):
        if said:
            with pytest.raises(BrokenImage, match=said):
                decode(data)
        else:
            decode(data)


def test_a_damaged_profile_is_left_out_and_said() -> None:
    read = decode_picture(coded(Image.new("RGB", (8, 8), "red"), "png", icc_profile=SRGB[:200]))
    assert read.profile == b""
    assert read.notes == ("its colour profile is damaged and left out",)


# 32 × 24 pixels whose red is 8x, green 10y, blue 255 − 4x; written by pillow-heif at quality 50.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAA"
    "AERAAAEAAQAAAAABoAABAAAAAAAAAH8AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADc"
    "aXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAA"
    "AwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFw"
    "AAAAIAAAAAEAAAAYAAAAAf///+AAAAAC////2AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAh21kYXQAAAB7"
    "KAGvEyGrnXj1KigRwVD5+j4PhdlWDfsYqe8vu88pXvzTx1Diwl7edzef99nGwgIUMkt0+rgytuEfzRzKidnjNiqfsfk9li07XNoQBc3itZfcwn2n"
    "JiNz0fAZ30DOwyJeQ8JEKWHsWPaoaL58KxFeGvxRSlrI+Nsvvq7w"
)


def test_heic_is_read_where_its_plugin_is(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="needs lakerank[heif]")
    y, x = np.mgrid[:24, :32]
    wanted = np.stack([x * 8, y * 10, 255 - x * 4], axis=2)
    (tmp_path / "a.heic").write_bytes(HEIC)
    assert pictures.size_of(tmp_path / "a.heic") == pictures.size_of(HEIC) == (24, 32)
    for found in (decode_rgb(HEIC), read_picture(tmp_path / "a.heic").pixels):
        assert np.abs(found.astype(int) - wanted).mean() < 5
    with pytest.raises(BrokenImage):
        decode_rgb(HEIC[:400])


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_sound_avif_of_all_kinds_is_taken() -> None:
    image = Image.fromarray(np.kron(values(3, height=6, width=8), np.ones((8, 8, 1))).astype(np.uint8))
    kinds: list[tuple[Image.Image, dict[str, object]]] = [
        *((image, {"subsampling": name, "quality": 80}) for name in ("4:4:4", "4:2:2", "4:2:0", "4:0:0")),
        *((image.convert(mode), {}) for mode in ("L", "RGBA", "LA")),
        (image.crop((0, 0, 33, 17)), {"quality": 100}),
        (image.crop((0, 0, 1, 1)), {}),
        (image, {"save_all": True, "append_images": [image.rotate(90)]}),
        (image, {"range": "limited", "codec": "auto"}),
    ]
    for one, options in kinds:
        assert decode_rgb(coded(one, "AVIF", **options)).shape == (one.height, one.width, 3)
    deep = cv2.imencode(".avif", np.asarray(image, np.uint16) * 4, [cv2.IMWRITE_AVIF_DEPTH, 10])[1].tobytes()
    assert decode_rgb(deep).shape == (48, 64, 3)


def test_a_kind_that_pillow_does_not_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(BrokenImage, match=r"HEIC needs a plugin: pip install 'lakerank\[heif\]'"):
        decode_picture(b"\0\0\0\x18ftypheic" + bytes(40))


@pytest.mark.parametrize("kind", ["EPS", "PDF", "GIF", "PPM", "TGA"])
def test_only_what_is_named_as_a_picture_is_given_to_a_decoder(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow knows dozens of kinds, and runs Ghostscript for one of them."""
    data = coded(Image.new("RGB", (20, 10)), kind)
    ran: list[object] = []
    monkeypatch.setattr(subprocess, "check_call", lambda *words, **_: ran.append(words))
    with pytest.raises(BrokenImage, match="not a picture of a known kind"):
        decode_picture(data)
    assert pictures.size_of(data) == (0, 0)
    assert not ran


def test_every_kind_that_is_named_is_read() -> None:
    assert set(images.known_formats()) >= {"PNG", "JPEG", "WEBP", "TIFF", "BMP"}
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "MPO"):  # as many cameras write: a JPEG with more behind it
        assert decode_rgb(coded(Image.new("RGB", (20, 10)), kind)).shape == (10, 20, 3), kind


@pytest.mark.parametrize(("source", "kept"), [("png", False), ("webp", False), ("png", True)])
def test_exif_too_long_for_jpeg_is_left_out_and_said(source: str, kept: bool) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * (60_000 if kept else 70_000)  # ImageDescription
    read = decode_picture(coded(Image.new("RGB", (20, 10)), source, exif=exif))
    assert len(read.exif) > 60_000
    made, picture = pictures.encode_picture(read, "jpeg")
    assert any("EXIF block of" in note and "jpeg holds 65533" in note for note in picture.notes) != kept
    assert bool(decode_picture(made).exif) == kept
    assert pictures.encode_picture(read, "png")[1].exif == read.exif


def test_a_profile_too_long_for_jpeg_is_left_out_and_said() -> None:
    picture = Picture(values(3), profile=SRGB + bytes(17_000_000))
    made, picture = pictures.encode_picture(picture, "jpeg")
    assert any("colour profile of" in note for note in picture.notes)
    assert not decode_picture(made).profile


FLIPPED: list[tuple[str, dict[str, object]]] = [
    ("png", {}),
    ("png", {"bits": 16}),
    ("jpeg", {"quality": 90}),
    ("jpeg", {"progressive": True}),
    ("webp", {"lossless": True}),
    ("webp", {"quality": 80}),
    ("tiff", {"compression": "tiff_lzw"}),
    ("tiff", {"compression": "tiff_adobe_deflate"}),
    ("bmp", {}),
    *([("avif", {"quality": 80})] if features.check("avif") else []),
]


def flips(kind: str, options: dict[str, object], n: int) -> Iterator[bytes]:
    """Copies of a picture's file with one bit flipped."""
    whole = options.pop("bits", 8) == 8
    rng = np.random.default_rng(3)
    image = Image.fromarray(np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8))
    data = (
        coded(image, kind, **options)
        if whole
        else cv2.imencode(".png", np.asarray(image, np.uint16) * 257)[1].tobytes()
    )
    for bit in rng.integers(0, len(data) * 8, n):
        copy = bytearray(data)
        copy[bit // 8] ^= 1 << (bit % 8)
        yield bytes(copy)


def is_refused(decode: Callable[[bytes], object], data: bytes) -> bool:
    try:
        decode(data)
    except BrokenImage:
        return True
    return False


def pillow_refuses(data: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(io.BytesIO(data)).load()
    except Exception:
        return True
    return False


@pytest.mark.parametrize("n", [100, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "options"), FLIPPED)
def test_what_pillow_or_opencv_finds_damaged_is_refused(kind: str, options: dict[str, object], n: int) -> None:
    refused = 0
    for data in flips(kind, dict(options), n):
        ours = is_refused(decode_rgb, data)
        refused += ours
        if kind == "png" or pillow_refuses(data):  # every part has a checksum
            assert ours
            assert is_refused(decode_picture, data)
        elif kind in ("jpeg", "webp", "avif") and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is None:
            assert ours
    assert refused


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_a_file_cut_short_is_broken(kind: str) -> None:
    data = coded(Image.fromarray(values(3, height=90, width=80)), kind)
    with pytest.raises(BrokenImage):
        decode_picture(data[: len(data) * 2 // 3])


def test_what_is_no_picture_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokenImage, match="not a picture"):
        decode_picture(b"plain text")
    with pytest.raises(BrokenImage, match="not a picture"):
        decode_picture(b"")
    with pytest.raises(BrokenImage, match="32 bits"):
        decode_picture(coded(Image.fromarray(np.ones((4, 4), np.float32)), "tiff"))
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    with pytest.raises(BrokenImage, match="cut it into parts"):
        decode_picture(coded(Image.new("L", (10, 10)), "png"))


def test_a_side_too_long_for_the_format() -> None:
    with pytest.raises(BrokenImage, match="--format png"):
        pictures.check_size(10, 16_384, "webp")
    pictures.check_size(16_384, 16_384, "png")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.png"
    target.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures, "_save_8_bits", full)
    with pytest.raises(OSError, match="No space"):
        write_picture(Picture(values(3)), target, "png")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_16_bits_without_opencv_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    deep = Picture(np.zeros((4, 5, 3), np.uint16))
    with pytest.raises(UserError, match=r"16 bits need OpenCV .*pip install 'lakerank\[sr\]'"):
        write_picture(deep, tmp_path / "deep.png", "png")
    assert not list(tmp_path.iterdir())


def claimed(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel, white, that is a thousandth of what decoding it takes."""
    made = io.BytesIO()
    Image.new("1", (width, height), 1).save(made, "png")
    return made.getvalue()


def test_a_small_file_that_claims_many_pixels_is_refused_before_it_is_decoded() -> None:
    data = claimed(16_384, 16_384)
    assert len(data) < 400 << 10
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for decode in (decode_rgb, pictures.decode_picture):
        with pytest.raises(BrokenImage, match="pixels"):
            decode(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10  # KiB


@pytest.mark.parametrize(
    "error", [KeyError("x"), struct.error("x"), zlib.error("x"), AssertionError(), RecursionError()]
)
def test_whatever_pillow_raises_costs_one_picture(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", broken)
    for decode in (decode_rgb, pictures.decode_picture):
        with pytest.raises(BrokenImage, match="damaged"):
            decode(b"x")

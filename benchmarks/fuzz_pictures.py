"""Never enlarge damage: pictures of each format with one bit flipped, by our decoder, Pillow's and OpenCV's.

Ours may take no picture that Pillow or OpenCV refuses, nor fail in any way but by saying why. Counted besides: flips
after which the pixels are the same, those after which a picture is taken that differs, and those in which whole rows
have lost their content (one value where the original has many): formats without checksums allow them.

    python benchmarks/fuzz_pictures.py [--flips 10000] [--seed 0] [--formats png,jpeg] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # it tells of each damaged file on stderr

import cv2
import numpy as np
import PIL
from PIL import Image, features

from sr_model.images import BrokenImage
from sr_model.inference.pictures import decode_picture

RESULTS = Path(__file__).parent / "results"
HEIGHT, WIDTH = 40, 48


def a_picture(seed: int = 0) -> np.ndarray:
    """Return smooth colours with noise, (40, 48, 3) uint8, of which no row is one value."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] / 16
    waves = np.stack([np.sin(x + c) + np.cos(y * (c + 1)) for c in range(3)], axis=2)
    noise = np.random.default_rng(seed).normal(0, 6, (HEIGHT, WIDTH, 3))
    return np.clip(waves * 50 + 128 + noise, 1, 254).astype(np.uint8)


def saved(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    """Encode a picture by Pillow."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.quantize(64) if options.pop("palette", False) else image).save(file, kind, **options)
    return file.getvalue()


def by_opencv(pixels: np.ndarray, suffix: str) -> bytes:
    """Encode a picture by OpenCV."""
    return bytes(cv2.imencode(suffix, pixels)[1])


def files(seed: int = 0) -> dict[str, bytes]:
    """Return a file of each format and kind, of the picture that a seed gives."""
    pixels = a_picture(seed)
    deep = pixels.astype(np.uint16) * 257
    made = {
        "png": saved(pixels, "PNG"),
        "png palette": saved(pixels, "PNG", palette=True),
        "png 16 bits": by_opencv(deep, ".png"),
        "jpeg": saved(pixels, "JPEG", quality=92),
        "jpeg progressive": saved(pixels, "JPEG", quality=92, progressive=True),
        "webp": saved(pixels, "WEBP", quality=90),
        "webp lossless": saved(pixels, "WEBP", lossless=True),
        "tiff": saved(pixels, "TIFF"),
        "tiff deflate": saved(pixels, "TIFF", compression="tiff_deflate"),
        "tiff lzw": saved(pixels, "TIFF", compression="tiff_lzw"),
        "tiff 16 bits": by_opencv(deep, ".tiff"),
        "bmp": saved(pixels, "BMP"),
    }
    if features.check("avif"):
        made["avif"] = saved(pixels, "AVIF", quality=90)
    return made


def ours(data: bytes) -> np.ndarray | None:
    """Decode as every command does; None where it says that the picture is broken."""
    try:
        return decode_picture(data).pixels
    except BrokenImage:
        return None


def pillow(data: bytes) -> np.ndarray | None:
    """Decode by Pillow as it comes; None where it raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                return np.asarray(image)
    except Exception:
        return None


def opencv(data: bytes) -> np.ndarray | None:
    """Decode by OpenCV as it comes; None where it gives nothing."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def lost_rows(found: np.ndarray) -> int:
    """Count rows that are one value."""
    return sum(bool((row == row[0]).all()) for row in found)


def fuzz(data: bytes, flips: int, seed: int, read: Callable[[bytes], np.ndarray | None] = ours) -> Counter[str]:
    """Flip one bit at a time, each at most once, and count what becomes of it.

    Args:
        data: a sound file.
        flips: how many; all bits where there are fewer.
        seed: of the choice.
        read: the decoder on trial.
    """
    counts: Counter[str] = Counter()
    sound = read(data)
    assert sound is not None
    opencv_reads = opencv(data) is not None
    places = np.random.default_rng(seed).permutation(len(data) * 8)[:flips]
    for place in places:
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << (place % 8)
        counts["flips"] += 1
        try:
            found = read(bytes(damaged))
        except Exception as error:
            counts["failed"] += 1
            counts[f"failed: {type(error).__name__}"] += 1
            continue
        theirs = {"pillow": pillow(bytes(damaged))}
        if opencv_reads:
            theirs["opencv"] = opencv(bytes(damaged))
        if found is None:
            counts["refused"] += 1
            counts["refused, both take it"] += all(one is not None for one in theirs.values())
            continue
        same = found.shape == sound.shape and np.array_equal(found, sound)
        counts["same pixels" if same else "changed"] += 1
        counts["rows lost"] += not same and lost_rows(found) > 0
        for name, one in theirs.items():
            counts[f"taken, {name} refuses"] += one is None
            if not same and one is not None:
                counts[f"{name}: rows lost"] += lost_rows(one) > 0
    return counts


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=10_000, help="of each format and kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", default="", help="some of them, by the first word")
    parser.add_argument("--quick", action="store_true", help="500 flips of each")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    flips = 500 if args.quick else args.flips
    chosen = set(filter(None, args.formats.split(",")))
    begun, table = time.process_time(), {}
    for name in files():
        if chosen and name.split()[0] not in chosen:
            continue
        counts: Counter[str] = Counter()
        while counts["flips"] < flips:  # a small file has fewer bits; then other pictures follow
            counts += fuzz(files(counts["files"])[name], flips - counts["flips"], args.seed)
            counts["files"] += 1
        table[name] = {key: int(value) for key, value in counts.items()}
        print(name, json.dumps(table[name]), flush=True)
    summary = {
        "benchmark": "fuzz_pictures",
        "flips": flips,
        "seed": args.seed,
        "failed": sum(row.get("failed", 0) for row in table.values()),
        "taken_pillow_refuses": sum(row.get("taken, pillow refuses", 0) for row in table.values()),
        "taken_opencv_refuses": sum(row.get("taken, opencv refuses", 0) for row in table.values()),
        "formats": table,
        "cpu_seconds": round(time.process_time() - begun, 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "pillow": PIL.__version__,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
        },
    }
    if not args.quick and not chosen:
        (RESULTS / "fuzz_pictures.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(summary))
    return int(bool(summary["failed"] or summary["taken_pillow_refuses"]))


if __name__ == "__main__":
    sys.exit(main())

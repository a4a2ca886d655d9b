"""Pictures from wherever training data lies: a folder, a tar or zip file, or a data set of patches."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from sr_model.images import MAX_BYTES, SUFFIXES, BrokenImage, decode_rgb
from sr_model.patching.sources import DAMAGE

_TARS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
MOST_PIXELS = 1 << 26  # of a picture put together again from patches; larger ones come in parts

NamedPicture = tuple[str, NDArray[np.uint8]]


def read_pictures(path: Path) -> Iterator[NamedPicture]:
    """Read name and pixels, (H, W, 3) uint8 RGB, of every picture that can be read, in a fixed order.

    Patches of one picture that follow one another are put together again. What is no sound picture is passed over,
    as it is when patches are made.

    Args:
        path: a folder (searched to its bottom), a tar or zip file, a picture, or a folder of patches.

    Raises:
        UserError: nothing there, or an archive that cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_dir():
        parquet = sorted(path.glob("*.parquet"))
        return _from_patches(parquet) if parquet else _decoded(_from_folder(path))
    if path.name.endswith(_TARS):
        return _decoded(_from_tar(path))
    if path.suffix == ".zip":
        return _decoded(_from_zip(path))
    return _decoded(_of_file(path, path.name))


def _decoded(files: Iterator[tuple[str, bytes]]) -> Iterator[NamedPicture]:
    for name, data in files:
        try:
            yield name, decode_rgb(data)
        except BrokenImage:
            continue


def _of_file(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    if path.stat().st_size <= MAX_BYTES:
        yield name, path.read_bytes()


def _from_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            yield from _of_file(file, str(file.relative_to(path)))


def _from_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() and member.size <= MAX_BYTES else None
                if file and member.name.lower().endswith(SUFFIXES):
                    yield member.name, file.read()
    except DAMAGE as error:
        raise UserError(f"{path}: not a sound tar file ({error})") from error


def _from_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.lower().endswith(SUFFIXES) and archive.getinfo(name).file_size <= MAX_BYTES:
                    yield name, archive.read(name)
    except DAMAGE as error:
        raise UserError(f"{path}: not a sound zip file ({error})") from error


def _from_patches(files: list[Path]) -> Iterator[NamedPicture]:
    """Put rows with one source together as one picture; where patches were left out it has its mean colour."""
    source = ""
    run: list[tuple[int, int, NDArray[np.uint8]]] = []
    pixels = 0
    for name, x, y, hr in _rows(files):
        if run and (name != source or pixels + hr.size // 3 > MOST_PIXELS):
            yield source, _assembled(run)
            run, pixels = [], 0
        source = name
        run.append((x, y, hr))
        pixels += hr.size // 3
    if run:
        yield source, _assembled(run)


def _rows(files: list[Path]) -> Iterator[tuple[str, int, int, NDArray[np.uint8]]]:
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    held = file.read_row_group(group, columns=["hr", "source", "x", "y"])
                    positions = zip(*(held[name].to_pylist() for name in ("source", "x", "y")), strict=True)
                    for value, (source, x, y) in zip(held["hr"], positions, strict=True):
                        yield source, x, y, _patch(value.as_buffer())
        except (KeyError, ValueError, OSError) as error:
            raise UserError(f"{path}: not a file of patches ({error})") from error


def _patch(stored: memoryview) -> NDArray[np.uint8]:
    """Decode a square from what `numpy.save` wrote: the pixels are the last 3·n² bytes, after a header below 256."""
    flat = np.frombuffer(stored, np.uint8)
    side = int((len(flat) // 3) ** 0.5)
    while len(flat) - 3 * side * side < 64:  # the smallest header
        side -= 1
    return flat[len(flat) - 3 * side * side :].reshape(side, side, 3)


def _assembled(run: list[tuple[int, int, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    side = run[0][2].shape[0]
    left, top = min(x for x, _, _ in run), min(y for _, y, _ in run)
    width, height = max(x for x, _, _ in run) - left + side, max(y for _, y, _ in run) - top + side
    mean = np.mean([hr.mean(axis=(0, 1)) for _, _, hr in run], axis=0)
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = mean.astype(np.uint8)
    for x, y, hr in run:
        canvas[y - top : y - top + side, x - left : x - left + side] = hr
    return canvas

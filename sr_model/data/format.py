"""The format of a folder of patches: its columns, for Petastorm (a Unischema) and for pyarrow, and its manifest."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from lakerank.cli.errors import UserError

NAME = "Patches"


@dataclass(frozen=True)
class PatchRow:
    """Hold one patch and where it comes from.

    Attributes:
        hr: (P, P, 3) uint8 RGB.
        lr: (P/scale, P/scale, 3) uint8 RGB; None if LR is made when reading.
        source: the picture's file name.
        x: left edge of the patch in that picture, HR pixels.
        y: top edge, HR pixels.
    """

    hr: NDArray[np.uint8]
    lr: NDArray[np.uint8] | None
    source: str
    x: int
    y: int


def image_shapes(patch: int, scale: int, store_lr: bool) -> dict[str, tuple[int, int, int]]:
    """Return the picture columns and their shapes.

    Args:
        patch: side of the HR patches in pixels, a multiple of `scale`.
        scale: the factor.
        store_lr: whether LR is stored too.
    """
    shapes = {"hr": (patch, patch, 3)}
    if store_lr:
        shapes["lr"] = (patch // scale, patch // scale, 3)
    return shapes


def arrow_schema(patch: int, scale: int, store_lr: bool) -> pa.Schema:
    """Return the columns as Parquet holds them. None can be null, so pages are values and nothing else."""
    images = [pa.field(name, pa.binary(), nullable=False) for name in image_shapes(patch, scale, store_lr)]
    provenance = [("source", pa.string()), ("x", pa.int32()), ("y", pa.int32())]
    return pa.schema(images + [pa.field(name, kind, nullable=False) for name, kind in provenance])


def pickled_unischema(patch: int, scale: int, store_lr: bool) -> bytes:
    """Pickle the Unischema as Petastorm does. No codec needs Spark's types: reading it does not import pyspark."""
    from sr_model.data.petastorm_compat import NdarrayCodec, Unischema, UnischemaField

    fields = [
        UnischemaField(name, np.uint8, shape, NdarrayCodec(), False)
        for name, shape in image_shapes(patch, scale, store_lr).items()
    ]
    fields += [
        UnischemaField("source", np.str_, (), None, False),
        UnischemaField("x", np.int32, (), None, False),
        UnischemaField("y", np.int32, (), None, False),
    ]
    return pickle.dumps(Unischema(NAME, fields))


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header that `numpy.save`, and so NdarrayCodec, writes before the pixels of a uint8 array."""
    file = io.BytesIO()
    np.save(file, np.zeros(shape, np.uint8))
    return file.getvalue()[: -int(np.prod(shape))]


MANIFEST = "_lakerank.json"
FORMAT = 1


@dataclass(frozen=True)
class PartInfo:
    """Describe a part file.

    Attributes:
        name: relative to the data set's folder.
        size: bytes.
        row_groups: rows in each row group.
        checksum: XXH3 of the file, 64 bits in hexadecimal; empty if it was written by an earlier version.
    """

    name: str
    size: int
    row_groups: tuple[int, ...]
    checksum: str = ""

    @property
    def rows(self) -> int:
        """Count the rows in the file."""
        return sum(self.row_groups)

    def is_intact(self, folder: Path) -> bool:
        """Tell whether the file in a folder is the one that was written."""
        file = folder / self.name
        if not file.is_file() or file.stat().st_size != self.size:
            return False
        return not self.checksum or file_checksum(file) == self.checksum


@dataclass(frozen=True)
class Manifest:
    """Describe one data set (a split).

    Attributes:
        patch: side of the HR patches in pixels.
        scale: HR pixels per LR pixel.
        store_lr: LR patches are stored beside the HR ones.
        parts: the files, by name.
        facts: what they were made from and how.
    """

    patch: int
    scale: int
    store_lr: bool
    parts: tuple[PartInfo, ...]
    facts: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Count the patches in all files."""
        return sum(part.rows for part in self.parts)

    def compare(self, folder: Path) -> None:
        """Compare the files in a folder with their checksums; `read_manifest` has compared their sizes.

        Raises:
            UserError: one is altered.
        """
        for part in self.parts:
            if not part.is_intact(folder):
                raise UserError(f"{folder / part.name}: is altered; copy it again or make the patches anew")


def file_checksum(path: Path) -> str:
    """Compute the XXH3 checksum of a file."""
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def part_from(values: Mapping[str, Any]) -> PartInfo:
    """Return what a manifest, or the result of a part, says of a file."""
    return PartInfo(values["name"], values["size"], tuple(values["row_groups"]), values.get("checksum", ""))


def manifest_json(manifest: Manifest) -> str:
    """Format a manifest as it stands in the folder."""
    fields = {
        "format": FORMAT,
        "rows": manifest.rows,
        "patch": manifest.patch,
        "scale": manifest.scale,
        "store_lr": manifest.store_lr,
        "facts": dict(manifest.facts),
        "files": [
            {
                "name": part.name,
                "size": part.size,
                "row_groups": list(part.row_groups),
                **({"checksum": part.checksum} if part.checksum else {}),
            }
            for part in manifest.parts
        ],
    }
    return json.dumps(fields, indent=1) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder of patches.

    Raises:
        UserError: no such folder, not finished, not ours, or a file of it is missing or has another size.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(_why_not(folder))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise UserError(f"{path}: format {found['format']}, but this version reads {FORMAT}; make the patches anew")
        parts = tuple(part_from(part) for part in found["files"])
        manifest = Manifest(found["patch"], found["scale"], found["store_lr"], parts, found["facts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not readable ({error!r}); make the patches anew") from error
    for part in manifest.parts:
        file = folder / part.name
        if not file.is_file() or file.stat().st_size != part.size:
            what = "is missing" if not file.is_file() else f"has {file.stat().st_size} bytes instead of {part.size}"
            raise UserError(f"{file}: {what}; copy it again or make the patches anew")
    return manifest


def _why_not(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}: no such folder of patches; make one with spark_jobs/make_patches.py"
    if (folder / "train" / MANIFEST).is_file():
        return f"{folder}: holds train and valid patches; give {folder / 'train'}"
    if any(folder.rglob("*.parquet")):
        return (
            f"{folder}: no finished patches here ({MANIFEST} is missing); run make_patches to the end, or if others "
            f"wrote this Parquet, cut its pictures first: python -m sr_model.build_patches --source {folder} --out DIR"
        )
    return f"{folder}: no finished patches here ({MANIFEST} is missing); run make_patches to the end"

"""What a patch data set holds, in one place: the columns, for Petastorm and for pyarrow, and the manifest."""

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
from numpy.typing import NDArray

from spark_jobs.lake.errors import UserError

NAME = "Patches"
MANIFEST = "_lakerank.json"
COMMON_METADATA = "_common_metadata"
FORMAT = 1


@dataclass(frozen=True)
class PatchRow:
    """One patch and where it comes from.

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
    """The picture columns and their shapes.

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
    """The columns as Parquet holds them. None can be null, so pages are values and nothing else."""
    images = [pa.field(name, pa.binary(), nullable=False) for name in image_shapes(patch, scale, store_lr)]
    provenance = [("source", pa.string()), ("x", pa.int32()), ("y", pa.int32())]
    return pa.schema(images + [pa.field(name, kind, nullable=False) for name, kind in provenance])


def pickled_unischema(patch: int, scale: int, store_lr: bool) -> bytes:
    """The Unischema as Petastorm keeps it. No codec needs Spark's types, so reading it does not import pyspark."""
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
    """What `numpy.save` (and so Petastorm's NdarrayCodec) writes before the pixels of a uint8 array."""
    file = io.BytesIO()
    np.save(file, np.zeros(shape, np.uint8))
    return file.getvalue()[: -int(np.prod(shape))]


@dataclass(frozen=True)
class PartInfo:
    """A part file.

    Attributes:
        name: relative to the data set's folder.
        size: bytes.
        row_groups: rows in each row group.
    """

    name: str
    size: int
    row_groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(self.row_groups)


@dataclass(frozen=True)
class Manifest:
    """What a finished data set says of itself.

    Attributes:
        patch: side of the HR patches.
        scale: HR pixels per LR pixel.
        store_lr: whether LR is stored.
        parts: the files, by name.
        facts: what the job that wrote it kept: split, settings, counts.
    """

    patch: int
    scale: int
    store_lr: bool
    parts: tuple[PartInfo, ...]
    facts: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Patches in the data set."""
        return sum(part.rows for part in self.parts)


def manifest_json(manifest: Manifest) -> str:
    """As it stands in the folder."""
    fields = {
        "format": FORMAT,
        "rows": manifest.rows,
        "patch": manifest.patch,
        "scale": manifest.scale,
        "store_lr": manifest.store_lr,
        "facts": dict(manifest.facts),
        "files": [
            {"name": part.name, "size": part.size, "row_groups": list(part.row_groups)} for part in manifest.parts
        ],
    }
    return json.dumps(fields, indent=1) + "\n"


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of a finished data set whose files are all there, in the size they were written.

    Raises:
        UserError: there is no such folder, it is not a finished data set, or files were lost or changed.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.exists():
        inside = [split for split in ("train", "valid") if (folder / split / MANIFEST).exists()]
        if inside:
            raise UserError(
                f"{folder}: holds the data sets {' and '.join(inside)}; name one, e.g. {folder / inside[0]}"
            )
        reason = "the job that writes it did not finish; run it again" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: not a finished patch data set ({reason})")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields["format"] != FORMAT:
            raise UserError(f"{path}: written in format {fields['format']}, this version reads {FORMAT}; write it anew")
        parts = tuple(PartInfo(f["name"], f["size"], tuple(f["row_groups"])) for f in fields["files"])
        manifest = Manifest(fields["patch"], fields["scale"], fields["store_lr"], parts, fields["facts"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a readable manifest ({error!r}); write the patches anew") from error
    for part in parts:
        file = folder / part.name
        size = file.stat().st_size if file.exists() else None
        if size != part.size:
            state = "is missing" if size is None else f"has {size} bytes instead of {part.size}"
            raise UserError(f"{file}: {state}; copy it again or write the patches anew")
    return manifest

"""What a patch data set holds, in one place: the columns, for Petastorm (a Unischema) and for pyarrow."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

NAME = "Patches"


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

"""Writes a patch data set with pyarrow alone: part files from any process, and the files that make it complete.

Pictures are stored as Petastorm's NdarrayCodec stores them, one page a column and row group, not compressed and
without a dictionary: a row group on disk is then an array with a fixed stride, which is read without decoding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lakerank.cli.files import atomic_path, flush_to_disk, part_name, write_file
from sr_model.data.format import (
    MANIFEST,
    Manifest,
    PartInfo,
    PatchRow,
    arrow_schema,
    file_checksum,
    image_shapes,
    manifest_json,
    npy_header,
    pickled_unischema,
)

COMMON_METADATA = "_common_metadata"
# A row group is what a worker reads at once: large enough for the disk, small enough to hold several in memory.
ROW_GROUP_BYTES = 4 << 20


def default_row_group_rows(patch: int) -> int:
    """Return the rows a row group should have for patches of this side, so that it holds some megabytes."""
    return max(1, ROW_GROUP_BYTES // (patch * patch * 3))


def _binary(images: Sequence[NDArray[np.uint8]], shape: tuple[int, int, int]) -> pa.Array:
    """Serialize pictures as `numpy.save` would write them, one value each."""
    header = npy_header(shape)
    values = np.empty((len(images), len(header) + int(np.prod(shape))), np.uint8)
    values[:, : len(header)] = np.frombuffer(header, np.uint8)
    for value, image in zip(values, images, strict=True):
        if image.shape != shape or image.dtype != np.uint8:
            raise ValueError(f"a patch is {image.shape} {image.dtype}, not {shape} uint8")
        value[len(header) :] = image.reshape(-1)
    offsets = np.arange(len(images) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.Array.from_buffers(pa.binary(), len(images), [None, pa.py_buffer(offsets), pa.py_buffer(values)])


def _groups(rows: Iterable[PatchRow], size: int) -> Iterator[list[PatchRow]]:
    iterator = iter(rows)
    while group := list(islice(iterator, size)):
        yield group


def write_part(
    path: Path | str,
    rows: Iterable[PatchRow],
    *,
    patch: int,
    scale: int = 4,
    store_lr: bool = False,
    row_group_rows: int | None = None,
    compression: str = "none",
) -> PartInfo | None:
    """Write one part file; it appears under its name only when it is complete.

    Args:
        path: ends in `.parquet`, directly in the data set's folder.
        rows: the patches; read one row group at a time.
        patch: side of the HR patches.
        scale: the factor.
        store_lr: whether rows have `lr`, and it is stored.
        row_group_rows: rows in a row group; None: some megabytes (`default_row_group_rows`).
        compression: of the pictures, e.g. `zstd`; compressed ones are smaller but have to be decoded.

    Returns:
        Facts for `finish`; None if there were no rows, and then no file.

    Raises:
        ValueError: a patch of another shape or type, or without the LR it should have.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes = image_shapes(patch, scale, store_lr)
    schema = arrow_schema(patch, scale, store_lr)
    size = row_group_rows or default_row_group_rows(patch)
    if size * patch * patch * 3 >= 1 << 30:
        raise ValueError(f"row groups of {size} patches of {patch} × {patch} exceed 1 GiB; use fewer rows")
    temporary = path.with_name(part_name(path.name))
    counts: list[int] = []
    writer: pq.ParquetWriter | None = None
    try:
        for group in _groups(rows, size):
            writer = writer or pq.ParquetWriter(
                temporary,
                schema,
                compression=compression,
                use_dictionary=["source"],
                write_statistics=False,  # minimum and maximum of pictures would double the footer
                data_page_size=1 << 30,  # one page a column chunk; pages have fixed stride then
            )
            columns: dict[str, pa.Array] = {"hr": _binary([row.hr for row in group], shapes["hr"])}
            if store_lr:
                small = [row.lr for row in group if row.lr is not None]
                if len(small) < len(group):
                    raise ValueError("a patch has no LR, but it is to be stored")
                columns["lr"] = _binary(small, shapes["lr"])
            columns["source"] = pa.array([row.source for row in group], pa.string())
            columns["x"] = pa.array([row.x for row in group], pa.int32())
            columns["y"] = pa.array([row.y for row in group], pa.int32())
            writer.write_table(pa.table(columns, schema=schema), row_group_size=size)
            counts.append(len(group))
        if writer is None:
            path.unlink(missing_ok=True)  # of a run before, with other rows
            return None
        writer.close()
        flush_to_disk(temporary)  # before the result and the manifest that vouch for it
        checksum = file_checksum(temporary)
        temporary.replace(path)
        flush_to_disk(path.parent)
    except BaseException:
        if writer is not None:
            writer.close()
        temporary.unlink(missing_ok=True)
        raise
    return PartInfo(path.name, path.stat().st_size, tuple(counts), checksum)


def finish(
    folder: Path | str,
    parts: Iterable[PartInfo],
    *,
    patch: int,
    scale: int = 4,
    store_lr: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Make a folder of part files a data set: what Petastorm wants to find, and the manifest, last.

    A folder without a manifest is unfinished, and readers refuse it.

    Args:
        folder: where the parts are.
        parts: what `write_part` returned.
        patch: side of the HR patches.
        scale: the factor.
        store_lr: whether LR is stored.
        facts: kept in the manifest for people and for a job that is run again: split, settings, counts.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ordered = tuple(sorted(parts, key=lambda part: part.name))
    metadata = {
        b"dataset-toolkit.unischema.v1": pickled_unischema(patch, scale, store_lr),
        b"dataset-toolkit.num_row_groups_per_file.v1": json.dumps(
            {part.name: len(part.row_groups) for part in ordered}
        ).encode(),
    }
    with atomic_path(folder / COMMON_METADATA) as fresh:
        pq.write_metadata(arrow_schema(patch, scale, store_lr).with_metadata(metadata), fresh)
    write_file(folder / MANIFEST, manifest_json(Manifest(patch, scale, store_lr, ordered, facts or {})))

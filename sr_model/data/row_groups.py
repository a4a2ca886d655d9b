"""A row group's bytes to arrays, all rows at once."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sr_model.data.order import RowGroup


class ReadError(RuntimeError):
    """Patches that cannot be read, or fewer than there should be; the message names the file."""


@dataclass(frozen=True)
class Rows:
    """The rows of one row group.

    Attributes:
        hr: (N, P, P, 3) uint8.
        lr: (N, p, p, 3) uint8 or None.
        table: the other columns, decoded when asked for.
    """

    hr: NDArray[np.uint8]
    lr: NDArray[np.uint8] | None
    table: pa.Table


def read_rows(folder: Path, group: RowGroup, store_lr: bool) -> Rows:
    """Read and decode one row group.

    Raises:
        ReadError: the file is missing or damaged, or has another number of rows than the manifest says.
    """
    path = folder / group.file
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            table = file.read_row_group(group.index, use_threads=False)
    except (OSError, pa.ArrowException, IndexError) as error:
        raise ReadError(f"{path}: cannot read row group {group.index} ({error}); make the patches anew") from error
    return as_rows(table, path, group, store_lr)


def as_rows(table: pa.Table, path: Path, group: RowGroup, store_lr: bool) -> Rows:
    """Check the number of rows and decode the images."""
    if table.num_rows != group.rows:
        raise ReadError(
            f"{path}: row group {group.index} has {table.num_rows} rows, but the manifest says {group.rows}: the "
            "file was changed or belongs to another run; make the patches anew"
        )
    try:
        lr = decode(table.column("lr")) if store_lr else None
        return Rows(decode(table.column("hr")), lr, table)
    except (ValueError, KeyError) as error:
        raise ReadError(f"{path}: row group {group.index}: {error}; make the patches anew") from error


def decode(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Images that `np.save` wrote, all of one shape: a view of the column's bytes, (N, H, W, C) uint8.

    Raises:
        ValueError: they are not of one shape, or not uint8.
    """
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    if len(array) == 0:
        raise ValueError("no rows")
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
    length = int(offsets[1] - offsets[0])
    if (np.diff(offsets) != length).any():
        raise ValueError("its images are not of one size")
    data = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]].reshape(len(array), length)
    header = io.BytesIO(data[0].tobytes())
    version = np.lib.format.read_magic(header)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = reader(header)
    start = header.tell()
    if fortran or dtype != np.uint8 or (data[:, :start] != data[0, :start]).any():
        raise ValueError("its images are not all uint8 of one shape")
    pixels = data[:, start:]
    strides = (length, *np.zeros(shape, np.uint8).strides)
    return np.lib.stride_tricks.as_strided(pixels, (len(array), *shape), strides, writeable=False)

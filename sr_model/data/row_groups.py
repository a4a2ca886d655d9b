"""A row group's pictures as arrays, all rows at once.

A column chunk that holds one page of plain, uncompressed values of one length is an array with a fixed stride: it is
read into memory as it is, and the pictures are a view of it. That is how `writer.py` stores them. Any other chunk
(compressed, several pages, written by other programs) is decoded by pyarrow.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sr_model.data.order import RowGroup, Task

_LENGTH_BYTES = 4  # Parquet writes its length before each plain binary value
_FOOTERS = 256  # files whose footers are kept; a footer is some kilobytes


class ReadError(RuntimeError):
    """Tell of patches that cannot be read, or fewer than there should be; the message names the file."""


@dataclass(frozen=True)
class Rows:
    """Hold the pictures of one row group.

    Attributes:
        hr: (N, P, P, 3) uint8.
        lr: (N, p, p, 3) uint8 or None.
    """

    hr: NDArray[np.uint8]
    lr: NDArray[np.uint8] | None


@dataclass(frozen=True)
class _Chunk:
    """Describe a column chunk of one plain page: `rows` values, `stride` bytes from one to the next."""

    start: int
    rows: int
    stride: int


def read_rows(
    folder: Path,
    group: RowGroup,
    store_lr: bool,
    wanted: NDArray[np.intp] | None = None,
    buffers: Buffers | None = None,
) -> Rows:
    """Read one row group.

    Args:
        folder: of the data set.
        group: which.
        store_lr: the data set has LR pictures.
        wanted: only these rows, at least one, are needed; what the others hold is undefined then.
        buffers: where memory comes from; None: fresh memory.

    Raises:
        ReadError: the file is missing or damaged, or has another number of rows than the manifest says.
    """
    path = folder / group.file
    try:
        hr = _read_column(path, "hr", group, wanted, buffers)
        lr = _read_column(path, "lr", group, wanted, buffers) if store_lr else None
    except (OSError, pa.ArrowException, IndexError, KeyError, ValueError) as error:
        raise ReadError(
            f"{path}: row group {group.index} cannot be read ({error}); copy the file again or make the patches anew"
        ) from error
    return Rows(hr, lr)


def read_provenance(folder: Path, group: RowGroup) -> pa.Table:
    """Read `source string, x int, y int` of a row group: where its patches were cut.

    Raises:
        ReadError: as `read_rows`.
    """
    path = folder / group.file
    try:
        with pq.ParquetFile(path) as file:
            return file.read_row_group(group.index, columns=["source", "x", "y"], use_threads=False)
    except (OSError, pa.ArrowException, IndexError) as error:
        raise ReadError(f"{path}: row group {group.index} cannot be read ({error})") from error


def _read_column(
    path: Path, name: str, group: RowGroup, wanted: NDArray[np.intp] | None, buffers: Buffers | None
) -> NDArray[np.uint8]:
    status = path.stat()
    chunks = _chunks(str(path), status.st_size, status.st_mtime_ns)
    rows, chunk = chunks[group.index][name]
    if rows != group.rows:
        raise ValueError(f"it has {rows} rows, the manifest says {group.rows}: of another run")
    images = _view(path, chunk, wanted, buffers or Buffers()) if chunk else None
    return _decoded(path, name, group.index) if images is None else images


@lru_cache(maxsize=_FOOTERS)
def _chunks(path: str, size: int, changed: int) -> list[dict[str, tuple[int, _Chunk | None]]]:
    """List for each row group: column → rows, and where its values are if they need no decoding.

    Args:
        path: the file.
        size: part of the cache's key, as is `changed`: a file that was replaced is looked at again.
        changed: when it was written, in ns.
    """
    footer = pq.read_metadata(path)
    required = {
        footer.schema.column(i).path
        for i in range(footer.num_columns)
        if footer.schema.column(i).max_definition_level == 0 and footer.schema.column(i).physical_type == "BYTE_ARRAY"
    }
    found = []
    with Path(path).open("rb") as file:
        for index in range(footer.num_row_groups):
            group = footer.row_group(index)
            columns = {}
            for i in range(group.num_columns):
                column = group.column(i)
                plain = column.path_in_schema in required and column.compression == "UNCOMPRESSED"
                chunk = _plain_chunk(file, column) if plain and not column.has_dictionary_page else None
                columns[column.path_in_schema] = (group.num_rows, chunk)
            found.append(columns)
    return found


def _plain_chunk(file: io.BufferedReader, column: pq.ColumnChunkMetaData) -> _Chunk | None:
    """Find where the values are, if they are one page and may all have one length."""
    file.seek(column.data_page_offset)
    size = _page_size(file.read(64))
    header = column.total_compressed_size - size
    if not 0 < header < 64 or column.num_values == 0 or size % column.num_values:
        return None
    return _Chunk(column.data_page_offset + header, column.num_values, size // column.num_values)


def _page_size(header: bytes) -> int:
    """Parse a page's size from its Parquet header, the third field (Thrift, compact protocol); 0 if unclear."""
    at = 0
    value = 0
    for _ in range(3):  # type, uncompressed size, compressed size: each the field after the last, an int32
        if header[at] != 0x15:
            return 0
        at, shift, value = at + 1, 0, 0
        while True:
            value |= (header[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if header[at - 1] < 0x80:
                break
    return value >> 1  # zigzag; sizes are not negative


def _view(path: Path, chunk: _Chunk, wanted: NDArray[np.intp] | None, buffers: Buffers) -> NDArray[np.uint8] | None:
    """Read the page, or the wanted values of it; None if its values are not pictures of one shape."""
    values = buffers.take((chunk.rows, chunk.stride))
    handle = os.open(path, os.O_RDONLY)
    try:
        if wanted is None or len(wanted) * 2 > chunk.rows:
            _fill(handle, values.reshape(-1), chunk.start)
            checked = values
        else:
            for row in wanted:
                _fill(handle, values[row], chunk.start + int(row) * chunk.stride)
            checked = values[wanted]
    finally:
        os.close(handle)
    pixels = _LENGTH_BYTES + 10 + int(checked[0, 12]) + 256 * int(checked[0, 13])  # as the .npy header says
    start = checked[:, :pixels]
    length = int.from_bytes(start[0, :_LENGTH_BYTES].tobytes(), "little")
    if length != chunk.stride - _LENGTH_BYTES or (start != start[0]).any():
        return None
    shape = _shape(start[0, _LENGTH_BYTES:].tobytes())
    return values[:, pixels:].reshape(chunk.rows, *shape)


def _fill(handle: int, buffer: NDArray[np.uint8], offset: int) -> None:
    done = 0
    while done < len(buffer):
        got = os.preadv(handle, [buffer[done:].data], offset + done)
        if got == 0:
            raise OSError("the file ends too early")
        done += got


@lru_cache(maxsize=64)
def _shape(header: bytes) -> tuple[int, ...]:
    """Parse what an .npy header says of the array after it.

    Raises:
        ValueError: it is no such header, or not of a uint8 array in C order.
    """
    file = io.BytesIO(header)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its pictures are not in the form of numpy.save, version 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran or dtype != np.uint8:
        raise ValueError(f"its pictures are {dtype}{' in Fortran order' if fortran else ''}, not uint8")
    return tuple(shape)


def _decoded(path: Path, name: str, index: int) -> NDArray[np.uint8]:
    """Decode a column by way of pyarrow."""
    with pq.ParquetFile(path) as file:
        column = file.read_row_group(index, columns=[name], use_threads=False).column(name)
    values = [np.load(io.BytesIO(value), allow_pickle=False) for value in column.to_pylist()]
    if len({(value.shape, value.dtype) for value in values}) != 1 or values[0].dtype != np.uint8:
        raise ValueError(f"its `{name}` pictures are not all uint8 of one shape")
    return np.stack(values)


def _references(arrays: list[NDArray[np.uint8]]) -> int:
    """Count how often an array that only the list knows is referred to while it is looked at, by this very loop."""
    for array in arrays:
        return sys.getrefcount(array)
    return 0


_FREE = _references([np.empty(0, np.uint8)])


class Buffers:
    """Hand out arrays; one whose views are all gone is handed out again.

    A view of a numpy array, and a tensor made from it, refers to the array that owns the memory. So the memory is
    free exactly when nobody but this object refers to its owner.
    """

    def __init__(self) -> None:
        self._owners: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return an array of this shape with undefined content."""
        size = int(np.prod(shape))
        with self._lock:
            for owner in self._owners:
                # A much larger one is kept for who needs it.
                if sys.getrefcount(owner) == _FREE and size <= owner.size <= 2 * size:
                    return owner[:size].reshape(shape)
            made = np.empty(size, np.uint8)
            self._owners.append(made)
            return made.reshape(shape)


@dataclass(frozen=True)
class ReadSettings:
    """Hold how row groups are read; the result does not depend on `workers` and `ahead`.

    Attributes:
        folder: of the data set.
        store_lr: it has LR pictures.
        workers: threads.
        ahead: how many row groups are read before they are asked for.
        buffers: where memory comes from.
    """

    folder: Path
    store_lr: bool
    workers: int
    ahead: int
    buffers: Buffers

    def read(self, task: Task) -> Rows:
        """Read the row group of a task."""
        return read_rows(self.folder, task.group, self.store_lr, task.wanted, self.buffers)

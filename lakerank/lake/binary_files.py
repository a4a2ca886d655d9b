"""Files of any kind, listed on the driver and opened by workers: no name is skipped, none is read whole.

Spark's own readers leave out names that begin with `_` or `.`. Here the driver lists, Spark ships names and sizes,
and plain Python reads. Places with a scheme (`s3://…`) go through pyarrow's file systems.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs
from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.stores import file_system, has_scheme, hide_secrets, in_time, store_problem

_CHUNK = 1 << 20
_OPENING_COSTS = 20_000  # bytes a file counts for beside its size: opening it takes time too
_PARTS = pa.schema(
    [
        ("part", pa.int32()),
        (
            "files",
            pa.list_(
                pa.struct(
                    [("path", pa.string()), ("relative", pa.string()), ("size", pa.int64()), ("problem", pa.string())]
                )
            ),
        ),
    ]
)


@dataclass(frozen=True)
class SourceFile:
    """A file.

    Attributes:
        path: where it is.
        relative: its path within the folder that was named; its name if it was named itself.
        size: bytes.
        problem: why it cannot be read, if that is known; the other files can.
    """

    path: str
    relative: str
    size: int
    problem: str = ""


def list_files(source: str) -> list[SourceFile]:
    """List the file, or all files below the folder, by path. Symbolic links to folders are not followed.

    Raises:
        UserError: there is no such file or folder, or it cannot be listed.
    """
    if has_scheme(source):
        return _list_remote(source)
    place = Path(source.removeprefix("file:"))
    if place.is_file():
        return [_local(place, place.name)]
    if not place.is_dir():
        raise UserError(f"{source}: no such file or folder")

    def failed(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot list it ({error.strerror}); allow it or name other folders")

    found = []
    for folder, _, names in os.walk(place, onerror=failed):
        found += [Path(folder) / name for name in names if (Path(folder) / name).is_file()]
    return [_local(path, path.relative_to(place).as_posix()) for path in sorted(found)]


def _local(path: Path, relative: str) -> SourceFile:
    """Describe a local file; of one whose name is not UTF-8, which nothing after us takes, only that it is there.

    Bytes that are no UTF-8, which Python keeps as lone surrogates, are shown as \\xNN.
    """
    where = str(path.absolute())
    try:
        where.encode()
    except UnicodeEncodeError:
        where, relative = (os.fsencode(name).decode("utf-8", "backslashreplace") for name in (where, relative))
        return SourceFile(where, relative, 0, "its name is not UTF-8: rename it")
    return SourceFile(where, relative, path.stat().st_size)


def _list_remote(source: str) -> list[SourceFile]:
    try:
        # A thread, which waits for a store no longer than a user would; listing many files may take its time.
        system, place, found = in_time(source, lambda: _look_at(source))
        infos = [found] if found.is_file else system.get_file_info(fs.FileSelector(place, recursive=True))
    except (OSError, ValueError, pa.ArrowException) as error:
        told = store_problem(error) or f"cannot list it ({hide_secrets(' '.join(str(error).split()))[:200]})"
        raise UserError(f"{hide_secrets(source)}: {told}; or mount or copy it") from error
    prefix = source.removesuffix("/").removesuffix(place.strip("/"))
    return [
        SourceFile(
            prefix + info.path.lstrip("/") if not found.is_file else source,
            info.path[len(place) :].strip("/") or info.base_name,
            info.size,
        )
        for info in sorted(infos, key=lambda info: info.path)
        if info.is_file
    ]


def _look_at(source: str) -> tuple[fs.FileSystem, str, fs.FileInfo]:
    system, place = file_system(source)
    return system, place, system.get_file_info(place)


def as_parts(spark: SparkSession, files: Sequence[SourceFile], parts: int) -> DataFrame:
    """Make one row for each of the `balanced` parts, in a partition of its own.

    Returns:
        `part int, files array<struct<path, relative, size, problem>>`.
    """
    shares = balanced(files, parts)
    rows = [{"part": part, "files": [vars(file) for file in share]} for part, share in enumerate(shares)]
    return spark.createDataFrame(pa.Table.from_pylist(rows, schema=_PARTS)).repartitionById(len(rows), "part")


def balanced(files: Sequence[SourceFile], parts: int) -> list[list[SourceFile]]:
    """Divide files into at most `parts` shares of about equal size, none empty.

    The largest file first, each to the part with least.
    """
    parts = max(1, min(parts, len(files)))
    heap = [(0, part) for part in range(parts)]
    shares: list[list[SourceFile]] = [[] for _ in range(parts)]
    for file in sorted(files, key=lambda file: (-file.size, file.path)):
        load, part = heapq.heappop(heap)
        shares[part].append(file)
        heapq.heappush(heap, (load + file.size + _OPENING_COSTS, part))
    return shares


def peek(path: str, offset: int, size: int) -> bytes:
    """Read a few bytes at an offset of a file: fewer than asked for at its end.

    Raises:
        OSError: it cannot be read.
    """
    if has_scheme(path):
        system, place = file_system(path)
        with system.open_input_file(place) as stream:
            return bytes(stream.read_at(size, offset)) if offset < stream.size() else b""
    with Path(path).open("rb", buffering=0) as file:
        if offset >= file.seek(0, os.SEEK_END):  # file systems refuse to go far beyond the end
            return b""
        file.seek(offset)
        return file.read(size)


def chunks(path: str, size: int = _CHUNK) -> Iterator[bytes]:
    """Read a file's bytes, some at a time; for workers.

    Raises:
        OSError: it cannot be read.
    """
    if has_scheme(path):
        system, place = file_system(path)
        with system.open_input_stream(place, compression=None) as stream:
            while piece := stream.read(size):
                yield piece
        return
    with Path(path).open("rb", buffering=0) as file:
        while piece := file.read(size):
            yield piece

"""Write files in one step: a reader sees the old file or the new one, never half of it."""

from __future__ import annotations

import gzip
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from lakerank.cli.errors import UserError
from lakerank.cli.stores import file_system, has_scheme, local_copy, upload


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`, which takes its name when the block ends well and else is removed.

    It is on the disk before it takes the name, so that a machine that loses its power has the old file or the new one.

    Raises:
        OSError: the disk's complaint.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}-{uuid.uuid4().hex}.part")
    try:
        yield fresh
        flush_to_disk(fresh)
        fresh.replace(path)
        flush_to_disk(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Have the disk keep a file, or the names in a folder, if it is there and its file system knows how."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):  # some network file systems refuse, for folders above all
            os.fsync(handle)
    finally:
        os.close(handle)


def read_bytes(path: str, flag: str) -> bytes:
    """Return the content of a file, local or in a store.

    Raises:
        UserError: it cannot be read; `flag` is named, which gave it.
    """
    try:
        with local_copy(path, flag) as file:
            return file.read_bytes()
    except OSError as error:
        raise UserError(f"{flag} {path}: cannot read it ({error.strerror})") from error


@contextmanager
def _told(path: Path, flag: str) -> Iterator[None]:
    """Say what is wrong with a file that a flag names in a sentence; without a flag it is the caller's to say."""
    try:
        yield
    except OSError as error:
        if not flag:
            raise
        raise UserError(f"{path}: cannot write it ({os.strerror(error.errno or 0)}); choose another {flag}") from error


def write_file(path: Path | str, content: str | bytes, flag: str = "") -> None:
    """Write a file in one step; its folder is made if it is not there.

    Args:
        path: the file; as text it may be in a store.
        content: text is written as UTF-8.
        flag: the flag that names the file or its folder, e.g. `--out`: what goes wrong is then the user's to mend.

    Raises:
        UserError: with a flag, it cannot be written.
        OSError: without one, the disk's complaint.
    """
    if isinstance(path, str) and has_scheme(path):
        with TemporaryDirectory(prefix="lakerank-copy-") as folder:
            fresh = Path(folder) / "file"
            fresh.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
            upload(fresh, path)
        return
    path = Path(path)
    with _told(path, flag), atomic_path(path) as fresh:
        fresh.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def remove_file(path: str) -> None:
    """Remove a file, local or in a store, if it is there."""
    if not has_scheme(path):
        Path(path).unlink(missing_ok=True)
        return
    system, place = file_system(path)
    if system.get_file_info(place).is_file:
        system.delete_file(place)


def write_lines(path: Path | str, lines: Iterable[str], flag: str) -> None:
    """Write a text file line by line, in one step; packed with gzip if its name ends in `.gz`.

    Args:
        path: the file; its folder is made if it is not there; as text it may be in a store.
        lines: without their ends.
        flag: that names the file.

    Raises:
        UserError: it cannot be written.
    """
    if isinstance(path, str) and has_scheme(path):
        with TemporaryDirectory(prefix="lakerank-copy-") as folder:
            copy = Path(folder) / path.rpartition("/")[2]
            write_lines(copy, lines, flag)
            upload(copy, path)
        return
    path = Path(path)
    with _told(path, flag), atomic_path(path) as fresh, fresh.open("wb") as raw:
        packed = gzip.GzipFile("", "wb", 6, raw, 0) if path.name.endswith(".gz") else None
        for line in lines:
            (packed or raw).write(f"{line}\n".encode())
        if packed:
            packed.close()

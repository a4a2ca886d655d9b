"""Blocks in an object store: one object each, read through a cache on the local disk.

An object is there whole or not at all, so a block needs no folder that is renamed into place: its arrays stand one
after the other in one object, behind a header with their names and checksums, as a `.npy` file holds one. Readers map
a copy on their own disk, which is compared with the object's size and entity tag at each opening; what was written
here is there already. The cache may be removed at any time, and the least recently used files go when it is full.

`lakerank.spark.array_store.BlockStore` calls this for roots with a scheme.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from pyarrow import fs

from lakerank.cli.errors import UserError
from lakerank.cli.stores import file_system, hide_secrets, store_problem

SUFFIX = ".block"  # of a block's object, after its key
CACHE_VARIABLE = "LAKERANK_CACHE"  # names the folder of the cache
CACHE_BYTES = 20e9
_MAGIC = b"lakerank block 1\n"
_ALIGNED = 64  # bytes; arrays begin at a multiple
_AT_ONCE = 16
_HEAD_BYTES = 1 << 14  # holds most headers
_MAPPED_BYTES = 4096  # smaller arrays are read
_LOOK_SECONDS = 60.0  # between two looks at how full the cache is


@dataclass(frozen=True)
class Stored:
    """One object below a root: its path relative to it, bytes, and the time of its last change in seconds."""

    name: str
    size: int
    changed: float


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Put what the store says into a sentence."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        said = store_problem(error) or " ".join(hide_secrets(str(error)).split())[:200]
        raise UserError(f"{hide_secrets(place)}: {said}") from error


class RemoteFolder:
    """A place in a store, with the operations that blocks need.

    Args:
        root: with a scheme; local folders (`file:`) are for tests.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        with _told(root):
            self._system, self._base = _opened(self.root, os.getpid())

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}".rstrip("/")

    def write(self, name: str, content: bytes) -> None:
        """Write an object, in one step."""
        with _told(f"{self.root}/{name}"), self._system.open_output_stream(self._path(name), compression=None) as out:
            out.write(content)

    def read(self, name: str) -> bytes | None:
        """Read an object; None if it is not there."""
        try:
            with _told(f"{self.root}/{name}"), self._system.open_input_file(self._path(name)) as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def stat(self, name: str) -> Stored | None:
        """Return size and time of an object; None if it is not there."""
        with _told(f"{self.root}/{name}"):
            info = self._system.get_file_info(self._path(name))
        return _stored(name, info) if info.is_file else None

    def list(self, folder: str = "", recursive: bool = True) -> list[Stored]:
        """List the objects below a folder, by name; with `recursive` False folders, too, whose size is −1."""
        selector = fs.FileSelector(self._path(folder), recursive=recursive, allow_not_found=True)
        with _told(f"{self.root}/{folder}"):
            found = self._system.get_file_info(selector)
        infos = [info for info in found if info.is_file or not recursive]
        return sorted((_stored(info.path[len(self._base) :].strip("/"), info) for info in infos), key=lambda s: s.name)

    def remove(self, name: str) -> None:
        """Remove an object, or a folder with all below it, if it is there."""
        with _told(f"{self.root}/{name}"), suppress(FileNotFoundError):
            if self._system.get_file_info(self._path(name)).type == fs.FileType.Directory:
                self._system.delete_dir(self._path(name))
            for one in (name, f"{name}{SUFFIX}"):
                if one and self._system.get_file_info(self._path(one)).is_file:
                    self._system.delete_file(self._path(one))

    # --- blocks

    def put(self, key: str, block: dict[str, NDArray[Any]]) -> None:
        """Write a block and keep a copy of it in the cache."""
        fresh = _cache_folder() / f".{uuid.uuid4().hex}.part"
        try:
            _write_block(fresh, block)
            name = f"{key}{SUFFIX}"
            with (
                _told(f"{self.root}/{name}"),
                fresh.open("rb") as file,
                self._system.open_output_stream(self._path(name), compression=None) as out,
            ):
                while piece := file.read(8 << 20):
                    out.write(piece)
            if found := self._version(name):
                fresh.replace(self._copy_of(name, found))
        finally:
            fresh.unlink(missing_ok=True)
        _trim_cache()

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Read a block from its copy on this machine, fetched if it is not there; None if there is no such block.

        Raises:
            ValueError: it is none, or is not whole.
        """
        name = f"{key}{SUFFIX}"
        version = self._version(name)
        if version is None:
            return None
        for _ in range(3):
            copy = self._fetched(name, version)
            try:
                found = _map_block(copy)
                with suppress(OSError):
                    os.utime(copy)  # used now
                return found
            except FileNotFoundError:  # another process has just made room
                continue
        raise UserError(f"{copy}: goes before it is read: set {CACHE_VARIABLE} to a folder with more room")

    def header(self, key: str) -> bytes | None:
        """Read a block's header, which holds the checksums of its arrays; None if there is no such block."""
        name = f"{key}{SUFFIX}"
        try:
            with _told(f"{self.root}/{name}"), self._system.open_input_file(self._path(name)) as file:
                head = bytes(file.read_at(_HEAD_BYTES, 0))
                end = _header_end(head)
                return head[:end] if end <= len(head) else head + bytes(file.read_at(end - len(head), len(head)))
        except FileNotFoundError:
            return None

    def headers(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Read the headers of several blocks that are there."""
        keys = list(keys)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return {key: head for key, head in zip(keys, pool.map(self.header, keys), strict=True) if head is not None}

    def verify(self, key: str) -> str:
        """Compare a block with its checksums; returns what is wrong, empty if nothing is."""
        name = f"{key}{SUFFIX}"
        version = self._version(name)
        if version is None:
            return "is missing"
        try:
            copy = self._fetched(name, version)
            names = _header(_head_of(copy))["arrays"]
            for part, array in _map_block(copy).items():
                if _checksum(array) != names[part]["checksum"]:
                    return f"the checksum of {part} is another"
        except (ValueError, KeyError, TypeError) as error:
            return str(error)
        return ""

    def _version(self, name: str) -> str | None:
        """Return what tells the content of an object from what was there before; None if it is not there.

        Its size and entity tag: times are whole seconds in S3. One request, as `stat` makes.
        """
        try:
            with _told(f"{self.root}/{name}"), self._system.open_input_file(self._path(name)) as file:
                told = {_as_text(key).lower(): _as_text(value) for key, value in (file.metadata() or {}).items()}
                tag = told.get("etag") or told.get("last-modified") or ""
                return f"{file.size()} {tag}"
        except FileNotFoundError:
            return None

    def _copy_of(self, name: str, version: str) -> Path:
        words = f"{self.root}/{name} {version}"
        return _cache_folder() / hashlib.sha256(words.encode()).hexdigest()[:32]

    def _fetched(self, name: str, version: str) -> Path:
        """Return the copy of an object on this machine, fetched if it is not there."""
        copy = self._copy_of(name, version)
        if copy.is_file():
            return copy
        fresh = copy.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with (
                _told(f"{self.root}/{name}"),
                self._system.open_input_stream(self._path(name), compression=None) as source,
                fresh.open("wb") as file,
            ):
                while piece := source.read(8 << 20):
                    file.write(piece)
            fresh.replace(copy)
        finally:
            fresh.unlink(missing_ok=True)
        _trim_cache()
        return copy


@lru_cache(maxsize=256)
def _opened(root: str, process: int) -> tuple[fs.FileSystem, str]:
    return file_system(root)


def _as_text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _stored(name: str, info: fs.FileInfo) -> Stored:
    return Stored(name, info.size if info.is_file else -1, (info.mtime_ns or 0) / 1e9)


def _checksum(array: NDArray[Any]) -> str:
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return str(xxhash.xxh3_64(memoryview(flat) if flat.size else b"").hexdigest())  # type: ignore[arg-type]


def _write_block(path: Path, block: dict[str, NDArray[Any]]) -> None:
    """Write arrays behind a header that says where each begins, and its checksum."""
    arrays, at = {}, 0
    ordered = {name: np.ascontiguousarray(block[name]).reshape(np.shape(block[name])) for name in sorted(block)}
    for name, array in ordered.items():
        arrays[name] = {
            "descr": np.lib.format.dtype_to_descr(array.dtype),
            "shape": list(array.shape),
            "at": at,
            "checksum": _checksum(array),
        }
        at += -(-array.nbytes // _ALIGNED) * _ALIGNED
    header = json.dumps({"arrays": arrays, "bytes": at}).encode()
    begin = len(_MAGIC) + 8 + len(header)
    padded = header + b" " * (-begin % _ALIGNED)
    with path.open("wb") as file:
        file.write(_MAGIC + struct.pack("<Q", len(padded)) + padded)
        for array in ordered.values():
            file.write(array.tobytes() if array.nbytes < _MAPPED_BYTES else array.reshape(-1).view(np.uint8).data)
            file.write(b"\0" * (-array.nbytes % _ALIGNED))


def _header_end(head: bytes) -> int:
    if not head.startswith(_MAGIC) or len(head) < len(_MAGIC) + 8:
        raise ValueError("it is no block")
    return len(_MAGIC) + 8 + int(struct.unpack("<Q", head[len(_MAGIC) : len(_MAGIC) + 8])[0])


def _header(head: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(head[len(_MAGIC) + 8 : _header_end(head)])
    return found


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(len(_MAGIC) + 8)
        return head + file.read(_header_end(head) - len(head))


def _map_block(path: Path) -> dict[str, NDArray[Any]]:
    """Map the arrays of a block's copy, read-only.

    Raises:
        ValueError: it is not whole.
    """
    head = _head_of(path)
    header, begin = _header(head), len(head)
    if path.stat().st_size != begin + header["bytes"]:
        raise ValueError(f"it has {path.stat().st_size:,} bytes instead of {begin + header['bytes']:,}")
    block = {}
    data: NDArray[Any] = (
        np.memmap(path, np.uint8, "r")
        if header["bytes"] > _MAPPED_BYTES
        else np.frombuffer(path.read_bytes(), np.uint8)
    )
    for name, told in header["arrays"].items():
        dtype = np.lib.format.descr_to_dtype(told["descr"])
        size = int(np.prod(told["shape"], dtype=np.int64)) * dtype.itemsize
        lo = begin + told["at"]
        array = np.asarray(data[lo : lo + size]).view(dtype).reshape(told["shape"])
        array.flags.writeable = False
        block[name] = array
    return block


def _cache_folder() -> Path:
    """Return the folder of the cache, made if it is not there, which nobody else can write to.

    Raises:
        UserError: it cannot be used.
    """
    given = os.environ.get(CACHE_VARIABLE)
    folder = Path(given or f"{tempfile.gettempdir()}/lakerank-cache-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mine = given or folder.stat().st_uid == os.getuid()
    except OSError as error:
        raise UserError(f"{folder}: cannot cache here ({error.strerror}): set {CACHE_VARIABLE} to a folder") from error
    if not mine:
        raise UserError(f"{folder}: belongs to somebody else: set {CACHE_VARIABLE} to a folder of yours")
    return folder


_looked = [0.0]


def _trim_cache() -> None:
    """Remove the least recently used copies when the cache has grown beyond its size; looked at once in a while."""
    now = time.monotonic()
    if now - _looked[0] < _LOOK_SECONDS:
        return
    _looked[0] = now
    found = []
    for path in _cache_folder().iterdir():
        with suppress(FileNotFoundError):
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= CACHE_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= size

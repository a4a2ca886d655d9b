"""Write files in one step: a reader sees the old file or the new one, never half of it. Lock what two would write.

A lock goes with the process that holds it, however that ends. So what a killed process has left can be told from what
is at work, on one machine and over NFS.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gzip
import json
import os
import re
import stat
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lakerank.cli.errors import UserError
from lakerank.cli.stores import file_system, has_scheme, local_copy, upload

LEFTOVER_SECONDS = 86400.0  # what is unfinished for longer, and nobody can say whether it is locked, its writer is gone
_PART = re.compile(r"\..+-[0-9a-f]{32}\.part")
LOCK = ".lock"  # whoever works in a folder holds this file
_TRIES = 3  # a lock that its holder is just removing is free a moment later
_LOOK_SECONDS = 0.1  # between two looks whether a lock is free
_AT_CWD = -100  # AT_FDCWD of linux/fcntl.h
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_tidied: set[Path] = set()  # folders in which this process has looked for leftovers


@dataclass
class Lock:
    """A lock on a file. It ends with `release`, with the process, or when nothing refers to it any more.

    Attributes:
        handle: of the open lock file.
        is_sure: whether the file system has locks; else nobody can tell whether another process is at work.
    """

    handle: int
    is_sure: bool = True

    def release(self) -> None:
        """Let go."""
        if self.handle >= 0:
            os.close(self.handle)
        self.handle = -1

    def __del__(self) -> None:
        self.release()


def try_lock(path: Path, shared: bool = False) -> Lock | None:
    """Lock a file, which is made in a folder that is there; None if another process, or part of this one, holds it.

    Args:
        path: of the lock file; nothing is written to it, and a link in its place is not followed.
        shared: others may hold it, too, if they share it.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EROFS):
            raise
        return None  # the folder was removed meanwhile, or it is another user's
    found = Lock(handle)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:  # this file system has no locks: what may be removed goes by its age
        found.is_sure = False
    try:  # it may have been removed, or moved, while we waited
        return found if os.fstat(handle).st_ino == path.stat().st_ino else None
    except FileNotFoundError:
        return None


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[Lock]:
    """Hold a lock file, and remove it in the end; wait while another holds it.

    Args:
        path: of the lock file; its folder is made if it is not there.
        waiting: printed once if there is somebody to wait for.

    Raises:
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    said = False
    while (lock := try_lock(path)) is None:
        _refuse_unwritable(path)
        if not said and path.exists():
            print(waiting, flush=True)
            said = True
        time.sleep(_LOOK_SECONDS)
    try:
        yield lock
    finally:
        path.unlink(missing_ok=True)  # before it is let go: who opened it meanwhile sees that it is gone
        lock.release()


@contextmanager
def alone_in(folder: Path, refusal: str) -> Iterator[Lock]:
    """Hold a folder's lock, `.lock` in it, and remove that in the end.

    Args:
        folder: made if it is not there.
        refusal: what to say if another process, or another part of this one, holds it.

    Raises:
        UserError: with that sentence.
        OSError: the folder or the lock cannot be made.
    """
    path = folder / LOCK
    folder.mkdir(parents=True, exist_ok=True)
    lock = None
    for _ in range(_TRIES):
        if (lock := try_lock(path)) is not None:
            break
        _refuse_unwritable(path)
        time.sleep(_LOOK_SECONDS)
    if lock is None:
        raise UserError(refusal)
    try:
        yield lock
    finally:
        path.unlink(missing_ok=True)  # before it is let go: who opened it meanwhile sees that it is gone
        lock.release()


def _refuse_unwritable(path: Path) -> None:
    if path.is_symlink() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def exchange(one: Path, other: Path) -> bool:
    """Let two files or folders change places in one step; False where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return bool(rename(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), ctypes.c_uint(_EXCHANGE)) == 0)


def private_folder(name: str, flag: str) -> Path:
    """Make a folder of this user alone in the folder for temporary files, where others may write, too.

    Args:
        name: of the folder; the user's number is added.
        flag: to give instead if somebody else has made that folder.

    Raises:
        UserError: what lies there is not a folder of this user, or it cannot be made.
    """
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise UserError(f"{folder}: is not a folder of yours: remove it, or choose another with {flag}")
        if found.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise UserError(f"{folder}: cannot be used ({error.strerror}); choose another with {flag}") from error
    return folder


def remove_parts(folder: Path, lock: Lock | None = None) -> None:
    """Remove the files that killed processes have left half written in a folder.

    Args:
        folder: of files that `atomic_path` writes.
        lock: that all who write there hold; None: their writers cannot be asked, so what has changed within a day
            stays, and it is done once in each process.
    """
    if lock is not None:
        _remove_parts(folder, 0.0 if lock.is_sure else LEFTOVER_SECONDS)
        return
    folder = folder.absolute()
    if folder in _tidied:
        return
    _tidied.add(folder)
    _remove_parts(folder, LEFTOVER_SECONDS)


def _remove_parts(folder: Path, seconds: float) -> None:
    with suppress(OSError):
        for path in folder.iterdir():
            if _PART.fullmatch(path.name) and path.lstat().st_mtime <= time.time() - seconds:
                path.unlink(missing_ok=True)


def part_name(name: str) -> str:
    """Return a name that nobody else will use, for a file that is half written; `remove_parts` knows it."""
    return f".{name}-{uuid.uuid4().hex}.part"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`, which takes its name when the block ends well and else is removed.

    It is on the disk before it takes the name, so that a machine that loses its power has the old file or the new one.
    What a killed process has left half written in the folder goes when it is a day old.

    Raises:
        OSError: the disk's complaint.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_parts(path.parent)
    fresh = path.with_name(part_name(path.name))
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


def read_json_lines(path: Path, key: str, command: str) -> list[dict[str, Any]]:
    """Read a file to which a command appends one JSON object a line; nothing if it is not there.

    A last line that was cut short, as a killed run leaves one, is dropped with a word.

    Args:
        path: the file.
        key: what each object has, a number.
        command: that reads it, named in that word.

    Raises:
        UserError: another line is no such object; the message names it.
        OSError: the file cannot be read.
    """
    if not path.exists():
        return []
    found: list[dict[str, Any]] = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            if not isinstance(values, dict) or not isinstance(values.get(key), int | float):
                raise ValueError(f"no object with a `{key}`")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                print(f"{command}: {path}: the last line was cut short and is dropped", flush=True)
                break
            raise UserError(f"{path}, line {number}: no line of a training history ({error}); remove it") from error
        found.append(values)
    return found

"""Pictures in folders, tars and zips: listed once, read anywhere."""

from __future__ import annotations

import tarfile
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from spark_jobs.lake.errors import UserError
from sr_model.images import SUFFIXES, BrokenImage

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DIV2K = {"train": "DIV2K_train_HR", "valid": "DIV2K_valid_HR"}


@dataclass(frozen=True)
class Item:
    """A picture that has not been read.

    Attributes:
        name: what it is called in the patches: its path below the source.
        file: the file on disk that holds it.
        member: its name in that archive; empty for a file of its own.
        start: where its bytes begin, if they stand as they are in an uncompressed tar; else -1.
        size: bytes.
        split: `train` or `valid` where the source's folders say so; empty: to be drawn.
    """

    name: str
    file: str
    member: str
    start: int
    size: int
    split: str


@dataclass(frozen=True)
class Listing:
    """The pictures of all sources, by name, and how many other files there were."""

    items: tuple[Item, ...]
    others: int


def list_items(sources: str) -> Listing:
    """What there is to cut.

    Args:
        sources: folders (with all below), pictures, tars and zips, separated by commas. In DIV2K's folders only the
            HR ones are taken, and they decide the split.

    Raises:
        UserError: a source is missing or a damaged archive, two pictures have the same name, or there are none.
    """
    items: list[Item] = []
    others = 0
    for source in filter(None, (part.strip() for part in sources.split(","))):
        found, rest = _of(Path(source))
        items += found
        others += rest
    official = [item for item in items if item.split]
    kept = official or items
    others += len(items) - len(kept)
    if not kept:
        raise UserError(f"--source {sources}: holds no pictures ({', '.join(SUFFIXES)})")
    kept.sort(key=lambda item: item.name)
    for one, next_one in pairwise(kept):
        if one.name == next_one.name:
            raise UserError(f"--source {sources}: two pictures are called {one.name}; give their parent folder")
    return Listing(tuple(kept), others)


def read_item(item: Item) -> bytes:
    """The picture's file.

    Raises:
        BrokenImage: it cannot be read.
    """
    try:
        if not item.member:
            return Path(item.file).read_bytes()
        if item.start >= 0:
            with Path(item.file).open("rb") as file:
                file.seek(item.start)
                return file.read(item.size)
        if _kind(Path(item.file)) == ".zip":
            with zipfile.ZipFile(item.file) as archive:
                return archive.read(item.member)
        with tarfile.open(item.file) as tar:
            member = tar.extractfile(item.member)
            return member.read() if member else b""
    except (OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise BrokenImage(f"cannot be read ({error})") from error


def _kind(path: Path) -> str:
    name = path.name.lower()
    return next((ending for ending in ARCHIVES if name.endswith(ending)), "")


def _of(source: Path) -> tuple[list[Item], int]:
    if not source.exists():
        raise UserError(f"--source {source}: no such file or folder")
    if source.is_dir():
        return _of_folder(source)
    if _kind(source) == ".zip":
        return _of_zip(source)
    if _kind(source):
        return _of_tar(source)
    if _is_picture(source.name):
        return [Item(source.name, str(source.resolve()), "", -1, source.stat().st_size, "")], 0
    raise UserError(f"--source {source}: neither a folder, a picture ({', '.join(SUFFIXES)}) nor an archive")


def _of_folder(folder: Path) -> tuple[list[Item], int]:
    items: list[Item] = []
    others = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or _is_bookkeeping(path.relative_to(folder).as_posix()):
            continue
        if _kind(path):
            found, rest = _of(path)
            inside = path.relative_to(folder).as_posix()
            items += [Item(f"{inside}/{i.name}", i.file, i.member, i.start, i.size, i.split) for i in found]
            others += rest
        elif _is_picture(path.name):
            name = path.relative_to(folder).as_posix()
            items.append(Item(name, str(path.resolve()), "", -1, path.stat().st_size, _split(path.as_posix())))
        else:
            others += 1
    return items, others


def _of_zip(path: Path) -> tuple[list[Item], int]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [(m.filename, m.file_size) for m in archive.infolist() if not m.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"--source {path}: not a sound zip file ({error}); fetch it again") from error
    return _chosen(path, [(name, -1, size) for name, size in members])


def _of_tar(path: Path) -> tuple[list[Item], int]:
    plain = _kind(path) == ".tar"
    try:
        with tarfile.open(path) as tar:
            members = [(m.name, m.offset_data if plain else -1, m.size) for m in tar if m.isfile()]
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(f"--source {path}: not a sound tar file ({error}); fetch it again") from error
    return _chosen(path, members)


def _chosen(path: Path, members: list[tuple[str, int, int]]) -> tuple[list[Item], int]:
    members = [member for member in members if not _is_bookkeeping(member[0])]
    pictures = [member for member in members if _is_picture(member[0])]
    file = str(path.resolve())
    items = [Item(name.removeprefix("./"), file, name, start, size, _split(name)) for name, start, size in pictures]
    return items, len(members) - len(pictures)


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _is_bookkeeping(name: str) -> bool:
    """What macOS and others leave behind; names that merely begin with `_` or `.` are pictures like others."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db")


def _split(path: str) -> str:
    return next((split for split, folder in _DIV2K.items() if folder in PurePosixPath(path).parts), "")

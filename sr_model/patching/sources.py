"""Pictures in folders, tars and zips: listed once, read anywhere."""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from lakerank.cli.download import DIV2K, fetch, verify
from lakerank.cli.errors import UserError
from lakerank.cli.files import read_bytes
from lakerank.cli.stores import is_in_object_store, list_store
from sr_model.data.parquet_sets import ParquetSet, PictureRows
from sr_model.images import SUFFIXES, BrokenImage, check_bytes, read_file, reason_of

PARQUET = ".parquet"
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DIV2K = {"train": "DIV2K_train_HR", "valid": "DIV2K_valid_HR"}
_DIV2K_SMALL = ("DIV2K_train_LR", "DIV2K_valid_LR")  # how its folders of LR pictures begin
# What Python's archive readers raise on damaged, encrypted or vanished files.
DAMAGE = (OSError, EOFError, KeyError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)


@dataclass(frozen=True)
class Item:
    """Describe a picture that has not been read.

    Attributes:
        name: what it is called in the patches: its path below the source.
        file: the file on disk that holds it.
        member: its name in that archive, or its place in that Parquet file; empty for a file of its own.
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
    """List the pictures of all sources, by name, and count the other files."""

    items: tuple[Item, ...]
    others: int


def list_items(sources: str, image_column: str = "", where: str = "") -> Listing:
    """List the pictures of folders, archives and Parquet.

    Args:
        sources: folders (with all below), pictures, tars and zips, separated by commas. Of DIV2K's folders the HR
            ones decide the split, and the LR ones are left out. A folder of Parquet without pictures beside it, a
            Petastorm data set above all, or a Parquet file gives the pictures of one column.
        image_column, where: of Parquet: see `ParquetSet`.

    Raises:
        UserError: a source is missing or a damaged archive, two pictures have the same name, or there are none.
    """
    items: list[Item] = []
    others = 0
    for source in filter(None, (part.strip() for part in sources.split(","))):
        path = Path(source)
        stored = is_in_object_store(source)
        if not stored and _is_parquet(path):
            found, rest = _of_parquet(path, image_column, where), 0
        elif image_column or where:
            raise UserError(f"--source {source}: is no Parquet; leave out --image-column and --where")
        else:
            found, rest = _of_store(source) if stored else _of(path)
        items += found
        others += rest
    if not items:
        raise UserError(f"--source {sources}: holds no pictures ({', '.join(SUFFIXES)})")
    items.sort(key=lambda item: item.name)
    for one, next_one in pairwise(items):
        if one.name == next_one.name:
            raise UserError(f"--source {sources}: two pictures are called {one.name}; give their parent folder")
    return Listing(tuple(items), others)


def div2k_sources(command: str, source: str, downloads: Path, mirror: str) -> str:
    """Return the folder of DIV2K's HR pictures, as `list_items` takes it.

    Args:
        command: named in what is printed.
        source: the user's copy, of which zips are checked: their folder, themselves, or unpacked; empty: none.
        downloads: folder that they are downloaded to if there is none.
        mirror: address of the folder that has the zips.

    Raises:
        UserError: see `fetch` and `verify`.
    """
    folder = Path(source) if source else downloads
    zips = [folder / f"{name}.zip" for name in DIV2K]
    if source and not any(path.is_file() for path in zips):
        for path in map(Path, source.split(",")):
            if path.is_file() and path.stem in DIV2K:
                print(f"{command}: {path}: {verify(path, path.stem)}", flush=True)
        return source  # the zips themselves, or unpacked
    for path in zips:
        if source and path.is_file():
            print(f"{command}: {path}: {verify(path, path.stem)}", flush=True)
        else:
            fetch(path.stem, folder, mirror)
    return ",".join(map(str, zips))


def read_items(items: Iterable[Item]) -> Iterator[bytes | BrokenImage]:
    """Read the file of each picture, or say why it cannot be read.

    An archive stays open while pictures come from it: a compressed tar is then unpacked once, not once a picture.
    """
    name, archive = "", None
    try:
        for item in items:
            try:
                check_bytes(item.size)
                if item.member and item.start < 0:
                    if archive is None or item.file != name:
                        _close(archive)
                        archive = None
                        name, archive = item.file, _open(Path(item.file))
                    content = _member(archive, item.member)
                else:
                    content = _bytes(item)
            except BrokenImage as error:
                yield error
            except MemoryError as error:
                yield BrokenImage(reason_of(error))
            except (UserError, *DAMAGE) as error:
                yield BrokenImage(f"cannot be read ({error})")
            else:
                yield content
    finally:
        _close(archive)


def read_item(item: Item) -> bytes:
    """Read the picture's file.

    Raises:
        BrokenImage: it cannot be read.
    """
    (content,) = read_items([item])
    if isinstance(content, BrokenImage):
        raise content
    return content


def _bytes(item: Item) -> bytes:
    if is_in_object_store(item.file):
        return read_bytes(item.file, "--source")
    if not item.member:
        return read_file(Path(item.file))
    with Path(item.file).open("rb") as file:
        file.seek(item.start)
        return file.read(item.size)


def _open(path: Path) -> zipfile.ZipFile | tarfile.TarFile | PictureRows:
    if path.suffix == PARQUET:
        return PictureRows(path)
    return zipfile.ZipFile(path) if _kind(path) == ".zip" else tarfile.open(path)


def _member(archive: zipfile.ZipFile | tarfile.TarFile | PictureRows, name: str) -> bytes:
    if isinstance(archive, zipfile.ZipFile | PictureRows):
        return archive.read(name)
    file = archive.extractfile(name)
    return file.read() if file else b""


def _close(archive: zipfile.ZipFile | tarfile.TarFile | PictureRows | None) -> None:
    if archive is not None:
        archive.close()


def _kind(path: Path) -> str:
    name = path.name.lower()
    return next((ending for ending in ARCHIVES if name.endswith(ending)), "")


def _of_store(source: str) -> tuple[list[Item], int]:
    """List the pictures of a folder in an object store, which each process reads there itself."""
    files = list_store(source)
    if files is None:
        name = source.rpartition("/")[2]
        if not is_picture(name):
            raise UserError(f"--source {source}: is no picture; of archives in a store unpack or copy them first")
        return [Item(name, source, "", -1, 0, "")], 0
    kept = [file for file in files if not is_bookkeeping(file.name)]
    if packed := next((file.name for file in kept if _kind(Path(file.name))), ""):
        raise UserError(f"--source {source}: {packed} is an archive; in a store only pictures are read: unpack it")
    pictures = [file for file in kept if is_picture(file.name) and not _is_small_div2k(file.name)]
    base = source.rstrip("/")
    items = [Item(_text(f.name), f"{base}/{f.name}", "", -1, f.size, _split(f"{base}/{f.name}")) for f in pictures]
    return items, len(kept) - len(items)


def _of(source: Path) -> tuple[list[Item], int]:
    if not source.exists():
        if ":/" in str(source):  # `Path` made one slash of two
            raise UserError(
                f"--source {source}: pictures are read as files that every worker sees; mount them, or read the store "
                "with Spark's binaryFile into a table and give that"
            )
        raise UserError(f"--source {source}: no such file or folder")
    if source.is_dir():
        return _of_folder(source)
    if _kind(source) == ".zip":
        return _of_zip(source)
    if _kind(source):
        return _of_tar(source)
    if is_picture(source.name):
        return [Item(source.name, str(source.resolve()), "", -1, source.stat().st_size, "")], 0
    raise UserError(f"--source {source}: neither a folder, a picture ({', '.join(SUFFIXES)}) nor an archive")


def _of_folder(folder: Path) -> tuple[list[Item], int]:
    items: list[Item] = []
    others = 0
    for path in _walk(folder):
        inside = _text(path.relative_to(folder).as_posix())
        if is_bookkeeping(inside):
            continue
        if _kind(path):
            found, rest = _of(path)
            items += [Item(f"{inside}/{i.name}", i.file, i.member, i.start, i.size, i.split) for i in found]
            others += rest
        elif is_picture(path.name) and not _is_small_div2k(path.as_posix()):
            items.append(Item(inside, str(path.resolve()), "", -1, path.stat().st_size, _split(path.as_posix())))
        else:
            others += 1
    return items, others


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files below, also through links to folders, but into no folder twice."""
    seen = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (path for name in sorted(names) if (path := Path(here, name)).is_file())


def _is_parquet(path: Path) -> bool:
    """Tell a Parquet file, and a folder that has some and no pictures.

    Raises:
        UserError: it is a Delta table, whose files hold rows that are deleted.
    """
    if not path.is_dir():
        return path.suffix == PARQUET and path.is_file()
    if (path / "_delta_log").is_dir():
        raise UserError(f"--source {path}: is a Delta table, which the job make_patches reads by Spark")
    files = list(_walk(path))
    return any(file.suffix == PARQUET for file in files) and not any(is_picture(file.name) for file in files)


def _of_parquet(path: Path, image_column: str, where: str) -> list[Item]:
    """List the pictures of a column, named `FILE#ROW_GROUP-ROW`; a field `split` of the folders' names decides."""
    found = ParquetSet(path)
    column = found.image_column(image_column)
    items = []
    for group in found.groups:
        size = found.bytes_of(group, column)
        inside = group.file.relative_to(path).as_posix() if path.is_dir() else group.file.name
        split = str(group.partition.get("split", ""))
        for row in found.chosen(group, where):
            place = f"{group.index}:{row}:{column}"
            name = _text(f"{inside}#{group.index}-{row}")
            items.append(Item(name, str(group.file.resolve()), place, -1, size, split if split in _DIV2K else ""))
    return items


def _of_zip(path: Path) -> tuple[list[Item], int]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [(m.filename, m.file_size) for m in archive.infolist() if not m.is_dir()]
    except DAMAGE as error:
        raise UserError(f"--source {path}: not a sound zip file ({error}); fetch it again") from error
    return _chosen(path, [(name, -1, size) for name, size in members])


def _of_tar(path: Path) -> tuple[list[Item], int]:
    plain = _kind(path) == ".tar"
    try:
        with tarfile.open(path) as tar:
            members = [(m.name, m.offset_data if plain and not m.issparse() else -1, m.size) for m in tar if m.isfile()]
    except DAMAGE as error:
        raise UserError(f"--source {path}: not a sound tar file ({error}); fetch it again") from error
    return _chosen(path, members)


def _chosen(path: Path, members: list[tuple[str, int, int]]) -> tuple[list[Item], int]:
    members = [member for member in members if not is_bookkeeping(member[0])]
    pictures = [m for m in members if is_picture(m[0]) and not _is_small_div2k(m[0])]
    file = str(path.resolve())
    items = [
        Item(_text(name).removeprefix("./"), file, name, start, size, _split(name)) for name, start, size in pictures
    ]
    return items, len(members) - len(pictures)


def is_picture(name: str) -> bool:
    """Tell by its suffix whether a file is read."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_bookkeeping(name: str) -> bool:
    """Tell what macOS and others leave behind; names that merely begin with `_` or `.` are pictures like others."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db")


def _text(name: str) -> str:
    """Make a name storable: bytes that are no UTF-8, which Python keeps as lone surrogates, are shown as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _is_small_div2k(path: str) -> bool:
    return any(part.startswith(_DIV2K_SMALL) for part in PurePosixPath(path).parts[:-1])


def _split(path: str) -> str:
    return next((split for split, folder in _DIV2K.items() if folder in PurePosixPath(path).parts), "")

"""A source that may be a folder, a file or a zip: open it, list it, and tidy up afterwards."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from lakerank.cli.errors import UserError
from lakerank.cli.stores import has_scheme, list_store
from lakerank.spark.array_cache import own_folder, remove_unheld
from lakerank.spark.array_store import BlockStore

_UNPACKED = "unpacked"  # folders of what was in a zip: locked while they are needed


@contextmanager
def opened(source: Path, scratch: Path, wanted: Collection[str] = ()) -> Iterator[Path]:
    """Give `source` itself, or a folder with what a .zip holds, which is removed at the end; so are those that killed
    jobs have left.

    Args:
        source: a folder, a file or a .zip.
        scratch: where the folder is made; made itself if it does not exist.
        wanted: unpack only members with these file names, if there are any; else all.

    Raises:
        UserError: the source does not exist, or the zip is damaged, encrypted or wants to write elsewhere.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if source.is_dir() or source.suffix.lower() != ".zip":
        yield source
        return
    with ExitStack() as held:
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            parent = BlockStore(str(scratch))
            remove_unheld(parent, [path.name for path in scratch.glob(f"{_UNPACKED}-*")])
            folder = Path(held.enter_context(own_folder(parent, _UNPACKED)).root)
        except OSError as error:
            raise UserError(f"{scratch}: cannot unpack here ({error.strerror})") from error
        _unpack(source, folder, wanted)
        yield folder


def listing(folder: str | Path) -> list[str]:
    """List the files in a folder and in the folders directly inside it, as relative POSIX paths, nearest first.

    Names that start with `_` or `.` are left out: bookkeeping (`_SUCCESS`, `.DS_Store`) that Spark skips too.
    """
    if has_scheme(str(folder)):
        names = [PurePosixPath(file.name) for file in list_store(str(folder)) or ()]
        near = [name for name in names if len(name.parts) <= 2 and not name.name.startswith(("_", "."))]
        return [name.as_posix() for name in sorted(near, key=lambda name: (len(name.parts), name))]
    here = Path(folder)
    paths = (path for path in (*here.glob("*"), *here.glob("*/*")) if path.is_file())
    found = [path.relative_to(here) for path in paths if not path.name.startswith(("_", "."))]
    return [path.as_posix() for path in sorted(found, key=lambda path: (len(path.parts), path))]


def _unpack(source: Path, folder: Path, wanted: Collection[str]) -> None:
    try:
        with ZipFile(source) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
            for member in members:
                path = PurePosixPath(member.filename.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                    raise UserError(f"{source}: {member.filename!r} would be written outside; not unpacked")
            chosen = [m for m in members if PurePosixPath(m.filename).name in wanted] or members
            for member in chosen:
                archive.extract(member, folder)
    except (BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{source}: not a sound zip file ({error}); fetch it again") from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown method
        raise UserError(f"{source}: cannot unpack it ({error}); unpack it and pass the folder") from error
    except OSError as error:
        raise UserError(f"{source}: cannot unpack it to {folder} ({error.strerror})") from error

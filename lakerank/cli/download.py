"""Fetch a public data set's zip once, and prove that it arrived whole: MovieLens editions, DIV2K.

The file grows as `<name>.zip.part` and gets its name only after its checksum fits, so a `.zip` that is there
is good. A fetch that was interrupted goes on where it stopped if the server can do that, else anew. Of two runs that
want the same file one fetches it, and the other waits.
"""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from lakerank.cli.errors import UserError
from lakerank.cli.files import flush_to_disk, locked, write_file
from lakerank.cli.progress import progress

MIRROR = "https://files.grouplens.org/datasets/movielens"

# The md5 that GroupLens publishes beside each zip (`<name>.zip.md5`). The latest* editions are replaced
# from time to time, so nothing can be pinned for them.
EDITIONS: dict[str, str | None] = {
    "ml-100k": "0e33842e24a9c977be4e0107933c0723",
    "ml-1m": "c4d9eecfca2ab87c1945afe126590906",
    "ml-10m": "ce571fd55effeba0271552578f2648bd",
    "ml-20m": "cd245b17a1ae2cc31bb14903e1204af3",
    "ml-25m": "6b51fb2759a8657d3bfcbfc42b592ada",
    "ml-32m": "d472be332d4daa821edc399621853b57",
    "ml-latest-small": None,
    "ml-latest": None,
}

# The pictures super-resolution is trained on; the md5 are those that the field's loaders check.
DIV2K_MIRROR = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
DIV2K: dict[str, str | None] = {
    "DIV2K_train_HR": "bdc2d9338d4e574fe81bf7d158758658",
    "DIV2K_valid_HR": "9fcdda83005c5e5997799b69f955ff88",
}
_BLOCK = 1 << 20
_PATIENCE_SECONDS = 60  # without a single byte


def fetch(name: str, folder: Path, mirror: str = MIRROR) -> Path:
    """Download a published zip into `folder`, unless it is there and good; return its path.

    Args:
        name: a key of `EDITIONS` or `DIV2K`.
        folder: where it is kept; made if it does not exist.
        mirror: address of the folder that has `<name>.zip`.

    Raises:
        UserError: the server cannot be reached or has no such file, the transfer broke off, the checksum is
            wrong (no file is left then), or the folder cannot be written.
    """
    if not mirror.startswith(("http://", "https://")):
        raise UserError(f"--mirror {mirror}: must start with http:// or https://")
    url = f"{mirror.rstrip('/')}/{name}.zip"
    target = folder / f"{name}.zip"
    try:
        with locked(folder / f".{name}.zip.lock", f"{folder}/{name}.zip: another run is fetching it; waiting for that"):
            _fetch_alone(name, target, url)
    except OSError as error:
        raise UserError(f"{folder}: cannot keep {name}.zip here ({error.strerror or error})") from error
    return target


def _fetch_alone(name: str, target: Path, url: str) -> None:
    """Fetch what is not there or not good; nobody else does so meanwhile."""
    note = target.with_name(f"{target.name}.md5")  # what an edition without a pin was checked against
    pinned = _pinned(name)
    if target.exists():
        known = pinned or _md5_in(note.read_text(encoding="utf-8") if note.exists() else "")
        if _is_good(target, known):
            print(f"{target}: is there, its {'md5 fits' if known else 'CRCs fit'}; delete it to fetch anew")
            return
        print(f"{target}: is damaged, fetching it again")
        target.unlink()
    expected = pinned or _published_md5(f"{url}.md5")
    part = target.with_name(f"{target.name}.part")
    if pinned is None or part.is_symlink():
        part.unlink(missing_ok=True)  # half of an edition that may have been replaced meanwhile; or not ours
    _transfer(url, part, by_hand(name, url))
    _accept(part, target, url, expected)
    if pinned is None and expected:
        write_file(note, f"{expected}  {target.name}\n")


def verify(path: Path, name: str) -> str:
    """Check a local copy of a published zip; returns what was checked, in words.

    Raises:
        UserError: the file is not the published one.
    """
    expected = _pinned(name)
    if expected is None:
        return f"{name} has no fixed checksum; the zip's own CRCs are checked while unpacking"
    found = md5_of(path)
    if found != expected:
        raise UserError(
            f"{path}: md5 is {found}, but {name}.zip has {expected}: a damaged copy or another edition "
            "(leave --dataset out to read it unchecked)"
        )
    return f"md5 {expected} fits"


def _pinned(name: str) -> str | None:
    return DIV2K[name] if name in DIV2K else EDITIONS[name]


def md5_of(path: Path) -> str:
    """Return the file's md5 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def by_hand(name: str, url: str) -> str:
    """Say what to do where the network does not let us."""
    if name in DIV2K:
        return f"fetch {url} by hand and pass --dataset div2k --source FOLDER with it"
    return f"fetch {url} by hand and pass --dataset {name} --source PATH/{name}.zip"


def _open(url: str, start: int = 0) -> HTTPResponse:
    headers = {"User-Agent": "lakerank"} | ({"Range": f"bytes={start}-"} if start else {})
    # `fetch` lets nothing but http(s) through.
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    response: HTTPResponse = urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS)  # noqa: S310
    return response


def _published_md5(url: str) -> str | None:
    """Fetch the md5 file beside the zip, if there is one; a server that is down shows when the zip is fetched."""
    try:
        with _open(url) as response:
            return _md5_in(response.read(4096).decode("utf-8", "replace"))
    except (OSError, HTTPException):
        return None


def _md5_in(text: str) -> str | None:
    """Find the digest in `MD5 (ml-20m.zip) = …` as well as `…  ml-20m.zip`."""
    found = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    return found.group(0).lower() if found else None


def _transfer(url: str, part: Path, advice: str) -> None:
    again = f"run again to go on, or {advice}"
    start = part.stat().st_size if part.exists() else 0
    try:
        try:
            response = _open(url, start)
        except urllib.error.HTTPError as error:
            if error.code != 416:  # what we have is no beginning of what they have
                raise
            start = 0
            response = _open(url)
        with response:
            if response.status != 206:  # the server sends everything from the first byte
                start = 0
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else None
            with (
                part.open("ab" if start else "wb") as file,
                progress(total, part.stem, "B", scale=True) as meter,
            ):
                meter.update(start)
                while block := response.read(_BLOCK):
                    file.write(block)
                    meter.update(len(block))
    except urllib.error.HTTPError as error:
        raise UserError(f"{url}: the server answers {error.code} {error.reason}; {advice}") from error
    except urllib.error.URLError as error:
        raise UserError(f"{url}: cannot reach the server ({error.reason}); {advice}") from error
    except (ConnectionError, TimeoutError, HTTPException) as error:
        raise UserError(f"{url}: the transfer broke off ({error}); {again}") from error
    have = part.stat().st_size
    if total is not None and have != total:
        raise UserError(f"{url}: the transfer broke off after {have} of {total} bytes; {again}")


def _is_good(path: Path, expected: str | None) -> bool:
    if expected:
        return md5_of(path) == expected
    try:
        with ZipFile(path) as archive:
            return archive.testzip() is None
    except (BadZipFile, OSError, EOFError, NotImplementedError):
        return False


def _accept(part: Path, target: Path, url: str, expected: str | None) -> None:
    """Give the file its name if it is good, else remove it."""
    if not _is_good(part, expected):
        found = md5_of(part)
        part.unlink()
        wanted = f"md5 is {found}, {expected} was expected" if expected else "it is not a sound zip file"
        raise UserError(f"{url}: what came is damaged or another file ({wanted}); it was removed, run again")
    flush_to_disk(part)
    part.replace(target)
    flush_to_disk(target.parent)
    print(f"{target}: fetched; {f'md5 {expected} fits' if expected else 'no md5 is published, its CRCs fit'}")

"""Stores such as S3, Azure and Google Cloud: opened by the same settings everywhere, and what goes wrong with them is
the user's to mend, and holds secrets.

Spark has clients of its own (`lakerank.spark.session` gives them the same address); here are those of Python, for the
driver and for workers: pyarrow's file systems. Address, region and credentials are those that every S3 tool takes from
the environment (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, …). The guide is docs/stores.md.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TextIO, TypeVar
from urllib.parse import unquote

from lakerank.cli.errors import UserError

if TYPE_CHECKING:  # most commands read no store
    from pyarrow.fs import FileSystem

T = TypeVar("T")
A = TypeVar("A")
_MIRROR_SECONDS = 10.0
PATIENCE_SECONDS = 30.0
S3_SCHEMES = ("s3", "s3a", "s3n")
_OBJECT_STORES = (*S3_SCHEMES, "gs", "gcs", "abfs", "abfss")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/")
_AT_ONCE = 16  # objects on their way: each waits for its answer most of the time
_LONGEST = 200  # characters of a store's own words
# What Hadoop, delta-rs and Arrow say, by what it means. The first that fits is taken.
_PROBLEMS = (
    (
        re.compile(
            r"No FileSystem for scheme|UnsupportedFileSystem|ClassNotFoundException: Class org\.apache\.hadoop\.fs"
        ),
        "this Spark has no file system for that store: add its jar (for S3 see docs/stores.md: --packages "
        "org.apache.hadoop:hadoop-aws:…, of this Spark's Hadoop), or copy the files",
    ),
    (
        re.compile(
            r"NoAuthWithAWS|NoAwsCredentials|[Uu]nable to load (?:AWS )?credentials|[Nn]o (?:AWS )?[Cc]redentials|"
            r"[Mm]issing ?[Cc]redentials|CredentialsNotLoaded|InvalidAccessKeyId|SignatureDoesNotMatch|"
            r"[Aa]ccess ?[Dd]enied|ACCESS_DENIED|AuthenticationException|AuthorizationFailure|AuthorizationPermission|"
            r"InvalidAuthenticationToken|Failure to initialize configuration for storage account|ExpiredToken|"
            r"[Cc]ould not find (?:default )?credentials|[Cc]ould not create .*[Cc]redentials|169\.254\.169\.254|"
            r"metadata\.google\.internal|[Ff]ailed to get token|[Ee]rror performing token request|InstanceCredential|"
            r"(?:\b|\()(?:401|403) (?:Unauthorized|Forbidden)|status (?:code )?40[13]\b"
        ),
        "the store refuses us, or there are no credentials for it: set them as its own tools want them, for Python's "
        "clients and for Spark's (for S3 AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION serve both)",
    ),
    (
        re.compile(
            r"NETWORK_CONNECTION|curlCode: |Could not resolve host|UnknownHostException|NoSuchBucket|"
            r"bucket does not exist|dns error|client error \(Connect\)|SdkClientException|AmazonClientException|"
            r"AbfsRestOperationException|error sending request for url|Generic \w+ error"
        ),
        "the store cannot be reached, or has no such bucket: look at the address, the region and the network",
    ),
    (
        re.compile(r"Read-only file system|No space left on device|Disk quota exceeded"),
        "nothing can be written there: make room, or give a place that may be written to",
    ),
)
_NAME = (
    r"(?:token(?!iz)|secret|passw(?:or)?d|passphrase|\bpwd|signature|\bsig|"
    r"(?:access|account|api|private|shared)[._-]?key|credential(?!s))[\w.-]*"
)


@cache
def _secrets() -> tuple[re.Pattern[str], ...]:
    """Compile what secrets look like: when it is asked for, since every command waits for its imports."""
    patterns = (
        r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)([^-]+)",
        rf"({_NAME}[\"']?\s*[=:]\s*\")([^\"\n]+)",
        rf"({_NAME}[\"']?\s*[=:]\s*')([^'\n]+)",
        rf"({_NAME}[\"']?\s*[=:]\s*)([^\s\"'&;,)]+)",
        rf"(--[\w-]*{_NAME}\s+)(?!and\b|or\b|is\b)([^\s\"']+)",
        rf"(\b(?:fs|spark|hadoop|dfs|delta|azure|aws)\.[\w.-]*{_NAME}\s+)(?!and\b|or\b|is\b)([^\s\"']+)",
        r"(\bAuthorization[\"']?\s*[=:]\s*[\"']?(?:(?:Bearer|Basic|Digest|Negotiate)\s+)?)([^\s\"']+)",
        r"(\bBearer\s+)([^\s\"',;)]+)",
        r"(\b)(dapi[0-9a-f]{32}|gh[opsu]_\w{36}|hf_\w{30,}|eyJ[\w-]{10,}\.[\w-]+\.[\w-]*)",
        # Who asks, before the @ of an address. A password may hold anything, but a port is none; the container before
        # the account of Azure's stores is none either.
        r"(\b[a-z][\w+.-]*://)([^\s/@:\"'`<>]*:(?!\s|\d{1,5}(?:[/\s?#;:,.)\]]|$))(?:(?!://)[^\n\"'`<>@]){0,300}@"
        r"(?:[^\s\"'`<>]{0,300}@)?)",
        r"(\b[a-z][\w+.-]*://(?<!abfs://)(?<!abfss://)(?<!wasb://)(?<!wasbs://))([^\s/@:\"'`<>]+@)",
    )  # each with a group that is kept and one that is secret
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


_WHOLE_ADDRESS = re.compile(r"\s*[a-z][\w+.-]*://([^/@]*:.*)@", re.IGNORECASE | re.DOTALL)
_MASK = "***"
_SHORTEST = 6  # characters of a secret that is looked for by itself, where nothing beside it says what it is


@dataclass(frozen=True)
class StoredFile:
    """A file in a store: its path below the folder that was listed, its bytes, when it was changed (ns since 1970)."""

    name: str
    size: int
    changed: int


def hide_secrets(text: str, known: Iterable[str] = ()) -> str:
    """Return a text with the values of tokens, keys and passwords replaced by `***`, and without colours.

    Args:
        text: any.
        known: secrets that are hidden wherever they stand, from `secrets_in`.
    """
    text = hide_known(re.sub(r"\x1b\[[0-9;]*m", "", text), known)  # without colours
    for pattern in _secrets():
        text = pattern.sub(lambda found: f"{found[1]}{_MASK}{'@' * found[2].endswith('@')}", text)
    return text


def hide_known(text: str, known: Iterable[str]) -> str:
    """Return a text in which `***` stands for these secrets, and which is else as it was."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return text


def secrets_in(*values: str) -> set[str]:
    """Return the secrets that values of settings hold, each in the forms in which it may come back in a message.

    Args:
        values: settings or arguments as they were given, each whole.
    """
    found: set[str] = set()
    for value in values:
        if "=" not in value and "@" not in value:
            continue
        asks = [one[2].rstrip("@") for pattern in _secrets()[-2:] for one in pattern.finditer(value)]
        if whole := _WHOLE_ADDRESS.match(value):
            asks.append(whole[1])
        # `name=value` alone: who searches for "bearer tokens" wants to read of them.
        found.update(one[2] for pattern in _secrets()[:4] for one in pattern.finditer(value) if "=" in one[1])
        found.update(asks, (one.partition(":")[2] for one in asks))
    if found:
        from urllib.parse import unquote  # here: few commands are given secrets, and all of them wait for the import

        found |= {unquote(one) for one in found}
        found |= {json.dumps(one)[1:-1] for one in found}
    return {one for one in found if len(one) >= _SHORTEST}


class HidingStream:
    """A text stream that writes what it is given to another one, without the known secrets."""

    def __init__(self, stream: TextIO, known: Collection[str]) -> None:
        self._stream, self._known = stream, known

    def write(self, text: str) -> int:
        """Write a text; return how many characters it had."""
        self._stream.write(hide_known(text, self._known))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Do all else as the other stream does."""
        return getattr(self._stream, name)


@contextmanager
def hiding(known: Collection[str]) -> Iterator[None]:
    """Keep the known secrets out of all that is printed."""
    if not known:
        yield
        return
    out: Any = HidingStream(sys.stdout, known)
    told: Any = HidingStream(sys.stderr, known)
    with redirect_stdout(out), redirect_stderr(told):
        yield


def store_problem(error: BaseException) -> str:
    """Say in one sentence what is wrong with a store; empty if the error is of another kind.

    Args:
        error: what a command died of; the errors that it came from are asked, too.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        text = str(one)
        for pattern, advice in _PROBLEMS:
            if found := pattern.search(text):
                line = text[text.rfind("\n", 0, found.start()) + 1 :].splitlines()[0]
                return f"{advice} ({hide_secrets(' '.join(line.split())).lstrip(': ')[:_LONGEST]})"
        one = one.__cause__ or one.__context__
    return ""


# What Spark says of a file that it finds out to be unreadable while a job runs.
_UNREADABLE = re.compile(r"(?:Encountered error while reading file|Could not read footer for file:) +(\S+?)\.?(?=\s|$)")
_OTHER_TYPE = re.compile(r"Parquet column \[?([^\]\s]+?)\]?\. Expected Spark type (\S+), actual Parquet type (\w+)")
_GONE = re.compile(r"FILE_NOT_EXIST|FileNotFoundException|File does not exist")


def damaged_file(error: BaseException) -> str:
    """Say in one sentence which file Spark could not read while a job ran; empty if the error is of another kind.

    Args:
        error: what a command died of; the errors that it came from are asked, too.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        text = str(one)
        if found := _UNREADABLE.search(text):
            path = hide_secrets(re.sub(r"^file:/+", "/", unquote(found[1])))
            about = text[found.end() : found.end() + 2000]
            if other := _OTHER_TYPE.search(about):
                name, wanted, actual = other.groups()
                return (
                    f"{path}: its column {name} is {actual.lower()}, in the other files it is {wanted}: write it with "
                    "that type, or read the files one by one"
                )
            if _GONE.search(text[max(0, found.start() - 200) : found.end()]) or _GONE.search(about[:300]):
                return f"{path}: is not there any more: put it back, or write the table that it is of again"
            return f"{path}: cannot be read: it is damaged; fetch it or write it again"
        one = one.__cause__ or one.__context__
    return ""


def in_time(what: str, work: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Return the result of asking a store, whose clients go on trying for minutes without an answer.

    Args:
        what: the address, for messages.
        work: asks it; where it does not come back, its thread is left behind.
        seconds: to wait.

    Raises:
        UserError: no answer in that time.
        Exception: what `work` raises.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise UserError(
            f"{hide_secrets(what)}: no answer from the store within {seconds:.0f} s: look at its address, the "
            "credentials and the network"
        )
    return done[0]


def has_scheme(path: str) -> bool:
    """Tell whether a path is on a file system of its own, as `s3://…`, so that Python cannot look at it."""
    return bool(_SCHEME.match(path)) and not path.startswith("file:")


def is_in_object_store(path: str) -> bool:
    """Tell whether a path is in S3, Google Cloud Storage or Azure's store."""
    found = _SCHEME.match(path)
    return found is not None and found[1].lower() in _OBJECT_STORES


def s3_endpoint() -> str:
    """Return the address of an S3 server that is not Amazon's, as the environment has it; empty if there is none."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def s3_region() -> str:
    """Return the region that the environment names; of a server that is not Amazon's any will do."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    return named or ("us-east-1" if s3_endpoint() else "")


def delta_options(path: str) -> dict[str, str]:
    """Return the options by which delta-rs opens a table in a store; its clients would try for minutes.

    Credentials, region and address it reads from the environment itself. It commits by a conditional put
    (If-None-Match), so that of two writers of a version one fails.
    """
    if not has_scheme(path):
        return {}
    options = {"max_retries": "3", "retry_timeout": "20s", "connect_timeout": "5s"}
    if path.split(":")[0].lower() in S3_SCHEMES:
        options["aws_conditional_put"] = "etag"
        with suppress(OSError):  # delta-rs would take us-east-1 for every bucket
            options["aws_region"] = s3_region() or _region_of(path.partition("://")[2].partition("/")[0])
        if endpoint := s3_endpoint():
            options |= {"aws_endpoint_url": endpoint, "aws_allow_http": str(endpoint.startswith("http:")).lower()}
    return options


def file_system(place: str) -> tuple[FileSystem, str]:
    """Return pyarrow's file system for a place with a scheme, and the path in it, without a slash at its end.

    Raises:
        OSError, ValueError: pyarrow knows no such scheme, or the store says no.
    """
    from pyarrow import fs

    scheme, _, rest = place.partition("://")
    if scheme.lower() not in S3_SCHEMES:
        system, path = fs.FileSystem.from_uri(place)
        return system, path.rstrip("/")
    path = rest.strip("/")
    return _s3(s3_endpoint(), s3_region() or _region_of(path.partition("/")[0]), os.getpid()), path


@lru_cache(maxsize=64)
def _region_of(bucket: str) -> str:
    from pyarrow import fs

    return str(fs.resolve_s3_region(bucket))


@lru_cache(maxsize=8)
def _s3(endpoint: str, region: str, process: int) -> FileSystem:
    """Open S3 once for each process: a client does not survive a fork."""
    from pyarrow import fs

    host = {}
    if endpoint:
        scheme, _, address = endpoint.rstrip("/").rpartition("://")
        host = {"endpoint_override": address, "scheme": scheme or "https"}
    return fs.S3FileSystem(
        region=region,
        connect_timeout=5,
        request_timeout=60,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=3),
        **host,
    )


def require_store(place: str) -> None:
    """Make sure that an object store answers, takes our credentials and has the bucket or container of a place.

    Raises:
        UserError: it does not; the sentence holds no secrets.
    """
    from pyarrow import fs

    def ask_store() -> Any:
        system, path = file_system(place)
        found = system.get_file_info(path)
        if found.type == fs.FileType.NotFound:
            try:
                found = system.get_file_info(path.partition("/")[0])
            except OSError as error:  # who may use a part of a bucket need not be told of the whole
                if "ACCESS_DENIED" not in str(error):
                    raise
        return found

    try:
        found = in_time(place, ask_store)
    except (OSError, ValueError) as error:
        told = store_problem(error) or f"cannot be opened ({' '.join(hide_secrets(str(error)).split())[:_LONGEST]})"
        raise UserError(f"{hide_secrets(place)}: {told}") from error
    if found.type == fs.FileType.NotFound and "/" not in found.path:
        at = f" at {hide_secrets(s3_endpoint())}" if s3_endpoint() else ""
        raise UserError(f"{hide_secrets(place)}: the store{at} has no bucket {found.path}: make it, or mend the name")


@contextmanager
def local_copy(place: str, flag: str) -> Iterator[Path]:
    """Give a local path of a file or folder: itself, or a copy of what is in a store, removed in the end.

    Args:
        place: a local path, or one with a scheme.
        flag: that names it, for messages.

    Raises:
        UserError: a store has no such file or folder, or does not answer.
    """
    if not has_scheme(place):
        yield Path(place.removeprefix("file://").removeprefix("file:"))
        return
    with TemporaryDirectory(prefix="lakerank-copy-") as folder:
        target = Path(folder) / (place.rstrip("/").rpartition("/")[2] or "copy")
        if not download(place, target):
            raise UserError(f"{flag} {hide_secrets(place)}: no such file or folder in the store")
        yield target


@contextmanager
def local_folder(place: str) -> Iterator[Path]:
    """Give a local folder to write files into: itself, or one whose files go to a store in the end, if all went well.

    Args:
        place: a local folder, or one with a scheme.

    Raises:
        UserError: the store does not answer, or says no.
    """
    if not has_scheme(place):
        yield Path(place.removeprefix("file://").removeprefix("file:"))
        return
    with TemporaryDirectory(prefix="lakerank-copy-") as folder:
        yield Path(folder)
        upload(Path(folder), place)


@contextmanager
def at_hand(args: A, read: Sequence[str], written: Sequence[str] = ()) -> Iterator[A]:
    """Give settings whose places in stores are local copies, for commands whose libraries read and write local files.

    Args:
        args: settings, a dataclass.
        read: names of those that are read: places with commas between them are copied each.
        written: names of those that are written. What is there is copied first, and what changes goes back every few
            seconds and in the end; of the processes of one training the first one does that.

    Raises:
        UserError: see `download`; or a place that is read is not there.
    """
    with ExitStack() as stack:
        changes: dict[str, Any] = {}
        for name in read:
            parts = [part.strip() for part in str(getattr(args, name)).split(",")]
            if any(map(is_in_object_store, parts)):
                flag = f"--{name.replace('_', '-')}"
                copies = (stack.enter_context(local_copy(p, flag)) if is_in_object_store(p) else p for p in parts)
                changes[name] = ",".join(map(str, copies))
        for name in written:
            if is_in_object_store(place := str(getattr(args, name))):
                print(f"{place}: kept up to date from a copy on this machine", flush=True)
                changes[name] = str(stack.enter_context(_mirrored(place)))
        yield dataclasses.replace(args, **changes) if changes else args  # type: ignore[type-var]


@contextmanager
def _mirrored(place: str) -> Iterator[Path]:
    """Give a local file or folder that is copied to a store as it changes."""
    with TemporaryDirectory(prefix="lakerank-copy-") as above:
        folder = Path(above) / place.rstrip("/").rpartition("/")[2]
        if download(place, folder) and folder.is_file():
            folder.unlink()  # a file is made anew
        if os.environ.get("RANK", "0") != "0":
            yield folder
            return
        known = {path: _state(path) for path in _visible(folder)}
        over = threading.Event()

        def copy_changes() -> None:
            now = {path: _state(path) for path in _visible(folder)}
            for path, state in now.items():
                if known.get(path) != state:
                    upload(path, place if path == folder else f"{place.rstrip('/')}/{path.relative_to(folder)}")
                    known[path] = state
            for path in known.keys() - now.keys():
                system, base = file_system(f"{place.rstrip('/')}/{path.relative_to(folder)}")
                with suppress(FileNotFoundError):
                    system.delete_file(base)
                del known[path]

        def keep_copying() -> None:
            while not over.wait(_MIRROR_SECONDS):
                with suppress(UserError, OSError):  # said in the end, if it lasts
                    copy_changes()

        thread = threading.Thread(target=keep_copying, daemon=True)
        thread.start()
        try:
            yield folder
        finally:
            over.set()
            thread.join()
            copy_changes()


def _visible(folder: Path) -> list[Path]:
    """List a folder's files but those that are not finished, or the file itself."""
    if folder.is_file():
        return [folder]
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]


def _state(path: Path) -> tuple[int, int]:
    with suppress(FileNotFoundError):
        return path.stat().st_size, path.stat().st_mtime_ns
    return -1, -1


def is_stored_folder(place: str) -> bool:
    """Tell whether there is something below a place in a store.

    Raises:
        UserError: the store does not answer, or says no.
    """
    from pyarrow import fs

    try:
        system, path = in_time(place, lambda: file_system(place))
        return bool(system.get_file_info(path).type == fs.FileType.Directory)
    except (OSError, ValueError) as error:
        told = store_problem(error) or f"cannot be listed ({' '.join(hide_secrets(str(error)).split())[:_LONGEST]})"
        raise UserError(f"{hide_secrets(place)}: {told}") from error


def stored_file_exists(place: str) -> bool:
    """Tell whether a file is in a store; errors as `is_stored_folder`."""
    try:
        system, path = file_system(place)
        return bool(system.get_file_info(path).is_file)
    except (OSError, ValueError) as error:
        told = store_problem(error) or f"cannot be read ({' '.join(hide_secrets(str(error)).split())[:_LONGEST]})"
        raise UserError(f"{hide_secrets(place)}: {told}") from error


def list_store(place: str) -> list[StoredFile] | None:
    """List the files below a folder in a store, by name; None if it is a file itself.

    Raises:
        UserError: there is nothing, the store does not answer, or says no.
    """
    from pyarrow import fs

    def ask_store() -> tuple[FileSystem, str, Any]:
        system, path = file_system(place)
        return system, path, system.get_file_info(path)

    try:
        system, path, found = in_time(place, ask_store)
        if found.is_file:
            return None
        infos = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    except (OSError, ValueError) as error:
        told = store_problem(error) or f"cannot be listed ({' '.join(hide_secrets(str(error)).split())[:_LONGEST]})"
        raise UserError(f"{hide_secrets(place)}: {told}") from error
    files = [
        StoredFile(info.path[len(path) :].strip("/"), info.size, info.mtime_ns or 0) for info in infos if info.is_file
    ]
    if not files:
        raise UserError(f"{hide_secrets(place)}: no such file or folder in the store")
    return sorted(files, key=lambda file: file.name)


def download(place: str, target: Path, wanted: Callable[[str], bool] = lambda _: True) -> int:
    """Copy a file, or all files below a folder, from a store; returns how many.

    Args:
        place: with a scheme.
        target: becomes the file or the folder.
        wanted: chooses files of a folder by their paths in it.

    Raises:
        UserError: the store does not answer, or says no.
    """
    from pyarrow import fs

    def ask_store() -> tuple[FileSystem, str, Any]:
        system, path = file_system(place)
        return system, path, system.get_file_info(path)

    def copy(path: str, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        with system.open_input_stream(path, compression=None) as source, to.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    try:
        system, path, found = in_time(place, ask_store)
        if found.is_file:
            copy(path, target)
            return 1
        infos = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        files = {info.path: info.path[len(path) :].strip("/") for info in infos if info.is_file}
        chosen = {one: name for one, name in files.items() if wanted(name)}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(copy, chosen, [target / name for name in chosen.values()]))
    except (OSError, ValueError) as error:
        told = store_problem(error) or f"cannot be read ({' '.join(hide_secrets(str(error)).split())[:_LONGEST]})"
        raise UserError(f"{hide_secrets(place)}: {told}") from error
    return len(chosen)


def remove_folder(place: str) -> None:
    """Remove a folder in a store with all in it, if it is there and the store lets us."""
    with suppress(OSError, ValueError):
        system, path = file_system(place)
        system.delete_dir(path)


def upload(source: Path, place: str) -> None:
    """Copy a file, or all files below a folder, to a store; each is there whole or not at all.

    Raises:
        UserError: the store does not answer, or says no.
    """

    def copy(one: Path) -> None:
        name = "" if one == source else f"/{one.relative_to(source).as_posix()}"
        with one.open("rb") as file, system.open_output_stream(f"{path}{name}") as stream:
            shutil.copyfileobj(file, stream, 1 << 20)

    try:
        system, path = in_time(place, lambda: file_system(place))
        files = [one for one in source.rglob("*") if one.is_file()] if source.is_dir() else [source]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(copy, files))
    except (OSError, ValueError) as error:
        told = store_problem(error) or f"cannot be written ({' '.join(hide_secrets(str(error)).split())[:_LONGEST]})"
        raise UserError(f"{hide_secrets(place)}: {told}") from error

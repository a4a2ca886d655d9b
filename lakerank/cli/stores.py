"""Stores such as S3, Azure and Google Cloud: what goes wrong with them is the user's to mend, and holds secrets."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from typing import Any, TextIO, TypeVar

from lakerank.cli.errors import UserError

T = TypeVar("T")
PATIENCE_SECONDS = 30.0
_LONGEST = 200  # characters of a store's own words
# What Hadoop, delta-rs and Arrow say, by what it means. The first that fits is taken.
_PROBLEMS = (
    (
        re.compile(
            r"No FileSystem for scheme|UnsupportedFileSystem|ClassNotFoundException: Class org\.apache\.hadoop\.fs"
        ),
        "this Spark has no file system for that store: add its jar (--packages org.apache.hadoop:hadoop-aws:…) or copy "
        "the files",
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
        "the store refuses us, or there are no credentials for it: set them as its own tools want them (for S3 "
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION)",
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

"""Stores such as S3, Azure and Google Cloud: what goes wrong with them is the user's to mend, and holds secrets."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote

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
_SECRET = re.compile(
    r"((?:token|secret|password|passwd|signature|\bsig|(?:access|account|api|private)[_-]?key|credential)[\w-]*[\"']?\s*[=:]\s*[\"']?)[^\s\"'&;,)]+",
    re.IGNORECASE,
)
_USER = re.compile(r"(\w+://)[^/\s@]+@(?!\w+\.(?:dfs|blob)\.)")  # abfss://container@account names no one


def hide_secrets(text: str) -> str:
    """Return a text with the values of tokens, keys and passwords replaced by `***`, and without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # colours
    return _USER.sub(r"\1***@", _SECRET.sub(r"\1***", text))


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

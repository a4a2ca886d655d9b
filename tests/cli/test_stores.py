"""Stores without credentials, and what a message about them must not say."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from lakerank.cli import command
from lakerank.cli.errors import UserError, files_gone_problem
from lakerank.cli.settings import Settings, flag
from lakerank.cli.stores import damaged_file, hide_secrets, in_time, secrets_in, store_problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "s3"', "its jar"),
        ("java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found", "its jar"),
        ("NoAuthWithAWSException: No AWS Credentials provided by TemporaryAWSCredentialsProvider", "no credentials"),
        ("Generic S3 error: Error performing GET http://169.254.169.254/latest/api/token", "no credentials"),
        ("an error occurred while loading credentials\n  request forbidden: 403 Forbidden", "no credentials"),
        ("AuthenticationException: Failed to get token from DefaultAzureCredential", "no credentials"),
        ("Failure to initialize configuration for storage account a.dfs.core.windows.net", "no credentials"),
        ("AWS Error ACCESS_DENIED during ListObjectsV2 operation", "no credentials"),
        ("AWS Error NETWORK_CONNECTION during HeadBucket: Could not resolve hostname", "cannot be reached"),
        ("java.io.IOException: No space left on device", "make room"),
        ("[Errno 30] Read-only file system: '/mnt/lake/_lfm/a'", "may be written to"),
        ("KeyError: 'href'", ""),
        ("a file s3.txt is missing", ""),
    ],
)
def test_what_stores_say_becomes_a_sentence(text: str, told: str) -> None:
    said = store_problem(RuntimeError(f"Py4JError: \n{text}\n\tat org.Frame(File.scala:7)"))
    assert told in said
    assert bool(said) == bool(told)
    assert "\n" not in said
    outer = ValueError("outside")
    outer.__cause__ = OSError(text)
    assert bool(store_problem(outer)) == bool(told)


def test_secrets_are_hidden() -> None:
    text = (
        "sc://h:1/;token=abc s3://AKIA:xyz@b/c aws_secret_access_key = 'def' sig=ghi&x=1 https://u:pw@h/ password: jkl"
    )
    hidden = hide_secrets(text)
    assert not [secret for secret in ("abc", "xyz", "def", "ghi", "pw@", "jkl") if secret in hidden]
    assert hide_secrets("abfss://container@account.dfs.core.windows.net/x") == (
        "abfss://container@account.dfs.core.windows.net/x"
    )
    assert hide_secrets("write `key: value` lines, as key: 3") == "write `key: value` lines, as key: 3"


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA:SE/CR+ET@bucket/x",
        "s3://AKIA:SECRET@IVE@bucket/x",
        "cannot read s3://AKIA:SECRET word@bucket/x",
        "s3://SECRET@bucket/x",
        "abfss://c:SECRET@acc.dfs.core.windows.net/x",
        "jdbc:postgresql://u:SECRET@h/db",
        "Authorization: Basic SECRET==",
        "authorization=Bearer SECRET",
        "sent Bearer SECRET, refused",
        "fs.s3a.secret.key SECRET",
        "spark.hadoop.fs.azure.account.key.acc.dfs.core.windows.net SECRET",
        "--db-password SECRET",
        "pwd=SECRET",
        'x {"password": "a SECRET word"}',
        "password='a SECRET word'",
        "fs.azure.sas.token=SECRET",
        "SharedAccessSignature=SECRET",
        "https://a.blob.core.windows.net/c?sv=1&sig=SECRET%3D&se=2",
        f"dapi{'0123456789abcdef' * 2}",
        "-----BEGIN RSA PRIVATE KEY-----\nSECRET\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_every_kind_of_secret_is_hidden(text: str) -> None:
    hidden = hide_secrets(text)
    assert "***" in hidden
    assert not [word for word in ("SECRET", "SE/", "CR+ET", "IVE", "word@", "0123456789abcdef") if word in hidden]


@pytest.mark.parametrize(
    "text",
    [
        "abfss://c@acc.dfs.core.windows.net/x and wasbs://c@acc.blob.core.windows.net/y",
        "http://localhost:8080/@user/a@b",
        "sc://host:15002: not there; ask me@example.org",
        "s3://bucket: no such bucket; ask me@example.org",
        "https://en.wikipedia.org/wiki/User:A@b",
        "tokenizer: icu; there are no credentials: set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION",
        "the secret key is missing",
    ],
)
def test_what_is_no_secret_is_left(text: str) -> None:
    assert hide_secrets(text) == text


def test_what_a_setting_holds_is_known_wherever_it_stands() -> None:
    known = secrets_in("s3://AKIA:pass%2Fword here@b/x", "sc://h/;token=abcdefgh", "how to use bearer tokens", "tokens")
    text = "logged in as AKIA with pass/word here, abcdefgh; other tokens"
    assert hide_secrets(text, known) == "logged in as AKIA with ***, ***; other tokens"


def test_nobody_waits_for_a_store_for_minutes() -> None:
    release = threading.Event()
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"no answer from the store within 0 s") as found:
        in_time("s3://key:secret@bucket", release.wait, 0.1)
    release.set()
    assert time.monotonic() - begun < 5
    assert "secret" not in str(found.value)
    assert in_time("s3://b", lambda: 7) == 7
    with pytest.raises(KeyError):
        in_time("s3://b", lambda: {}["x"])


def test_a_command_ends_with_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: Settings) -> dict[str, object]:
        raise RuntimeError("first line\nNoAuthWithAWSException: token=abc\n\tat org.Frame")

    assert command.run_command(run, Settings, "job", "A job.", []) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "abc" not in said
    assert "Traceback" not in said


GONE = """An error occurred while calling o81.getResult.
: org.apache.spark.SparkException: Exception thrown in awaitResult:
\tat org.apache.spark.util.SparkThreadUtils$.awaitResult(SparkThreadUtils.scala:70)
Caused by: org.apache.spark.SparkException: [FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file \
file:///lake/ratings/part-00000-0.c000.snappy.parquet. File does not exist. It is possible the underlying files \
have been updated. SQLSTATE: KD001
"""


def test_files_that_spark_does_not_find_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Nothing(Settings):
        """None."""

    def fail(_: Nothing) -> command.Summary:
        raise RuntimeError(GONE)

    assert command.run_command(fail, Nothing, "lfm", "Train.", []) == 2
    said = capsys.readouterr().err
    assert said.startswith("lfm: error: /lake/ratings: files of the version to be read are gone (VACUUM")
    assert said.endswith("run again the job that writes it\n")
    assert files_gone_problem(RuntimeError("FileNotFoundError: x.parquet")) == ""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///a/b%20c.parquet. SQLSTATE: KD001",
            "/a/b c.parquet: cannot be read: it is damaged; fetch it or write it again",
        ),
        (
            "[FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH] Encountered error while reading file "
            "file:/a.parquet. Data type mismatches when reading Parquet column [user]. Expected Spark type bigint, "
            "actual Parquet type DOUBLE. SQLSTATE: KD001",
            "/a.parquet: its column user is double, in the other files it is bigint: ",
        ),
        (
            "[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file s3a://u:p@b/c.parquet. File does "
            "not exist. It is possible the underlying files have been updated.",
            "s3a://***@b/c.parquet: is not there any more",
        ),
        ("[OTHER] file:/a/b", ""),
    ],
)
def test_a_file_that_spark_cannot_read_is_named(said: str, told: str) -> None:
    outer = RuntimeError("job aborted")
    outer.__cause__ = RuntimeError(f"{said}\n\tat org.apache.Frame")
    assert damaged_file(outer).startswith(told)
    assert bool(damaged_file(outer)) == bool(told)
    assert "\n" not in damaged_file(outer)


@dataclass(frozen=True)
class Where(Settings):
    lake: str = flag("", "where")


def tell(error: Exception | None) -> Callable[[Where], dict[str, object]]:
    def run(args: Where) -> dict[str, object]:
        print(f"the table is {args.lake}/x")
        print(f"a warning about {args.lake}", file=sys.stderr)
        if error is not None:
            raise error
        return {"out": f"{args.lake}/x", "address": "https://page/?token=ofsomeone"}

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (UserError("s3://AKIA:hidden@b/lake: not there"), 2),
        (UserError("key hidden refused"), 2),
        (UserError("https://x/?token=hidden: not there"), 2),
        (RuntimeError("token=hidden"), 1),
        (RuntimeError("lakerank.cli.errors.UserError: s3://AKIA:hidden@b"), 2),
    ],
)
def test_a_command_prints_no_secret(
    error: Exception | None, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_require_stores", lambda _: None)  # there is no such store
    argv = ["--lake", "s3://AKIA:hidden@b/lake", "--json"]
    assert command.run_command(tell(error), Where, "job", "A job.", argv) == code
    said = capsys.readouterr()
    assert "hidden" not in said.out + said.err
    assert "the table is s3://***@b/lake/x\n" in said.out
    if not code:
        assert json.loads(said.out.splitlines()[-1]) == {
            "job": "job", "out": "s3://***@b/lake/x", "address": "https://page/?token=ofsomeone"
        }  # fmt: skip


@pytest.mark.parametrize("argv", [["--lak", "s3://AKIA:hidden@b"], ["--remot", "sc://h/;token=hidden"], ["hidden:x=y"]])
def test_a_mistyped_flag_prints_no_secret(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run_command(tell(None), Where, "job", "A job.", argv) == 2
    said = capsys.readouterr()
    assert "unrecognized arguments" in said.err
    assert ("hidden" in said.err) == (len(argv) == 1)

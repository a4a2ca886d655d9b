"""Stores without credentials, and what a message about them must not say."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

from lakerank.cli import command
from lakerank.cli.errors import UserError, files_gone_problem
from lakerank.cli.settings import Settings
from lakerank.cli.stores import damaged_file, hide_secrets, in_time, store_problem


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

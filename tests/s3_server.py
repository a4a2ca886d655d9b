"""moto's S3 server on loopback, in a process of its own: what a lake in object storage is tried on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

BUCKET = "lakes"


@contextmanager
def s3_server(log: Path) -> Iterator[dict[str, str]]:
    """Start a server with an empty bucket; gives the variables by which all clients find it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            try:
                urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        variables = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        make_bucket(variables, BUCKET)
        yield variables
    finally:
        process.terminate()
        process.wait(timeout=30)


def make_bucket(variables: dict[str, str], name: str) -> None:
    import boto3  # what moto comes with

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=variables["AWS_ENDPOINT_URL"], **keys).create_bucket(Bucket=name)


def clean_environment() -> dict[str, str]:
    """The environment without anything about S3."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}

"""An S3 server for the tests of this folder, and a place of its own for each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, s3_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables by which all clients find the server."""
    pytest.importorskip("moto", reason="the S3 server of these tests is moto's")
    with s3_server(tmp_path_factory.mktemp("s3") / "moto.log") as variables:
        yield variables


@pytest.fixture
def s3(server: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty place in the store."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAKERANK_CACHE", str(tmp_path / "cache"))
    return f"s3a://{BUCKET}/{uuid.uuid4().hex}"

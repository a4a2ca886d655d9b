"""Spark Connect servers of our own: several on one machine, each found by its own client."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REMOTE, SHORT_RUNS
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.spark.connect import FIRST_PORT, PORTS, chosen_remote, free_port, require_master, require_server


def test_a_port_somebody_listens_on_is_passed_over() -> None:
    start = free_port(os.getpid()) - FIRST_PORT
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", FIRST_PORT + start))
        taken.listen()
        other = free_port(start)
    assert other != FIRST_PORT + start
    assert FIRST_PORT <= other < FIRST_PORT + PORTS


def test_no_port_left_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Taken(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError("in use")

    monkeypatch.setattr(socket, "socket", Taken)
    with pytest.raises(UserError, match="no port from 15002"):
        free_port(0)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without traces of the run that tests this."""
    for name in ("MASTER", "SPARK_REMOTE", "PYSPARK_REMOTE_INIT_CONF_LEN", "grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_jobs_flag_wins_over_what_spark_submit_says(launched: pytest.MonkeyPatch) -> None:
    assert chosen_remote("") == ""
    launched.setenv("PYSPARK_REMOTE_INIT_CONF_LEN", "2")
    launched.setenv("PYSPARK_REMOTE_INIT_CONF_0", '{"spark.app.name": "x"}')
    launched.setenv("PYSPARK_REMOTE_INIT_CONF_1", '{"spark.remote": "sc://submitted"}')
    assert chosen_remote("") == "sc://submitted"
    launched.setenv("MASTER", "local[*]")
    assert chosen_remote("sc://flag") == "sc://flag"
    assert "MASTER" not in os.environ  # pyspark refuses to have both


def test_a_server_that_is_not_there_is_the_users_error_at_once(launched: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no Spark Connect server answers at 127\.0\.0\.1:1 ") as caught:
        require_server("sc://127.0.0.1:1/;token=secret")
    assert "secret" not in str(caught.value)
    with pytest.raises(UserError, match="must be sc://HOST"):
        require_server("https://somewhere")
    launched.setenv("https_proxy", "http://proxy:3128")
    assert require_server("sc://127.0.0.1:1") == "127.0.0.1:1"


def test_a_server_that_listens_is_found(launched: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert require_server(f"sc://127.0.0.1:{port}") == f"127.0.0.1:{port}"


@pytest.mark.connect
@pytest.mark.skipif(not REMOTE, reason="this run is on classic Spark")
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="/proc/net/tcp lists listening ports on Linux only")
def test_the_server_listens_to_this_machine_only(spark: SparkSession) -> None:
    from pyspark.sql.connect.client import DefaultChannelBuilder

    port = DefaultChannelBuilder("sc://localhost").endpoint.rpartition(":")[2]
    listening = Path("/proc/net/tcp6").read_text() + Path("/proc/net/tcp").read_text()
    address = re.findall(rf"\s([0-9A-F]+):{int(port):04X}\s\S+\s0A\s", listening)
    assert address in (["0100007F"], ["0000000000000000FFFF00000100007F"])


HOLD = """
import sys
from lakerank.spark.session import session
with session("probe", remote="local[1]") as spark:
    print(spark.range(3).count(), flush=True)
    sys.stdin.read()  # the server stays until both have answered
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(REMOTE), reason="starts servers of its own")
def test_two_processes_have_a_server_each() -> None:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYSPARK_", "SPARK_"))}
    plain["PYSPARK_SUBMIT_ARGS"] = SHORT_RUNS
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    both = [subprocess.Popen([sys.executable, "-c", HOLD], env=plain, text=True, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["3\n", "3\n"]
    for process in both:
        process.communicate("")
        assert process.returncode == 0


@pytest.mark.parametrize(
    "address",
    [
        "sc://host:abc",
        "sc://host:15002;token=secret",
        "sc://",
        "http://x",
        "sc://[::1",
        "sc://host:99999999",
        "sc://host:0",
    ],
)
def test_a_malformed_address_is_one_sentence(address: str) -> None:
    with pytest.raises(UserError, match=r"^--remote must be sc://HOST or sc://HOST:PORT") as found:
        require_server(address)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize(
    "master", ["foo", "local[x]", "local[]", "spark://host", "spark://host:abc", "sc://h:1", "local[2"]
)
def test_masters_that_spark_does_not_have(master: str) -> None:
    with pytest.raises(UserError, match=r"^--master"):
        require_master(master)


def test_masters_that_spark_has() -> None:
    for master in (
        "local",
        "local[*]",
        "local[2]",
        "local[*, 3]",
        "yarn",
        "k8s://https://h:443",
        "local-cluster[1,1,1024]",
    ):
        require_master(master)
    with pytest.raises(UserError, match=r"no Spark master answers \(127\.0\.0\.1:1: "):
        require_master("spark://127.0.0.1:1")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        require_master(f"spark://127.0.0.1:1,127.0.0.1:{server.getsockname()[1]}")

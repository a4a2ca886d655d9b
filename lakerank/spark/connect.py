"""Spark Connect: which server is meant, whether it answers, and a server of our own for `--remote local[2]`.

pyspark 4.2 starts the latter on port 15002 whatever else runs there, and its client looks for it only there. So a
second job on the same machine would die with a BindException. Here each process takes a port of its own.
"""

from __future__ import annotations

import json
import os
import re
import socket
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.stores import hide_secrets

FIRST_PORT = 15002  # pyspark's own; the 512 from here lie below the ports Linux gives to outgoing connections
PORTS = 512
# Only this machine may connect; pyspark's default is every network the machine is in.
_ADDRESS = "127.0.0.1"
_PATIENCE_SECONDS = 10.0


def chosen_remote(flag: str) -> str:
    """Return the address in the job's own `--remote`, else in `spark-submit --remote …`, else empty.

    spark-submit always names a master in the environment, `local[*]` if nobody did; the job's flag wins over it.
    """
    if flag:
        os.environ.pop("MASTER", None)
        return flag
    for number in range(int(os.environ.get("PYSPARK_REMOTE_INIT_CONF_LEN", "0"))):
        conf = json.loads(os.environ.get(f"PYSPARK_REMOTE_INIT_CONF_{number}", "{}"))
        if "spark.remote" in conf:
            return str(conf["spark.remote"])
    return os.environ.get("SPARK_REMOTE", "")


def require_server(remote: str) -> str:
    """Knock at a server before pyspark does, which tries for minutes to reach one that is not there.

    Returns:
        `host:port`, which is fit for messages: an address may hold a token.

    Raises:
        UserError: the address is malformed, or nobody listens there.
    """
    try:
        endpoint: str = _channel_builder()(remote).endpoint
        host, _, port = endpoint.rpartition(":")
        number = int(port)
    except (PySparkException, ValueError) as error:  # the second: of `urlparse`, or a port that is no number
        told = hide_secrets(" ".join(str(error).split()))[:200]
        raise UserError(f"--remote must be sc://HOST or sc://HOST:PORT ({told})") from error
    if not host or not 0 < number < 1 << 16:
        raise UserError(f"--remote must be sc://HOST or sc://HOST:PORT, with a port from 1 to 65535, not {number}")
    if any(os.environ.get(name) for name in ("grpc_proxy", "https_proxy", "http_proxy")):
        return endpoint  # the way there leads through a proxy, which we cannot knock at
    try:
        socket.create_connection((host.strip("[]"), number), _PATIENCE_SECONDS).close()
    except (OSError, UnicodeError) as error:  # the second: a host that no name can be
        raise UserError(f"--remote: no Spark Connect server answers at {endpoint} ({error})") from error
    return endpoint


_MASTERS = re.compile(
    r"local(\[(\d+|\*)(\s*,\s*\d+)?\])?|local-cluster\[\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\]|yarn|k8s://\S+|"
    r"spark://[^\s:,]+:\d+(,[^\s:,]+:\d+)*"
)


def require_master(master: str) -> None:
    """Check a `--master` before Java is started for it; of a standalone cluster one master must answer.

    Raises:
        UserError: Spark has no such master, or none answers.
    """
    if not _MASTERS.fullmatch(master):
        raise UserError(f"--master {master!r}: write local[2], spark://HOST:PORT, yarn or k8s://…")
    if not master.startswith("spark://"):
        return
    problems = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), _PATIENCE_SECONDS).close()
        except (OSError, OverflowError, UnicodeError) as error:
            problems.append(f"{address}: {error}")
        else:
            return
    raise UserError(f"--master: no Spark master answers ({'; '.join(problems)})")


def _channel_builder() -> Any:
    """Return pyspark's class that turns an address into a connection.

    Raises:
        UserError: the Spark Connect client is not installed.
    """
    try:
        from pyspark.sql.connect.client.core import DefaultChannelBuilder
    except ImportError as error:
        raise UserError(f"--remote needs the Spark Connect client: pip install lakerank[connect] ({error})") from error
    return DefaultChannelBuilder


def free_port(start: int) -> int:
    """Find a port nobody listens on: the first of `PORTS` from `FIRST_PORT` on, beginning with the `start`-th.

    Raises:
        UserError: all are taken.
    """
    for step in range(PORTS):
        port = FIRST_PORT + (start + step) % PORTS
        with socket.socket() as probe:
            # As servers do: a port whose last connection is still fading away is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_ADDRESS, port))
            except OSError:
                continue
        return port
    raise UserError(f"no port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free for a Spark Connect server")


def on_own_port(builder: SparkSession.Builder) -> SparkSession.Builder:
    """Return the builder of a `remote("local…")` session, set up so that server and client meet on a free port.

    Raises:
        UserError: the Spark Connect client is not installed, or no port is free.
    """
    channel = _channel_builder()
    port = free_port(os.getpid())  # neighbours in time begin at different ports
    # The client has no setting for it: pyspark connects to "sc://localhost" and asks here for the port.
    channel.default_port = staticmethod(lambda: port)
    return builder.config("spark.connect.grpc.binding.port", str(port)).config(
        "spark.connect.grpc.binding.address", _ADDRESS
    )

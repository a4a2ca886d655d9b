"""A Spark Connect server of our own, `--remote local[2]`: for tests, and for trying a job before it goes serverless.

pyspark 4.2 starts it on port 15002 whatever else runs there, and its client looks for it only there. So a second
job on the same machine would die with a BindException. Here each process takes a port of its own.
"""

from __future__ import annotations

import os
import socket

from pyspark.sql import SparkSession

from spark_jobs.lake.errors import UserError

FIRST_PORT = 15002  # pyspark's own; the 512 from here lie below the ports Linux gives to outgoing connections
PORTS = 512
# Only this machine may connect; pyspark's default is every network the machine is in.
_ADDRESS = "127.0.0.1"


def free_port(start: int) -> int:
    """A port nobody listens on: the first of `PORTS` from `FIRST_PORT` on, looked for from the `start`-th round.

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
    """The builder of a `remote("local…")` session, set up so that server and client meet on a free port.

    Raises:
        UserError: the Spark Connect client is not installed, or no port is free.
    """
    try:
        from pyspark.sql.connect.client.core import DefaultChannelBuilder
    except ImportError as error:
        raise UserError(f"--remote needs the Spark Connect client: pip install lakerank[connect] ({error})") from error
    port = free_port(os.getpid())  # neighbours in time begin at different ports
    # The client has no setting for it: pyspark connects to "sc://localhost" and asks here for the port.
    DefaultChannelBuilder.default_port = staticmethod(lambda: port)  # type: ignore[method-assign]
    return builder.config("spark.connect.grpc.binding.port", str(port)).config(
        "spark.connect.grpc.binding.address", _ADDRESS
    )

"""Listening, and answering until somebody ends it."""

from __future__ import annotations

import signal
import socket

import uvicorn
from starlette.types import ASGIApp

from lakerank.cli.errors import UserError

_LAST_ANSWERS = 5  # seconds for requests under way when it is ended


def bind(host: str, port: int) -> socket.socket:
    """A socket with an address, on which nobody is listening yet.

    Raises:
        UserError: the port is taken or not allowed, or the machine has no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen on {host}, port {port} ({reason}): choose another --port or --host") from error
    return bound


def address_of(bound: socket.socket) -> str:
    """What to type into a browser."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def answer(app: ASGIApp, bound: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM; those under way are finished first. Runs in the main thread."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn passes both on when it has finished
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # nobody's queries are written down
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
    try:
        uvicorn.Server(settings).run(sockets=[bound])
    except KeyboardInterrupt:
        return

"""Serve a lake's search page and recommendations: listen, answer until somebody ends it, take up new versions."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import GetSpark
from lakerank.lake.schemas import INDEX
from lakerank.webapp.app import create_app
from lakerank.webapp.recommend_api import NewestModel, recommend_routes, recommender_app
from lakerank.webapp.store import NewestSite, describe_memory, has_published

_LAST_ANSWERS = 5  # seconds for requests under way when it is ended
WAITED_FOR_REQUEST = 10.0  # seconds a connection may stay open without a whole request


def serve(
    lake: str,
    host: str,
    port: int,
    allowed_hosts: Sequence[str],
    links: str,
    refresh: float,
    cache_dir: str,
    get_spark: GetSpark,
    model: str = "",
    rules: str = "",
) -> dict[str, Any]:
    """Serve the search page of a lake until Ctrl-C or SIGTERM; prints its address when it answers.

    Args:
        lake, links, cache_dir, get_spark: as for `NewestSite`.
        host, port: as for `bind`.
        allowed_hosts: host names it answers to besides `host` and those of the own machine.
        refresh: seconds between looks for a new version of the index and of the model; 0: never.
        model, rules: as for `NewestModel.find`.

    Returns:
        `address`, `pages`, `users` and `seconds`.

    Raises:
        UserError: there is neither an index nor a model, or the address cannot be listened on.
    """
    started = time.monotonic()
    over = threading.Event()
    with closing(bind(host, port)) as bound:  # first: a taken port is said at once
        recommender = NewestModel.find(lake, model, rules, cache_dir, get_spark)
        newest = _newest_site(lake, links, cache_dir, get_spark, needed=recommender is None)
        app = _app(newest, recommender, [host, *allowed_hosts])
        bound.listen()  # whoever reads the address may call at once
        address = address_of(bound)
        shown = [f"shows {describe_memory(len(newest.site))}"] if newest else []
        users = 0 if recommender is None else len(recommender.model)
        shown += [f"recommends to {users:,} users"] if recommender else []
        print(f"serve: {address} {' and '.join(shown)}; Ctrl-C ends it", flush=True)
        try:
            watchers = [one.watch for one in (newest, recommender) if one is not None and refresh]
            for watch in watchers:
                threading.Thread(target=watch, args=(refresh, over), daemon=True).start()
            answer(app, bound)
        finally:
            over.set()
    print("serve: ended", flush=True)
    pages = 0 if newest is None else len(newest.site)
    return {"address": address, "pages": pages, "users": users, "seconds": round(time.monotonic() - started, 3)}


def _newest_site(lake: str, links: str, cache_dir: str, get_spark: GetSpark, needed: bool) -> NewestSite | None:
    """Open the index; None if there is none and something else is there to serve."""
    if not needed and not has_published(lake, INDEX, get_spark):
        return None
    return NewestSite(lake, links, cache_dir, get_spark)


def _app(newest: NewestSite | None, recommender: NewestModel | None, hosts: Sequence[str]) -> ASGIApp:
    if recommender is None:
        assert newest is not None
        return create_app(lambda: newest.site, hosts)
    if newest is None:
        return recommender_app(lambda: recommender.model, hosts)
    return create_app(lambda: newest.site, hosts, recommend_routes(lambda: recommender.model))


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket to an address, on which nobody is listening yet.

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
    """Return the address to type into a browser."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class ImpatientProtocol(H11Protocol):
    """HTTP for a connection that ends if no whole request comes in time, or nobody fetches the answer.

    uvicorn's own time-out begins after the first answer and ends with the next byte, so that a connection which sends
    nothing, or one byte a minute, would stay for ever, as would one that asks hundreds of times and reads no answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._asked = self.loop.time()
        self._unread_since: float | None = None
        self._watch = self.loop.call_later(WAITED_FOR_REQUEST, self._end_if_idle)

    def pause_writing(self) -> None:
        """Note since when the answers are not fetched."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that they are."""
        self._unread_since = None
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._asked = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._watch.cancel()
        super().connection_lost(exc)

    def _end_if_idle(self) -> None:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        waits_since = self._asked if self._unread_since is None else self._unread_since
        left = waits_since + WAITED_FOR_REQUEST - self.loop.time()
        if is_answering and self._unread_since is None:  # it is us for whom the other side waits
            left = WAITED_FOR_REQUEST
        if left > 0:
            self._watch = self.loop.call_later(left, self._end_if_idle)
        else:
            self.transport.abort()  # not `close`, which would wait for who does not read


def answer(app: ASGIApp, bound: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM; those under way are finished first. Runs in the main thread."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn passes both on when it has finished
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # nobody's queries are written down
        server_header=False,
        proxy_headers=False,
        http=ImpatientProtocol,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
    try:
        uvicorn.Server(settings).run(sockets=[bound])
    except KeyboardInterrupt:
        return

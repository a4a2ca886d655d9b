"""Around the application: which names it answers to, and headers that forbid what the page does not need."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
# One script, our own file, which asks this server alone; no frames, nothing from elsewhere. Markup that found its way
# onto a page could do nothing: no script may stand in a page, and none may make markup of text.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # or every page that is followed would learn the query
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Refuses requests to other names, and adds the headers to every response, errors included.

    A browser that was led here through a foreign name (DNS rebinding) sends that name; it gets nothing.

    Args:
        app: the application.
        allowed_hosts: host names and addresses besides the local ones, without ports.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str] = ()) -> None:
        self.app = app
        self.names = {_plain(name) for name in (*LOCAL_NAMES, *allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        asked = Headers(scope=scope).getlist("host")
        if len(asked) == 1 and host_of(asked[0]) in self.names:
            await self.app(scope, receive, guarded)
            return
        refusal = PlainTextResponse(
            "This server does not answer to that name. Start it with --allowed-hosts NAME.\n", 400
        )
        await refusal(scope, receive, guarded)


def host_of(header: str) -> str:
    """Return the name in a Host header: without port, without the brackets of IPv6, in small letters."""
    if header.startswith("["):
        return _plain(header[1:].partition("]")[0])
    return _plain(header.partition(":")[0])


def _plain(name: str) -> str:
    name = name.strip().strip("[]").rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name

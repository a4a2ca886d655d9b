"""The application: a search box, results, a view of each page, and the same answers as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lakerank.lake.schemas import whole_id
from lakerank.webapp.limits import Guard
from lakerank.webapp.render import Renderer
from lakerank.webapp.site import Site
from lakerank.webapp.view_model import SEARCH_SCHEMA, as_json

LONGEST_QUERY = 500  # characters
LAST_PAGE = 100  # of results
MOST_RESULTS = 100  # on one page of the JSON answer
TOP = 10
SUGGESTIONS = 8
_PLAIN = {
    404: ("Not found", "There is no such page here."),
    405: ("Not allowed", "This address can only be read."),
}


def create_app(current: Callable[[], Site], allowed_hosts: Collection[str] = (), more: Sequence[Route] = ()) -> ASGIApp:
    """Create the search page as an ASGI application.

    Args:
        current: the version of the index to answer from; asked once for each request, so that a new version can take
            the place of an old one between two of them.
        allowed_hosts: host names it answers to besides those of the own machine.
        more: further routes (`recommend_api.recommend_routes`).
    """
    pages = _Pages(current, Renderer())
    app = Starlette(
        routes=[
            Route("/", pages.search),
            Route("/page/{page_id}", pages.page),
            Route("/page/{page_id}/text", pages.text),
            Route("/suggest", pages.suggest),
            Route("/opensearch.xml", pages.opensearch),
            Route("/api", pages.api),
            Route("/api/schema.json", pages.api_schema),
            Route("/api/search", pages.api_search),
            *more,
            Route("/healthz", pages.health),
            Route("/{name}", pages.file),
        ],
        exception_handlers={HTTPException: pages.problem, Exception: pages.failure},
    )
    return Guard(app, allowed_hosts)


class _Pages:
    """The views. They are plain functions, so Starlette runs each request in a thread of its own."""

    def __init__(self, current: Callable[[], Site], render: Renderer) -> None:
        self.current = current
        self.render = render

    def search(self, request: Request) -> Response:
        site, query = self.current(), _query(request)
        if not query:
            return HTMLResponse(self.render("home", query="", size=len(site), site=site))
        page = _whole(request, "page", 1, LAST_PAGE)
        answer = site.engine.search(query, TOP, page, reasons=True, count=True)
        return HTMLResponse(
            self.render("results", query=query, size=len(site), page=page, answer=answer, site=site, last=LAST_PAGE)
        )

    def page(self, request: Request) -> Response:
        site, asked, query = self.current(), request.path_params["page_id"], _query(request)
        page_id = whole_id(asked)
        view = None if page_id is None else site.view(page_id)
        if view is None:
            raise HTTPException(404, "The index has no page with this number. It may have been removed since.")
        return HTMLResponse(self.render("page", query=query, size=len(site), seen=view))

    def text(self, request: Request) -> Response:
        """Show the whole text of a page as it was indexed."""
        site, asked, query = self.current(), request.path_params["page_id"], _query(request)
        page_id = whole_id(asked)
        found = None if page_id is None else site.text(page_id, query)
        if found is None:
            raise HTTPException(404, "The index has no page with this number. It may have been removed since.")
        page, text, fetched = found
        return HTMLResponse(self.render("text", query=query, size=len(site), page=page, text=text, fetched=fetched))

    def suggest(self, request: Request) -> Response:
        """Complete what is typed; the form is that of browsers' search boxes (OpenSearch suggestions)."""
        typed = request.query_params.get("q", "")[:LONGEST_QUERY].lstrip()
        found = self.current().suggester.suggest(typed, SUGGESTIONS)
        return JSONResponse([typed, found], media_type="application/x-suggestions+json")

    def opensearch(self, request: Request) -> Response:
        """Describe the search to browsers, which can then offer it in their own boxes."""
        address = str(request.base_url)
        return Response(self.render.description(address), media_type="application/opensearchdescription+xml")

    def api(self, request: Request) -> Response:
        """Describe the JSON answers for people."""
        site = self.current()
        return HTMLResponse(self.render("api", query="", size=len(site), site=site, schema=SEARCH_SCHEMA))

    def api_schema(self, request: Request) -> Response:
        """Describe the JSON answers for programs."""
        return JSONResponse(SEARCH_SCHEMA, media_type="application/schema+json")

    def api_search(self, request: Request) -> Response:
        site = self.current()
        try:
            query, page = _query(request), _whole(request, "page", 1, LAST_PAGE)
            top = _whole(request, "top", TOP, MOST_RESULTS)
            if not query:
                raise HTTPException(400, "Say what to look for: q=WORDS.")
        except HTTPException as error:
            return JSONResponse({"error": error.detail}, error.status_code)
        explain = request.query_params.get("explain", "0") not in ("", "0", "false")
        answer = site.engine.search(query, top, page, reasons=explain, count=True)
        return JSONResponse(as_json(query, page, answer, site.engine.index))

    def health(self, request: Request) -> Response:
        site = self.current()
        return JSONResponse({"status": "ok", "pages": len(site), "version": site.version})

    def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.render.files:
            raise HTTPException(404)
        content, media_type = self.render.files[name]
        # The pages ask with the content's hash in the address, so it never changes.
        return Response(content, media_type=media_type, headers={"Cache-Control": "public, max-age=31536000"})

    def problem(self, request: Request, error: Exception) -> Response:
        """Answer a request that is wrong, saying why."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        title, sentence = _PLAIN.get(status, ("That did not work", "The request cannot be answered."))
        given = str(getattr(error, "detail", ""))
        detail = given if given.endswith(".") else sentence
        query = request.query_params.get("q", "")[:LONGEST_QUERY]
        return self._said(status, title, detail, query, getattr(error, "headers", None))

    def failure(self, request: Request, error: Exception) -> Response:
        """Answer after a mistake of ours; the server's log has the trace, the reader gets none of it."""
        query = request.query_params.get("q", "")[:LONGEST_QUERY]
        return self._said(500, "Something went wrong", "The search page made a mistake; its log says which.", query)

    def _said(self, status: int, title: str, detail: str, query: str, headers: Any = None) -> Response:
        return HTMLResponse(self.render("problem", query=query, title=title, detail=detail), status, headers)


def _query(request: Request) -> str:
    query = request.query_params.get("q", "").strip()
    if len(query) > LONGEST_QUERY:
        raise HTTPException(400, f"A query may have {LONGEST_QUERY} characters; this one has {len(query):,}.")
    return query


def _whole(request: Request, name: str, otherwise: int, most: int) -> int:
    given = request.query_params.get(name, "")
    if not given:
        return otherwise
    if not re.fullmatch(r"[0-9]{1,6}", given) or not 1 <= int(given) <= most:
        raise HTTPException(400, f"`{name}` must be a whole number from 1 to {most}.")
    return int(given)

"""Recommendations as JSON, `/api/recommend/USER`: the newest version of a model, opened again when it changes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lakerank.cli.errors import UserError
from lakerank.cli.extras import require
from lakerank.lake.delta_arrow import GetSpark
from lakerank.search.query.store import cache_folder
from lakerank.webapp.limits import Guard
from lakerank.webapp.newest import Newest
from lakerank.webapp.store import has_published

if TYPE_CHECKING:  # a lake without a recommender is served where pyspark is not installed
    from lakerank.recommend.serving.model import Recommended, ServedModel

TOP, MOST_ITEMS = 10, 100  # items of an answer
LONGEST_ID = 500  # characters
MOST_EXCLUDED = 1000  # ids in one address
NO_MODEL = "none"


class NewestModel(Newest):
    """The newest version of a recommender that could be opened; `model` is replaced as a whole.

    Args:
        lake: where the tables are.
        name: of the model.
        rules: table or file of rules (`rules.read_rules`), read again with each version; empty: none.
        cache_dir: folder for arrays; empty: the usual one.
        get_spark: gives a session for tables of a catalog.

    Raises:
        UserError: the model or the rules cannot be read.
    """

    def __init__(self, lake: str, name: str, rules: str, cache_dir: str, get_spark: GetSpark) -> None:
        self._lake, self._name, self._rules, self._get_spark = lake, name, rules, get_spark
        self._cache_dir = f"{cache_folder(lake, cache_dir)}/recommenders"
        self._serving = require("lakerank.recommend.serving.store", extra="spark")
        super().__init__(f"`{name}`")
        found = self._serving.PublishedModel.find(lake, name, get_spark)
        if found is None:
            raise UserError(f"{lake} has no model `{name}`: run {name} first")
        self._key = found.key
        self.model: ServedModel = self._opened(found)

    @classmethod
    def find(cls, lake: str, name: str, rules: str, cache_dir: str, get_spark: GetSpark) -> NewestModel | None:
        """Return the newest version of a model; None if the lake has none, or no model is wanted.

        Args:
            lake, rules, cache_dir, get_spark: see the class.
            name: of the model; empty: `lfm`, if the lake has it; `NO_MODEL`: none.

        Raises:
            UserError: see the class.
        """
        if name == NO_MODEL:
            return None
        if not name and not has_published(lake, "lfm", get_spark):
            if rules:
                raise UserError(f"--rules {rules}: {lake} has no model `lfm` to serve: run lfm, or give --model")
            return None
        try:
            return cls(lake, name or "lfm", rules, cache_dir, get_spark)
        except UserError as error:
            if name or rules:
                raise
            print(f"serve: no recommendations are served: {error}", flush=True)
            return None

    def _opened(self, found: Any) -> ServedModel:
        model: ServedModel = found.mapped(self._cache_dir)
        if self._rules:
            from lakerank.recommend.models.rules import read_rules

            model = model.within(f"--rules {self._rules}", read_rules("--rules", self._rules, self._get_spark))
        if len(model):  # kernels are compiled before the first reader comes
            model.recommend(model.users[0].as_py(), TOP, np.empty(0, np.int64), explain=True)
        return model

    def _take_up(self) -> str:
        found = self._serving.PublishedModel.find(self._lake, self._name, self._get_spark)
        if found is None or found.key == self._key:
            return ""
        self.model, self._key = self._opened(found), found.key
        return f"version {self.model.number} of `{self._name}`, {len(self.model):,} users"


def recommend_routes(current: Callable[[], ServedModel]) -> list[Route]:
    """Return the routes of recommendations.

    Args:
        current: the version to answer from; asked once for each request.
    """

    def recommend(request: Request) -> Response:
        try:
            return JSONResponse(_answer(current(), request))
        except HTTPException as error:
            return JSONResponse({"error": error.detail}, error.status_code)

    return [Route("/api/recommend/{user:path}", recommend)]


def recommender_app(current: Callable[[], ServedModel], allowed_hosts: Collection[str] = ()) -> ASGIApp:
    """Create the server of a lake that has a recommender and no index: recommendations alone, as JSON.

    Args:
        current: the version to answer from.
        allowed_hosts: see `app.create_app`.
    """

    def health(request: Request) -> Response:
        model = current()
        return JSONResponse({"status": "ok", "users": len(model), "model": model.name, "version": model.number})

    def problem(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        words = {404: "There is no such address here: ask /api/recommend/USER.", 405: "This address can only be read."}
        return JSONResponse({"error": words.get(status, "The server made a mistake; its log says which.")}, status)

    app = Starlette(
        routes=[*recommend_routes(current), Route("/healthz", health)],
        exception_handlers={HTTPException: problem, Exception: problem},
    )
    return Guard(app, allowed_hosts)


def _answer(model: ServedModel, request: Request) -> dict[str, Any]:
    begun = time.perf_counter()
    asked = request.query_params
    user, top = _id(model, request.path_params["user"]), _top(asked.get("top", ""))
    hidden = _hidden(model, asked.get("exclude", ""), asked.get("genre", ""))
    include_seen, explain = (asked.get(name, "0") not in ("", "0", "false") for name in ("include_seen", "explain"))
    known, best = model.recommend(user, top, hidden, include_seen, explain)
    return {
        "user": str(user),
        "known": known,
        "model": model.name,
        "run": model.run_id,
        "version": model.number,
        "items": [_item(model, rank, one, explain) for rank, one in enumerate(best, start=1)],
        "milliseconds": round((time.perf_counter() - begun) * 1000, 3),
    }


def _item(model: ServedModel, rank: int, one: Recommended, explain: bool) -> dict[str, Any]:
    shown = {"rank": rank, **_named(model, one.position), "score": one.score, "reason": one.reason}
    if explain:
        shown["reasons"] = [
            {"source": reason.source, "contribution": reason.value}
            | ({"because": _named(model, reason.because)} if reason.because >= 0 else {})
            for reason in one.summands
        ]
    return shown


def _named(model: ServedModel, position: int) -> dict[str, Any]:
    """Return an item's id, as text (it may have 64 bits, more than JavaScript's numbers), and what `items` says."""
    named: dict[str, Any] = {"item_id": str(model.items[position].as_py())}
    if model.catalogue is not None and model.catalogue["item_id"][position].is_valid:
        named |= {name: model.catalogue[name][position].as_py() for name in ("title", "year", "genres")}
    return named


def _id(model: ServedModel, text: str) -> Any:
    if not text or len(text) > LONGEST_ID:
        raise HTTPException(
            400, f"Say whose recommendations: /api/recommend/USER, an id of up to {LONGEST_ID} letters."
        )
    try:
        return model.user(text)
    except ValueError as error:
        raise HTTPException(400, "Ids of users are whole numbers here.") from error


def _top(given: str) -> int:
    if not given:
        return TOP
    if not re.fullmatch(r"[0-9]{1,6}", given) or not 1 <= int(given) <= MOST_ITEMS:
        raise HTTPException(400, f"`top` must be a whole number from 1 to {MOST_ITEMS}.")
    return int(given)


def _hidden(model: ServedModel, exclude: str, genre: str) -> Any:
    """Return the positions of the items that an address leaves out."""
    listed = [text.strip() for text in exclude.split(",") if text.strip()]
    if len(listed) > MOST_EXCLUDED:
        raise HTTPException(400, f"`exclude` takes up to {MOST_EXCLUDED:,} ids.")
    try:
        hidden = model.positions(listed)
        if genre:
            hidden = np.concatenate([hidden, model.without_genres(genre)])
    except ValueError as error:
        raise HTTPException(400, f"{error}.") from error
    return hidden

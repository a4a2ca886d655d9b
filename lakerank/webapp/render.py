"""The template of the pages, the one that describes the search to browsers, and the files beside them."""

from __future__ import annotations

import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lakerank.webapp import view_model

_STATIC = {
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "suggest.js": "text/javascript; charset=utf-8",
}


class Renderer:
    """Makes pages; safe to use from several threads.

    Attributes:
        files: name → content and media type of what the pages ask for besides themselves.
    """

    def __init__(self) -> None:
        loader = PackageLoader("lakerank.webapp")
        # Escaping is always on: the template's name does not end in .html, which is what Jinja's choice goes by.
        self._environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        filters = self._environment.filters
        filters["thousands"] = "{:,}".format
        filters["number"] = view_model.number_of
        filters["milliseconds"] = view_model.milliseconds
        filters["address"] = view_model.address
        filters["beginning"] = view_model.beginning
        self._environment.tests["linkable"] = view_model.linkable
        self.files = {
            name: (loader.get_source(self._environment, name)[0], media_type) for name, media_type in _STATIC.items()
        }
        whole = "".join(content for content, _ in self.files.values())
        self._stamp = hashlib.sha256(whole.encode()).hexdigest()[:12]
        self._template = self._environment.get_template("site.html.j2")
        self._description = self._environment.get_template("opensearch.xml.j2")

    def __call__(self, view: str, **values: Any) -> str:
        """Render a page: `home`, `results`, `page`, `text`, `api` or `problem`, and what it shows. All is escaped."""
        return self._template.render(
            view=view, stamp=self._stamp, reasons=view_model.reasons, facets=view_model.facets, **values
        )

    def description(self, address: str) -> str:
        """Render the OpenSearch description of a server at an address."""
        return self._description.render(address=address, stamp=self._stamp)

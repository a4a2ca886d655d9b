"""A search page that runs keeps the index it has when the newest one is damaged."""

from __future__ import annotations

from typing import Any

import pytest

from lakerank.cli.errors import UserError
from lakerank.search.index.segment import damaged_row
from lakerank.webapp import store
from lakerank.webapp.newest import Newest
from lakerank.webapp.store import NewestSite


class OpenSite(NewestSite):
    """Version 1, open, of an index whose version 2 is damaged."""

    def __init__(self) -> None:
        self._lake, self._cache_dir, self._get_spark = "lake", "", store.Publications
        Newest.__init__(self, "index")
        self._version, self.site = ("first", 1), "version 1"  # type: ignore[assignment]


def test_the_old_index_stays(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def damaged(*_: Any) -> None:
        raise damaged_row(7, "cedar")

    monkeypatch.setattr(store, "index_version", lambda *_: ("second", 2))
    monkeypatch.setattr(store, "open_index", damaged)
    site = OpenSite()
    for _ in range(2):
        site.refresh()
    assert site.site == "version 1"
    said = capsys.readouterr().err
    assert said.count("the old one stays: index_postings: the list of `cedar` in segment 7 has been damaged") == 1
    assert isinstance(damaged_row(7, ""), UserError)

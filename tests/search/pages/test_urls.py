"""Addresses by the WHATWG standard, and those of files."""

from __future__ import annotations

import json

import pytest
from conftest import SHARED

from lakerank.search.pages.urls import folder_of, link_address, of_file, page_address, parse

CASES = SHARED / "web" / "whatwg-urltestdata.json"


@pytest.mark.skipif(not CASES.exists(), reason=f"no WHATWG cases at {CASES}")
def test_every_whatwg_case() -> None:
    cases = [case for case in json.loads(CASES.read_text(encoding="utf-8")) if isinstance(case, dict)]
    wanted = [None if case.get("failure") else case["href"] for case in cases]
    assert [parse(case["input"], case.get("base")) for case in cases] == wanted
    assert len(cases) == 891


def test_pages_are_known_without_fragment() -> None:
    assert page_address("HTTP://Otter.org:80/a/../b?q#f") == "http://otter.org/b?q"
    assert page_address("mailto:a@b.c") is page_address("//x") is page_address("ftp://x/") is None


def test_links_by_folder_and_by_page() -> None:
    for base in ("https://o.org/d/p.html?q=1", "https://o.org/d/p.html", "https://o.org/e/p.html"):
        for href in ("x.html", "../y", "?z", "", "#f", "/r", "//s.org/", " t ", "a?b/c", "https:u"):
            assert link_address(href, base, folder_of(base)) == page_address(href, base), (base, href)


def test_names_of_files_are_encoded() -> None:
    base = "https://o.org/d/"
    assert of_file("a b/_c#?%41.html", base) == "https://o.org/d/a%20b/_c%23%3F%2541.html"
    assert of_file("x:y.html", base) == "https://o.org/d/x:y.html"
    assert of_file("ü/index.html", base) == "https://o.org/d/%C3%BC/index.html"

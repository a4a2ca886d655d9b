"""Documents in JSON Lines: every line becomes a page or is rejected with its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lakerank.search.pages.collection_formats import json_lines, parse_json
from lakerank.search.pages.read_file import ReadOptions, read_file
from lakerank.search.pages.records import PAGE, REJECTED


def rows(path: Path, base: str = "", most: int = 1000) -> list[dict[str, Any]]:
    return list(read_file(str(path), path.name, ReadOptions(base, most)))


@pytest.mark.parametrize("packed", [False, True])
def test_lines_become_pages_or_are_rejected(tmp_path: Path, packed: bool) -> None:
    good = [{"id": "1", "title": "One", "text": "wing\nflow"}, {"id": 2, "text": "", "url": "HTTP://A.org/x#y"}]
    bad = [
        b"{",
        b"[1]",
        b'{"text": "x"}',
        b'{"id": true, "text": "x"}',
        b'{"id": "3"}',
        b'{"id": "4", "text": 4}',
        b"\xff",
    ]
    data = b"\n".join([json.dumps(good[0]).encode(), *bad, b"", b"x" * 2000, json.dumps(good[1]).encode()])
    path = tmp_path / ("docs.jsonl.gz" if packed else "docs.jsonl")
    path.write_bytes(gzip.compress(data) if packed else data)
    found = rows(path)
    pages = [row for row in found if row["kind"] == PAGE]
    assert [(row["doc_id"], row["url"], row["title"], row["text"]) for row in pages] == [
        ("1", "urn:document:1", "One", "wing\nflow"),
        ("2", "http://a.org/x", "", ""),
    ]
    rejected = [row for row in found if row["kind"] == REJECTED]
    assert [row["reason"] for row in rejected] == [
        "not JSON", "not a JSON object", "no `id`", "no `id`", "no `text`", "no `text`", "not JSON",
        "more than 1000 bytes (--max-page-bytes)",
    ]  # fmt: skip
    for row in found:
        at = row["source_offset"]
        assert at == 0 or data[at - 1 : at] == b"\n", "offsets are where lines begin"
    assert pages[1]["source_offset"] == len(data) - len(json.dumps(good[1]))


def test_addresses_of_documents() -> None:
    def url(base: str, **more: str) -> str:
        return parse_json(json.dumps({"id": "a b/ü", "text": "t", **more}).encode(), base)[0]

    assert url("") == "urn:document:a%20b%2F%C3%BC"
    assert url("https://x.org/c/") == "https://x.org/c/a%20b%2F%C3%BC"
    assert url("https://x.org/c/", url="https://y.org/") == "https://y.org/"
    assert url("", url="not an address") == "urn:document:a%20b%2F%C3%BC"


def test_lines_in_any_pieces() -> None:
    data = b"one\n\nthree\n" + b"y" * 30 + b"\nlast"
    for size in (1, 2, 7, 100):
        pieces = (data[i : i + size] for i in range(0, len(data), size))
        assert list(json_lines(pieces, 10)) == [(0, b"one"), (4, b""), (5, b"three"), (11, None), (42, b"last")]
    assert list(json_lines([b"z" * 50], 10)) == [(0, None)]


def test_a_damaged_archive_is_said_and_what_came_before_is_kept(tmp_path: Path) -> None:
    data = gzip.compress(b'{"id": "1", "text": "x"}\n' * 1000, 1)
    path = tmp_path / "docs.jsonl.gz"
    path.write_bytes(data[:-20])
    found = rows(path)
    assert found[-1]["kind"] == REJECTED
    assert all(row["kind"] == PAGE for row in found[:-1])

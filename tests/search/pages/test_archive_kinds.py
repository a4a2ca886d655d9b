"""Archives other than plain WARC of responses: ARC, WET, WAT, revisits, and records too large for the limit."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest
from test_warc_reading import URLS, A, B, C, read, record, said

from lakerank.search.pages.read_file import ReadOptions

SMALL = ReadOptions("https://o.org/", 1000)


def warc(kind: str, mime: str, block: bytes, url: str = "http://o.org/a") -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nContent-Type: {mime}\r\n"
    return head.encode() + f"Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


def arc(url: str, length: int | None = None, kind: str = "text/html") -> bytes:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>t</title><p>Otters swim in rivers."
    size = len(block) if length is None else length
    return f"{url} 1.2.3.4 20010203040506 {kind} {size}\n".encode() + block + b"\n"


NAMES = b"1 0 InternetArchive\nURL IP-address Archive-date Content-type Archive-length\n"
ARC_HEAD = b"filedesc://x.arc 0.0.0.0 20010203040506 text/plain %d\n%b\n" % (len(NAMES), NAMES)


@pytest.mark.parametrize("packed", ["no", "members", "one member"])
def test_arc(tmp_path: Path, packed: str) -> None:
    parts = [ARC_HEAD, arc(URLS[0]), arc(URLS[1], kind="no-type"), arc("dns:o.org"), arc("http://o.org/a b c")]
    data = b"".join(map(gzip.compress, parts) if packed == "members" else parts)
    data = gzip.compress(data) if packed == "one member" else data
    rows = read(tmp_path, data, "x.arc.gz" if packed != "no" else "x")
    assert [row["kind"] for row in rows] == ["page", "page", "skipped", "page"]
    assert [row["url"] for row in rows if row["kind"] == "page"] == [*URLS[:2], "http://o.org/a%20b%20c"]
    assert rows[0]["text"] == "Otters swim in rivers."
    assert rows[0]["fetched_at"].isoformat() == "2001-02-03T04:05:06+00:00"
    assert packed != "no" or rows[0]["source_offset"] == len(ARC_HEAD)


@pytest.mark.parametrize("length", [0, 10, 500, 10**6, 10**12])
@pytest.mark.parametrize("packed", ["no", "members", "one member"])
def test_arc_with_a_wrong_length(tmp_path: Path, length: int, packed: str) -> None:
    parts = [ARC_HEAD, arc(URLS[0]), arc(URLS[1], length=length), arc(URLS[2])]
    data = b"".join(map(gzip.compress, parts) if packed == "members" else parts)
    rows = read(tmp_path, gzip.compress(data) if packed == "one member" else data, "x.arc.gz")
    pages = [row["url"] for row in rows if row["kind"] == "page"]
    # In one member for all nothing tells where a record that is too large for the limit ends.
    assert pages == [URLS[0], URLS[2]] or (packed == "one member" and length == 10**12 and pages == [URLS[0]])
    assert next(row["url"] for row in rows if row["kind"] == "rejected") == URLS[1]


def test_wet_has_texts_and_wat_is_counted(tmp_path: Path) -> None:
    wet = warc("conversion", "text/plain", "Otters\n\nThe  otter swims.\nÜber den Fluss.\n".encode())
    wat = warc("metadata", "application/json", b'{"Envelope": {}}')
    fields = warc("metadata", "application/warc-fields", b"via: x")
    rows = read(tmp_path, wet + wat + fields + warc("conversion", "text/plain", b" ", URLS[1]), "x.warc.wet")
    assert [(row["kind"], row.get("title"), row.get("text")) for row in rows[:1]] == [
        ("page", "Otters", "Otters\nThe otter swims.\nÜber den Fluss.")
    ]
    assert said(rows[1:]) == [
        ("skipped", len(wet), "metadata of pages (WAT): links without text"),
        ("rejected", len(wet + wat + fields), "the page is empty"),
    ]


def test_revisits_are_counted(tmp_path: Path) -> None:
    revisit = warc("revisit", "application/http; msgtype=response", b"HTTP/1.1 200 OK\r\n\r\n")
    rows = read(tmp_path, A + revisit + B)
    assert [row["kind"] for row in rows] == ["page", "skipped", "page"]


@pytest.mark.parametrize("packed", ["no", "members", "one member"])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("length", [None, 10**6, 10**9])
def test_a_record_beyond_the_limit_costs_itself_alone(
    tmp_path: Path, packed: str, place: int, length: int | None
) -> None:
    """Also the first of a member that holds all, with a true length or a false one."""
    large = record("http://o.org/large", b"<p>" + b"words\n" * 60_000, length=length)
    parts = [A, C]
    parts.insert(place, large)
    data = b"".join(map(gzip.compress, parts) if packed == "members" else parts)
    rows = read(tmp_path, gzip.compress(data) if packed == "one member" else data, "x.warc.gz", SMALL)
    assert [row["url"] for row in rows if row["kind"] == "page"] == [URLS[0], URLS[2]]
    assert {row["url"] for row in rows if row["kind"] == "rejected"} >= {"http://o.org/large"}


def test_a_record_within_a_large_one_is_none(tmp_path: Path) -> None:
    large = record("http://o.org/large", b"x" * 300_000 + b"\n" + B + b"y" * 300_000)
    for data in (A + large + C, b"".join(map(gzip.compress, (A, large, C)))):
        rows = read(tmp_path, data, "x.warc.gz", SMALL)
        assert [row["url"] for row in rows if row["kind"] == "page"] == [URLS[0], URLS[2]]


def test_packed_html(tmp_path: Path) -> None:
    rows = read(tmp_path, gzip.compress(b"<title>t</title><p>Otters swim."), "a/Ü.html.gz".replace("a/", ""))
    assert [(row["url"], row["text"]) for row in rows] == [("https://o.org/%C3%9C.html", "Otters swim.")]


def test_a_line_that_nearly_is_a_header_takes_no_time_with_its_square(tmp_path: Path) -> None:
    lines = (b"a:" + b" 1 12345678" * 1400 + b" x\n") * 3 + b"a:" + b"1 " * 30_000 + b"\n"
    began = time.process_time()
    rows = read(tmp_path, ARC_HEAD + lines + arc(URLS[0]), "x.arc")
    assert time.process_time() - began < 2
    assert [row["kind"] for row in rows] == ["rejected", "page"]

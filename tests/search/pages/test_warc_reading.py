"""WARC files, whole and broken: what is good is read, what is not is named with its place."""

from __future__ import annotations

import gzip
import random
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import SHARED

from lakerank.search.pages.read_file import ReadOptions, read_file
from lakerank.search.pages.records import Record

WARCS = SHARED / "web" / "warc"
HOW = ReadOptions("https://o.org/", 1 << 20)
PAGE = b"<title>t</title><p>Otters swim in rivers."


def record(url: str, body: bytes = PAGE, headers: str = "", status: str = "200 OK", length: int | None = None) -> bytes:
    block = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n{headers}\r\n".encode() + body
    size = len(block) if length is None else length
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2020-01-02T03:04:05Z\r\n"
    return head.encode() + f"Content-Length: {size}\r\n\r\n".encode() + block + b"\r\n\r\n"


def read(tmp_path: Path, data: bytes, name: str = "x.warc", how: ReadOptions = HOW) -> list[Record]:
    (tmp_path / name).write_bytes(data)
    return list(read_file(str(tmp_path / name), name, how))


def said(rows: list[Record]) -> list[tuple[str, int, str | None]]:
    """(address or reason, place, kind) of each row."""
    return [(row["kind"], row["source_offset"], row["reason"] if row["kind"] != "page" else row["url"]) for row in rows]


A, B, C = (record(f"http://o.org/{name}") for name in "abc")
URLS = ["http://o.org/a", "http://o.org/b", "http://o.org/c"]


def test_plain_members_and_one_member(tmp_path: Path) -> None:
    for packed in (A + B + C, gzip.compress(A) + gzip.compress(B) + gzip.compress(C), gzip.compress(A + B + C)):
        rows = read(tmp_path, packed)
        assert [row["url"] for row in rows] == URLS
        assert rows[0]["text"] == "Otters swim in rivers."
        assert rows[0]["fetched_at"].isoformat() == "2020-01-02T03:04:05+00:00"
    assert [row["source_offset"] for row in read(tmp_path, A + B + C)] == [0, len(A), len(A + B)]
    member = gzip.compress(A)
    assert [row["source_offset"] for row in read(tmp_path, member + member)] == [0, len(member)]


def test_after_damage_the_next_record_counts(tmp_path: Path) -> None:
    a, b, c = (gzip.compress(one) for one in (A, B, C))
    cut, flipped = b[:-20], b[:60] + bytes([b[60] ^ 255]) + b[61:]
    for broken, why in ((cut, "gzip data are damaged"), (flipped, "gzip data are damaged"), (b"junk" * 9, "not gzip")):
        rows = read(tmp_path, a + broken + c)
        assert [row["url"] for row in rows if row["kind"] == "page"] == [URLS[0], URLS[2]]
        bad = [row for row in rows if row["kind"] == "rejected"]
        assert [row["source_offset"] for row in bad] == [len(a)]
        assert why in bad[0]["reason"]
    rows = read(tmp_path, a + c[:-20])
    assert said(rows) == [("page", 0, URLS[0]), ("rejected", len(a), "gzip data are cut off")]


@pytest.mark.parametrize("length", [0, 5, 10, 10**6, 10**12])
@pytest.mark.parametrize("packed", ["no", "members", "one member"])
def test_wrong_content_length(tmp_path: Path, length: int, packed: str) -> None:
    parts = [A, record(URLS[1], length=length), C]
    data = b"".join(map(gzip.compress, parts) if packed == "members" else parts)
    rows = read(tmp_path, gzip.compress(data) if packed == "one member" else data)
    assert [row["url"] for row in rows if row["kind"] == "page"] == [URLS[0], URLS[2]]
    assert {(row["source_offset"], row["url"]) for row in rows if row["kind"] == "rejected"} >= {
        ({"no": len(A), "members": len(gzip.compress(A)), "one member": 0}[packed], URLS[1])
    }


def test_other_bad_records(tmp_path: Path) -> None:
    junk = b"something else\n" * 3
    assert [row["kind"] for row in read(tmp_path, A + junk + C)] == ["page", "rejected", "page"]
    bad = record("http://o.org/b").replace(b"Content-Length: ", b"Content-Length: x")
    assert "Content-Length" in read(tmp_path, A + bad + C)[1]["reason"]
    assert [row["kind"] for row in read(tmp_path, record("no address") + A)] == ["rejected", "page"]
    assert [row["kind"] for row in read(tmp_path, record("dns:o.org") + A)] == ["skipped", "page"]
    big = read(tmp_path, record(URLS[1], b"x" * (3 << 20)) + A)
    assert [row["kind"] for row in big] == ["rejected", "page"]
    assert "max-page-bytes" in big[0]["reason"]
    assert said(read(tmp_path, b"")) == [("rejected", 0, "the file is empty")]


def test_bodies_as_they_were_sent(tmp_path: Path) -> None:
    def one(body: bytes, headers: str) -> Record:
        return read(tmp_path, record(URLS[0], body, headers))[0]

    chunked = b"5\r\n" + PAGE[:5] + b"\r\n" + f"{len(PAGE) - 5:x}\r\n".encode() + PAGE[5:] + b"\r\n0\r\n\r\n"
    bare = zlib.compressobj(wbits=-15)
    brotli = pa.compress(PAGE, "brotli", asbytes=True)
    for body, headers in (
        (chunked, "Transfer-Encoding: chunked\r\n"),
        (PAGE, "Transfer-Encoding: chunked\r\n"),
        (gzip.compress(PAGE), "Content-Encoding: gzip\r\n"),
        (PAGE, "Content-Encoding: gzip\r\n"),
        (zlib.compress(PAGE), "Content-Encoding: deflate\r\n"),
        (bare.compress(PAGE) + bare.flush(), "Content-Encoding: deflate\r\n"),
        (brotli, "Content-Encoding: br\r\n"),
    ):
        assert one(body, headers)["kind"] == "page", headers
        assert one(body, headers)["text"] == "Otters swim in rivers."
    for body, headers in (
        (chunked[:-20], "Transfer-Encoding: chunked\r\n"),
        (gzip.compress(PAGE)[:-9], "Content-Encoding: gzip\r\n"),
        (b"\x0b\x02\x80junk" * 20, "Content-Encoding: br\r\n"),
        (gzip.compress(b"x" * (2 << 20)), "Content-Encoding: gzip\r\n"),
        (PAGE.replace(b"<", b""), "Content-Encoding: rot13\r\n"),
        (b" \n", ""),
    ):
        assert one(body, headers)["kind"] == "rejected", headers


def test_answers_that_are_no_pages(tmp_path: Path) -> None:
    moved = read(tmp_path, record(URLS[0], b"", "Location: b#x\r\n", "301 Moved"))[0]
    assert (moved["kind"], moved["target_url"], moved["reason"]) == ("redirect", URLS[1], "http")
    assert read(tmp_path, record(URLS[0], status="404 No"))[0]["kind"] == "skipped"
    assert read(tmp_path, A.replace(b"text/html", b"image/png"))[0]["kind"] == "skipped"
    noindex = read(tmp_path, record(URLS[0], headers="X-Robots-Tag: noindex\r\n"))[0]
    assert noindex["noindex"]
    refresh = read(tmp_path, record(URLS[0], b"<meta http-equiv=refresh content='0;url=c'>"))
    assert [row["kind"] for row in refresh] == ["page", "redirect"]


def test_html_files(tmp_path: Path) -> None:
    assert read(tmp_path, PAGE, "_a b.html")[0]["url"] == "https://o.org/_a%20b.html"
    assert read(tmp_path, PAGE, ".hidden")[0]["kind"] == "page"
    assert read(tmp_path, b"body { color: red }", "x.css")[0]["kind"] == "skipped"
    for data in (b"", b"\0\0\0", b"x" * (2 << 20), b"no tag"):
        assert [row["kind"] for row in read(tmp_path, data, "x.html")] == ["rejected"], data[:9]


@pytest.mark.skipif(not WARCS.exists(), reason=f"no WARC files at {WARCS}")
def test_fuzzed_files_end_in_rows(tmp_path: Path) -> None:
    rng = random.Random(7)
    pages = 0
    for file in sorted(WARCS.glob("*warc*")):
        data = file.read_bytes()[:40_000]
        for _ in range(12):
            broken = bytearray(data)
            for _ in range(rng.randint(0, 3)):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            start, length = rng.randrange(len(broken)), rng.choice((0, 1, 100))
            del broken[start : start + length]
            rows = read(tmp_path, bytes(broken), file.name)
            pages += sum(row["kind"] == "page" for row in rows)
            assert all(0 <= (row["source_offset"] or 0) <= len(broken) for row in rows)
    assert pages > 40


HEAD = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://o.org/cut"


@pytest.mark.parametrize(
    "cut",
    [
        b"WARC/1.0\r\n", HEAD + b"\r\n", HEAD + b"\r\nContent-Length: 5\r\n", HEAD + b"\r\nWARC-Ty", HEAD,
        HEAD + b"\r\n continued",
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_is_cut_off_does_not_swallow_the_next_record(tmp_path: Path, cut: bytes, packed: bool) -> None:
    data = A + cut + B + C
    rows = read(tmp_path, gzip.compress(data) if packed else data)
    assert [row["url"] for row in rows if row["kind"] == "page"] == URLS
    (bad,) = (row for row in rows if row["kind"] == "rejected")
    assert "cut off" in bad["reason"]
    if not packed:
        assert [row["source_offset"] for row in rows] == [0, len(A), len(A + cut), len(A + cut + B)]


def test_an_address_may_end_as_a_version(tmp_path: Path) -> None:
    rows = read(tmp_path, record("http://o.org/WARC/1.0") + B)
    assert [row["url"] for row in rows] == ["http://o.org/WARC/1.0", URLS[1]]


@pytest.mark.parametrize("name", ["x.warc.zst", "x.jsonl.xz", "x.html.bz2"])
def test_a_file_that_is_packed_in_another_way_is_rejected_by_name(tmp_path: Path, name: str) -> None:
    content = {"zst": b"(\xb5/\xfd\x04\x00", "xz": b"\xfd7zXZ\0\0\4", "bz2": b"BZh91AY&SY"}[name.rpartition(".")[2]]
    (row,) = read(tmp_path, content + bytes(50), name)
    assert row["kind"] == "rejected"
    assert row["reason"].startswith("packed by ")
    (row,) = read(tmp_path, content + bytes(50), "program.tar." + name.rpartition(".")[2])
    assert (row["kind"], row["reason"]) == ("skipped", "not HTML")

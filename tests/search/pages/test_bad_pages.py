"""One bad page is one rejected row: what it does to the parser or to Arrow costs no other."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED

from lakerank.search.pages import collection_formats
from lakerank.search.pages import read_file as reading
from lakerank.search.pages.document import Document, Link, limit_markup, parse_html
from lakerank.search.pages.read_file import ReadOptions, read_file
from lakerank.search.pages.records import batches_of, page_record

CASES = SHARED.parent / "cases" / "pages"
cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is missing")
HOW = ReadOptions("https://b.org/", 10 << 20)


def read(path: Path, name: str = "") -> list[dict[str, Any]]:
    """The rows of a file, by way of Arrow."""
    records = read_file(str(path), name or path.name, HOW)
    return [row for batch in batches_of(records) for row in batch.to_pylist()]


def one(tmp_path: Path, name: str, data: bytes) -> list[dict[str, Any]]:
    (tmp_path / name).write_bytes(data)
    return read(tmp_path / name)


def response(url: str, body: bytes, status: str = "200 OK", headers: str = "", length: int = -1) -> bytes:
    block = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n{headers}\r\n".encode() + body
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\n"
    size = len(block) if length < 0 else length
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + block + b"\r\n\r\n"


@cases
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("svglink/index.html", "page"),
        ("date.warc", "page"),
        ("sur.jsonl", "page"),
        ("nul.jsonl", "page"),
        ("bigint.jsonl", "rejected"),
        ("slow-html-1.bin", "page"),
        ("slow-warc-1.bin", "page"),
    ],
)
def test_sample_records(name: str, kind: str) -> None:
    begun = time.process_time()
    called = {"slow-html-1.bin": "x.html", "slow-warc-1.bin": "x.warc.gz"}.get(name, name)
    rows = read(CASES / name, called)
    rows = [row for row in rows if row["kind"] != "skipped"]
    assert [row["kind"] for row in rows] == [kind]
    assert kind == "page" or rows[0]["reason"]
    assert time.process_time() - begun < 10


@cases
def test_hostile_warc() -> None:
    by_url = {row["url"].rpartition("/")[2]: row for row in read(CASES / "hostile.warc") if row["url"]}
    assert by_url["after"]["kind"] == "page"
    assert by_url["clen_big"]["kind"] == "rejected"
    assert by_url["gzip_two_members"]["text"].startswith("Two\nSome words")
    assert not {"300_multi", "304"} & by_url.keys()  # passed over: they lead nowhere
    assert by_url["301"]["target_url"]


def test_links_in_svg_pictures() -> None:
    html = '<p>Words<svg><a xlink:href="/a"><text>Home</text></a><a href="/b">b</a></svg>'
    assert {link.dst_url for link in parse_html(html, "https://b.org/").links} == {"https://b.org/a", "https://b.org/b"}


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "10000-01-01", "x" * 5000])
def test_dates_beyond_the_calendar_are_no_dates(tmp_path: Path, when: str) -> None:
    data = response("http://a.org/", b"<p>hi").replace(
        b"Content-Length", f"WARC-Date: {when}\r\nContent-Length".encode()
    )
    rows = one(tmp_path, "x.warc", data)
    assert [(row["kind"], row["fetched_at"]) for row in rows] == [("page", None)]


def test_halves_of_characters_and_nul_in_documents(tmp_path: Path) -> None:
    lines = [
        rb'{"id": "1\ud800", "title": "\ud800", "text": "a \udfff b \ud83d\ude00"}',
        rb'{"id": "2\u0000", "title": "\u0000", "text": "a \u0000 b", "url": "http://a.org/\ud800\u0000"}',
        rb'{"id": "3", "text": "c"}',
    ]
    rows = one(tmp_path, "x.jsonl", b"\n".join(lines))
    assert [(row["kind"], row["doc_id"], row["text"]) for row in rows] == [
        ("page", "1\ufffd", "a \ufffd b \U0001f600"),
        ("page", "2", "a  b"),
        ("page", "3", "c"),
    ]


@pytest.mark.parametrize(
    "error", [KeyError("href"), RecursionError(), MemoryError(), OverflowError("date"), TypeError()]
)
def test_whatever_a_parser_raises_costs_one_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    sound = reading.parse_html, reading.language_of

    def parse(html: str, *args: Any) -> Any:
        if "bad" in html:
            raise error
        return sound[0](html, *args)

    def language(text: str, *args: Any) -> Any:
        if "bad" in text:
            raise error
        return sound[1](text, *args)

    monkeypatch.setattr(reading, "parse_html", parse)
    monkeypatch.setattr(collection_formats, "language_of", language)
    warc = b"".join(response(f"http://a.org/{word}", f"<p>{word}".encode()) for word in ("one", "bad", "two"))
    rows = one(tmp_path, "x.warc", warc)
    assert [row["kind"] for row in rows] == ["page", "rejected", "page"]
    assert (rows[1]["url"], rows[1]["source_offset"]) == (
        "http://a.org/bad",
        len(response("http://a.org/one", b"<p>one")),
    )
    assert rows[1]["reason"].startswith("cannot be read: ")
    lines = b"\n".join(f'{{"id": "{word}", "text": "{word}"}}'.encode() for word in ("one", "bad", "two"))
    assert [row["kind"] for row in one(tmp_path, "x.jsonl", lines)] == ["page", "rejected", "page"]
    assert [row["kind"] for row in one(tmp_path, "x.html", b"<p>bad")] == ["rejected"]


def test_what_arrow_refuses_costs_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = reading.parse_html
    wrong = {
        "bad1": {"title": "\ud800"},
        "bad2": {"description": 7},
        "bad3": {"links": [("too", "few")]},
        "bad4": {"headings": [{}]},
    }

    def parse(html: str, *args: Any) -> Any:
        page = sound(html, *args)
        vars(page).update(wrong.get(html[3:], {}))
        return page

    monkeypatch.setattr(reading, "parse_html", parse)
    words = ["one", "bad1", "two", "bad2", "bad3", "three", "bad4"]
    warc = b"".join(response(f"http://a.org/{word}", f"<p>{word}".encode()) for word in words)
    rows = one(tmp_path, "x.warc", warc)
    assert [row["url"].rpartition("/")[2] for row in rows if row["kind"] == "page"] == ["one", "two", "three"]
    bad = [row for row in rows if row["kind"] == "rejected"]
    assert [row["url"].rpartition("/")[2] for row in bad] == ["bad1", "bad2", "bad3", "bad4"]
    assert all(row["reason"] and row["source_offset"] for row in bad)


@pytest.mark.parametrize("length", [200, 10**6, 10**9, 10**15 - 1])
@pytest.mark.parametrize("packed", [False, True])
def test_a_false_length_does_not_swallow_the_file(tmp_path: Path, length: int, packed: bool) -> None:
    after = b"".join(response(f"http://a.org/{n}", b"<p>word") for n in range(5))
    data = response("http://a.org/first", b"<p>x") + response("http://a.org/lie", b"<p>x", length=length) + after
    rows = one(tmp_path, "x.warc.gz" if packed else "x.warc", gzip.compress(data) if packed else data)
    found = [row["url"].rpartition("/")[2] for row in rows if row["kind"] == "page"]
    assert found == ["first", *"01234"]
    assert any(row["kind"] == "rejected" and row["url"] == "http://a.org/lie" for row in rows)


def test_a_record_whose_headers_are_cut_off_costs_itself_alone(tmp_path: Path) -> None:
    sound = [response(f"http://a.org/{n}", b"<p>word") for n in range(2)]
    for cut in (b"WARC/1.0\r\nWARC-Type: re", b"WARC/1.0\r\n", sound[0][:60], b"WARC/1.0\r\nContent-Length: x\r\n"):
        rows = one(tmp_path, "x.warc", sound[0] + cut + b"\r\n\r\n" + sound[1])
        assert [row["kind"] for row in rows] == ["page", "rejected", "page"], cut


def test_a_record_within_a_large_one_is_not_read(tmp_path: Path) -> None:
    inner = response("http://a.org/inner", b"<p>forged")
    large = response("http://a.org/large", b"x" * (11 << 20) + b"\r\n\r\n" + inner)
    rows = one(tmp_path, "x.warc", large + response("http://a.org/after", b"<p>word"))
    assert [(row["kind"], row["url"]) for row in rows] == [
        ("rejected", "http://a.org/large"),
        ("page", "http://a.org/after"),
    ]


def test_bodies_of_several_gzip_members(tmp_path: Path) -> None:
    body = gzip.compress(b"<title>t</title><p>one ") + gzip.compress(b"two ") + gzip.compress(b"three")
    row = one(tmp_path, "x.warc", response("http://a.org/", body, headers="Content-Encoding: gzip\r\n"))[0]
    assert row["text"] == "one two three"
    trailing = response("http://a.org/", gzip.compress(b"<p>one") + b"\0" * 9, headers="Content-Encoding: gzip\r\n")
    assert one(tmp_path, "x.warc", trailing)[0]["text"] == "one"


@pytest.mark.parametrize("status", ["300 Multiple Choices", "304 Not Modified", "301 Moved", "305 Use Proxy"])
def test_without_a_location_nothing_is_a_redirect(tmp_path: Path, status: str) -> None:
    assert [row["kind"] for row in one(tmp_path, "x.warc", response("http://a.org/", b"", status))] == ["skipped"]


SLOW = {
    "beginnings of gzip members": ("x.warc.gz", b"\x1f\x8b\x08" * 300_000),
    "tiny gzip members": ("x.warc.gz", gzip.compress(b"") * 50_000),
    "false lengths": ("x.warc", b"WARC/1.0\r\nContent-Length: 10000000\r\n\r\n" * 10_000),
    "false lengths beyond the limit": ("x.warc", b"WARC/1.0\r\nContent-Length: 100000000\r\n\r\n" * 10_000),
    "a body of tiny members": (
        "x.warc",
        response("http://a.org/", gzip.compress(b"") * 50_000, headers="Content-Encoding: gzip\r\n"),
    ),
    "blanks before a refresh": (
        "x.html",
        b'<head><meta http-equiv=refresh content="' + b" " * 100_000 + b"0" * 100_000 + b'"><p>x',
    ),
    "formatting that multiplies": (
        "x.html",
        b"<div>" + b"".join(b"<b id=%d>" % n for n in range(500)) + b"</div>" + b"<div>x</div>" * 50_000,
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_time_grows_with_size_only(tmp_path: Path, name: str) -> None:
    begun = time.process_time()
    one(tmp_path, *SLOW[name])
    assert time.process_time() - begun < 6  # most take a second; each took minutes, or all memory


def test_ordinary_formatting_is_not_touched() -> None:
    html = "<p><b>bold</b> and <i>italic</i> <a href=x>link</a>" * 5_000
    assert limit_markup(html) == html


def test_a_page_that_takes_too_long_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakerank.lake import bad_records

    def slow(html: str, *args: Any) -> Any:
        while True:
            pass

    monkeypatch.setattr(bad_records, "_BASE_SECONDS", 0.1)
    monkeypatch.setattr(reading, "parse_html", slow)
    rows = one(tmp_path, "x.html", b"<p>x")
    assert rows[0]["kind"] == "rejected"
    assert "processor time" in rows[0]["reason"]


def test_a_long_base_does_not_multiply_a_page(tmp_path: Path) -> None:
    links = "".join(f"<a href={n}>l</a>" for n in range(1000))
    page = f'<title>t</title><base href="http://a.org/{"x" * 100_000}/"><p>words {links}'.encode()
    data = b"".join(response(f"https://b.org/p{n}", page) for n in range(3))
    (tmp_path / "x.warc.gz").write_bytes(gzip.compress(data))
    (batch,) = batches_of(read_file(str(tmp_path / "x.warc.gz"), "x.warc.gz", HOW))
    assert batch.num_rows == 3
    assert batch.nbytes < 1 << 20
    assert batch["links"][0][0]["dst_url"].as_py() == "https://b.org/0"


def test_batches_count_all_that_records_say() -> None:
    link = Link("http://a.org/" + "x" * 7000, "a", False, "main", 1.0)
    page = Document("t", "text", "en", "", headings=["h" * 1000] * 100, links=[link] * 1000)
    batches = list(batches_of(page_record("s", 0, f"http://b.org/{n}", page) for n in range(12)))
    assert sum(batch.num_rows for batch in batches) == 12
    assert max(batch.nbytes for batch in batches) < 48 << 20


def test_links_and_headings_of_a_page_have_an_end() -> None:
    links = "".join(f"<a href={n}>l</a>" for n in range(6000))
    page = parse_html(f'<base href="http://a.org/{"x" * 7900}/"><p>words {links}', "https://b.org/")
    assert sum(len(link.dst_url) for link in page.links) <= 32 << 20
    assert len(page.links) > 4000
    page = parse_html("<h1><div>" * 200 + "word " * 100_000, "https://b.org/")
    assert len(page.title) <= 1000
    assert sum(map(len, page.headings)) <= 1 << 20
    assert page.headings
    assert len(page.text) > 400_000


def test_an_address_that_is_too_long_is_none(tmp_path: Path) -> None:
    long = "https://b.org/" + "a" * 8000
    rows = one(
        tmp_path, "x.warc", response(long, b"<p>x") + response("https://b.org/1", f"<a href={long}>x</a>".encode())
    )
    assert [row["kind"] for row in rows] == ["rejected", "page"]
    assert rows[1]["links"] == []

"""100,000 wrong inputs for each parser: none crashes it, and none is lost without a word."""

from __future__ import annotations

import gzip
import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from fuzz.mutations import mutants
from pyspark.sql import SparkSession

from lakerank.graph import edge_lists
from lakerank.lake.delta_table import TableRef
from lakerank.lake.input_files import open_input
from lakerank.lake.schemas import RATINGS, RATINGS_REJECTED
from lakerank.search.pages import warc
from lakerank.search.pages.byte_reader import ByteReader, unpack
from lakerank.search.pages.document import parse_html
from lakerank.search.query.parse import parse, plain
from spark_jobs import ingest_ratings

pytestmark = pytest.mark.slow

N = 100_000
TEXT = [b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\r", b"\t", b" ", b'"', b"'", b"\\", b",", b"::", b"-", b"+", b"#"]
TEXT += [
    "é\u202e\u2028\u3000😀İß".encode(),
    b"9" * 40,
    b"-0",
    b"1e999",
    b"nan",
    b"Infinity",
    b"0x1",
    b"1_000",
    b"%s{}$",
]


def lines_of(made: bytes) -> bytes:
    """One line of it."""
    return made.replace(b"\n", b" ").replace(b"\r", b" ")


def test_queries() -> None:
    good = [b'+numpy "fast fourier transform" -sparse OR dense', b"title:array site:numpy.org shape", b"a OR b OR c"]
    traps = [*TEXT, b'""', b"OR OR", b"site:", b"title:", b"-site:*.", b"+", b"--", b"title:title:", b"site://"]
    for made in mutants(good, traps, N):
        text = made.decode("utf-8", "replace")
        for query in (parse(text), plain(text)):
            assert all(any(c.isalnum() for c in part.text) for clause in query.clauses for part in clause.parts)
            assert isinstance(query.words, str)
            assert isinstance(query.plain, bool)


def record(kind: str, body: bytes, target: str = "https://x.example/a") -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {target}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body + b"\r\n\r\n"


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"<p>hi")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<p>hi\r\n0\r\n\r\n"


def test_warc_records() -> None:
    good = [record("response", ANSWER) + record("response", CHUNKED), record("warcinfo", b"a: b") * 2]
    good += [record("resource", b"<p>x"), gzip.compress(record("response", CHUNKED), 1)]
    traps = [*TEXT, b"WARC/1.0\r\n", b"Content-Length: 99999999999999\r\n", b"\r\n\r\n", b"\x1f\x8b\x08\x00"]
    traps += [b"Content-Encoding: br\r\n", b"ffffffff\r\n", b"HTTP/1.1 301 \r\nLocation: //\r\n\r\n", b":" * 50]
    kept = 0
    for made in mutants(good, traps, N):
        reader = ByteReader(unpack(iter([made])), made.startswith(b"\x1f\x8b"))
        for found in warc.read_records(reader, 1 << 16, frozenset(("response", "resource"))):
            assert 0 <= found.offset <= len(made)
            if isinstance(found, warc.BadRecord):
                assert found.reason
            elif (response := warc.parse_response(found.block)) is not None:
                kept += 1
                with suppress(warc.BodyError):
                    assert len(warc.decode_body(response, 1 << 16)) <= 1 << 16
    assert kept > N / 10  # many are nearly right


def test_pages() -> None:
    site = [path.read_bytes() for path in (Path(__file__).parents[2] / "examples" / "site").glob("*.html")]
    traps = [*TEXT, b"<", b"</", b"<!--", b"<script>", b"<base href='//'>", b"<a href='http://[::'>", b"&#0;", b"<svg>"]
    traps += [b"<table>" * 30, b"<meta charset=utf-7>", b'<link rel=canonical href="javascript:1">', b"]]>"]
    for made in mutants(site, traps, 3_000):
        page = parse_html(made.decode("utf-8", "replace"), "https://x.example/a/b?c")
        assert "\x00" not in page.title
        assert all("://" in link.dst_url for link in page.links)


def test_edge_lists(spark: SparkSession, tmp_path: Path) -> None:
    good = [b"12\t34", b"-5\t7\t2.5", b"9007199254740993\t1", b"a\tb", b"# comment"]
    made = [lines_of(line) for line in mutants(good, TEXT, N)]
    (tmp_path / "links.tsv").write_bytes(b"1\t2\n" * 100 + b"\n".join(made) + b"\n")
    parsed = edge_lists.parse(open_input(spark, str(tmp_path / "links.tsv")), separator="tab")
    used = parsed.rows.count()
    lines = [b"1\t2"] * 100 + made
    blank = re.compile(r"[ \t\x0b\f\r]*(#|\Z)")  # as Java sees it
    data = [text for line in lines if not blank.match(text := line.decode("utf-8", "replace"))]
    assert used + parsed.rejected_count == len(data)
    assert 1000 < parsed.rejected_count < N


def test_ratings(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [f"{u},{i},{r},{1_000_000_000 + u}".encode() for u, i, r in ((1, 2, 3.5), (40, 7, 0.5), (3, 99, 5))]
    made = [lines_of(line) for line in mutants(good, [*TEXT, b",,", b'","', b"1970-01-01"], N)]
    (tmp_path / "ratings.csv").write_bytes(b"userId,movieId,rating,timestamp\n" + b"\n".join(made) + b"\n")
    lake = str(tmp_path / "lake")
    assert ingest_ratings.main(["--source", str(tmp_path / "ratings.csv"), "--lake", lake, "--json"]) == 0
    json.loads(capsys.readouterr().out.splitlines()[-1])
    counted = [TableRef.find("", r, lake).read(spark, r).count() for r in (RATINGS, RATINGS_REJECTED)]
    blank = sum(not line.strip() for line in made)
    assert N - blank <= sum(counted) <= N
    assert min(counted) > 0

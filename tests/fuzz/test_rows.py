"""Rows that nobody wrote, all the way into tables: each becomes a row or a rejected one, and no job ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz.mutations import mutants
from pyspark.sql import SparkSession

from lakerank.graph import edge_lists
from lakerank.lake.delta_table import TableRef
from lakerank.lake.input_files import open_input
from lakerank.lake.schemas import PAGES, PAGES_REJECTED, RATINGS, RATINGS_REJECTED
from lakerank.search.pages.read_file import ReadOptions, read_file
from lakerank.search.pages.records import batches_of
from spark_jobs import ingest_pages, ingest_ratings

pytestmark = pytest.mark.slow

N = 20_000
TRAPS = [rb"\ud800", rb"\udfff", rb"\u0000", b"\x00", b"\xff", b"\xed\xa0\x80", b"9" * 400, b"9" * 5000, b"[" * 3000]
TRAPS += [b"1e999", b"-1e999", b"NaN", b"Infinity", b"null", b"true", b"{}", b'""', b'"', b",", b"\t", b"\xef\xbb\xbf"]
TRAPS += [
    b"9223372036854775808",
    b"-9223372036854775809",
    b"0000-00-00",
    b"10000-01-01T00:00:00+23:59",
    b"99999999999999",
]
TRAPS += ["\u202e\u2028é😀İ".encode(), b"<svg><a xlink:href=x>", b"<plaintext>", b"<base href>", b"http://[::1", b"%ff"]

LINES = [
    json.dumps({"id": 7, "title": "Title", "text": "Some words of a text.", "url": "http://a.org/x", "language": "en"}),
    json.dumps({"_id": "a", "text": "<p>more words", "title": ""}),
]
PAGE = b'<title>T</title><base href="/b"><p>w <a href="/x" rel=nofollow>l</a><svg><a xlink:href="y">z</a></svg>'


def warc(body: bytes) -> bytes:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + body
    head = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/%d\r\nWARC-Date: 2020-01-02T03:04:05Z\r\n"
    return head % len(body) + b"Content-Length: %d\r\n\r\n" % len(block) + block + b"\r\n\r\n"


def one_line(made: bytes) -> bytes:
    return made.replace(b"\n", b" ").replace(b"\r", b" ")


def test_documents(tmp_path: Path) -> None:
    lines = [one_line(made) for made in mutants([line.encode() for line in LINES], TRAPS, N)]
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines))
    rows = 0
    for batch in batches_of(read_file(str(tmp_path / "x.jsonl"), "x.jsonl", ReadOptions("", 1 << 20))):
        rows += len(batch)
        assert all(row["reason"] for row in batch.to_pylist() if row["kind"] == "rejected")
    assert rows == sum(bool(line.strip()) for line in lines)


def test_pages(tmp_path: Path) -> None:
    sound = warc(b"<p>sound words")
    for made in mutants([warc(PAGE), warc(PAGE) * 2], TRAPS, N // 4):
        (tmp_path / "x.warc").write_bytes(sound + made + b"\r\n\r\n" + sound * 2)
        rows = [
            row
            for batch in batches_of(read_file(str(tmp_path / "x.warc"), "x.warc", ReadOptions("", 1 << 20)))
            for row in batch.to_pylist()
        ]
        assert rows[0]["kind"] == "page"
        assert rows[-1]["kind"] == "page"
        assert all(row["reason"] for row in rows if row["kind"] != "page")


def test_pages_by_the_job(spark: SparkSession, tmp_path: Path) -> None:
    lines = [one_line(made) for made in mutants([line.encode() for line in LINES], TRAPS, N // 10, seed=1)]
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "y.warc").write_bytes(b"".join(mutants([warc(PAGE)], TRAPS, N // 100, seed=2)))
    lake = str(tmp_path / "lake")
    where = ["--source", f"{tmp_path / 'x.jsonl'},{tmp_path / 'y.warc'}", "--lake", lake]
    for driver in (["--driver-bytes", "0"], []):
        assert ingest_pages.main([*where, *driver]) == 0
        counts = [TableRef.find("", one, lake).frame(spark).count() for one in (PAGES, PAGES_REJECTED)]
        assert min(counts) > 0


def test_ratings_by_the_job(spark: SparkSession, tmp_path: Path) -> None:
    good = [b"1,2,3.5,1260759144", b'"7","8",4,2020-01-02 03:04:05', b'9,"a, b",1,']
    lines = [one_line(made) for made in mutants(good, TRAPS, N)]
    (tmp_path / "x.csv").write_bytes(b"\n".join([b"user,item,rating,time", *good, *lines]))
    assert ingest_ratings.main(["--source", str(tmp_path / "x.csv"), "--lake", str(tmp_path / "lake")]) == 0
    tables = [TableRef.find("", one, str(tmp_path / "lake")).frame(spark) for one in (RATINGS, RATINGS_REJECTED)]
    assert all(table.count() for table in tables)


@pytest.mark.parametrize("seed", range(6))
def test_ratings_of_any_type_by_the_job(spark: SparkSession, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    odd = [
        0.0,
        1.0,
        -0.0,
        1.5,
        1e308,
        -1e308,
        5e-324,
        float("nan"),
        float("inf"),
        float("-inf"),
        2.0**53,
        2.0**63,
        None,
    ]
    whole = [0, 1, -1, 2**63 - 1, -(2**63), None]
    text = ["", " ", "1", "\0", "é", "1e999", "NULL", "2020-01-01", "9" * 400, "\U0001f600", None]
    kinds = [(odd, pa.float64()), (odd[:9], pa.float32()), (whole, pa.int64()), (text, pa.string())]
    times = [*kinds, ([0, 2**62, -(2**62), None], pa.timestamp("us")), ([0, 2_900_000, -700_000, None], pa.date32())]

    def column(choices: list[tuple[list[object], pa.DataType]]) -> pa.Array:
        values, kind = choices[rng.integers(len(choices))]
        return pa.array([values[i] for i in rng.integers(len(values), size=300)], kind)

    names = {"user": column(kinds), "item": column(kinds), "rating": column(kinds[:3]), "time": column(times)}
    pq.write_table(pa.table(names), tmp_path / "x.parquet")
    # 2: none of these can be used, which is a sentence too
    assert ingest_ratings.main(["--source", str(tmp_path / "x.parquet"), "--lake", str(tmp_path / "lake")]) in (0, 2)


def test_weighted_edges(spark: SparkSession, tmp_path: Path) -> None:
    good = [b"1\t2\t3.5", b"7\t8\t0", b"a\tb\t1e-3"]
    lines = [one_line(made) for made in mutants(good, TRAPS, N)]
    file = tmp_path / "x.tsv"
    file.write_bytes(b"\n".join([*good * 100, *lines]))
    found = edge_lists.parse(open_input(spark, str(file)), weight="yes")
    assert found.rows.count() == found.count
    assert found.rejected.count() == found.rejected_count
    assert found.rows.where("isnan(weight) OR weight < 0 OR weight IS NULL OR abs(weight) = double('inf')").count() == 0

"""ingest_pages end to end, in this process: real files, real tables, twice, and with wrong input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import lake_tables
import pytest
from conftest import SHARED
from pyspark.sql import SparkSession

from lakerank.lake.schemas import LINKS, PAGES, PAGES_REJECTED, REDIRECTS, Relation
from spark_jobs import ingest_pages

WARCS = SHARED / "web" / "warc"
TEXT = (
    "Otters swim in rivers and lakes, sleep on the bank at noon, and hunt fish in the early hours of the morning. " * 3
)
SITE = {
    "index.html": "<title>Home</title><main><p>All of it: <a href='_a.html'>first</a> <a href=sub/.b.html>second</a>",
    "_a.html": f"<title>A</title><link rel=canonical href='c.html'><main><p>{TEXT}<a href=old.html>old</a>",
    "c.html": f"<title>C</title><main><p>{TEXT}<a href=https://else.org/x#y>dangling</a> <a href=_a.html>a</a>",
    "old.html": "<meta http-equiv=refresh content='0; url=sub/.b.html'>",
    "sub/.b.html": "<title>B</title><nav><a href=../index.html>Home</a></nav><main><p>Short and of its own kind",
    "style.css": "p { color: red }",
    "empty.html": "",
}
BASE = "https://o.org/doc/"


def warc(*answers: tuple[str, str, str, str]) -> bytes:
    """Gzipped records: (address, date, status line and headers, body)."""
    out = b""
    for url, date, head, body in answers:
        block = f"HTTP/1.1 {head}\r\nContent-Type: text/html\r\n\r\n{body}".encode()
        fields = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: {date}T00:00:00Z\r\n"
        out += gzip.compress(fields.encode() + f"Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n")
    return out


def write(folder: Path, files: dict[str, str]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return str(folder)


def table(spark: SparkSession, lake: str, relation: Relation) -> list[Any]:
    return sorted(lake_tables.rows(relation, lake), key=str)


def everything(spark: SparkSession, lake: str) -> list[Any]:
    return [table(spark, lake, relation) for relation in (PAGES, LINKS, REDIRECTS, PAGES_REJECTED)]


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.connect
def test_a_folder_becomes_pages_and_resolved_links(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, site = str(tmp_path / "lake"), write(tmp_path / "site", SITE)
    flags = ["--source", site, "--base-url", BASE.rstrip("/"), "--lake", lake, "--json"]
    assert ingest_pages.main(flags) == 0
    said = summary(capsys)
    counts = {name: said[name] for name in ("pages", "links", "redirects", "rejected", "duplicates", "passed_over")}
    wanted = {"pages": 5, "links": 5, "redirects": 2, "rejected": 1, "duplicates": 1, "passed_over": {"not HTML": 1}}
    assert counts == wanted
    pages = {row["url"].removeprefix(BASE): row for row in table(spark, lake, PAGES)}
    assert set(pages) == {"index.html", "_a.html", "c.html", "old.html", "sub/.b.html"}  # no name is skipped
    assert pages["_a.html"]["duplicate_of"] == pages["c.html"]["page_id"]
    assert 0.8 <= pages["_a.html"]["similarity"] <= 1
    assert pages["c.html"]["duplicate_of"] is None
    links = {(r["src_url"].removeprefix(BASE), r["anchor"]): r for r in table(spark, lake, LINKS)}
    assert {key: row["dst_url"].removeprefix(BASE) for key, row in links.items()} == {
        ("index.html", "first"): "c.html",  # by its canonical address
        ("index.html", "second"): "sub/.b.html",
        ("_a.html", "old"): "sub/.b.html",  # by the refresh
        ("c.html", "dangling"): "https://else.org/x",
        ("sub/.b.html", "Home"): "index.html",
    }  # c → _a leads back to c, and is none
    ids = {row["url"]: row["page_id"] for row in pages.values()}
    assert all(row["dst"] == ids[row["dst_url"]] for row in links.values() if row["dst_url"] in ids)
    assert {(row["zone"], row["weight"]) for row in links.values()} == {("main", 1.0), ("navigation", 0.1)}
    bad = [(Path(row["source"]).name, row["offset"], row["reason"]) for row in table(spark, lake, PAGES_REJECTED)]
    assert bad == [("empty.html", 0, "the page is empty")]
    before = everything(spark, lake)
    assert ingest_pages.main([*flags, "--mode", "merge"]) == 0
    assert everything(spark, lake) == before


def test_newest_answer_counts_and_chains_of_redirects_are_followed(spark: SparkSession, tmp_path: Path) -> None:
    def moved(path: str, to: str) -> tuple[str, str, str, str]:
        return (BASE + path, "2020-01-01", f"301 Moved\r\nLocation: {to}", "")

    old = (BASE + "p", "2020-01-01", "200 OK", "<title>old</title><main>old words <a href=r0>chain</a>")
    new = (BASE + "p", "2021-01-01", "200 OK", "<title>new</title><main>new words <a href=r0>chain</a><a href=x>x</a>")
    chain = [moved(f"r{i}", f"r{i + 1}") for i in range(16)]
    (tmp_path / "x.warc.gz").write_bytes(warc(new, old, *chain, moved("x", "y"), moved("y", "x")))
    lake, other = str(tmp_path / "lake"), str(tmp_path / "other")
    flags = ["--source", str(tmp_path / "x.warc.gz"), "--near-duplicates", "0", "--lake"]
    assert ingest_pages.main([*flags, lake]) == 0
    assert ingest_pages.main([*flags, other, "--driver-bytes", "0"]) == 0  # over workers: row for row the same
    assert everything(spark, lake) == everything(spark, other)
    assert [row["title"] for row in table(spark, lake, PAGES)] == ["new"]
    assert {row["anchor"]: row["dst_url"] for row in table(spark, lake, LINKS)} == {
        "chain": BASE + "r16",
        "x": BASE + "x",  # a circle is left alone
    }
    ends = {row["url"].removeprefix(BASE): row["target_url"] for row in table(spark, lake, REDIRECTS)}
    assert {name for name, end in ends.items() if end == BASE + "r16"} == {f"r{i}" for i in range(16)}


@pytest.mark.slow
def test_merging_two_sources_equals_reading_both(spark: SparkSession, tmp_path: Path) -> None:
    one = write(tmp_path / "one", SITE)
    (tmp_path / "two.warc.gz").write_bytes(
        warc(
            ("https://else.org/x", "2020-01-01", "301 Moved\r\nLocation: /y", ""),
            (
                "https://else.org/y",
                "2020-01-01",
                "200 OK",
                f"<title>Y</title><main><p>{TEXT}<a href={BASE}c.html>c</a>",
            ),
        )
    )
    two, together, merged = str(tmp_path / "two.warc.gz"), str(tmp_path / "together"), str(tmp_path / "merged")
    base = ["--base-url", BASE]
    assert ingest_pages.main(["--source", f"{one},{two}", *base, "--lake", together]) == 0
    assert ingest_pages.main(["--source", one, *base, "--lake", merged]) == 0
    assert ingest_pages.main(["--source", two, "--lake", merged, "--mode", "merge"]) == 0
    assert everything(spark, merged) == everything(spark, together)


@pytest.mark.skipif(not WARCS.exists(), reason=f"no WARC files at {WARCS}")
def test_every_sample_warc_is_read(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest_pages.main(["--source", str(WARCS), "--lake", str(tmp_path / "lake"), "--json"]) == 0
    said = summary(capsys)
    assert (said["pages_read"], said["rejected"], said["redirects"]) == (25, 2, 1)


def test_wrong_input_is_two_and_names_the_culprit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*flags: str) -> str:
        assert ingest_pages.main(["--lake", str(tmp_path / "lake"), *flags]) == 2, flags
        return capsys.readouterr().err

    site = write(tmp_path / "site", {"a.html": "<p>a"})
    (tmp_path / "none").mkdir()
    assert "--source" in fails()
    assert "nothing: no such file or folder" in fails("--source", str(tmp_path / "nothing"))
    assert "no file in it" in fails("--source", str(tmp_path / "none"))
    assert "a.html: HTML files need --base-url" in fails("--source", site)
    assert "--base-url ftp://x/" in fails("--source", site, "--base-url", "ftp://x/")
    assert "near_duplicates" in fails("--source", site, "--near-duplicates", "2")
    assert "cannot list it" in fails("--source", "nofs://bucket/x")
    assert not (tmp_path / "lake").exists(), "a run that failed must write nothing"

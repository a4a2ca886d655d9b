"""pages → index → answers, end to end: an index that was updated answers as one built anew."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakerank.lake.delta_arrow import ArrowSink
from lakerank.lake.delta_table import TableRef
from lakerank.lake.publications import Publications
from lakerank.lake.schemas import INDEX_DOCUMENTS, INDEX_POSTINGS, LINKS, PAGES, RANKS, SEARCH_RESULTS
from lakerank.search.pages.urls import page_id
from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.store import open_index
from spark_jobs import build_index, search

Doc = dict[str, Any]
TEXTS = [
    "The quick brown fox jumps over the lazy dog",
    "A quick introduction to inverted indexes",
    "Dogs and foxes are cousins of the wolf",
    "PageRank ranks pages by their links",
    "Wolves hunt in packs; foxes hunt alone",
    "Indexes are updated by segments",
    "The lazy cat sleeps",
    "Ranks and links and pages",
    "A fox in the snow",
    "Snow covers the wolf's tracks",
]


def web(changes: dict[int, str | None] | None = None) -> list[Doc]:
    """Ten pages, some with other texts, or none: gone."""
    texts: dict[int, str | None] = dict(enumerate(TEXTS)) | (changes or {})
    return [{"url": f"https://w.org/{n}", "title": f"Page {n}", "text": text} for n, text in texts.items() if text]


def put(lake: str, docs: Sequence[Doc], ranks: dict[str, float] | None = None, *, pages_only: bool = False) -> None:
    """Write `pages`, `links` (each page links to the next, by its title) and `ranks`."""
    pages = [
        {
            "page_id": page_id(doc["url"]), "url": doc["url"], "doc_id": doc.get("doc_id"), "title": doc["title"],
            "headings": [doc["title"]], "description": "about it", "text": doc["text"], "language": "en",
            "content_hash": hashlib.sha256(doc["text"].encode()).hexdigest(),
            "noindex": doc["url"].endswith("hidden"),
            "duplicate_of": page_id(doc["duplicate"]) if "duplicate" in doc else None, "source": "made",
        }
        for doc in docs
    ]  # fmt: skip
    links = [
        {
            "src": page_id(a), "dst": page_id(b), "src_url": a, "dst_url": b, "anchor": f"towards {b[-1]}",
            "nofollow": False, "zone": "main", "weight": 1.0,
        }
        for a, b in itertools.pairwise(doc["url"] for doc in docs)
    ]  # fmt: skip
    ranked = [{"id": page_id(url), "pagerank": rank} for url, rank in (ranks or {}).items()]
    for relation, rows in ((PAGES, pages), (LINKS, links), (RANKS, ranked)):
        if relation is PAGES or (not pages_only and (rows or relation is not RANKS)):
            table = pa.Table.from_pylist(rows, relation.arrow_schema())
            ArrowSink(TableRef.find("", relation, lake), relation, _no_spark).write(table)


def _no_spark() -> SparkSession:
    raise AssertionError("folders are written without Spark")


def answers(lake: str) -> dict[str, list[tuple[str, float, str]]]:
    """What the index says to some queries."""
    engine, out = SearchEngine(open_index(lake).index), {}
    for query in (
        "fox",
        "quick wolf",
        '"lazy dog"',
        "title:page links",
        "towards",
        "snow -wolf",
        "ranks",
        "segments fox",
    ):
        hits = engine.search(query, 20, collapse_duplicates=False).hits
        out[query] = [(hit.page.url, hit.score, hit.snippet) for hit in hits]
    return out


def built(capsys: pytest.CaptureFixture[str], lake: str, *flags: str) -> dict[str, Any]:
    assert build_index.main(["--lake", lake, "--json", *flags]) == 0
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


@pytest.mark.connect(slow=True)
def test_an_updated_index_answers_as_a_new_one(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, fresh = str(tmp_path / "lake"), str(tmp_path / "fresh")
    put(lake, [*web(), {"url": "https://w.org/hidden", "title": "x", "text": "fox fox fox"}])
    first = built(capsys, lake)
    assert first["rebuilt"]
    assert first["pages"] == 10, "a page with noindex is left out"
    before = answers(lake)
    assert before["fox"][0][0] == "https://w.org/8", "the shortest text with a fox"
    assert len(before["towards"]) == 9, "all but the first have a link to them"
    assert before['"lazy dog"'][0][2].startswith("The quick brown fox")

    changed = web({3: "Now a page on snow leopards", 5: None, 10: "A newcomer about foxes and segments"})
    put(lake, changed, {"https://w.org/0": 0.9, "https://w.org/8": 0.1})
    update = built(capsys, lake, "--update-share", "0.9")
    # 6 loses a link and gets another with the same text: no word of it has changed.
    assert {k: update[k] for k in ("rebuilt", "new", "changed", "removed")} == {
        "rebuilt": False, "new": 1, "changed": 1, "removed": 1,
    }  # fmt: skip
    assert update["touched"] == 2
    put(fresh, changed, {"https://w.org/0": 0.9, "https://w.org/8": 0.1})
    built(capsys, fresh)
    after = answers(lake)
    assert after == answers(fresh)
    assert after != before
    assert not [url for found in after.values() for url, *_ in found if url.endswith("/5")]

    # No link has changed: only pages that say something else are looked at again, with the links that lead to them.
    changed[1]["text"], changed[2]["text"] = "A wolf in a fox's coat", "Segments of snow"
    put(lake, changed, pages_only=True)
    update = built(capsys, lake, "--update-share", "0.9")
    assert [update[name] for name in ("rebuilt", "new", "changed", "removed", "touched")] == [False, 0, 2, 0, 0]
    put(fresh, changed, pages_only=True)
    built(capsys, fresh, "--rebuild")
    assert answers(lake) == answers(fresh)
    assert answers(lake)["towards"] == after["towards"] != []

    version = TableRef.find("", INDEX_DOCUMENTS, lake).version(spark)
    again = built(capsys, lake)
    assert (again["rebuilt"], again["new"], again["changed"], again["touched"]) == (False, 0, 0, 0)
    assert TableRef.find("", INDEX_DOCUMENTS, lake).version(spark) == version, "nothing is written"


@pytest.mark.slow
def test_an_index_left_half_done_is_not_seen(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = str(tmp_path / "lake")
    put(lake, web())
    built(capsys, lake)
    before = answers(lake)
    put(lake, web({3: "Now a page on snow leopards"}))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ArrowSink, "merge", killed)
        assert build_index.main(["--lake", lake]) == 130
    assert answers(lake) == before, "the postings are there, but no page refers to them"
    assert built(capsys, lake, "--rebuild")["why"] == "--rebuild"
    assert "https://w.org/3" in [url for url, *_ in answers(lake)["snow -wolf"]]


@pytest.mark.connect
def test_queries_from_a_file_and_from_the_command_line(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = str(tmp_path / "lake")
    docs = [*web(), {"url": "https://w.org/copy", "title": "Page 8", "text": TEXTS[8], "duplicate": "https://w.org/8"}]
    docs[0]["doc_id"] = "zero"
    put(lake, docs)
    built(capsys, lake)
    queries, run = tmp_path / "queries.tsv", tmp_path / "out" / "run.txt"
    queries.write_text('q1\tfox "lazy\nq2\t-wolf tracks\nq3\tunheard\n', encoding="utf-8")
    assert search.main(["--lake", lake, "--queries", str(queries), "--run-file", str(run), "--top", "3"]) == 0
    lines = [line.split() for line in run.read_text().splitlines()]
    assert [line[0] for line in lines] == ["q1", "q1", "q1", "q2", "q2"]
    assert [line[3] for line in lines] == ["1", "2", "3", "1", "2"]
    assert lines[0][2] == "zero", "documents of a collection have their own names"
    assert {line[2] for line in lines[3:]} >= {"https://w.org/9"}, "signs mean nothing in files"
    shards = tmp_path / "shards.txt"
    flags = ["--lake", lake, "--queries", str(queries), "--top", "3"]
    assert search.main([*flags, "--run-file", str(shards), "--shards", "2"]) == 0
    assert shards.read_text() == run.read_text()
    for more in ([], ["--shards", "2"]):
        assert search.main([*flags, "--out", str(tmp_path / "answers"), *more]) == 0
        rows = TableRef(str(tmp_path / "answers")).read(spark, SEARCH_RESULTS).orderBy("query_id", "rank").collect()
        assert [(row.query_id, row.document, row["rank"]) for row in rows] == [
            (line[0], line[2], int(line[3])) for line in lines
        ]
        assert {row["query"] for row in rows} == {'fox "lazy', "-wolf tracks"}
        assert {row.page_id for row in rows if row.document == "https://w.org/9"} == {page_id("https://w.org/9")}
    assert search.main([*flags, "--run-file", str(shards), "--shards", "9"]) == 2
    assert "has only 2 segments" in capsys.readouterr().err

    assert search.main(["--lake", lake, "--query", "snow fox", "--explain", "--json", "--top", "2"]) == 0
    out = capsys.readouterr().out
    summary = json.loads(out.splitlines()[-1])
    assert summary["hits"][0]["url"] == "https://w.org/8"
    assert summary["hits"][0]["copies"] == ["https://w.org/copy"]
    assert "A [fox] in the [snow]" in out
    assert "idf" in out
    assert search.main(["--lake", lake, "--export-opensearch", str(tmp_path / "bulk.ndjson")]) == 0
    bulk = [json.loads(line) for line in (tmp_path / "bulk.ndjson").read_text(encoding="utf-8").splitlines()]
    assert len(bulk) == 2 * len(docs)
    sources = {row["url"]: row for row in bulk[1::2]}
    assert sources["https://w.org/copy"]["duplicate_of"] == str(page_id("https://w.org/8"))
    assert [row["index"]["_id"] for row in bulk[::2]] == [row["page_id"] for row in bulk[1::2]]
    capsys.readouterr()
    assert search.main(["--lake", lake, "--query", "foxs wlof", "--feedback", "off"]) == 0
    assert "did you mean: foxs wolf" in capsys.readouterr().out


def test_mistakes_are_one_sentence(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = str(tmp_path / "lake")

    def fails(job: Any, *flags: str) -> str:
        assert job.main(["--lake", lake, *flags]) == 2
        return capsys.readouterr().err

    assert "no Delta table `pages`" in fails(build_index)
    assert "run ingest_pages first" in fails(build_index)
    assert "`language` must be one of" in fails(build_index, "--language", "klingon")
    assert "--query TEXT" in fails(search)
    assert "--run-file OUT" in fails(search, "--queries", "x")
    assert f"no Delta table `index_documents` at {lake}/index_documents: run build_index first" in fails(
        search, "--query", "x"
    )
    assert "cannot read it" in fails(search, "--queries", str(tmp_path / "none"), "--run-file", "y")
    put(lake, [{"url": "https://w.org/hidden", "title": "x", "text": "fox"}])
    assert "no page that may be found" in fails(build_index)


@pytest.mark.slow
def test_tables_of_the_index_can_be_read_by_anybody(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = str(tmp_path / "lake")
    put(lake, web())
    built(capsys, lake, "--language", "none")
    postings = TableRef.find("", INDEX_POSTINGS, lake).read(spark, INDEX_POSTINGS)
    found = postings.where("term = 'foxes'").agg(F.sum("pages"), F.sum("occurrences")).head(1)[0]
    assert tuple(found) == (2, 2), "words as they are written"
    newest = Publications.read(lake, lambda: spark).newest("index")
    assert newest is not None
    assert newest.settings["language"] == "none"

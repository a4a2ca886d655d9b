"""How good the answers are: test collections, and known items of a documentation, all with one configuration.

Collections (--collections, folders of docs.jsonl, queries.tsv, qrels.txt): ours as `search.py --queries` answers them
(feedback auto), without feedback, with feedback always; plain BM25 over title and text as one body (Lucene's formula
and settings), and bm25s on the same tokens. Our scores of the 1,000 best are compared with those of bm25s in float64
and in float32, its default, which adds rounding of its own to long questions. Measures are trec_eval's, means over all
judged queries.

Known items (--known-items FILE, with --lake): MRR@10 of queries that one page answers, field by field, then by weight
of the link prior, with and without feedback. The queries are texts of links on genindex.html, which would give them
away: this page and its links are left out of pages, links, ranks and index. Queries on even lines of the file are for
choosing settings, those on odd lines for the test. Ranks are PageRank over links weighted by where they stand
(`pagerank.py --weights`), beside it the naive one over all links alike. `duplicates collapsed` counts what the search
page shows: a page that is hidden under a copy of itself is lost.

    python benchmarks/bench_search_quality.py [--collections DIR …] [--known-items FILE --lake LAKE] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F
from search_data import Collection, KnownItem, index_in_memory, machine, read_collection, read_known_items, table

from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import LINKS, PAGES
from lakerank.search.evaluation import USUAL, Run, as_table, evaluate, read_measures
from lakerank.search.index.fields import PLAIN, Weighting
from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.index import Index, build_arrays
from lakerank.search.query.parse import Clause, Part, Query, plain
from lakerank.search.query.searcher import Ranking, Searcher
from lakerank.search.text.analyzer import Analyzer
from lakerank.search.text.languages import NONE
from lakerank.spark.array_store import Block
from lakerank.spark.session import session
from spark_jobs import build_index, pagerank

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "bench-search-quality"
TOP, KNOWN_TOP = 1000, 10
GIVING_AWAY = "/genindex[^/]*[.]html$"  # Sphinx may split its index into genindex-A.html, …
WEIGHTS = (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)
BEST_TERRIER = {"cranfield": 0.340, "cisi": 0.243}


def answers(searcher: Searcher, queries: Mapping[str, Query], names: Sequence[str], feedback: str) -> Run:
    """Return the 1,000 best documents of each query with their scores."""
    run: Run = {}
    for key, query in queries.items():
        found = searcher.find(query, TOP, feedback=feedback)
        run[key] = {names[page]: score for page, score in zip(found.pages, found.scores.tolist(), strict=True)}
    return run


def plain_terms(text: str, language: str) -> list[str]:
    """Return the terms of a text without pairs and stop words: the ones that BM25's length counts."""
    return [term.text for term in Analyzer(language).analyze(text) if not term.is_pair and not term.stop]


def whole_text(doc: Mapping[str, str]) -> str:
    """Join title and text; Cranfield's texts begin with the title already."""
    return doc["text"] if doc["text"].startswith(doc["title"]) else f"{doc['title']}\n{doc['text']}"


def plain_and_bm25s(data: Collection, names: Sequence[str], language: str, dtype: str) -> tuple[Run, Run, float]:
    """Measure our plain BM25, that of bm25s, and the largest difference of scores among the best 1,000 of a query.

    Raises:
        RuntimeError: the two find different numbers of documents.
    """
    texts = [plain_terms(whole_text(doc), language) for doc in data.docs]
    docs = [
        {"id": doc["id"], "title": "", "text": " ".join(words)} for doc, words in zip(data.docs, texts, strict=True)
    ]
    searcher = Searcher(Index(index_in_memory(docs, PLAIN, NONE), PLAIN, NONE), Ranking(rank_weight=0.0))
    peer = bm25s.BM25(method="lucene", k1=PLAIN.k1, b=PLAIN.bs[-1], dtype=dtype)
    peer.index(texts, show_progress=False)
    ours: Run = {}
    theirs: Run = {}
    widest = 0.0
    for key, text in data.queries.items():
        words = plain_terms(text, language)
        expected = np.asarray(peer.get_scores(words)) if words else np.zeros(len(docs))
        found = searcher.find(Query(tuple(Clause((Part(word),)) for word in words)), TOP, feedback="off")
        best = np.argsort(-expected, kind="stable")[:TOP]
        best = best[expected[best] > 0]
        if len(best) != len(found.pages):
            raise RuntimeError(f"{data.name}, query {key}: {len(found.pages)} answers, bm25s has {len(best)}")
        if len(best):
            by_page = np.abs(found.scores - expected[found.pages]).max()
            widest = max(widest, float(by_page), float(np.abs(found.scores - expected[best]).max()))
        ours[key] = {names[page]: score for page, score in zip(found.pages, found.scores.tolist(), strict=True)}
        theirs[key] = {names[page]: float(expected[page]) for page in best}
    return ours, theirs, widest


def measure_collection(folder: Path, language: str) -> dict[str, Any]:
    """Measure all runs on one collection."""
    data = read_collection(folder)
    names = [doc["id"] for doc in data.docs]
    measures = read_measures(USUAL)
    searcher = Searcher(Index(index_in_memory(data.docs, Weighting(), language), Weighting(), language))
    queries = {key: plain(text) for key, text in data.queries.items()}
    runs = {f"ours, feedback {mode}": answers(searcher, queries, names, mode) for mode in ("auto", "off", "on")}
    widest = {}
    for dtype in ("float32", "float64"):
        runs["plain BM25"], runs["bm25s, same tokens"], widest[dtype] = plain_and_bm25s(data, names, language, dtype)
    scores = {name: evaluate(run, data.qrels, measures) for name, run in runs.items()}
    print(f"\n{data.name}: {len(names):,} documents, {len(data.qrels)} judged queries")
    print(as_table(scores, list(measures)))
    shown = ", ".join(f"{value:.1e} ({dtype})" for dtype, value in widest.items())
    print(f"largest difference from bm25s's scores among the best {TOP:,}: {shown}", flush=True)
    facts: dict[str, Any] = {
        "documents": len(names),
        "judged_queries": len(data.qrels),
        "runs": {name: {key: round(value, 4) for key, value in line.items()} for name, line in scores.items()},
        "largest_difference_from_bm25s": {dtype: float(f"{value:.2e}") for dtype, value in widest.items()},
    }
    if (best := BEST_TERRIER.get(data.name)) is not None:
        facts["map_best_terrier"] = best
        facts["above_best_terrier"] = scores["ours, feedback auto"]["map"] > best
    return facts


def mrr(ask: Callable[[str], Sequence[str]], items: Sequence[KnownItem]) -> dict[str, float]:
    """Compute MRR@10 of the queries for tuning and of those for the test; `ask` gives addresses, best first."""
    halves: dict[str, list[float]] = {"tuning": [], "test": []}
    for item in items:
        urls = list(ask(item.query))[:KNOWN_TOP]
        rank = urls.index(item.url) + 1 if item.url in urls else 0
        halves["test" if item.line % 2 else "tuning"].append(1 / rank if rank else 0.0)
    return {name: round(float(np.mean(values)), 4) for name, values in halves.items()}


def without_index_page(lake: str) -> dict[str, Any]:
    """Copy a lake to `WORK` without what gives the queries away: pages, links, ranks (both kinds), index."""
    with session("bench-search-quality", "local[2]") as spark:
        pages = TableRef.find("", PAGES, lake).read(spark, PAGES)
        links = TableRef.find("", LINKS, lake).read(spark, LINKS)
        kept = pages.where(~F.col("url").rlike(GIVING_AWAY))
        told = links.where(~F.col("src_url").rlike(GIVING_AWAY) & ~F.col("dst_url").rlike(GIVING_AWAY))
        facts = {"pages": kept.count(), "links": told.count(), "pages_left_out": pages.count() - kept.count()}
        facts["links_left_out"] = links.count() - facts["links"]
        for relation, frame in ((PAGES, kept), (LINKS, told)):
            TableSink(TableRef.find("", relation, str(WORK)), relation).write(frame)
        naive = WORK / "naive_ranks"
        pagerank.run(spark, pagerank.PageRankArgs(lake=str(WORK), out=str(naive), top=0))
        pagerank.run(spark, pagerank.PageRankArgs(lake=str(WORK), weights=True, top=0))
        build_index.run(spark, build_index.Args(lake=str(WORK)))
    return facts


def with_ranks(documents: pa.Table, ranks: pa.Table) -> pa.Table:
    """Run `index_documents` with other ranks."""
    by_id = dict(zip(ranks["id"].to_pylist(), ranks["pagerank"].to_pylist(), strict=True))
    column = pa.array([by_id.get(page) for page in documents["page_id"].to_pylist()], pa.float64())
    return documents.set_column(documents.schema.get_field_index("pagerank"), "pagerank", column)


def only(weighting: Weighting, fields: int) -> Weighting:
    """Return a weighting of the body and the first `fields` of title, headings, anchors alone."""
    weights = [*weighting.weights[:fields], *[0.0] * (3 - fields), weighting.weights[3]]
    return Weighting(weighting.k1, tuple(weights), weighting.bs)


def measure_known_items(file: Path, lake: str, base: str, quick: bool) -> dict[str, Any]:
    """Measure all variants on the known items."""
    facts = without_index_page(lake)
    items = read_known_items(file, base)[:: 5 if quick else 1]
    tables = (table(WORK, "index_documents"), table(WORK, "index_postings"), table(WORK, "pages"))
    there = set(tables[2]["url"].to_pylist())
    facts |= {"queries": len(items), "wanted_pages_missing": sum(item.url not in there for item in items)}
    lines: dict[str, dict[str, float]] = {}

    def add(name: str, ask: Callable[[str], Sequence[str]]) -> None:
        lines[name] = mrr(ask, items)
        print(f"{name:44} {lines[name]['tuning']:.4f} {lines[name]['test']:.4f}", flush=True)

    def by(block: Block, weighting: Weighting, weight: float, feedback: str) -> Callable[[str], list[str]]:
        index = Index(block, weighting, "en")
        searcher, urls = Searcher(index), index.strings("url")
        return lambda text: [urls[page] for page in searcher.find(plain(text), KNOWN_TOP, weight, feedback).pages]

    print(f"\nknown items: {len(items):,} queries, {facts['pages']:,} pages, {facts['links']:,} links", flush=True)
    print(f"left out: {facts['pages_left_out']} page(s) and {facts['links_left_out']:,} links that give queries away")
    print(f"{'MRR@10':44} tuning test")
    alone = build_arrays(*tables, PLAIN, "en")
    add("plain BM25 of the body", by(alone, PLAIN, 0.0, "off"))
    for fields, name in enumerate(("body", "+ title", "+ headings", "+ anchors")):
        weighting = only(Weighting(), fields)
        block = build_arrays(*tables, weighting, "en")
        add(f"{name}, no links, no feedback", by(block, weighting, 0.0, "off"))
    for weight in WEIGHTS:
        for feedback in ("auto", "on", "off"):
            add(f"all fields, prior {weight:g}, feedback {feedback}", by(block, Weighting(), weight, feedback))
    naive = build_arrays(with_ranks(tables[0], table(WORK, "naive_ranks")), *tables[1:], Weighting(), "en")
    for weight in WEIGHTS[1:]:
        add(f"all fields, naive prior {weight:g}, feedback auto", by(naive, Weighting(), weight, "auto"))
    engine = SearchEngine(Index(block, Weighting(), "en"))
    for collapse in (False, True):

        def ask(text: str, collapse: bool = collapse) -> list[str]:
            return [hit.url for hit in engine.search(text, KNOWN_TOP, collapse_duplicates=collapse).hits]

        add(f"as the search page has it, duplicates {'collapsed' if collapse else 'kept'}", ask)
    usual = Ranking().rank_weight
    least = lines["all fields, prior 0, feedback auto"]["tuning"]
    safe = [w for w in WEIGHTS if lines[f"all fields, prior {w:g}, feedback auto"]["tuning"] >= least]
    facts |= {
        "mrr@10": lines,
        "rank_weight": usual,
        "largest_weight_that_does_not_lower_tuning": max(safe),
        "share_of_copies": round(float(np.mean(block["groups"] != block["page_ids"])), 3),
    }
    return facts


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", nargs="*", default=[], metavar="DIR", help="folders of test collections")
    parser.add_argument("--language", default="en", help="of the collections")
    parser.add_argument("--known-items", default="", metavar="FILE", help="lines `query<TAB>path` after a header")
    parser.add_argument("--lake", default="", help="with pages and links, for --known-items")
    parser.add_argument("--base-url", default="https://numpy.org/doc/2.5/", help="before the known items' paths")
    parser.add_argument("--quick", action="store_true", help="the first collection only, a fifth of the known items")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if bool(args.known_items) != bool(args.lake) or not (args.collections or args.known_items):
        parser.error("give --collections DIR …, or --known-items FILE with --lake LAKE, or both")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    folders = [Path(folder) for folder in args.collections][: 1 if args.quick else None]
    facts: dict[str, Any] = {
        "benchmark": "search-quality",
        "configuration": {"weighting": Weighting().key(), "ranking": repr(Ranking())},
        "collections": {folder.name: measure_collection(folder, args.language) for folder in folders},
    }
    if args.known_items:
        facts["known_items"] = measure_known_items(Path(args.known_items), args.lake, args.base_url, args.quick)
    facts["machine"] = machine()
    names = ("pyspark", "numpy", "bm25s", "ir-measures")
    facts["versions"] = {"python": platform.python_version(), **{name: version(name) for name in names}}
    name = f"search-quality{'-quick' if args.quick else ''}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"written to benchmarks/results/{name}")
    if args.json:
        print(json.dumps(facts))
    shutil.rmtree(WORK)
    return 0


if __name__ == "__main__":
    sys.exit(main())

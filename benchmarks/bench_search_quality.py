"""How good the answers are: test collections, and known items of documentations, all with one configuration.

Collections (--collections, folders of docs.jsonl, queries.tsv, qrels.txt): ours as `search.py --queries` answers them
(feedback auto), without feedback, with feedback always; plain BM25 over title and text as one body (Lucene's formula
and settings, stems), and bm25s on the same tokens as well as with its own tokenizer, with and without stems. Our scores
of the 1,000 best are compared with those of bm25s in float64 and in float32, its default, which adds rounding of its
own to long questions. Measures are trec_eval's, means over all judged queries. Each collection serves a second time as
"NAME, titles": the titles of its documents are the queries that one text answers, as claims and names are; feedback
must not lose them.

Known items (--site NAME FILE LAKE BASE, more than once): MRR@10 of queries that one page answers, field by field, then
by weight of the link prior, with and without feedback. The queries are texts of links on genindex.html, which would
give them away: this page and its links are left out of pages, links, ranks and index. Queries on even lines of the
file are for choosing settings, those on odd lines for the test. Ranks are PageRank over links weighted by where they
stand (`pagerank.py --weights`), beside it the naive one over all links alike. `duplicates collapsed` counts what the
search page shows: a page that is hidden under a copy of itself is lost.

The weights of the fields are chosen once more on all collections but one, and measured on that one (--choose).

    python benchmarks/bench_search_quality.py [--collections DIR …] [--site NAME FILE LAKE BASE …] [--choose] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
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
import pyarrow.compute as pc
import Stemmer
from pyspark.sql import functions as F
from search_data import Collection, KnownItem, index_in_memory, machine, read_collection, read_known_items, table

from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import LINKS, PAGES, REDIRECTS
from lakerank.search.evaluation import USUAL, Run, as_table, evaluate, read_measures
from lakerank.search.index.fields import BODY, PLAIN, Weighting
from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.index import Index, build_arrays, decode_arrays
from lakerank.search.query.parse import Clause, FormWeights, Part, Query, plain
from lakerank.search.query.searcher import Ranking, Searcher
from lakerank.search.query.statistics import collection_statistics, score_arrays
from lakerank.search.text.analyzer import Analyzer
from lakerank.search.text.languages import NONE
from lakerank.search.text.words import word_classes
from lakerank.spark.array_store import Block
from lakerank.spark.session import session
from spark_jobs import build_index, pagerank

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "bench-search-quality"
TOP, KNOWN_TOP = 1000, 10
WORDS_ALONE = FormWeights(exact=1.0, named=1.0, whole=0.0, joined=0.0, part=0.0)
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


def stemmed(text: str, language: str) -> list[str]:
    """Return the stems of a text's words without stop words: the terms that plain BM25 counts."""
    words = [term.text for term in Analyzer(language).analyze(text) if term.is_word and not term.stop]
    return word_classes(words, language)


def whole_text(doc: Mapping[str, str]) -> str:
    """Join title and text; Cranfield's texts begin with the title already."""
    return doc["text"] if doc["text"].startswith(doc["title"]) else f"{doc['title']}\n{doc['text']}"


def plain_and_bm25s(data: Collection, names: Sequence[str], language: str, dtype: str) -> tuple[Run, Run, float]:
    """Measure our plain BM25, that of bm25s, and the largest difference of scores among the best 1,000 of a query.

    Raises:
        RuntimeError: the two find different numbers of documents.
    """
    texts = [stemmed(whole_text(doc), language) for doc in data.docs]
    docs = [
        {"id": doc["id"], "title": "", "text": " ".join(words)} for doc, words in zip(data.docs, texts, strict=True)
    ]
    searcher = Searcher(Index(index_in_memory(docs, PLAIN, NONE), PLAIN), Ranking(rank_weight=0.0, forms=WORDS_ALONE))
    peer = bm25s.BM25(method="lucene", k1=PLAIN.k1, b=PLAIN.bs[BODY], dtype=dtype)
    peer.index(texts, show_progress=False)
    ours: Run = {}
    theirs: Run = {}
    widest = 0.0
    for key, text in data.queries.items():
        words = stemmed(text, language)
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


def bm25s_alone(texts: Sequence[str], queries: Mapping[str, str], names: Sequence[str], stems: bool, top: int) -> Run:
    """Answer queries by bm25s as its documentation shows it, with its own tokenizer."""
    stemmer = Stemmer.Stemmer("english") if stems else None

    def tokens(some: Sequence[str]) -> Any:
        return bm25s.tokenize(list(some), stopwords="en", stemmer=stemmer, show_progress=False)

    peer = bm25s.BM25(method="lucene", k1=PLAIN.k1, b=PLAIN.bs[BODY])
    peer.index(tokens(texts), show_progress=False)
    found = peer.retrieve(tokens(list(queries.values())), k=min(top, len(texts)), show_progress=False)
    return {
        key: {names[page]: float(score) for page, score in zip(*row, strict=True) if score > 0}
        for key, row in zip(queries, zip(found.documents.tolist(), found.scores.tolist(), strict=True), strict=True)
    }


def titles_as_queries(data: Collection) -> Collection:
    """Make a collection of known items of another one: titles ask for the texts, which do not have them."""
    docs, queries, qrels = [], {}, {}
    for doc in data.docs:
        text = doc["text"].removeprefix(doc["title"])
        docs.append({"id": doc["id"], "title": "", "text": text})
        if len(doc["title"].split()) >= 4 and len(text) > 200:
            queries[f"t{doc['id']}"], qrels[f"t{doc['id']}"] = doc["title"], {doc["id"]: 1}
    return Collection(f"{data.name}, titles", docs, queries, qrels)


def measure_collection(data: Collection, language: str) -> dict[str, Any]:
    """Measure all runs on one collection."""
    names = [doc["id"] for doc in data.docs]
    measures = read_measures(USUAL)
    searcher = Searcher(Index(index_in_memory(data.docs, Weighting(), language), Weighting()))
    queries = {key: plain(text) for key, text in data.queries.items()}
    runs = {f"ours, feedback {mode}": answers(searcher, queries, names, mode) for mode in ("auto", "off", "on")}
    widest = {}
    for dtype in ("float32", "float64"):
        runs["plain BM25"], runs["bm25s, same tokens"], widest[dtype] = plain_and_bm25s(data, names, language, dtype)
    texts = [whole_text(doc) for doc in data.docs]
    for stems in (True, False):
        name = f"bm25s, {'stems' if stems else 'words'}"
        runs[name] = bm25s_alone(texts, data.queries, names, stems, TOP)
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


def without_index_page(lake: str, work: Path) -> dict[str, Any]:
    """Copy a lake to `work` without what gives the queries away: pages, links, ranks (both kinds), index."""
    with session("bench-search-quality", "local[2]") as spark:
        pages = TableRef.find("", PAGES, lake).read(spark, PAGES)
        links = TableRef.find("", LINKS, lake).read(spark, LINKS)
        kept = pages.where(~F.col("url").rlike(GIVING_AWAY))
        told = links.where(~F.col("src_url").rlike(GIVING_AWAY) & ~F.col("dst_url").rlike(GIVING_AWAY))
        facts = {"pages": kept.count(), "links": told.count(), "pages_left_out": pages.count() - kept.count()}
        facts["links_left_out"] = links.count() - facts["links"]
        redirects = TableRef.find("", REDIRECTS, lake).read(spark, REDIRECTS)
        for relation, frame in ((PAGES, kept), (LINKS, told), (REDIRECTS, redirects)):
            TableSink(TableRef.find("", relation, str(work)), relation).write(frame)
        naive = work / "naive_ranks"
        pagerank.run(spark, pagerank.PageRankArgs(lake=str(work), out=str(naive), top=0))
        pagerank.run(spark, pagerank.PageRankArgs(lake=str(work), weights=True, top=0))
        build_index.run(spark, build_index.Args(lake=str(work)))
    return facts


def with_ranks(documents: pa.Table, ranks: pa.Table) -> pa.Table:
    """Run `index_documents` with other ranks."""
    by_id = dict(zip(ranks["id"].to_pylist(), ranks["pagerank"].to_pylist(), strict=True))
    column = pa.array([by_id.get(page) for page in documents["page_id"].to_pylist()], pa.float64())
    return documents.set_column(documents.schema.get_field_index("pagerank"), "pagerank", column)


def only(weighting: Weighting, fields: int) -> Weighting:
    """Return a weighting of the body and the first `fields` of title, headings, anchors alone."""
    weights = [*weighting.weights[:fields], *[0.0] * (3 - fields), *weighting.weights[3:]]
    return Weighting(weighting.k1, tuple(weights), weighting.bs)


@dataclasses.dataclass(frozen=True)
class Site:
    """A documentation: name, file of known items, lake, what stands before the addresses in the file."""

    name: str
    file: str
    lake: str
    base: str


def read_site(work: Path) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Read documents, postings and pages of the index in a copied lake."""
    return table(work, "index_documents"), table(work, "index_postings"), table(work, "pages")


def measure_known_items(site: Site, quick: bool) -> dict[str, Any]:
    """Measure all variants on the known items of a documentation."""
    work = WORK / site.name
    facts = without_index_page(site.lake, work)
    items = read_known_items(Path(site.file), site.base)[:: 5 if quick else 1]
    tables = read_site(work)
    indexed = set(tables[0]["page_id"].to_pylist())
    there = {
        url
        for url, page in zip(*(tables[2][n].to_pylist() for n in ("url", "page_id")), strict=True)
        if page in indexed
    }
    facts |= {"queries": len(items), "wanted_pages_missing": sum(item.url not in there for item in items)}
    facts["pages_indexed"] = len(indexed)
    lines: dict[str, dict[str, float]] = {}

    def add(name: str, ask: Callable[[str], Sequence[str]]) -> None:
        lines[name] = mrr(ask, items)
        print(f"{name:44} {lines[name]['tuning']:.4f} {lines[name]['test']:.4f}", flush=True)

    def by(block: Block, weighting: Weighting, weight: float, feedback: str) -> Callable[[str], list[str]]:
        index = Index(block, weighting)
        searcher, urls = Searcher(index), index.strings("url")
        return lambda text: [urls[page] for page in searcher.find(plain(text), KNOWN_TOP, weight, feedback).pages]

    print(
        f"\n{site.name}, known items: {len(items):,} queries, {facts['pages']:,} pages, {facts['links']:,} links",
        flush=True,
    )
    print(f"left out: {facts['pages_left_out']} page(s) and {facts['links_left_out']:,} links that give queries away")
    print(f"{'MRR@10':44} tuning test")
    chosen = tables[2].filter(pc.is_in(tables[2]["page_id"], pa.array(sorted(indexed), pa.int64())))
    urls = chosen["url"].to_pylist()
    texts = {"body": chosen["text"].to_pylist()}
    both = zip(chosen["title"].to_pylist(), texts["body"], strict=True)
    texts["title and body"] = [f"{title}\n{text}" for title, text in both]
    for what, some in texts.items():
        for stems in (True, False):
            run = bm25s_alone(some, {item.query: item.query for item in items}, urls, stems, KNOWN_TOP)
            add(f"bm25s, {what}, {'stems' if stems else 'words'}", lambda text, run=run: list(run[text]))
    alone = build_arrays(*tables, PLAIN)
    add("plain BM25 of the body", by(alone, PLAIN, 0.0, "off"))
    for fields, name in enumerate(("body", "+ title", "+ headings", "+ anchors")):
        weighting = only(Weighting(), fields)
        block = build_arrays(*tables, weighting)
        add(f"{name}, no links, no feedback", by(block, weighting, 0.0, "off"))
    for weight in WEIGHTS:
        for feedback in ("auto", "on", "off"):
            add(f"all fields, prior {weight:g}, feedback {feedback}", by(block, Weighting(), weight, feedback))
    naive = build_arrays(with_ranks(tables[0], table(work, "naive_ranks")), *tables[1:], Weighting())
    for weight in WEIGHTS[1:]:
        add(f"all fields, naive prior {weight:g}, feedback auto", by(naive, Weighting(), weight, "auto"))
    engine = SearchEngine(Index(block, Weighting()))
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


GRID = [
    Weighting(weights=(title, heading, anchor, 1.0, 0.5), bs=(0.75, narrow, 0.75, 0.65, 0.65))
    for title in (3.0, 8.0)
    for heading in (2.0, 5.0)
    for anchor in (3.0, 8.0)
    for narrow in (0.1, 0.4)
]


def choose_fields(collections: Sequence[Collection], sites: Sequence[Site], language: str) -> dict[str, Any]:
    """Choose fields' weights on all collections but one, measure on that one; a score is MAP or MRR@10, no feedback."""
    scores: dict[str, list[float]] = {}
    for data in collections:
        names, queries = [doc["id"] for doc in data.docs], {key: plain(text) for key, text in data.queries.items()}
        scores[data.name] = []
        for weighting in GRID:
            searcher = Searcher(Index(index_in_memory(data.docs, weighting, language), weighting))
            run = answers(searcher, queries, names, "off")
            scores[data.name].append(evaluate(run, data.qrels, read_measures("map"))["map"])
    for site in sites:
        items, tables = read_known_items(Path(site.file), site.base)[::4], read_site(WORK / site.name)
        scores[site.name] = []
        block = decode_arrays(*tables)
        for weighting in GRID:
            statistics = collection_statistics(block, weighting)
            index = Index(block | score_arrays(block, statistics, weighting), weighting)
            searcher, urls = Searcher(index), index.strings("url")
            found = mrr(lambda text, s=searcher, u=urls: [u[n] for n in s.find(plain(text), KNOWN_TOP).pages], items)
            scores[site.name].append((found["tuning"] + found["test"]) / 2)
    facts: dict[str, Any] = {}
    for left_out, own in scores.items():
        others = [np.log(values) for name, values in scores.items() if name != left_out]
        best = int(np.argmax(np.sum(others, axis=0))) if others else 0
        facts[left_out] = {
            "chosen_by_others": GRID[best].key(), "score": round(own[best], 4), "best_of_grid": round(max(own), 4),
            "worst_of_grid": round(min(own), 4),
        }  # fmt: skip
        print(
            f"fields chosen without {left_out}: {own[best]:.4f} (best {max(own):.4f}, worst {min(own):.4f})", flush=True
        )
    return facts


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", nargs="*", default=[], metavar="DIR", help="folders of test collections")
    parser.add_argument("--language", default="en", help="of the collections")
    parser.add_argument(
        "--site", nargs=4, action="append", default=[], metavar=("NAME", "FILE", "LAKE", "BASE"),
        help="known items: lines `query<TAB>path` after a header, a lake with pages and links, what comes before paths",
    )  # fmt: skip
    parser.add_argument("--choose", action="store_true", help="choose the fields' weights by leaving one out")
    parser.add_argument("--quick", action="store_true", help="the first collection only, a fifth of the known items")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not (args.collections or args.site):
        parser.error("give --collections DIR …, or --site NAME FILE LAKE BASE, or both")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    folders = [Path(folder) for folder in args.collections][: 1 if args.quick else None]
    collections = [read_collection(folder) for folder in folders]
    sites = [Site(*given) for given in args.site]
    ranking = Ranking()
    facts: dict[str, Any] = {
        "benchmark": "search-quality",
        "configuration": {"weighting": Weighting().key(), "ranking": repr(ranking)},
        "collections": {
            data.name: measure_collection(data, args.language)
            for one in collections
            for data in (one, titles_as_queries(one))
        },
        "known_items": {site.name: measure_known_items(site, args.quick) for site in sites},
    }
    if args.choose:
        facts["fields_by_leaving_one_out"] = choose_fields(collections, sites, args.language)
    facts["overview"] = overview(facts)
    heads = ("bm25s, stems", "bm25s, words", "plain BM25", "ours")
    print(f"\n{'':24} " + " ".join(f"{head:>13}" for head in heads))
    for name, row in facts["overview"].items():
        print(f"{name:24} " + " ".join(f"{row[head]:13.4f}" for head in heads))
    facts["machine"] = machine()
    names = ("pyspark", "numpy", "bm25s", "ir-measures", "icu4py", "pystemmer")
    facts["versions"] = {"python": platform.python_version(), **{name: version(name) for name in names}}
    name = f"search-quality{'-quick' if args.quick else ''}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"written to benchmarks/results/{name}")
    if args.json:
        print(json.dumps(facts))
    shutil.rmtree(WORK)
    return 0


def overview(facts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return one line for each collection: MAP, or of known items MRR@10 over all queries."""
    out: dict[str, dict[str, float]] = {}
    for name, one in facts["collections"].items():
        runs = {run: line["map"] for run, line in one["runs"].items()}
        out[name] = {key: runs[key] for key in ("bm25s, stems", "bm25s, words", "plain BM25")}
        out[name]["ours"] = runs["ours, feedback auto"]
    for name, one in facts["known_items"].items():
        lines = {key: (line["tuning"] + line["test"]) / 2 for key, line in one["mrr@10"].items()}
        out[name] = {
            "bm25s, stems": lines["bm25s, title and body, stems"],
            "bm25s, words": lines["bm25s, title and body, words"],
            "plain BM25": lines["plain BM25 of the body"],
            "ours": lines[f"all fields, prior {Ranking().rank_weight:g}, feedback auto"],
        }
    return out


if __name__ == "__main__":
    sys.exit(main())

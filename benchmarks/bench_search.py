"""Search, on time: index, update and queries of ours against Lucene, bm25s and tantivy, same pages, in one run.

Pages: those of --lake (the NumPy documentation), then copies of them that lost a random 0 to 30 % of their lines, up to
--pages, each with an address and id of its own (search_data.py). The vocabulary stays that of the originals. Queries:
the known items (--known-items). Two cores for everybody; peers and settings: search_peers.py.

Index: ours is the job `build_index` in a warm session, from the Delta tables `pages` and `ranks` (made up, Pareto) to
written Delta tables; it indexes titles, headings and bodies with positions. Lucene and tantivy index title and body
with positions to disk, bm25s title and body as one text, without positions. Lucene's tokens keep `a.b.c` whole, so that
fewer pages match and fewer known items are found. Update: 1 % of the pages get another text and `build_index` runs
again; afterwards the answers to 200 queries are compared with those of a rebuild, ids and scores.

Queries: the Spark session is closed. Single: `SearchEngine.search`, ten results with snippets, also with `site:`, `+`,
`-` and with all matches counted. Opening: whole, and after each update. Memory: what the process holds besides mapped
files. Batched: the first ten by `Searcher.find`, feedback auto, in two processes that map the same index, as `search.py
--queries` does in Spark's workers; in one process; in two threads. Pruned answers are compared with exhaustive ones for
all queries.

A ratio is the peer's time over ours, of medians: above 1 ours is faster. bm25s has two backends, Lucene and tantivy
several ways to be asked: ratios are to each one's fastest.

    python benchmarks/bench_search.py --lake LAKE --known-items FILE [--pages N] [--quick] [--ours-only] [--json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from search_data import (
    KnownItem,
    machine,
    made_up_ranks,
    many_pages,
    percentiles,
    read_known_items,
    table,
    write_for_peers,
)
from search_peers import VERSIONS, run_lucene, run_python_peer

from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import PAGES, RANKS
from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.parse import plain
from lakerank.search.query.store import open_index
from lakerank.spark.session import session
from lakerank.webapp.store import own_memory
from spark_jobs import build_index

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "bench-search"
LAKE, WARM_LAKE = WORK / "lake", WORK / "warm-lake"
CORES = 2
FILES = 8  # of generated pages
WARM_UP_PAGES = 500
CHANGED_SHARE = 0.01
COMPARED = 200
PASSES = 5
# How the same queries are asked one by one.
FORMS = {"plain": "{}", "site": "site:numpy.org {}", "must": "+{}", "must not": "{} -matrix", "counted": "{}"}
Best = tuple[list[int], list[float]]  # page ids and scores of one query


def write_lake(spark: SparkSession, source: Path, lake: Path) -> None:
    """Write `pages` and `ranks` from Parquet."""
    for relation in (PAGES, RANKS):
        frame = spark.read.parquet(str(source / relation.name))
        TableSink(TableRef.find("", relation, str(lake)), relation).write(frame)


def change(spark: SparkSession, lake: Path, turn: int) -> int:
    """Give 1 % of the pages, others in every turn, another text; how many."""
    ref = TableRef.find("", PAGES, str(lake))
    every = round(1 / CHANGED_SHARE)
    drawn = ref.read(spark, PAGES).where(F.pmod(F.xxhash64("page_id"), F.lit(every)) == turn)
    words = F.lit(f"\nRevised in turn {turn}: the array is broadcast before it is reshaped.")
    new = drawn.withColumns({"text": F.concat("text", words), "content_hash": F.concat("content_hash", F.lit(turn))})
    changed = new.localCheckpoint()
    TableSink(ref, PAGES).merge(changed.withColumn("removed", F.lit(False)), "removed")
    return changed.count()


def build(spark: SparkSession, lake: Path, rebuild: bool = False) -> float:
    """Measure the seconds of one run of the job."""
    begun = time.perf_counter()
    build_index.run(spark, build_index.Args(lake=str(lake), rebuild=rebuild))
    return time.perf_counter() - begun


def best(engine: SearchEngine, queries: Sequence[str]) -> list[Best]:
    """Return the ten best pages of each query."""
    found = [engine.searcher.find(plain(query)) for query in queries]
    return [(engine.index.block["page_ids"][one.pages].tolist(), one.scores.tolist()) for one in found]


def compare(one: Sequence[Best], other: Sequence[Best]) -> dict[str, Any]:
    """Count the queries with the same ids and scores, and find the largest difference between scores."""
    same = sum(a == b for a, b in zip(one, other, strict=True))
    ids = sum(a[0] == b[0] for a, b in zip(one, other, strict=True))
    pairs = [(x, y) for a, b in zip(one, other, strict=True) for x, y in zip(a[1], b[1], strict=False)]
    return {
        "queries": len(one), "same_ids_and_scores": same, "same_ids": ids,
        "largest_difference_of_scores": max((abs(x - y) for x, y in pairs), default=0.0),
    }  # fmt: skip


def opened(lake: Path) -> SearchEngine:
    """Open the lake's engine; the decoded index stays in the lake."""
    return SearchEngine(open_index(str(lake)).index)


def index_and_update(spark: SparkSession, queries: Sequence[str], repeats: int) -> dict[str, Any]:
    """Time rebuilds and updates, compare an updated index with a rebuilt one."""
    build(spark, WARM_LAKE)
    for turn in range(2):
        change(spark, WARM_LAKE, turn)
        build(spark, WARM_LAKE)
    build(spark, WARM_LAKE, rebuild=True)
    whole, updates, changed, opens = [], [], [], []
    for _ in range(repeats):
        whole.append(build(spark, LAKE, rebuild=True))
        print(f"index: {whole[-1]:.2f} s", flush=True)
    for turn in range(repeats):
        changed.append(change(spark, LAKE, turn))
        updates.append(build(spark, LAKE))
        begun = time.perf_counter()
        opened(LAKE)
        opens.append(round(time.perf_counter() - begun, 3))
        print(f"update of {changed[-1]:,} pages: {updates[-1]:.2f} s", flush=True)
    asked = queries[:COMPARED]
    updated = best(opened(LAKE), asked)
    build(spark, LAKE, rebuild=True)
    return {
        "index_seconds": [round(second, 3) for second in whole],
        "update_seconds": [round(second, 3) for second in updates],
        "pages_changed": changed,
        "open_after_update_seconds": opens,
        "update_share_of_rebuild": round(statistics.median(updates) / statistics.median(whole), 4),
        "update_against_rebuild": compare(updated, best(opened(LAKE), asked)),
    }


def size_mib(folder: Path) -> float:
    """Return the size of a table's newest version."""
    return round(sum(DeltaTable(str(folder)).get_add_actions(flatten=True)["size_bytes"].to_pylist()) / 2**20, 1)


_engine: SearchEngine | None = None  # of a worker process


def _open_worker(lake: Path) -> None:
    global _engine
    _engine = opened(lake)


def _answer(queries: Sequence[str]) -> list[Best]:
    assert _engine is not None
    return best(_engine, queries)


def rate(ask: Callable[[], object], queries: int) -> float:
    """Measure queries per second: the median of some passes after two that warm up."""
    seconds = []
    for turn in range(2 + PASSES):
        begun = time.perf_counter()
        ask()
        if turn >= 2:
            seconds.append(time.perf_counter() - begun)
    return round(queries / statistics.median(seconds), 1)


def serve(items: Sequence[KnownItem]) -> dict[str, Any]:
    """Open the index, answer queries one by one and in batches, check against exhaustive scoring."""
    shutil.rmtree(LAKE / "_index_cache", ignore_errors=True)
    facts: dict[str, Any] = {}
    before = own_memory()
    for name in ("first_open_seconds", "later_open_seconds"):
        begun = time.perf_counter()
        engine = opened(LAKE)
        facts[name] = round(time.perf_counter() - begun, 3)
    queries = [item.query for item in items]
    taken: dict[str, list[float]] = {name: [] for name in FORMS}
    for turn in range(2):
        for query in queries:
            for name, form in FORMS.items():  # one after another, so that all meet the same machine
                asked = form.format(query)
                begun = time.perf_counter()
                engine.search(asked, count=name == "counted")
                if turn:
                    taken[name].append(1000 * (time.perf_counter() - begun))
    facts["single_ms"] = percentiles(taken["plain"])
    facts["ms_by_form"] = {name: percentiles(one) for name, one in taken.items()}
    middle = statistics.median(taken["plain"])
    facts["forms_against_plain"] = {name: round(statistics.median(one) / middle, 3) for name, one in taken.items()}
    facts["own_bytes_per_page"] = round((own_memory() - before) / max(len(engine.index), 1))
    parts = [queries[at : at + 100] for at in range(0, len(queries), 100)]
    rates = {"1 process": rate(lambda: best(engine, queries), len(queries))}
    with ThreadPoolExecutor(CORES) as threads:
        ask = lambda: list(threads.map(lambda part: best(engine, part), parts))  # noqa: E731
        rates[f"{CORES} threads"] = rate(ask, len(queries))
    with multiprocessing.get_context("spawn").Pool(CORES, _open_worker, (LAKE,)) as pool:
        rates[f"{CORES} processes"] = rate(lambda: pool.map(_answer, parts, chunksize=1), len(queries))
    facts["queries_per_second"] = rates
    identical = pruned = 0
    for query in queries:
        fast = engine.searcher.find(plain(query))
        slow = engine.searcher.find(plain(query), exhaustive=True)
        pruned += fast.matches < 0
        identical += np.array_equal(fast.pages, slow.pages) and np.array_equal(fast.scores, slow.scores)
    facts["pruned_against_exhaustive"] = {"queries": len(queries), "identical": identical, "pruned": pruned}
    urls = engine.index.strings("url")
    answers = [[urls[page].split("?")[0] for page in engine.searcher.find(plain(item.query)).pages] for item in items]
    hits = [item.url in urls for item, urls in zip(items, answers, strict=True)]
    return facts | {"found_in_10": round(statistics.mean(hits), 4)}


def rates_of(facts: dict[str, Any]) -> dict[str, float]:
    """Compute documents and queries per second, the latter by the fastest way of asking."""
    pages = facts["pages"] / statistics.median(facts["index_seconds"])
    return {"documents_per_second": round(pages, 1), "best": max(facts["queries_per_second"].values())}


def print_tables(lines: dict[str, dict[str, Any]]) -> None:
    """Print the table."""
    print(f"\n{'':8} {'documents/s':>12} {'queries/s':>10}  {'p50':>7} {'p95':>7} {'p99':>7} ms   found in 10")
    for name, facts in lines.items():
        single, speeds = facts["single_ms"], rates_of(facts)
        middle = f"{single['p50']:7.3f} {single['p95']:7.3f} {single['p99']:7.3f}"
        numbers = f"{speeds['documents_per_second']:12,.0f} {speeds['best']:10,.0f}"
        print(f"{name:8} {numbers}  {middle}      {facts['found_in_10']:.4f}")


def prepare(args: argparse.Namespace) -> list[KnownItem]:
    """Write pages and ranks as Parquet, and the peers' files; the known items whose pages are there."""
    originals = table(Path(args.lake), "pages", [column.name for column in PAGES.columns])
    originals = originals.filter([not url.endswith("/genindex.html") for url in originals["url"].to_pylist()])
    pages = many_pages(originals.sort_by("url"), args.pages, args.seed)
    for folder, n in ((WORK / "source", len(pages)), (WORK / "warm-source", WARM_UP_PAGES)):
        for name in ("pages", "ranks"):
            (folder / name).mkdir(parents=True)
        for part in range(FILES):
            piece = pages.slice(part * n // FILES, (part + 1) * n // FILES - part * n // FILES)
            pq.write_table(piece, folder / "pages" / f"{part}.parquet")
        ranks = made_up_ranks(pages["page_id"].to_numpy()[:n], args.seed)
        pq.write_table(ranks, folder / "ranks" / "0.parquet")
    there = set(pages["url"].to_pylist())
    items = [item for item in read_known_items(Path(args.known_items), args.base_url) if item.url in there]
    write_for_peers(pages, [item.query for item in items], WORK)
    (WORK / "wanted.txt").write_text("".join(f"{item.url}\n" for item in items), encoding="utf-8")
    return items


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", required=True, help="with the pages to repeat")
    parser.add_argument("--known-items", required=True, metavar="FILE", help="lines `query<TAB>path` after a header")
    parser.add_argument("--base-url", default="https://numpy.org/doc/2.5/", help="before the known items' paths")
    parser.add_argument("--pages", type=int, default=35_000)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each indexing and update")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="5,000 pages, each indexing once")
    parser.add_argument("--ours-only", action="store_true", help="without the peers")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.pages, args.repeats = 5_000, 1
    shutil.rmtree(WORK, ignore_errors=True)
    items = prepare(args)
    lines: dict[str, dict[str, Any]] = {}
    with session("bench-search", f"local[{CORES}]") as spark:
        write_lake(spark, WORK / "source", LAKE)
        write_lake(spark, WORK / "warm-source", WARM_LAKE)
        lines["ours"] = index_and_update(spark, [item.query for item in items], args.repeats)
    names = ("index_postings", "index_documents")
    lines["ours"] |= {"pages": args.pages, "index_mib": {name: size_mib(LAKE / name) for name in names}}
    lines["ours"] |= serve(items)
    print(json.dumps(lines["ours"], indent=1), flush=True)
    if not args.ours_only:
        lines["lucene"] = run_lucene(WORK, CORES, args.repeats)
        for name in ("bm25s", "tantivy"):
            lines[name] = run_python_peer(name, WORK, CORES, args.repeats)
    print_tables(lines)
    mine = rates_of(lines["ours"])
    facts: dict[str, Any] = {
        "benchmark": "search",
        "pages": args.pages,
        "queries": len(items),
        "text_mib": round((WORK / "docs.bin").stat().st_size / 2**20, 1),
        "seed": args.seed,
        "engines": lines,
    }
    for name in list(lines)[1:]:
        theirs = rates_of(lines[name])
        facts[f"ratio_{name}_index"] = round(mine["documents_per_second"] / theirs["documents_per_second"], 3)
        facts[f"ratio_{name}_queries"] = round(mine["best"] / theirs["best"], 3)
        print(f"{name}: index ×{facts[f'ratio_{name}_index']}, queries ×{facts[f'ratio_{name}_queries']}")
    facts["machine"] = machine()
    own = {name: version(name) for name in ("pyspark", "numpy", "pyarrow", "numba")}
    facts["versions"] = {"python": platform.python_version(), **own, **VERSIONS}
    name = f"search-{args.pages}{'-quick' if args.quick else ''}{'-ours' if args.ours_only else ''}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"written to benchmarks/results/{name}")
    if args.json:
        print(json.dumps(facts))
    shutil.rmtree(WORK)
    return 0


if __name__ == "__main__":
    sys.exit(main())

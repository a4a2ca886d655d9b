"""One run of another search engine in its own interpreter (see `search_peers.py`): NAME FOLDER THREADS REPEATS.

Texts are in memory before the clock starts; indexing is timed to the index on disk. Queries are analysed in the time
that is counted.

Names: bm25s (title and text as one body, English stems, both backends), tantivy (title and body, en_stem, positions).
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import struct
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

WARM_PASSES, PASSES = 2, 5
Answers = list[list[int]]  # numbers of the ten best pages of each query


def read_docs(folder: Path) -> list[tuple[str, str, str]]:
    """Read url, title and text of each page."""
    data, at, texts = (folder / "docs.bin").read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        texts.append(data[at + 4 : at + 4 + size].decode("utf-8"))
        at += 4 + size
    return list(zip(texts[::3], texts[1::3], texts[2::3], strict=True))


def rate(ask: Callable[[], object], queries: int) -> float:
    """Measure queries per second: the median of some passes after others that warm up."""
    seconds = []
    for turn in range(WARM_PASSES + PASSES):
        begun = time.perf_counter()
        ask()
        if turn >= WARM_PASSES:
            seconds.append(time.perf_counter() - begun)
    return round(queries / statistics.median(seconds), 1)


def single(ask: Callable[[str], object], queries: Sequence[str]) -> dict[str, float]:
    """Measure the milliseconds of one query at a time."""
    taken = []
    for query in queries:
        begun = time.perf_counter()
        ask(query)
        taken.append(1000 * (time.perf_counter() - begun))
    return {f"p{p}": round(float(np.percentile(taken, p)), 3) for p in (50, 95, 99)}


def found(answers: Answers, urls: Sequence[str], wanted: Sequence[str]) -> float:
    """Compute the share of queries with the wanted page or a copy of it among the first ten."""
    hits = [url in {urls[page].split("?")[0] for page in best} for best, url in zip(answers, wanted, strict=True)]
    return round(statistics.mean(hits), 4)


def by_bm25s(folder: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Run bm25s as its documentation shows it."""
    import bm25s
    import Stemmer

    docs, queries = read_docs(folder), (folder / "queries.txt").read_text(encoding="utf-8").splitlines()
    stem = Stemmer.Stemmer("english")
    corpus = [f"{title}\n{text}" for _, title, text in docs]

    def tokens(texts: Sequence[str]) -> Any:
        return bm25s.tokenize(list(texts), stopwords="en", stemmer=stem, show_progress=False)

    seconds, out = [], folder / "bm25s"
    for _ in range(repeats):
        shutil.rmtree(out, ignore_errors=True)
        begun = time.perf_counter()
        index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        index.index(tokens(corpus), show_progress=False)
        index.save(str(out), show_progress=False)
        seconds.append(round(time.perf_counter() - begun, 3))
    rates: dict[str, float] = {}
    alone: dict[str, float] = {}
    answers: Answers = []
    for backend in ("numpy", "numba"):
        index = bm25s.BM25.load(str(out))
        if backend == "numba":
            index.backend = "numba"
            index.activate_numba_scorer()

        def ask(texts: Sequence[str], workers: int, index: Any = index) -> Answers:
            best = index.retrieve(tokens(texts), k=10, show_progress=False, n_threads=workers)
            return [
                [page for page, score in zip(*row, strict=True) if score > 0]
                for row in zip(best.documents.tolist(), best.scores.tolist(), strict=True)
            ]

        for workers in (1, threads):
            rates[f"{backend}, {workers} thread{'s' * (workers > 1)}"] = rate(
                lambda n=workers, f=ask: f(queries, n), len(queries)
            )
        alone = single(lambda query, f=ask: f([query], 1), queries[:300])
        answers = ask(queries, 1)
    wanted = (folder / "wanted.txt").read_text(encoding="utf-8").splitlines()
    return {
        "pages": len(docs), "index_seconds": seconds, "queries_per_second": rates, "single_ms": alone,
        "found_in_10": found(answers, [doc[0] for doc in docs], wanted),
    }  # fmt: skip


def by_tantivy(folder: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Run tantivy through its Python package; a stored number leads from a hit to the page."""
    import tantivy

    docs, queries = read_docs(folder), (folder / "queries.txt").read_text(encoding="utf-8").splitlines()
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("number", stored=True)
    for field in ("title", "body"):
        builder.add_text_field(field, stored=False, tokenizer_name="en_stem", index_option="position")
    schema = builder.build()
    seconds, out = [], folder / "tantivy"
    for _ in range(repeats):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        begun = time.perf_counter()
        index = tantivy.Index(schema, path=str(out))
        writer = index.writer(heap_size=512_000_000, num_threads=threads)
        for number, (_, title, text) in enumerate(docs):
            writer.add_document(tantivy.Document(number=number, title=title, body=text))
        writer.commit()
        writer.wait_merging_threads()
        seconds.append(round(time.perf_counter() - begun, 3))
    index.reload()
    searcher = index.searcher()
    # Its query language gives signs a meaning; words alone are what the others get.
    plain = [" ".join(re.findall(r"\w+", query.lower())) for query in queries]

    def ask(text: str) -> Any:
        return searcher.search(index.parse_query(text, ["title", "body"]), 10).hits

    rates = {"1 thread": rate(lambda: [ask(text) for text in plain], len(plain))}
    with ThreadPoolExecutor(threads) as pool:
        parts = [plain[i::threads] for i in range(threads)]
        rates[f"{threads} threads"] = rate(
            lambda: list(pool.map(lambda part: [ask(text) for text in part], parts)), len(plain)
        )
    answers = [[searcher.doc(address)["number"][0] for _, address in ask(text)] for text in plain]
    wanted = (folder / "wanted.txt").read_text(encoding="utf-8").splitlines()
    return {
        "pages": searcher.num_docs, "index_seconds": seconds, "queries_per_second": rates,
        "single_ms": single(ask, plain), "found_in_10": found(answers, [doc[0] for doc in docs], wanted),
    }  # fmt: skip


if __name__ == "__main__":
    runs = {"bm25s": by_bm25s, "tantivy": by_tantivy}
    print(json.dumps(runs[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))

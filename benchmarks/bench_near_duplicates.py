"""Near-duplicates: ours against datasketch's MinHashLSH, on the same edited real texts, in one run.

Texts: abstracts (Cranfield, CISI) and pages of the NumPy documentation, each with copies in which words were replaced,
inserted and deleted at a random rate, so that similarities spread over 0.5 to 1, half of them close to the threshold.
Truth: the Jaccard similarity of all pairs of sets of 5 words, computed exactly from an inverted index with Python's own
regular expressions and strings. Time runs from texts in memory to pairs; for Spark from Parquet to rows. Ours is warm
(compiled) and timed --repeats times, the peer once; both use one process, Spark two cores.

    python benchmarks/bench_near_duplicates.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray
from scipy import sparse
from selectolax.lexbor import LexborHTMLParser

from lakerank.search.near_duplicates import mark_duplicates, near_pairs
from lakerank.search.near_duplicates.shingles import Banding
from lakerank.spark.session import session

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LAKERANK_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
RESULTS = ROOT / "benchmarks" / "results"
WIDTH, PERMUTATIONS = 5, 128
WORD = re.compile(r"[^\W_]+")
Pairs = set[tuple[int, int]]


def sources() -> list[str]:
    """Return the unedited texts."""
    texts = []
    for name in ("cranfield", "cisi"):
        lines = (DATA / "ir" / name / "docs.jsonl").read_text(encoding="utf-8").splitlines()
        texts += [json.loads(line)["text"] for line in lines]
    with tempfile.TemporaryDirectory() as folder, tarfile.open(DATA / "web" / "numpy-docs.tar.gz") as archive:
        archive.extractall(folder, filter="data")
        for file in sorted(Path(folder).rglob("*.html")):
            tree = LexborHTMLParser(file.read_bytes())
            body = tree.css_first("article") or tree.css_first("main") or tree.body
            texts.append(body.text(separator=" ") if body else "")
    return texts


def edited(text: str, rate: float, vocabulary: list[str], rng: np.random.Generator) -> str:
    """Edit that share of a text's words: a third each is replaced, deleted, or followed by a new one."""
    words = text.split()
    kinds = np.where(rng.random(len(words)) < rate, rng.integers(1, 4, len(words)), 0)
    new = rng.integers(0, len(vocabulary), len(words))
    out: list[str] = []
    for word, kind, other in zip(words, kinds.tolist(), new.tolist(), strict=True):
        out += [[word], [vocabulary[other]], [], [word, vocabulary[other]]][kind]
    return " ".join(out)


def corpus(n: int, threshold: float, seed: int) -> list[str]:
    """Make `n` texts in random order: every source text, and edited copies of them in turn."""
    rng = np.random.default_rng(seed)
    base = sources()
    vocabulary = sorted({word for text in base for word in text.split()})
    # An edit touches WIDTH shingles, which both sides lose: J = (1 - x) / (1 + x) with x = WIDTH * rate.
    close = (1 - threshold) / (1 + threshold) / WIDTH
    texts = base[:n]
    for i in range(n - len(texts)):
        rate = rng.uniform(0, 3 * close) if i % 2 else rng.uniform(0.7 * close, 1.3 * close)
        texts.append(edited(base[i % len(base)], rate, vocabulary, rng))
    return [texts[i] for i in rng.permutation(len(texts))]


def shingles(text: str) -> list[str]:
    """Return the shingles of a text by their definition, in plain Python."""
    words = WORD.findall(text.lower())
    return [" ".join(words[i : i + WIDTH]) for i in range(max(len(words) - WIDTH + 1, bool(words)))]


def similarities(texts: list[str]) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Yield (i, j, exact Jaccard similarity) of all pairs i < j that share a shingle, some rows at a time."""
    numbers: dict[str, int] = {}
    sets = [np.unique([numbers.setdefault(one, len(numbers)) for one in shingles(text)]) for text in texts]
    sizes = np.array([len(one) for one in sets])
    at = np.concatenate([[0], np.cumsum(sizes)])
    columns = np.concatenate(sets).astype(np.int64)
    matrix = sparse.csr_matrix((np.ones(len(columns), np.int32), columns, at), (len(sets), len(numbers)))
    other = matrix.T.tocsr()
    for first in range(0, len(sets), 500):
        common = (matrix[first : first + 500] @ other).tocoo()
        i, j, both = common.row + first, common.col, common.data
        i, j, both = (values[i < j] for values in (i, j, both))
        yield i, j, both / (sizes[i] + sizes[j] - both)


def truth(texts: list[str], threshold: float) -> tuple[Pairs, dict[str, int]]:
    """Return all pairs at or above the threshold, and the number of pairs of each tenth from 0.5 on."""
    pairs: Pairs = set()
    counts = np.zeros(6, np.int64)
    for i, j, alike in similarities(texts):
        keep = alike >= threshold
        pairs |= set(zip(i[keep].tolist(), j[keep].tolist(), strict=True))
        counts += np.histogram(alike, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1])[0]
    return pairs, dict(zip(("0.5", "0.6", "0.7", "0.8", "0.9", "1.0"), counts.tolist(), strict=True))


def by_datasketch(texts: list[str], threshold: float) -> Pairs:
    """Find pairs by datasketch as its documentation shows it: insert all, then query each."""
    lsh = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    hashed = []
    for number, text in enumerate(texts):
        found = MinHash(num_perm=PERMUTATIONS)
        words = shingles(text)
        if words:
            found.update_batch([one.encode() for one in words])
            lsh.insert(number, found, check_duplication=False)
            hashed.append((number, found))
    return {(min(a, b), max(a, b)) for a, one in hashed for b in lsh.query(one) if a != b}


def groups(pairs: Pairs, urls: list[str]) -> dict[int, int]:
    """Return the expected marks: for each copy the page of its connected group with the least url."""
    nodes = len(urls)
    ends = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(ends)), ends.T), (nodes, nodes))
    label = sparse.csgraph.connected_components(graph, directed=False)[1].tolist()
    best: dict[int, int] = {}
    for page in sorted(range(nodes), key=lambda page: (len(urls[page]), urls[page])):
        best.setdefault(label[page], page)
    return {page: best[label[page]] for page in range(nodes) if best[label[page]] != page}


def timed(work: Callable[[], Any], repeats: int) -> tuple[Any, list[float]]:
    """Return the last result and the seconds of each run."""
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = work()
        seconds.append(round(time.perf_counter() - begun, 3))
    return result, seconds


def score(found: set[Any], wanted: set[Any], n: int, seconds: list[float]) -> dict[str, Any]:
    """Compute recall and precision of pairs or of marked pages, and documents per second (median)."""
    right = len(found & wanted)
    return {
        "recall": round(right / max(len(wanted), 1), 5),
        "precision": round(right / max(len(found), 1), 5),
        "documents_per_second": round(n / statistics.median(seconds)),
        "seconds": seconds,
    }


def on_spark(texts: list[str], wanted: Pairs, threshold: float, repeats: int) -> dict[str, Any]:
    """Run `mark_duplicates` by both plans."""
    urls = [f"https://example.org/{number:06d}" for number in range(len(texts))]
    right = set(groups(wanted, urls).items())
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, session("bench-near-duplicates", "local[2]") as spark:
        spark.sparkContext.setLogLevel("ERROR")
        pages = pa.table({"page_id": np.arange(len(texts)), "url": urls, "text": texts})
        for part in range(4):
            size = -(-len(texts) // 4)
            pq.write_table(pages.slice(part * size, size), Path(folder) / f"{part}.parquet")
        frame = spark.read.parquet(folder)
        results = []
        for name, held in (("one task", 1 << 40), ("distributed", 0)):
            mark_duplicates(frame.limit(300), threshold, one_task_bytes=held).toArrow()

            def work(held: int = held) -> pa.Table:
                return mark_duplicates(frame, threshold, one_task_bytes=held).toArrow()

            table, seconds = timed(work, repeats)
            rows = set(zip(table.column("page_id").to_pylist(), table.column("duplicate_of").to_pylist(), strict=True))
            results.append(set(map(tuple, (row.values() for row in table.to_pylist()))))
            out[f"spark, {name}"] = score(rows, right, len(texts), seconds)
        out["spark plans agree"] = results[0] == results[1]
    return out


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 35_000])
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours")
    parser.add_argument("--quick", action="store_true", help="10,000 documents only")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    facts: dict[str, Any] = {"benchmark": "near-duplicates", "threshold": args.threshold, "shingle_words": WIDTH}
    facts |= {"seed": args.seed, "banding": vars(Banding.for_threshold(args.threshold)), "runs": []}
    for n in [10_000] if args.quick else args.documents:
        texts = corpus(n, args.threshold, args.seed)
        wanted, spread = truth(texts, args.threshold)
        run: dict[str, Any] = {"documents": n, "megabytes": round(sum(map(len, texts)) / 1e6, 1)}
        run |= {"pairs": len(wanted), "pairs_from": spread, "load_before": [round(one, 1) for one in os.getloadavg()]}
        near_pairs(texts[:50], args.threshold)
        (ends, _), seconds = timed(lambda texts=texts: near_pairs(texts, args.threshold), args.repeats)
        run["ours"] = score(set(map(tuple, ends.tolist())), wanted, n, seconds)
        found, theirs = timed(lambda texts=texts: by_datasketch(texts, args.threshold), 1)
        run["datasketch"] = score(found, wanted, n, theirs)
        run["ratio_datasketch"] = round(theirs[0] / statistics.median(seconds), 1)
        run |= on_spark(texts, wanted, args.threshold, args.repeats)
        facts["runs"].append(run)
        print(json.dumps(run, indent=1), flush=True)
    facts["ratio_datasketch"] = facts["runs"][-1]["ratio_datasketch"]
    facts["machine"] = f"{os.cpu_count()} cores, {platform.machine()}"
    names = ("pyspark", "numpy", "numba", "pyarrow", "datasketch")
    facts["versions"] = {"python": platform.python_version()} | {name: version(name) for name in names}
    RESULTS.mkdir(exist_ok=True)
    name = f"near-duplicates{'-quick' if args.quick else ''}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"written to benchmarks/results/{name}")
    if args.json:
        print(json.dumps(facts))


if __name__ == "__main__":
    main()

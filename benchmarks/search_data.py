"""Inputs of the search benchmarks: test collections, known items, and pages for a lake or for the peers."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from numpy.typing import NDArray

from lakerank.search.evaluation import Qrels, read_qrels
from lakerank.search.index.fields import Weighting
from lakerank.search.index.segment import SegmentBuilder, unpacked_pages
from lakerank.search.query.batch import read_queries
from lakerank.search.query.index import build_arrays
from lakerank.spark.array_store import Block

# Line k of the numbered copies keeps its place; a copy loses up to this share of its lines, so that pages differ.
LOST_LINES = 0.3


@dataclass(frozen=True)
class Collection:
    """Documents (`id`, `title`, `text`), queries by id, judgements."""

    name: str
    docs: Sequence[Mapping[str, str]]
    queries: Mapping[str, str]
    qrels: Qrels


def read_collection(folder: Path) -> Collection:
    """Read a folder of docs.jsonl, queries.tsv and qrels.txt."""
    lines = (folder / "docs.jsonl").read_text(encoding="utf-8").splitlines()
    queries, _ = read_queries((folder / "queries.tsv").read_bytes(), str(folder / "queries.tsv"))
    qrels = read_qrels((folder / "qrels.txt").read_text(encoding="utf-8"), str(folder / "qrels.txt"))
    return Collection(folder.name, [json.loads(line) for line in lines], queries, qrels)


@dataclass(frozen=True)
class KnownItem:
    """A query, the address of the page that should come first, and the query's line in the file, from 1."""

    query: str
    url: str
    line: int


def read_known_items(file: Path, base: str) -> list[KnownItem]:
    """Read lines `query<TAB>path` after a header; `base` is put before the paths."""
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    return [KnownItem(row[0], base + row[1], number) for number, row in enumerate(rows[1:], start=2)]


PACKED = ("page_id", "key", "pagerank", "duplicate_of")


def index_in_memory(docs: Sequence[Mapping[str, str]], weighting: Weighting, language: str) -> Block:
    """Build the arrays of an index of documents by the job's own steps without Spark; pages are numbered as given."""
    empty = pa.array([[]] * len(docs), pa.list_(pa.string()))
    ids = pa.array(range(len(docs)), pa.int64())
    titles, texts = (pa.array([doc[name] for doc in docs], pa.string()) for name in ("title", "text"))
    ranks, originals = pa.nulls(len(docs), pa.float64()), pa.nulls(len(docs), pa.int64())
    builder = SegmentBuilder(1, language)
    builder.add(
        pa.record_batch(
            [ids, ids, ranks, originals, pa.array([language] * len(docs)), titles, empty, empty, texts],
            names=[*PACKED, "language", "title", "headings", "anchors", "text"],
        )
    )
    postings = pa.Table.from_batches(list(builder.finish()))
    listed = unpacked_pages(postings["postings"][0].as_py(), postings["positions"][0].as_py())
    segments = pa.array([1] * len(docs), pa.int64())
    documents = pa.Table.from_batches([listed.append_column("segment", segments)])
    names = pa.array([doc["id"] for doc in docs], pa.string())
    shown = {
        "page_id": ids,
        "language": pa.array([language] * len(docs)),
        "url": names,
        "doc_id": names,
        "title": titles,
        "description": titles,
        "text": texts,
    }
    return build_arrays(documents, postings, pa.table(shown), weighting, language)


def table(lake: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a lake's table."""
    return DeltaTable(str(lake / name)).to_pyarrow_table(columns=None if columns is None else list(columns))


def many_pages(pages: pa.Table, n: int, seed: int) -> pa.Table:
    """Make `n` pages with addresses and ids of their own: those given, then copies that lost some of their lines.

    A copy keeps title and headings and a random 70 to 100 % of its lines; the vocabulary stays that of the originals.
    """
    rng = np.random.default_rng(seed)
    order = np.arange(n) % len(pages)
    chosen = pages.take(pa.array(order))
    urls, texts = chosen["url"].to_pylist(), chosen["text"].to_pylist()
    for i in range(len(pages), n):
        lines = np.array(texts[i].split("\n"), dtype=object)
        kept = rng.random(len(lines)) >= LOST_LINES * rng.random()
        texts[i], urls[i] = "\n".join(lines[kept]), f"{urls[i]}?copy={i // len(pages)}"
    ids = rng.permutation(np.arange(n, dtype=np.int64) * 2_654_435_761 + 12_345)
    new = {
        "page_id": pa.array(ids),
        "url": pa.array(urls, pa.string()),
        "text": pa.array(texts, pa.string()),
        "content_hash": pa.array([f"{i:016x}-0" for i in range(n)], pa.string()),
        "noindex": pa.array([False] * n),
        "duplicate_of": pa.nulls(n, pa.int64()),
        "similarity": pa.nulls(n, pa.float64()),
    }
    for name, column in new.items():
        chosen = chosen.set_column(chosen.schema.get_field_index(name), name, column)
    return chosen


def made_up_ranks(page_ids: NDArray[np.int64], seed: int) -> pa.Table:
    """Make `ranks` as uneven as those of the web (Pareto, exponent 2.1), so that the link prior takes part."""
    values = np.random.default_rng(seed).pareto(1.1, len(page_ids)) + 0.1
    return pa.table({"id": page_ids, "pagerank": values / values.sum()})


def write_for_peers(pages: pa.Table, queries: Sequence[str], folder: Path) -> None:
    """Write docs.bin (url, title, text of each page in UTF-8, each after its length, int32 big-endian), queries.txt."""
    with (folder / "docs.bin").open("wb") as file:
        for row in zip(*(pages[name].to_pylist() for name in ("url", "title", "text")), strict=True):
            for text in row:
                data = (text or "").encode("utf-8")
                file.write(struct.pack(">i", len(data)) + data)
    (folder / "queries.txt").write_text("".join(f"{query}\n" for query in queries), encoding="utf-8")


def machine() -> str:
    """Return the number of cores and the processor's name."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores, {model}"


def percentiles(milliseconds: Sequence[float]) -> dict[str, Any]:
    """Return the percentiles p50, p95, p99."""
    return {f"p{p}": round(float(np.percentile(milliseconds, p)), 3) for p in (50, 95, 99)}

"""Small indexes built without Spark, and the plainest possible search to compare with."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakerank.search.index.fields import Weighting
from lakerank.search.index.segment import SegmentBuilder, unpacked_pages
from lakerank.search.query.index import SHOWN, Index, build_arrays
from lakerank.spark.array_store import Block

Doc = Mapping[str, Any]


def batch(docs: Sequence[Doc]) -> pa.RecordBatch:
    """Pages as `SegmentBuilder.add` takes them; whatever a page does not say is empty."""
    strings = pa.list_(pa.string())
    return pa.record_batch(
        {
            "page_id": pa.array([doc["page_id"] for doc in docs], pa.int64()),
            "key": pa.array([doc.get("key", 0) for doc in docs], pa.int64()),
            "pagerank": pa.array([doc.get("pagerank") for doc in docs], pa.float64()),
            "duplicate_of": pa.array([doc.get("duplicate_of") for doc in docs], pa.int64()),
            "language": pa.array([doc.get("language", "en") for doc in docs], pa.string()),
            "title": pa.array([doc.get("title", "") for doc in docs], pa.string()),
            "headings": pa.array([doc.get("headings", []) for doc in docs], strings),
            "anchors": pa.array([doc.get("anchors") for doc in docs], strings),
            "text": pa.array([doc.get("text", "") for doc in docs], pa.string()),
        }
    )


def segments(parts: Sequence[Sequence[Doc]], language: str = "") -> tuple[pa.Table, pa.Table]:
    """`index_postings` and, for every page of every segment, its row of `index_documents`."""
    batches, listed = [], []
    for number, docs in enumerate(parts, start=1):
        builder = SegmentBuilder(number, language)
        builder.add(batch(docs))
        found = list(builder.finish())
        batches += found
        pages = unpacked_pages(found[0]["postings"][0].as_py(), found[0]["positions"][0].as_py())
        listed.append(pages.append_column("segment", pa.array([number] * len(pages), pa.int64())))
    return pa.Table.from_batches(batches), pa.Table.from_batches(listed)


def pages_table(docs: Sequence[Doc]) -> pa.Table:
    """What is shown of pages."""
    shown = {"url": lambda doc: f"https://example.org/{doc['page_id']}"}
    columns = {"page_id": pa.array([doc["page_id"] for doc in docs], pa.int64())}
    columns["language"] = pa.array([doc.get("language", "en") for doc in docs], pa.string())
    columns["fetched_at"] = pa.array([doc.get("fetched_at") for doc in docs], pa.timestamp("us", "UTC"))
    for name in ("url", "doc_id", "title", "description", "text", *SHOWN):
        values = [doc.get(name, shown[name](doc) if name in shown else "") for doc in docs]
        columns[name] = pa.array(values, pa.string())
    return pa.table(columns)


def arrays_of(docs: Sequence[Doc], weighting: Weighting, language: str = "en") -> Block:
    """The arrays of an index with one segment."""
    postings, documents = segments([docs], language)
    return build_arrays(documents, postings, pages_table(docs), weighting, language)


def index_of(docs: Sequence[Doc], weighting: Weighting | None = None, language: str = "en") -> Index:
    """An open index."""
    weighting = weighting or Weighting()
    return Index(arrays_of(docs, weighting, language), weighting)


def slow_bm25(texts: Sequence[Sequence[str]], query: Sequence[str], k1: float, b: float) -> list[float]:
    """BM25 as Lucene has it, by the book: texts and query as lists of terms."""
    n, counts = len(texts), [Counter(text) for text in texts]
    mean = sum(len(text) for text in texts) / n
    scores = []
    for text, tf in zip(texts, counts, strict=True):
        score = 0.0
        for term in query:
            df = sum(term in other for other in counts)
            if df and tf[term]:
                idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
                score += idf * tf[term] / (tf[term] + k1 * (1 - b + b * len(text) / mean))
        scores.append(score)
    return scores


def collection(folder: Path) -> tuple[list[Doc], dict[str, str], dict[str, dict[str, int]]]:
    """A test collection: documents, queries, judgements."""
    lines = (folder / "docs.jsonl").read_text(encoding="utf-8").splitlines()
    docs = [{**json.loads(line), "page_id": number} for number, line in enumerate(lines)]
    docs = [{**doc, "doc_id": doc["id"]} for doc in docs]
    queries = dict(line.split("\t", 1) for line in (folder / "queries.tsv").read_text(encoding="utf-8").splitlines())
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.txt").read_text(encoding="utf-8").splitlines():
        query, _, document, grade = line.split()
        qrels.setdefault(query, {})[document] = int(grade)
    return docs, queries, qrels


def words(text: str) -> list[str]:
    """Words of ASCII text, lower case."""
    return re.findall(r"[a-z0-9_]+", text.lower())

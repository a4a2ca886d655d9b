"""From the tables of an index to the arrays that answer queries: decoded once, then mapped from disk."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.search.index.coding import decode
from lakerank.search.index.fields import FIELDS, Weighting
from lakerank.search.index.segment import PAGES_TERM
from lakerank.search.query.statistics import scored, statistics_of
from lakerank.spark.array_store import Block

FORMAT = 3  # of the arrays; those of another one are decoded anew
TEXTS = ("url", "doc_id", "title", "description", "text", "host")


def build_arrays(
    documents: pa.Table, postings: pa.Table, pages: pa.Table, weighting: Weighting, language: str
) -> Block:
    """Decode an index and score its postings: `decoded`, then `scored` with its own statistics."""
    block = decoded(documents, postings, pages)
    return block | scored(block, statistics_of(block, weighting), weighting, language)


def decoded(documents: pa.Table, postings: pa.Table, pages: pa.Table, snippets: bool = True) -> Block:
    """Decode an index, or a part of one.

    Args:
        documents: `index_documents`.
        postings: `index_postings`.
        pages: `page_id`, `url`, `doc_id`, `title`, `description`, `text` of at least the indexed pages.
        snippets: whether to keep the pages' texts.

    Returns:
        Arrays by name; `Index` says what they are.
    """
    documents = documents.sort_by([("segment", "ascending"), ("ordinal", "ascending")])
    headers = postings.filter(pc.equal(postings["term"], PAGES_TERM)).sort_by("segment")
    rows = postings.filter(pc.not_equal(postings["term"], PAGES_TERM))
    block = _pages(documents, pages, snippets)
    numbers, bases = _numbers(documents, headers)
    return block | _terms(rows, numbers, bases) | {"lengths": _lengths(documents)}


def _column(table: pa.Table, name: str) -> NDArray[Any]:
    return np.ascontiguousarray(table[name].to_numpy())


def _lengths(documents: pa.Table) -> NDArray[np.int32]:
    flat = documents["lengths"].combine_chunks()
    values = flat.flatten() if isinstance(flat, pa.Array) else pa.concat_arrays([c.flatten() for c in flat.chunks])
    lengths: NDArray[np.int32] = values.to_numpy().astype(np.int32).reshape(len(documents), len(FIELDS))
    return lengths


def _pages(documents: pa.Table, pages: pa.Table, snippets: bool) -> Block:
    """What is known of each page, in the order of the documents."""
    ids = _column(documents, "page_id")
    found = _column(pages, "page_id")
    order = np.argsort(found, kind="stable")
    at = np.searchsorted(found[order], ids)
    at = np.minimum(at, max(len(order) - 1, 0))
    if len(ids) and not (len(found) and np.array_equal(found[order][at], ids)):
        raise ValueError("pages of the index are missing from `pages`")
    chosen = pages.take(pa.array(order[at])) if len(ids) else pages.slice(0, 0)
    urls = chosen["url"].to_pylist()
    names = {"url": urls, "host": [urlsplit(url).hostname or "" for url in urls]}
    for name in ("doc_id", "title", "description", "text"):
        names[name] = chosen[name] if snippets or name != "text" else [""] * len(ids)
    copies = documents["duplicate_of"]
    group = pc.fill_null(copies, 0).to_numpy()
    rank = pc.fill_null(documents["pagerank"], 0.0).to_numpy()
    block: Block = {
        "page_ids": ids,
        "groups": np.where(pc.is_valid(copies).to_numpy(zero_copy_only=False), group, ids).astype(np.int64),
        "pageranks": rank.astype(np.float64),
        "tie": np.argsort(np.argsort(ids, kind="stable"), kind="stable").astype(np.int32),
    }
    for name in TEXTS:
        block |= _strings(name, names[name])
    return block


def _strings(name: str, values: Any) -> Block:
    """A list of texts as bytes and where each ends."""
    column = values if isinstance(values, pa.ChunkedArray) else pa.array(values, pa.string())
    column = pc.fill_null(column, "").cast(pa.large_string())
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], pa.large_string())
    if not len(whole):
        return {f"{name}_data": np.empty(0, np.uint8), f"{name}_ends": np.empty(0, np.int64)}
    offsets = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole) + 1]
    data = np.frombuffer(whole.buffers()[2], np.uint8) if whole.buffers()[2] else np.empty(0, np.uint8)
    return {f"{name}_data": data[offsets[0] : offsets[-1]], f"{name}_ends": offsets[1:] - offsets[0]}


def _numbers(documents: pa.Table, headers: pa.Table) -> tuple[NDArray[np.int32], dict[int, int]]:
    """Number of each page of each segment in the open index (-1: no longer there), and where segments begin."""
    bases, total = {}, 0
    for segment, pages in zip(headers["segment"].to_pylist(), headers["pages"].to_pylist(), strict=True):
        bases[segment] = total
        total += pages
    numbers = np.full(total, -1, np.int32)
    begin = np.array([bases[segment] for segment in documents["segment"].to_pylist()], np.int64)
    if len(documents):
        numbers[begin + _column(documents, "ordinal")] = np.arange(len(documents), dtype=np.int32)
    return numbers, bases


def _terms(rows: pa.Table, numbers: NDArray[np.int32], bases: dict[int, int]) -> Block:
    """All lists, decoded, a term's segments one after another."""
    order = pc.sort_indices(rows, [("term", "ascending"), ("segment", "ascending")]).to_numpy()
    names = rows["term"].take(pa.array(order)).combine_chunks() if len(rows) else pa.array([], pa.string())
    names = pa.concat_arrays(names.chunks) if isinstance(names, pa.ChunkedArray) else names
    fresh = np.ones(len(names), np.bool_)
    if len(names) > 1:
        fresh[1:] = pc.not_equal(names[1:], names[:-1]).to_numpy(zero_copy_only=False)
    lists = np.cumsum(fresh, dtype=np.int64) - 1
    terms = int(lists[-1]) + 1 if len(lists) else 0
    counts = _column(rows, "pages")[order].astype(np.int32)
    occurrences = _column(rows, "occurrences")[order]
    postings, begins = _bytes(rows["postings"])
    positions, position_begins = _bytes(rows["positions"])
    base = np.array([bases[s] for s in rows["segment"].to_pylist()], np.int64)[order]
    n, m = int(counts.sum()), int(occurrences.sum())
    docs, tfs = np.empty(n, np.int32), np.zeros((n, len(FIELDS)), np.uint16)
    ends, places, sizes = np.empty(n, np.int64), np.empty(m, np.uint32), np.zeros(terms, np.int64)
    n, m = decode(
        postings, begins[order], counts, base, lists, numbers, sizes,
        docs, tfs, positions, position_begins[order], ends, places,
    )  # fmt: skip
    words = rows["word"].take(pa.array(order[fresh])) if terms else []
    unique = names.filter(pa.array(fresh)) if terms else names
    block: Block = {"ends": np.cumsum(sizes), "docs": docs[:n], "tfs": tfs[:n], "place_ends": ends[:n]}
    block["places"] = places[:m]
    return block | _strings("term", pa.chunked_array([unique])) | _strings("word", words)


def _bytes(column: pa.ChunkedArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of a binary column, and where each row begins."""
    if not len(column):
        return np.zeros(1, np.uint8), np.empty(0, np.int64)
    whole = column.cast(pa.large_binary()).combine_chunks()
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    offsets = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole)]
    return np.frombuffer(whole.buffers()[2], np.uint8), offsets

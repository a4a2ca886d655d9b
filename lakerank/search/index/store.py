"""The search index of a lake, opened: decoded once for each version, mapped from a local folder after that."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowTable, GetSpark
from lakerank.lake.delta_table import TableRef, is_catalog_name
from lakerank.lake.schemas import INDEX_DOCUMENTS, INDEX_POSTINGS, PAGES
from lakerank.spark.array_cache import trim, used
from lakerank.spark.array_store import Block, BlockStore

Build = Callable[[pa.Table, pa.Table, pa.Table, str], Block]  # documents, postings, pages, language → arrays
CACHE_BYTES = 20e9
_NEEDED_PAGES = ("page_id", "url", "doc_id", "title", "description", "text")


@dataclass(frozen=True)
class OpenIndex:
    """Arrays of one version of an index.

    Attributes:
        block: what `Build` made, mapped from disk.
        language: that queries are analysed in.
        version: of `index_documents`.
        folder: where the block is kept, for other processes to map: a store's root and a key.
    """

    block: Block
    language: str
    version: int
    folder: tuple[str, str]


@dataclass(frozen=True)
class IndexPart:
    """Some segments of one version of an index, for a worker to open.

    Attributes:
        lake: where the tables are; each worker reads them itself.
        segments: of this part.
        stamp: of the version (see build_index). version: of `index_documents`. key: names it in caches.
    """

    lake: str
    segments: tuple[int, ...]
    stamp: Mapping[str, Any]
    version: int
    key: str

    @property
    def language(self) -> str:
        """That queries are analysed in."""
        return str(self.stamp["main_language"])

    def block(self, folder: str, name: str, build: Callable[[pa.Table, pa.Table, pa.Table], Block]) -> Block:
        """What `build` makes of the part's documents, postings and pages; kept in `folder` on this machine."""
        store = used(BlockStore.open(folder, "--cache-dir").below(self.key))
        if not store.has(name):
            documents = ArrowTable(
                TableRef.find("", INDEX_DOCUMENTS, self.lake), INDEX_DOCUMENTS, _no_spark, self.version
            )
            chosen = [("segment", "in", list(self.segments))]
            own = documents.read([column.name for column in INDEX_DOCUMENTS.columns], chosen)
            postings = _postings(self.lake, self.stamp, _no_spark)
            pages = ArrowTable(TableRef(self.stamp["pages"]), PAGES, _no_spark, int(self.stamp["pages_version"]))
            shown = pages.read(_NEEDED_PAGES[:-1])
            shown = shown.filter(pc.is_in(shown["page_id"], own["page_id"].combine_chunks()))
            rows = postings.read([column.name for column in INDEX_POSTINGS.columns], chosen)
            store.put(name, build(own, rows, shown))
        return store.get(name)


def index_parts(lake: str, parts: int) -> list[IndexPart]:
    """Cut the newest version of an index into parts of about equally many pages, by whole segments.

    Raises:
        UserError: there is no index, it is in a catalog, or it has fewer segments than parts are wanted.
    """
    if is_catalog_name(lake):
        raise UserError(f"--parts: workers read the tables of {lake} themselves, so give --lake as a path")
    documents = ArrowTable(TableRef.find("", INDEX_DOCUMENTS, lake), INDEX_DOCUMENTS, _no_spark)
    stamp = json.loads(documents.stamp)
    counts = documents.read(["segment"]).group_by("segment").aggregate([("segment", "count")]).to_pylist()
    if parts > len(counts):
        raise UserError(f"--parts {parts}: the index at {lake} has only {len(counts)} segments")
    shares: list[list[int]] = [[] for _ in range(parts)]
    filled = [0] * parts
    for row in sorted(counts, key=lambda row: (-row["segment_count"], row["segment"])):
        least = filled.index(min(filled))
        shares[least].append(row["segment"])
        filled[least] += row["segment_count"]
    name = f"{documents.identity}-{documents.version}"
    keys = [hashlib.sha256(f"{name}-{sorted(share)}".encode()).hexdigest()[:20] for share in shares]
    return [
        IndexPart(lake, tuple(sorted(share)), stamp, documents.version, key)
        for share, key in zip(shares, keys, strict=True)
    ]


def _postings(lake: str, stamp: Mapping[str, Any], get: GetSpark) -> ArrowTable:
    ref = TableRef.find("", INDEX_POSTINGS, lake)
    return ArrowTable(ref, INDEX_POSTINGS, get, int(stamp["postings_version"]))


def cache_folder(lake: str, given: str) -> str:
    """Where opened indexes are kept: as given, beside a local lake's tables, or in the temporary folder."""
    if given:
        return given
    if "://" in lake or is_catalog_name(lake):
        return str(Path(tempfile.gettempdir()) / "lakerank-index")
    return str(Path(lake) / "_index_cache")


def open_index(
    lake: str, cache: str, build: Build, settings: Mapping[str, Any], get_spark: GetSpark | None = None
) -> OpenIndex:
    """Open the newest version of a lake's index.

    Args:
        lake: where the tables are.
        cache: folder for decoded indexes, or empty for the usual one.
        build: makes the arrays.
        settings: what the arrays depend on, besides the tables.
        get_spark: gives a session for tables of a catalog.

    Raises:
        UserError: there is no index, or it was made by another version of this project.
    """
    get = get_spark or _no_spark
    documents = ArrowTable(TableRef.find("", INDEX_DOCUMENTS, lake), INDEX_DOCUMENTS, get)
    if not documents.stamp:
        raise UserError(f"{documents.ref.location}: was not finished by build_index; run it again")
    stamp = json.loads(documents.stamp)
    facts = json.dumps([documents.identity, documents.version, dict(settings)], sort_keys=True)
    key = hashlib.sha256(facts.encode()).hexdigest()[:20]
    parent = BlockStore.open(cache_folder(lake, cache), "--cache-dir")
    store = parent.below(key)
    if not store.has("arrays"):
        postings = _postings(lake, stamp, get)
        pages = ArrowTable(TableRef(stamp["pages"]), PAGES, get, int(stamp["pages_version"]))
        block = build(
            documents.read([column.name for column in INDEX_DOCUMENTS.columns]),
            postings.read([column.name for column in INDEX_POSTINGS.columns]),
            pages.read(_NEEDED_PAGES),
            stamp["main_language"],
        )
        used(store).put("arrays", block)
        trim(parent, CACHE_BYTES, {key})
    used(store)
    return OpenIndex(store.get("arrays"), stamp["main_language"], documents.version, (store.root, "arrays"))


def _no_spark() -> SparkSession:
    raise UserError("tables of a catalog need a Spark session: run this with spark-submit or --remote")

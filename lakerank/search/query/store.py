"""The search index of a lake, opened: decoded once for each version, mapped from a local folder after that."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowTable, GetSpark
from lakerank.lake.delta_table import TableRef, is_catalog_name
from lakerank.lake.schemas import INDEX_DOCUMENTS, INDEX_POSTINGS, PAGES
from lakerank.search.index.fields import Weighting
from lakerank.search.query.index import FORMAT, PAGE_COLUMNS, Index, build_arrays, decode_arrays
from lakerank.spark.array_cache import trim, used
from lakerank.spark.array_store import Block, BlockStore

CACHE_BYTES = 20e9
_DOCUMENT_COLUMNS = [column.name for column in INDEX_DOCUMENTS.columns]
_POSTING_COLUMNS = [column.name for column in INDEX_POSTINGS.columns]


@dataclass(frozen=True)
class OpenIndex:
    """One version of a lake's index.

    Attributes:
        index: its arrays are mapped from disk.
        version: of `index_documents`.
        folder: where the arrays are kept, for other processes to map: a store's root and a key.
    """

    index: Index
    version: int
    folder: tuple[str, str]


@dataclass(frozen=True)
class IndexShard:
    """Some segments of one version of an index, for a worker to open.

    Attributes:
        lake: where the tables are; each worker reads them itself.
        segments: of this shard.
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

    def decoded(self, folder: str) -> Block:
        """Return the shard's arrays without texts (`decode_arrays`); kept in `folder` on this machine."""
        store = used(BlockStore.open(folder, "--cache-dir").below(self.key))
        if not store.has("decoded"):
            documents = _documents(self.lake, no_spark, self.version)
            chosen = [("segment", "in", list(self.segments))]
            own = documents.read(_DOCUMENT_COLUMNS, chosen)
            pages = ArrowTable(TableRef(self.stamp["pages"]), PAGES, no_spark, int(self.stamp["pages_version"]))
            stored = pages.read([name for name in PAGE_COLUMNS if name != "text"])
            stored = stored.filter(pc.is_in(stored["page_id"], own["page_id"].combine_chunks()))
            postings = _postings(self.lake, self.stamp, no_spark).read(_POSTING_COLUMNS, chosen)
            store.put("decoded", decode_arrays(own, postings, stored, snippets=False))
        return store.get("decoded")


def index_shards(lake: str, count: int) -> list[IndexShard]:
    """Cut the newest version of an index into shards of about equally many pages, by whole segments.

    Raises:
        UserError: there is no index, it is in a catalog, or it has fewer segments than shards are wanted.
    """
    if is_catalog_name(lake):
        raise UserError(f"--shards: workers read the tables of {lake} themselves, so give --lake as a path")
    documents = _documents(lake, no_spark)
    stamp = json.loads(documents.stamp)
    counts = documents.read(["segment"]).group_by("segment").aggregate([("segment", "count")]).to_pylist()
    if count > len(counts):
        raise UserError(f"--shards {count}: the index at {lake} has only {len(counts)} segments")
    shares: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for row in sorted(counts, key=lambda row: (-row["segment_count"], row["segment"])):
        least = filled.index(min(filled))
        shares[least].append(row["segment"])
        filled[least] += row["segment_count"]
    name = f"{documents.identity}-{documents.version}-{FORMAT}-{PAGE_COLUMNS}"
    keys = [hashlib.sha256(f"{name}-{sorted(share)}".encode()).hexdigest()[:20] for share in shares]
    return [
        IndexShard(lake, tuple(sorted(share)), stamp, documents.version, key)
        for share, key in zip(shares, keys, strict=True)
    ]


def index_version(lake: str, get_spark: GetSpark) -> tuple[str, int]:
    """Return an identifier of the newest version of a lake's index: the table's id and version, from its log alone.

    Raises:
        UserError: there is no index.
    """
    documents = _documents(lake, get_spark)
    return documents.identity, documents.version


def open_index(lake: str, cache_dir: str = "", get_spark: GetSpark | None = None) -> OpenIndex:
    """Open the newest version of a lake's index.

    Args:
        lake: where the tables are.
        cache_dir: folder for decoded indexes, or empty for the usual one.
        get_spark: gives a session for tables of a catalog.

    Raises:
        UserError: there is no index, or it was made by another version of this project.
    """
    get, weighting = get_spark or no_spark, Weighting()
    documents = _documents(lake, get)
    if not documents.stamp:
        raise UserError(f"{documents.ref.location}: was not finished by build_index; run it again")
    stamp = json.loads(documents.stamp)
    made_from = [documents.identity, documents.version, weighting.key(), FORMAT, PAGE_COLUMNS]
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:20]
    parent = BlockStore.open(cache_folder(lake, cache_dir), "--cache-dir")
    store = parent.below(key)
    if not store.has("arrays"):
        pages = ArrowTable(TableRef(stamp["pages"]), PAGES, get, int(stamp["pages_version"]))
        block = build_arrays(
            documents.read(_DOCUMENT_COLUMNS),
            _postings(lake, stamp, get).read(_POSTING_COLUMNS),
            pages.read(PAGE_COLUMNS),
            weighting,
            stamp["main_language"],
        )
        used(store).put("arrays", block)
        trim(parent, CACHE_BYTES, {key})
    used(store)
    index = Index(store.get("arrays"), weighting, stamp["main_language"])
    return OpenIndex(index, documents.version, (store.root, "arrays"))


def cache_folder(lake: str, given: str) -> str:
    """Return the cache folder of opened indexes: as given, beside a local lake's tables, or in the temporary folder."""
    if given:
        return given
    if "://" in lake or is_catalog_name(lake):
        return str(Path(tempfile.gettempdir()) / "lakerank-index")
    return str(Path(lake) / "_index_cache")


def read_text(path: str, flag: str) -> str:
    """Return the text of a file.

    Raises:
        UserError: it cannot be read, or is not UTF-8; `flag` is named, which gave it.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{flag} {path}: cannot read it ({getattr(error, 'strerror', error)})") from error


def _documents(lake: str, get: GetSpark, version: int | None = None) -> ArrowTable:
    return ArrowTable(TableRef.find("", INDEX_DOCUMENTS, lake), INDEX_DOCUMENTS, get, version)


def _postings(lake: str, stamp: Mapping[str, Any], get: GetSpark) -> ArrowTable:
    ref = TableRef.find("", INDEX_POSTINGS, lake)
    return ArrowTable(ref, INDEX_POSTINGS, get, int(stamp["postings_version"]))


def no_spark() -> Any:
    """Refuse to give a session.

    Raises:
        UserError: always.
    """
    raise UserError("tables of a catalog need a Spark session: run this with spark-submit or --remote")

"""The search index of a lake, opened: decoded once for each version, mapped from a local folder after that."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lakerank.cli.errors import UserError
from lakerank.cli.files import read_bytes
from lakerank.lake.delta_arrow import ArrowTable, GetSpark
from lakerank.lake.delta_table import TableRef, is_catalog_name
from lakerank.lake.publications import Publication, Publications
from lakerank.lake.schemas import INDEX, INDEX_DOCUMENTS, INDEX_POSTINGS, PAGES
from lakerank.search.index.fields import Weighting
from lakerank.search.query.index import FORMAT, PAGE_COLUMNS, Index, build_arrays, decode_arrays
from lakerank.spark.array_cache import cached, remove_leftovers, trim
from lakerank.spark.array_store import Block, BlockStore

CACHE_BYTES = 20e9
_DOCUMENT_COLUMNS = [column.name for column in INDEX_DOCUMENTS.columns]
_POSTING_COLUMNS = [column.name for column in INDEX_POSTINGS.columns]


@dataclass(frozen=True)
class PublishedIndex:
    """The tables of one version of an index: `index_documents`, `index_postings`, and the pages it was made from."""

    documents: TableRef
    postings: TableRef
    pages: TableRef

    @classmethod
    def of(cls, published: Publications, newest: Publication) -> PublishedIndex:
        """Find the tables that a publication names.

        Raises:
            UserError: one is gone.
        """
        members = {member.name: member for member in (*newest.tables, *newest.sources)}
        relations = (INDEX_DOCUMENTS, INDEX_POSTINGS, PAGES)
        return cls(*(published.member(members[relation.name], relation) for relation in relations))

    def opened(self, get_spark: GetSpark) -> tuple[ArrowTable, ArrowTable, ArrowTable]:
        """Open them, in this order."""
        return (
            ArrowTable(self.documents, INDEX_DOCUMENTS, get_spark),
            ArrowTable(self.postings, INDEX_POSTINGS, get_spark),
            ArrowTable(self.pages, PAGES, get_spark),
        )


@dataclass(frozen=True)
class OpenIndex:
    """One version of a lake's index.

    Attributes:
        index: its arrays are mapped from disk.
        version: number of its publication.
        folder: where the arrays are kept, for other processes to map: a store's root and a key.
    """

    index: Index
    version: int
    folder: tuple[str, str]


@dataclass(frozen=True)
class IndexShard:
    """Some segments of one version of an index, for a worker to open.

    Attributes:
        tables: at their versions; each worker reads them itself.
        segments: of this shard.
        language: that all pages are analysed in, or empty: each in its own.
        key: names it in caches.
    """

    tables: PublishedIndex
    segments: tuple[int, ...]
    language: str
    key: str

    def decoded(self, folder: str) -> Block:
        """Return the shard's arrays without texts (`decode_arrays`); kept in `folder` on this machine."""
        parent = BlockStore.open(folder, "--cache-dir")
        remove_leftovers(parent)
        return cached(parent.below(self.key), "decoded", self._decode)

    def _decode(self) -> Block:
        documents, posted, paged = self.tables.opened(no_spark)
        chosen = [("segment", "in", list(self.segments))]
        own = _read(documents, _DOCUMENT_COLUMNS, chosen)
        stored = _read(paged, [name for name in PAGE_COLUMNS if name != "text"])
        stored = stored.filter(pc.is_in(stored["page_id"], own["page_id"].combine_chunks()))
        return decode_arrays(own, _read(posted, _POSTING_COLUMNS, chosen), stored, self.language, False)


def _read(table: ArrowTable, columns: Sequence[str], where: Sequence[tuple[str, str, Any]] | None = None) -> pa.Table:
    """Read columns of a table.

    Raises:
        UserError: a file of it is damaged, or gone.
    """
    try:
        return table.read(columns, where)
    except (pa.ArrowException, OSError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{table.ref.location}: a file of this table cannot be read ({said}): run {table.relation.producer} again"
        ) from error


def index_shards(lake: str, count: int) -> list[IndexShard]:
    """Cut the newest version of an index into shards of about equally many pages, by whole segments.

    Raises:
        UserError: there is no index, it is in a catalog, or it has fewer segments than shards are wanted.
    """
    if is_catalog_name(lake):
        raise UserError(f"--shards: workers read the tables of {lake} themselves, so give --lake as a path")
    published, newest = _newest(lake, no_spark)
    tables = PublishedIndex.of(published, newest)
    documents = ArrowTable(tables.documents, INDEX_DOCUMENTS, no_spark)
    counts = documents.read(["segment"]).group_by("segment").aggregate([("segment", "count")]).to_pylist()
    if count > len(counts):
        raise UserError(f"--shards {count}: the index at {lake} has only {len(counts)} segments")
    shares: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for row in sorted(counts, key=lambda row: (-row["segment_count"], row["segment"])):
        least = filled.index(min(filled))
        shares[least].append(row["segment"])
        filled[least] += row["segment_count"]
    name = f"{newest.stamp}-{documents.identity}-{documents.version}-{FORMAT}-{PAGE_COLUMNS}"
    keys = [hashlib.sha256(f"{name}-{sorted(share)}".encode()).hexdigest()[:20] for share in shares]
    return [
        IndexShard(tables, tuple(sorted(share)), str(newest.settings["language"]), key)
        for share, key in zip(shares, keys, strict=True)
    ]


def index_version(lake: str, get_spark: GetSpark) -> tuple[str, int]:
    """Return an identifier of the newest version of a lake's index: stamp and number of its publication.

    Raises:
        UserError: there is no index.
    """
    _, newest = _newest(lake, get_spark)
    return newest.stamp, newest.number


def open_index(lake: str, cache_dir: str = "", get_spark: GetSpark | None = None) -> OpenIndex:
    """Open the newest version of a lake's index.

    Args:
        lake: where the tables are.
        cache_dir: folder for decoded indexes, or empty for the usual one.
        get_spark: gives a session for tables of a catalog.

    Raises:
        UserError: there is no index, it is damaged, or it was made by another version of this project.
    """
    get, weighting = get_spark or no_spark, Weighting()
    published, newest = _newest(lake, get)
    tables, language = PublishedIndex.of(published, newest), str(newest.settings["language"])
    identities = [[member.id, member.version] for member in newest.tables]
    # The stamp: copies of a lake go on with the same ids and versions, and may share a cache.
    made_from = [newest.stamp, identities, weighting.key(), FORMAT, PAGE_COLUMNS]
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:20]
    parent = BlockStore.open(cache_folder(lake, cache_dir), "--cache-dir")
    store = parent.below(key)
    remove_leftovers(parent)

    def decode() -> Block:
        documents, postings, pages = tables.opened(get)
        return build_arrays(
            _read(documents, _DOCUMENT_COLUMNS),
            _read(postings, _POSTING_COLUMNS),
            _read(pages, PAGE_COLUMNS),
            weighting,
            language,
        )

    block = cached(store, "arrays", decode)
    trim(parent, CACHE_BYTES, {key})
    index = Index(block, weighting)
    return OpenIndex(index, newest.number, (store.root, "arrays"))


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
        return read_bytes(path, flag).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{flag} {path}: cannot read it ({error})") from error


def _newest(lake: str, get: GetSpark) -> tuple[Publications, Publication]:
    published = Publications.read(lake, get)
    newest = published.newest(INDEX)
    if newest is None:
        where = TableRef.find("", INDEX_DOCUMENTS, lake).location
        raise UserError(f"no Delta table `{INDEX_DOCUMENTS.name}` at {where}: run {INDEX_DOCUMENTS.producer} first")
    return published, newest


def no_spark() -> Any:
    """Refuse to give a session.

    Raises:
        UserError: always.
    """
    raise UserError("tables of a catalog need a Spark session: run this with spark-submit or --remote")

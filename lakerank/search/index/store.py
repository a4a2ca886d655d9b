"""The tables an index is made from and written to: pages, links and ranks; `index_postings` and `index_documents`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowSink, ArrowTable
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import INDEX_DOCUMENTS, INDEX_POSTINGS, LINKS, PAGES, RANKS, Relation
from lakerank.search.index.index_input import DOCUMENT_COLUMNS, LINK_COLUMNS, PAGE_COLUMNS, TEXT_COLUMNS
from lakerank.search.index.segment import PAGES_TERM

Stamp = Mapping[str, Any]  # what a commit of `index_documents` says of itself


@dataclass(frozen=True)
class IndexTables:
    """The tables, those that are read opened at one version; links and ranks need not be there."""

    spark: SparkSession
    pages: ArrowTable
    links: ArrowTable | None
    ranks: ArrowTable | None
    postings: TableRef
    documents: TableRef

    @classmethod
    def open(cls, spark: SparkSession, lake: str, pages: str = "", links: str = "", ranks: str = "") -> IndexTables:
        """Open the tables of a lake, or those that are named.

        Raises:
            UserError: there are no pages, or a table that is named is not there.
        """

        def optional(given: str, relation: Relation) -> ArrowTable | None:
            choose = ArrowTable if given else ArrowTable.find
            return choose(TableRef.find(given, relation, lake), relation, lambda: spark)

        return cls(
            spark,
            ArrowTable(TableRef.find(pages, PAGES, lake), PAGES, lambda: spark),
            optional(links, LINKS),
            optional(ranks, RANKS),
            TableRef.find("", INDEX_POSTINGS, lake),
            TableRef.find("", INDEX_DOCUMENTS, lake),
        )

    @property
    def versions(self) -> dict[str, Sequence[Any]]:
        """Location, identity and version of each table that is read, by name."""
        found = [table for table in (self.pages, self.links, self.ranks) if table is not None]
        return {table.relation.name: [table.ref.location, table.identity, table.version] for table in found}

    def frames(self) -> tuple[DataFrame, DataFrame | None, DataFrame | None]:
        """Return pages, links and ranks as DataFrames."""
        links, ranks = (
            None if table is None else table.ref.read(self.spark, table.relation) for table in (self.links, self.ranks)
        )
        return self.pages.ref.read(self.spark, PAGES), links, ranks

    def page_states(self) -> pa.Table:
        """Return the columns that tell whether a page has changed: `PAGE_COLUMNS`."""
        return self.pages.read(PAGE_COLUMNS)

    def page_states_before(self, versions: Mapping[str, Sequence[Any]]) -> pa.Table | None:
        """Return `page_states` when an index was made, if no link has changed since; else None.

        Args:
            versions: those of the tables then.
        """
        now = self.versions
        if now.get(LINKS.name) != versions.get(LINKS.name) or now[PAGES.name][:2] != versions[PAGES.name][:2]:
            return None
        try:
            return ArrowTable(self.pages.ref, PAGES, lambda: self.spark, versions[PAGES.name][2]).read(PAGE_COLUMNS)
        except (UserError, OSError):  # vacuumed
            return None

    def page_texts(self, pages: pa.ChunkedArray) -> pa.Table:
        """Return `TEXT_COLUMNS` of the pages with these ids."""
        return self.pages.read(TEXT_COLUMNS, [("page_id", "in", pages.to_pylist())])

    def link_texts(self, targets: pa.ChunkedArray | None) -> pa.Table | None:
        """Return `LINK_COLUMNS` of the links to pages with these ids, or of all; None if there are no links."""
        if self.links is None or (targets is not None and not len(targets)):
            return None
        return self.links.read(LINK_COLUMNS, None if targets is None else [("dst", "in", targets.to_pylist())])

    def rank_values(self) -> pa.Table | None:
        """Return `id`, `pagerank`; None if there are no ranks."""
        return None if self.ranks is None else self.ranks.read(["id", "pagerank"])

    def languages(self) -> pa.ChunkedArray:
        """Return the languages of the pages that have one."""
        return self.pages.read(["language"])["language"].drop_null()

    def index(self) -> ExistingIndex | None:
        """Return the index that is there, or None."""
        documents = ArrowTable.find(self.documents, INDEX_DOCUMENTS, lambda: self.spark)
        postings = ArrowTable.find(self.postings, INDEX_POSTINGS, lambda: self.spark)
        if documents is None or postings is None:
            return None
        segments = postings.read(["segment"], [("term", "=", PAGES_TERM)])["segment"].to_pylist()
        return ExistingIndex(documents, json.loads(documents.stamp or "{}"), segments)

    def documents_frame(self) -> DataFrame:
        """Return `index_documents` as a DataFrame."""
        return self.documents.read(self.spark, INDEX_DOCUMENTS)

    def postings_frame(self) -> DataFrame:
        """Return `index_postings` as it stands now, as a DataFrame."""
        return self.postings.frame(self.spark)

    def postings_version(self) -> int:
        """Return the newest version of `index_postings`."""
        return ArrowTable(self.postings, INDEX_POSTINGS, lambda: self.spark).version

    def page_lists(self, first_segment: int) -> pa.Table:
        """Return the lists of pages (`segment`, `postings`, `positions`) of segments from a number on."""
        new = [("term", "=", PAGES_TERM), ("segment", ">=", first_segment)]
        table = ArrowTable(self.postings, INDEX_POSTINGS, lambda: self.spark)
        return table.read(["segment", "postings", "positions"], new)

    def replace_postings(self, rows: DataFrame) -> None:
        """Write `index_postings` anew."""
        TableSink(self.postings, INDEX_POSTINGS).write(rows)

    def append_postings(self, rows: DataFrame | pa.Table) -> None:
        """Add segments to `index_postings`."""
        if isinstance(rows, pa.Table):
            ArrowSink(self.postings, INDEX_POSTINGS, lambda: self.spark).append(rows)
        else:
            TableSink(self.postings, INDEX_POSTINGS).append(rows)

    def replace_documents(self, rows: DataFrame, stamp: Stamp) -> int:
        """Write `index_documents` anew; return how many rows it has."""
        TableSink(self.documents, INDEX_DOCUMENTS, json.dumps(stamp)).write(rows)
        return ArrowTable(self.documents, INDEX_DOCUMENTS, lambda: self.spark).rows

    def merge_documents(self, rows: pa.Table, removed: Sequence[int], stamp: Stamp) -> None:
        """Fold rows into `index_documents` and take out those of the removed pages, in one commit."""
        ArrowSink(self.documents, INDEX_DOCUMENTS, lambda: self.spark, json.dumps(stamp)).merge(rows, list(removed))


@dataclass(frozen=True)
class ExistingIndex:
    """An index as it stands in the lake.

    Attributes:
        documents: `index_documents`.
        stamp: of its commit.
        segments: numbers of the segments in `index_postings`.
    """

    documents: ArrowTable
    stamp: Stamp
    segments: Sequence[int]

    def states(self) -> pa.Table:
        """Return the index's row of each page: `DOCUMENT_COLUMNS`."""
        return self.documents.read(DOCUMENT_COLUMNS)

    def rows(self) -> pa.Table:
        """Return all of `index_documents`."""
        return self.documents.read(INDEX_DOCUMENTS.names)

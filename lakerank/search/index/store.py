"""The tables an index is made from and written to: pages, links and ranks; `index_postings` and `index_documents`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowSink, ArrowTable
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.publications import Publications, Publishing, place_in
from lakerank.lake.schemas import INDEX, INDEX_DOCUMENTS, INDEX_POSTINGS, LINKS, PAGES, RANKS, REDIRECTS, Relation
from lakerank.lake.table_log import TableLog
from lakerank.search.index.index_input import (
    DOCUMENT_COLUMNS,
    LINK_COLUMNS,
    PAGE_COLUMNS,
    REDIRECT_COLUMNS,
    TEXT_COLUMNS,
    without_stubs_arrow,
    without_stubs_spark,
)
from lakerank.search.index.segment import PAGES_TERM


@dataclass(frozen=True)
class IndexTables:
    """The tables, those that are read opened at one version; links and ranks need not be there.

    Attributes:
        lake: where the index is and, unless others are named, the tables it is made from.
        published: what jobs have published in it.
    """

    spark: SparkSession
    lake: str
    published: Publications
    pages: ArrowTable
    links: ArrowTable | None
    ranks: ArrowTable | None
    redirects: ArrowTable | None = None

    @classmethod
    def open(cls, spark: SparkSession, lake: str, pages: str = "", links: str = "", ranks: str = "") -> IndexTables:
        """Open the tables of a lake, or those that are named.

        Raises:
            UserError: there are no pages, or a table that is named is not there.
        """
        published = Publications.read(lake, lambda: spark)

        def optional(given: str, relation: Relation) -> ArrowTable | None:
            choose = ArrowTable if given else ArrowTable.find
            return choose(published.table(relation, given), relation, lambda: spark)

        return cls(
            spark,
            lake,
            published,
            ArrowTable(published.table(PAGES, pages), PAGES, lambda: spark),
            optional(links, LINKS),
            optional(ranks, RANKS),
            None if pages else optional("", REDIRECTS),  # they belong to the lake's own pages
        )

    @property
    def sources(self) -> list[ArrowTable]:
        """The tables that are read."""
        return [table for table in (self.pages, self.links, self.ranks, self.redirects) if table is not None]

    @property
    def versions(self) -> dict[str, Sequence[Any]]:
        """Place, identity, version of the rows and mark of that commit, of each table that is read, by name."""
        return {
            table.relation.name: [
                place_in(self.lake, table.ref),
                table.identity,
                table.rows_version,
                TableLog(table.ref, lambda: self.spark).mark(table.rows_version),
            ]
            for table in self.sources
        }

    def frames(self) -> tuple[DataFrame, DataFrame | None, DataFrame | None]:
        """Return pages without stubs, links and ranks as DataFrames."""
        links, ranks = (
            None if table is None else table.ref.read(self.spark, table.relation) for table in (self.links, self.ranks)
        )
        pages = self.pages.ref.read(self.spark, PAGES)
        if self.redirects is not None:
            pages = without_stubs_spark(pages, self.redirects.ref.read(self.spark, REDIRECTS))
        return pages, links, ranks

    def page_states(self) -> pa.Table:
        """Return the columns that tell whether a page has changed: `PAGE_COLUMNS`."""
        states = self.pages.read(PAGE_COLUMNS)
        return states if self.redirects is None else without_stubs_arrow(states, self.redirects.read(REDIRECT_COLUMNS))

    def page_states_before(self, versions: Mapping[str, Sequence[Any]]) -> pa.Table | None:
        """Return `page_states` when an index was made, if no link has changed since; else None.

        Args:
            versions: those of the tables then.
        """
        now = self.versions
        if now.get(LINKS.name) != versions.get(LINKS.name) or now[PAGES.name][:2] != versions[PAGES.name][:2]:
            return None
        if TableLog(self.pages.ref, lambda: self.spark).mark(versions[PAGES.name][2]) != versions[PAGES.name][3]:
            return None
        try:
            ref = dataclasses.replace(self.pages.ref, pinned=versions[PAGES.name][2])
            return ArrowTable(ref, PAGES, lambda: self.spark).read(PAGE_COLUMNS)
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

    def index(self) -> ExistingIndex | None:
        """Return the index that is published, or None."""
        newest = self.published.newest(INDEX)
        if newest is None:
            return None
        opened = []
        for relation in (INDEX_DOCUMENTS, INDEX_POSTINGS):
            member = newest.table(relation)
            assert member is not None
            try:
                opened.append(ArrowTable(self.published.member(member, relation), relation, lambda: self.spark))
            except UserError as error:
                print(f"build_index: the index so far cannot be used: {error}", flush=True)
                return None
        documents, postings = opened
        segments = postings.read(["segment"], [("term", "=", PAGES_TERM)])["segment"].to_pylist()
        return ExistingIndex(documents, postings, newest.settings, segments)


@dataclass(frozen=True)
class IndexWriter:
    """The tables of a new version of the index, on their way to being published."""

    spark: SparkSession
    run: Publishing
    base: ExistingIndex | None = None

    def replace_postings(self, rows: DataFrame) -> DataFrame:
        """Write `index_postings` anew; return it as written."""
        return self.run.write(INDEX_POSTINGS, rows).frame(self.spark)

    def append_postings(self, rows: DataFrame | pa.Table) -> ArrowTable:
        """Add segments to `index_postings`; return it as written."""

        def apply(stamp: str) -> None:
            ref = TableRef(self._base.postings.ref.location)
            if isinstance(rows, pa.Table):
                ArrowSink(ref, INDEX_POSTINGS, lambda: self.spark, stamp).append(rows)
            else:
                TableSink(ref, INDEX_POSTINGS, stamp).append(rows)

        written = self.run.change(INDEX_POSTINGS, self._base.postings.ref, apply)
        return ArrowTable(written, INDEX_POSTINGS, lambda: self.spark)

    def replace_documents(self, rows: DataFrame) -> int:
        """Write `index_documents` anew; return how many rows it has."""
        return ArrowTable(self.run.write(INDEX_DOCUMENTS, rows), INDEX_DOCUMENTS, lambda: self.spark).rows

    def merge_documents(self, rows: pa.Table, removed: Sequence[int]) -> None:
        """Fold rows into `index_documents` and take out those of the removed pages, in one commit."""

        def apply(stamp: str) -> None:
            ref = TableRef(self._base.documents.ref.location)
            ArrowSink(ref, INDEX_DOCUMENTS, lambda: self.spark, stamp).merge(rows, list(removed))

        self.run.change(INDEX_DOCUMENTS, self._base.documents.ref, apply)

    @property
    def _base(self) -> ExistingIndex:
        assert self.base is not None
        return self.base


def page_lists(postings: ArrowTable, first_segment: int) -> pa.Table:
    """Return the lists of pages, rows of `index_postings`, of segments from a number on."""
    new = [("term", "=", PAGES_TERM), ("segment", ">=", first_segment)]
    return postings.read(INDEX_POSTINGS.names, new)


@dataclass(frozen=True)
class ExistingIndex:
    """An index as it was published.

    Attributes:
        documents: `index_documents`. postings: `index_postings`.
        settings: format, languages, and `versions` of what it was made from.
        segments: numbers of the segments in `index_postings`.
    """

    documents: ArrowTable
    postings: ArrowTable
    settings: Mapping[str, Any]
    segments: Sequence[int]

    def states(self) -> pa.Table:
        """Return the index's row of each page: `DOCUMENT_COLUMNS`."""
        return self.documents.read(DOCUMENT_COLUMNS)

    def documents_frame(self, spark: SparkSession) -> DataFrame:
        """Return `index_documents` as a DataFrame."""
        return self.documents.ref.read(spark, INDEX_DOCUMENTS)

    def rows(self) -> pa.Table:
        """Return all of `index_documents`."""
        return self.documents.read(INDEX_DOCUMENTS.names)

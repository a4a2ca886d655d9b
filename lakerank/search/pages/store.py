"""The tables of pages in a lake: read what is there, write what was read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from lakerank.lake.delta_arrow import ArrowSink, ArrowTable
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import LINKS, PAGES, PAGES_REJECTED, REDIRECTS, Relation
from lakerank.search.pages.ingest import PageTables, Rows


@dataclass(frozen=True)
class PageStore:
    """`pages`, `links`, `redirects` and `pages_rejected` of a lake."""

    spark: SparkSession
    lake: str

    def tables(self) -> dict[str, DataFrame]:
        """Return the tables that are there, by name."""
        found = {}
        for relation in (PAGES, LINKS, REDIRECTS, PAGES_REJECTED):
            if (ref := TableRef.find("", relation, self.lake)).exists(self.spark):
                found[relation.name] = ref.read(self.spark, relation)
        return found

    def counts(self) -> dict[str, int]:
        """Return the numbers of rows of `pages`, `links` and `pages_rejected`, by name."""
        refs = {relation: TableRef.find("", relation, self.lake) for relation in (PAGES, LINKS, PAGES_REJECTED)}
        return {relation.name: ArrowTable(ref, relation, lambda: self.spark).rows for relation, ref in refs.items()}

    def write(self, new: PageTables, near_duplicates: float, scratch: str = "") -> int:
        """Replace the tables; meanwhile copies are looked for, on one core if there are not too many pages.

        Args:
            new: the tables.
            near_duplicates: Jaccard similarity from which on a page is a copy, 0.1 to 1; 0 marks none.
            scratch: see `lakerank.spark.checkpoint`.

        Returns:
            How many pages are copies.
        """

        def write_others() -> None:
            self._replace(REDIRECTS, new.redirects)
            self._replace(PAGES_REJECTED, new.rejected)
            self._replace(LINKS, new.links)

        with ThreadPoolExecutor(1) as beside:
            others = beside.submit(write_others)
            pages, copies = new.pages_with_copies(near_duplicates, scratch)
            others.result()
        # Last: a job that was killed before leaves the old pages, and run again does the same again.
        self._replace(PAGES, pages)
        return copies

    def _replace(self, relation: Relation, rows: Rows) -> None:
        ref = TableRef.find("", relation, self.lake)
        if isinstance(rows, pa.Table):
            ArrowSink(ref, relation, lambda: self.spark).write(rows)
        else:
            TableSink(ref, relation).write(rows)

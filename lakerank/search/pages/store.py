"""The tables of pages in a lake: read what is there, write what was read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import DataFrame, SparkSession

from lakerank.lake.delta_arrow import ArrowTable
from lakerank.lake.delta_table import TableRef
from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import LINKS, PAGES, PAGES_REJECTED, REDIRECTS
from lakerank.search.pages.ingest import PageTables

_WHAT = "pages"  # what the tables are published as


@dataclass(frozen=True)
class PageStore:
    """`pages`, `links`, `redirects` and `pages_rejected` of a lake."""

    spark: SparkSession
    lake: str

    @cached_property
    def published(self) -> Publications:
        """What had been published when this was first asked for."""
        return Publications.read(self.lake, lambda: self.spark)

    def tables(self) -> dict[str, DataFrame]:
        """Return the tables that are there, as they were published, by name."""
        found = {}
        for relation in (PAGES, LINKS, REDIRECTS, PAGES_REJECTED):
            if (ref := self.published.result(relation)) is not None:
                found[relation.name] = ref.read(self.spark, relation)
        return found

    def write(
        self, new: PageTables, near_duplicates: float, scratch: str = "", merged: bool = False
    ) -> tuple[int, dict[str, int]]:
        """Replace the tables as one; meanwhile copies are looked for, on one core if there are not too many pages.

        Args:
            new: the tables.
            near_duplicates: Jaccard similarity from which on a page is a copy, 0.1 to 1; 0 marks none.
            scratch: see `lakerank.spark.checkpoint`.
            merged: whether `tables` are in the new ones.

        Returns:
            How many pages are copies, and the numbers of rows of `pages`, `links` and `pages_rejected`, by name.

        Raises:
            UserError: another crawl was published since the tables were read that these were merged with.
        """
        with publishing(lambda: self.spark, self.lake, _WHAT) as run:
            if merged:
                run.merges_with(self.published.newest(_WHAT))

            def write_others() -> list[TableRef]:
                run.write(REDIRECTS, new.redirects)
                return [run.write(PAGES_REJECTED, new.rejected), run.write(LINKS, new.links)]

            with ThreadPoolExecutor(1) as beside:
                others = beside.submit(write_others)
                pages, copies = new.pages_with_copies(near_duplicates, scratch)
                rejected, links = others.result()
            tables = {PAGES: run.write(PAGES, pages), LINKS: links, PAGES_REJECTED: rejected}
        counts = {relation.name: ArrowTable(ref, relation, lambda: self.spark).rows for relation, ref in tables.items()}
        return copies, counts

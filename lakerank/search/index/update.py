"""Make an index, or bring one up to date by what has changed: plan first, then run the plan.

Every Spark task makes segments of its own pages, so that nothing is shuffled. What has changed is found in memory where
the tables fit there, and few changed pages are indexed there too; else Spark does both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowTable
from lakerank.lake.publications import publishing
from lakerank.lake.schemas import INDEX, INDEX_DOCUMENTS, INDEX_POSTINGS
from lakerank.search.index.index_input import (
    CHANGED,
    INPUT_COLUMNS,
    NEW,
    REMOVED,
    TOUCHED,
    Anchors,
    anchor_texts_arrow,
    changes_arrow,
    changes_spark,
    current_documents,
    index_input_arrow,
    index_input_spark,
    known_keys,
)
from lakerank.search.index.segment import PAGES_TERM, SegmentBuilder, unpacked_pages, verify_rows
from lakerank.search.index.store import ExistingIndex, IndexTables, IndexWriter, page_lists
from lakerank.spark.session import cores

FORMAT = 7  # of postings; an index of another one is built anew
_MOST_OCCURRENCES = 16_000_000  # of one segment; a task needs about 40 bytes for each
_PART_BITS, _TURN_BITS = 20, 12  # a segment's number: generation, task, how many the task made before
_FEW = 200_000  # changed pages whose ids go through the driver
# What is compared and indexed on the driver rather than by Spark, whose every job costs half a second and more.
_DRIVER_PAGES, _DRIVER_LINKS, _DRIVER_TEXTS = 2_000_000, 20_000_000, 20_000
STATUSES = (NEW, CHANGED, REMOVED, TOUCHED)


@dataclass(frozen=True)
class IndexOptions:
    """How to index.

    Attributes:
        language: that all pages are analysed in, or empty: each in its own.
        rebuild: index all pages anew, whatever has changed.
        update_share: build anew if a larger share of the pages has changed.
        max_segments: build anew if the index has so many.
    """

    language: str = ""
    rebuild: bool = False
    update_share: float = 0.3
    max_segments: int = 64


@dataclass(frozen=True)
class UpdatePlan:
    """The plan of an update.

    Attributes:
        generation: of the segments that are built.
        rebuild: why the index is built anew, or empty.
        changes: rows of `changes_arrow`, if it is not and something has changed.
        pages_before: in the index so far.
        states: `current_documents` and texts of links, if they have been read into memory.
        index: that is brought up to date, if it is not built anew and something may have changed.
    """

    generation: int
    rebuild: str = ""
    changes: pa.Table | None = None
    pages_before: int = 0
    states: tuple[pa.Table, Anchors] | None = None
    index: ExistingIndex | None = None

    def changed(self, *statuses: str) -> pa.Table:
        """Return the changed pages with one of the statuses."""
        if self.changes is None:
            return pa.table({"page_id": pa.array([], pa.int64())})
        return self.changes.filter(pc.is_in(self.changes["status"], pa.array(statuses)))

    def count(self, *statuses: str) -> int:
        """Count the changed pages with one of the statuses."""
        return len(self.changed(*statuses))

    def describe(self) -> str:
        """Say in a few words what is to be done."""
        if self.rebuild:
            return f"all pages, because {self.rebuild}"
        counted = [f"{self.count(status):,} {status}" for status in STATUSES if self.count(status)]
        return ", ".join(counted) or "nothing has changed"


def plan_update(tables: IndexTables, options: IndexOptions) -> UpdatePlan:
    """Compare pages with the index and decide what is to be done."""
    index = tables.index()
    if index is None:
        return UpdatePlan(1, "there is no index yet")
    generation = generation_of(max(index.segments, default=first_segment(0))) + 1
    if options.rebuild:
        return UpdatePlan(generation, "--rebuild")
    if index.settings["format"] != FORMAT or index.settings["language"] != options.language:
        return UpdatePlan(generation, "its format or language is another")
    if len(index.segments) >= options.max_segments:
        return UpdatePlan(generation, f"it has {len(index.segments)} segments")
    before = index.documents.rows
    if index.settings["sources"] == tables.versions:
        return UpdatePlan(generation, "", None, before)
    states = None
    if max(before, tables.pages.rows) <= _DRIVER_PAGES and (tables.links is None or tables.links.rows <= _DRIVER_LINKS):
        were = index.states()
        states = _states_in_memory(tables, index, were, options.language)
        changes = changes_arrow(states[0], were)
    else:
        now = index_input_spark(*tables.frames(), options.language)
        changes = changes_spark(now, index.documents_frame(tables.spark)).limit(_FEW + 1).toArrow()
    plan = UpdatePlan(generation, "", changes, before, states, index)
    if len(changes) > _FEW or plan.count(NEW, CHANGED, REMOVED) > options.update_share * max(before, 1):
        return UpdatePlan(generation, f"{len(changes):,}{' or more' * (len(changes) > _FEW)} pages have changed")
    return plan


def _states_in_memory(
    tables: IndexTables, index: ExistingIndex, were: pa.Table, language: str
) -> tuple[pa.Table, Anchors]:
    """Return `current_documents`, and the texts of links to all pages whose key had to be computed."""
    pages, pages_before = tables.page_states(), tables.page_states_before(index.settings["sources"])
    known = None if pages_before is None else known_keys(pages, pages_before, were)
    missing = None
    if known is not None:
        missing = pages["page_id"].filter(pc.invert(pc.is_in(pages["page_id"], known["page_id"].combine_chunks())))
    links = tables.link_texts(missing)
    anchors = {} if links is None else anchor_texts_arrow(links)
    return current_documents(pages, anchors, tables.rank_values(), language, known), anchors


def run_update(tables: IndexTables, plan: UpdatePlan, options: IndexOptions) -> int:
    """Index what has changed and fold it in; return how many pages the index has then.

    The new version counts once both tables are written and published: before that an update that was killed has not
    happened.

    Raises:
        UserError: there is no page that may be found; the index stays as it was.
    """
    if not plan.rebuild and plan.index is None:
        return plan.pages_before
    settings = {
        "format": FORMAT,
        "language": options.language,
        "sources": tables.versions,
    }
    with publishing(lambda: tables.spark, tables.lake, INDEX) as run:
        writer = IndexWriter(tables.spark, run, plan.index)
        total = _rebuilt(tables, writer, plan, options) if plan.rebuild else _updated(tables, writer, plan, options)
        if not total:
            raise UserError(
                f"{tables.pages.ref.location}: there is no page that may be found; the index stays as it was"
            )
        run.settings(**settings)
        for table in tables.sources:
            run.reads(table.relation, table.ref)
    return total


def _rebuilt(tables: IndexTables, writer: IndexWriter, plan: UpdatePlan, options: IndexOptions) -> int:
    pages = index_input_spark(*tables.frames(), options.language).repartition(cores(tables.spark), "page_id")
    postings = writer.replace_postings(build_segments(pages, plan.generation, options.language))
    return writer.replace_documents(listed_pages(postings, plan.generation))


def _updated(tables: IndexTables, writer: IndexWriter, plan: UpdatePlan, options: IndexOptions) -> int:
    assert plan.index is not None
    postings = plan.index.postings
    if plan.count(NEW, CHANGED):
        postings = writer.append_postings(_new_segments(tables, plan, options.language))
    else:
        writer.run.keep(INDEX_POSTINGS, postings.ref)
    if plan.changes is not None and len(plan.changes):
        rows = _changed_documents(postings, plan)
        writer.merge_documents(rows, plan.changed(REMOVED)["page_id"].to_pylist())
    else:
        writer.run.keep(INDEX_DOCUMENTS, plan.index.documents.ref)
    return plan.pages_before + plan.count(NEW) - plan.count(REMOVED)


def _new_segments(tables: IndexTables, plan: UpdatePlan, language: str) -> DataFrame | pa.Table:
    """Return the postings of the new and changed pages."""
    wanted = plan.changed(NEW, CHANGED)["page_id"]
    if plan.states is None or len(wanted) > _DRIVER_TEXTS:
        only = tables.spark.createDataFrame(pa.table({"page_id": wanted}))
        pages = index_input_spark(*tables.frames(), language, only).coalesce(1)
        return build_segments(pages, plan.generation, language)
    builder = SegmentBuilder(first_segment(plan.generation), language)
    builder.add(index_input_arrow(tables.page_texts(wanted), *plan.states))
    return pa.Table.from_batches(builder.finish())


def _changed_documents(postings: ArrowTable, plan: UpdatePlan) -> pa.Table:
    """Return the new rows of `index_documents`: of pages with new postings, and with another rank or original."""
    names, rows = list(INDEX_DOCUMENTS.names), []
    if plan.count(NEW, CHANGED):
        lists = page_lists(postings, first_segment(plan.generation)).to_batches()
        rows += [batch.select(names) for batch in pages_of_segments(lists)]
    if plan.index is not None and plan.count(TOUCHED):
        touched = plan.changed(TOUCHED)
        ids = touched["page_id"].combine_chunks()
        old = plan.index.rows()
        old = old.filter(pc.is_in(old["page_id"], ids))
        position = pc.index_in(old["page_id"], ids)
        for name in ("pagerank", "duplicate_of"):
            old = old.set_column(names.index(name), name, touched[name].combine_chunks().take(position))
        rows += old.to_batches()
    return pa.Table.from_batches(rows) if rows else INDEX_DOCUMENTS.arrow_schema().empty_table()


def first_segment(generation: int) -> int:
    """Return the lowest number of a generation's segments."""
    return generation << (_PART_BITS + _TURN_BITS)


def generation_of(segment: int) -> int:
    """Return the generation a segment was built in."""
    return segment >> (_PART_BITS + _TURN_BITS)


def build_segments(pages: DataFrame, generation: int, language: str) -> DataFrame:
    """Build segments of pages: rows of `index_postings`.

    Args:
        pages: at least `INPUT_COLUMNS`; each partition becomes a segment, or several.
        generation: number of this build, higher than those before.
        language: that all pages are analysed in, or empty: each in its own.
    """
    chosen = pages.select(*INPUT_COLUMNS, F.spark_partition_id().alias("part"))
    return chosen.mapInArrow(_segments(generation, language), INDEX_POSTINGS.ddl())


def _segments(generation: int, language: str) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def build(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        builder, turn = None, 0
        for batch in batches:
            if not len(batch):
                continue
            if builder is None:
                part = batch["part"][0].as_py()
                builder = SegmentBuilder(first_segment(generation) + (part << _TURN_BITS) + turn, language)
            builder.add(batch)
            if builder.occurrences >= _MOST_OCCURRENCES:
                yield from builder.finish()
                builder, turn = None, turn + 1
        if builder is not None:
            yield from builder.finish()

    return build


def listed_pages(postings: DataFrame, generation: int) -> DataFrame:
    """Return the pages of a generation's segments: rows of `index_documents`."""
    lists = postings.where((F.col("term") == PAGES_TERM) & (F.col("segment") >= first_segment(generation)))
    return lists.select(*INDEX_POSTINGS.names).mapInArrow(pages_of_segments, INDEX_DOCUMENTS.ddl())


def pages_of_segments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return rows of `index_documents` from segments' lists of pages, rows of `index_postings`.

    Raises:
        UserError: a list has been damaged.
    """
    for batch in batches:
        verify_rows(batch)
        rows = zip(batch["segment"].to_pylist(), batch["postings"], batch["positions"], strict=True)
        for segment, packed, lengths in rows:
            pages = unpacked_pages(packed.as_py(), lengths.as_py())
            segments = pa.array(np.full(len(pages), segment, np.int64))
            yield pages.append_column("segment", segments).select(list(INDEX_DOCUMENTS.names))

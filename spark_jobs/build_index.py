"""Pages to an inverted index: postings with positions, by segments, updated by what has changed.

Reads pages, links (for the texts of links) and ranks; writes `index_postings` and `index_documents`. The second run
indexes only pages that are new or changed. The guide is docs/search-engine.md.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.delta_arrow_read import ArrowTable
from lakerank.lake.delta_arrow_write import ArrowSink, arrow_schema
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import INDEX_DOCUMENTS, INDEX_POSTINGS, LINKS, PAGES, RANKS
from lakerank.search.index import index_input_arrow
from lakerank.search.index.build_index import (
    build_segments,
    first_segment,
    generation_of,
    listed_pages,
    pages_of_segments,
)
from lakerank.search.index.index_input_spark import CHANGED, NEW, REMOVED, TOUCHED, changes, contents
from lakerank.search.index.segment import PAGES_TERM, SegmentBuilder
from lakerank.search.text.languages import NONE, SNOWBALL, known
from lakerank.spark.job import run_job
from lakerank.spark.session import cores

FORMAT = 4  # of postings; an index of another one is built anew
_FEW = 200_000  # changed pages whose ids go through the driver
# What is compared and indexed here rather than by Spark, whose every job costs half a second and more.
_PAGES_HERE, _LINKS_HERE, _TEXTS_HERE = 2_000_000, 20_000_000, 20_000


@dataclass(frozen=True)
class Args(JobArgs):
    """Settings of the job."""

    pages: str = flag("", "table of pages (default: the lake's)")
    links: str = flag("", "table of links, for the texts of links (default: the lake's, if it is there)")
    ranks: str = flag("", "table of ranks (default: the lake's, if it is there)")
    language: str = flag(
        "",
        f"analyse all pages in this language: {', '.join(SNOWBALL)}, or {NONE} (default: each page in its own)",
        check=lambda code: not code or known(code),
        must=f"be one of {', '.join(SNOWBALL)}, {NONE}",
    )
    rebuild: bool = flag(False, "index all pages anew, whatever has changed")
    update_share: float = flag(
        0.3, "build anew if a larger share of the pages has changed", check=lambda v: 0 <= v <= 1, must="be 0 to 1"
    )
    most_segments: int = flag(64, "build anew if the index has more", check=lambda v: v >= 1, must="be at least 1")


@dataclass(frozen=True)
class Sources:
    """The tables that are read, opened; links and ranks need not be there."""

    pages: ArrowTable
    links: ArrowTable | None
    ranks: ArrowTable | None

    @property
    def versions(self) -> dict[str, Sequence[Any]]:
        """Of each table by name: place, identity, version."""
        found = [table for table in (self.pages, self.links, self.ranks) if table is not None]
        return {table.relation.name: [table.ref.location, table.identity, table.version] for table in found}

    def frames(self, spark: SparkSession) -> tuple[DataFrame, DataFrame | None, DataFrame | None]:
        """Pages, links and ranks as DataFrames."""
        links, ranks = (
            None if table is None else table.ref.read(spark, table.relation) for table in (self.links, self.ranks)
        )
        return self.pages.ref.read(spark, PAGES), links, ranks


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        generation: of the segments that are built.
        rebuild: why the index is built anew, or empty.
        changed: rows of `contents.changes`, if it is not. before: pages in the index so far.
        language: that queries were analysed in so far.
        memory: keys and texts of links, if they have been read into memory.
        index: `index_documents` so far, if it is not built anew.
    """

    generation: int
    rebuild: str = ""
    changed: pa.Table | None = None
    before: int = 0
    language: str = ""
    memory: tuple[pa.Table, index_input_arrow.Anchors] | None = None
    index: ArrowTable | None = None

    def rows(self, *statuses: str) -> pa.Table:
        """The changed pages with one of the statuses."""
        if self.changed is None:
            return pa.table({"page_id": pa.array([], pa.int64())})
        return self.changed.filter(pc.is_in(self.changed["status"], pa.array(statuses)))

    def count(self, *statuses: str) -> int:
        """How many they are."""
        return len(self.rows(*statuses))


def run(spark: SparkSession, args: Args) -> Mapping[str, Any]:
    """Find what has changed, index it, fold it in."""
    started = time.monotonic()
    postings, documents = (TableRef.find("", r, args.lake) for r in (INDEX_POSTINGS, INDEX_DOCUMENTS))
    sources = _sources(spark, args)
    plan = _plan(spark, args, sources, postings, documents)
    print(f"build_index: {_say(plan)}", flush=True)
    if plan.rebuild:
        chosen = contents(*sources.frames(spark), args.language).repartition(cores(spark), "page_id")
        TableSink(postings, INDEX_POSTINGS).write(build_segments(chosen, plan.generation, args.language))
    elif plan.count(NEW, CHANGED):
        _append(spark, args, sources, plan, postings)
    segments = ArrowTable(postings, INDEX_POSTINGS, lambda: spark)
    stamp = {
        "format": FORMAT, "language": args.language, "pages": sources.pages.ref.location, "sources": sources.versions,
        "pages_version": sources.pages.version,
        "postings_version": segments.version,
        "main_language": plan.language or _main_language(sources.pages, args.language),
    }  # fmt: skip
    if plan.rebuild:
        listed = listed_pages(postings.frame(spark), plan.generation)
        TableSink(documents, INDEX_DOCUMENTS, json.dumps(stamp)).write(listed)
        total = ArrowTable(documents, INDEX_DOCUMENTS, lambda: spark).rows
    else:
        _merge(plan, segments, ArrowSink(documents, INDEX_DOCUMENTS, lambda: spark, json.dumps(stamp)))
        total = plan.before + plan.count(NEW) - plan.count(REMOVED)
    if not total:
        raise UserError(f"{sources.pages.ref.location}: there is no page that may be found; the index is empty")
    seconds = time.monotonic() - started
    print(f"build_index: {total:,} pages in {postings.location} and {documents.location}")
    changed = plan.count(NEW, CHANGED, REMOVED, TOUCHED)
    return {
        "pages": total, "rebuilt": bool(plan.rebuild), "why": plan.rebuild, "seconds": round(seconds, 3),
        **{status: plan.count(status) for status in (NEW, CHANGED, REMOVED, TOUCHED)},
        "documents_per_second": round((total if plan.rebuild else changed) / seconds, 1),
    }  # fmt: skip


def _sources(spark: SparkSession, args: Args) -> Sources:
    """Links and ranks need not be there, unless a flag names them."""
    found: list[ArrowTable | None] = []
    for given, relation in ((args.links, LINKS), (args.ranks, RANKS)):
        ref = TableRef.find(given, relation, args.lake)
        opened = ArrowTable(ref, relation, lambda: spark) if given else ArrowTable.find(ref, relation, lambda: spark)
        found.append(opened)
    return Sources(ArrowTable(TableRef.find(args.pages, PAGES, args.lake), PAGES, lambda: spark), *found)


def _plan(spark: SparkSession, args: Args, sources: Sources, postings: TableRef, documents: TableRef) -> Plan:
    """Compare pages and index."""
    index = ArrowTable.find(documents, INDEX_DOCUMENTS, lambda: spark)
    held = ArrowTable.find(postings, INDEX_POSTINGS, lambda: spark)
    if index is None or held is None:
        return Plan(1, "there is no index yet")
    stamp = json.loads(index.stamp or "{}")
    segments = held.read(["segment"], [("term", "=", PAGES_TERM)])
    generation = generation_of(pc.max(segments["segment"]).as_py() or first_segment(0)) + 1
    if args.rebuild:
        return Plan(generation, "--rebuild")
    if stamp.get("format") != FORMAT or stamp.get("language") != args.language:
        return Plan(generation, "its format or language is another")
    if len(segments) >= args.most_segments:
        return Plan(generation, f"it has {len(segments)} segments")
    before = index.rows
    if stamp["sources"] == sources.versions:
        return Plan(generation, "", None, before, stamp["main_language"])
    memory = None
    links = 0 if sources.links is None else sources.links.rows
    if max(before, sources.pages.rows) <= _PAGES_HERE and links <= _LINKS_HERE:
        was = index.read(index_input_arrow.INDEX_COLUMNS)
        pages = sources.pages.read(index_input_arrow.PAGE_COLUMNS)
        known = _unchanged(spark, sources, stamp["sources"], pages, was)
        anchors = _anchors(sources, pages, known)
        ranks = None if sources.ranks is None else sources.ranks.read(["id", "pagerank"])
        now = index_input_arrow.current(pages, anchors, ranks, args.language, known)
        found = index_input_arrow.compare(now, was)
        memory = now, anchors
    else:
        after = contents(*sources.frames(spark), args.language)
        found = changes(after, documents.read(spark, INDEX_DOCUMENTS)).limit(_FEW + 1).toArrow()
    plan = Plan(generation, "", found, before, stamp["main_language"], memory, index)
    if len(found) > _FEW or plan.count(NEW, CHANGED, REMOVED) > args.update_share * max(before, 1):
        return Plan(generation, f"{len(found):,}{' or more' * (len(found) > _FEW)} pages have changed")
    return plan


def _unchanged(
    spark: SparkSession, sources: Sources, stamped: Mapping[str, Sequence[Any]], pages: pa.Table, was: pa.Table
) -> pa.Table | None:
    """Pages whose key is known, because no link and nothing they say has changed since the index was made."""
    now = sources.versions
    if now.get(LINKS.name) != stamped.get(LINKS.name) or now[PAGES.name][:2] != stamped[PAGES.name][:2]:
        return None
    try:
        before = ArrowTable(sources.pages.ref, PAGES, lambda: spark, stamped[PAGES.name][2])
        return index_input_arrow.unchanged(pages, before.read(index_input_arrow.PAGE_COLUMNS), was)
    except (UserError, OSError):  # vacuumed
        return None


def _anchors(sources: Sources, pages: pa.Table, known: pa.Table | None) -> index_input_arrow.Anchors:
    """Texts of links to the pages whose keys are to be made; to all if none is known."""
    if sources.links is None:
        return {}
    if known is None:
        return index_input_arrow.anchor_lists(sources.links.read(index_input_arrow.LINK_COLUMNS))
    missing = pages["page_id"].filter(pc.invert(pc.is_in(pages["page_id"], known["page_id"].combine_chunks())))
    if not len(missing):
        return {}
    return index_input_arrow.anchor_lists(
        sources.links.read(index_input_arrow.LINK_COLUMNS, [("dst", "in", missing.to_pylist())])
    )


def _append(spark: SparkSession, args: Args, sources: Sources, plan: Plan, postings: TableRef) -> None:
    """Segments of the new and changed pages."""
    wanted = plan.rows(NEW, CHANGED)["page_id"]
    if plan.memory is None or len(wanted) > _TEXTS_HERE:
        only = spark.createDataFrame(pa.table({"page_id": wanted}))
        chosen = contents(*sources.frames(spark), args.language, only).coalesce(1)
        TableSink(postings, INDEX_POSTINGS).append(build_segments(chosen, plan.generation, args.language))
        return
    pages = sources.pages.read(index_input_arrow.TEXT_COLUMNS, [("page_id", "in", wanted.to_pylist())])
    builder = SegmentBuilder(first_segment(plan.generation), args.language)
    builder.add(index_input_arrow.contents(pages, *plan.memory))
    ArrowSink(postings, INDEX_POSTINGS, lambda: spark).append(pa.Table.from_batches(builder.finish()))


def _merge(plan: Plan, segments: ArrowTable, sink: ArrowSink) -> None:
    """Fold the changed pages into `index_documents`."""
    if plan.changed is None or plan.index is None or not len(plan.changed):
        return
    names = [column.name for column in INDEX_DOCUMENTS.columns]
    rows = []
    if plan.count(NEW, CHANGED):
        new = [("term", "=", PAGES_TERM), ("segment", ">=", first_segment(plan.generation))]
        held = segments.read(["segment", "postings", "positions"], new)
        rows += [batch.select(names) for batch in pages_of_segments(held.to_batches())]
    if plan.count(TOUCHED):
        touched = plan.rows(TOUCHED)
        old = plan.index.read(names)
        old = old.filter(pc.is_in(old["page_id"], touched["page_id"].combine_chunks()))
        place = pc.index_in(old["page_id"], touched["page_id"].combine_chunks())
        for name in ("pagerank", "duplicate_of"):
            old = old.set_column(names.index(name), name, touched[name].combine_chunks().take(place))
        rows += old.to_batches()
    table = pa.Table.from_batches(rows) if rows else arrow_schema(INDEX_DOCUMENTS).empty_table()
    sink.merge(table, plan.rows(REMOVED)["page_id"].to_pylist())


def _main_language(pages: ArrowTable, language: str) -> str:
    """What queries are analysed in: the language of most pages."""
    if language:
        return language
    counted = pc.value_counts(pages.read(["language"])["language"].drop_null()).to_pylist()
    return str(min(counted, key=lambda row: (-row["counts"], row["values"]))["values"]) if counted else NONE


def _say(plan: Plan) -> str:
    if plan.rebuild:
        return f"all pages, because {plan.rebuild}"
    said = [f"{plan.count(status):,} {status}" for status in (NEW, CHANGED, REMOVED, TOUCHED) if plan.count(status)]
    return ", ".join(said) or "nothing has changed"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_job(run, Args, "build_index", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

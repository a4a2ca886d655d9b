"""Pages to an inverted index: postings with positions, by segments, updated by what has changed.

Reads pages, links (for the texts of links) and ranks; writes `index_postings` and `index_documents`. The second run
indexes only pages that are new or changed. The guide is docs/search.md.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow.compute as pc
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.args import JobArgs, flag
from spark_jobs.lake.contracts import INDEX_DOCUMENTS, INDEX_POSTINGS, LINKS, PAGES, RANKS, Relation
from spark_jobs.lake.delta_arrow import ArrowTable
from spark_jobs.lake.errors import UserError
from spark_jobs.lake.job import run_job
from spark_jobs.lake.session import cores
from spark_jobs.lake.tables import TableRef, TableSink
from spark_jobs.retrieval.index.building import build_segments, first_segment, generation_of, listed_pages
from spark_jobs.retrieval.index.contents import CHANGED, NEW, REMOVED, TOUCHED, changes, contents
from spark_jobs.retrieval.index.segment import PAGES_TERM
from spark_jobs.retrieval.text.languages import NONE, SNOWBALL, known

FORMAT = 4  # of postings; an index of another one is built anew
_FEW = 200_000  # changed pages whose ids go through the driver


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
class Plan:
    """What is to be done.

    Attributes:
        generation: of the segments that are built.
        rebuild: why the index is built anew, or empty.
        changed: rows of `changes`, if it is not. before: pages in the index so far.
        language: that queries were analysed in so far.
    """

    generation: int
    rebuild: str = ""
    changed: tuple[Row, ...] = ()
    before: int = 0
    language: str = ""

    def count(self, *statuses: str) -> int:
        """Pages with one of the statuses."""
        return sum(row["status"] in statuses for row in self.changed)


@dataclass(frozen=True)
class Sources:
    """The tables that are read, and of each by name its place, identity and version."""

    pages: DataFrame
    links: DataFrame | None
    ranks: DataFrame | None
    versions: Mapping[str, Sequence[Any]]


def run(spark: SparkSession, args: Args) -> Mapping[str, Any]:
    """Find what has changed, index it, fold it in."""
    started = time.monotonic()
    postings, documents = (TableRef.find("", r, args.lake) for r in (INDEX_POSTINGS, INDEX_DOCUMENTS))
    pages = TableRef.find(args.pages, PAGES, args.lake)
    sources = _sources(spark, args, pages)
    plan = _plan(spark, args, sources, postings, documents)
    print(f"build_index: {_say(plan)}", flush=True)
    if plan.rebuild:
        chosen = contents(sources.pages, sources.links, sources.ranks, args.language).repartition(
            cores(spark), "page_id"
        )
        TableSink(postings, INDEX_POSTINGS).write(build_segments(chosen, plan.generation, args.language))
    elif plan.count(NEW, CHANGED):
        only = _rows(spark, plan, NEW, CHANGED).select("page_id")
        chosen = contents(sources.pages, sources.links, sources.ranks, args.language, only)
        TableSink(postings, INDEX_POSTINGS).append(build_segments(chosen.coalesce(1), plan.generation, args.language))
    stamp = {
        "format": FORMAT, "language": args.language, "pages": pages.location, "sources": sources.versions,
        "pages_version": sources.versions[PAGES.name][-1],
        "postings_version": ArrowTable(postings, INDEX_POSTINGS, lambda: spark).version,
        "main_language": plan.language or _main_language(sources.pages, args.language),
    }  # fmt: skip
    sink = TableSink(documents, INDEX_DOCUMENTS, json.dumps(stamp))
    listed = listed_pages(postings.frame(spark), plan.generation)
    if plan.rebuild:
        sink.write(listed)
        total = ArrowTable(documents, INDEX_DOCUMENTS, lambda: spark).rows
    else:
        if plan.changed:
            sink.merge(_merged(spark, plan, listed, documents), "removed")
        total = plan.before + plan.count(NEW) - plan.count(REMOVED)
    if not total:
        raise UserError(f"{pages.location}: there is no page that may be found; the index is empty")
    seconds = time.monotonic() - started
    print(f"build_index: {total:,} pages in {postings.location} and {documents.location}")
    return {
        "pages": total, "rebuilt": bool(plan.rebuild), "why": plan.rebuild, "seconds": round(seconds, 3),
        **{status: plan.count(status) for status in (NEW, CHANGED, REMOVED, TOUCHED)},
        "documents_per_second": round((total if plan.rebuild else len(plan.changed)) / seconds, 1),
    }  # fmt: skip


def _columns() -> list[str]:
    return [column.name for column in INDEX_DOCUMENTS.columns]


def _sources(spark: SparkSession, args: Args, pages: TableRef) -> Sources:
    """Links and ranks need not be there, unless a flag names them."""
    frames: dict[str, DataFrame] = {PAGES.name: pages.read(spark, PAGES)}
    versions: dict[str, Sequence[Any]] = {PAGES.name: _version(spark, pages, PAGES)}
    for given, relation in ((args.links, LINKS), (args.ranks, RANKS)):
        ref = TableRef.find(given, relation, args.lake)
        if given or ref.exists(spark):
            frames[relation.name] = ref.read(spark, relation)
            versions[relation.name] = _version(spark, ref, relation)
    return Sources(frames[PAGES.name], frames.get(LINKS.name), frames.get(RANKS.name), versions)


def _version(spark: SparkSession, ref: TableRef, relation: Relation) -> list[Any]:
    table = ArrowTable(ref, relation, lambda: spark)
    return [ref.location, table.identity, table.version]


def _plan(spark: SparkSession, args: Args, sources: Sources, postings: TableRef, documents: TableRef) -> Plan:
    """Compare pages and index."""
    if not (documents.exists(spark) and postings.exists(spark)):
        return Plan(1, "there is no index yet")
    index = ArrowTable(documents, INDEX_DOCUMENTS, lambda: spark)
    stamp = json.loads(index.stamp or "{}")
    segments = ArrowTable(postings, INDEX_POSTINGS, lambda: spark).read(["segment"], [("term", "=", PAGES_TERM)])
    generation = generation_of(pc.max(segments["segment"]).as_py() or first_segment(0)) + 1
    if args.rebuild:
        return Plan(generation, "--rebuild")
    if stamp.get("format") != FORMAT or stamp.get("language") != args.language:
        return Plan(generation, "its format or language is another")
    if len(segments) >= args.most_segments:
        return Plan(generation, f"it has {len(segments)} segments")
    pages = index.rows
    if stamp["sources"] == sources.versions:
        return Plan(generation, "", (), pages, stamp["main_language"])
    before = documents.read(spark, INDEX_DOCUMENTS)
    now = contents(sources.pages, sources.links, sources.ranks, args.language)
    found = changes(now, before).limit(_FEW + 1).collect()
    plan = Plan(generation, "", tuple(found), pages, stamp["main_language"])
    if len(found) > _FEW or plan.count(NEW, CHANGED, REMOVED) > args.update_share * max(plan.before, 1):
        return Plan(generation, f"{len(found):,}{' or more' * (len(found) > _FEW)} pages have changed")
    return plan


def _rows(spark: SparkSession, plan: Plan, *statuses: str) -> DataFrame:
    """The changed pages with one of the statuses, as a small frame."""
    names = ("page_id", "pagerank", "duplicate_of")
    rows = [tuple(row[name] for name in names) for row in plan.changed if row["status"] in statuses]
    return spark.createDataFrame(rows, "page_id bigint, pagerank double, duplicate_of bigint")


def _merged(spark: SparkSession, plan: Plan, listed: DataFrame, documents: TableRef) -> DataFrame:
    """Rows to fold into `index_documents`, with a column `removed`."""
    parts = []
    if plan.count(NEW, CHANGED):
        parts.append(listed.select(*_columns(), F.lit(False).alias("removed")))
    if plan.count(TOUCHED, REMOVED):
        old = documents.frame(spark).drop("pagerank", "duplicate_of")
        for status in (TOUCHED, REMOVED):
            same = old.join(F.broadcast(_rows(spark, plan, status)), "page_id")
            parts.append(same.select(*_columns(), F.lit(status == REMOVED).alias("removed")))
    return reduce(DataFrame.unionByName, parts)


def _main_language(pages: DataFrame, language: str) -> str:
    """What queries are analysed in: the language of most pages."""
    if language:
        return language
    counted = pages.where("language IS NOT NULL").groupBy("language").agg(F.count("*").alias("n"))
    row = counted.orderBy(F.desc("n"), "language").first()
    return str(row["language"]) if row else NONE


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

"""From records to the tables `pages`, `links`, `redirects` and `pages_rejected`: with Arrow on the driver, or by Spark.

Each step stands here twice, `…_arrow` beside `…_spark`, and a test compares the two row for row. Neither serves alone:
the steps group and join all records by address, which on a cluster takes shuffles (a function that Spark maps over
partitions sees only its own rows), and each of a dozen Spark jobs costs half a second and more, whatever it does, which
a site of some thousand pages would wait for in vain.

Steps: the newest page of each address counts; redirects are gathered, then followed to their ends; links are taken out
of the pages and lead to where their redirects end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakerank.lake.schemas import LINKS, PAGES, PAGES_REJECTED, REDIRECTS
from lakerank.search.pages.records import COPY_COLUMNS, PAGE, REDIRECT, REJECTED, SKIPPED
from lakerank.search.pages.urls import page_id

_ROUNDS = 4  # each doubles the steps that are followed: 2⁴ = 16
_REDIRECT_KINDS = ("http", "refresh", "canonical")  # of two redirects of one address the first of these counts


@dataclass(frozen=True)
class RecordCounts:
    """Counts of the records that were read: by kind, and of those passed over by reason.

    Among them are distinct addresses of pages, links on pages, and pages with a canonical address of another page.
    """

    pages: int
    addresses: int
    links: int
    canonical: int
    redirects: int
    rejected: int
    skipped: dict[str, int]


def count_records_arrow(records: pa.Table) -> RecordCounts:
    """Count records (`records.SCHEMA`)."""
    pages = of_kind(records, PAGE)
    reasons = pc.value_counts(of_kind(records, SKIPPED)["reason"]).to_pylist()
    elsewhere = pc.not_equal(pages["canonical_url"], pages["url"])
    return RecordCounts(
        len(pages),
        len(pc.unique(pages["url"])),
        pc.sum(pc.list_value_length(pages["links"])).as_py() or 0,
        pc.sum(elsewhere).as_py() or 0,
        len(of_kind(records, REDIRECT)),
        len(of_kind(records, REJECTED)),
        {row["values"]: row["counts"] for row in sorted(reasons, key=lambda row: row["values"])},
    )


def count_records_spark(records: DataFrame) -> RecordCounts:
    """Count records (`records.DDL`) in one pass."""
    why = F.when(F.col("kind") == SKIPPED, F.col("reason"))
    found = records.groupBy("kind", why.alias("why")).agg(
        F.count("*").alias("n"),
        F.sum(F.size("links")).alias("links"),
        F.countDistinct("url").alias("urls"),
        F.count_if(F.col("canonical_url") != F.col("url")).alias("canonical"),
    )
    counts = {(row["kind"], row["why"]): row for row in found.collect()}

    def number(kind: str, field: str = "n") -> int:
        return int(counts[kind, None][field] or 0) if (kind, None) in counts else 0

    return RecordCounts(
        number(PAGE),
        number(PAGE, "urls"),
        number(PAGE, "links"),
        number(PAGE, "canonical"),
        number(REDIRECT),
        number(REJECTED),
        {row["why"]: row["n"] for (kind, _), row in sorted(counts.items(), key=str) if kind == SKIPPED},
    )


def of_kind(records: pa.Table, kind: str) -> pa.Table:
    """Return the records of one kind."""
    return records.filter(pc.equal(records["kind"], kind))


def newest_pages_arrow(records: pa.Table) -> pa.Table:
    """Return one page for each address: the one fetched last, then the last in its file."""
    pages = of_kind(records, PAGE)
    if len(pc.unique(pages["page_id"])) == len(pages):
        return pages
    down = [(name, "descending") for name in ("fetched_at", "source", "source_offset")]
    order = pc.sort_indices(pages, [("page_id", "ascending"), *down])  # nulls last
    return pages.take(order.filter(_firsts(pages["page_id"].take(order))))


def newest_pages_spark(records: DataFrame, unique: bool) -> DataFrame:
    """Return one page for each address, as `newest_pages_arrow`; `unique`: no address is there twice."""
    pages = records.where(F.col("kind") == PAGE)
    if unique:
        return pages
    order = [F.desc_nulls_last("fetched_at"), F.desc("source"), F.desc_nulls_last("source_offset")]
    rank = F.row_number().over(Window.partitionBy("page_id").orderBy(*order))
    return pages.withColumn("_rank", rank).where("_rank = 1").drop("_rank")


def _firsts(sorted_values: pa.ChunkedArray) -> pa.Array:
    """Tell of each value whether it differs from the one before it."""
    values = sorted_values.combine_chunks()
    if not len(values):
        return pa.array([], pa.bool_())
    return pa.concat_arrays([pa.array([True]), pc.not_equal(values[1:], values[:-1])])


def page_rows_arrow(pages: pa.Table) -> pa.Table:
    """Return rows of the `pages` table, nothing known of duplicates yet."""
    schema = PAGES.arrow_schema()
    for name in COPY_COLUMNS:
        pages = pages.append_column(name, pa.nulls(len(pages), schema.field(name).type))
    return pages.select(schema.names)


def page_rows_spark(pages: DataFrame) -> DataFrame:
    """Return rows of the `pages` table, nothing known of duplicates yet."""
    types = {column.name: column.type for column in PAGES.columns}
    unknown = [F.lit(None).cast(types[name]).alias(name) for name in COPY_COLUMNS]
    return pages.select("*", *unknown).select(*PAGES.names)


def link_rows_arrow(pages: pa.Table) -> pa.Table:
    """Return one row of the `links` table for each link of the pages, as it stands there."""
    return pa.Table.from_batches(_links_of_batches(pages), LINKS.arrow_schema())


def _links_of_batches(pages: pa.Table) -> Iterable[pa.RecordBatch]:
    names = list(LINKS.names)
    for batch in pages.select(["page_id", "url", "links"]).to_batches():
        parents, links = pc.list_parent_indices(batch["links"]), pc.list_flatten(batch["links"])
        columns = {"src": batch["page_id"].take(parents), "src_url": batch["url"].take(parents)}
        columns |= {field.name: links.field(field.name) for field in links.type}
        yield pa.record_batch([columns[name] for name in names], names=names)


def link_rows_spark(pages: DataFrame) -> DataFrame:
    """Return one row of the `links` table for each link of the pages, as it stands there."""
    links = pages.select(F.col("page_id").alias("src"), F.col("url").alias("src_url"), F.inline("links"))
    return links.select(*LINKS.names)


def rejected_rows_arrow(records: pa.Table) -> pa.Table:
    """Return rows of the `pages_rejected` table."""
    bad = of_kind(records, REJECTED)
    return bad.append_column("offset", pc.fill_null(bad["source_offset"], 0)).select(list(PAGES_REJECTED.names))


def rejected_rows_spark(records: DataFrame) -> DataFrame:
    """Return rows of the `pages_rejected` table."""
    bad = records.where(F.col("kind") == REJECTED).withColumn("offset", F.coalesce("source_offset", F.lit(0)))
    return bad.select(*PAGES_REJECTED.names)


def read_redirects_arrow(records: pa.Table) -> pa.Table:
    """Return HTTP redirects and refreshes as read, rows of the `redirects` table."""
    return of_kind(records, REDIRECT).select(["url", "target_url", "reason"]).rename_columns(list(REDIRECTS.names))


def read_redirects_spark(records: DataFrame) -> DataFrame:
    """Return HTTP redirects and refreshes as read, rows of the `redirects` table."""
    return records.where(F.col("kind") == REDIRECT).select("url", "target_url", F.col("reason").alias("kind"))


def gather_redirects_arrow(read: pa.Table, pages: pa.Table) -> pa.Table:
    """Return the redirects that count, one for each address and one step each: those read and canonical addresses.

    A canonical address counts only if it is a page that was read: it is a page's own claim. An HTTP redirect of an
    address that was read as a page too does not count.

    Args:
        read: rows of `redirects` of kind http or refresh.
        pages: `url`, `canonical_url`, among others.
    """
    known = pages["url"].combine_chunks()
    canonical = pages.filter(pc.is_in(pages["canonical_url"], known, skip_nulls=True))
    kind = pa.nulls(len(canonical), pa.string()).fill_null(_REDIRECT_KINDS[2])
    claims = pa.table([canonical["url"], canonical["canonical_url"], kind], schema=REDIRECTS.arrow_schema())
    does_not_count = pc.and_(pc.equal(read["kind"], "http"), pc.is_in(read["url"], known))
    step = pa.concat_tables([read.filter(pc.invert(does_not_count)), claims])
    step = step.filter(pc.not_equal(step["url"], step["target_url"]))
    keyed = step.append_column("rank", pc.index_in(step["kind"], pa.array(_REDIRECT_KINDS)))
    order = pc.sort_indices(keyed, [(name, "ascending") for name in ("url", "rank", "target_url")])
    return step.take(order.filter(_firsts(step["url"].take(order))))


def gather_redirects_spark(read: DataFrame, pages: DataFrame) -> DataFrame:
    """Return the redirects that count, as `gather_redirects_arrow`."""
    known = pages.select("url")
    claims = pages.where("canonical_url IS NOT NULL AND canonical_url <> url").select(
        "url", F.col("canonical_url").alias("target_url"), F.lit("canonical").alias("kind")
    )
    claims = claims.join(known.select(F.col("url").alias("target_url")), "target_url", "left_semi")
    moved = read.where("kind = 'http'").join(known, "url", "left_anti")
    parts = [moved, read.where("kind = 'refresh'"), claims]
    step = reduce(DataFrame.unionByName, [part.select(*REDIRECTS.names) for part in parts])
    rank = F.array_position(F.array(*map(F.lit, _REDIRECT_KINDS)), F.col("kind"))
    best = F.min(F.struct(rank.alias("r"), "target_url", "kind")).alias("b")
    return step.where("url <> target_url").groupBy("url").agg(best).select("url", "b.target_url", "b.kind")


def follow_redirects_arrow(step: pa.Table) -> pa.Table:
    """Replace the target of each redirect by the end of its chain.

    Circles, and chains of more than 16 steps, stay as they were.

    Args:
        step: rows of `redirects`, each address once.
    """
    first = dict(zip(step["url"].to_pylist(), step["target_url"].to_pylist(), strict=True))
    jump = first
    for _ in range(_ROUNDS):
        jump = {url: jump.get(end, end) for url, end in jump.items()}
    ends = [first[url] if end in first else end for url, end in jump.items()]
    return step.set_column(1, "target_url", pa.array(ends, pa.string()))


def follow_redirects_spark(step: DataFrame) -> DataFrame:
    """Replace the target of each redirect by the end of its chain, as `follow_redirects_arrow`: by pointer doubling."""
    jump = step.select("url", F.col("target_url").alias("end"))
    for _ in range(_ROUNDS):
        on = jump.select(F.col("url").alias("end"), F.col("end").alias("further"))
        jump = jump.join(on, "end", "left").select("url", F.coalesce("further", "end").alias("end"))
    ended = jump.join(step.select(F.col("url").alias("end")), "end", "left_anti")  # else a circle, or too long
    target = F.coalesce("end", "target_url").alias("target_url")
    return step.join(ended, "url", "left").select("url", target, "kind").select(*REDIRECTS.names)


def resolve_links_arrow(links: pa.Table, redirects: pa.Table) -> pa.Table:
    """Let links lead to where the redirects end; those that then lead back to their own page are left out."""
    ended = redirects.filter(pc.invert(pc.is_in(redirects["target_url"], redirects["url"].combine_chunks())))
    if not len(ended):  # circles alone
        return links
    position = pc.index_in(links["dst_url"], ended["url"].combine_chunks())
    targets = ended["target_url"].combine_chunks()
    ids = pa.array(map(page_id, targets.to_pylist()), pa.int64())
    new = {"dst_url": pc.coalesce(targets.take(position), links["dst_url"])}
    new["dst"] = pc.coalesce(ids.take(position), links["dst"])
    for name, column in new.items():
        links = links.set_column(links.column_names.index(name), name, column)
    return links.filter(pc.not_equal(links["dst"], links["src"]))


def resolve_links_spark(links: DataFrame, redirects: DataFrame) -> DataFrame:
    """Let links lead to where the redirects end, as `resolve_links_arrow`."""
    ended = redirects.join(redirects.select(F.col("url").alias("target_url")), "target_url", "left_anti")  # no circles
    moved = ended.select(F.col("url").alias("dst_url"), "target_url")
    target = F.coalesce("target_url", "dst_url")
    after = links.join(moved, "dst_url", "left").withColumn("dst_url", target).withColumn("dst", F.xxhash64("dst_url"))
    return after.where("dst <> src").select(*LINKS.names)


def with_copies_arrow(pages: pa.Table, copies: pa.Table) -> pa.Table:
    """Write into pages what they copy.

    Args:
        pages: rows of the `pages` table.
        copies: `page_id`, `duplicate_of`, `similarity`.
    """
    position = pc.index_in(pages["page_id"], copies["page_id"].combine_chunks())
    for name in COPY_COLUMNS:
        column: Any = copies[name].combine_chunks().take(position)
        pages = pages.set_column(pages.column_names.index(name), name, column)
    return pages


def with_copies_spark(pages: DataFrame, copies: DataFrame) -> DataFrame:
    """Write into pages what they copy, as `with_copies_arrow`."""
    return pages.drop(*COPY_COLUMNS).join(copies, "page_id", "left").select(*PAGES.names)

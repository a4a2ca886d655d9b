"""From rows as read to the tables: which page counts, where addresses lead, and links that know their targets.

Over a cluster, as DataFrame operations; `settle` does the same on the driver for what fits there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakerank.lake.schemas import LINKS, PAGES, PAGES_REJECTED, REDIRECTS
from lakerank.search.pages.read_file import PAGE, REDIRECT, REJECTED, SKIPPED

ROUNDS = 4  # each doubles the steps that are followed: 2⁴ = 16
_KIND_RANK = "map('http', 0, 'refresh', 1, 'canonical', 2)[kind]"


@dataclass(frozen=True)
class Survey:
    """What was read: rows by kind, their addresses, links on pages, pages with a canonical address of another page, and
    rows left out.
    """

    pages: int
    addresses: int
    links: int
    canonical: int
    redirects: int
    rejected: int
    skipped: dict[str, int]


def survey(rows: DataFrame) -> Survey:
    """Count the rows; one pass."""
    why = F.when(F.col("kind") == SKIPPED, F.col("reason"))
    found = rows.groupBy("kind", why.alias("why")).agg(
        F.count("*").alias("n"),
        F.sum(F.size("links")).alias("links"),
        F.countDistinct("url").alias("urls"),
        F.count_if(F.col("canonical_url") != F.col("url")).alias("canonical"),
    )
    counts = {(row["kind"], row["why"]): row for row in found.collect()}

    def number(kind: str, field: str = "n") -> int:
        return int(counts[kind, None][field] or 0) if (kind, None) in counts else 0

    return Survey(
        number(PAGE),
        number(PAGE, "urls"),
        number(PAGE, "links"),
        number(PAGE, "canonical"),
        number(REDIRECT),
        number(REJECTED),
        {row["why"]: row["n"] for (kind, _), row in sorted(counts.items(), key=str) if kind == SKIPPED},
    )


def newest_pages(rows: DataFrame, unique: bool) -> DataFrame:
    """The pages of `rows`, one for each address: the one fetched last, then the last in its file.

    Args:
        rows: as read.
        unique: no address is there twice.
    """
    pages = rows.where(F.col("kind") == PAGE)
    if unique:
        return pages
    order = [F.desc_nulls_last("fetched_at"), F.desc("source"), F.desc_nulls_last("source_offset")]
    place = F.row_number().over(Window.partitionBy("page_id").orderBy(*order))
    return pages.withColumn("_place", place).where("_place = 1").drop("_place")


def as_pages(pages: DataFrame) -> DataFrame:
    """Columns of the `pages` table, nothing known of duplicates yet."""
    nothing = {"duplicate_of": "bigint", "similarity": "double"}
    for name, kind in nothing.items():
        pages = pages.withColumn(name, F.lit(None).cast(kind))
    return pages.select(*(column.name for column in PAGES.columns))


def raw_links(pages: DataFrame) -> DataFrame:
    """One row for each link of the pages, as it stands there (columns of the `links` table)."""
    links = pages.select(F.col("page_id").alias("src"), F.col("url").alias("src_url"), F.inline("links"))
    return links.select(*(column.name for column in LINKS.columns))


def rejected_rows(rows: DataFrame) -> DataFrame:
    """Columns of the `pages_rejected` table."""
    chosen = rows.where(F.col("kind") == REJECTED).withColumn("offset", F.coalesce("source_offset", F.lit(0)))
    return chosen.select(*(column.name for column in PAGES_REJECTED.columns))


def told_redirects(rows: DataFrame) -> DataFrame:
    """HTTP redirects and refreshes as read: url, target_url, kind."""
    return rows.where(F.col("kind") == REDIRECT).select("url", "target_url", F.col("reason").alias("kind"))


def redirects(told: DataFrame, pages: DataFrame) -> DataFrame:
    """The `redirects` table: what was told and the pages' canonical addresses, followed to their ends.

    A canonical address counts only if it is a page that was read: it is a page's own claim. An HTTP redirect of an
    address that was read as a page too does not count. Circles, and chains of more than 16 steps, stay as told.

    Args:
        told: url, target_url, kind (http or refresh).
        pages: page_id, url, canonical_url.
    """
    known = pages.select("url")
    claims = pages.where("canonical_url IS NOT NULL AND canonical_url <> url").select(
        "url", F.col("canonical_url").alias("target_url"), F.lit("canonical").alias("kind")
    )
    claims = claims.join(known.select(F.col("url").alias("target_url")), "target_url", "left_semi")
    moved = told.where("kind = 'http'").join(known, "url", "left_anti")
    parts = [moved, told.where("kind = 'refresh'"), claims]
    step = reduce(DataFrame.unionByName, [part.select("url", "target_url", "kind") for part in parts])
    best = F.min(F.struct(F.expr(_KIND_RANK).alias("r"), "target_url", "kind")).alias("b")
    return step.where("url <> target_url").groupBy("url").agg(best).select("url", "b.target_url", "b.kind")


def follow(step: DataFrame) -> DataFrame:
    """Each redirect with the end of its chain as its target, by pointer doubling.

    Args:
        step: url (once each), target_url, kind.
    """
    jump = step.select("url", F.col("target_url").alias("end"))
    for _ in range(ROUNDS):
        on = jump.select(F.col("url").alias("end"), F.col("end").alias("further"))
        jump = jump.join(on, "end", "left").select("url", F.coalesce("further", "end").alias("end"))
    ended = jump.join(step.select(F.col("url").alias("end")), "end", "left_anti")  # else a circle, or too long
    target = F.coalesce("end", "target_url").alias("target_url")
    followed = step.join(ended, "url", "left").select("url", target, "kind")
    return followed.select(*(column.name for column in REDIRECTS.columns))


def resolved(links: DataFrame, ends: DataFrame) -> DataFrame:
    """Links whose targets are where the redirects end; those that lead back to their own page are left out."""
    ended = ends.join(ends.select(F.col("url").alias("target_url")), "target_url", "left_anti")  # no circles
    moved = ended.select(F.col("url").alias("dst_url"), "target_url")
    target = F.coalesce("target_url", "dst_url")
    after = links.join(moved, "dst_url", "left").withColumn("dst_url", target).withColumn("dst", F.xxhash64("dst_url"))
    return after.where("dst <> src").select(*(column.name for column in LINKS.columns))


def with_duplicates(pages: DataFrame, copies: DataFrame) -> DataFrame:
    """Pages that know what they copy.

    Args:
        pages: columns of the `pages` table.
        copies: page_id, duplicate_of, similarity.
    """
    plain = pages.drop("duplicate_of", "similarity")
    return plain.join(copies, "page_id", "left").select(*(column.name for column in PAGES.columns))

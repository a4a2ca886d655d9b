"""What of a page is indexed, and which pages have changed since they were."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

MOST_ANCHORS = 100  # distinct texts of links to one page
CONTENT = (
    "page_id", "key", "pagerank", "duplicate_of", "title", "headings", "text", "language", "anchors",
)  # fmt: skip
NEW, CHANGED, REMOVED, TOUCHED = "new", "changed", "removed", "touched"


def anchor_texts(links: DataFrame) -> DataFrame:
    """The texts of links to each page, each text once: `page_id`, `anchors` (array<string>, most frequent first).

    A menu that stands on every page says of its target as much as if it stood on one, and a farm of pages that all say
    the same counts as one voice. Links marked nofollow and a page's links to itself say nothing.
    """
    spoken = links.where("NOT nofollow AND src <> dst AND anchor <> ''")
    counted = spoken.groupBy("dst", "anchor").agg(F.count("*").alias("n"))
    texts = F.sort_array(F.collect_list(F.struct((-F.col("n")).alias("n"), "anchor")))
    best = F.transform(F.slice(texts, 1, MOST_ANCHORS), lambda text: text["anchor"])
    return counted.groupBy(F.col("dst").alias("page_id")).agg(best.alias("anchors"))


def contents(
    pages: DataFrame, links: DataFrame | None, ranks: DataFrame | None, language: str, only: DataFrame | None = None
) -> DataFrame:
    """What goes into the index, and a hash of its words (`key`): `CONTENT`.

    Args:
        pages: table `pages`; those that ask not to be found are left out.
        links, ranks: tables `links` and `ranks` (ids bigint), if there are any.
        language: that all pages are analysed in, or empty: each in its own.
        only: `page_id` of the few pages that are wanted, or None: all.
    """
    shown = pages.where("NOT noindex")
    if only is not None:
        shown = shown.join(F.broadcast(only), "page_id")
    if links is None:
        shown = shown.withColumn("anchors", F.lit(None).cast("array<string>"))
    else:
        if only is not None:
            links = links.join(F.broadcast(only.withColumnRenamed("page_id", "dst")), "dst")
        shown = shown.join(anchor_texts(links), "page_id", "left")
    if ranks is None:
        shown = shown.withColumn("pagerank", F.lit(None).cast("double"))
    else:
        rank = ranks.select(F.col("id").cast("bigint").alias("page_id"), "pagerank")
        shown = shown.join(rank, "page_id", "left")
    spoken: Column = F.lit(language) if language else F.coalesce("language", F.lit(""))
    return shown.withColumn("key", F.xxhash64("content_hash", "anchors", spoken)).select(*CONTENT)


def changes(now: DataFrame, before: DataFrame) -> DataFrame:
    """How pages differ from the index: `page_id`, `status`, `pagerank`, `duplicate_of`.

    Args:
        now: `contents`.
        before: table `index_documents`.

    Returns:
        NEW, CHANGED (its words), REMOVED, TOUCHED (only rank or original); pages that are the same have no row.
    """
    old = before.select(
        "page_id", F.col("key").alias("k"), F.col("pagerank").alias("r"), F.col("duplicate_of").alias("d")
    )
    both = now.select("page_id", "key", "pagerank", "duplicate_of").join(old, "page_id", "full")
    same = F.col("pagerank").eqNullSafe(F.col("r")) & F.col("duplicate_of").eqNullSafe(F.col("d"))
    status = (
        F.when(F.col("k").isNull(), NEW)
        .when(F.col("key").isNull(), REMOVED)
        .when(F.col("key") != F.col("k"), CHANGED)
        .when(~same, TOUCHED)
    )
    shown = both.select("page_id", status.alias("status"), "pagerank", "duplicate_of")
    return shown.where("status IS NOT NULL")

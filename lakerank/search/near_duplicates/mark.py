"""Which pages copy another, exactly or nearly."""

from __future__ import annotations

from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.schemas import PAGES, Relation
from lakerank.search.near_duplicates import distributed, one_task
from lakerank.search.near_duplicates.banding import Banding
from lakerank.search.near_duplicates.texts import ENCODED, encode
from lakerank.spark.checkpoint import checkpoint

ONE_TASK_BYTES = 1 << 30  # of shingle sets: some 250,000 pages of 500 words
LIMIT = 256  # comparisons of a page with pages of other groups, for each bucket
_COLUMNS = tuple(column for column in PAGES.columns if column.name in ("page_id", "url", "text"))
_TEXTS = 1000  # encoded at a time
_COPIES = pa.schema([("page_id", pa.int64()), ("duplicate_of", pa.int64()), ("similarity", pa.float64())])
TEXTS = Relation("pages", PAGES.meaning, _COLUMNS, PAGES.keys, PAGES.producer, PAGES.grows_with)


def mark_duplicates(
    pages: DataFrame,
    threshold: float = 0.8,
    *,
    shingle_words: int = 5,
    one_task_bytes: int = ONE_TASK_BYTES,
    limit: int = LIMIT,
    scratch: str = "",
) -> DataFrame:
    """The pages that copy another, each with its group's original.

    Two pages are alike if the sets of their runs of `shingle_words` words (letters made small) have a Jaccard
    similarity of at least `threshold`. Groups are what such pairs connect: if A is like B and B is like C, they are
    one group even if A and C are not alike. The original is the page with the shortest url, of those the
    alphabetically first. A text with fewer words is one shingle; a page without words copies nothing.

    Pairs at the threshold are missed with a probability of at most 0.001 (0.00005 at 0.8), unless other pages connect
    them. In buckets of more than `limit` pages, most of them unlike each other, more may be missed (ADR 0017).
    Whichever plan is taken, the result is the same. `pages` is computed once, when this is called.

    Args:
        pages: page_id bigint (a key), url string, text string, none null; other columns are ignored.
        threshold: 0.1 to 1.
        shingle_words: at least 1.
        one_task_bytes: up to so many bytes of shingle sets (8 for each distinct shingle of a page) one task does it
            all, without shuffles.
        limit: comparisons of a page in each bucket with pages that nothing connects with it so far.
        scratch: see `checkpoint`.

    Returns:
        page_id bigint, duplicate_of bigint (always an original), similarity double: exact Jaccard similarity with
        that original, 1 for the same shingles; below the threshold where only other pages connect the two.

    Raises:
        UserError: a column is missing or of another type; the threshold or `shingle_words` is out of its range.
    """
    if shingle_words < 1:
        raise UserError(f"near-duplicates: {shingle_words} words in a shingle; it must be at least 1")
    work = partial(encode, banding=Banding.for_threshold(threshold), width=shingle_words)
    encoded = checkpoint(TEXTS.enforce(pages, "pages").mapInArrow(work, ENCODED), scratch)
    held = encoded.agg(F.sum(F.length("shingles").cast("bigint"))).collect()[0][0] or 0
    if held > one_task_bytes:
        return distributed.run(encoded, threshold, limit, scratch)
    solve = partial(one_task.solve, threshold=threshold, limit=limit)
    return checkpoint(encoded.repartition(1).mapInArrow(solve, one_task.COPIES), scratch)


def copies_among(pages: pa.Table, threshold: float = 0.8, *, shingle_words: int = 5, limit: int = LIMIT) -> pa.Table:
    """`mark_duplicates` without Spark, for pages in memory; arguments and result are the same, as Arrow tables."""
    texts = iter(pages.select([column.name for column in _COLUMNS]).to_batches(max_chunksize=_TEXTS))
    encoded = encode(texts, banding=Banding.for_threshold(threshold), width=shingle_words)
    return pa.Table.from_batches(one_task.solve(encoded, threshold=threshold, limit=limit), _COPIES)

"""Segments built by Spark: every task makes those of its own pages, so that nothing is shuffled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.search.index.index_input_spark import CONTENT
from lakerank.search.index.segment import PAGES_TERM, SegmentBuilder, unpacked_pages

MOST_OCCURRENCES = 16_000_000  # of one segment; a task needs about 40 bytes for each
_PART_BITS, _TURN_BITS = 20, 12  # a segment's number: generation, task, how many the task made before
_POSTINGS = "segment bigint, term string, word string, pages int, occurrences bigint, postings binary, positions binary"
_PAGES = (
    "page_id bigint, segment bigint, ordinal int, lengths array<int>, key bigint, pagerank double, duplicate_of bigint"
)
_NAMES = [column.split()[0] for column in _PAGES.split(", ")]


def first_segment(generation: int) -> int:
    """The lowest number of a generation's segments."""
    return generation << (_PART_BITS + _TURN_BITS)


def generation_of(segment: int) -> int:
    """The generation a segment was built in."""
    return segment >> (_PART_BITS + _TURN_BITS)


def _segments(generation: int, language: str) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def build(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        builder, turn = None, 0
        for batch in batches:
            if not len(batch):
                continue
            if builder is None:
                part = batch["part"][0].as_py()
                number = first_segment(generation) + (part << _TURN_BITS) + turn
                builder = SegmentBuilder(number, language)
            builder.add(batch)
            if builder.occurrences >= MOST_OCCURRENCES:
                yield from builder.finish()
                builder, turn = None, turn + 1
        if builder is not None:
            yield from builder.finish()

    return build


def build_segments(contents: DataFrame, generation: int, language: str) -> DataFrame:
    """Rows of `index_postings` for pages.

    Args:
        contents: at least `contents.CONTENT`; each partition becomes a segment, or several.
        generation: number of this build, higher than those before.
        language: that all pages are analysed in, or empty: each in its own.
    """
    chosen = contents.select(*CONTENT, F.spark_partition_id().alias("part"))
    return chosen.mapInArrow(_segments(generation, language), _POSTINGS)


def pages_of_segments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Columns of `index_documents` from a segment's lists of pages: `segment`, `postings`, `positions`."""
    for batch in batches:
        rows = zip(batch["segment"].to_pylist(), batch["postings"], batch["positions"], strict=True)
        for segment, packed, lengths in rows:
            pages = unpacked_pages(packed.as_py(), lengths.as_py())
            segments = pa.array(np.full(len(pages), segment, np.int64))
            yield pages.append_column("segment", segments).select(_NAMES)


def listed_pages(postings: DataFrame, generation: int) -> DataFrame:
    """The pages of a generation's segments: columns of `index_documents`."""
    headers = postings.where((F.col("term") == PAGES_TERM) & (F.col("segment") >= first_segment(generation)))
    return headers.select("segment", "postings", "positions").mapInArrow(pages_of_segments, _PAGES)

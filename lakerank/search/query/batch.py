"""Many queries at once, answered by Spark's workers: from the whole index each, or from a part of it each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from lakerank.search.index.fields import Weighting
from lakerank.search.index.store import IndexPart
from lakerank.search.query.arrays import decoded
from lakerank.search.query.index import Index
from lakerank.search.query.searcher import Searcher
from lakerank.search.query.shards import Asked, Step, answer
from lakerank.search.query.statistics import PACKED, Statistics, merged_statistics, scored, statistics_of
from lakerank.spark.array_store import Block, BlockStore

_ANSWERS = "query_id string, rank int, document string, score double"
_FEWEST = 50  # queries in a share


def answer_in_shares(
    spark: SparkSession, folder: tuple[str, str], asked: Asked, weighting: Weighting, workers: int
) -> list[dict[str, Any]]:
    """Answer from a decoded index that every worker can map.

    Args:
        spark: the session.
        folder: store and key of the arrays.
        asked: the queries. weighting: that the arrays were made for.
        workers: how many shares there may be.

    Returns:
        `query_id`, `rank`, `document`, `score`.
    """
    root, key = folder

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        index = Index(BlockStore(root).get(key), weighting, asked.language)
        searcher = Searcher(index, asked.ranking)
        for batch in batches:
            for name in batch["query_id"].to_pylist():
                found = searcher.find(asked.queries[name], asked.top, asked.rank_weight, asked.feedback)
                pages = found.pages.tolist()
                yield pa.record_batch(
                    {
                        "query_id": pa.array([name] * len(pages), pa.string()),
                        "rank": pa.array(range(1, len(pages) + 1), pa.int32()),
                        "document": pa.array([index.name(page) for page in pages], pa.string()),
                        "score": found.scores,
                    }
                )

    names = spark.createDataFrame(pa.table({"query_id": list(asked.queries)}))
    shares = names.repartition(min(workers, max(1, len(asked.queries) // _FEWEST)))
    rows: list[dict[str, Any]] = shares.mapInArrow(work, _ANSWERS).toArrow().to_pylist()
    return rows


def answer_in_parts(
    spark: SparkSession, parts: Sequence[IndexPart], folder: str, asked: Asked, weighting: Weighting
) -> list[dict[str, Any]]:
    """Answer from parts of the index, each opened by one worker; see `parts.answer`.

    Args:
        spark: the session.
        parts: of the index.
        folder: where workers keep what they have decoded.
        asked: the queries. weighting: BM25F's settings.

    Returns:
        `query_id`, `rank`, `document`, `score`.
    """
    numbers = spark.createDataFrame([(n,) for n in range(len(parts))], "part int").repartition(len(parts), "part")

    def decode(documents: pa.Table, postings: pa.Table, pages: pa.Table) -> Block:
        return decoded(documents, postings, pages, snippets=False)

    def on_parts(work: Callable[[Block], Iterator[pa.RecordBatch]], schema: str) -> pa.Table:
        def run_parts(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for number in batch["part"].to_pylist():
                    yield from work(parts[number].block(folder, "decoded", decode))

        return numbers.mapInArrow(run_parts, schema).toArrow()

    def survey(block: Block) -> Iterator[pa.RecordBatch]:
        yield statistics_of(block, weighting).packed()

    statistics = merged_statistics([Statistics.unpacked(row) for row in on_parts(survey, PACKED).to_pylist()])

    def run(step: Step, schema: str) -> pa.Table:
        def work(block: Block) -> Iterator[pa.RecordBatch]:
            whole = block | scored(block, statistics, weighting, asked.language)
            yield from step(Index(whole, weighting, asked.language))

        return on_parts(work, schema)

    return answer(asked, statistics, run)

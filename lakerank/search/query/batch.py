"""Many queries at once: a file of queries, answered by Spark's workers, as a run in TREC's format.

Each worker answers a share of the queries from the whole index, or all of them from a shard of it. Shards are scored
with the statistics of all, and their best are merged, so that the answers are those of one whole index,
to the last bit.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa

from lakerank.cli.errors import UserError
from lakerank.cli.stores import is_in_object_store
from lakerank.lake.schemas import SEARCH_RESULTS
from lakerank.search.index.fields import Weighting
from lakerank.search.query.index import Index
from lakerank.search.query.parse import AnalyzedQuery, Query, Vocabulary, analyze_query
from lakerank.search.query.searcher import Ranking, Searcher, expand_query, keep_first
from lakerank.search.query.statistics import (
    STATISTICS_SCHEMA,
    Statistics,
    collection_statistics,
    merge_statistics,
    score_arrays,
)
from lakerank.search.query.store import IndexShard, cache_folder, index_shards, open_index
from lakerank.spark.array_cache import is_local
from lakerank.spark.array_store import BlockStore

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class RejectedQuery:
    """A line of a file of queries that cannot be answered.

    Attributes:
        line: its number, from 1.
        raw: what stands there, without what no text can hold.
        reason: what is wrong with it.
    """

    line: int
    raw: str
    reason: str


def read_queries(content: bytes, where: str) -> tuple[dict[str, str], list[RejectedQuery]]:
    """Read the queries of a file, by id, and the lines that are none.

    Args:
        content: UTF-8, lines `id<TAB>query`, or queries alone, which are numbered from 1. Blank lines say nothing.
        where: the file, for messages.

    Raises:
        UserError: there is no query at all.
    """
    queries: dict[str, str] = {}
    rejected: list[RejectedQuery] = []
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")  # no other sign ends a line
    numbered = b"\t" not in content
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        text = raw.decode(errors="replace").replace("\0", "").strip()
        name, _, query = (str(len(queries) + 1), "", text) if numbered else text.partition("\t")
        name, query = name.strip(), query.strip()
        if not is_utf8(raw):
            rejected.append(RejectedQuery(number, text, "not UTF-8"))
        elif not name or not query:
            rejected.append(RejectedQuery(number, text, "no query after an id and a tab"))
        elif name in queries:
            rejected.append(RejectedQuery(number, text, f"query {name} stands there twice"))
        else:
            queries[name] = query
    if not queries:
        first = f" (line {rejected[0].line}: {rejected[0].reason})" if rejected else ""
        raise UserError(f"{where}: there is no query in it{first}")
    return queries, rejected


def is_utf8(content: bytes) -> bool:
    """Tell whether bytes are UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def rejected_lines(rejected: Sequence[RejectedQuery]) -> str:
    """Return a file of rejected lines: number, reason and text, separated by tabs."""
    rows = [f"{one.line}\t{one.reason}\t{one.raw}" for one in rejected]
    return "".join(f"{row}\n" for row in ("line\treason\traw", *rows))


def _word(name: str) -> str:
    """Return a name as one word: its white space percent-encoded."""
    return re.sub(r"\s", lambda space: quote(space[0]), name)


def run_lines(answers: Sequence[Mapping[str, Any]], order: Sequence[str], tag: str) -> list[str]:
    """Return the lines `query Q0 document rank score tag` of a run, queries in the given order, best answers first.

    Scores have nine decimals, in which equal scores stay equal; evaluation programs order by score, so they agree
    with `rank`. White space in an id of a query or in a document's name is percent-encoded: it separates the columns.
    """
    position = {name: at for at, name in enumerate(order)}
    rows = sorted(answers, key=lambda row: (position[row["query_id"]], row["rank"]))
    return [
        f"{_word(row['query_id'])} Q0 {_word(row['document'])} {row['rank']} {row['score']:.9f} {tag}" for row in rows
    ]


_ANSWERS = "query_id string, rank int, page_id bigint, document string, score double"


def answers_table(answers: Sequence[Mapping[str, Any]], queries: Mapping[str, str]) -> pa.Table:
    """Return answers of `answer_batch` as rows of `search_results`, queries in their order, best answers first."""
    position = {name: at for at, name in enumerate(queries)}
    rows = sorted(answers, key=lambda row: (position[row["query_id"]], row["rank"]))
    found = [{**row, "query": queries[row["query_id"]]} for row in rows]
    return pa.Table.from_pylist(found, SEARCH_RESULTS.arrow_schema())


_FEWEST = 50  # queries in a share
FIRST_RESULTS = (
    "query string, page_id bigint, document string, score double, terms array<string>, weights array<double>"
)
BEST_RESULTS = "query string, page_id bigint, document string, score double"
Step = Callable[[Index], Iterator[pa.RecordBatch]]
RunStep = Callable[[Step, str], pa.Table]  # a step on every shard; its columns as a schema of Spark


@dataclass(frozen=True)
class QueryBatch:
    """Queries and how they are to be answered.

    Attributes:
        queries: by id.
        top: results of each.
        rank_weight: of the link prior.
        feedback: on, off or auto.
        ranking: everything else.
        language: that the queries are in; empty: any that the index has.
    """

    queries: Mapping[str, Query]
    top: int
    rank_weight: float
    feedback: str
    ranking: Ranking = field(default_factory=Ranking)
    language: str = ""


def first_results(batch: QueryBatch, known: Mapping[str, AnalyzedQuery]) -> Step:
    """Find the first results of queries that may be expanded, with the terms of each page.

    Args:
        batch: the queries.
        known: those that are wanted, as analysed for the whole collection.
    """

    def step(index: Index) -> Iterator[pa.RecordBatch]:
        searcher, block = Searcher(index, batch.ranking), index.block
        for name, analyzed in known.items():
            found = searcher.find(
                batch.queries[name], batch.ranking.feedback.pages, 0.0, "off", exhaustive=True, known=analyzed
            )
            terms, weights = [], []
            for page in found.pages.tolist():
                at = slice(int(block["page_begins"][page]), int(block["page_begins"][page + 1]))
                terms.append([index.string("term", int(term)) for term in block["page_terms"][at]])
                weights.append(block["page_values"][at].astype(float).tolist())
            yield pa.record_batch(
                {
                    "query": pa.array([name] * len(terms), pa.string()),
                    "page_id": block["page_ids"][found.pages],
                    "document": pa.array([index.name(page) for page in found.pages.tolist()], pa.string()),
                    "score": found.scores,
                    "terms": pa.array(terms, pa.list_(pa.string())),
                    "weights": pa.array(weights, pa.list_(pa.float64())),
                }
            )

    return step


def best_results(
    batch: QueryBatch, known: Mapping[str, AnalyzedQuery], weights: Mapping[str, Mapping[str, float]]
) -> Step:
    """Find the best results of a shard.

    Args:
        batch: the queries.
        known: all of them, as analysed for the whole collection.
        weights: of expanded ones: query → term → weight.
    """

    def step(index: Index) -> Iterator[pa.RecordBatch]:
        searcher = Searcher(index, batch.ranking)
        for name, query in batch.queries.items():
            found = searcher.find(
                query, batch.top, batch.rank_weight, "off", terms=weights.get(name), known=known[name]
            )
            urls = [index.name(page) for page in found.pages.tolist()]
            yield pa.record_batch(
                {
                    "query": pa.array([name] * len(urls), pa.string()),
                    "page_id": index.block["page_ids"][found.pages],
                    "document": pa.array(urls, pa.string()),
                    "score": found.scores,
                }
            )

    return step


def merge_shards(batch: QueryBatch, statistics: Statistics, run: RunStep) -> list[dict[str, Any]]:
    """Answer queries from all shards: the columns of `answer_batch`, by query in any order, best first.

    Args:
        batch: the queries.
        statistics: of the whole index.
        run: runs a step on every shard.
    """
    vocabulary = Vocabulary(list(statistics.languages), statistics.idf_of(), statistics.pages)
    feedback = batch.ranking.feedback
    known = {
        name: analyze_query(query, vocabulary, batch.ranking.forms, batch.language)
        for name, query in batch.queries.items()
    }
    expanding = {}
    for name, query in batch.queries.items():
        asked = batch.feedback == "on" or (batch.feedback == "auto" and feedback.considered(query, known[name].units))
        if asked and known[name].weights:
            expanding[name] = known[name]
    weights_by_query: dict[str, dict[str, float]] = {}
    first: dict[str, list[tuple[int, float]]] = {}
    names: dict[int, str] = {}  # documents of several pages may be called alike
    if expanding:
        for name, rows in _by_query(run(first_results(batch, expanding), FIRST_RESULTS)).items():
            weights_by_query[name] = _expand(known[name].weights, rows, batch.ranking)
            first[name] = [(row["page_id"], row["score"]) for row in rows]
            names |= {row["page_id"]: row["document"] for row in rows}
    found = _by_query(run(best_results(batch, known, weights_by_query), BEST_RESULTS))
    answers = []
    for name, rows in found.items():
        best = [(row["page_id"], row["score"]) for row in rows[: batch.top]]
        names |= {row["page_id"]: row["document"] for row in rows}
        if name in first:
            best = keep_first(first[name], best, feedback.keep, batch.top)
        answers += [
            {"query_id": name, "rank": rank, "page_id": page, "document": names[page], "score": score}
            for rank, (page, score) in enumerate(best, start=1)
        ]
    return answers


def _by_query(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Group rows by query, best first; equal scores in the order of page ids, as everywhere."""
    out: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        out.setdefault(row["query"], []).append(row)
    for rows in out.values():
        rows.sort(key=lambda row: (-row["score"], row["page_id"]))
    return out


def _expand(query: Mapping[str, float], rows: Sequence[Mapping[str, Any]], ranking: Ranking) -> dict[str, float]:
    """Expand a query as `Searcher` does, from the shards' first results."""
    first = rows[: ranking.feedback.pages]
    total = sum(row["score"] for row in first)
    weighed: dict[str, float] = {}
    for row in first:
        for term, value in zip(row["terms"], row["weights"], strict=True):
            weighed[term] = weighed.get(term, 0.0) + row["score"] / total * value
    heaviest = sorted(weighed.items(), key=lambda item: (-item[1], item[0].encode()))[: ranking.feedback.terms]
    return expand_query(query, heaviest, ranking.feedback.weight)


def answer_batch(
    spark: SparkSession, lake: str, batch: QueryBatch, shards: int = 0, cache_dir: str = ""
) -> list[dict[str, Any]]:
    """Answer many queries on Spark's workers.

    Args:
        spark: the session.
        lake: where the tables of the index are.
        batch: the queries.
        shards: 0: each worker opens the whole index and answers a share of the queries. Else the index is cut into so
            many shards by whole segments, each opened by one worker, for an index too large for one machine.
        cache_dir: folder for decoded indexes, seen by all workers, or empty for the usual one; on a cluster that is in
            the lake, if the lake is in an object store.

    Returns:
        `query_id`, `rank`, `page_id`, `document`, `score`, in any order of queries.

    Raises:
        UserError: there is no index, or it cannot be cut into so many shards.
    """
    if shards:
        return _answer_from_shards(spark, index_shards(lake, shards), cache_folder(lake, cache_dir), batch)
    if not cache_dir and is_in_object_store(lake) and not is_local(spark):
        cache_dir = f"{lake.rstrip('/')}/_index_cache"  # from where each worker has a copy on its own disk
    opened = open_index(lake, cache_dir, lambda: spark)
    return _answer_from_whole_index(spark, opened.folder, batch)


def _answer_from_whole_index(spark: SparkSession, folder: tuple[str, str], batch: QueryBatch) -> list[dict[str, Any]]:
    """Answer from a decoded index (`OpenIndex.folder`) that every worker maps."""
    root, key = folder

    def answer_share(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        index = Index(BlockStore(root).get(key), Weighting())
        searcher = Searcher(index, batch.ranking)
        for share in batches:
            for name in share["query_id"].to_pylist():
                found = searcher.find(
                    batch.queries[name], batch.top, batch.rank_weight, batch.feedback, language=batch.language
                )
                pages = found.pages.tolist()
                yield pa.record_batch(
                    {
                        "query_id": pa.array([name] * len(pages), pa.string()),
                        "rank": pa.array(range(1, len(pages) + 1), pa.int32()),
                        "page_id": index.block["page_ids"][found.pages],
                        "document": pa.array([index.name(page) for page in pages], pa.string()),
                        "score": found.scores,
                    }
                )

    from lakerank.spark.session import cores  # here: reading queries needs no pyspark

    names = spark.createDataFrame(pa.table({"query_id": list(batch.queries)}))
    shares = names.repartition(min(cores(spark), max(1, len(batch.queries) // _FEWEST)))
    rows: list[dict[str, Any]] = shares.mapInArrow(answer_share, _ANSWERS).toArrow().to_pylist()
    return rows


def _answer_from_shards(
    spark: SparkSession, shards: Sequence[IndexShard], folder: str, batch: QueryBatch
) -> list[dict[str, Any]]:
    """Answer from shards, each opened by one worker, which keeps what it has decoded in `folder`."""
    weighting = Weighting()
    numbers = spark.createDataFrame([(n,) for n in range(len(shards))], "shard int").repartition(len(shards), "shard")

    def on_shards(work: Callable[[IndexShard], Iterator[pa.RecordBatch]], schema: str) -> pa.Table:
        def run_shards(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for rows in batches:
                for number in rows["shard"].to_pylist():
                    yield from work(shards[number])

        return numbers.mapInArrow(run_shards, schema).toArrow()

    def survey(shard: IndexShard) -> Iterator[pa.RecordBatch]:
        yield collection_statistics(shard.decoded(folder), weighting).to_batch()

    found = on_shards(survey, STATISTICS_SCHEMA).to_pylist()
    statistics = merge_statistics([Statistics.from_row(row) for row in found])

    def run(step: Step, schema: str) -> pa.Table:
        def work(shard: IndexShard) -> Iterator[pa.RecordBatch]:
            block = shard.decoded(folder)
            yield from step(Index(block | score_arrays(block, statistics, weighting), weighting))

        return on_shards(work, schema)

    return merge_shards(batch, statistics, run)

"""Search in parts: an index that is too large for one machine, each worker holding some of its segments.

The parts are scored with the statistics of all, and their best are merged, so that the answers are those of one whole
index, to the last bit. Who runs the steps, Spark or a test, is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from lakerank.search.query.compiled_query import AnalysedQuery, analysed
from lakerank.search.query.index import Index
from lakerank.search.query.query import Query
from lakerank.search.query.ranking import Ranking, expanded
from lakerank.search.query.searcher import Searcher
from lakerank.search.query.statistics import Statistics
from lakerank.search.text.analyzer import Analyzer

FIRST = "query string, page_id bigint, score double, terms array<string>, weights array<double>"
BEST = "query string, page_id bigint, document string, score double"
Step = Callable[[Index], Iterator[pa.RecordBatch]]
RunStep = Callable[[Step, str], pa.Table]  # a step on every part; its columns as a schema of Spark


@dataclass(frozen=True)
class Asked:
    """Queries and how they are to be answered.

    Attributes:
        queries: by id.
        top: results of each.
        rank_weight: of the link prior.
        feedback: on, off or auto.
        language: that queries are analysed in.
        ranking: everything else.
    """

    queries: Mapping[str, Query]
    top: int
    rank_weight: float
    feedback: str
    language: str
    ranking: Ranking = field(default_factory=Ranking)

    def expands(self, query: Query, known: AnalysedQuery) -> bool:
        """Whether feedback is used."""
        auto = query.plain and known.units >= self.ranking.feedback.units
        return self.feedback == "on" or (self.feedback == "auto" and auto)


def first_results(asked: Asked) -> Step:
    """The first results of queries that are expanded, with the terms of each page."""

    def step(index: Index) -> Iterator[pa.RecordBatch]:
        searcher, block = Searcher(index, asked.ranking), index.block
        for name, query in asked.queries.items():
            found = searcher.find(query, asked.ranking.feedback.pages, 0.0, "off", exhaustive=True)
            terms, weights = [], []
            for page in found.pages.tolist():
                at = slice(int(block["page_begins"][page]), int(block["page_begins"][page + 1]))
                terms.append([index.string("term", int(term)) for term in block["page_terms"][at]])
                weights.append(block["page_values"][at].astype(float).tolist())
            yield pa.record_batch(
                {
                    "query": pa.array([name] * len(terms), pa.string()),
                    "page_id": block["page_ids"][found.pages],
                    "score": found.scores,
                    "terms": pa.array(terms, pa.list_(pa.string())),
                    "weights": pa.array(weights, pa.list_(pa.float64())),
                }
            )

    return step


def best_results(asked: Asked, weights: Mapping[str, Mapping[str, float]]) -> Step:
    """The best of a part.

    Args:
        asked: the queries.
        weights: of expanded ones: query → term → weight.
    """

    def step(index: Index) -> Iterator[pa.RecordBatch]:
        searcher = Searcher(index, asked.ranking)
        for name, query in asked.queries.items():
            found = searcher.find(query, asked.top, asked.rank_weight, "off", terms=weights.get(name))
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


def answer(asked: Asked, statistics: Statistics, run: RunStep) -> list[dict[str, Any]]:
    """Answer queries: `query_id`, `rank`, `document`, `score`, by query in any order, best first.

    Args:
        asked: the queries.
        statistics: of the whole index.
        run: runs a step on every part.
    """
    analyzer, known = Analyzer(asked.language), set(statistics.terms.to_pylist())
    expanding = {}
    for name, query in asked.queries.items():
        terms = analysed(query, analyzer)
        weights = {term: weight for term, weight in terms.weights.items() if term in known}
        if weights and asked.expands(query, terms):
            expanding[name] = weights
    weights_by_query: dict[str, dict[str, float]] = {}
    if expanding:
        some = Asked(
            {name: asked.queries[name] for name in expanding}, asked.top, 0.0, "off", asked.language, asked.ranking
        )
        for name, rows in _by_query(run(first_results(some), FIRST)).items():
            weights_by_query[name] = _expand(expanding[name], rows, asked.ranking)
    found = _by_query(run(best_results(asked, weights_by_query), BEST))
    return [
        {"query_id": name, "rank": place, "document": row["document"], "score": row["score"]}
        for name, rows in found.items()
        for place, row in enumerate(rows[: asked.top], start=1)
    ]


def _by_query(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Rows by query, best first; equal scores in the order of page ids, as everywhere."""
    out: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        out.setdefault(row["query"], []).append(row)
    for rows in out.values():
        rows.sort(key=lambda row: (-row["score"], row["page_id"]))
    return out


def _expand(query: Mapping[str, float], rows: Sequence[Mapping[str, Any]], ranking: Ranking) -> dict[str, float]:
    """`Searcher`'s expansion, from the parts' first results."""
    first = rows[: ranking.feedback.pages]
    total = sum(row["score"] for row in first)
    weighed: dict[str, float] = {}
    for row in first:
        for term, value in zip(row["terms"], row["weights"], strict=True):
            weighed[term] = weighed.get(term, 0.0) + row["score"] / total * value
    heaviest = sorted(weighed.items(), key=lambda item: (-item[1], item[0].encode()))[: ranking.feedback.terms]
    return expanded(query, heaviest, ranking.feedback.weight)

"""Searched in shards, an index answers as it does whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from search_oracles import Doc, index_of, pages_table, segments
from test_scoring import zipf_docs

from lakerank.search.index.fields import Weighting
from lakerank.search.query.batch import QueryBatch, Step, merge_shards
from lakerank.search.query.index import Index, decode_arrays
from lakerank.search.query.parse import parse
from lakerank.search.query.searcher import Feedback, Ranking, Searcher
from lakerank.search.query.statistics import Statistics, collection_statistics, merge_statistics, score_arrays
from lakerank.spark.array_store import Block

RANKING = Ranking(0.5, 3, Feedback(pages=6, terms=12, weight=0.8, units=3))
QUERIES = [
    "w3", "w1 w9 w30", "w2 w5 w6 w7 w7", '"w0 w1"', "w4 -w2", "w8 OR w11", "title:w2 w3", "site:x.org w1", "nothing",
    "nothing w2 w40 w41 w200", "w399 w398 w397 w1",
]  # fmt: skip


def shards_of(docs: Sequence[Doc], shards: int) -> tuple[list[Index], Statistics]:
    blocks: list[Block] = []
    for shard in range(shards):
        own = docs[shard::shards]
        postings, documents = segments([own])
        blocks.append(decode_arrays(documents, postings, pages_table(own)))
    whole = merge_statistics([collection_statistics(block, Weighting()) for block in blocks])
    return [Index(block | score_arrays(block, whole, Weighting()), Weighting()) for block in blocks], whole


@pytest.mark.parametrize("feedback", ["auto", "off", "on"])
def test_shards_answer_as_the_whole(feedback: str) -> None:
    docs = zipf_docs(400, 7)
    for doc in docs[::3]:
        doc["url"] = f"https://x.org/{doc['page_id']}"
    for doc in docs[:50]:
        doc["doc_id"] = f"D{doc['page_id']}"
    indexes, whole = shards_of(docs, 3)

    def run(step: Step, schema: str) -> pa.Table:
        tables = [pa.Table.from_batches([rows]) for index in indexes for rows in step(index)]
        assert set(tables[0].column_names) == {column.split()[0] for column in schema.split(", ")}
        return pa.concat_tables(tables)

    batch = QueryBatch({str(i): parse(text) for i, text in enumerate(QUERIES)}, 25, 0.5, feedback, RANKING)
    got: dict[str, list[tuple[str, float]]] = {}
    for row in merge_shards(batch, whole, run):
        got.setdefault(row["query_id"], []).append((row["document"], row["score"]))
        assert row["rank"] == len(got[row["query_id"]])
    index = index_of(docs)
    searcher = Searcher(index, RANKING)
    for name, query in batch.queries.items():
        found = searcher.find(query, 25, 0.5, feedback)
        names = [index.name(page) for page in found.pages.tolist()]
        assert [document for document, _ in got.get(name, [])] == names
        assert np.array_equal([score for _, score in got.get(name, [])], found.scores)


def test_statistics_of_shards_add_up() -> None:
    docs = zipf_docs(90, 8)
    _, merged = shards_of(docs, 4)
    postings, documents = segments([docs])
    whole = collection_statistics(decode_arrays(documents, postings, pages_table(docs)), Weighting())
    assert merged.pages == whole.pages == 90
    assert merged.terms.equals(whole.terms)
    assert np.array_equal(merged.frequencies, whole.frequencies)
    assert np.array_equal(merged.lengths, whole.lengths)
    assert merged.ranked == 90
    assert merged.rank == pytest.approx(1.0)

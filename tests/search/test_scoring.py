"""Scores: BM25 by the book and as bm25s has it, fields, priors; pruned results are the exhaustive ones."""

from __future__ import annotations

import bm25s
import numpy as np
import pytest
from conftest import SHARED
from search_oracles import Doc, collection, index_of, slow_bm25, words

from lakerank.search.index.fields import PLAIN, Weighting
from lakerank.search.query.index import Index
from lakerank.search.query.parse import Clause, Part, Query
from lakerank.search.query.searcher import Feedback, Ranking, Searcher, TopPages
from lakerank.search.query.statistics import link_prior
from lakerank.search.text.languages import NONE

CRANFIELD = SHARED / "ir" / "cranfield"


def zipf_docs(count: int, seed: int = 0) -> list[Doc]:
    """Texts whose words are as unevenly frequent as real ones."""
    random = np.random.default_rng(seed)
    names = np.array([f"w{i}" for i in range(400)])
    chance = 1 / np.arange(1, 401)
    chance /= chance.sum()
    ranks = random.pareto(1.2, count) + 0.1
    return [
        {
            "page_id": int(page),
            "title": " ".join(random.choice(names, 3, p=chance)),
            "text": " ".join(random.choice(names, random.integers(1, 60), p=chance)),
            "pagerank": float(ranks[page] / ranks.sum()),
        }
        for page in range(count)
    ]


def asked(terms: list[str]) -> Query:
    return Query(tuple(Clause((Part(term),)) for term in terms))


def same(one: TopPages, other: TopPages) -> bool:
    return np.array_equal(one.pages, other.pages) and np.array_equal(one.scores, other.scores)


def test_bm25_is_that_of_the_book() -> None:
    docs = zipf_docs(60)
    texts = [words(doc["text"]) for doc in docs]
    searcher = Searcher(index_of(docs, PLAIN, NONE), Ranking(rank_weight=0))
    for query in (["w0"], ["w1", "w7", "w30"], ["w3", "w3", "nothing"]):
        expected = slow_bm25(texts, query, 1.2, 0.75)
        found = searcher.find(asked(query), 60, feedback="off")
        got = dict(zip(found.pages.tolist(), found.scores.tolist(), strict=True))
        assert {page for page, score in enumerate(expected) if score} == set(got)
        for page, score in got.items():
            assert score == pytest.approx(expected[page], rel=1e-6)
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


@pytest.mark.skipif(not CRANFIELD.is_dir(), reason=f"needs {CRANFIELD}")
def test_scores_are_those_of_bm25s() -> None:
    docs, queries, _ = collection(CRANFIELD)
    # The analyser's own tokens, so that both sides score the same ones.
    texts = [words(doc["text"]) for doc in docs]
    index = index_of([{**doc, "text": " ".join(words(doc["text"]))} for doc in docs], PLAIN, NONE)
    peer = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    peer.index(texts, show_progress=False)
    searcher = Searcher(index, Ranking(rank_weight=0))
    for text in list(queries.values())[:60]:
        query = words(text)
        expected = peer.get_scores(query)
        found = searcher.find(asked(query), 1000, feedback="off")
        top = np.sort(expected)[::-1][: len(found.scores)]
        assert len(found.scores) == min(1000, np.count_nonzero(expected))
        np.testing.assert_allclose(found.scores, top, atol=1e-5)
        np.testing.assert_allclose(found.scores, expected[found.pages], atol=1e-5)


def test_fields_count_by_their_weights_and_lengths() -> None:
    docs = [
        {"page_id": 1, "title": "apple pie", "text": "pear"},
        {"page_id": 2, "title": "pear", "text": "apple banana cherry"},
        {"page_id": 3, "title": "pear", "text": "plum"},
    ]
    weighting = Weighting(1.0, (4.0, 1.0, 1.0, 2.0, 0.0), (0.5,) * 5)
    found = Searcher(index_of(docs, weighting, NONE), Ranking(rank_weight=0)).find("apple")
    idf = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    title = 4 / (0.5 + 0.5 * 2 / (4 / 3))
    body = 2 / (0.5 + 0.5 * 3 / (5 / 3))
    assert found.pages.tolist() == [0, 1]
    assert found.scores == pytest.approx([idf * title / (1 + title), idf * body / (1 + body)], rel=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_passing_over_pages_changes_no_result(weight: float) -> None:
    searcher = Searcher(index_of(zipf_docs(3000), Weighting(), NONE))
    random = np.random.default_rng(5)
    for _ in range(300):
        query = asked([f"w{int(i)}" for i in random.zipf(1.3, random.integers(1, 9)) % 400])
        for top in (1, 10, 300):
            pruned = searcher.find(query, top, weight, "off")
            whole = searcher.find(query, top, weight, "off", exhaustive=True)
            assert same(pruned, whole)
            assert whole.matches >= len(whole.pages)
            assert pruned.matches == -1


def test_equal_scores_come_in_the_order_of_ids() -> None:
    docs = [{"page_id": page, "text": "same words"} for page in (30, -4, 17, 5)]
    index = index_of(docs, PLAIN)
    for exhaustive in (True, False):
        found = Searcher(index).find("words", 3, exhaustive=exhaustive)
        assert index.block["page_ids"][found.pages].tolist() == [-4, 5, 17]


def test_the_prior_is_log_linear_and_bounded() -> None:
    prior = link_prior(np.array([0.9, 0.09, 0.009, 0.0, 0.001]), 4, 1.0)
    share = np.array([0.9, 0.09]) * 4
    assert prior[:2] == pytest.approx(np.log10(np.maximum(share, 1)), abs=1e-6)
    assert prior[2:].tolist() == [0, 0, 0]
    assert link_prior(np.array([1.0]), 10**5, 1.0)[0] == 3
    assert not link_prior(np.zeros(3), 0, 0.0).any()
    index = index_of([{"page_id": i, "text": "x y", "pagerank": p} for i, p in enumerate((0.1, 0.8, 0.1))], PLAIN, NONE)
    found = Searcher(index).find("x", rank_weight=2.0)
    assert found.pages.tolist() == [1, 0, 2]
    assert found.scores[0] - found.scores[1] == pytest.approx(2 * np.log10(2.4), abs=1e-5)


def test_feedback_adds_the_heaviest_terms_of_the_first_results() -> None:
    docs = [
        {"page_id": 0, "text": "wing lift drag"},
        {"page_id": 1, "text": "wing lift drag flutter"},
        {"page_id": 2, "text": "flutter resonance"},
        {"page_id": 3, "text": "cake sugar"},
    ]
    ranking = Ranking(0.0, 3, Feedback(pages=2, terms=4, weight=1.0, units=3))
    searcher = Searcher(index_of(docs, PLAIN, NONE), ranking)
    alone, expanded = searcher.find("wing lift", feedback="off"), searcher.find("wing lift", feedback="on")
    assert sorted(alone.pages.tolist()) == [0, 1]
    assert sorted(expanded.pages.tolist()) == [0, 1, 2]
    assert expanded.expanded
    assert not searcher.find("wing lift").expanded, "auto waits for three words"
    assert searcher.find("wing lift drag").expanded
    assert not searcher.find("wing lift +drag").expanded, "an operator asks for these words"
    # By hand: shares of the two pages, impacts of their terms.
    scores = alone.scores / alone.scores.sum()
    block, weights = searcher.index.block, dict[str, float]()
    for page, share in zip(alone.pages.tolist(), scores.tolist(), strict=True):
        for at in range(block["page_begins"][page], block["page_begins"][page + 1]):
            term = searcher.index.string("term", int(block["page_terms"][at]))
            weights[term] = weights.get(term, 0.0) + share * float(block["page_values"][at])
    heaviest = max(weights.values())
    expected = {term: value / heaviest + (1.0 if term in ("wing", "lift") else 0.0) for term, value in weights.items()}
    got = {searcher.index.string("term", number): weight for number, weight in expanded.query.terms.items()}
    assert got == pytest.approx(expected)


def test_terms_by_page_are_the_postings_turned_round() -> None:
    index: Index = index_of(zipf_docs(50), PLAIN, "en")
    block = index.block
    by_page = {
        (page, int(block["page_terms"][at])): float(block["page_values"][at])
        for page in range(50)
        for at in range(block["page_begins"][page], block["page_begins"][page + 1])
    }
    by_term = {
        (int(block["docs"][at]), term): float(block["values"][at])
        for term in range(index.terms)
        for at in range(*index.postings(term).indices(len(block["docs"])))
        if index.string("term", term) != "w.w"
    }
    assert by_page == by_term


def test_an_index_without_pages_answers() -> None:
    searcher = Searcher(index_of([], PLAIN))
    assert len(searcher.find("anything").pages) == 0
    assert len(searcher.find('"any thing" site:x').pages) == 0

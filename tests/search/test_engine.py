"""Answers as people see them: snippets, copies, pages of results, suggestions, reasons."""

from __future__ import annotations

import numpy as np
import pytest
from search_oracles import index_of

from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.presentation import Highlighter, Pieces

LONG = "Nothing here matters. " * 60 + "The happy broadcasting of arrays follows rules. " + "Nor does this. " * 60
DOCS = [
    {"page_id": 1, "title": "Broadcasting arrays", "text": LONG, "pagerank": 0.5},
    {"page_id": 2, "title": "Copy", "text": LONG, "duplicate_of": 1, "pagerank": 0.2},
    {"page_id": 8, "text": "noodles"},
    {"page_id": 5, "text": "walrus walrus", "duplicate_of": 6},
    {"page_id": 6, "text": "walrus walrus"},
    {"page_id": 7, "title": "walrus", "text": "walrus walrus", "duplicate_of": 6},
    {"page_id": 3, "title": "", "text": "Happiness is a warm array", "pagerank": 0.2, "description": "On joy"},
    {"page_id": 4, "title": "Cooking", "text": "Salt, pepper and rules", "pagerank": 0.1},
    *({"page_id": 10 + i, "title": f"Filler {i}", "text": "zebra " * (i + 1)} for i in range(25)),
]


@pytest.fixture(scope="module")
def engine() -> SearchEngine:
    return SearchEngine(index_of(DOCS))


def shown(pieces: Pieces) -> str:
    return "".join(f"[{text}]" if match else text for text, match in pieces)


def highlighted(highlighter: Highlighter, text: str) -> str:
    return shown(highlighter.highlight([text])[0])


def snippet(highlighter: Highlighter, text: str, otherwise: str = "") -> str:
    """Return the snippet of a text that stands between others."""
    texts = ["other zebras", text, "zebra"]
    ends = np.cumsum([len(one.encode()) for one in texts]).tolist()
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    data = np.frombuffer("".join(texts).encode(), np.uint8)
    found = highlighter.snippets(data, spans, ["", otherwise, ""])
    return shown(highlighter.highlight(found)[1])


def test_the_snippet_is_where_the_words_are(engine: SearchEngine) -> None:
    hit = next(hit for hit in engine.search("arrays rule happy").hits if hit.page.page_id == 1)
    text = shown(hit.snippet_pieces)
    assert "[happy] broadcasting of [arrays] follows [rules]" in text
    assert text.startswith("The [happy]"), "it begins where the sentence does"
    assert text.endswith(" …")
    assert len(text) < 300
    assert shown(hit.title_pieces) == "Broadcasting [arrays]"


def test_marks_follow_stems_case_and_script() -> None:
    words = {"happy": ("happy", 1.0), "happiness": ("happy", 1.0), "strasse": ("straße", 1.0), "ma": ("ma", 0.5)}
    highlighter = Highlighter(words)
    assert (
        highlighted(highlighter, "Happy HAPPINESS hapless ma max Straße ma.max read_ma_max")
        == "[Happy] [HAPPINESS] hapless [ma] max [Straße] [ma].max read_[ma]_max"
    )
    assert highlighted(Highlighter({}), "x") == "x"
    japanese = Highlighter({"検索": ("検索", 1.0), "エンジン": ("エンジン", 1.0), "索": ("索", 1.0)})
    assert highlighted(japanese, "新しい検索エンジンとは") == "新しい[検索][エンジン]とは"
    assert highlighted(Highlighter({"donaudampf": ("donaudampf", 1.0)}), "Donau\u00addampf!") == "[Donau\u00addampf]!"
    assert highlighted(highlighter, "") == ""


def test_snippets_of_texts_without_a_match_or_with_odd_signs() -> None:
    highlighter = Highlighter({"zebra": ("zebra", 1.0)})
    assert snippet(highlighter, "no such animal") == "no such animal"
    assert snippet(highlighter, "no such animal", "Described") == "Described"
    assert snippet(highlighter, "x" * 5000) == "x" * 240 + " …"
    odd = "é" * 3000 + " zebra " + "漢" * 3000
    assert "[zebra]" in snippet(highlighter, odd)
    assert snippet(highlighter, "") == ""


def test_copies_are_shown_once(engine: SearchEngine) -> None:
    collapsed, all_hits = engine.search("broadcasting"), engine.search("broadcasting", collapse_duplicates=False)
    assert [hit.page.page_id for hit in collapsed.hits] == [1]
    assert collapsed.hits[0].copies == ("https://example.org/2",)
    assert [hit.page.page_id for hit in all_hits.hits] == [1, 2]


def test_of_equal_copies_the_original_is_shown_else_the_best(engine: SearchEngine) -> None:
    assert [hit.page.page_id for hit in engine.search("+walrus -title:walrus").hits] == [6]
    best = engine.search("walrus").hits
    assert [hit.page.page_id for hit in best] == [7]
    assert best[0].copies == ("https://example.org/5", "https://example.org/6")


def test_pages_of_results_follow_one_another(engine: SearchEngine) -> None:
    first, last = engine.search("zebra", 10), engine.search("zebra", 10, page=3)
    assert [hit.rank for hit in first.hits] == list(range(1, 11))
    assert first.more
    assert [hit.rank for hit in last.hits] == list(range(21, 26))
    assert not last.more
    pages = [hit.page.page_id for n in (1, 2, 3) for hit in engine.search("zebra", 10, page=n).hits]
    assert len(set(pages)) == 25
    assert not engine.search("zebra", 10, page=4).hits


def test_did_you_mean(engine: SearchEngine) -> None:
    assert engine.search("brodcasting rules").suggestion == "broadcasting rules"
    assert engine.search("Zerba").suggestion == "zebra"
    assert engine.search("noodels").suggestion == "noodles", "not noodls, which has the same stem"
    assert engine.search("broadcasting").suggestion is None
    assert engine.search("qqqqqqqq").suggestion is None
    assert engine.search("zeb").suggestion is None, "too short to tell"


@pytest.mark.parametrize(
    "query", ["happy arrays", '"broadcasting of arrays" rules', "array rules happy broadcasting follows zebra"]
)
def test_reasons_add_up_to_the_score(engine: SearchEngine, query: str) -> None:
    answer = engine.search(query, reasons=True, rank_weight=0.4)
    assert answer.hits
    for hit in answer.hits:
        why = hit.explanation
        assert why is not None
        assert why.score == pytest.approx(hit.score, rel=1e-9)
        total = sum(one.share for one in why.terms) + sum(share for _, share in why.phrases) + why.prior + why.kept
        assert total == pytest.approx(hit.score, rel=1e-9)
        assert len(why.lines()) == len(why.terms) + len(why.phrases) + 3 + bool(why.kept)
        if hit.page.page_id == 1 and len(query.split()) < 4:
            assert why.prior == pytest.approx(0.4 * np.log10(0.5 * 4), abs=1e-6)


def test_a_bar_shows_the_rank(engine: SearchEngine) -> None:
    hits = {hit.page.page_id: hit for hit in engine.search("arrays rules", collapse_duplicates=False).hits}
    assert hits[1].prominence == 1
    assert hits[1].pagerank == 0.5
    assert hits[4].prominence == 0, "less than its even share"
    assert shown(hits[3].title_pieces) == "https://example.org/3", "an address stands for a missing title"


def test_related_pages_are_neither_copies_nor_itself(engine: SearchEngine) -> None:
    number = engine.index.number_of(1)
    assert number is not None
    assert 2 not in [page.page_id for page in engine.related(number)]
    assert {3, 4} <= {page.page_id for page in engine.related(number)}
    assert engine.index.number_of(999) is None

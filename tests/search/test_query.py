"""The query language, and what it asks of pages."""

from __future__ import annotations

import pytest
from search_oracles import index_of

from lakerank.search.query.parse import Clause, Occur, Part, Query, parse, plain
from lakerank.search.query.searcher import Searcher

DOCS = [
    {"page_id": 1, "url": "https://docs.a.org/1", "title": "red fox", "text": "the quick brown fox jumps over dogs"},
    {"page_id": 2, "url": "https://a.org/2", "title": "dogs", "text": "brown quick fox\nto be or not to be"},
    {"page_id": 3, "url": "https://b.org/3", "title": "cats", "text": "quick cats and fox-like dogs, numpy.ma.arange"},
    {"page_id": 4, "url": "https://nota.org/4", "title": "misc", "text": "ma and arange; be not, or to"},
]


@pytest.fixture(scope="module")
def searcher() -> Searcher:
    return Searcher(index_of(DOCS))


def test_parts_of_a_query() -> None:
    query = parse('fox +dogs -"lazy cat" title:red OR title:"big cats" site:A.org -site:www.b.org/x')
    assert query.clauses == (
        Clause((Part("fox"),)),
        Clause((Part("dogs"),), Occur.MUST),
        Clause((Part("lazy cat", phrase=True),), Occur.NOT),
        Clause((Part("red", title=True), Part("big cats", phrase=True, title=True)), Occur.MUST),
    )
    assert query.sites == ("a.org",)
    assert query.not_sites == ("www.b.org",)
    assert not query.plain
    assert query.words == "fox dogs red big cats"


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("", ()),
        ('  + - " ', ()),
        ("OR", ()),
        ("OR fox", (Clause((Part("fox"),)),)),
        ("a OR", (Clause((Part("a"),)),)),
        ('"unclosed fox', (Clause((Part("unclosed fox", phrase=True),), Occur.MUST),)),
        ("e-mail well-known", (Clause((Part("e-mail"),)), Clause((Part("well-known"),)))),
        ("a OR b OR c", (Clause((Part("a"), Part("b"), Part("c")), Occur.MUST),)),
        ("-a OR b", (Clause((Part("a"),), Occur.NOT), Clause((Part("b"),)))),
    ],
)
def test_anything_is_a_query(text: str, clauses: tuple[Clause, ...]) -> None:
    assert parse(text) == Query(clauses)


def test_in_plain_text_signs_mean_nothing() -> None:
    query = plain('the "training" phase -- title:x (OR not)')
    assert query.plain
    assert [part.text for clause in query.clauses for part in clause.parts] == [
        "the", "training", "phase", "title:x", "(OR", "not)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("fox", {1, 2, 3}),
        ("fox -brown", {3}),
        ("+fox +brown", {1, 2}),
        ('"brown fox"', {1}),
        ('"quick brown fox"', {1}),
        ('"fox to"', set()),  # a line's end stands between them
        ('"to be or not to be"', {2}),
        ('-"quick brown" fox', {2, 3}),
        ("cats OR jumps", {1, 3}),
        ("fox +cats OR jumps", {1, 3}),
        ("title:dogs", {2}),
        ('title:"red fox"', {1}),
        ('title:"brown fox"', set()),
        ("dogs site:a.org", {1, 2}),
        ("dogs site:docs.a.org", {1}),
        ("dogs -site:a.org", {3}),
        ("site:a.org", {1, 2}),
        ("-fox", {4}),
        ("+unheard fox", set()),
        ("unheard fox", {1, 2, 3}),
        ("the", {1}),  # only stop words: then they count
        ("to be", {2, 4}),
    ],
)
def test_which_pages_a_query_finds(searcher: Searcher, text: str, pages: set[int]) -> None:
    found = searcher.find(text)
    assert set(searcher.index.block["page_ids"][found.pages].tolist()) == pages


def test_words_joined_by_a_sign_are_best_found_together(searcher: Searcher) -> None:
    assert searcher.index.block["page_ids"][searcher.find("ma.arange").pages].tolist()[0] == 3
    assert searcher.index.block["page_ids"][searcher.find("ma arange").pages].tolist()[0] == 4


def test_a_phrase_adds_its_share(searcher: Searcher) -> None:
    apart, together = searcher.find("+brown +fox"), searcher.find('"brown fox"')
    first = dict(zip(apart.pages.tolist(), apart.scores.tolist(), strict=True))
    assert together.scores[0] > first[int(together.pages[0])] + 0.1
    assert together.query.phrases[0][0] == "brown fox"


def test_what_no_page_has_is_reported(searcher: Searcher) -> None:
    assert searcher.find("unheard fox quikc").query.unknown == ["unheard", "quikc"]

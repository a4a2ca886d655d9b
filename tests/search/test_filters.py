"""Filters, counts and look-ups: what they find is what a plain scan of all pages finds, in whatever way it is found."""

from __future__ import annotations

import datetime
import gzip
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from search_oracles import Doc, index_of

from lakerank import SearchIndex
from lakerank.cli.errors import UserError
from lakerank.search.export import bulk_lines
from lakerank.search.query import searcher as searcher_module
from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.index import Index
from lakerank.search.query.kernels import common
from lakerank.search.query.parse import day_number, not_understood, parse
from lakerank.search.query.presentation import Highlighter
from lakerank.search.query.searcher import Searcher, union
from lakerank.search.query.suggest import Suggester

HOSTS = ("example.org", "www.example.org", "b.example.org", "example.org.evil.net", "xample.org", "example.com")
WORDS = ("red", "green", "blue", "amber", "violet")
DAY = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


def made(n: int = 300) -> list[Doc]:
    draw = random.Random(7)
    return [
        {
            "page_id": draw.getrandbits(62) - 2**61,
            "title": draw.choice(WORDS),
            "text": " ".join(draw.choices(WORDS[: 1 + number % 5], k=draw.randrange(1, 12))),
            "url": f"https://{draw.choice(HOSTS)}:8080/{number}" if number % 7 else "",
            "pagerank": draw.random() / n,
            "fetched_at": DAY + datetime.timedelta(days=draw.randrange(1500)) if number % 5 else None,
        }
        for number in range(n)
    ]


DOCS = made()


@pytest.fixture(scope="module")
def index() -> Index:
    return index_of(DOCS)


def has(doc: Doc, word: str) -> bool:
    return word in f"{doc['title']} {doc['text']}".split()


def below(doc: Doc, host: str) -> bool:
    own = doc["url"].removeprefix("https://").partition(":")[0]
    return own == host or own.endswith("." + host)


def year(doc: Doc) -> int:
    return doc["fetched_at"].year if doc["fetched_at"] else 0


QUERIES = {
    "amber site:example.org": lambda d: has(d, "amber") and below(d, "example.org"),
    "site:org": lambda d: below(d, "org"),
    "amber -site:example.org -site:net": lambda d: (
        has(d, "amber") and not below(d, "example.org") and not below(d, "net")
    ),
    "-site:example.org": lambda d: not below(d, "example.org"),
    "site:com site:net green": lambda d: has(d, "green") and (below(d, "com") or below(d, "net")),
    "+blue red": lambda d: has(d, "blue"),
    "+blue +violet": lambda d: has(d, "blue") and has(d, "violet"),
    "blue AND violet": lambda d: has(d, "blue") and has(d, "violet"),
    "red NOT blue": lambda d: has(d, "red") and not has(d, "blue"),
    "red -blue": lambda d: has(d, "red") and not has(d, "blue"),
    "-red": lambda d: not has(d, "red"),
    "amber OR violet": lambda d: has(d, "amber") or has(d, "violet"),
    '"amber violet"': lambda d: "amber violet" in d["text"],
    "red after:2022": lambda d: has(d, "red") and year(d) >= 2022,
    "after:2021 before:2022": lambda d: year(d) == 2021,
    "green before:2021-06": lambda d: (
        has(d, "green") and d["fetched_at"] is not None and d["fetched_at"].strftime("%Y-%m") < "2021-06"
    ),
    "title:violet -site:example.com +red": lambda d: (
        d["title"] == "violet" and not below(d, "example.com") and has(d, "red")
    ),
    "RED AND BLUE": lambda d: has(d, "red") or has(d, "blue"),
}


@pytest.mark.parametrize("query", QUERIES)
def test_filters_find_what_a_scan_finds(index: Index, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {doc["page_id"] for doc in DOCS if QUERIES[query](doc)}
    searcher = Searcher(index)
    found = searcher.find(query, len(DOCS))
    assert set(index.block["page_ids"][found.pages].tolist()) == wanted
    assert index.block["page_ids"][searcher.matching(found.query)].tolist() == [
        int(one) for one in index.block["page_ids"] if int(one) in wanted
    ]
    for top in (1, 7):
        best = searcher.find(query, top)
        assert best.pages.tolist() == found.pages[:top].tolist()
        assert best.scores.tolist() == found.scores[:top].tolist()
        slow = searcher.find(query, top, exhaustive=True)
        assert (slow.pages.tolist(), slow.scores.tolist()) == (best.pages.tolist(), best.scores.tolist())
    monkeypatch.setattr(searcher_module, "_FEW_TERMS", 0)  # list after list
    again = Searcher(index).find(query, len(DOCS))
    assert (again.pages.tolist(), again.scores.tolist()) == (found.pages.tolist(), found.scores.tolist())


def test_a_star_in_a_phrase_is_any_one_word() -> None:
    texts = ["fast fourier transform", "fast discrete cosine transform", "fast transform", "transform fast fast"]
    index = index_of([{"page_id": n, "title": "", "text": text} for n, text in enumerate(texts)])

    def pages(query: str) -> set[int]:
        return set(index.block["page_ids"][Searcher(index).find(query).pages].tolist())

    assert pages('"fast * transform"') == {0}
    assert pages('"fast * * transform"') == {1}
    assert pages('"* fourier transform *"') == {0}
    assert pages('"fast transform"') == {2}


def test_pages_are_looked_up_by_id(index: Index) -> None:
    ids = [doc["page_id"] for doc in DOCS]
    assert [int(index.block["page_ids"][index.number_of(one) or 0]) for one in ids] == ids
    for missing in (max(ids) + 1, min(ids) - 1, 0, 2**63, -(2**63) - 1):
        assert index.number_of(missing) is None
    assert index_of([]).number_of(1) is None


def test_lists_are_joined_as_sets_are() -> None:
    draw = np.random.default_rng(1)
    for size in (0, 1, 5, 60):
        one, other = (np.unique(draw.integers(0, 80, n)).astype(np.int32) for n in (size, 40))
        assert common(one, other, True).tolist() == sorted(set(one.tolist()) & set(other.tolist()))
        assert common(one, other, False).tolist() == sorted(set(one.tolist()) - set(other.tolist()))
        assert union([one, other, one]).tolist() == sorted(set(one.tolist()) | set(other.tolist()))


def test_days_of_years_months_and_what_is_none() -> None:
    assert [day_number(text) for text in ("1970", "1970-02", "1969-12-31")] == [0, 31, -1]
    assert [day_number(text) for text in ("2023-02-30", "2023-13", "soon", "0000", "20231", "")] == [None] * 6
    assert parse("after:2020 before:2021 after:2020-06").fetched == (day_number("2020-06"), day_number("2021"))
    assert parse("after:soon x").fetched is None
    assert not_understood("C* 2*3 what? a?b") != []
    assert not_understood('plain "a * b" C++ x? +y -z OR a~ b') == not_understood("a~")


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("CPU NOT GPU site:a.org", "CPU NOT GPU"),  # capitals throughout: words, with a filter and without
        ("猫 NOT 狗", "猫 -狗"),
        ("2023 NOT 2024", "2023 -2024"),
        ("NOT after:2024 cat", "before:2024 cat"),
        ("-before:2024-05 cat", "after:2024-05 cat"),
        ("cat AND after:2024 dog", "cat after:2024 dog"),
        ("a OR site:x.org b", "a site:x.org b"),
        ("site:https://u@example.org:8000/a//b?q=/c cat", "site:example.org cat"),
        ("site:localhost:8000 cat", "site:localhost cat"),
        ("site:[::1]:80 cat", "site:::1 cat"),
        ("site:/foo cat", "cat"),
        ("-site:/foo cat", "cat"),
    ],
)
def test_queries_that_say_the_same(one: str, same: str) -> None:
    if "GPU" in one:  # the filter apart
        assert parse(one).clauses == parse(same).clauses
        return
    assert parse(one) == parse(same)


def test_hosts_in_letters_of_other_scripts_are_looked_for_in_both_forms() -> None:
    assert parse("site:münchen.de").sites == ("münchen.de", "xn--mnchen-3ya.de")


def test_bytes_that_are_no_text_are_asked_for_without_harm(index: Index) -> None:
    engine = SearchEngine(index)
    for query in ("site:a\udcff red", "red \udcff", "\udcff*"):
        for note in engine.search(query, count=True).notes:
            note.encode()


def test_signs_within_addresses_and_quoted_dates_are_no_mistakes() -> None:
    for query in ("https://a.org/b?x=1", "site:a.org/b?x", 'after:"2024" x', "a=b?c"):
        assert not_understood(query) == []


def test_the_sites_counted_are_those_that_the_filter_gives() -> None:
    docs = [
        {"page_id": n, "title": f"red {n}", "text": "red", "url": f"https://{host}/{n}", "pagerank": 0.1}
        for n, host in enumerate(["python.org", "docs.python.org", "docs.python.org", "notpython.org"], start=1)
    ]
    engine = SearchEngine(index_of(docs))
    counts = engine.search("red", count=True).counts
    assert counts is not None
    assert dict(counts.sites) == {"python.org": 3, "docs.python.org": 2, "notpython.org": 1}
    for host, pages in counts.sites:
        within = engine.search(f"red site:{host}", count=True).counts
        assert within is not None
        assert within.pages == pages


def test_counts_by_site_and_year_add_up(index: Index) -> None:
    counts = SearchEngine(index).search("red", count=True).counts
    assert counts is not None
    matching = [doc for doc in DOCS if has(doc, "red")]
    assert counts.pages == len(matching)
    assert dict(counts.sites) == {
        host: n for host in HOSTS if (n := sum(f".{host}:" in doc["url"].replace("//", "//.") for doc in matching))
    }
    years = {one.name: one.pages for one in counts.periods}
    assert years == {str(y): n for y in range(2020, 2025) if (n := sum(year(doc) == y for doc in matching))}
    within = SearchEngine(index).search("red after:2021 before:2022", count=True).counts
    assert within is not None
    assert within.periods[0].name == "2021-12"
    assert sum(one.pages for one in within.periods) <= within.pages


def test_suggestions_begin_with_what_is_typed() -> None:
    docs = [
        {"page_id": 1, "title": "Random sampling", "text": "random randomly", "pagerank": 0.1},
        {"page_id": 2, "title": "Legacy random numbers", "text": "random", "pagerank": 0.8},
        {"page_id": 3, "title": "Random Sampling", "text": "C++ naïve Ünder", "pagerank": 0.1},
    ]
    suggester = Suggester(index_of(docs))
    assert suggester.suggest("ran", 5) == ["Random sampling", "Legacy random numbers", "random", "randomly"]
    assert suggester.suggest("RANDOM  sam", 5) == ["Random sampling", "RANDOM  sampling"]
    assert suggester.suggest("legacy ran", 5)[0] == "Legacy random numbers"
    assert suggester.suggest("x +ran", 3) == ["x +random", "x +randomly"]
    assert suggester.suggest("Ün", 3) == ["ünder"]
    assert Suggester(index_of([])).suggest("a") == []


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("One stands here. Two zebras stand there, e.g. beside it.", "Two [zebras]"),
        (f"{'Nothing of it stands here. ' * 30}Here a zebra stands.{' More stands here.' * 30}", "Here a [zebra]"),
        (f"{'word ' * 100}A heading\nzebra and more of it", "[zebra] and"),
        (f"{'word ' * 100}i.e. small zebra", "… "),
        (f"{'昔々。' * 100}ある zebra です。", "ある [zebra]"),
    ],
)
def test_snippets_begin_where_a_sentence_does(text: str, begins: str) -> None:
    highlighter = Highlighter({"zebra": ("zebra", 1.0), "zebras": ("zebra", 1.0)})
    data = np.frombuffer(text.encode(), np.uint8)
    pieces = highlighter.highlight(highlighter.snippets(data, [(0, len(data))]))[0]
    shown = "".join(f"[{piece}]" if match else piece for piece, match in pieces)
    assert begins in shown
    assert "zebra" in shown
    if begins != "… ":
        assert shown.startswith((begins, "One stands here"))


def test_documents_in_bulk_form(index: Index, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in bulk_lines(index)]
    assert len(lines) == 2 * len(DOCS)
    for doc, action, source in zip(DOCS, lines[::2], lines[1::2], strict=True):
        assert action == {"index": {"_id": str(doc["page_id"])}}
        assert source.get("url", "") == doc["url"]
        assert source["text"] == doc["text"]
        assert source.get("fetched_at") == (doc["fetched_at"].date().isoformat() if doc["fetched_at"] else None)
    small = SearchIndex.from_frame(pa.table({"id": ["a", "ü"], "text": ["x\ny", 'q"\u2028']}))
    assert small.export_opensearch(tmp_path / "bulk.ndjson.gz") == 2
    packed = gzip.decompress((tmp_path / "bulk.ndjson.gz").read_bytes()).decode()
    rows = [json.loads(line) for line in packed.removesuffix("\n").split("\n")]
    assert [(row["doc_id"], row["text"]) for row in rows[1::2]] == [("a", "x\ny"), ("ü", 'q"\u2028')]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write it"):
        small.export_opensearch(tmp_path / "file" / "bulk")

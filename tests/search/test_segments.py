"""Segments: what is coded comes back, whatever the pages, languages and replaced pages."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow.compute as pc
import pytest
from search_oracles import arrays_of, batch, index_of, pages_table, segments

from lakerank.search.index.coding import FIELD_SHIFT, POSITION_MASK
from lakerank.search.index.fields import BODY, FIELDS, PARTS, PLAIN, TITLE, Weighting
from lakerank.search.index.segment import SCHEMA, SegmentBuilder
from lakerank.search.query.index import Index, build_arrays
from lakerank.search.query.word_classes import CLASS_SIGN, class_name
from lakerank.search.text.analyzer import PART, Analyzer

WORDS = [f"w{i}" for i in range(40)] + ["über", "a.b", "the"]
# Alike but for capitals, by which some are divided and others are not.
WORDS += [
    "CPUs",
    "cpus",
    "Cpus",
    "NDIter",
    "nditer",
    "readCsv",
    "readcsv",
    "HTML5Page",
    "html5page",
    "IPython",
    "Ipython",
]


def random_docs(count: int, seed: int = 0) -> list[dict[str, object]]:
    random = np.random.default_rng(seed)

    def text(most: int) -> str:
        return " ".join(random.choice(WORDS, random.integers(0, most), p=None))

    return [
        {
            "page_id": int(random.integers(-(1 << 62), 1 << 62)),
            "title": text(6),
            "headings": [text(4) for _ in range(random.integers(0, 3))],
            "anchors": [text(3) for _ in range(random.integers(0, 3))] or None,
            "text": "\n".join(text(300) for _ in range(random.integers(0, 3))),
        }
        for _ in range(count)
    ]


def occurrences(index: Index) -> dict[tuple[int, str, int], list[int]]:
    """(page id, term, field) → positions, from an open index."""
    block, out = index.block, {}
    for number, term in enumerate(index.strings("term")):
        if term.startswith(CLASS_SIGN):
            continue
        at = index.postings(number)
        for position in range(at.start, at.stop):
            begin = int(block["position_ends"][position - 1]) if position else 0
            page = int(block["page_ids"][block["docs"][position]])
            found: dict[int, list[int]] = {}
            for spot in block["positions"][begin : int(block["position_ends"][position])].tolist():
                found.setdefault(spot >> FIELD_SHIFT, []).append(spot & POSITION_MASK)
            assert [len(found.get(f, ())) for f in range(len(FIELDS))] == block["tfs"][position].tolist()
            out |= {(page, term, field): positions for field, positions in found.items()}
    return out


def analyze_query(docs: list[dict[str, object]]) -> dict[tuple[int, str, int], list[int]]:
    """The same by analysing each field alone; parts of words are in a field of their own, one field after another."""
    out: dict[tuple[int, str, int], list[int]] = {}
    for doc in docs:
        texts = [doc["title"], "\n".join(doc["headings"]), "\n".join(doc["anchors"] or []), doc["text"]]
        base = 0
        for field, text in enumerate(texts):
            last = -1
            for term in Analyzer("en").analyze(str(text)):
                where = PARTS if term.kind == PART else field
                at = term.position + (base if term.kind == PART else 0)
                last = max(last, term.position if term.kind == PART else -1)
                out.setdefault((int(doc["page_id"]), term.text, where), []).append(at)
            base += last + 2 if last >= 0 else 0
    return out


def test_what_is_coded_comes_back() -> None:
    docs = random_docs(300)
    assert occurrences(index_of(docs)) == analyze_query(docs)


def test_pages_that_are_gone_leave_no_trace() -> None:
    old, new = random_docs(60, 1), random_docs(30, 2)
    replaced = [{**doc, "page_id": old[i]["page_id"]} for i, doc in enumerate(new)]
    postings, documents = segments([old, replaced])
    fresh = pc.or_(pc.equal(documents["segment"], 2), pc.invert(pc.is_in(documents["page_id"], pc.unique(
        documents.filter(pc.equal(documents["segment"], 2))["page_id"]))))  # fmt: skip
    now = replaced + old[30:]
    block = build_arrays(documents.filter(fresh), postings, pages_table(now), Weighting(), "en")
    updated, rebuilt = Index(block, Weighting()), index_of(now)
    assert occurrences(updated) == occurrences(rebuilt) == analyze_query(now)
    for term in updated.strings("term"):
        a, b = updated.term_number(term), rebuilt.term_number(term)
        assert (a < 0) == (b < 0)
        if a >= 0:
            assert updated.frequency(a) == rebuilt.frequency(b)
            assert updated.block["idfs"][a] == rebuilt.block["idfs"][b]


def test_lengths_count_words_that_tell() -> None:
    block = arrays_of(
        [{"page_id": 1, "title": "The Title", "headings": ["a.b c", "d"], "text": "is it over-fitted?"}], PLAIN
    )
    assert block["lengths"].tolist() == [[1, 3, 0, 1, 0]]  # neither pairs nor stop words: the, a, is, it, over
    assert block["means"].tolist() == [1, 3, 0, 1, 0]


def test_pages_are_analysed_in_their_languages_or_all_in_one() -> None:
    docs = [
        {"page_id": 1, "language": "de", "text": "Häuser"},
        {"page_id": 2, "language": "en", "text": "houses"},
        {"page_id": 3, "language": None, "text": "houses"},
    ]
    own, english = segments([docs])[0], segments([docs], "en")[0]
    assert set(own["term"].to_pylist()) == {"", "häuser", "houses"}
    assert set(english["term"].to_pylist()) == {"", "häuser", "houses"}
    classes = {term for term in index_of(docs, language="").strings("term") if term.startswith(CLASS_SIGN)}
    assert classes == {class_name("de", "haus"), class_name("en", "hous"), class_name("", "houses")}
    classes = {term for term in index_of(docs).strings("term") if term.startswith(CLASS_SIGN)}
    assert classes == {class_name("en", "hauser"), class_name("en", "hous")}


def test_rows_are_sorted_and_as_promised() -> None:
    builder = SegmentBuilder(7)
    for part in (random_docs(20, 3), random_docs(20, 4)):
        builder.add(batch(part))
    rows = list(builder.finish())
    assert all(one.schema.equals(SCHEMA) for one in rows)
    terms = [term for one in rows for term in one["term"].to_pylist()]
    assert terms == sorted(terms, key=lambda term: term.encode())
    assert terms[0] == ""
    assert rows[0]["pages"].to_pylist() == [40]


def test_empty_pages_and_an_empty_segment() -> None:
    index = index_of([{"page_id": 5}, {"page_id": 6, "text": "— …"}])
    assert len(index) == 2
    assert index.terms == 0
    empty = list(SegmentBuilder(1).finish())
    assert len(empty) == 1
    assert empty[0]["pages"].to_pylist() == [0]


def test_fields_cannot_be_broken_by_control_signs() -> None:
    index = index_of([{"page_id": 1, "title": "one\x1etwo", "headings": ["x\x1ey"], "text": "three\x1efour"}])
    found = {(term, field) for _, term, field in occurrences(index)}
    assert {("two", TITLE), ("four", BODY), ("three", BODY)} <= found
    assert ("y", 1) in found
    assert Counter(field for _, field in found)[2] == 0


@pytest.mark.parametrize("size", [1, 127, 128, 20_000])
def test_numbers_of_any_size(size: int) -> None:
    index = index_of([{"page_id": 1, "text": "a1 " * size}, {"page_id": 2, "text": "b " * size + "a1"}])
    found = occurrences(index)
    assert found[1, "a1", BODY] == list(range(size))
    assert found[2, "a1", BODY] == [size]


def rows_of(parts: list[list[dict[str, object]]]) -> list[dict[str, object]]:
    builder = SegmentBuilder(1, "en")
    for part in parts:
        builder.add(batch(part))
    return [row for one in builder.finish() for row in one.to_pylist()]


def test_pages_may_come_in_any_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = random_docs(60, 9)
    whole = rows_of([docs])
    assert rows_of([docs[:7], docs[7:8], docs[8:]]) == whole
    monkeypatch.setattr("lakerank.search.index.segment._PIECE", 200)
    assert rows_of([docs]) == whole


def test_more_distinct_words_than_the_first_table_holds() -> None:
    docs = [{"page_id": i, "text": " ".join(f"x{(i * 6000 + j) % 60_000}" for j in range(6000))} for i in range(14)]
    assert rows_of([docs[:3], docs[3:9], docs[9:]]) == rows_of([docs])
    index = index_of(docs)
    assert index.terms == 60_000
    assert occurrences(index) == analyze_query([{"title": "", "headings": [], "anchors": [], **doc} for doc in docs])

"""`SearchIndex` on frames: what it finds, what an update changes, what it refuses; and the examples of its guide."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession
from tests_root import ROOT
from webapp.small_lake import PAGES, write_lake

import lakerank
from lakerank.cli.errors import UserError
from lakerank.search.search_index import SearchIndex

ROWS = {
    "key": ["a", "b", "c", "d"],
    "body": ["The quick brown fox", "Lazy dogs sleep", None, "A fox in the snow, a fox in its den"],
    "head": ["One", None, "Foxes", "Four"],
    "link": ["https://a.org/1", "https://b.org/2", "https://a.org/3", "https://b.org/4"],
}
COLUMNS = {"id": "key", "text": "body", "title": "head", "url": "link"}
Answers = list[tuple[str, float, str, str]]


def answers(index: SearchIndex, query: str) -> Answers:
    return [(hit.id, hit.score, hit.title, hit.snippet) for hit in index.search(query)]


@pytest.fixture(scope="module")
def index() -> SearchIndex:
    return SearchIndex.from_frame(pa.table(ROWS), **COLUMNS)


def test_hits_have_rank_id_address_title_score_and_snippet(index: SearchIndex) -> None:
    assert len(index) == 4
    hits = index.search("fox")
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert {hit.id for hit in hits} == {"a", "c", "d"}
    assert hits[0].id == "d", "the form as it was written is before its relatives"
    titled = next(hit for hit in hits if hit.id == "c")
    assert (titled.title, titled.url, titled.snippet) == ("Foxes", "https://a.org/3", "")
    assert next(hit.snippet for hit in hits if hit.id == "a") == "The quick brown fox"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert [hit.id for hit in index.search("fox site:b.org")] == ["d"]
    assert [hit.id for hit in index.search("fox", top=1, page=2)] == [hits[1].id]
    assert index.search("walrus") == []
    assert [[hit.id for hit in found] for found in index.search_many(["dogs", "walrus"])] == [["b"], []]


def test_arrow_and_pandas_give_the_same(index: SearchIndex) -> None:
    for query in ("fox", "dogs OR snow", '"brown fox"'):
        assert answers(SearchIndex.from_frame(pd.DataFrame(ROWS), **COLUMNS), query) == answers(index, query)


@pytest.mark.connect
def test_a_spark_frame_gives_the_same(spark: SparkSession, index: SearchIndex) -> None:
    frame = spark.createDataFrame(pa.table(ROWS))
    assert answers(SearchIndex.from_frame(frame, **COLUMNS), "fox snow") == answers(index, "fox snow")
    with pytest.raises(UserError, match="column `text` is missing; the frame has key, body"):
        SearchIndex.from_frame(frame, id="key")
    dotted = frame.withColumnRenamed("body", "the.body")
    assert len(SearchIndex.from_frame(dotted, id="key", text="the.body").search("fox")) == 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("numbered", [True, False])
def test_an_updated_index_answers_as_one_built_anew(seed: int, numbered: bool) -> None:
    random = np.random.default_rng(seed)
    words = np.array([f"w{n}" for n in range(60)])

    def rows(ids: range) -> pd.DataFrame:
        texts = [" ".join(random.choice(words, random.integers(1, 30))) for _ in ids]
        return pd.DataFrame({"id": [n if numbered else f"n{n}" for n in ids], "text": texts})

    now = rows(range(100))
    index = SearchIndex.from_frame(now)
    for first in (90, 40, 120):
        new = rows(range(first, first + 30))
        before = index.engine
        index.update(new)
        assert len(before.index) == len(now), "whoever still searches the old one is not disturbed"
        now = pd.concat([now[~now["id"].isin(new["id"])], new], ignore_index=True)
        fresh = SearchIndex.from_frame(now.sample(frac=1, random_state=seed))
        assert len(index) == len(fresh) == len(now)
        for query in ("w1", "w2 w3 w4", '"w5 w6" w7', "w8 -w9", "w1 w2 w3 w4 w5 w6"):
            assert answers(index, query) == answers(fresh, query)


def test_many_updates_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakerank.search.search_index._MOST_SEGMENTS", 3)
    index = SearchIndex.from_frame(pa.table({"id": [0], "text": ["a walrus"]}))
    for n in range(8):
        index.update(pa.table({"id": [n % 3], "text": [f"fox number{n}"]}))
    assert index._rows is not None
    assert len(index._rows._postings) <= 3
    assert {hit.id: hit.snippet for hit in index.search("fox")} == {
        "0": "fox number6", "1": "fox number7", "2": "fox number5",
    }  # fmt: skip
    assert index.search("walrus") == []


def frame(**columns: Any) -> pa.Table:
    return pa.table({"id": [1, 2], "text": ["a", "b"]} | columns)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: frame().drop_columns(["id"]), "column `id` is missing; the frame has text"),
        (lambda: frame().drop_columns(["text"]), "column `text` is missing; the frame has id"),
        (lambda: frame(text=[1, 2]), "column `text` is int64, but must be text"),
        (lambda: frame(id=[1.5, 2.5]), "column `id` is double, but ids must be whole numbers or text"),
        (lambda: frame(id=[1, None]), "column `id`: the id of row 2 is null"),
        (lambda: frame(id=["x", "x"]), "column `id`: the id x stands in several rows"),
        (lambda: frame(id=pa.array([1, 2**64 - 1], pa.uint64())), "column `id`: an id does not fit"),
        (lambda: frame().slice(0, 0), "the frame has no rows"),
        (lambda: pd.DataFrame({"id": [1, 2], "text": ["a", 3]}), "column `text` holds values of several types"),
        (lambda: pd.DataFrame({"id": [1, 2], "text": ["a", "\ud800"]}), "column `text` holds values of several"),
        (lambda: pd.DataFrame([[1, 2, "a"]], columns=["id", "id", "text"]), "column `id` stands in the frame 2"),
        (lambda: [{"id": 1}], "a pyarrow Table is needed, not a list"),
    ],
)
def test_a_frame_that_does_not_fit_is_one_sentence(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        SearchIndex.from_frame(make())


def test_a_refused_update_changes_nothing() -> None:
    index = SearchIndex.from_frame(frame(text=["fox", "dog"]))
    before = answers(index, "fox dog")
    for bad, said in (
        (frame(id=["x", "y"]), "column `id` is string, but the ids of this index are whole numbers"),
        (frame(text=[1, 2]), "column `text` is int64"),
        (frame().slice(0, 0), "no rows"),
    ):
        with pytest.raises(UserError, match=said):
            index.update(bad)
    assert answers(index, "fox dog") == before


def test_wrong_questions_are_one_sentence(index: SearchIndex) -> None:
    for query in ("", "  \n"):
        with pytest.raises(UserError, match="the query is empty"):
            index.search(query)
    with pytest.raises(UserError, match="`top` must be at least 1, not 0"):
        index.search("fox", top=0)
    with pytest.raises(UserError, match="`page` must be at least 1"):
        index.search("fox", page=-1)
    with pytest.raises(UserError, match="`language` must be one of"):
        SearchIndex.from_frame(pa.table(ROWS), **COLUMNS, language="klingon")


def test_an_index_of_a_lake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run build_index first"):
        SearchIndex.open(str(tmp_path))
    write_lake(tmp_path, PAGES)
    index = SearchIndex.open(str(tmp_path))
    assert len(index) == 30
    assert index.search("broadcasting")[0].id == "https://example.org/1"
    with pytest.raises(UserError, match="run ingest_pages and build_index"):
        index.update(frame())


def test_pages_of_an_index_that_are_gone_are_build_indexs_to_mend(tmp_path: Path) -> None:
    write_lake(tmp_path, PAGES)
    write_deltalake(tmp_path / "pages", DeltaTable(tmp_path / "pages").to_pyarrow_table(), mode="overwrite")
    DeltaTable(tmp_path / "pages").vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(UserError, match=r"pages: files of version 0 are gone .*: run build_index again"):
        SearchIndex.open(str(tmp_path))
    write_lake(tmp_path, PAGES)  # as build_index does
    assert len(SearchIndex.open(str(tmp_path))) == 30


def test_the_examples_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lakerank, "SearchIndex", SearchIndex, raising=False)
    write_lake(tmp_path / "lake", PAGES)
    monkeypatch.chdir(tmp_path)
    examples = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "search-engine.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert len(examples) >= 3
    for example in examples:
        assert len(example.splitlines()) <= 10
        exec(compile(example, "docs/search-engine.md", "exec"), {})

"""An index with a bit turned over: one sentence that names table and segment, never another answer or a crash."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from search_oracles import Doc, pages_table, segments

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowTable, UnreadableError
from lakerank.lake.publications import Publications, Publishing, publishing
from lakerank.lake.schemas import INDEX_DOCUMENTS, INDEX_POSTINGS, PAGES
from lakerank.search.index.fields import Weighting
from lakerank.search.index.segment import row_checksums
from lakerank.search.index.store import IndexTables
from lakerank.search.index.update import FORMAT, IndexOptions, plan_update
from lakerank.search.query.index import build_arrays

KILLED = {
    "before the documents were merged": (INDEX_POSTINGS,),
    "before it published": (INDEX_POSTINGS, INDEX_DOCUMENTS),
    "after the documents alone": (INDEX_DOCUMENTS,),
}
WORDS = ["alder", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan", "willow"]
FLIPS = 200
SENTENCE = re.compile(r"index_postings: .* in segment \d has been damaged .*: run \S+ --rebuild")


def docs() -> list[Doc]:
    rng = np.random.default_rng(5)
    return [
        {
            "page_id": n,
            "title": " ".join(rng.choice(WORDS, 3)),
            "text": " ".join(rng.choice(WORDS, int(rng.integers(80)))),
        }
        for n in range(60)
    ]


def tables() -> tuple[pa.Table, pa.Table, pa.Table]:
    """Documents, postings and pages of an index of two segments."""
    made = docs()
    postings, documents = segments([made[:40], made[40:]])
    return documents, postings.combine_chunks(), pages_table(made)


def with_flip(postings: pa.Table, rng: np.random.Generator, honest: bool) -> pa.Table:
    """Turn over one bit of a row's bytes; `honest` leaves the checksum, else it is that of the altered row."""
    name = str(rng.choice(["postings", "positions"]))
    rows = postings[name].to_pylist()
    row = int(rng.choice([n for n, value in enumerate(rows) if value]))
    data = bytearray(rows[row])
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    rows[row] = bytes(data)
    flipped = postings.set_column(postings.schema.get_field_index(name), name, pa.array(rows, pa.binary()))
    if honest:
        return flipped
    return with_checksums(flipped)


def with_checksums(rows: pa.Table) -> pa.Table:
    """Make the checksums anew, and what the row of a segment's pages says of them."""

    def replaced(name: str, values: pa.Array) -> pa.Table:
        return rows.set_column(rows.schema.get_field_index(name), name, values)

    sums = row_checksums(rows)
    segments, terms = np.array(rows["segment"]), np.array(rows["term"].to_pylist())
    lists = rows["postings"].to_pylist()
    for at in np.flatnonzero(terms == ""):
        total = sums[(segments == segments[at]) & (terms != "")].sum()
        lists[at] = lists[at][:-8] + total.tobytes()
    rows = replaced("postings", pa.array(lists, pa.binary()))
    return replaced("checksum", pa.array(row_checksums(rows)))


def flip_many(honest: bool) -> None:
    """Decode an index with one flip at a time; print how many were told in a sentence, and what came out else."""
    documents, postings, pages = tables()
    whole = build_arrays(documents, postings, pages, Weighting(), "en")
    rng, told, others = np.random.default_rng(7), 0, 0
    for _ in range(FLIPS):
        try:
            found = build_arrays(documents, with_flip(postings, rng, honest), pages, Weighting(), "en")
        except UserError as error:
            told += bool(SENTENCE.fullmatch(str(error)))
            continue
        others += any(not np.array_equal(found[name], whole[name]) for name in whole)
    print(told, others)


@pytest.mark.parametrize("honest", [True, False])
def test_no_flipped_bit_gets_through_or_kills(honest: bool) -> None:
    # In a process of its own: what a decoder without bounds does to its memory would end this one.
    code = f"import test_damaged_index as t; t.flip_many({honest})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_environment())
    assert ended.returncode == 0, ended.stderr
    told, others = map(int, ended.stdout.split())
    if honest:
        assert (told, others) == (FLIPS, 0)
    else:  # the checksum was made for the damage: much of it is a list that could have been written
        assert told > FLIPS // 10


def _environment() -> dict[str, str]:

    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_documents_that_are_not_those_of_their_segment_are_told() -> None:
    documents, postings, pages = tables()
    for name, at, value in (("ordinal", 3, 39), ("ordinal", 0, -1), ("segment", 5, 9), ("page_id", 7, 8)):
        values = documents[name].to_pylist()
        values[at] = value
        column = pa.array(values, documents.schema.field(name).type)
        changed = documents.set_column(documents.schema.get_field_index(name), name, column)
        with pytest.raises(
            UserError, match=r"index_documents: the pages of segment \d are not those that were indexed"
        ):
            build_arrays(changed, postings, pages, Weighting(), "en")


@pytest.mark.parametrize("name", ["segment", "pages", "occurrences", "term"])
def test_every_column_of_a_row_counts(name: str) -> None:
    documents, postings, pages = tables()
    values = postings[name].to_pylist()
    values[4] = values[4] + ("x" if isinstance(values[4], str) else 1)
    column = pa.array(values, postings.schema.field(name).type)
    changed = postings.set_column(postings.schema.get_field_index(name), name, column)
    with pytest.raises(UserError, match=r"index_postings: the .* in segment \d has been damaged"):
        build_arrays(documents, changed, pages, Weighting(), "en")


def no_spark() -> Any:
    raise AssertionError("no session is needed")


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("killed", KILLED)
def test_an_index_whose_files_are_gone_is_built_anew(tmp_path: Path, killed: str, changed: bool) -> None:
    """Written by a run that was killed, then VACUUM without retention: what was published is gone."""
    documents, postings, pages = tables()
    index = {INDEX_POSTINGS: postings, INDEX_DOCUMENTS: documents}
    lake = str(tmp_path)
    write_deltalake(tmp_path / "pages", pages)

    def opened() -> IndexTables:
        published = Publications.read(lake, no_spark)
        return IndexTables(
            None,  # type: ignore[arg-type]
            lake,
            published,
            ArrowTable(published.table(PAGES), PAGES, no_spark),
            None,
            None,
        )

    with publishing(no_spark, lake, "index") as run:
        for relation, table in index.items():
            run.write(relation, table)
        run.settings(format=FORMAT, language="en", sources={} if changed else opened().versions)
    assert changed or plan_update(opened(), IndexOptions("en")).rebuild == ""
    run = Publishing(no_spark, lake, "index")
    for relation in KILLED[killed]:
        run.write(relation, index[relation])
        DeltaTable(tmp_path / relation.name).vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert plan_update(opened(), IndexOptions("en")).rebuild == "there is no index yet"


def test_an_index_that_cannot_be_read_is_built_anew_and_pages_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publishing(no_spark, str(tmp_path), "index") as run:
        run.write(INDEX_DOCUMENTS, tables()[0])
    opened = IndexTables(None, str(tmp_path), Publications.read(str(tmp_path), no_spark), None, None, None)  # type: ignore[arg-type]

    def fail_at(location: str) -> None:
        def index(_: IndexTables) -> None:
            raise UnreadableError(location, "a file of it is damaged")

        monkeypatch.setattr(IndexTables, "index", index)

    fail_at(f"{tmp_path}/index_documents")
    assert plan_update(opened, IndexOptions()).rebuild == "the index so far cannot be read"
    fail_at(f"{tmp_path}/pages")
    with pytest.raises(UnreadableError):
        plan_update(opened, IndexOptions())


def without(rows: pa.Table, *numbers: int) -> pa.Table:
    return rows.filter(pa.array([n not in numbers for n in range(len(rows))]))


@pytest.mark.parametrize("kind", ["twice", "gone", "header twice", "header gone", "segment's terms gone", "of before"])
def test_rows_that_are_missing_or_there_twice_are_told(kind: str) -> None:
    documents, postings, pages = tables()
    headers = [n for n, term in enumerate(postings["term"].to_pylist()) if not term]
    if kind in ("twice", "header twice"):
        row = headers[1] if kind == "header twice" else headers[0] + 3
        changed = pa.concat_tables([postings, postings.slice(row, 1)])
    elif kind == "gone":
        changed = without(postings, headers[0] + 3)
    elif kind == "header gone":
        changed = without(postings, headers[1])
    elif kind == "segment's terms gone":
        changed = without(postings, *range(headers[1] + 1, len(postings)))
    else:  # rows swapped with sound ones of another build: as many, none of them damaged
        other, _ = segments([docs()[40:], docs()[:40]])
        row = headers[0] + 3
        term = postings["term"][row].as_py()
        terms = zip(other["segment"].to_pylist(), other["term"].to_pylist(), strict=True)
        place = next(
            n
            for n, (segment, found) in enumerate(terms)
            if (segment, found) == (postings["segment"][row].as_py(), term)
        )
        changed = pa.concat_tables([without(postings, row), other.slice(place, 1)])
    with pytest.raises(
        UserError, match=r"^index_postings: rows of segment \d are missing, or there twice: run build_index --rebuild$"
    ):
        build_arrays(documents, changed, pages, Weighting(), "en")


def test_pages_that_are_missing_are_told() -> None:
    documents, postings, pages = tables()
    ids = pages["page_id"].to_pylist()
    ids[3] ^= 1 << 40
    altered = pages.set_column(pages.schema.get_field_index("page_id"), "page_id", pa.array(ids, pa.int64()))
    for changed in (altered, without(pages, 3)):
        with pytest.raises(UserError, match=r"^pages: 1 pages of the index are missing, e\.g\. the one of page_id 3: "):
            build_arrays(documents, postings, changed, Weighting(), "en")


def test_a_row_of_pages_in_another_form_is_told() -> None:
    documents, postings, pages = tables()
    values = [value[:-16] if not term else value for term, value in zip(
        postings["term"].to_pylist(), postings["postings"].to_pylist(), strict=True
    )]  # fmt: skip
    changed = postings.set_column(postings.schema.get_field_index("postings"), "postings", pa.array(values))
    at = changed.schema.get_field_index("checksum")
    changed = changed.set_column(at, "checksum", pa.array(row_checksums(changed)))
    with pytest.raises(UserError, match=r"index_postings: the list of pages in segment \d has been damaged"):
        build_arrays(documents, changed, pages, Weighting(), "en")

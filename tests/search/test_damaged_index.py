"""An index with a bit turned over: one sentence that names table and segment, never another answer or a crash."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from search_oracles import Doc, pages_table, segments

from lakerank.cli.errors import UserError
from lakerank.search.index.fields import Weighting
from lakerank.search.index.segment import row_checksums
from lakerank.search.query.index import build_arrays

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
    at = postings.schema.get_field_index("checksum")
    return flipped.set_column(at, "checksum", pa.array(row_checksums(flipped)))


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

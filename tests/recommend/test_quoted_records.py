"""CSV records over several lines, ratings without a time, and ids that pandas has made numbers with a point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import SHARED
from pyspark.sql import SparkSession

from lakerank.recommend.data.delimited import find_spans
from lakerank.recommend.data.store import ReadOptions, Source, read_source

CASES = SHARED.parent / "cases" / "ratings"
BREAK = '1,10,4,"Foo\nBar"'


def spans(text: str, separator: str = ",") -> list[tuple[int, int]]:
    """First and last line of each record over several lines."""
    odd = [
        {"source": "f", "line": number, "value": line}
        for number, line in enumerate(text.split("\n"), 1)
        if line.count('"') % 2
    ]
    return [(span["first"], span["last"]) for span in find_spans(odd, separator)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"a,b,c,d\n{BREAK}\n2,10,3,x", [(2, 3)]),
        ('"Foo\n9,9,9,5",1,10,4\nok,2,10,3', [(1, 2)]),
        ('1,"a\n\n""b"" c\n d",2\n3,"e\nf",4', [(1, 4), (5, 6)]),
        ('1,"a\r\nb"\r\n2,c', [(1, 2)]),
        ('1,5" disc,3\n2,"x\ny",3', [(2, 3)]),  # a quote within a field is none
        ('1,"never closed,3\n2,b,3\n3,"x\ny",3', [(3, 4)]),  # costs its own line alone
        ('1,"never closed,3\n' + "2,b,3\n" * 2000 + '3,x",4', []),
        ('1, "a\nb" ,2', [(1, 2)]),
        ('"a","b","c\n","d"', [(1, 2)]),
        ("1,2,3", []),
    ],
)
def test_records_over_several_lines_are_found(text: str, found: list[tuple[int, int]]) -> None:
    assert spans(text) == found
    assert spans(text.replace(",", "\t"), "\t") == found
    assert spans(text.replace(",", "|"), "|") == found


def test_finding_takes_time_that_grows_with_size_only() -> None:
    assert spans('"' + '","' * 200_000 + "x\n" + '"","' * 100_000) == []


def ratings(spark: SparkSession, path: Path, scratch: Path) -> Sequence[tuple[object, ...]]:
    rows = read_source(spark, Source(str(path), str(path)), ReadOptions(), str(scratch)).ratings
    kept = rows.orderBy("line").select("line", "user", "item", "rating", "reason", "rated_at").collect()
    return [(row["line"], row["user"], row["item"], row["rating"], row["reason"], row["rated_at"]) for row in kept]


def test_lines_that_belong_together_are_one_rating(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    text = f'\ufeffuser,item,rating,title\n{BREAK}\n2,10,3,"never closed\n3,10,2,ok\n4,10,1,"a ""b""\n\nc"\n'
    file.write_bytes(text.replace("\n", "\r\n").encode())
    found = [row[:5] for row in ratings(spark, file, tmp_path)]
    assert [row for row in found if row[4] is None] == [
        (2, "1", "10", 4.0, None),
        (4, "2", "10", 3.0, None),
        (5, "3", "10", 2.0, None),
        (6, "4", "10", 1.0, None),
    ]
    assert len(found) == 4


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is missing")
@pytest.mark.parametrize(
    ("name", "kept", "timed"),
    [
        ("b.csv", [("1", "2", 3.0), ("2", "2", 4.5)], 0),
        ("h.csv", [("1", "10", 4.0), ("2", "10", 3.0)], 0),
        ("h2.csv", [("1", "10", 4.0), ("2", "10", 3.0)], 0),
        ("i.csv", [("1", "10", 4.0), ("2", "10", 3.0), ("3", "10", 2.0)], 1),
        ("p2.parquet", [("1", "10", 3.0), ("2", "11", 4.0)], 0),
    ],
)
def test_sample_files(
    spark: SparkSession, tmp_path: Path, name: str, kept: list[tuple[str, str, float]], timed: int
) -> None:
    rows = [row for row in ratings(spark, CASES / name, tmp_path) if row[4] is None]
    assert [row[1:4] for row in rows] == kept
    assert sum(row[5] is not None for row in rows) == timed

"""Edge lists of every make: separators, headers, comments, ids, weights, and lines that are wrong."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.graph.build_graph import build_graph
from lakerank.graph.edge_lists import NODE, Parsed, from_lines, from_rows


def parse(spark: SparkSession, text: str, **how: Any) -> Parsed:
    lines = text.split("\n")
    table = pa.table({"source": ["f"] * len(lines), "line": range(1, len(lines) + 1), "value": lines})
    return from_lines(spark.createDataFrame(table), "f", **how)


def rows(parsed: Parsed) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in parsed.rows.collect()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# SNAP\n# FromNodeId\tToNodeId\n0\t1\n0\t1\n\n2\t-3\n", [(0, 1), (0, 1), (2, -3)]),
        ('source,destination\n"a, b",c\nc,d d\n', [("a, b", "c"), ("c", "d d")]),
        ("  1   2  0.5\n3 4 0.5\n", [(1, 2), (3, 4)]),
        ("a;b\nc;d\n", [("a", "b"), ("c", "d")]),
        ("a b\tc\nd\te, f\n", [("a b", "c"), ("d", "e, f")]),
    ],
    ids=["snap", "csv", "spaces", "semicolon", "tab"],
)
def test_separators_are_found(spark: SparkSession, text: str, expected: list[tuple[Any, ...]]) -> None:
    parsed = parse(spark, text)
    assert rows(parsed) == expected
    assert (parsed.count, parsed.rejected_count) == (len(expected), 0)


@pytest.mark.parametrize(
    ("text", "header", "first"),
    [
        ("Source\tTarget\na\tb", "auto", ("a", "b")),  # known words
        ("# c\nuser page\n1 2\n3 4", "auto", (1, 2)),  # words above numbers
        ("user page\nanna home", "auto", ("user", "page")),  # could be an edge: kept
        ("user 5\n1 2", "auto", ("user", "5")),  # half a number is no header
        ("user page", "auto", ("user", "page")),  # nothing to compare with
        ("user page\nanna home", "yes", ("anna", "home")),
        ("source destination\nanna home", "no", ("source", "destination")),
        ("1 2\n3 4", "yes", (3, 4)),
    ],
)
def test_a_header_is_taken_for_one_only_if_it_is(
    spark: SparkSession, text: str, header: str, first: tuple[Any, Any]
) -> None:
    assert rows(parse(spark, text, header=header))[0] == first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 2\n9223372036854775807 -9223372036854775808", [(1, 2), (2**63 - 1, -(2**63))]),
        ("1 2\n9223372036854775808 3", [("1", "2"), ("9223372036854775808", "3")]),
        ("1 2\n07 3", [("1", "2"), ("07", "3")]),
        ("1 2\n1.0 3", [("1", "2"), ("1.0", "3")]),
    ],
)
def test_ids_are_numbers_only_if_all_are(spark: SparkSession, text: str, expected: list[tuple[Any, ...]]) -> None:
    assert rows(parse(spark, text)) == expected


@pytest.mark.connect
def test_wrong_lines_are_rejected_with_number_and_reason(spark: SparkSession) -> None:
    text = "# c\n1\t2\t1\n3\n4\t\t1\n5\t6\n5\t6\tx\n5\t6\t-1\n5\t6\tNaN\n5\t6\t1e999\n\n7\t8\t2.5\n7\t8\t2.5\tmore"
    parsed = parse(spark, text, weight="yes")
    assert rows(parsed) == [(1, 2, 1.0), (7, 8, 2.5)]
    found = [(row["source"], row["line"], row["raw"], row["reason"]) for row in parsed.rejected.collect()]
    assert found == [
        ("f", 3, "3", "fewer than 2 columns"),
        ("f", 4, "4\t\t1", "an id is empty"),
        ("f", 5, "5\t6", "the weight is missing"),
        ("f", 6, "5\t6\tx", "the weight is not a number"),
        ("f", 7, "5\t6\t-1", "the weight is negative"),
        ("f", 8, "5\t6\tNaN", "the weight is not finite"),
        ("f", 9, "5\t6\t1e999", "the weight is not finite"),
        ("f", 12, "7\t8\t2.5\tmore", "more than the 3 columns of other lines"),
    ]
    assert (parsed.count, parsed.rejected_count) == (2, 8)


def test_csv_lines_are_rejected_alike(spark: SparkSession) -> None:
    parsed = parse(spark, "src,dst\n1,2\n3\n4,\n,5\n6,7")
    assert rows(parsed) == [(1, 2), (6, 7)]
    assert [(r["line"], r["reason"]) for r in parsed.rejected.collect()] == [
        (3, "fewer than 2 columns"),
        (4, "an id is empty"),
        (5, "an id is empty"),
    ]


def test_one_column_and_optional_weights(spark: SparkSession) -> None:
    assert rows(parse(spark, "id\n5\n6", ids=NODE)) == [(5,), (6,)]
    assert rows(parse(spark, "a b\t2\nc", ids=NODE, weight="optional")) == [("a b", 2.0), ("c", 1.0)]
    bad = parse(spark, "a\tx\nc\t1", ids=NODE, weight="optional").rejected.collect()
    assert [(row["line"], row["reason"]) for row in bad] == [(1, "the weight is not a number")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# only\n\n", "no line of data"),
        ("one\ntwo\n", r"none of 2 lines is an edge; line 1: fewer than 2 columns"),
        ("src\tdst", "there is no edge"),
        ("a\x00b c\nd e\n", "not UTF-8 text: 1 of its first 2"),
    ],
)
def test_files_without_an_edge_are_the_users_error(spark: SparkSession, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(spark, text)


def test_tables_bring_their_own_names_and_types(spark: SparkSession) -> None:
    frame = spark.sql("SELECT * FROM VALUES (1, 2L, 0.5), (3, 4L, -1.0), (null, 5L, 1.0) AS t(`From`, to, weight)")
    plain = from_rows(frame, "t", frame.columns)
    assert rows(plain) == [(1, 2), (3, 4)]
    weighted = from_rows(frame, "t", frame.columns, weight="yes")
    assert rows(weighted) == [(1, 2, 0.5)]
    assert sorted((row["raw"], row["reason"]) for row in weighted.rejected.collect()) == [
        ("3, 4, -1.0", "the weight is negative"),
        ("null, 5, 1.0", "an id is empty"),
    ]
    mixed = spark.sql("SELECT 'a' AS src, 2 AS dst")
    assert rows(from_rows(mixed, "t", mixed.columns)) == [("a", "2")]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 1 AS a, 2 AS b", "no column for `src`"),
        ("SELECT 1.5D AS src, 2 AS dst, 1 AS weight", "`src` is double"),
        ("SELECT 1 AS src, 2 AS dst", "no column for `weight`"),
        ("SELECT 1 AS src, 2 AS dst, 'x' AS weight", "`weight` is text"),
        ("SELECT 1 AS src, 2 AS dst, 1 AS weight WHERE false", "there is no edge"),
    ],
)
def test_tables_of_another_shape_are_refused(spark: SparkSession, query: str, message: str) -> None:
    frame = spark.sql(query)
    with pytest.raises(UserError, match=message):
        from_rows(frame, "t", frame.columns, weight="yes")


def test_ids_of_all_inputs_become_one_type(spark: SparkSession) -> None:
    numbers = parse(spark, "1 2")
    names = parse(spark, "x", ids=NODE)
    starts = parse(spark, "2", ids=NODE, weight="optional")
    graph = build_graph(numbers, names, starts, weighted=False)
    assert graph.id_type == "string"
    assert graph.teleport is not None
    assert graph.teleport.collect()[0]["id"] == "2"
    odd = parse(spark, "2\n02", ids=NODE, weight="optional")
    with pytest.raises(UserError, match="'02' is not a node"):
        build_graph(numbers, None, odd, weighted=False)


def test_lines_that_no_parser_of_csv_takes_are_rejected(spark: SparkSession) -> None:
    wide, long = "x" + ",1" * 25_000, "y" * 140_000
    parsed = parse(spark, f"a,b\nc\rd,e\n{wide}\n{long},f\ng,h\ni,j")
    assert rows(parsed) == [("a", "b"), (long, "f"), ("g", "h"), ("i", "j")]
    found = sorted((row["line"], row["reason"]) for row in parsed.rejected.collect())
    assert found == [(2, "a carriage return within the line"), (3, "too many columns")]
    with pytest.raises(UserError, match="carriage returns alone, as on old Macs"):
        parse(spark, "a,b\rc,d\re,f")
    with pytest.raises(UserError, match="carriage returns alone, as on old Macs"):
        parse(spark, "# comment\ra,b", ids=NODE)

"""neighbors, linear and recommend end to end: real tables, every model, filters, explanations, wrong input."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import lake_tables
import pytest
from pyspark.sql import Row, SparkSession

from lakerank.lake.delta_table import TableRef
from lakerank.lake.publications import Publications
from lakerank.lake.schemas import (
    EXPLANATIONS,
    ITEMS,
    LINEAR_WEIGHTS,
    RATINGS,
    RECOMMENDATIONS,
    SIMILAR_ITEMS,
    SIMILAR_USERS,
    Relation,
)
from spark_jobs import linear, neighbors, recommend

USERS, SHELF = 24, 12


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two camps: even users love even films, which are dramas, odd users odd ones; each has left out some."""
    folder = tmp_path_factory.mktemp("lake")
    rows = [
        (u, i, 4.0 + (i % 3) / 2, dt.datetime(2020, 1, 1) + dt.timedelta(days=(u + 5 * i) % 7))
        for u in range(USERS)
        for i in range(SHELF)
        if i % 2 == u % 2 and (u + i) % 3
    ]
    lake_tables.put(TableRef(str(folder / "ratings")), RATINGS, rows)
    items = [(i, f"Film {i}", 1990 + i, ["Comedy" if i % 2 else "Drama"]) for i in range(SHELF)]
    lake_tables.put(TableRef(str(folder / "items")), ITEMS, items)
    return str(folder)


def rows_of(spark: SparkSession, lake: str, relation: Relation) -> list[Row]:
    return lake_tables.rows(relation, lake)


def format_lines(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    printed = capsys.readouterr().out
    return printed, json.loads(printed.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.connect
def test_from_ratings_to_recommendations_that_say_why(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert neighbors.main(["--lake", lake, "--min-support", "1", "--shrink", "0", "--json"]) == 0
    assert format_lines(capsys)[1]["items"] == SHELF
    similar = rows_of(spark, lake, SIMILAR_ITEMS)
    assert all(row["item_id"] % 2 == row["other_id"] % 2 and row["support"] > 0 for row in similar)

    assert neighbors.main(["--lake", lake, "--of", "users", "--measure", "jaccard", "--top", "3", "--json"]) == 0
    assert format_lines(capsys)[1]["users"] == USERS
    alike = rows_of(spark, lake, SIMILAR_USERS)
    assert all(row["user_id"] % 2 == row["other_id"] % 2 and 0 < row["similarity"] < 1 for row in alike)
    assert max(row["rank"] for row in alike) == 3

    assert linear.main(["--lake", lake, "--reg", "5", "--json"]) == 0
    assert format_lines(capsys)[1]["rows"] == len(rows_of(spark, lake, LINEAR_WEIGHTS)) > 0

    users = tmp_path / "users.txt"
    users.write_text("3\n4\n\n77\n", encoding="utf-8")
    asked = ["--lake", lake, "--users", str(users), "--top", "2", "--explain", "--json"]
    assert recommend.main(["--model", "blend", *asked]) == 0
    printed, facts = format_lines(capsys)
    assert "blend goes without lfm, content" in printed
    assert "weights for users with more than 20 ratings" in printed
    assert "because you rated Film" in printed
    assert facts["rows"] == 6
    rows = rows_of(spark, lake, RECOMMENDATIONS)
    assert all(row["user_id"] == 77 or row["item_id"] % 2 == row["user_id"] % 2 for row in rows)
    assert {row["reason"].split(":")[0] for row in rows if row["user_id"] == 77} == {"fallback"}
    sums: dict[tuple[int, int], float] = {}
    for row in rows_of(spark, lake, EXPLANATIONS):
        sums[row["user_id"], row["rank"]] = sums.get((row["user_id"], row["rank"]), 0.0) + row["contribution"]
    assert sums == pytest.approx({(row["user_id"], row["rank"]): row["score"] for row in rows}, abs=1e-9)

    # A second time the weights are those that were learned, and nothing changes.
    models = {"neighbors", "linear", "blend", "lfm", "content"}
    before = [row for row in Publications.read(lake, lambda: spark).rows if row.what in models]
    assert {row.what for row in before} == {"neighbors", "linear", "blend"}
    assert recommend.main(["--model", "blend", *asked]) == 0
    assert [row for row in Publications.read(lake, lambda: spark).rows if row.what in models] == before
    assert sorted(rows_of(spark, lake, RECOMMENDATIONS)) == sorted(rows)


@pytest.mark.slow
def test_filters_and_wrong_input(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users, items = tmp_path / "users.txt", tmp_path / "items.txt"
    users.write_text("4\n", encoding="utf-8")
    items.write_text("1\n2\n3\n4\n5\n", encoding="utf-8")
    asked = ["--lake", lake, "--model", "popular", "--users", str(users)]
    filters = ["--genre", "drama", "--year", "1993-", "--items", str(items)]
    assert recommend.main([*asked, *filters, "--include-seen"]) == 0
    assert [row["item_id"] for row in rows_of(spark, lake, RECOMMENDATIONS)] == [4]
    for wrong, sentence in (
        (["--genre", "Western"], "no item has it; there are Comedy, Drama"),
        (["--year", "199"], "write one year, or a range"),
        (["--year", "2001-1999"], "the first year is after the last"),
        (["--items", str(tmp_path / "none")], "cannot read it (No such file or directory)"),
        (["--model", "lfm"], "has no model `lfm`: run lfm first"),
        (["--model", "content"], "has no model `content`: run content first"),
    ):
        assert recommend.main([*asked, *wrong]) == 2
        assert sentence in capsys.readouterr().err
    users.write_text("4\nseven\n", encoding="utf-8")
    assert recommend.main(asked) == 2
    assert "line 2: 'seven' is not a whole number as user ids are" in capsys.readouterr().err
    assert neighbors.main(["--lake", lake, "--measure", "pearson", "--weighting", "bm25"]) == 2
    assert "--weighting bm25 goes with --measure cosine" in capsys.readouterr().err

"""content: items and ratings → profiles, end to end; what is written recommends films that nobody has rated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lake_tables
import pytest
from pyspark.sql import SparkSession

from lakerank.lake.delta_table import TableRef
from lakerank.lake.publications import Publications
from lakerank.lake.schemas import ITEM_PROFILES, ITEMS, RATINGS, TAGS, USER_PROFILES
from lakerank.recommend.models.base import Data
from lakerank.recommend.models.registry import model_spec
from lakerank.recommend.models.store import find_model
from lakerank.spark.array_store import BlockStore
from spark_jobs import content

# Users with even numbers rate the comedies among the films 0 to 29, the others the horror films. Films 30 to 39 are
# rated by nobody.
FILMS = [(f"f{n}", f"Film {n}", 1990 + n % 3, ["Comedy" if n % 2 == 0 else "Horror"]) for n in range(40)]
GIVEN = [(u, f"f{n}", 4.5 if n % 4 < 2 else 3.5, None) for u in range(30) for n in range(30) if n % 2 == u % 2]


def put(spark: SparkSession, lake: str, name: str, rows: list[Any]) -> None:
    relation = {"ratings": RATINGS, "items": ITEMS, "tags": TAGS}[name]
    types = {name: "bigint" if name == "user_id" else "string" for name in relation.names}
    lake_tables.put(TableRef.find("", relation, lake), relation, rows, types)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("lake"))
    put(spark, folder, "ratings", GIVEN)
    put(spark, folder, "items", FILMS)
    return folder


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return facts


@pytest.mark.connect
def test_the_model_that_was_written_knows_films_nobody_rated(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(spark, lake, "tags", [(1, "f1", "dark", None), (1, "f3", "dark", None), (2, "f5", "alone", None)])
    out = str(tmp_path / "out")
    assert content.main(["--lake", lake, "--out", out, "--factors", "3", "--json"]) == 0
    facts = summary(capsys)
    assert {key: facts[key] for key in ("method", "items", "users")} == {"method": "model", "items": 40, "users": 30}

    spec = model_spec("content")
    saved = find_model(spark, Publications.read(out, lambda: spark), spec)
    assert saved is not None
    tables, kept = saved.tables, saved.params
    assert "tag:dark" in kept["names"]
    assert facts["features"] == len(kept["names"])
    profiles = {row["item_id"]: row for row in tables["item_profiles"].collect()}
    assert set(profiles) == {film for film, *_ in FILMS}
    assert "tag:dark" in profiles["f3"]["features"]
    assert not any(profiles["f35"]["directions"])
    assert any(profiles["f35"]["factors"])

    data = Data(TableRef.find("", RATINGS, lake).read(spark, RATINGS))
    model = spec.load(saved, data, BlockStore.open(str(tmp_path / "arrays"), "--scratch"))
    users = spark.createDataFrame([(4,), (7,)], "user_id bigint")
    cold = spark.createDataFrame([(f"f{n}",) for n in range(30, 40)], "item_id string")
    rows = model.recommend(users, data.ratings.select("user_id", "item_id"), 5, cold).collect()
    assert {(r["user_id"], int(r["item_id"][1:]) % 2) for r in rows} == {(4, 0), (7, 1)}
    assert len(rows) == 10


@pytest.mark.slow
def test_profiles_by_the_heuristic_and_without_tags(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--lake", lake, "--out", str(tmp_path), "--method", "heuristic", "--tags", "none"]
    assert content.main([*argv, "--json"]) == 0
    said = capsys.readouterr().out
    assert "content: user 0 (15 ratings): genre:Comedy +" in said
    assert json.loads(said.splitlines()[-1])["features"] == len(
        {"constant", "genre:Comedy", "genre:Horror", "year:1990", "year:2000", "word:film"}
    )
    profiles = lake_tables.rows(USER_PROFILES, tmp_path)
    assert all(row["features"][0] == ("genre:Horror" if row["user_id"] % 2 else "genre:Comedy") for row in profiles)
    items = lake_tables.rows(ITEM_PROFILES, tmp_path)
    assert {tuple(row["factors"]) for row in items} == {()}
    newest = Publications.read(str(tmp_path), lambda: spark).newest("content")
    assert newest is not None
    assert [(member.name, member.place) for member in newest.sources] == [("ratings", f"{lake}/ratings")]
    assert newest.settings["params"]["settings"]["method"] == "heuristic"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--items", "/nowhere"], "no Delta table `items` at /nowhere: run ingest_ratings first"),
        (["--tags", "/nowhere"], "no Delta table `tags` at /nowhere: run ingest_ratings first"),
        (["--factors", "0"], "`factors` must be above 0"),
        (["--method", "magic"], "invalid choice: 'magic'"),
    ],
)
def test_wrong_settings_end_with_2(
    lake: str, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert content.main(["--lake", lake, *argv]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said

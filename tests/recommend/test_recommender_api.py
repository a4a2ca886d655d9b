"""The estimators on ordinary frames: the documented examples, odd frames, and what comes back under which name."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.recommend.api import Blend, Content, FittedRecommender, Linear, Neighbors, Popular

# Even people watch even films, odd ones odd films; each has left out some.
ROWS = [(f"p{u}", i, 3 + (u + i) % 3) for u in range(10) for i in range(12) if i % 2 == u % 2 and (u + i) % 5]
FILMS = [(i, f"Film {i}", 1990 + i, ["Comedy" if i % 2 else "Drama"]) for i in range(14)]
NAMES: dict[str, Any] = {"user_col": "who", "item_col": "film", "rating_col": "stars"}


@pytest.fixture(scope="module")
def ratings(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(ROWS, "who string, film int, stars int")


@pytest.fixture(scope="module")
def items(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(FILMS, "film long, title string, year int, genres array<string>")


@pytest.fixture(scope="module")
def model(ratings: DataFrame) -> Iterator[FittedRecommender]:
    with Neighbors(**NAMES, shrink=0, min_support=1).fit(ratings) as fitted:
        yield fitted


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["recommenders.md", "content.md"])
def test_the_documented_examples_run(page: str, spark: SparkSession, ratings: DataFrame, items: DataFrame) -> None:
    found = examples(page)
    assert found
    for text in found:
        assert len(text.splitlines()) <= 10
        names = {"ratings": ratings.withColumnsRenamed({"who": "user_id", "film": "item_id", "stars": "rating"})}
        names["items"] = items.withColumnRenamed("film", "item_id")
        exec(text, {"spark": spark, "watched": ratings, **names})


@pytest.mark.connect
def test_answers_have_the_names_of_the_frame(model: FittedRecommender) -> None:
    got = model.recommend(["p3", "p4"], top=1)
    assert got.columns == ["who", "rank", "film", "score", "reason"]
    rows = {row["who"]: row["film"] for row in got.collect()}
    assert set(rows) == {"p3", "p4"}
    seen = {(who, film) for who, film, _ in ROWS}
    assert all(film % 2 == int(who[1:]) % 2 and (who, film) not in seen for who, film in rows.items())
    told = model.explain(got, most=2)
    assert told.columns == ["who", "rank", "position", "source", "because_film", "contribution"]
    sums: dict[str, float] = {}
    for row in told.collect():
        sums[row["who"]] = sums.get(row["who"], 0.0) + row["contribution"]
    assert sums == pytest.approx({row["who"]: row["score"] for row in got.collect()}, abs=1e-6)
    assert model.explain(pd.DataFrame({"who": ["p3"], "rank": [1], "film": [99]})).count() == 0
    alike = model.similar(pa.table({"film": [2, 99]}), top=3)
    assert alike.columns == ["film", "rank", "other_film", "similarity"]
    assert {(row["film"], row["other_film"] % 2) for row in alike.collect()} == {(2, 0)}
    pairs = model.predict(pd.DataFrame({"film": [3, 99], "who": ["p3", "nobody"], "film_name": ["a", "b"]}))
    assert pairs.columns == ["who", "film", "prediction", "source"]
    assert {row["source"] for row in pairs.collect()} == {"neighbors", "mean"}
    chosen = model.recommend(["p3"], exclude_seen=False, items=[1, 4]).collect()
    assert {row["film"] for row in chosen} == {1, 4}


def test_pandas_and_arrow_are_taken_and_the_newest_rating_counts(spark: SparkSession) -> None:
    frame = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [7, 7, 7], "rating": [5.0, 2.0, 2.0], "at": [10, 20, 10]})
    with Popular(rated_at_col="at").fit(frame) as model:
        assert model.predict(pd.DataFrame({"user_id": [1], "item_id": [7]})).first()["prediction"] == 2.0
    with Popular().fit(pa.Table.from_pandas(frame)) as model:  # without times the highest
        assert model.predict(pd.DataFrame({"user_id": [1], "item_id": [7]})).first()["prediction"] == pytest.approx(3.5)
        assert model.recommend([1]).count() == 0
        assert model.recommend(exclude_seen=False).count() == 2
        with pytest.raises(UserError, match="Popular knows of no similar items"):
            model.similar([7])


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "a missing column": ({"who": ["a"], "stars": [1.0]}, "column `film` is missing; the frame has who, stars"),
    "text ratings": ({"who": ["a"], "film": [1], "stars": ["5"]}, "column `stars` is string, but must be a number"),
    "ids with gaps": ({"who": ["a", "b"], "film": [1, None], "stars": [1, 2]}, "column `film` is double, but ids are"),
    "no user": ({"who": ["a", None], "film": [1, 2], "stars": [1, 2]}, "column `who` is empty in 1 rows"),
    "a rating that is none": ({"who": ["a"], "film": [1], "stars": [float("nan")]}, "column `stars` is empty or not a"),
    "mixed ids": ({"who": ["a", 1], "film": [1, 2], "stars": [1, 2]}, "ratings: Spark cannot take this frame: .*who"),
}


@pytest.mark.parametrize("case", CASES)
def test_odd_ratings_are_refused_by_column(case: str, spark: SparkSession) -> None:
    columns, message = CASES[case]
    with pytest.raises(UserError, match=message):
        Linear(**NAMES).fit(pd.DataFrame(columns))


def test_other_odd_frames(spark: SparkSession, ratings: DataFrame, items: DataFrame, model: FittedRecommender) -> None:
    linear = Linear(**NAMES)
    when = spark.createDataFrame([("a", 1, 1, "today")], "who string, film int, stars int, at string")
    for fit, message in (
        (lambda: linear.fit(ROWS), "ratings: must be a Spark DataFrame, a pandas DataFrame or an Arrow table, not"),
        (lambda: linear.fit(ratings.limit(0)), "ratings: the frame has no rows"),
        (lambda: linear.fit(ratings.select("*", "film")), "column `film` stands there twice"),
        (lambda: Linear(**NAMES, rated_at_col="at").fit(when), "column `at` is string, but must be a timestamp"),
        (lambda: Content(**NAMES).fit(ratings), r"Content learns from what items are about: give fit\(ratings, items"),
        (lambda: Content(**NAMES).fit(ratings, items.select("film")), "items: give at least one of the columns title"),
        (lambda: Content(**NAMES).fit(ratings, items.union(items)), "items: 0 stands in 2 rows of column `film`"),
        (lambda: Content(**NAMES).fit(ratings, items.selectExpr("film", "'a|b' AS genres")), "column `genres` is str"),
        (lambda: Content(**NAMES).fit(ratings, items.selectExpr("string(film) AS film", "title")), "`film` is string"),
        (lambda: Content(**NAMES).fit(ratings, items, items.selectExpr("film", "1 AS tag")), "tags: column `tag` is"),
        (lambda: model.recommend([1]), "users: 1 is no id: those of `who` are string"),
        (lambda: model.recommend("p1"), "users: must be a frame with the column `who`, or a list of ids"),
        (lambda: model.recommend(top=0), "must be a whole number above 0, not 0"),
        (lambda: model.predict(ratings.select("film")), "pairs: column `who` is missing"),
        (lambda: model.explain(ratings), "recommendations: column `rank` is missing"),
    ):
        with pytest.raises(UserError, match=message):
            fit()


def test_settings_are_checked() -> None:
    for make, message in (
        (lambda: Neighbors(measur="cosine"), "Neighbors: unknown key `measur`; did you mean `measure`"),
        (lambda: Neighbors(measure="euclid"), "`measure` must be one of jaccard"),
        (lambda: Neighbors(shrink=-1.0), "`shrink` must be at least 0"),
        (lambda: Linear(top="many"), "Linear: `top` must be int, not 'many'"),
        (lambda: Blend(["linear", "oracle"]), "--parts: `oracle` is not one of"),
        (lambda: Popular(user_col="x", item_col="x"), "column `x` is named for two things"),
        (lambda: Popular(item_col="rank"), "item_col: `rank` is a column of the result"),
    ):
        with pytest.raises(UserError, match=message):
            make()


def test_dates_are_times_and_closing_removes_the_arrays(spark: SparkSession, tmp_path: Any) -> None:
    rows = [(1, 1, 1.0, dt.date(2020, 1, 1)), (1, 1, 4.0, dt.date(2019, 1, 1))]
    frame = spark.createDataFrame(rows, "user_id int, item_id int, rating float, at date")
    model = Popular(rated_at_col="at", scratch=str(tmp_path)).fit(frame)
    assert model.predict(frame).first()["prediction"] == 1.0
    assert list(tmp_path.iterdir())
    model.close()
    assert not list(tmp_path.iterdir())

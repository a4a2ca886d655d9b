"""What every recommender must do, run for each entry of `MODELS`."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.blocks import BlockStore
from spark_jobs.lake.contracts import RECOMMENDATIONS
from spark_jobs.recsys.models import MODELS, Recommender

# Two camps: even users love even items and hate odd ones, odd users the other way round. Each user has left
# out two items of each kind, user 100 has rated one item only.
CAMP, SHELF = 16, 12


def _rows() -> list[tuple[int, int, float, None]]:
    rows: list[tuple[int, int, float, None]] = []
    for u in range(CAMP):
        unseen = {(u + s) % SHELF for s in (0, 1, 4, 5)}
        rows += [(u, i, 5.0 if u % 2 == i % 2 else 1.0, None) for i in range(SHELF) if i not in unseen]
    return [*rows, (100, 0, 4.0, None)]


@pytest.fixture(scope="module")
def ratings(spark: SparkSession) -> DataFrame:
    schema = "user_id bigint, item_id bigint, rating float, rated_at timestamp"
    return spark.createDataFrame(_rows(), schema)


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest, ratings: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    store = BlockStore.open(str(tmp_path_factory.mktemp("store")), "--scratch")
    return MODELS[request.param](ratings, store)


def test_predictions_are_on_the_scale_and_never_missing(model: Recommender, spark: SparkSession) -> None:
    pairs = spark.createDataFrame([(0, 0), (0, 999), (999, 0), (999, 999)], "user_id bigint, item_id bigint")
    rows = model.predict(pairs).collect()
    assert len(rows) == 4
    assert all(1.0 <= row["prediction"] <= 5.0 for row in rows)
    source = {(row["user_id"], row["item_id"]): row["source"] for row in rows}
    assert source[999, 999] == "mean"
    assert source[0, 0] != "mean"


def test_recommendations_keep_the_contract(model: Recommender, ratings: DataFrame) -> None:
    users = ratings.select("user_id").distinct()
    got = RECOMMENDATIONS.guard(model.recommend(users, ratings.select("user_id", "item_id"), 3), "here")
    rows = got.collect()
    seen = {(r["user_id"], r["item_id"]) for r in ratings.collect()}
    assert not seen & {(r["user_id"], r["item_id"]) for r in rows}
    by_user: dict[int, list] = {}
    for row in rows:
        by_user.setdefault(row["user_id"], []).append(row)
    assert set(by_user) == {*range(CAMP), 100}
    for mine in by_user.values():
        mine.sort(key=lambda row: row["rank"])
        assert [row["rank"] for row in mine] == [1, 2, 3]
        scores = [row["score"] for row in mine]
        assert scores == sorted(scores, reverse=True)
        assert all(row["reason"] for row in mine)


def test_fewer_come_back_when_fewer_are_left(model: Recommender, ratings: DataFrame) -> None:
    users = ratings.where("user_id = 3").select("user_id").distinct()
    rows = model.recommend(users, ratings.select("user_id", "item_id"), 50).collect()
    assert len(rows) == 4


def test_unknown_users_are_served(model: Recommender, ratings: DataFrame, spark: SparkSession) -> None:
    users = spark.createDataFrame([(12345,)], "user_id bigint")
    rows = model.recommend(users, ratings.select("user_id", "item_id"), 2).collect()
    assert [row["rank"] for row in sorted(rows, key=lambda row: row["rank"])] == [1, 2]
    assert all(row["score"] == row["score"] for row in rows)


def test_text_ids_come_back_as_given(spark: SparkSession, ratings: DataFrame, tmp_path: Path) -> None:
    named = ratings.withColumns(
        {"user_id": F.concat(F.lit("u-"), "user_id"), "item_id": F.concat(F.lit("film "), "item_id")}
    )
    for name, fit in MODELS.items():
        fitted = fit(named, BlockStore.open(str(tmp_path / name), ""))
        rows = fitted.recommend(named.select("user_id").distinct(), named.select("user_id", "item_id"), 1).collect()
        assert len(rows) == CAMP + 1
        assert all(row["user_id"].startswith("u-") and row["item_id"].startswith("film ") for row in rows)


def test_the_personal_model_knows_the_camps(spark: SparkSession, ratings: DataFrame, tmp_path: Path) -> None:
    fitted = MODELS["lfm"](ratings, BlockStore.open(str(tmp_path / "s"), ""))
    users = ratings.select("user_id").where("user_id < 100").distinct()
    best = fitted.recommend(users, ratings.select("user_id", "item_id"), 2).collect()
    assert all(row["user_id"] % 2 == row["item_id"] % 2 for row in best)

"""What every recommender must do, run for each entry of `MODELS`."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from lakerank.lake.schemas import EXPLANATIONS, ITEMS, RATINGS, RECOMMENDATIONS, SIMILAR_ITEMS
from lakerank.recommend.models.array_model import UNKNOWN_ITEM
from lakerank.recommend.models.base import Data, Recommender, SavedModel
from lakerank.recommend.models.registry import BLENDS, MODELS, model_spec
from lakerank.recommend.models.user_histories import Histories
from lakerank.spark.array_store import BlockStore

# Two camps: even users love even items and hate odd ones, odd users the other way round. Each user has left
# out two items of each kind, user 100 has rated one item only.
CAMP, SHELF = 16, 12
STRANGER, NOTHING = 12345, 999


def _rows() -> list[tuple[int, int, float, dt.datetime]]:
    rows = []
    for u in range(CAMP):
        unseen = {(u + s) % SHELF for s in (0, 1, 4, 5)}
        for i in range(SHELF):
            if i not in unseen:
                when = dt.datetime(2020, 1, 1) + dt.timedelta(days=(7 * u + 5 * i) % 11)
                rows.append((u, i, 5.0 if u % 2 == i % 2 else 1.0, when))
    return [*rows, (100, 0, 4.0, dt.datetime(2020, 1, 1))]


@pytest.fixture(scope="module")
def data(spark: SparkSession) -> Data:
    ratings = spark.createDataFrame(_rows(), RATINGS.schema())
    genres = [["Drama"], ["Comedy"]]
    items = [(i, f"Film {i}", 1990 + i, genres[i % 2]) for i in range(SHELF)]
    return Data(ratings, spark.createDataFrame(items, ITEMS.schema()))


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def store(name: str, tmp_path_factory: pytest.TempPathFactory) -> BlockStore:
    return BlockStore.open(str(tmp_path_factory.mktemp(name)), "--scratch")


@pytest.fixture(scope="module")
def model(name: str, data: Data, store: BlockStore) -> Recommender:
    return model_spec(name).fit(data, store.below("fitted"))


@pytest.fixture(scope="module")
def recommended(model: Recommender, data: Data, spark: SparkSession) -> list[Row]:
    """Up to 50 for everybody and a stranger, by user and rank."""
    users = data.ratings.select("user_id").union(spark.createDataFrame([(STRANGER,)], "user_id bigint")).distinct()
    got = model.recommend(users, data.ratings.select("user_id", "item_id"), 50)
    return RECOMMENDATIONS.enforce(got, "here").sort("user_id", "rank").collect()


def lists(rows: list[Row]) -> dict[int, list[Row]]:
    by_user: dict[int, list[Row]] = {}
    for row in rows:
        by_user.setdefault(row["user_id"], []).append(row)
    return by_user


def test_recommendations_keep_the_contract(recommended: list[Row]) -> None:
    seen = {(user, item) for user, item, *_ in _rows()}
    assert not seen & {(r["user_id"], r["item_id"]) for r in recommended}
    by_user = lists(recommended)
    assert set(by_user) == {*range(CAMP), 100, STRANGER}
    for user, mine in by_user.items():
        left = {100: SHELF - 1, STRANGER: SHELF}.get(user, 4)  # N is more than that: all come back
        assert [row["rank"] for row in mine] == list(range(1, left + 1))
        assert len({row["item_id"] for row in mine}) == left
        order = [(-row["score"], row["item_id"]) for row in mine]
        assert order == sorted(order)
        assert np.isfinite([row["score"] for row in mine]).all()
        assert all(row["reason"] for row in mine)


def test_strangers_and_the_fallback_are_named(name: str, recommended: list[Row]) -> None:
    words = {row["reason"] for row in lists(recommended)[STRANGER]}
    assert all("fallback" in word for word in words) or not model_spec(name).personal


def test_predictions_and_scores_are_never_missing(
    model: Recommender, recommended: list[Row], spark: SparkSession
) -> None:
    asked = [(0, 1), (0, NOTHING), (STRANGER, 0), (STRANGER, NOTHING), (0, 1)]
    asked += [(row["user_id"], row["item_id"]) for row in recommended if row["user_id"] == 3]
    pairs = spark.createDataFrame([(*pair, n) for n, pair in enumerate(asked)], "user_id long, item_id long, n int")
    rows = model.score(model.predict(pairs)).sort("n").collect()
    assert [(row["user_id"], row["item_id"]) for row in rows] == asked
    assert all(1.0 <= row["prediction"] <= 5.0 for row in rows)
    sources = [row["source"] for row in rows]
    assert sources[3] == "mean"
    assert sources[1] == "user bias"
    assert sources[0] not in ("mean", "item bias")
    assert [row["score"] == UNKNOWN_ITEM for row in rows[:4]] == [False, True, False, True]
    given = {row["item_id"]: row["score"] for row in recommended if row["user_id"] == 3}
    assert {row["item_id"]: row["score"] for row in rows[5:]} == pytest.approx(given, rel=1e-9)


def test_one_user_gets_what_all_together_get(model: Recommender, data: Data, recommended: list[Row]) -> None:
    alone = data.ratings.where("user_id = 5").select("user_id").distinct()
    allowed = data.items.where("item_id <> 5 AND item_id < 11").select("item_id") if data.items else None
    got = model.recommend(alone, data.ratings.select("user_id", "item_id"), 2, allowed).sort("rank").collect()
    wanted = [row for row in lists(recommended)[5] if row["item_id"] != 5 and row["item_id"] < 11][:2]
    assert [row["item_id"] for row in got] == [row["item_id"] for row in wanted]
    assert [row["score"] for row in got] == pytest.approx([row["score"] for row in wanted], rel=1e-12)
    assert [row["reason"] for row in got] == [row["reason"] for row in wanted]


def test_explanations_add_up(model: Recommender, data: Data, recommended: list[Row], spark: SparkSession) -> None:
    chosen = [row for row in recommended if row["user_id"] in (4, 100, STRANGER)]
    frame = spark.createDataFrame(chosen, RECOMMENDATIONS.schema())
    rows = EXPLANATIONS.enforce(model.explain(frame, 3), "here").collect()
    rated = {(user, item) for user, item, *_ in _rows()}
    assert all(r["because_id"] is None or (r["user_id"], r["because_id"]) in rated for r in rows)
    sums: dict[tuple[int, int], float] = {}
    for row in rows:
        assert row["position"] <= 4
        sums[row["user_id"], row["rank"]] = sums.get((row["user_id"], row["rank"]), 0.0) + row["contribution"]
    wanted = {(row["user_id"], row["rank"]): row["score"] for row in chosen}
    assert sums == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_similar_items_keep_the_contract(name: str, model: Recommender, data: Data, spark: SparkSession) -> None:
    items = spark.createDataFrame([(0,), (3,), (NOTHING,)], "item_id bigint")
    by_item: dict[int, list[Row]] = {}
    for row in SIMILAR_ITEMS.enforce(model.similar(items, 2), "here").sort("item_id", "rank").collect():
        by_item.setdefault(row["item_id"], []).append(row)
    assert set(by_item) == ({0, 3} if model_spec(name).knows_similar else set())
    for item, others in by_item.items():
        assert [row["rank"] for row in others] == [1, 2]
        assert item not in {row["other_id"] for row in others}
        assert others[0]["similarity"] >= others[1]["similarity"]
        if model_spec(name).ranks_by_value:  # for the others, who rated counts, not how
            assert all(row["other_id"] % 2 == item % 2 for row in others)


def test_kept_and_found_again(
    name: str, model: Recommender, data: Data, store: BlockStore, recommended: list[Row]
) -> None:
    spec = model_spec(name)
    assert set(model.tables()) == {relation.name for relation in spec.relations}
    tables = {r.name: r.enforce(model.tables()[r.name], "here") for r in spec.relations}
    facts = json.loads(json.dumps(dict(model.params())))
    again = spec.load(SavedModel(tables, facts), data, store.below("loaded"))
    users = data.ratings.select("user_id").distinct()
    got = again.recommend(users, data.ratings.select("user_id", "item_id"), 50).sort("user_id", "rank").collect()
    wanted = [row for row in recommended if row["user_id"] != STRANGER]
    assert [(r["user_id"], r["item_id"]) for r in got] == [(r["user_id"], r["item_id"]) for r in wanted]
    assert [r["score"] for r in got] == pytest.approx([r["score"] for r in wanted], rel=1e-6, abs=1e-9)


def test_newcomers_are_served_by_what_they_rated(
    name: str, model: Recommender, data: Data, spark: SparkSession
) -> None:
    when = dt.datetime(2021, 1, 1)
    own = [(500, i, 5.0 if i % 2 else 1.0, when) for i in range(6)]
    asked = model.with_ratings(spark.createDataFrame(own, RATINGS.schema()))
    users = spark.createDataFrame([(500,)], "user_id bigint")
    rows = asked.recommend(
        users, users.limit(0).select("user_id", F.lit(0).cast("long").alias("item_id")), 12
    ).collect()
    assert len(rows) == SHELF
    assert all("fallback" not in row["reason"] for row in rows)
    if model_spec(name).ranks_by_value:
        best = sorted(rows, key=lambda row: row["rank"])[:4]
        assert all(row["item_id"] % 2 == 1 for row in best)


Fit = Callable[[Data, BlockStore], Recommender]


@pytest.mark.parametrize("blend", BLENDS)  # has the others in it
def test_text_ids_come_back_as_given_and_fitting_twice_is_the_same(blend: str, data: Data, tmp_path: Path) -> None:
    named: dict[str, Any] = {}
    for frame in ("ratings", "items"):
        df: DataFrame = getattr(data, frame)
        columns = {"item_id": F.concat(F.lit("film "), "item_id")}
        if frame == "ratings":
            columns["user_id"] = F.concat(F.lit("u-"), "user_id")
        named[frame] = df.withColumns(columns)
    found = []
    for run in ("one", "two"):
        fitted = model_spec(blend).fit(Data(**named), BlockStore.open(str(tmp_path / run), ""))
        users, seen = named["ratings"].select("user_id").distinct(), named["ratings"].select("user_id", "item_id")
        rows = fitted.recommend(users, seen, 2).sort("user_id", "rank").collect()
        assert len(rows) == 2 * (CAMP + 1)
        assert all(row["user_id"].startswith("u-") and row["item_id"].startswith("film ") for row in rows)
        found.append([tuple(row) for row in rows])
    assert found[0] == found[1]


def test_scores_do_not_depend_on_the_block(name: str, model: Recommender, store: BlockStore) -> None:
    scorer = model.as_scorer(store.below("scorer"))
    users = pa.array([*range(CAMP), 100, STRANGER])
    table = pa.table({k: [row[n] for row in _rows()] for n, k in enumerate(("user_id", "item_id", "rating"))})
    block = Histories.of(users, scorer.items, table)
    together = np.asarray(scorer.scores(block))
    assert np.isfinite(together).all()
    assert np.isfinite(np.asarray(scorer.ratings(block))).all()
    for row in (0, 7, CAMP, CAMP + 1):
        np.testing.assert_allclose(scorer.scores(block.part(row, row + 1))[0], together[row], rtol=1e-12, atol=1e-12)

"""evaluate: models are trained on one part and measured on the other, end to end and against trec_eval."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import ir_measures
import lake_tables
import numpy as np
import pytest
from ir_measures import AP, RR, R, Success, nDCG
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import ITEMS, RATINGS, RECOMMENDER_METRICS
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.recommend.data.synthetic import generate_ratings
from lakerank.recommend.models.base import Data
from lakerank.recommend.models.registry import model_spec
from lakerank.spark.array_store import BlockStore
from spark_jobs import evaluate

INDEPENDENT = {"ndcg@5": nDCG @ 5, "recall@5": R @ 5, "map@5": AP @ 5, "mrr@5": RR @ 5, "hr@5": Success @ 5}


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ratings and items, as ingest_ratings leaves them; item 99 is rated by nobody."""
    folder = str(tmp_path_factory.mktemp("lake"))
    made = generate_ratings(60, 40, 900, rank=3, seed=1)
    when = [dt.datetime.fromtimestamp(s, dt.UTC).replace(tzinfo=None) for s in made.seconds.tolist()]
    rows = list(zip((made.users + 1).tolist(), (made.items + 1).tolist(), made.ratings.tolist(), when, strict=True))
    lake_tables.put(TableRef.find("", RATINGS, folder), RATINGS, rows)
    items = [(i, f"Film {i}", 1990 + i % 20, [f"Genre {i % 3}"]) for i in (*range(1, 41), 99)]
    lake_tables.put(TableRef.find("", ITEMS, folder), ITEMS, items)
    return folder


def evaluate_models(capsys: pytest.CaptureFixture[str], lake: str, *flags: str) -> tuple[dict[str, Any], str]:
    assert evaluate.main(["--lake", lake, "--json", *flags]) == 0
    said = capsys.readouterr().out
    return json.loads(said.splitlines()[-1]), said


@pytest.mark.slow
@pytest.mark.connect
def test_values_are_what_trec_eval_says_of_the_same_recommendations(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "scores.png"
    metrics = ",".join([*INDEPENDENT, "rmse", "mae", "coverage@5"])
    flags = ["--models", "popular,content", "--split", "random:0.3", "--relevance-threshold", "3", "--metrics", metrics]
    facts, said = evaluate_models(capsys, lake, *flags, "--n-bootstrap", "200", "--plot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")

    ratings = TableRef.find("", RATINGS, lake).read(spark, RATINGS)
    parts = split_ratings(ratings, ratings, Split.parse("random:0.3"), 0)
    train, test = (parts.where(F.col("part") == part).drop("part") for part in ("train", "test"))
    model = model_spec("popular").fit(Data(train), BlockStore.open(str(tmp_path / "store"), ""))
    asked = test.where("rating >= 3")
    users = asked.select("user_id").distinct()
    run = [
        ir_measures.ScoredDoc(str(r["user_id"]), str(r["item_id"]), -float(r["rank"]))
        for r in model.recommend(users, train.select("user_id", "item_id"), 5).collect()
    ]
    qrels = [ir_measures.Qrel(str(r["user_id"]), str(r["item_id"]), 1) for r in asked.collect()]
    wanted = ir_measures.calc_aggregate(list(INDEPENDENT.values()), qrels, run)
    found = facts["models"]["popular"]
    assert {name: found[name] for name in INDEPENDENT} == pytest.approx(
        {name: wanted[metric] for name, metric in INDEPENDENT.items()}
    )
    predicted = model.predict(test.join(users, "user_id", "left_semi")).collect()
    errors = np.array([row["prediction"] - row["rating"] for row in predicted])
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert found["mae"] == pytest.approx(np.mean(np.abs(errors)))
    assert found["coverage@5"] == len({doc.doc_id for doc in run}) / 41

    table = TableRef.find("", RECOMMENDER_METRICS, lake).read(spark, RECOMMENDER_METRICS)
    rows = {(r["model"], r["metric"], r["user_group"]): r for r in table.collect()}
    assert {r["run_id"] for r in rows.values()} == {facts["run_id"]}
    one = rows["content", "ndcg@5", "all"]
    assert one["value"] == facts["models"]["content"]["ndcg@5"]
    assert one["low"] < one["value"] < one["high"]
    assert one["reference"] == "popular"
    assert one["difference"] == pytest.approx(one["value"] - found["ndcg@5"])
    assert one["difference_low"] <= one["difference"] <= one["difference_high"]
    assert one["users"] == facts["users"] == users.count()
    assert rows["popular", "ndcg@5", "all"]["reference"] is None
    assert rows["content", "coverage@5", "all"]["low"] is None
    assert sum(rows["content", "ndcg@5", name]["users"] for name in ("light", "medium", "heavy")) == one["users"]
    assert "ndcg@5" in said
    assert "blockbuster" in said


@pytest.mark.connect
def test_held_out_users_are_asked_with_their_history(
    spark: SparkSession, lake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--split", "users:0.4", "--models", "popular,linear", "--metrics", "recall@10,popularity-lift@10"]
    facts, said = evaluate_models(capsys, lake, *flags, "--n-bootstrap", "0")
    assert 10 < facts["users"] < 40
    # Without their history they would be told what everybody is, as by `popular`.
    assert facts["models"]["linear"]["recall@10"] != facts["models"]["popular"]["recall@10"]
    assert "±" not in said


def test_sampled_candidates(spark: SparkSession, lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--models", "popular", "--candidates", "6", "--n-bootstrap", "0"]
    facts, _ = evaluate_models(capsys, lake, *flags, "--metrics", "hr@7,hr@3,mrr@10,rmse,coverage@10")
    found = facts["models"]["popular"]
    assert set(found) == {"hr@7", "hr@3", "mrr@10", "rmse"}, "of six candidates there is no coverage"
    assert found["hr@7"] == 1.0
    assert 1 / 7 < found["mrr@10"] < 1.0
    assert 0.3 < found["hr@3"] < 1.0


@pytest.mark.slow
def test_items_nobody_has_rated(spark: SparkSession, lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--split", "items:0.3", "--candidates", "cold", "--metrics", "hr@3,ndcg@30", "--n-bootstrap", "0"]
    facts, _ = evaluate_models(capsys, lake, "--models", "popular,content", *flags)
    assert facts["models"]["popular"] == {"hr@3": 0.0, "ndcg@30": 0.0}
    assert facts["models"]["content"]["hr@3"] > 0.2
    assert facts["models"]["content"]["ndcg@30"] > 0.4


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--models", "popular,oracle"], "--models: `oracle` is not one of"),
        (["--models", ","], "--models: name at least one of"),
        (["--split", "users:1.5"], "the test share must be between 0 and 1, e.g. users:0.1"),
        (["--candidates", "many"], "--candidates many: must be full, cold or a number above 0"),
        (["--candidates", "9", "--metrics", "gini@10"], "of gini@10 nothing can be said among so few items"),
        (["--metrics", "auc"], "--metrics: `auc` is not one of"),
        (["--relevance-threshold", "6", "--models", "popular"], "no relevant test rating"),
        (["--ratings", "/nowhere"], "no Delta table `ratings` at /nowhere: run ingest_ratings first"),
    ],
)
def test_wrong_settings_end_with_2(
    lake: str, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--lake", lake, *argv]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said

"""Training and test sets that people bring along, predictions for pairs, and models that have seen everything."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import lake_tables
import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakerank.lake.delta_table import TableRef
from lakerank.lake.publications import Publications
from lakerank.lake.schemas import ITEM_FACTORS, LFM_MODELS, PREDICTIONS, RATINGS, USER_FACTORS
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.recommend.data.synthetic import generate_ratings
from lakerank.recommend.models.popular import PRIOR_RATINGS
from spark_jobs import evaluate, lfm, predict

QUICK = ("--factors", "3", "--epochs", "2", "--reg", "0.05", "--blocks", "1")
Rows = list[tuple[int, int, float, dt.datetime]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    made = generate_ratings(50, 40, 900, rank=2, seed=3)
    when = [dt.datetime.fromtimestamp(s, dt.UTC).replace(tzinfo=None) for s in made.seconds.tolist()]
    return list(zip((made.users + 1).tolist(), (made.items + 1).tolist(), made.ratings.tolist(), when, strict=True))


@pytest.fixture
def lake(tmp_path: Path, rows: Rows) -> str:
    folder = str(tmp_path / "lake")
    lake_tables.put(TableRef.find("", RATINGS, folder), RATINGS, rows)
    return folder


def text_file(path: Path, rows: Any, header: str = "", separator: str = "\t") -> str:
    lines = [header] if header else []
    lines += [separator.join(map(str, row)) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def run(job: Any, capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    code = job.main([*argv, "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    found: dict[str, Any] = json.loads(said.out.splitlines()[-1])
    return found


def fails(job: Any, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    code = job.main(list(argv))
    error = capsys.readouterr().err.strip()
    assert code == 2, error
    return error.splitlines()[-1]


def test_a_test_set_of_ones_own_says_what_the_same_split_says(
    spark: SparkSession, lake: str, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings = TableRef.find("", RATINGS, lake).read(spark, RATINGS)
    parts = split_ratings(ratings, ratings, Split.parse("random:0.1"), 0)
    held = {(r["user_id"], r["item_id"]) for r in parts.where("part = 'test'").collect()}
    seconds = [(u, i, r, int(w.replace(tzinfo=dt.UTC).timestamp())) for u, i, r, w in rows]
    test = text_file(tmp_path / "u1.test", [row for row in seconds if row[:2] in held])
    train = text_file(tmp_path / "u1.base", [row for row in seconds if row[:2] not in held])
    by_split = run(lfm, capsys, "--lake", lake, *QUICK)
    by_file = run(lfm, capsys, "--lake", lake, *QUICK, "--test", test)  # the lake's ratings without those of the test
    by_files = run(lfm, capsys, "--lake", lake, *QUICK, "--train", train, "--test", test)
    assert by_file["test_rmse"] == by_split["test_rmse"]
    assert by_files["test_rmse"] == by_split["test_rmse"]
    assert len({by_split["run_id"], by_file["run_id"], by_files["run_id"]}) == 3
    assert "--train and --ratings" in fails(lfm, capsys, "--lake", lake, "--train", train, "--ratings", train)
    assert "no such table or file" in fails(lfm, capsys, "--lake", lake, "--test", f"{test}.missing")
    broken = text_file(tmp_path / "broken.csv", [(1, 2, 3), (1, 3, "good")], "user,item,rating", ",")
    assert "broken.csv, line 3: rating is not a number" in fails(lfm, capsys, "--lake", lake, "--test", broken)
    named = text_file(tmp_path / "named.csv", [("ann", 2, 3)], "user,item,rating", ",")
    assert "`user_id` must be whole numbers" in fails(lfm, capsys, "--lake", lake, "--test", named)


def test_evaluate_takes_test_set_and_negatives_of_ones_own(
    spark: SparkSession, lake: str, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = {user: (user, item, rating) for user, item, rating, _ in sorted(rows, key=lambda row: row[3])}
    rated = {user: {row[1] for row in rows if row[0] == user} for user in last}
    chosen = {user: row for user, row in last.items() if len(rated[user]) <= 30}
    test = text_file(tmp_path / "test.rating", chosen.values())
    others = {user: [item for item in range(1, 41) if item not in rated[user]][:9] for user in chosen}
    negatives = text_file(tmp_path / "test.negative", [(f"({u},{row[1]})", *others[u]) for u, row in chosen.items()])
    flags = ("--lake", lake, "--models", "popular", "--metrics", "hr@3,mrr@10", "--n-bootstrap", "0", "--test", test)
    found = run(evaluate, capsys, *flags, "--negatives", negatives)
    assert (found["split"], found["users"]) == ("given", len(chosen))
    train = [row for row in rows if row[:2] not in {one[:2] for one in chosen.values()}]
    items, stars = [row[1] for row in train], [row[2] for row in train]
    counts = np.bincount(items, minlength=41)
    means = (np.bincount(items, stars, 41) + PRIOR_RATINGS * np.mean(stars)) / (counts + PRIOR_RATINGS)
    score = counts + means / 1000  # of the model `popular`
    ranks = []
    for user, (_, item, _) in chosen.items():
        better = sum((-score[other], other) < (-score[item], item) for other in others[user])
        ranks.append(better + 1)
    values = found["models"]["popular"]
    assert values["hr@3"] == pytest.approx(np.mean([rank <= 3 for rank in ranks]))
    assert values["mrr@10"] == pytest.approx(np.mean([1 / rank for rank in ranks]))
    pairs = [(u, i) for u, items in others.items() for i in items]
    as_pairs = text_file(tmp_path / "negatives.csv", pairs, "user_id,item_id", ",")
    assert run(evaluate, capsys, *flags, "--negatives", as_pairs)["models"] == found["models"]
    fewer = text_file(tmp_path / "fewer.csv", pairs[1:], "user_id,item_id", ",")
    assert "users have 8 to 9 different ones" in fails(evaluate, capsys, *flags, "--negatives", fewer)
    wrong = [(f"({u},{row[1]})", row[1], *others[u][1:]) for u, row in chosen.items()]
    clash = text_file(tmp_path / "wrong.negative", wrong)
    assert "is a test item, too" in fails(evaluate, capsys, *flags, "--negatives", clash)


def test_pairs_are_predicted_each_as_often_as_it_is_asked(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "run lfm first" in fails(
        predict, capsys, "--lake", lake, "--pairs", text_file(tmp_path / "p.csv", [(1, 2)], "user,item", ",")
    )
    run(lfm, capsys, "--lake", lake, *QUICK)
    asked = [("1.0", 2, "x"), (1, 2, "y"), (999, 2, "z"), (1, 999, "z"), (999, 999, "z")]
    pairs = text_file(tmp_path / "pairs.csv", asked, "userId,movieId,note", ",")
    found = run(predict, capsys, "--lake", lake, "--pairs", pairs)
    assert found["sources"] == {"factors": 2, "item bias": 1, "mean": 1, "user bias": 1}
    rows = {(row["user_id"], row["item_id"]): row for row in lake_tables.rows(PREDICTIONS, lake)}
    user = next(row for row in lake_tables.rows(USER_FACTORS, lake) if row["user_id"] == 1)
    item = next(row for row in lake_tables.rows(ITEM_FACTORS, lake) if row["item_id"] == 2)
    mean = lake_tables.rows(LFM_MODELS, lake)[0]["mean"]
    wanted = mean + user["bias"] + item["bias"] + float(np.dot(user["factors"], item["factors"]))
    assert rows[1, 2]["prediction"] == pytest.approx(float(np.clip(wanted, 0.5, 5)), abs=1e-5)
    table = str(tmp_path / "asked")
    spark.createDataFrame([(2, 3), (2, 4)], "user_id int, item_id int").write.format("delta").save(table)
    assert run(predict, capsys, "--lake", lake, "--pairs", table)["rows"] == 2
    wrong = text_file(tmp_path / "wrong.csv", [("ann", 2)], "user,item", ",")
    assert "'ann' is no user id" in fails(predict, capsys, "--lake", lake, "--pairs", wrong)
    lone = text_file(tmp_path / "lone.csv", [(1, 2)], "user,stars", ",")
    assert "no column for item" in fails(predict, capsys, "--lake", lake, "--pairs", lone)
    assert "--pairs TABLE or FILE" in fails(predict, capsys, "--lake", lake)


def test_what_is_stored_has_seen_everything_and_says_what_was_measured(
    spark: SparkSession, lake: str, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    newcomer = [(777, 1, 5.0, dt.datetime(2030, 1, 1)), (778, 2, 1.0, dt.datetime(2030, 1, 2))]
    lake_tables.put(TableRef.find("", RATINGS, lake), RATINGS, [*rows, *newcomer])
    flags = ("--lake", lake, *QUICK, "--split", "time:0.05")  # the newcomers are in the test part
    plain = run(lfm, capsys, *flags)
    assert 777 not in {row["user_id"] for row in lake_tables.rows(USER_FACTORS, lake)}
    refit = run(lfm, capsys, *flags, "--refit")
    assert refit["test_rmse"] == plain["test_rmse"]  # measured before
    assert {777, 778} <= {row["user_id"] for row in lake_tables.rows(USER_FACTORS, lake)}
    newest = Publications.read(lake, lambda: spark).newest("lfm")
    assert newest is not None
    assert newest.settings["refit"] is True
    assert newest.settings["measured"]["test_rmse"] == plain["test_rmse"]
    row = next(r for r in lake_tables.rows(LFM_MODELS, lake) if r["run_id"] == refit["run_id"])
    assert (row["test_rmse"], json.loads(row["settings"])["refit"]) == (plain["test_rmse"], True)
    users = spark.read.format("delta").load(f"{lake}/ratings").agg(F.count_distinct("user_id")).first()
    assert users is not None
    assert len(lake_tables.rows(USER_FACTORS, lake)) == users[0]
    lake_tables.put(
        TableRef.find("", RATINGS, lake), RATINGS, [*rows, *newcomer, (779, 3, 3.0, dt.datetime(2030, 2, 1))]
    )
    updated = run(lfm, capsys, "--lake", lake, "--split", "time:0.05", "--update")
    assert updated["test_rmse"] is None  # there is no rating left that it has not seen
    assert 779 in {row["user_id"] for row in lake_tables.rows(USER_FACTORS, lake)}
    assert "--refit goes with a training" in fails(lfm, capsys, "--lake", lake, "--update", "--refit")

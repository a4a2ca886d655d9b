"""Splits: sizes, determinism, and exactly the rows each kind promises."""

from __future__ import annotations

import datetime as dt

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.data.splits import Split, split_ratings, train_test_split


@pytest.fixture(scope="module")
def ratings(spark: SparkSession) -> DataFrame:
    begin = dt.datetime(2020, 1, 1)
    rows = [
        (u, i, float(1 + (u + i) % 5), begin + dt.timedelta(hours=u * 40 + i))
        for u in range(1, 41)
        for i in range(0, 120, 3)
        if (u * i) % 7
    ]
    return spark.createDataFrame(rows, "user_id bigint, item_id bigint, rating float, rated_at timestamp")


def rows_of(frame: DataFrame, part: str) -> set[tuple[int, int]]:
    return {(r["user_id"], r["item_id"]) for r in frame.where(F.col("part") == part).collect()}


@pytest.mark.connect
def test_random_takes_its_share_and_ignores_row_order(ratings: DataFrame) -> None:
    split = Split.parse("random:0.2")
    first = split_ratings(ratings, ratings, split, seed=1, valid=0.1)
    again = split_ratings(ratings.repartition(7, "item_id"), ratings, split, seed=1, valid=0.1)
    n = ratings.count()
    assert 0.15 < len(rows_of(first, "test")) / n < 0.25
    assert 0.05 < len(rows_of(first, "valid")) / n < 0.11
    assert rows_of(first, "test") == rows_of(again, "test")
    other = split_ratings(ratings, ratings, split, seed=2)
    assert rows_of(first, "test") != rows_of(other, "test")
    assert not rows_of(other, "valid")


def test_time_takes_the_newest(ratings: DataFrame) -> None:
    parts = split_ratings(ratings, ratings, Split.parse("time:0.1"), seed=0)
    edge = parts.groupBy("part").agg(F.min("rated_at").alias("lo"), F.max("rated_at").alias("hi")).collect()
    by_part = {row["part"]: row for row in edge}
    assert by_part["train"]["hi"] < by_part["test"]["lo"]
    assert len(rows_of(parts, "test")) / ratings.count() == pytest.approx(0.1, abs=0.01)


def test_time_without_times_is_an_error(ratings: DataFrame) -> None:
    blank = ratings.withColumn("rated_at", F.lit(None).cast("timestamp"))
    with pytest.raises(UserError, match="rated_at"):
        split_ratings(blank, blank, Split.parse("time:0.1"), seed=0)


def test_leave_one_out_takes_each_users_newest(ratings: DataFrame, spark: SparkSession) -> None:
    lonely = spark.createDataFrame([(999, 3, 4.0, dt.datetime(2021, 1, 1))], ratings.schema)
    parts = split_ratings(ratings.union(lonely), ratings, Split.parse("leave-one-out"), seed=0)
    newest = ratings.groupBy("user_id").agg(F.max_by("item_id", "rated_at").alias("item")).collect()
    assert rows_of(parts, "test") == {(row["user_id"], row["item"]) for row in newest}
    assert (999, 3) in rows_of(parts, "train")


def test_of_ratings_of_the_same_second_any_is_left_out(ratings: DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    same = ratings.withColumn("rated_at", F.lit(dt.datetime(2021, 1, 1)))
    timeless = ratings.withColumn("rated_at", F.lit(None).cast("timestamp"))
    largest = {(r["user_id"], r["i"]) for r in ratings.groupBy("user_id").agg(F.max("item_id").alias("i")).collect()}
    for frame in (same, timeless):
        held = rows_of(split_ratings(frame, frame, Split.parse("leave-one-out"), seed=0), "test")
        assert {user for user, _ in held} == {user for user, _ in largest}
        assert len(held & largest) < len(held) / 2
        assert held != rows_of(split_ratings(frame, frame, Split.parse("leave-one-out"), seed=1), "test")
    assert capsys.readouterr().out.count("have no time") == 2  # said for the frame without times alone


def test_a_share_of_each_users_ratings(ratings: DataFrame, spark: SparkSession) -> None:
    few = [(900 + n, item, 4.0, None) for n in range(1, 5) for item in range(n)]  # users with 1 to 4 ratings
    frame = ratings.union(spark.createDataFrame(few, ratings.schema))
    parts = split_ratings(frame, frame, Split.parse("user:0.25"), seed=0)
    counts = parts.groupBy("user_id").agg(F.count("*").alias("n"), F.count_if(F.col("part") == "test").alias("held"))
    found = {row["user_id"]: (row["n"], row["held"]) for row in counts.collect()}
    assert all(held == min(int(n * 0.25 + 0.5), n - 1) for n, held in found.values())
    assert [found[900 + n][1] for n in range(1, 5)] == [0, 1, 1, 1]


def test_corner_counts_users_from_one_and_items_from_zero(spark: SparkSession) -> None:
    # 6 users, catalogue of 5 items of which item 20 is never rated: columns count the catalogue, as the
    # seed's dictionary of movies.csv did.
    pairs = [(u, i) for u in (1, 2, 3, 4, 5, 6) for i in (10, 30, 40, 50)]
    frame = spark.createDataFrame(
        [(u, i, 3.0, None) for u, i in pairs], "user_id bigint, item_id bigint, rating float, rated_at timestamp"
    )
    catalogue = spark.createDataFrame([(i,) for i in (10, 20, 30, 40, 50)], "item_id bigint")
    parts = split_ratings(frame, catalogue, Split.parse("corner:5,3"), seed=0)
    assert rows_of(parts, "test") == {(u, i) for u in (5, 6) for i in (10, 30)}
    assert len(rows_of(parts, "train")) == len(pairs) - 4


def test_items_are_held_out_whole(ratings: DataFrame) -> None:
    parts = split_ratings(ratings, ratings, Split.parse("items:0.3"), seed=0)
    train, test = ({item for _, item in rows_of(parts, part)} for part in ("train", "test"))
    assert not train & test
    assert 5 < len(test) < 20
    other = split_ratings(ratings, ratings, Split.parse("items:0.3"), seed=1)
    assert {item for _, item in rows_of(other, "test")} != test


def test_held_out_users_show_a_part_of_what_they_rated(ratings: DataFrame) -> None:
    parts = split_ratings(ratings, ratings, Split.parse("users:0.3", strong=True), seed=0)
    train, history, test = ({user for user, _ in rows_of(parts, part)} for part in ("train", "history", "test"))
    assert not train & (history | test)
    assert 5 < len(test) < 20
    n = {part: len(rows_of(parts, part)) for part in ("history", "test")}
    assert n["test"] / sum(n.values()) == pytest.approx(0.2, abs=0.06)


def test_only_an_evaluation_knows_users_whose_history_is_not_trained_on() -> None:
    with pytest.raises(UserError, match=r"items:SHARE, leave-one-out, none$"):
        Split.parse("users:0.1")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rnd:0.1", "must be one of"),
        ("random", "takes 1 numbers"),
        ("random:1.5", "between 0 and 1"),
        ("random:x", "must be numbers"),
        ("items:0", "between 0 and 1, e.g. items:0.2"),
        ("corner:5", "takes 2 numbers"),
        ("leave-one-out:3", "takes 0 numbers"),
    ],
)
def test_bad_split_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Split.parse(text)


@pytest.mark.connect
def test_a_frame_of_any_names_is_divided_as_the_table_is(ratings: DataFrame) -> None:
    names = {"user_id": "who", "item_id": "what", "rating": "stars", "rated_at": "part"}  # a name used inside
    frame = ratings.withColumnsRenamed(names).withColumn("what", F.col("what").cast("int"))
    columns = {"user_col": "who", "item_col": "what"}
    for split in ("random:0.2", "user:0.25", "time:0.1", "leave-one-out", "items:0.3", "corner:20,10", "none"):
        parts = split_ratings(ratings, ratings, Split.parse(split), seed=4)
        halves = train_test_split(frame, split, 4, **columns, time_col="part")
        for part, half in zip(("train", "test"), halves, strict=True):
            assert half.dtypes == frame.dtypes
            assert {(row["who"], row["what"]) for row in half.collect()} == rows_of(parts, part), split
    drawn = train_test_split(frame.drop("part"), "leave-one-out", **columns)[1].collect()
    largest = {row["who"]: row["what"] for row in frame.groupBy("who").agg(F.max("what").alias("what")).collect()}
    assert {row["who"] for row in drawn} == set(largest)
    assert sum(row["what"] == largest[row["who"]] for row in drawn) < len(drawn) / 2  # without times any rating


@pytest.mark.connect
def test_a_frame_that_cannot_be_divided_is_named(ratings: DataFrame) -> None:
    for given, wrong, said in (
        (ratings, {"user_col": "who"}, "user_col 'who': no such column; the frame has user_id"),
        (ratings, {"item_col": "rated_at"}, "item_col 'rated_at' is timestamp: must be numbers"),
        (ratings, {"split": "time:0.1"}, "split time:0.1: name the column of times by time_col"),
        (ratings, {"split": "half"}, "--split half: must be one of"),
        ([], {}, "a Spark DataFrame is needed, not list"),
    ):
        with pytest.raises(UserError, match=said):
            train_test_split(given, **wrong)

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.data.cleaning import (
    DUPLICATE,
    CheckedRows,
    check_ratings,
    count_rows,
    drop_duplicates,
    from_lines,
    parse_time,
    read_scale,
)
from lakerank.recommend.data.delimited import find_columns, read_mapping, shape_of

RATINGS = "source string, line long, user_id long, item_id long, rating float, rated_at timestamp, reason string"


def lines(spark: SparkSession, *values: str) -> DataFrame:
    rows = [("f", i, value) for i, value in enumerate(values, start=1)]
    return spark.createDataFrame(rows, "source string, line long, value string")


@pytest.mark.connect
def test_times_in_every_form(spark: SparkSession) -> None:
    noon = datetime(2009, 12, 14, 2, 52, 24, tzinfo=UTC)
    cases = {
        "1260759144": noon,
        "1260759144.0": noon,
        "1260759144000": noon,
        "1260759144500": noon.replace(microsecond=500_000),
        "2009-12-14T02:52:24": noon,
        "2009-12-14 02:52:24Z": noon,
        "2009-12-14T04:52:24+02:00": noon,
        "2009-12-14 02:52:24.5": noon.replace(microsecond=500_000),
        "2009-12-14": datetime(2009, 12, 14, tzinfo=UTC),
        "0": datetime(1970, 1, 1, tzinfo=UTC),
        "02:52:24": None,  # Spark would take today's date
        "2009-13-14": None,
        "yesterday": None,
        "": None,
        "-5": None,
        "NaN": None,
        "1e30": None,
    }
    zone = spark.conf.get("spark.sql.session.timeZone")
    try:
        spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")  # text without a zone is UTC all the same
        frame = parse_time(lines(spark, *cases), "value", "at").withColumn("at", F.unix_micros("at"))
        got = [row["at"] for row in frame.orderBy("line").collect()]
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)
    micros = {text: at and round(at.timestamp() * 1e6) for text, at in cases.items()}
    assert dict(zip(cases, got, strict=True)) == micros


@pytest.mark.connect
def test_each_bad_line_has_its_reason(spark: SparkSession) -> None:
    wrong, off, no = "wrong number of fields (4 expected)", "rating outside the scale 0.5 to 5", "not a number"
    cases = {
        "1,2,3.5,1260759144": None,
        ' u 1 , i 1 , +5. ,"1260759144"': None,
        "1,2,0.5,0": None,
        "": "empty line",
        "   ": "empty line",
        "1,2,3": wrong,
        "1,2,3,4,5": wrong,
        '1,"2,3,4': wrong,
        ",2,3,4": "empty user id",
        "1, ,3,4": "empty item id",
        "1,2,,4": f"rating is {no}",
        "1,2,x,4": f"rating is {no}",
        "1,2,NaN,4": f"rating is {no}",
        "1,2,inf,4": f"rating is {no}",
        "1,2,1e99,4": f"rating is {no}",
        "1,2,5d,4": f"rating is {no}",
        "1,2,0.4,4": off,
        "1,2,5.01,4": off,
        "1,2,-1,4": off,
        "1,2,3,soon": "bad timestamp",
        "1,2,3,": None,  # a rating without a time is one
    }
    shape = shape_of("userId,movieId,rating,timestamp", {}, True, "", "f")
    checked = check_ratings(from_lines(lines(spark, *cases), shape), (0.5, 5))
    rows = checked.orderBy("line").collect()
    assert {row["raw"]: row["reason"] for row in rows} == cases
    assert [(r["user"], r["item"], r["rating"]) for r in rows[:3]] == [
        ("1", "2", 3.5),
        ("u 1", "i 1", 5.0),
        ("1", "2", 0.5),
    ]


@pytest.mark.connect
def test_of_duplicates_the_newest_is_kept(spark: SparkSession) -> None:
    def at(second: int) -> datetime:
        return datetime(2020, 1, 1, 0, 0, second)

    rows = [
        ("f", 1, 1, 1, 1.0, at(9), None),
        ("f", 2, 1, 1, 2.0, at(3), None),  # older, though later in the file
        ("f", 3, 1, 2, 3.0, at(3), None),
        ("f", 4, 2, 1, 4.0, at(5), None),
        ("f", 5, 2, 1, 5.0, at(5), None),  # as new: the later line
        ("f", 6, 3, 1, 1.0, None, None),
        ("f", 7, 3, 1, 2.0, at(1), None),
    ]
    kept, losers, lost = drop_duplicates(spark.createDataFrame(rows, RATINGS), "")
    assert sorted(row["line"] for row in kept.collect()) == [1, 3, 5, 7]
    assert sorted((row["line"], row["reason"]) for row in losers.collect()) == [
        (2, DUPLICATE),
        (4, DUPLICATE),
        (6, DUPLICATE),
    ]
    assert lost == 3
    single = spark.createDataFrame(rows[:1], RATINGS)
    kept, losers, lost = drop_duplicates(single, "")
    assert (kept.count(), losers.count(), lost) == (1, 0, 0)


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (["1", "20", "-3", "0"], "bigint"),
        (["1", "9223372036854775807"], "bigint"),
        (["1", "9223372036854775808"], "string"),
        (["1", "x"], "string"),
        (["1", "007"], "string"),
        (["1", "2.0"], "bigint"),
        (["1", "2.5"], "string"),
    ],
)
def test_ids_are_numbers_only_if_all_are_and_nothing_is_lost(spark: SparkSession, ids: list[str], kind: str) -> None:
    bad = ("not an id", "not an id", "some reason")  # a rejected row has no say
    rows = [(name, "5", None) for name in ids]
    ratings = spark.createDataFrame([*rows, bad], "user string, item string, reason string")
    items = spark.createDataFrame([(name, None) for name in ids], "item string, reason string")
    found = count_rows(CheckedRows(ratings, items))
    assert (found.user_type, found.item_type) == (kind, kind)
    assert found.good == {"ratings": len(ids), "items": len(ids)}
    assert found.reasons["ratings"] == {"some reason": 1}


def test_columns_by_name_by_position_or_by_their_usual_names() -> None:
    mapping = read_mapping("user=uid, item=sku,rating=stars")
    assert mapping == {"user": "uid", "item": "sku", "rating": "stars"}
    assert shape_of("sku;when;uid;stars", mapping, True, "", "f").at == {"user": 2, "item": 0, "rating": 3}
    assert shape_of("a::b::3", {}, False, "", "f").separator == "::"
    at = {"user": "2", "item": "1", "rating": "4", "time": "3"}
    assert shape_of("i\tu\tt\t5", at, False, "", "f").at == {"user": 1, "item": 0, "rating": 3, "time": 2}
    assert find_columns(["User_ID", "itemId", "RATING", "rated at"], {}, "f") == {
        "user": 0,
        "item": 1,
        "rating": 2,
        "time": 3,
    }


@pytest.mark.parametrize("text", ["user=a,item=b", "user=a,item=b,stars=c", "user=a,user=b", "user", "user=,item=a"])
def test_an_unclear_mapping_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--columns"):
        read_mapping(text)


def test_missing_columns_are_named() -> None:
    mapping = {"user": "uid", "item": "sku", "rating": "stars"}
    with pytest.raises(UserError, match=r"f\.csv: no column `stars` for rating; it has uid, sku"):
        shape_of("uid,sku", mapping, True, "", "f.csv")
    with pytest.raises(UserError, match=r"f\.csv: more than one column `uid`"):
        shape_of("uid,sku,uid,stars", mapping, True, "", "f.csv")
    with pytest.raises(UserError, match=r"no column for item; it has user, .*--columns"):
        shape_of("user,thing", {}, True, "", "f.csv")
    with pytest.raises(UserError, match=r"column 4 for rating.*positions from 1 to 3"):
        shape_of("1,2,3", {"user": "1", "item": "2", "rating": "4"}, False, "", "f.csv")
    with pytest.raises(UserError, match="2 fields"):
        shape_of("1,2", {}, False, "", "f.csv")


@pytest.mark.parametrize("text", ["5", "5,1", "1,x", "1,1", "1,2,3", "nan,5"])
def test_a_scale_is_two_numbers(text: str) -> None:
    assert read_scale("0.5,5") == (0.5, 5)
    with pytest.raises(UserError, match=r"--scale .*e\.g\. 0\.5,5"):
        read_scale(text)


@pytest.mark.parametrize("position", ["9" * 5000, "²", "0", "-1"])
def test_a_position_that_is_none_is_a_sentence(position: str) -> None:
    with pytest.raises(UserError, match=r"positions from 1 to 3") as told:
        shape_of("1,2,3", {"user": "1", "item": "2", "rating": position}, False, ",", "f")
    assert len(str(told.value)) < 200

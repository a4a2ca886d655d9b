from __future__ import annotations

from collections.abc import Sequence

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.data import movielens
from lakerank.recommend.data.movielens import detect, item_shape, split_title

DAT = movielens.LAYOUTS[1].shapes


def lines(spark: SparkSession, *values: str) -> DataFrame:
    rows = [("f", i, value) for i, value in enumerate(values, start=1)]
    return spark.createDataFrame(rows, "source string, line long, value string")


def tuples(frame: DataFrame, *columns: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in frame.orderBy("line").select(*columns).collect()]


@pytest.mark.parametrize(
    ("names", "layout", "roles"),
    [
        (["u.data", "u.item", "u1.base"], "MovieLens 100K", {"ratings": "u.data", "items": "u.item"}),
        (["t/movies.dat", "t/ratings.dat", "t/users.dat"], "MovieLens 1M", {"items": "t/movies.dat"}),
        (["movies.dat", "ratings.dat", "tags.dat"], "MovieLens 10M", {"tags": "tags.dat"}),
        (["README", "ratings.csv.gz", "movies.csv"], "MovieLens csv", {"ratings": "ratings.csv.gz"}),
        (["ratings.csv", "old/movies.csv"], "MovieLens csv", {"ratings": "ratings.csv"}),
    ],
)
def test_layouts_are_known_by_their_files(names: Sequence[str], layout: str, roles: dict[str, str]) -> None:
    found, files = detect(names, "here")
    assert found.name.startswith(layout)
    assert roles.items() <= files.items()
    assert "old/movies.csv" not in files.values()
    assert found.scale == ((1, 5) if layout in ("MovieLens 100K", "MovieLens 1M") else (0.5, 5))


def test_a_folder_without_ratings_says_what_was_looked_for() -> None:
    with pytest.raises(UserError, match=r"here: looked for ratings\.dat, u\.data, ratings\.csv and found a, b"):
        detect(["a", "b"], "here")
    with pytest.raises(UserError, match="found no file"):
        detect([], "here")


@pytest.mark.connect
def test_the_year_comes_off_the_title(spark: SparkSession) -> None:
    cases = {
        "Toy Story (1995)": ("Toy Story", 1995),
        "Toy Story (1995) ": ("Toy Story", 1995),
        "Ålesund, the (Älva) (2003)": ("Ålesund, the (Älva)", 2003),
        "Series (2006–2007)": ("Series", 2006),
        "Series (2006-2007)": ("Series", 2006),
        "Still Running (2009– )": ("Still Running", 2009),
        "(500) Days (2009)": ("(500) Days", 2009),
        "2001 (1968)": ("2001", 1968),
        "Number (1234)": ("Number (1234)", None),
        "unknown": ("unknown", None),
        "(1995)": ("(1995)", None),
        "": ("", None),
    }
    title, year = split_title(F.col("value"))
    got = tuples(lines(spark, *cases).select("line", title.alias("t"), year.alias("y")), "t", "y")
    assert dict(zip(cases, got, strict=True)) == cases


@pytest.mark.connect
def test_items_of_the_dat_layouts(spark: SparkSession) -> None:
    frame = movielens.items(
        lines(
            spark,
            "3::Die Brücke (1959)::Drama|War",
            "4::Empty (2001)::(no genres listed)",
            "5::Too short",
            "::No id (1999)::Drama",
            "3::Again (1960)::Drama",
            "6::Colon: the Film (1980):: Comedy|| ",
        ),
        DAT["items"],
    )
    assert tuples(frame, "item", "title", "year", "genres", "reason") == [
        ("3", "Die Brücke", 1959, ["Drama", "War"], None),
        ("4", "Empty", 2001, [], None),
        ("5", "Too short", None, None, "wrong number of fields (3 expected)"),
        ("", "No id", 1999, ["Drama"], "empty item id"),
        ("3", "Again", 1960, ["Drama"], "duplicate item id: its first line is kept"),
        ("6", "Colon: the Film", 1980, ["Comedy"], None),
    ]


@pytest.mark.connect
def test_items_of_csv_keep_commas_and_quotes(spark: SparkSession) -> None:
    header = "movieId,title,genres"
    frame = movielens.items(
        lines(
            spark,
            '1,"Lake, The (1998)",Drama',
            '2,"""Quoted"" Film, A (2004)",Comedy|Drama',
            '3,"Comma, but, no end (1990),Drama',
            '4,"Four, fields (1990)",Drama,more',
            '5,"Two, fields (1990)"',
            '6,Half "quoted" (1990),Drama',
            "7,Plain (1990),(no genres listed)",
        ),
        movielens.shape_of("items", header, "movies.csv"),
    )
    wrong = "wrong number of fields (3 expected)"
    assert tuples(frame, "item", "title", "genres", "reason") == [
        ("1", "Lake, The", ["Drama"], None),
        ("2", '"Quoted" Film, A', ["Comedy", "Drama"], None),
        (None, None, None, wrong),
        (None, None, None, wrong),
        (None, None, None, wrong),
        ("6", 'Half "quoted"', ["Drama"], None),
        ("7", "Plain", [], None),
    ]
    with pytest.raises(UserError, match=r"movies\.csv: no column `title`; it has movieId, name"):
        movielens.shape_of("items", "movieId,name", "movies.csv")


def test_items_of_100k_have_flags_for_genres(spark: SparkSession) -> None:
    genres = movielens.GENRES_100K
    assert len(genres) == 19

    def flags(*on: str) -> str:
        return "|".join("1" if genre in on else "0" for genre in genres)

    frame = movielens.items(
        lines(
            spark,
            f"1|Été, L' (1971)|01-Jan-1971||http://x/?a|{flags('Drama', 'Western')}",
            f"2|Bare (1972)||||{flags()}",
            f"3|Short (1972)|||{flags()}",
        ),
        item_shape(genres),
        genres,
    )
    assert tuples(frame, "item", "title", "year", "genres", "reason") == [
        ("1", "Été, L'", 1971, ["Drama", "Western"], None),
        ("2", "Bare", 1972, [], None),
        ("3", "Short", 1972, [], "wrong number of fields (24 expected)"),
    ]


@pytest.mark.connect
def test_tags(spark: SparkSession) -> None:
    frame = movielens.tags(
        lines(
            spark,
            '7,1,"dry, ""very"" dry",1138537770',
            "7,1,,1138537770",
            ",1,x,1138537770",
            "7,,x,1138537770",
            "7,1,x,late",
        ),
        movielens.shape_of("tags", "userId,movieId,tag,timestamp", "tags.csv"),
    )
    assert tuples(frame, "tag", "reason") == [
        ('dry, "very" dry', None),
        ("", "empty tag"),
        ("x", "empty user id"),
        ("x", "empty item id"),
        ("x", "bad timestamp"),
    ]

from __future__ import annotations

import csv
import gzip
import json
import re
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lake_tables
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.lake.schemas import RELATIONS
from lakerank.recommend.data import store
from lakerank.recommend.data.cleaning import DUPLICATE, CheckedRows
from lakerank.recommend.data.movielens import GENRES_100K
from lakerank.recommend.data.store import ReadOptions, Source, open_source, read_source
from spark_jobs.ingest_ratings import main
from tests.conftest import SHARED

SMALL = SHARED / "movielens" / "ml-latest-small"
OFF_1_5 = "rating outside the scale 1 to 5"
# Our own rows in the form of MovieLens 1M; line by line what becomes of them.
ML_1M = {
    "1::10::5::978300760": None,
    "1::11::3::978302109": None,
    "2::10::4::978301968": DUPLICATE,  # line 12 is newer
    "2::10": "wrong number of fields (4 expected)",
    "::10::4::978301968": "empty user id",
    "3::::4::978301968": "empty item id",
    "3::11::0::978301968": OFF_1_5,
    "3::11::6::978301968": OFF_1_5,
    "3::11::good::978301968": "rating is not a number",
    "3::11::4::today": "bad timestamp",
    "3::99::4::978301968": "unknown item: not in movies.dat",
    "2::10::2::978301999": None,
    "": "empty line",
    "4::12::1::978301968": None,
}
MOVIES_1M = [
    "10::Être et Ärger (1999)::Drama|Children's",
    "11::Ohne Jahr::(no genres listed)",
    "12::Zwölf (2000) ::War",
]


def run(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> dict[str, Any]:
    """The job's summary; fails unless it succeeds."""
    code = main([*map(str, argv), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    summary: dict[str, Any] = json.loads(said.out.splitlines()[-1])
    return summary


def fails(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    """The message of a run that is the user's mistake, one line."""
    code = main([str(arg) for arg in argv])
    error = capsys.readouterr().err.strip()
    assert code == 2, error
    assert "Traceback" not in error
    return error.splitlines()[-1]


def table(spark: SparkSession, lake: Path, name: str) -> DataFrame:
    return spark.read.format("delta").load(str(lake / name))


def stored(lake: Path, name: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in lake_tables.rows(RELATIONS[name], lake)), key=repr)


def rows(frame: DataFrame) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in frame.collect()), key=repr)


def folder(path: Path, files: Mapping[str, list[str]], encoding: str = "utf-8") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        content = "".join(f"{line}\n" for line in lines).encode(encoding)
        (path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def read(spark: SparkSession, source: Path, **options: Any) -> CheckedRows:
    return read_source(spark, Source(str(source), str(source)), ReadOptions(**options), "")


@pytest.mark.connect
def test_a_zip_of_1m_with_every_kind_of_bad_line(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = folder(
        tmp_path / "in",
        {"ratings.dat": list(ML_1M), "movies.dat": [*MOVIES_1M, "13::two fields"], "users.dat": ["1::F::1::1::1"]},
        "latin-1",
    )
    source, lake = tmp_path / "ml-1m.zip", tmp_path / "lake"
    with zipfile.ZipFile(source, "w") as archive:
        for path in inside.iterdir():
            archive.write(path, f"ml-1m/{path.name}")

    summary = run(capsys, "--source", source, "--lake", lake)

    assert {key: summary[key] for key in ("read", "kept", "rejected", "users", "items", "rated_items", "tags")} == {
        "read": 14,
        "kept": 4,
        "rejected": 10,
        "users": 3,
        "items": 3,
        "rated_items": 3,
        "tags": 0,
    }
    assert summary["rejected_by_reason"][OFF_1_5] == 2
    assert sum(summary["rejected_by_reason"].values()) == 10
    expected = [
        (f"{source}/ml-1m/ratings.dat", line, raw, reason)
        for line, (raw, reason) in enumerate(ML_1M.items(), start=1)
        if reason
    ] + [(f"{source}/ml-1m/movies.dat", 4, "13::two fields", "wrong number of fields (3 expected)")]
    first = {name: stored(lake, name) for name in ("ratings", "items", "ratings_rejected")}
    assert first["ratings_rejected"] == sorted(expected, key=repr)
    ratings = table(spark, lake, "ratings")
    assert [field.dataType.simpleString() for field in ratings.schema] == ["bigint", "bigint", "float", "timestamp"]
    seconds = ratings.select("user_id", "item_id", "rating", F.unix_seconds("rated_at"))
    assert rows(seconds) == [
        (1, 10, 5.0, 978300760),
        (1, 11, 3.0, 978302109),
        (2, 10, 2.0, 978301999),
        (4, 12, 1.0, 978301968),
    ]
    assert first["items"] == [
        (10, "Être et Ärger", 1999, ["Drama", "Children's"]),
        (11, "Ohne Jahr", None, []),
        (12, "Zwölf", 2000, ["War"]),
    ]
    assert not (lake / "tags").exists()
    assert list((lake / "_downloads").iterdir()) == []  # what was unpacked is gone

    run(capsys, "--source", source, "--lake", lake)
    assert {name: stored(lake, name) for name in first} == first


def test_any_csv_with_names_of_its_own_and_text_ids(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder(
        tmp_path,
        {
            "stars.csv": [
                "uid,sku,note,stars,ts",
                'ann,007,"so, so",7.5,2020-01-02T03:04:05Z',
                "bob,8,,10,1577934245000",
                "bob,9,,11,1577934245",
                "ann,8,,0,2020-01-02 03:04:05",
            ]
        },
    )
    columns = "user=uid,item=sku,rating=stars,time=ts"
    path, lake = source / "stars.csv", tmp_path / "lake"
    summary = run(capsys, "--source", path, "--columns", columns, "--scale", "0,10", "--lake", lake)
    assert (summary["read"], summary["kept"], summary["items"]) == (4, 3, 2)
    assert summary["rejected_by_reason"] == {"rating outside the scale 0 to 10": 1}
    at = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    got = table(spark, lake, "ratings").withColumn("rated_at", F.unix_seconds("rated_at"))
    seconds = int(at.timestamp())
    assert rows(got) == [("ann", "007", 7.5, seconds), ("ann", "8", 0.0, seconds), ("bob", "8", 10.0, seconds)]
    assert stored(lake, "ratings_rejected")[0][:3] == (str(path), 4, "bob,9,,11,1577934245")
    assert sorted(p.name for p in lake.iterdir() if not p.name.startswith("_")) == [
        "publications",
        "ratings",
        "ratings_rejected",
    ]


@pytest.mark.slow
def test_real_movielens_agrees_with_pythons_csv(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not SMALL.is_dir():
        pytest.skip(f"no sample data at {SMALL}")
    summary = run(capsys, "--source", SMALL, "--lake", tmp_path)
    assert summary["read"] == summary["kept"] + summary["rejected"] == 100_004
    assert (summary["users"], summary["items"], summary["tags"]) == (671, 9_125, 1_296)

    def dicts(name: str) -> list[dict[str, str]]:
        with (SMALL / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    got = table(spark, tmp_path, "ratings").withColumn("rated_at", F.unix_seconds("rated_at")).collect()
    assert {tuple(row) for row in got} == {
        (int(r["userId"]), int(r["movieId"]), float(r["rating"]), int(r["timestamp"])) for r in dicts("ratings.csv")
    }
    items = {row["item_id"]: row for row in lake_tables.rows(RELATIONS["items"], tmp_path)}
    for movie in dicts("movies.csv"):
        row = items[int(movie["movieId"])]
        dated = re.fullmatch(r"(.*\S)\s*\((\d{4})([-–]\s?(\d{4})?)?\)", movie["title"].strip())
        expected = (dated[1], int(dated[2])) if dated else (movie["title"].strip(), None)
        assert (row["title"], row["year"]) == expected
        assert row["genres"] == [g for g in movie["genres"].split("|") if g != "(no genres listed)"]
    tags = table(spark, tmp_path, "tags").withColumn("tagged_at", F.unix_seconds("tagged_at")).collect()
    assert sorted(tuple(row) for row in tags) == sorted(
        (int(t["userId"]), int(t["movieId"]), t["tag"].strip(), int(t["timestamp"])) for t in dicts("tags.csv")
    )


def test_100k_is_tab_separated_with_flags_for_genres(spark: SparkSession, tmp_path: Path) -> None:
    flags = "|".join("1" if genre in ("War", "Drama") else "0" for genre in GENRES_100K)
    source = folder(
        tmp_path,
        {
            "u.data": ["196\t1\t3\t881250949", "186\t1\t0.5\t891717742"],
            "u.item": [f"1|Señor (1971)|01-Jan-1971||http://x|{flags}"],
            "u.genre": [*(f"{name}|{i}" for i, name in enumerate(GENRES_100K)), ""],
        },
        "latin-1",
    )
    checked = read(spark, source)
    assert checked.items is not None
    assert checked.tags is None
    assert [tuple(r) for r in checked.items.select("item", "title", "year", "genres").collect()] == [
        ("1", "Señor", 1971, ["Drama", "War"])
    ]
    assert rows(checked.ratings.select("line", "reason")) == [(1, None), (2, OFF_1_5)]


def test_10m_has_half_stars_tags_and_utf_8(spark: SparkSession, tmp_path: Path) -> None:
    files = {
        "ratings.dat.gz": ["1::122::0.5::838985046", "1::185::5.5::838983525"],
        "movies.dat": ["122::Ōkami “Wolf” (2007)::Animation", "185::Other (1995)::Thriller"],
        "tags.dat": ["15::122::sehr schön::1215184630", "15::4::x::1215184630"],
    }
    checked = read(spark, folder(tmp_path / "ml-10M100K", files).parent)  # one folder further up
    assert checked.items is not None
    assert checked.tags is not None
    assert rows(checked.items.select("title", "year")) == [("Other", 1995), ("Ōkami “Wolf”", 2007)]
    off = "rating outside the scale 0.5 to 5"
    assert rows(checked.ratings.select("rating", "reason")) == [(0.5, None), (5.5, off)]
    assert rows(checked.tags.select("tag", "reason")) == [
        ("sehr schön", None),
        ("x", "unknown item: not in movies.dat"),
    ]


def test_parquet_rows_are_numbered_and_typed(spark: SparkSession, tmp_path: Path) -> None:
    schema = "`the user` int, sku string, stars double, seen timestamp"
    at = datetime(2020, 1, 2, 3, 4, 5)
    data = [(1, "a", 4.5, at), (2, "b", float("nan"), at), (3, None, 1.0, at), (4, "d", 2.0, None)]
    path = tmp_path / "a b+c.parquet"
    spark.createDataFrame(data, schema).coalesce(1).write.parquet(str(path))
    checked = read(spark, path, columns="user=the user,item=sku,rating=stars,time=seen").ratings
    assert rows(checked.select("line", "user", "item", "rating", "reason"))[:1] == [(1, "1", "a", 4.5, None)]
    assert rows(checked.where("line > 1").select("line", "reason")) == [
        (2, "rating is not a number"),
        (3, "empty item id"),
        (4, None),  # a rating without a time is a rating
    ]
    first = checked.where("line = 1").collect()[0]
    assert first["rated_at"] == at
    assert json.loads(first["raw"])["sku"] == "a"
    assert Path(first["source"]).parent == path


def test_files_without_a_header_and_folders_of_parts(spark: SparkSession, tmp_path: Path) -> None:
    folder(tmp_path / "x", {"plain.tsv": ["9\t1\t2.5", "9\t2\t3\t4"]})
    checked = read(spark, tmp_path / "x" / "plain.tsv", header=False, columns="item=1,user=2,rating=3").ratings
    assert rows(checked.select("user", "item", "reason")) == [
        ("1", "9", None),
        ("2", "9", "wrong number of fields (3 expected)"),
    ]
    parts = {"part-0.csv": ["u,i,r", "1,1,1"], "part-1.csv": ["u,i,r", "2,2,2"], "_SUCCESS": []}
    source = folder(tmp_path / "parts", parts)
    checked = read(spark, source, columns="user=u,item=i,rating=r").ratings
    assert rows(checked.select("source", "line", "user")) == [
        (str(source / "part-0.csv"), 2, "1"),
        (str(source / "part-1.csv"), 2, "2"),
    ]


def test_a_dataset_is_fetched_into_the_lake_and_unpacked(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(name: str, into: Path, mirror: str) -> Path:
        asked.append((name, into, mirror))
        into.mkdir(parents=True)
        with zipfile.ZipFile(into / "x.zip", "w") as archive:
            archive.writestr("top/ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,4\n")
            archive.writestr("top/genome-scores.csv", "not needed")
        return into / "x.zip"

    monkeypatch.setattr(store, "fetch", fetch)
    scratch = tmp_path / "lake" / "_downloads"
    with open_source("", "ml-latest", "http://m", scratch) as source:
        assert source.names() == ["top/ratings.csv"]
        checked = read_source(spark, source, ReadOptions(), "")
        assert checked.items is None
        assert rows(checked.ratings.select("source", "line", "reason")) == [
            (f"{scratch}/x.zip/top/ratings.csv", 2, None)
        ]
    assert asked == [("ml-latest", scratch, "http://m")]
    assert [path.name for path in scratch.iterdir()] == ["x.zip"]  # the zip stays, what was unpacked goes


CLICKS = """user,item,clicks,ts
1,2,1,100
1,2,1,86500
1,2,5,200
1,3,7,
1,3,2,
2,2,many,100
"""


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("sum", [(1, 2, 7.0), (1, 3, 9.0)]),
        ("last", [(1, 2, 1.0), (1, 3, 2.0)]),  # newest; without times the last line
        ("days", [(1, 2, 2.0), (1, 3, 1.0)]),
    ],
)
def test_clicks_become_counts_and_nothing_is_lost(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, wanted: list[Any]
) -> None:
    (tmp_path / "clicks.csv").write_text(CLICKS, encoding="utf-8")
    summary = run(capsys, "--lake", tmp_path / "lake", "--source", tmp_path / "clicks.csv", "--counts", how)
    assert {name: summary[name] for name in ("read", "kept", "counted", "rejected")} == {
        "read": 6, "kept": 2, "counted": 3, "rejected": 1,
    }  # fmt: skip
    rows = sorted(lake_tables.rows(RELATIONS["ratings"], tmp_path / "lake"))
    assert [row[:3] for row in rows] == wanted
    assert [row[3] is None for row in rows] == [False, True]
    assert rows[0][3].timestamp() == 86500


@pytest.mark.parametrize("name", ["f.csv", "g.csv"])
def test_click_logs_as_people_have_them(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = SHARED.parent / "cases" / "ratings" / name
    if not source.exists():
        pytest.skip(f"{source} is missing")
    lines = source.read_text(encoding="utf-8").split()[1:]
    assert main(["--lake", str(tmp_path / "lake"), "--source", str(source)]) == 2
    assert "no column for rating" in (said := capsys.readouterr().err)
    assert "counted with --counts sum" in said
    summary = run(capsys, "--lake", tmp_path / "lake", "--source", source, "--counts", "sum")
    assert (summary["read"], summary["rejected"]) == (len(lines), 0)
    assert summary["kept"] + summary["counted"] == len(lines)
    counts = {row[:2]: row[2] for row in lake_tables.rows(RELATIONS["ratings"], tmp_path / "lake")}
    wanted: dict[tuple[int, int], float] = {}
    for line in lines:
        user, item, *more = line.split(",")
        pair = int(user), int(item)
        wanted[pair] = wanted.get(pair, 0.0) + float(more[0] if more else 1)
    assert counts == wanted


def test_check_ins_without_a_header(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "USER_1 LOC_1 2.0\nUSER_1 LOC_2 1.0\nUSER_1 LOC_1 3.0\n"
    (tmp_path / "checkins.txt").write_text(rows, encoding="utf-8")
    bare = "USER_1 LOC_1\nUSER_1 LOC_1\n"
    (tmp_path / "bare.txt").write_text(bare, encoding="utf-8")
    how = ("--header", "no", "--separator", " ", "--counts", "sum")
    for name, wanted in (("checkins", [("LOC_1", 5.0), ("LOC_2", 1.0)]), ("bare", [("LOC_1", 2.0)])):
        run(capsys, "--lake", tmp_path / name, "--source", tmp_path / f"{name}.txt", *how)
        assert sorted(row[1:3] for row in lake_tables.rows(RELATIONS["ratings"], tmp_path / name)) == wanted


def test_what_the_user_can_mend_is_said_in_one_line(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"

    def message(*argv: str | Path) -> str:
        return fails(capsys, *argv, "--lake", lake)

    files = folder(
        tmp_path / "files",
        {
            "bad.csv": ["uid,sku,stars", "1,2,x", "1,3,y", "1,,1"],
            "header.csv": ["uid,sku,stars"],
            "empty.csv": [],
            "none.csv": ["a,b,c"],
        },
    )
    columns = ["--columns", "user=uid,item=sku,rating=stars"]
    (files / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (files / "binary.dat").write_bytes(bytes(range(256)) * 4)
    (files / "bad.parquet").write_bytes(b"PAR1 not really")
    (files / "bad.zip").write_bytes(b"PK\x03\x04 not really")
    folder(tmp_path / "nothing", {"README": ["x"]})
    two = {"a.csv": ["uid,sku,stars", "1,2,3"], "b.csv": ["1,2,3"]}

    said = message("--source", files / "bad.csv", *columns)
    assert "bad.csv: none of 3 ratings can be used, 2 of them because: rating is not a number" in said
    assert "header.csv: there is no rating" in message("--source", files / "header.csv", *columns)
    assert "empty.csv: is empty" in message("--source", files / "empty.csv", *columns)
    assert "none.csv: no column `uid` for user; it has a, b, c" in message("--source", files / "none.csv", *columns)
    assert "picture.png: no column for user" in message("--source", files / "picture.png")
    assert "binary.dat: is not a text file" in message("--source", files / "binary.dat")
    assert "bad.parquet: not a readable Parquet file" in message("--source", files / "bad.parquet", *columns)
    assert "bad.zip: not a sound zip" in message("--source", files / "bad.zip")
    assert "missing.csv: no such file" in message("--source", files / "missing.csv")
    assert "nothing: looked for" in message("--source", tmp_path / "nothing")
    assert "--scale 5: write" in message("--source", files / "bad.csv", *columns, "--scale", "5")
    assert "say what to read" in message()
    assert "`dataset` must be one of ml-100k" in message("--dataset", "ml-2m")
    assert "different" in message("--source", folder(tmp_path / "two", two), *columns)
    assert "pass --dataset ml-1m --source" in message("--dataset", "ml-1m", "--mirror", "http://127.0.0.1:1")
    assert "md5 is" in message("--dataset", "ml-1m", "--source", files / "bad.zip")
    assert not any((lake / name).exists() for name in ("ratings", "ratings_rejected", "items"))

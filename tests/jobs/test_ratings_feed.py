"""Ratings that keep coming: tables as sources, appended and merged files, a folder that is followed."""

from __future__ import annotations

import datetime as dt
import json
import threading
from pathlib import Path

import pytest
from jobs.test_ingest_ratings import fails, run, stored
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.input_files import expand, table_format
from lakerank.lake.publications import Publications
from lakerank.lake.schemas import RATINGS
from lakerank.recommend.data.cleaning import OLDER, RATED
from spark_jobs.ingest_ratings import main
from tests.conftest import SHARED

CASES = SHARED.parent / "cases" / "ratings"
DAY = 86_400


def ratings_file(path: Path, *rows: tuple[object, ...]) -> Path:
    """A CSV file of (user, item, rating[, day])."""
    lines = [f"{u},{i},{r},{'' if not day else day[0] * DAY}" for u, i, r, *day in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("user,item,rating,timestamp\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def kept(lake: Path) -> list[tuple[object, object, float]]:
    return [row[:3] for row in stored(lake, "ratings")]


def read_as_published(spark: SparkSession, lake: Path) -> list[tuple[object, ...]]:
    """What the jobs that read ratings read."""
    rows = Publications.read(str(lake), lambda: spark).table(RATINGS).read(spark, RATINGS).collect()
    return sorted((row["user_id"], row["item_id"], row["rating"]) for row in rows)


def test_a_delta_table_is_read_as_it_stands(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, lake = tmp_path / "source", tmp_path / "lake"
    rows = "VALUES (1L, 10L, 4.0F), (2L, 10L, 3.0F), (3L, 11L, 2.0F), (3L, 12L, NULL) AS t(userId, itemId, rating)"
    properties = {"delta.enableDeletionVectors": "true", "delta.columnMapping.mode": "name"}
    writer = spark.sql(f"SELECT * FROM {rows}").coalesce(1).writeTo(f"delta.`{source}`").using("delta")
    for name, value in properties.items():
        writer = writer.tableProperty(name, value)
    writer.createOrReplace()
    spark.sql(f"DELETE FROM delta.`{source}` WHERE userId = 2")
    spark.sql(f"ALTER TABLE delta.`{source}` RENAME COLUMN itemId TO movieId")
    summary = run(capsys, "--source", source, "--lake", lake)
    assert kept(lake) == [(1, 10, 4.0), (3, 11, 2.0)]
    assert summary["rejected_by_reason"] == {"rating is not a number": 1}
    assert stored(lake, "ratings_rejected")[0][:2] == (str(source), None)  # a table's rows have no numbers
    assert "it has userId, movieId, rating" in fails(
        capsys, "--source", source, "--lake", lake, "--columns", "user=u,item=movieId,rating=rating"
    )


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no sample cases in {CASES}")
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("delta_src", [(1, 1, 4.0)]),
        ("i.csv", [(1, 10, 4.0), (2, 10, 3.0), (3, 10, 2.0)]),
        ("b.csv", [(1, 2, 3.0), (2, 2, 4.5)]),
        ("h.csv", [(1, 10, 4.0), (2, 10, 3.0)]),
        ("h2.csv", [(1, 10, 4.0), (2, 10, 3.0)]),
    ],
)
def test_files_as_people_have_them(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, wanted: list[tuple[object, ...]]
) -> None:
    run(capsys, "--source", CASES / name, "--lake", tmp_path)
    assert kept(tmp_path) == wanted


def test_whole_numbers_with_a_point_are_whole_numbers(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ratings_file(tmp_path / "a.csv", ("1.0", 10, 4), ("2", "11.00", 3), ("-3.0", 0, 2), ("1", "10.0", 5, 9))
    run(capsys, "--source", source, "--lake", tmp_path / "lake")
    assert kept(tmp_path / "lake") == [(-3, 0, 2.0), (1, 10, 5.0), (2, 11, 3.0)]
    names = ratings_file(tmp_path / "b.csv", ("1.0", "v1.0", 4), ("2.5", "v2", 3))  # names stay as they are
    run(capsys, "--source", names, "--lake", tmp_path / "names")
    assert kept(tmp_path / "names") == [("1.0", "v1.0", 4.0), ("2.5", "v2", 3.0)]


@pytest.mark.parametrize(
    ("mark", "name"), [("metadata/v1.metadata.json", "Iceberg"), (".hoodie/hoodie.properties", "Hudi")]
)
def test_tables_that_are_not_read_are_refused_by_name(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], mark: str, name: str
) -> None:
    (tmp_path / "t" / mark).parent.mkdir(parents=True)
    (tmp_path / "t" / mark).write_text("{}", encoding="utf-8")
    ratings_file(tmp_path / "t" / "data.csv", (1, 2, 3))
    assert table_format(str(tmp_path / "t")) == name
    assert f"is a table of Apache {name}" in fails(capsys, "--source", tmp_path / "t", "--lake", tmp_path / "lake")
    with pytest.raises(UserError, match=f"Apache {name}"):  # whoever else reads folders of files, as of links
        expand([str(tmp_path / "t")])
    (tmp_path / "d" / "_delta_log").mkdir(parents=True)
    with pytest.raises(UserError, match="is a Delta table"):
        expand([str(tmp_path / "d")])


def test_a_feed_is_appended_and_merged(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = tmp_path / "lake"
    first = ratings_file(tmp_path / "1.csv", (1, 10, 4, 5), (2, 10, 3, 5), (3, 10, 1))
    run(capsys, "--source", first, "--lake", lake, "--mode", "merge")  # makes the tables
    more = ratings_file(tmp_path / "2.csv", (1, 10, 5, 6), (2, 10, 1, 4), (4, 11, 2, 6), ("x", 12, "", 7))
    appended = run(capsys, "--source", more, "--lake", lake, "--mode", "append")
    assert appended["rejected_by_reason"] == {"rating is not a number": 1, RATED: 2}
    assert (appended["read"], appended["kept"], appended["ratings"]) == (4, 1, 4)
    assert kept(lake) == [(1, 10, 4.0), (2, 10, 3.0), (3, 10, 1.0), (4, 11, 2.0)]
    merged = run(capsys, "--source", more, "--lake", lake, "--mode", "merge")
    assert merged["rejected_by_reason"] == {"rating is not a number": 1, OLDER: 1}
    wanted = [(1, 10, 5.0), (2, 10, 3.0), (3, 10, 1.0), (4, 11, 2.0)]
    assert kept(lake) == wanted
    assert read_as_published(spark, lake) == wanted  # who reads the lake sees it, without another publication
    again = run(capsys, "--source", more, "--lake", lake, "--mode", "merge")
    assert (again["ratings"], kept(lake)) == (4, wanted)
    reasons = [row[3] for row in stored(lake, "ratings_rejected")]
    assert sorted(set(reasons)) == sorted({"rating is not a number", RATED, OLDER})
    assert len(reasons) == 3 + 1  # what is rejected again is there already
    texts = ratings_file(tmp_path / "3.csv", ("ann", 10, 4, 9))
    assert "some user ids are no whole numbers" in fails(capsys, "--source", texts, "--lake", lake, "--mode", "merge")


def test_two_feeds_at_once_lose_nothing(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    run(capsys, "--source", ratings_file(tmp_path / "0.csv", (0, 0, 3, 1)), "--lake", lake)
    files = [ratings_file(tmp_path / f"{n}.csv", *((u, n, 4, 2) for u in range(20))) for n in (1, 2)]
    codes: list[int] = []

    def feed(file: Path) -> None:
        codes.append(main(["--source", str(file), "--lake", str(lake), "--mode", "merge"]))

    threads = [threading.Thread(target=feed, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert len(read_as_published(spark, lake)) == 41


def test_what_a_killed_run_left_is_not_added_to(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    run(capsys, "--source", ratings_file(tmp_path / "1.csv", (1, 10, 4, 5)), "--lake", lake)
    schema = "user_id bigint, item_id bigint, rating float, rated_at timestamp"
    left = spark.createDataFrame([(7, 7, 1.0, dt.datetime(2020, 1, 1))], schema)
    stamped = left.write.format("delta").mode("overwrite").option("userMetadata", "lakerank ratings killed")
    stamped.save(str(lake / "ratings"))
    run(capsys, "--source", ratings_file(tmp_path / "2.csv", (2, 10, 3, 6)), "--lake", lake, "--mode", "merge")
    assert read_as_published(spark, lake) == [(1, 10, 4.0), (2, 10, 3.0)]


def test_a_folder_is_followed(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake, feed = tmp_path / "lake", tmp_path / "feed"
    ratings_file(feed / "a.csv", (1, 10, 4, 5), (2, 10, 3, 5))
    command = ("--follow", "once", "--source", feed, "--lake", lake)
    first = run(capsys, *command)
    assert {name: first[name] for name in ("files", "read", "kept")} == {"files": 1, "read": 2, "kept": 2}
    (feed / "empty.csv").touch()
    assert main([*map(str, command), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["files"] == 0
    assert f"{feed}/empty.csv is empty, nothing was read" in said.err
    ratings_file(feed / "b.csv", (1, 10, 5, 6))
    assert run(capsys, *command)["files"] == 1
    assert kept(lake) == [(1, 10, 5.0), (2, 10, 3.0)]
    ratings_file(feed / "c.csv", ("ann", 10, 5, 6))
    assert "no whole numbers" in fails(capsys, *command)
    ratings_file(feed / "c.csv", (3, 10, 5, 6))  # mended: the batch that failed comes again
    assert run(capsys, *command)["files"] == 1
    assert "goes with --mode merge or append only" in fails(capsys, *command, "--mode", "overwrite")
    assert "no such folder" in fails(capsys, "--follow", "once", "--source", tmp_path / "none", "--lake", lake)

"""Publications: several tables change as one, whoever else visits the lake meanwhile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow import ArrowTable
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.publications import Publications, Publishing, located, place_in, publishing, undo_unpublished
from lakerank.lake.schemas import PAGERANK_METRICS, PUBLICATIONS, RANKS, RATINGS, RECOMMENDER_METRICS
from lakerank.lake.table_log import TableLog


def nobody() -> Any:
    raise AssertionError("no session is needed")


def ranks(value: float) -> pa.Table:
    return pa.table({"id": [1, 2], "pagerank": [value, 1 - value]})


def metrics(n: int) -> pa.Table:
    return pa.table({"iteration": pa.array(range(n), pa.int32()), "l1_delta": [0.1] * n, "dangling": [0.0] * n})


def publish(lake: Path | str, value: float, n: int) -> None:
    with publishing(nobody, str(lake), "ranks") as run:
        run.write(RANKS, ranks(value))
        run.write(PAGERANK_METRICS, metrics(n))
        run.settings(value=value)


def state(lake: Path | str) -> tuple[float, int]:
    """What a reader sees: a number of each table, which belong together."""
    published = Publications.read(str(lake), nobody)
    found = ArrowTable(published.table(RANKS), RANKS, nobody).read(["id", "pagerank"]).sort_by("id")
    return found["pagerank"][0].as_py(), ArrowTable(published.table(PAGERANK_METRICS), PAGERANK_METRICS, nobody).rows


def optimize(path: Path) -> None:
    write = DeltaTable(str(path))
    write.optimize.z_order(["id"])


def foreign_row(path: Path) -> None:
    write_deltalake(str(path), ranks(0.9).slice(0, 1), mode="append")


MAINTENANCE: dict[str, Callable[[Path], Any]] = {
    "OPTIMIZE": optimize,
    "VACUUM": lambda path: DeltaTable(str(path)).vacuum(0, dry_run=False, enforce_retention_duration=False),
    "SET TBLPROPERTIES": lambda path: DeltaTable(str(path)).alter.set_table_properties({"delta.appendOnly": "false"}),
    "comment": lambda path: DeltaTable(str(path)).alter.set_table_description("mine"),
}


@pytest.mark.parametrize("what", MAINTENANCE)
def test_maintenance_changes_nothing_for_readers(tmp_path: Path, what: str) -> None:
    publish(tmp_path, 0.25, 3)
    MAINTENANCE[what](tmp_path / "ranks")
    assert state(tmp_path) == (0.25, 3)


def test_after_optimize_and_vacuum_the_newer_files_are_read(tmp_path: Path) -> None:
    publish(tmp_path, 0.25, 3)
    optimize(tmp_path / "ranks")
    MAINTENANCE["VACUUM"](tmp_path / "ranks")
    ref = Publications.read(str(tmp_path), nobody).table(RANKS)
    assert ref.pinned is not None
    assert ref.pinned > 0
    assert ref.rows_version == 0
    assert state(tmp_path) == (0.25, 3)


def test_what_was_not_published_does_not_count(tmp_path: Path) -> None:
    publish(tmp_path, 0.25, 3)
    Publishing(nobody, str(tmp_path), "ranks").write(RANKS, ranks(0.75))  # killed before it published
    assert state(tmp_path) == (0.25, 3)
    optimize(tmp_path / "ranks")  # of the rows that do not count
    assert state(tmp_path) == (0.25, 3)
    publish(tmp_path, 0.5, 4)
    assert state(tmp_path) == (0.5, 4)


def test_a_first_run_that_was_killed_is_said(tmp_path: Path) -> None:
    Publishing(nobody, str(tmp_path), "ranks").write(RANKS, ranks(0.75))  # killed before it published
    with pytest.raises(UserError, match=r"ranks\) was stopped before it had finished: run it again"):
        state(tmp_path)


def test_of_two_that_interleave_the_later_publication_wins_whole(tmp_path: Path) -> None:
    with publishing(nobody, str(tmp_path), "ranks") as first:
        first.write(RANKS, ranks(0.25))
        with publishing(nobody, str(tmp_path), "ranks") as second:
            second.write(RANKS, ranks(0.5))
            first.write(PAGERANK_METRICS, metrics(3))
            second.write(PAGERANK_METRICS, metrics(4))
        assert state(tmp_path) == (0.5, 4)
    assert state(tmp_path) == (0.25, 3)


def test_many_at_once_all_publish_and_one_is_seen_whole(tmp_path: Path) -> None:
    runs = [Thread(target=publish, args=(tmp_path, 1 / n, n)) for n in range(2, 8)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(Publications.read(str(tmp_path), nobody).rows) == 6
    value, n = state(tmp_path)
    assert value == 1 / n


def test_a_reader_has_all_tables_of_one_moment(tmp_path: Path) -> None:
    publish(tmp_path, 0.25, 3)
    published = Publications.read(str(tmp_path), nobody)
    publish(tmp_path, 0.5, 4)
    assert ArrowTable(published.table(PAGERANK_METRICS), PAGERANK_METRICS, nobody).rows == 3


def test_foreign_changes_of_what_was_computed_are_not_mixed_in_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path, 0.25, 3)
    foreign_row(tmp_path / "ranks")
    assert state(tmp_path) == (0.25, 3)
    assert "was changed by somebody else since it was published (WRITE, version 1)" in capsys.readouterr().err


def test_what_others_keep_is_followed_but_not_into_an_unpublished_run(tmp_path: Path) -> None:
    row = {"user_id": [1], "item_id": [1], "rating": pa.array([3.0], pa.float32())}
    rows = pa.table(row | {"rated_at": pa.array([None], pa.timestamp("us", "UTC"))})
    with publishing(nobody, str(tmp_path), "ratings") as run:
        run.write(RATINGS, rows)
    write_deltalake(str(tmp_path / "ratings"), rows, mode="append")
    ref = Publications.read(str(tmp_path), nobody).table(RATINGS)
    assert (ref.pinned, ref.rows_version) == (1, 1)
    Publishing(nobody, str(tmp_path), "ratings").write(RATINGS, rows)  # killed before it published
    write_deltalake(str(tmp_path / "ratings"), rows, mode="append")
    assert Publications.read(str(tmp_path), nobody).table(RATINGS).pinned == 1


def test_a_table_made_anew_is_another_one(tmp_path: Path) -> None:
    publish(tmp_path, 0.25, 3)
    shutil.rmtree(tmp_path / "ranks")
    foreign_row(tmp_path / "ranks")
    with pytest.raises(UserError, match="not the table that was published"):
        state(tmp_path)
    publish(tmp_path, 0.5, 4)
    assert state(tmp_path) == (0.5, 4)


def test_files_that_are_gone_are_one_sentence(tmp_path: Path) -> None:
    publish(tmp_path, 0.25, 3)
    Publishing(nobody, str(tmp_path), "ranks").write(RANKS, ranks(0.75))  # killed before it published
    MAINTENANCE["VACUUM"](tmp_path / "ranks")  # without retention: it takes the published rows
    with pytest.raises(UserError, match=r"files of version 0 are gone.*run pagerank again"):
        state(tmp_path)


def test_a_lake_is_copied_moved_and_opened_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old", tmp_path / "far" / "new"
    publish(old, 0.25, 3)
    shutil.copytree(old, new)
    publish(old, 0.5, 4)
    assert state(new) == (0.25, 3)
    monkeypatch.chdir(tmp_path)
    assert state("old") == state("./old/") == state("far/../old") == (0.5, 4)
    assert state(f"file://{old}") == state(f"file:{old}") == (0.5, 4)
    (tmp_path / "mounted").symlink_to(new)
    assert state("mounted") == (0.25, 3)
    new.rename(tmp_path / "moved")
    shutil.rmtree(old)
    assert state("moved") == (0.25, 3)


@pytest.mark.parametrize("address", ["file://{}", "file:{}"])
def test_a_lake_with_a_file_address_is_the_folder(tmp_path: Path, address: str) -> None:
    lake = address.format(tmp_path / "lake")
    publish(lake, 0.25, 3)
    assert state(lake) == state(tmp_path / "lake") == (0.25, 3)
    publish(tmp_path / "lake", 0.5, 4)
    assert state(lake) == (0.5, 4)
    places = [member.place for member in Publications.read(lake, nobody).rows[1].tables]
    assert places == ["./ranks", "./pagerank_metrics"]


@pytest.mark.parametrize(
    ("lake", "location", "place"),
    [
        ("/lake", "/lake/ranks", "./ranks"),
        ("/lake", "/lake/of/mine", "./of/mine"),
        ("/lake", "/lakes/ranks", "/lakes/ranks"),
        ("s3://b/lake/", "s3://b/lake/ranks", "./ranks"),
        ("s3://b/lake", "s3://c/ranks", "s3://c/ranks"),
        ("/lake", "main.web.ranks", "main.web.ranks"),
        ("main.web", "main.web.ranks", "./ranks"),
        ("main.web", "main.other.ranks", "main.other.ranks"),
    ],
)
def test_places_are_seen_from_the_lake(lake: str, location: str, place: str) -> None:
    assert place_in(lake, TableRef(location)) == place
    assert located(lake, place) == location


def test_changes_start_from_what_was_published(tmp_path: Path) -> None:
    publish(tmp_path, 0.25, 3)
    base = Publications.read(str(tmp_path), nobody).table(PAGERANK_METRICS)
    path = str(tmp_path / "pagerank_metrics")

    def append(stamp: str) -> None:
        write_deltalake(
            path, metrics(1), mode="append", commit_properties=CommitProperties(custom_metadata={"userMetadata": stamp})
        )

    for _ in range(2):  # whose row does not stay
        Publishing(nobody, str(tmp_path), "ranks").change(PAGERANK_METRICS, base, append)  # killed before it published
    with publishing(nobody, str(tmp_path), "ranks") as run:
        run.keep(RANKS, Publications.read(str(tmp_path), nobody).table(RANKS))
        run.change(PAGERANK_METRICS, base, append)
    assert state(tmp_path) == (0.25, 4)


def test_logs_say_which_commits_changed_rows(tmp_path: Path) -> None:
    foreign_row(tmp_path / "ranks")
    foreign_row(tmp_path / "ranks")
    optimize(tmp_path / "ranks")
    log = TableLog(TableRef(str(tmp_path / "ranks")), nobody)
    assert [commit.changed_rows for commit in log.since(-1)] == [True, True, False]
    assert log.rows_since(2) == 1
    (tmp_path / "ranks" / "_delta_log" / f"{1:020}.json").unlink()  # log files are cleaned up after a while
    assert TableLog(TableRef(str(tmp_path / "ranks")), nobody).commit(1).changed_rows
    assert TableLog(TableRef(str(tmp_path / "nothing")), nobody).newest == -1


@pytest.mark.connect
def test_spark_reads_and_writes_the_same_publications(spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.createDataFrame([(1, 0.25), (2, 0.75)], "id bigint, pagerank double")
    with publishing(lambda: spark, str(tmp_path), "ranks") as run:
        run.write(RANKS, frame)
        run.write(PAGERANK_METRICS, spark.createDataFrame(metrics(3)))
    spark.sql(f"OPTIMIZE delta.`{tmp_path}/ranks`").collect()
    spark.sql(f"ALTER TABLE delta.`{tmp_path}/ranks` SET TBLPROPERTIES ('a' = 'b')").collect()
    assert state(tmp_path) == (0.25, 3)
    TableSink(TableRef(str(tmp_path / "ranks")), RANKS).write(frame.limit(1))  # somebody else's
    ref = Publications.read(str(tmp_path), lambda: spark).table(RANKS)
    assert ref.read(spark, RANKS).count() == 2
    row = spark.read.format("delta").load(str(tmp_path / "publications")).first()
    assert row is not None
    assert row["what"] == "ranks"
    assert [member["place"] for member in json.loads(row["tables"])] == ["./ranks", "./pagerank_metrics"]


@pytest.mark.connect
def test_an_empty_table_that_stays_empty_is_published(spark: SparkSession, tmp_path: Path) -> None:
    none = spark.createDataFrame([], RANKS.schema())
    for _ in range(2):  # for the second Delta makes no commit
        with publishing(lambda: spark, str(tmp_path), "ranks") as run:
            assert run.write(RANKS, none).read(spark, RANKS).count() == 0


def test_many_publications_are_few_files(tmp_path: Path) -> None:
    for n in range(70):
        with publishing(nobody, str(tmp_path), "blend") as run:
            run.settings(n=n)
    published = Publications.read(str(tmp_path), nobody)
    assert [row.settings["n"] for row in published.rows] == list(range(69, -1, -1))
    assert len(DeltaTable(str(tmp_path / "publications")).file_uris()) < 10
    assert published.table(PUBLICATIONS).pinned == 70  # as any table, and one commit made few files of many


def rated(*pairs: tuple[int, int]) -> pa.Table:
    users, items = (pa.array([pair[n] for pair in pairs], pa.int64()) for n in (0, 1))
    stars = pa.array([4.0] * len(pairs), pa.float32())
    return pa.table(
        [users, items, stars, pa.nulls(len(pairs), pa.timestamp("us", "UTC"))], schema=RATINGS.arrow_schema()
    )


def users_read(lake: Path) -> list[int]:
    table = ArrowTable(Publications.read(str(lake), nobody).table(RATINGS), RATINGS, nobody)
    return sorted(table.read(["user_id"])["user_id"].to_pylist())


def killed_overwrite(lake: Path) -> None:
    with publishing(nobody, str(lake), "ratings") as run:
        run.write(RATINGS, rated((1, 1)))
    Publishing(nobody, str(lake), "ratings").write(RATINGS, rated((1, 1), (2, 2)))  # killed before it published


def test_rows_that_others_add_behind_a_killed_run_are_said_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_overwrite(tmp_path)
    write_deltalake(str(tmp_path / "ratings"), rated((9, 9)), mode="append")
    assert users_read(tmp_path) == [1]
    assert "was changed by somebody else since it was published (WRITE, version 2); version 0 is read" in (
        capsys.readouterr().err
    )
    undo_unpublished(nobody, str(tmp_path), RATINGS)
    assert users_read(tmp_path) == [1, 9]
    undo_unpublished(nobody, str(tmp_path), RATINGS)
    assert users_read(tmp_path) == [1, 9]


def test_rows_that_others_delete_behind_a_killed_run_are_not_put_back(tmp_path: Path) -> None:
    killed_overwrite(tmp_path)
    table = DeltaTable(str(tmp_path / "ratings"))
    table.delete("user_id = 1")
    with pytest.raises(
        UserError, match=r"DELETE, version 2.*RESTORE the table to version 0 and make that change again"
    ):
        undo_unpublished(nobody, str(tmp_path), RATINGS)
    table.restore(0)  # as it says
    assert users_read(tmp_path) == [1]
    table.delete("user_id = 1")
    assert users_read(tmp_path) == []
    undo_unpublished(nobody, str(tmp_path), RATINGS)
    assert users_read(tmp_path) == []


def test_tables_of_another_lake_are_read_as_that_has_published_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    killed_overwrite(other)
    published = Publications.read(str(mine), nobody)
    assert ArrowTable(published.table(RATINGS, f"{other}/ratings"), RATINGS, nobody).rows == 1
    shutil.copytree(other / "ratings", tmp_path / "alone" / "ratings")
    assert ArrowTable(published.table(RATINGS, f"{tmp_path}/alone/ratings"), RATINGS, nobody).rows == 2
    assert "nothing beside it says whether the job that wrote it had finished" in capsys.readouterr().err


def test_a_merge_is_not_published_over_what_it_has_not_seen(tmp_path: Path) -> None:
    publish(tmp_path, 0.25, 3)
    seen = Publications.read(str(tmp_path), nobody).newest("ranks")
    with publishing(nobody, str(tmp_path), "ranks") as run:
        run.write(RANKS, ranks(0.5))
        run.merges_with(seen)
    late = Publishing(nobody, str(tmp_path), "ranks")
    late.write(RANKS, ranks(0.75))
    late.merges_with(seen)
    with pytest.raises(UserError, match="another job has published `ranks` since this one read it"):
        late.publish()
    assert state(tmp_path) == (0.5, 3)


@pytest.mark.connect
def test_tables_of_all_runs_keep_every_run_and_no_killed_one(spark: SparkSession, tmp_path: Path) -> None:
    def run(name: str) -> Publishing:
        started = Publishing(lambda: spark, str(tmp_path), "evaluation", name)
        fill = {"string": "x", "double": 0.5, "bigint": 1}
        values = tuple(name if c.name == "run_id" else fill[c.type] for c in RECOMMENDER_METRICS.columns)
        started.add_own(
            RECOMMENDER_METRICS, spark.createDataFrame([values], RECOMMENDER_METRICS.schema()), f"run_id = '{name}'"
        )
        return started

    def runs() -> list[str]:
        table = Publications.read(str(tmp_path), lambda: spark).table(RECOMMENDER_METRICS)
        return sorted(ArrowTable(table, RECOMMENDER_METRICS, nobody).read(["run_id"])["run_id"].to_pylist())

    run("killed at first")
    run("a").publish()
    assert runs() == ["a"]
    run("killed")
    first, second = run("b"), run("c")
    second.publish()
    first.publish()
    assert runs() == ["a", "b", "c"]
    run("b").publish()  # again: its own rows are replaced
    assert runs() == ["a", "b", "c"]
    path = str(tmp_path / RECOMMENDER_METRICS.name)
    left = DeltaTable(path).to_pyarrow_table().slice(0, 1)
    shutil.rmtree(path)
    write_deltalake(path, left)  # somebody's, who had a reason
    run("d").publish()
    assert runs() == sorted([*left["run_id"].to_pylist(), "d"])


def test_what_is_published_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: set[str] = set()
    monkeypatch.setattr("lakerank.lake.publications.flush_to_disk", lambda path: flushed.add(str(path)))
    publish(tmp_path, 0.25, 3)
    for table in ("ranks", "publications"):
        written = {path for path in (tmp_path / table).rglob("*") if path.suffix in (".parquet", ".json")}
        assert {str(path) for path in written} <= flushed
        assert {str(tmp_path / table), str(tmp_path / table / "_delta_log")} <= flushed
    assert str(tmp_path) in flushed


def test_commits_of_copies_are_told_apart(tmp_path: Path) -> None:
    publish(tmp_path / "one", 0.25, 3)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    logs = [TableLog(TableRef(str(tmp_path / lake / "ranks")), nobody) for lake in ("one", "two")]
    assert logs[0].mark(0) == logs[1].mark(0) != "0" * 8
    for lake in ("one", "two"):
        publish(tmp_path / lake, 0.5, 3)
    logs = [TableLog(TableRef(str(tmp_path / lake / "ranks")), nobody) for lake in ("one", "two")]
    assert logs[0].mark(1) != logs[1].mark(1)
    assert logs[0].mark(7) == "0" * 8


def test_a_job_goes_on_from_what_it_has_published_or_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def result() -> TableRef | None:
        return Publications.read(str(tmp_path), nobody).result(RANKS)

    assert result() is None
    Publishing(nobody, str(tmp_path), "ranks").write(RANKS, ranks(0.75))  # killed before it published
    assert capsys.readouterr().err == ""
    assert result() is None
    assert "no result that was published; it is made anew" in capsys.readouterr().err
    publish(tmp_path, 0.25, 3)
    assert result() == Publications.read(str(tmp_path), nobody).table(RANKS)
    shutil.rmtree(tmp_path / "ranks")
    foreign_row(tmp_path / "ranks")
    assert result() is None

"""What happens to jobs on real machines: odd paths, no right to write, a full disk, two at once on one table."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import RANKS, RATINGS
from spark_jobs import build_index, ingest_pages, ingest_ratings, lfm, pagerank, recommend, report, search

pytestmark = pytest.mark.slow

SITE = str(Path(__file__).parents[2] / "examples" / "site")


def ratings(file: Path, users: int, rating: float, words: str = "") -> Path:
    """A CSV in which every user rates ten items alike."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{u}{words},{i}{words},{rating}" for u in range(users) for i in range(10)]
    file.write_text("user,item,rating\n" + "\n".join(rows) + "\n")
    return file


def links(file: Path, nodes: int) -> Path:
    """A ring."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{i}\t{(i + 1) % nodes}\n" for i in range(nodes)))
    return file


def test_paths_with_spaces_signs_and_letters_of_all_kinds(spark: SparkSession, tmp_path: Path) -> None:
    lake = str(tmp_path / "мой lake' `№1` [50%] {x}?&=#")
    source = ratings(tmp_path / "Daten für #1" / "ratings é*.csv", 12, 3.0)
    assert ingest_ratings.main(["--source", str(source), "--lake", lake]) == 0
    assert lfm.main(["--lake", lake, "--factors", "2", "--epochs", "1"]) == 0
    assert recommend.main(["--lake", lake, "--include-seen", "--top", "2"]) == 0
    assert ingest_pages.main(["--source", SITE, "--base-url", "https://x.example/", "--lake", lake]) == 0
    assert pagerank.main(["--lake", lake]) == 0
    assert build_index.main(["--lake", lake]) == 0
    assert search.main(["--lake", lake, "--query", "link spam"]) == 0
    assert report.main(["--lake", lake]) == 0
    assert Path(lake, "report", "index.html").is_file()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def test_a_full_disk_leaves_the_finished_table_and_says_so(
    spark: SparkSession, small_disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lake = str(small_disk / "lake")
    assert pagerank.main(["--links", str(links(tmp_path / "small.tsv", 10)), "--lake", lake]) == 0
    rng = np.random.default_rng(0)
    large = str(tmp_path / "large.tsv")
    np.savetxt(large, rng.integers(0, 1 << 62, (200_000, 2)), "%d", "\t")
    assert pagerank.main(["--links", large, "--lake", lake, "--top", "1"]) == 2
    said = capfd.readouterr().err
    assert "no space left" in said
    assert "Traceback" not in said
    table = TableRef.find("", RANKS, lake)
    assert table.read(spark, RANKS).count() == 10
    remount(small_disk, "size=64m")
    assert pagerank.main(["--links", large, "--lake", lake, "--top", "1"]) == 0
    assert table.read(spark, RANKS).count() > 300_000


def test_a_lake_that_may_only_be_read(
    spark: SparkSession, small_disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lake = str(small_disk / "lake")
    small = str(links(tmp_path / "small.tsv", 10))
    assert pagerank.main(["--links", small, "--lake", lake]) == 0
    remount(small_disk, "ro")
    capfd.readouterr()
    assert pagerank.main(["--links", small, "--lake", lake]) == 2
    said = capfd.readouterr().err
    assert "read-only file system" in said
    assert "Traceback" not in said
    out = str(tmp_path / "report.html")
    assert report.main(["--lake", lake, "--out", out]) == 0  # reading is all it needs


def test_two_jobs_at_once_on_one_table(spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lake = str(tmp_path / "lake")
    sources = [
        ratings(tmp_path / f"{n}.csv", users, rating) for n, (users, rating) in enumerate(((30, 1.0), (50, 5.0)))
    ]
    assert ingest_ratings.main(["--source", str(sources[0]), "--lake", lake]) == 0
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            codes = list(pool.map(lambda file: ingest_ratings.main(["--source", str(file), "--lake", lake]), sources))
            assert 0 in codes
            assert set(codes) <= {0, 2}
            found = TableRef.find("", RATINGS, lake).read(spark, RATINGS).groupBy("rating").count().collect()
            assert [tuple(row) for row in found] in ([(1.0, 300)], [(5.0, 500)])
    assert "Traceback" not in capfd.readouterr().err

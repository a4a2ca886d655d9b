"""`make_patches`: the Spark job writes what the pool of processes writes, from files and from tables."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from lakerank.cli import download
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import PATCHES_REJECTED
from spark_jobs import make_patches
from sr_model import build_patches
from sr_model.data.format import read_manifest
from sr_model.data.petastorm_compat import make_reader
from sr_model.patching import parts as patch_parts

SMALL = ["--patch", "32", "--valid-fraction", "0.3"]


def png(seed: int, height: int = 64, width: int = 80) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(8):
        (folder / f"{i}.png").write_bytes(png(i))
    (folder / "broken.png").write_bytes(png(0)[:150])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def lake(pictures: Path, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the patches of the pictures."""
    lake = tmp_path_factory.mktemp("lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patch_parts, "_LEAST_BYTES", 20_000)  # several parts, so several tasks
        assert make_patches.main(["--source", str(pictures), "--lake", str(lake), *SMALL]) == 0
    return lake


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.connect
def test_the_job_writes_what_the_pool_writes(
    lake: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_parts, "_LEAST_BYTES", 20_000)
    pool = ["--source", str(pictures), "--out", str(tmp_path / "pool"), "--workers", "1", *SMALL]
    assert build_patches.main(pool) == 0
    assert contents(lake / "patches") == contents(tmp_path / "pool")
    assert len(list((lake / "patches" / "train").glob("part-*"))) > 1


def test_what_cannot_be_used_stands_in_a_table(lake: Path, spark: SparkSession) -> None:
    (row,) = TableRef(str(lake / "patches_rejected")).read(spark, PATCHES_REJECTED).collect()
    assert row["source"] == "broken.png"
    assert row["reason"].startswith("damaged")


def test_petastorm_reads_it_as_it_is(lake: Path) -> None:
    with make_reader(f"file://{lake}/patches/train", workers_count=2) as reader:
        found = [(row.source, int(row.x), int(row.y), row.hr.shape) for row in reader]
    assert len(set(found)) == len(found) == read_manifest(lake / "patches" / "train").rows
    assert {shape for *_, shape in found} == {(32, 32, 3)}


def test_a_second_run_says_that_it_is_done(
    lake: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(lake / "patches")
    assert make_patches.main(["--source", str(pictures), "--lake", str(lake), *SMALL, "--json"]) == 0
    printed = capsys.readouterr().out
    assert "holds these patches already" in printed
    summary = json.loads(printed.splitlines()[-1])
    assert (summary["images"], summary["patches"], summary["rejected"]) == (8, 48, 1)
    assert summary["train"] + summary["valid"] == 48
    assert contents(lake / "patches") == before


def test_a_table_of_pictures_gives_the_same_patches(
    lake: Path, pictures: Path, spark: SparkSession, tmp_path: Path
) -> None:
    rows = [(file.name, file.read_bytes()) for file in sorted(pictures.glob("*.png"))]
    table = spark.createDataFrame(rows, "path string, content binary")
    table.write.format("delta").save(str(tmp_path / "table"))
    words = ["--source", str(tmp_path / "table"), "--lake", str(tmp_path / "lake"), *SMALL]
    assert make_patches.main(words) == 0

    def patches(lake: Path) -> set[tuple[str, str, int, int]]:
        found = set()
        for split in ("train", "valid"):
            with make_reader(f"file://{lake}/patches/{split}", workers_count=1) as reader:
                found |= {(split, str(row.source), int(row.x), int(row.y)) for row in reader}
        return found

    assert patches(tmp_path / "lake") == patches(lake)


def test_a_local_copy_of_div2k_is_checked(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed in (("DIV2K_train_HR", 1), ("DIV2K_valid_HR", 2)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}/000{seed}.png", png(seed))
        monkeypatch.setitem(download.DIV2K, name, hashlib.md5((tmp_path / f"{name}.zip").read_bytes()).hexdigest())
    words = ["--dataset", "div2k", "--source", str(tmp_path), "--lake", str(tmp_path / "lake"), "--patch", "32"]
    assert make_patches.main(words) == 0
    assert capsys.readouterr().out.count("fits") == 2
    for split in ("train", "valid"):
        assert read_manifest(tmp_path / "lake" / "patches" / split).rows == 6
    monkeypatch.setitem(download.DIV2K, "DIV2K_valid_HR", "0" * 32)
    assert make_patches.main(words) == 2
    assert "a damaged copy or another edition" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--source: give a folder"),
        (["--source", "nowhere"], "no such file or folder"),
        (["--source", ".", "--lake", "main.pictures"], "--lake main.pictures has no place for files: give --out"),
        (["--source", ".", "--out", "hdfs://name/patches"], "blocks need a folder that every worker mounts"),
        (["--source", ".", "--patch", "30"], "--patch 30: must be a positive multiple"),
    ],
)
def test_what_is_wrong_is_said(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_patches.main(["--lake", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_parquet_files_of_pictures_are_a_table_too(spark: SparkSession, pictures: Path, tmp_path: Path) -> None:
    found = spark.read.format("binaryFile").load(f"{pictures}/*.png")
    empty = spark.createDataFrame([("empty.png", None)], "path string, content binary")
    found.select("path", "content", "length").unionByName(empty, True).write.parquet(str(tmp_path / "table"))
    words = ["--source", str(tmp_path / "table"), "--lake", str(tmp_path / "lake"), *SMALL]
    assert make_patches.main(words) == 0
    rejected = TableRef(str(tmp_path / "lake" / "patches_rejected")).read(spark, PATCHES_REJECTED).collect()
    assert {Path(row["source"]).name: row["reason"].split()[0] for row in rejected} == {
        "broken.png": "damaged",
        "empty.png": "no",
    }
    parts = [read_manifest(tmp_path / "lake" / "patches" / split).rows for split in ("train", "valid")]
    assert sum(parts) == 48


def test_a_table_of_something_else_is_refused(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {"path string, image binary": "there is no column `content`", "path string, content string": "is string"}
    for i, (columns, message) in enumerate(cases.items()):
        table = str(tmp_path / f"table{i}")
        spark.createDataFrame([], columns).write.format("delta").save(table)
        assert make_patches.main(["--source", table, "--lake", str(tmp_path / "lake")]) == 2
        assert message in capsys.readouterr().err

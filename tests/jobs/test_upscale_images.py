"""`upscale_images`: what the command makes of each picture, from files and tables; nothing is made twice or lost."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import lake_tables
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.cli.files import try_lock
from lakerank.lake import picture_results
from lakerank.lake import pictures as lake_pictures
from lakerank.lake.binary_files import SourceFile
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.picture_results import Results, alone_with
from lakerank.lake.pictures import Pictures, contents, in_parts
from lakerank.lake.schemas import UPSCALED, UPSCALED_REJECTED
from spark_jobs import upscale_images
from sr_model import upscale
from sr_model.images import MAX_BYTES
from sr_model.inference import serialization
from sr_model.inference.pictures import Picture, write_picture
from sr_model.nets import make_generator
from sr_model.weights import load_generator, save_generator

TILE = ["--tile", "32"]
GOOD = ["alpha.png", "deep/er/grey.png", "deep/sixteen.png", "palette.png", "photo.jpg", "wide.png", "_first.tif"]


def values(seed: int, height: int, width: int, channels: int, dtype: type = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (height, width, channels), endpoint=True).astype(dtype)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind, larger and smaller than a tile, and two that are broken."""
    folder = tmp_path_factory.mktemp("pictures")
    write_picture(Picture(values(0, 20, 30, 3), values(1, 20, 30, 1)), folder / "alpha.png", "png")
    write_picture(Picture(values(2, 9, 8, 1)), folder / "deep" / "er" / "grey.png", "png")
    write_picture(Picture(values(3, 40, 33, 3, np.uint16)), folder / "deep" / "sixteen.png", "png")
    write_picture(Picture(values(4, 12, 12, 3)), folder / "_first.tif", "tiff")
    Image.fromarray(values(5, 10, 10, 3)).quantize(9).save(folder / "palette.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(values(6, 16, 48, 3)).save(folder / "photo.jpg", exif=turned, quality=90)
    Image.fromarray(values(7, 35, 100, 3)).save(folder / "wide.png")
    (folder / "cut-short.png").write_bytes((folder / "wide.png").read_bytes()[:400])
    (folder / "words.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("no picture, and not called like one")
    (folder / "._wide.png").write_text("what macOS leaves behind")
    return folder


@pytest.fixture(scope="module")
def by_command(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What `python -m sr_model.upscale` makes of the same folder: name without suffix → file."""
    out = tmp_path_factory.mktemp("by-command")
    assert upscale.main([str(pictures), str(out), "--device", "cpu", *TILE]) == 2  # the broken ones
    return {path.relative_to(out).with_suffix("").as_posix(): path.read_bytes() for path in out.rglob("*.png")}


@pytest.fixture(scope="module")
def lake(pictures: Path, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the enlarged pictures."""
    lake = tmp_path_factory.mktemp("lake")
    assert upscale_images.main(["--images", str(pictures), "--lake", str(lake), *TILE]) == 0
    return lake


def rows_of(spark: SparkSession, lake: Path) -> dict[str, Row]:
    rows = lake_tables.rows(UPSCALED, lake)
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: row for row in rows}


def rejected_of(spark: SparkSession, lake: Path) -> dict[str, str]:
    rows = lake_tables.rows(UPSCALED_REJECTED, lake)
    return {row["source"]: row["reason"] for row in rows}


def again(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    """Run the job; its summary."""
    capsys.readouterr()
    assert upscale_images.main([*map(str, words), "--json", *TILE]) == 0
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


@pytest.mark.connect
def test_every_picture_is_the_command_s(lake: Path, by_command: dict[str, bytes], spark: SparkSession) -> None:
    rows = rows_of(spark, lake)
    assert sorted(rows) == sorted(GOOD)
    for path, row in rows.items():
        name = Path(path).with_suffix("").as_posix()
        assert bytes(row["content"]) == by_command[name], path  # one encoder: equal bytes are equal pixels, and more
        with Image.open(io.BytesIO(row["content"])) as image:
            assert (image.width, image.height, image.format) == (row["width"], row["height"], "PNG")
        assert (row["model"], row["format"]) == ("tiny", "png")
        assert row["seconds"] > 0
    assert (rows["photo.jpg"]["width"], rows["photo.jpg"]["height"]) == (64, 192)  # upright


def test_broken_pictures_stand_in_a_table(lake: Path, spark: SparkSession) -> None:
    rejected = rejected_of(spark, lake)
    assert sorted(rejected) == ["cut-short.png", "words.jpg"]
    assert rejected["cut-short.png"].startswith("damaged")
    assert rejected["words.jpg"].startswith("not a picture")


def test_the_summary_says_how_fast_a_core_was(
    pictures: Path, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = again(capsys, "--images", pictures / "wide.png", "--lake", tmp_path)
    assert (summary["pictures"], summary["skipped"], summary["rejected"]) == (1, 0, 0)
    assert summary["megapixels"] == 0.056
    (row,) = rows_of(spark, tmp_path).values()
    assert summary["core_seconds"] == pytest.approx(row["seconds"], abs=0.001)
    assert summary["megapixels_per_core_second"] == pytest.approx(0.056 / row["seconds"], rel=0.01)


@pytest.mark.slow
@pytest.mark.connect
def test_only_what_has_changed_is_made_again(
    pictures: Path, lake: Path, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, mine = tmp_path / "pictures", tmp_path / "lake"
    shutil.copytree(pictures, source)
    shutil.copytree(lake, mine)
    ref, words = TableRef(str(mine / "upscaled")), ["--images", source, "--lake", mine]
    before, version = rows_of(spark, mine), ref.version(spark)

    summary = again(capsys, *words)
    assert (summary["pictures"], summary["skipped"], summary["rejected"]) == (0, 7, 2)
    assert ref.version(spark) == version  # nothing was written

    write_picture(Picture(values(50, 9, 8, 1)), source / "deep/er/grey.png", "png")  # changed
    (source / "palette.png").unlink()  # gone
    write_picture(Picture(values(51, 6, 6, 3)), source / "new.webp", "webp")
    (source / "alpha.png").write_bytes(b"")  # broken by now
    shutil.copy(source / "wide.png", source / "words.jpg")  # mended
    summary = again(capsys, *words)
    assert (summary["pictures"], summary["skipped"], summary["rejected"]) == (3, 4, 2)
    after = rows_of(spark, mine)
    assert sorted(after) == sorted({*GOOD, "new.webp", "words.jpg"} - {"palette.png", "alpha.png"})
    rejected = rejected_of(spark, mine)
    assert sorted(rejected) == ["alpha.png", "cut-short.png"]
    assert rejected["alpha.png"] == "no content"
    assert after["wide.png"] == before["wide.png"]
    assert after["words.jpg"]["content"] == before["wide.png"]["content"]
    assert after["deep/er/grey.png"]["content"] != before["deep/er/grey.png"]["content"]
    assert ref.version(spark) == version + 1


@pytest.mark.slow
def test_another_model_takes_the_place_of_all(
    pictures: Path, lake: Path, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(lake, tmp_path / "lake")
    torch.manual_seed(2)
    other = make_generator("srresnet5").eval()
    torch.save({"config": {"net": "srresnet5"}, "ema": other.state_dict()}, tmp_path / "best.pt")
    words = ["--images", pictures, "--lake", tmp_path / "lake"]
    summary = again(capsys, *words, "--checkpoint", tmp_path / "best.pt")
    assert (summary["pictures"], summary["skipped"], summary["model"]) == (7, 0, "best.pt")
    rows = rows_of(spark, tmp_path / "lake")
    assert {row["model"] for row in rows.values()} == {"best.pt"}
    upscaler = upscale.Upscaler(other, 32)
    wanted = upscaler.enlarge((pictures / "wide.png").read_bytes(), "png").pixels
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(rows["wide.png"]["content"]))), wanted)
    # The same weights under another name make the same pictures.
    save_generator(other, "srresnet5", tmp_path / "renamed.safetensors")
    assert again(capsys, *words, "--checkpoint", tmp_path / "renamed.safetensors")["skipped"] == 7
    assert again(capsys, *words, "--checkpoint", tmp_path / "renamed.safetensors", "--format", "webp")["pictures"] == 7


@pytest.mark.slow
def test_a_table_of_pictures_gives_the_same(
    pictures: Path, lake: Path, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [(name, (pictures / name).read_bytes()) for name in [*GOOD, "words.jpg"]]
    frame = spark.createDataFrame([*found, ("empty.png", None)], "path string, content binary")
    frame.withColumn("taken", F.lit(1)).write.format("delta").save(str(tmp_path / "delta"))
    frame.write.parquet(str(tmp_path / "parquet"))
    wanted = {path: row["content"] for path, row in rows_of(spark, lake).items()}
    for kind in ("delta", "parquet"):
        mine = tmp_path / f"lake-{kind}"
        summary = again(capsys, "--images", tmp_path / kind, "--lake", mine)
        assert (summary["pictures"], summary["rejected"]) == (7, 2)
        assert {path: row["content"] for path, row in rows_of(spark, mine).items()} == wanted
        assert rejected_of(spark, mine)["empty.png"] == "no content"
    assert again(capsys, "--images", tmp_path / "delta", "--lake", mine)["skipped"] == 7


def test_what_spark_reads_as_binary_files_is_a_table(
    pictures: Path, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = spark.read.format("binaryFile").load(str(pictures / "*e.png"))
    read.write.format("delta").save(str(tmp_path / "files"))
    assert again(capsys, "--images", tmp_path / "files", "--lake", tmp_path / "lake")["pictures"] == 2
    assert {Path(path).name for path in rows_of(spark, tmp_path / "lake")} == {"palette.png", "wide.png"}


def test_the_guide_s_way_back_to_files(
    lake: Path, by_command: dict[str, bytes], spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(lake, tmp_path / "lake")
    guide = (ROOT / "docs" / "upscaling.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "toLocalIterator" in block]
    monkeypatch.chdir(tmp_path)
    exec(block.replace('"lake/upscaled"', repr(str(tmp_path / "lake/upscaled"))), {"spark": spark, "Path": Path})
    out = tmp_path / "holiday-x4"
    made = {path.relative_to(out).with_suffix("").as_posix(): path.read_bytes() for path in out.rglob("*.png")}
    assert made == by_command


def test_large_pictures_are_in_partitions_of_their_own(spark: SparkSession, tmp_path: Path) -> None:
    sizes = [900, 10, 800, 10, 10, 700, 10, 600]
    listed = [SourceFile(str(tmp_path / f"{i}"), f"{i}", size * 1000) for i, size in enumerate(sizes)]
    for file in listed:
        Path(file.path).write_bytes(file.relative.encode())
    table = spark.createDataFrame(
        [(file.path, file.relative.encode()) for file in listed], "path string, content binary"
    )

    def names_of(batches):
        for batch in batches:
            for name, content in contents(batch):
                yield pa.RecordBatch.from_pydict({"name": [name], "content": [content]})

    for pictures in (Pictures(listed), Pictures(listed, 0, table)):
        parts = in_parts(spark, pictures, listed, 4).mapInArrow(names_of, "name string, content binary")
        rows = parts.select(F.spark_partition_id().alias("part"), "name", "content").collect()
        assert sorted(row["content"].decode() for row in rows) == [str(i) for i in range(8)]
        assert len({row["part"] for row in rows if len(row["content"]) and sizes[int(row["content"])] > 10}) == 4


def test_a_process_makes_the_net_once(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = serialization.generator_of
    monkeypatch.setattr(serialization, "generator_of", lambda *words: made.append(words[1]) or real(*words))
    monkeypatch.setattr(serialization, "_ready", {})
    recipe, other = serialization.serialize("tiny", 32), serialization.serialize("tiny", 64)
    assert recipe.key != other.key
    content = (pictures / "alpha.png").read_bytes()
    for asked in (recipe, recipe, other, other, recipe):
        serialization.upscale_file(asked, content)
    assert made == ["tiny"] * 3
    assert len(serialization._ready) == 1


def test_self_ensemble_is_another_recipe_and_makes_what_the_command_makes(pictures: Path, tmp_path: Path) -> None:
    made = serialization.serialize("tiny", 32, self_ensemble=True)
    assert made.key != serialization.serialize("tiny", 32).key
    asked = upscale_images.make_recipe(upscale_images.UpscaleImagesArgs(tile=32, self_ensemble=True))
    assert asked.constants["recipe"] == made.key
    source, target = pictures / "wide.png", tmp_path / "wide.png"
    assert upscale.main([str(source), str(target), "--device", "cpu", *TILE, "--self-ensemble"]) == 0
    assert serialization.upscale_file(made, source.read_bytes()).content == target.read_bytes()


def test_a_killed_run_is_taken_up_where_it_was(
    pictures: Path,
    lake: Path,
    spark: SparkSession,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed after the first of its instalments: these pictures are not made again, unless they have changed."""
    source, mine = tmp_path / "pictures", tmp_path / "lake"
    shutil.copytree(pictures, source)
    words, append, calls = ["--images", str(source), "--lake", str(mine), *TILE], TableSink.append, []

    def killed(sink: TableSink, rows: DataFrame) -> None:
        calls.append(sink.ref.location)
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(sink, rows)

    monkeypatch.setattr(picture_results, "_PARTS_PER_CORE", 1)  # instalments of as many pictures as there are cores
    monkeypatch.setattr(picture_results, "_INSTALMENT_SECONDS", 0)
    monkeypatch.setattr(TableSink, "append", killed)
    with contextlib.suppress(KeyboardInterrupt):
        assert upscale_images.main(words) != 0
    assert not (mine / "upscaled").exists()
    waiting = {row["path"] for row in spark.read.format("delta").load(str(mine / "upscaled_unfinished")).collect()}
    assert len(waiting) == 4
    changed = next(path for path in sorted(waiting) if path not in ("cut-short.png", "words.jpg"))
    write_picture(Picture(values(60, 7, 7, 3)), source / changed, "png")
    calls.clear()
    monkeypatch.setattr(TableSink, "append", lambda sink, rows: (calls.append(sink.ref.location), append(sink, rows)))
    summary = again(capsys, "--images", source, "--lake", mine)
    assert (summary["pictures"], summary["rejected"]) == (7, 2)
    assert summary["resumed"] == len(waiting - {"cut-short.png", "words.jpg", changed})
    assert sum("unfinished" in place for place in calls) == 3  # nine less four, and the changed one: two at a time
    rows, wanted = rows_of(spark, mine), rows_of(spark, lake)
    assert {path for path in rows if rows[path]["content"] != wanted[path]["content"]} == {changed}
    assert not (mine / "upscaled_unfinished").exists()


def test_two_runs_on_one_table_come_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looked: list[str] = []

    class Published:
        def result(self, relation: object, out: str) -> TableRef:
            looked.append("looked")
            return TableRef(str(tmp_path / "upscaled"))

    def update(*_: object) -> Results:
        looked.append("free" if try_lock(tmp_path / ".upscaled.lock") else "held")
        return Results(frozenset({"a"}), (), (), 0, lambda: None)

    recipe = SimpleNamespace(constants={"model": ""})
    for name, value in {"make_recipe": recipe, "open_pictures": None, "cores": 1, "summarize": {}}.items():
        monkeypatch.setattr(upscale_images, name, lambda *_, value=value: value)
    monkeypatch.setattr(upscale_images.Publications, "read", lambda *_: Published())
    monkeypatch.setattr(upscale_images, "_update", update)
    args = upscale_images.UpscaleImagesArgs(images="x", lake=str(tmp_path))
    with ThreadPoolExecutor(1) as pool:
        with alone_with(TableRef(str(tmp_path / "upscaled"))):
            second = pool.submit(upscale_images.run, None, args)  # type: ignore[arg-type]
            said, limit = "", time.monotonic() + 10
            while "another run makes its rows; waiting" not in said and time.monotonic() < limit:
                time.sleep(0.02)
                said += capsys.readouterr().out
            assert looked == []  # what the first publishes is what the second goes on from
        second.result(10)
    assert looked == ["looked", "held"]
    assert list(tmp_path.iterdir()) == []


def test_all_broken_leaves_the_table_as_it_was(
    lake: Path, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(lake, tmp_path / "lake")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"hello")
    assert upscale_images.main(["--images", str(tmp_path / "in"), "--lake", str(tmp_path / "lake")]) == 2
    error = capsys.readouterr().err
    assert "none of 1 pictures could be enlarged, e.g. a.png: not a picture" in error
    assert "Traceback" not in error
    assert len(rows_of(spark, tmp_path / "lake")) == 7
    assert sorted(rejected_of(spark, tmp_path / "lake")) == ["a.png"]


def test_what_is_wrong_is_said(
    pictures: Path,
    spark: SparkSession,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    for name, columns, rows in (
        ("none", "path string, content binary", []),
        ("other", "path string, image binary", [("a", b"")]),
        ("text", "path string, content string", [("a", "")]),
        ("twice", "path string, content binary", [("a.png", b""), ("a.png", b"")]),
    ):
        spark.createDataFrame(rows, columns).write.format("delta").save(str(tmp_path / name))
    photo = str(pictures / "photo.jpg")
    monkeypatch.setattr(serialization, "MOST_WEIGHTS", 1_000_000)
    save_generator(make_generator("srresnet5"), "srresnet5", tmp_path / "large.safetensors")
    for words, message in (
        ([], "--images: give a folder of pictures"),
        (["--images", str(tmp_path / "nowhere")], "nowhere: no such file or folder"),
        (["--images", str(tmp_path / "empty")], "empty: holds no pictures"),
        (["--images", str(tmp_path / "none")], "none: the table has no rows"),
        (["--images", str(tmp_path / "other")], "other: there is no column `content`"),
        (["--images", str(tmp_path / "text")], "text: `content` is string"),
        (["--images", str(tmp_path / "twice")], "twice: `path` a.png comes 2 times"),
        (["--images", photo, "--checkpoint", "tinny"], "tinny: no such checkpoint"),
        (["--images", photo, "--checkpoint", photo], "not a sound checkpoint"),
        (["--images", photo, "--checkpoint", str(tmp_path / "large.safetensors")], "more than travel to workers"),
        (["--images", photo, "--tile", "8"], "`tile` must be 0 (whole pictures) or at least 32"),
    ):
        assert upscale_images.main([*words, "--lake", str(tmp_path / "lake")]) == 2, words
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    assert not (tmp_path / "lake").exists()


def test_a_result_too_large_for_a_table_is_rejected(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = serialization.serialize("tiny")
    monkeypatch.setattr(serialization, "_MOST_CONTENT", 100)
    with pytest.raises(serialization.BrokenImage, match="more than goes into a table"):
        serialization.upscale_file(recipe, (pictures / "alpha.png").read_bytes())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), "memory does not suffice"),
        (MemoryError(), "memory does not suffice"),
        (ValueError("EXIF data\nis too long"), "cannot be used (ValueError: EXIF data is too long)"),
        (AssertionError(), "cannot be used (AssertionError: )"),
        (UserError("OpenCV is not installed"), ""),
        (ModuleNotFoundError("No module named 'cv2'"), ""),
    ],
)
def test_whatever_one_picture_does_costs_that_one(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fails(*words: object) -> None:
        raise error

    monkeypatch.setattr(serialization, "encode_picture", fails)
    row = serialization.row_function(serialization.serialize("tiny"))
    content = (pictures / "alpha.png").read_bytes()
    if said:
        assert row(content)["reason"].startswith(said)
    else:  # the worker lacks something: so does it for every picture
        with pytest.raises(type(error)):
            row(content)


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lake_pictures.MOST_BYTES == MAX_BYTES
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no room on the disk
    (tmp_path / "b.png").write_bytes(b"x" * 10)

    def reason(name: str, size: int) -> bytes | str:
        files = [[{"path": str(tmp_path / name), "relative": name, "size": size, "problem": ""}]]
        ((_, content),) = lake_pictures.contents(pa.RecordBatch.from_pydict({"part": [0], "files": files}))
        return content

    assert reason("b.png", 10) == b"x" * 10
    monkeypatch.setattr(lake_pictures, "chunks", lambda path: pytest.fail("it is read"))
    assert "MiB is more than 576" in str(reason("a.png", MAX_BYTES + 1))
    monkeypatch.undo()
    monkeypatch.setattr(lake_pictures, "MOST_BYTES", 5)
    assert "is more than" in str(reason("b.png", 3))  # it has grown since it was listed


def test_workers_without_pytorch_are_told_about(
    pictures: Path,
    spark: SparkSession,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lacking(recipe: object):
        def row(content: object) -> dict[str, object]:
            import torch_that_is_not_there  # noqa: F401

            return {}

        return row

    monkeypatch.setattr(serialization, "row_function", lacking)
    assert upscale_images.main(["--images", str(pictures), "--lake", str(tmp_path)]) == 2
    assert "workers lack a package (No module named 'torch_that_is_not_there')" in capsys.readouterr().err


def test_weights_travel_unchanged() -> None:
    recipe = serialization.serialize("tiny")
    travelled = serialization.generator_of(recipe.weights, "there").state_dict()
    assert all(torch.equal(value, travelled[name]) for name, value in load_generator("tiny").state_dict().items())


@pytest.mark.slow  # each worker imports spandrel, and torchvision with it
@pytest.mark.connect(slow=True)
def test_a_model_of_another_project_over_a_table_of_pictures(
    pictures: Path, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SwinIR ×2 by spandrel, which the workers build from the tensors that travelled: byte for byte the command's."""
    pytest.importorskip("spandrel", reason="needs lakerank[spandrel]")
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    sizes = {"img_size": 16, "window_size": 8, "depths": [2], "embed_dim": 12, "num_heads": [2], "mlp_ratio": 2}
    torch.save({"params_ema": SwinIR(upscale=2, upsampler="pixelshuffle", **sizes).state_dict()}, tmp_path / "swin.pth")
    names = ["photo.jpg", "wide.png", "deep/er/grey.png", "words.jpg"]
    rows = [(name, bytearray((pictures / name).read_bytes())) for name in names]
    spark.createDataFrame(rows, "path string, content binary").write.format("delta").save(str(tmp_path / "photos"))
    words = ["--images", tmp_path / "photos", "--lake", tmp_path / "lake", "--checkpoint", tmp_path / "swin.pth"]
    summary = again(capsys, *words)
    assert (summary["pictures"], summary["rejected"], summary["model"]) == (3, 1, "swin.pth")
    made = rows_of(spark, tmp_path / "lake")
    for name in names[:3]:
        out = tmp_path / Path(name).with_suffix(".png").name
        command = [str(pictures / name), str(out), "--checkpoint", str(tmp_path / "swin.pth"), "--device", "cpu", *TILE]
        assert upscale.main(command) == 0
        assert bytes(made[name]["content"]) == out.read_bytes()
    assert (made["wide.png"]["width"], made["wide.png"]["height"]) == (200, 70)
    assert again(capsys, *words)["skipped"] == 3

"""Pictures cut into patches: where, which, from what, and the same whoever does it."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lakerank.cli.errors import UserError
from lakerank.cli.files import part_name
from sr_model import build_patches
from sr_model.data.format import read_manifest
from sr_model.data.open_stream import open_stream
from sr_model.degrade import downscale
from sr_model.images import BrokenImage, decode_rgb
from sr_model.patching import parts as patch_parts
from sr_model.patching.dataset import begin
from sr_model.patching.extract import PatchPlan, TooSmall, extract_patches, gradient, patch_starts
from sr_model.patching.sources import list_items, read_item

PLAN = PatchPlan(patch=32, stride=32, min_gradient=0.0)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


# --- where patches lie


@pytest.mark.parametrize("length", [32, 33, 36, 63, 64, 100, 129])
@pytest.mark.parametrize("stride", [16, 32, 48])
def test_patches_reach_both_ends_and_lie_on_lr_pixels(length: int, stride: int) -> None:
    found = patch_starts(length, PatchPlan(patch=32, stride=stride))
    assert found[0] == 0
    assert found[-1] == (length - 32) // 4 * 4  # at most three pixels are left over
    assert all(offset % 4 == 0 for offset in found)
    assert all(0 < b - a <= stride for a, b in pairwise(found))


def test_patches_are_cut_where_they_say() -> None:
    image = noise(70, 101)
    found = list(extract_patches(image, "a.png", PLAN))
    assert len(found) == 3 * 4
    for row in found:
        assert row is not None
        assert row.source == "a.png"
        assert np.array_equal(row.hr, image[row.y : row.y + 32, row.x : row.x + 32])
        assert row.lr is None


def test_stored_lr_is_that_of_the_whole_picture() -> None:
    image = noise(64, 96)
    whole = downscale(image, 4)
    for row in extract_patches(image, "a", PatchPlan(patch=32, stride=32, min_gradient=0.0, store_lr=True)):
        assert row is not None
        assert row.lr is not None
        assert np.array_equal(row.lr, whole[row.y // 4 : row.y // 4 + 8, row.x // 4 : row.x // 4 + 8])


def test_flat_patches_are_left_out_and_counted() -> None:
    image = noise(64, 64)
    image[:32, :32] = 128
    found = list(extract_patches(image, "a", PatchPlan(patch=32, stride=32, min_gradient=3.0)))
    assert [row is None for row in found] == [True, False, False, False]


def test_the_gradient_of_a_ramp_is_its_slope() -> None:
    ramp = np.repeat((np.arange(32, dtype=np.uint8) * 5)[None, :, None], 3, axis=2).repeat(32, axis=0)
    assert gradient(ramp) == pytest.approx(5 / 2, rel=1e-5)  # 5 in one direction, 0 in the other
    assert gradient(ramp.transpose(1, 0, 2)) == pytest.approx(5 / 2, rel=1e-5)
    assert gradient(np.full((32, 32, 3), 77, np.uint8)) == 0


def test_a_picture_without_room_is_refused() -> None:
    with pytest.raises(TooSmall, match="43 × 31 pixels, smaller than a patch of 32"):
        list(extract_patches(noise(31, 43), "a", PLAN))


@pytest.mark.parametrize(("name", "value"), [("patch", 30), ("patch", 0), ("stride", 6), ("stride", -4)])
def test_sizes_must_fit_the_scale(name: str, value: int) -> None:
    with pytest.raises(UserError, match=f"--{name} {value}: must be a positive multiple"):
        PatchPlan(**{name: value})


# --- shrunk pictures


def test_each_size_is_cut_from_the_shrunk_picture_under_a_name_of_its_own() -> None:
    image = noise(130, 97)
    plan = PatchPlan(patch=32, stride=32, min_gradient=0.0, store_lr=True, multiscale=(1.0, 0.5))
    found = [row for row in extract_patches(image, "a.png", plan) if row is not None]
    half = np.asarray(Image.fromarray(image).resize((48, 65), Image.Resampling.LANCZOS))
    at_half = [row for row in found if row.source == "a.png@0.5"]
    alone = list(extract_patches(image, "a.png", PatchPlan(patch=32, stride=32, min_gradient=0.0)))
    assert len(found) - len(at_half) == len(alone)
    assert len(at_half) == 2 * 2
    for row in at_half:
        assert np.array_equal(row.hr, half[row.y : row.y + 32, row.x : row.x + 32])
        assert np.array_equal(
            row.lr, downscale(half[:64, :48], 4)[row.y // 4 : row.y // 4 + 8, row.x // 4 : row.x // 4 + 8]
        )


def test_sizes_without_room_are_passed_over_unless_none_has_any() -> None:
    image = noise(64, 64)
    plan = PatchPlan(patch=32, stride=32, min_gradient=0.0, multiscale=(0.25, 1.0))
    assert {row.source for row in extract_patches(image, "a", plan) if row} == {"a"}
    with pytest.raises(TooSmall, match="64 × 64 pixels"):
        list(extract_patches(image, "a", PatchPlan(patch=32, stride=32, multiscale=(0.25, 0.4))))


@pytest.mark.parametrize("sizes", ["0", "1.5", "1,-0.5", "0.5,0.5", "nan", "half", "1,", ""])
def test_sizes_that_make_no_sense_are_refused(sizes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(png(noise(64, 64)))
    given = ["--source", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), f"--multiscale={sizes}"]
    assert build_patches.main(given) == 2
    assert f"--multiscale {sizes}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_cuts_all_sizes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(noise(128, 128)))
    out = tmp_path / "out"
    given = ["--source", str(tmp_path / "a.png"), "--out", str(out), "--patch", "32", "--valid-fraction", "0"]
    assert build_patches.main([*given, "--multiscale", "1,0.5,0.25"]) == 0
    assert read_manifest(out / "train").rows == 16 + 4 + 1
    assert build_patches.main(given) == 2  # other settings; not mixed with what is there


# --- pictures of all kinds


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def test_all_kinds_become_rgb() -> None:
    image = noise(20, 30)
    rgb = Image.fromarray(image)
    grey16 = Image.fromarray((np.arange(600, dtype=np.uint16) * 100).reshape(20, 30))
    grey = np.asarray(rgb.convert("L"))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter
    alpha = Image.fromarray(np.dstack([image, np.zeros((20, 30), np.uint8)]))
    cases: dict[str, tuple[bytes, np.ndarray]] = {
        "png": (saved(rgb, "PNG"), image),
        "tiff": (saved(rgb, "TIFF"), image),
        "webp": (saved(rgb, "WEBP", lossless=True), image),
        "grey": (saved(rgb.convert("L"), "PNG"), np.dstack([grey] * 3)),
        "16 bits": (saved(grey16, "PNG"), np.dstack([((np.asarray(grey16) / 257) + 0.5).astype(np.uint8)] * 3)),
        "turned": (saved(rgb, "PNG", exif=turned), np.rot90(image, -1)),
        "transparent": (saved(alpha, "PNG"), np.full((20, 30, 3), 255, np.uint8)),
    }
    for name, (data, wanted) in cases.items():
        found = decode_rgb(data)
        assert found.dtype == np.uint8, name
        assert np.array_equal(found, wanted), name
    for how in (saved(rgb.convert("CMYK"), "JPEG", quality=100), saved(rgb.quantize(256), "PNG")):
        assert np.abs(decode_rgb(how).astype(int) - image).mean() < 40


def test_broken_pictures_say_why() -> None:
    whole = png(noise(64, 64))
    cases = {b"": "not a picture", b"GIF89a": "not a picture|damaged", whole[: len(whole) // 2]: "damaged"}
    for data, reason in cases.items():
        with pytest.raises(BrokenImage, match=reason):
            decode_rgb(data)


# --- sources


NAMES = {"a.png": 1, "deep/er/b.png": 2, "_under.png": 3, ".dot.png": 4}


def files() -> dict[str, bytes]:
    pictures = {name: png(noise(40, 48, seed)) for name, seed in NAMES.items()}
    rest = {"readme.txt": b"words", "__MACOSX/a.png": b"x", "deep/._b.png": b"x", ".DS_Store": b"x"}
    return pictures | rest


def as_folder(at: Path) -> Path:
    for name, data in files().items():
        (at / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (at / "folder" / name).write_bytes(data)
    return at / "folder"


def as_tar(at: Path, ending: str = "tar") -> Path:
    with tarfile.open(at / f"all.{ending}", "w:gz" if ending == "tar.gz" else "w") as tar:
        for name, data in files().items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return at / f"all.{ending}"


def as_zip(at: Path) -> Path:
    with zipfile.ZipFile(at / "all.zip", "w") as archive:
        for name, data in files().items():
            archive.writestr(name, data)
    return at / "all.zip"


@pytest.mark.parametrize("pack", [as_folder, as_tar, lambda at: as_tar(at, "tar.gz"), as_zip])
def test_folders_and_archives_hold_the_same(tmp_path: Path, pack: Callable[[Path], Path]) -> None:
    listing = list_items(str(pack(tmp_path)))
    assert [item.name for item in listing.items] == sorted(NAMES)
    assert listing.others == 1  # the text; bookkeeping of other systems is not worth a word
    for item in listing.items:
        assert read_item(item) == files()[item.name]
        assert item.size == len(files()[item.name])


def test_div2k_s_folders_decide_the_split(tmp_path: Path) -> None:
    for name in ("DIV2K_train_HR/0001.png", "DIV2K_valid_HR/0801.png", "DIV2K_train_LR_bicubic/X4/0001x4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(noise(32, 32)))
    listing = list_items(str(tmp_path))
    assert {item.name: item.split for item in listing.items} == {
        "DIV2K_train_HR/0001.png": "train",
        "DIV2K_valid_HR/0801.png": "valid",
    }
    assert listing.others == 1


def test_sources_that_cannot_be_are_said(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("no picture")
    (tmp_path / "bad.zip").write_text("no zip")
    (tmp_path / "bad.tar").write_text("no tar")
    one = tmp_path / "one" / "a.png"
    one.parent.mkdir()
    one.write_bytes(png(noise(8, 8)))
    cases = {
        str(tmp_path / "nowhere"): "no such file or folder",
        str(tmp_path / "words.txt"): "neither a folder, a picture",
        str(tmp_path / "bad.zip"): "not a sound zip file",
        str(tmp_path / "bad.tar"): "not a sound tar file",
        f"{one},{one}": "two pictures are called a.png",
    }
    for source, message in cases.items():
        with pytest.raises(UserError, match=message):
            list_items(source)
    one.unlink()
    with pytest.raises(UserError, match="holds no pictures"):
        list_items(str(one.parent))


# --- the data set


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """12 pictures, one of them twice, one broken, one too small."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i:02}.png").write_bytes(png(noise(64, 80, i)))
    (folder / "copy-of-03.png").write_bytes((folder / "03.png").read_bytes())
    (folder / "broken.png").write_bytes((folder / "00.png").read_bytes()[:200])
    (folder / "small.png").write_bytes(png(noise(16, 64)))
    return folder


def build(pictures: Path, out: Path, *words: str) -> int:
    base = ["--source", str(pictures), "--out", str(out), "--patch", "32", "--valid-fraction", "0.3", "--workers", "1"]
    return build_patches.main([*base, *words])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_patch_is_in_one_split_with_its_origin(pictures: Path, tmp_path: Path) -> None:
    assert build(pictures, tmp_path / "out") == 0
    sources: dict[str, set[str]] = {}
    rows = 0
    for split in ("train", "valid"):
        sources[split] = set()
        manifest = read_manifest(tmp_path / "out" / split)
        assert manifest.facts["summary"]["images"] == 13
        import pyarrow.parquet as pq

        for part in manifest.parts:
            table = pq.read_table(tmp_path / "out" / split / part.name)
            rows += table.num_rows
            for hr, source, x, y in zip(
                *(table.column(n).to_pylist() for n in ("hr", "source", "x", "y")), strict=True
            ):
                sources[split].add(source)
                whole = decode_rgb((pictures / source).read_bytes())
                assert np.array_equal(np.load(io.BytesIO(hr)), whole[y : y + 32, x : x + 32])
    assert rows == 13 * 2 * 3
    assert not sources["train"] & sources["valid"]
    assert len(sources["train"] | sources["valid"]) == 13
    together = [split for split, names in sources.items() if "03.png" in names]
    assert together == [split for split, names in sources.items() if "copy-of-03.png" in names]


def test_what_cannot_be_used_is_kept_with_its_reason(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(pictures, tmp_path / "out", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1])["rejected"] == 2
    rejected = dict(pair for one in patch_parts.read_results(tmp_path / "out") for pair in one.rejected)
    assert rejected["small.png"] == "64 × 16 pixels, smaller than a patch of 32"
    assert rejected["broken.png"].startswith("damaged")


def test_the_same_pictures_give_the_same_bytes(pictures: Path, tmp_path: Path) -> None:
    assert build(pictures, tmp_path / "one") == 0
    assert build(pictures, tmp_path / "two", "--workers", "2") == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert build(pictures, tmp_path / "three", "--seed", "5") == 0
    assert contents(tmp_path / "one" / "valid") != contents(tmp_path / "three" / "valid")


def test_a_second_run_changes_nothing(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(pictures, tmp_path / "out") == 0
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    assert build(pictures, tmp_path / "out") == 0
    assert "holds these patches already" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == times


def test_other_pictures_or_settings_are_refused_or_replace(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(pictures, tmp_path / "out") == 0
    assert build(pictures, tmp_path / "out", "--patch", "16") == 2
    assert "choose another, or --overwrite" in capsys.readouterr().err
    assert read_manifest(tmp_path / "out" / "train").patch == 32
    assert build(pictures, tmp_path / "out", "--patch", "16", "--overwrite") == 0
    assert read_manifest(tmp_path / "out" / "train").patch == 16


def test_a_killed_run_goes_on(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_parts, "_LEAST_BYTES", 20_000)  # a part for every second picture
    assert build(pictures, tmp_path / "whole") == 0
    listing = list_items(str(pictures))
    settings = patch_parts.Build(PatchPlan(32, 32), 0.3)
    parts = patch_parts.group_items(listing.items)
    assert len(parts) > 4
    out = tmp_path / "killed"
    begin(out, settings.fingerprint([(item.name, item.size) for item in listing.items]), False)
    for number in (0, 2):
        patch_parts.make_part(out, number, parts[number], settings)
    for name in ("train/part-00001.parquet", "_parts/00001.json"):
        (out / name).with_name(part_name(Path(name).name)).write_bytes(b"half")
    with pytest.raises(UserError, match="no finished patches here"):
        open_stream(out / "train")
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*.parquet")}
    assert build(pictures, out) == 0
    assert contents(out) == contents(tmp_path / "whole")
    assert {p: p.stat().st_mtime_ns for p in kept} == kept  # what was done was not done again


def test_a_trial_takes_the_first_pictures(pictures: Path, tmp_path: Path) -> None:
    assert build(pictures, tmp_path / "out", "--limit", "2", "--valid-fraction", "0") == 0
    assert read_manifest(tmp_path / "out" / "train").rows == 2 * 6
    assert not (tmp_path / "out" / "valid").exists()

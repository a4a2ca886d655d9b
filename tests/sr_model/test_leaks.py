"""The leak guard finds what was done to an evaluation picture, and nothing where nothing is."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lakerank.cli.errors import UserError
from sr_model import leaks
from sr_model.data.format import PatchRow
from sr_model.data.writer import finish, write_part
from sr_model.leaks import main, refuse_leaks
from sr_model.scoring.leak_search import Leak, find_leaks
from sr_model.scoring.read_pictures import read_pictures

Picture = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def scene(seed: int, height: int = 256, width: int = 320) -> Picture:
    """Leaves of many sizes over one another, as photographs have them: edges and corners everywhere."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.uint8)
    for _ in range(700):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(3 + 25 * rng.random() ** 3), int(3 + 25 * rng.random() ** 3))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        cv2.ellipse(image, centre, axes, float(rng.integers(180)), 0, 360, colour, -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7), np.uint8)


def jpeg(image: Picture, quality: int = 50) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def rescaled(image: Picture, factor: float) -> Picture:
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def within(image: Picture) -> Picture:
    """As a part of a larger picture."""
    larger = scene(99, 700, 900).copy()
    larger[200 : 200 + image.shape[0], 300 : 300 + image.shape[1]] = image
    return larger


DISGUISES: dict[str, Callable[[Picture], Picture]] = {
    "copy": lambda x: x,
    "JPEG of quality 50": jpeg,
    "half its size": lambda x: rescaled(x, 0.5),
    "larger": lambda x: rescaled(x, 1.6),
    "half its size, JPEG": lambda x: jpeg(rescaled(x, 0.5)),
    "mirrored": lambda x: np.ascontiguousarray(x[:, ::-1]),
    "upside down": lambda x: np.ascontiguousarray(x[::-1]),
    "turned": lambda x: np.ascontiguousarray(np.rot90(x)),
    "grey": lambda x: np.asarray(Image.fromarray(x).convert("L").convert("RGB")),
    "a crop": lambda x: np.ascontiguousarray(x[80:176, 101:197]),
    "a crop, mirrored, JPEG": lambda x: jpeg(np.ascontiguousarray(x[80:176, 101:197][:, ::-1])),
    "within another": within,
    "brighter": lambda x: np.clip(x.astype(float) * 0.7 + 60, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_an_evaluation_picture_is_found_in_every_disguise(disguise: str) -> None:
    truths = [(f"eval-{seed}", scene(seed)) for seed in range(3)]
    given = [("innocent", scene(50)), ("guilty", DISGUISES[disguise](truths[1][1])), ("innocent too", scene(51))]
    found = find_leaks(given, truths)
    assert [(leak.train, leak.eval) for leak in found] == [("guilty", "eval-1")]
    assert 0.8 <= found[0].score <= 1.0001


def test_it_is_said_what_was_done() -> None:
    truth = [("truth", scene(1))]
    (half,) = find_leaks([("half", np.ascontiguousarray(rescaled(truth[0][1], 0.5)[:, ::-1]))], truth)
    assert half.how.startswith("mirrored, at 0.50 of its size, ")
    (crop,) = find_leaks([("crop", truth[0][1][64:192, 80:240].copy())], truth)
    assert crop.how == "at 1.00 of its size, 25 % of it"


def test_other_pictures_and_flat_ones_are_no_leaks() -> None:
    truths = [(f"eval-{seed}", scene(seed)) for seed in range(3)] + [("flat", np.full((64, 64, 3), 7, np.uint8))]
    y, x = np.mgrid[:256, :256]
    stripes = np.repeat(((x // 8 + y // 8) % 2 * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    given = [(f"train-{seed}", scene(seed)) for seed in range(20, 26)]
    given += [("stripes", stripes), ("noise", noise), ("flat", np.full((96, 96, 3), 7, np.uint8))]
    assert find_leaks(given, truths) == []
    assert find_leaks(given, []) == []


def write_patches(folder: Path, pictures: dict[str, Picture], patch: int = 96) -> None:
    rows = [
        PatchRow(np.ascontiguousarray(image[y : y + patch, x : x + patch]), None, name, x, y)
        for name, image in pictures.items()
        for y in range(0, image.shape[0] - patch + 1, patch)
        for x in range(0, image.shape[1] - patch + 1, patch)
    ]
    part = write_part(folder / "part-0.parquet", rows, patch=patch, row_group_rows=4)
    assert part
    finish(folder, [part], patch=patch)


def test_patches_are_put_together_again(tmp_path: Path) -> None:
    pictures = {"a.png": scene(1, 192, 288), "b.png": scene(2, 96, 96)}
    write_patches(tmp_path / "patches", pictures)
    found = dict(read_pictures(tmp_path / "patches"))
    assert list(found) == list(pictures)
    for name, image in pictures.items():
        np.testing.assert_array_equal(found[name], image)


def test_folder_tar_and_zip_give_the_same_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(scene(seed, 40, 50)).save(folder / f"{seed}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.png").write_bytes(b"no picture either")
    with (
        tarfile.open(tmp_path / "images.tar.gz", "w:gz") as tar,
        zipfile.ZipFile(tmp_path / "images.zip", "w") as packed,
    ):
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
            packed.write(file, file.name)
    for path in (folder, tmp_path / "images.tar.gz", tmp_path / "images.zip"):
        found = list(read_pictures(path))
        assert [name for name, _ in found] == ["0.png", "1.png", "2.png"]
        np.testing.assert_array_equal(found[2][1], scene(2, 40, 50))


def test_training_on_a_crop_is_refused_and_the_result_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = scene(1)
    valid = tmp_path / "valid"
    valid.mkdir()
    Image.fromarray(truth).save(valid / "x_HR.png")
    Image.fromarray(rescaled(truth, 0.25)).save(valid / "x_LR.png")
    write_patches(tmp_path / "clean", {"a.png": scene(5, 192, 192)})
    write_patches(tmp_path / "dirty", {"a.png": scene(5, 192, 192), "b.png": truth[96:192, 96:192]})
    refuse_leaks(tmp_path / "clean", valid)
    with pytest.raises(UserError, match=r"dirty: the training data holds pictures of .*: b\.png shows x_HR\.png \("):
        refuse_leaks(tmp_path / "dirty", valid)

    def no_search(*given: object) -> list[Leak]:
        raise AssertionError("searched again")

    monkeypatch.setattr(leaks, "_search", no_search)
    refuse_leaks(tmp_path / "clean", valid)
    with pytest.raises(UserError, match=r"b\.png shows x_HR\.png"):
        refuse_leaks(tmp_path / "dirty", valid)
    Image.fromarray(truth).save(valid / "another.png")
    with pytest.raises(AssertionError, match="searched again"):
        refuse_leaks(tmp_path / "clean", valid)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, name, seed in (("train", "a.png", 5), ("train", "b.png", 6), ("eval", "c.png", 7)):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(scene(seed)).save(tmp_path / folder / name)
    Image.fromarray(rescaled(scene(7), 0.25)).save(tmp_path / "eval" / "c_LR.png")  # shows what c.png shows
    words = ["--train", str(tmp_path / "train"), "--against", str(tmp_path / "eval")]
    assert main([*words, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["leaks"], summary["pictures"], summary["against"]) == (0, 2, 1)
    Image.fromarray(jpeg(scene(7))).save(tmp_path / "train" / "copied.png")
    assert main(words) == 2
    told = capsys.readouterr()
    assert "leak: copied.png shows eval/c.png" in told.out
    assert "1 leaks of" in told.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give both"),
        (["--train", "none", "--against", "."], "holds no pictures"),
        (["--train", "no", "--against", "no"], "no such file or folder"),
    ],
)
def test_mistakes_are_said(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err

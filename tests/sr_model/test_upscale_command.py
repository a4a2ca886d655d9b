"""The upscale command: what it writes, keeps, refuses, and how it ends when some pictures are broken."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests_root import ROOT
from torch import nn

from sr_model import upscale
from sr_model.device import has_bfloat16
from sr_model.inference import upscaler
from sr_model.inference.pictures import Picture, read_picture, write_picture
from sr_model.inference.tiles import upscale_tiled
from sr_model.inference.upscaler import Upscaler, bleed, upscale_picture
from sr_model.nets import make_generator
from sr_model.scoring.validation import super_resolve
from sr_model.upscale import main, make, make_plan
from sr_model.weights import load_generator, save_generator
from sr_model.zoo import DEFAULT


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_generator(make_generator("tiny"), "tiny", path)
    return path


def values(channels: int, dtype: type = np.uint8, height: int = 40, width: int = 37) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(4).integers(0, top, (height, width, channels), endpoint=True).astype(dtype)


def a_picture(path: Path, channels: int = 3, height: int = 9, width: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = values(channels, height=height, width=width)
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(path)
    return path


def call(checkpoint: Path, *words: object) -> int:
    return main([*(str(word) for word in words), "--checkpoint", str(checkpoint), "--device", "cpu"])


def test_a_file_becomes_what_the_net_makes_of_it(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = a_picture(tmp_path / "a.png", height=50, width=45), tmp_path / "new" / "a.png"
    assert call(checkpoint, source, target, "--tile", 32, "--json") == 0
    made = np.asarray(Image.open(target), np.int16)
    whole = upscale_tiled(load_generator(checkpoint), np.asarray(Image.open(source)), tile=0)
    assert made.shape == (200, 180, 3)
    assert np.abs(made - whole).max() <= 1
    assert [path.name for path in target.parent.iterdir()] == ["a.png"]
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {
        "job": "upscale",
        "images": 1,
        "skipped": 0,
        "megapixels": 0.036,
        "device": "cpu",
    }.items() <= summary.items()


def test_self_ensemble_is_the_one_that_is_scored(tmp_path: Path, checkpoint: Path) -> None:
    source, plain, mean = a_picture(tmp_path / "a.png", height=50, width=45), tmp_path / "b.png", tmp_path / "c.png"
    assert call(checkpoint, source, plain, "--tile", 32) == 0
    assert call(checkpoint, source, mean, "--tile", 32, "--self-ensemble") == 0
    made = np.asarray(Image.open(mean), np.int16)
    scored = super_resolve(load_generator(checkpoint), np.asarray(Image.open(source)), self_ensemble=True)
    assert np.abs(made - scored).max() <= 1
    assert np.abs(made - np.asarray(Image.open(plain))).max() > 1


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_kind_is_kept(tmp_path: Path, checkpoint: Path, kind: str, dtype: type, channels: int, alpha: bool) -> None:
    if channels == 1 and alpha and dtype == np.uint16:
        channels = 3  # there is no such file that OpenCV writes
    source, target = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    write_picture(Picture(values(channels, dtype), values(1, dtype) if alpha else None, exif=b""), source, kind)
    assert call(checkpoint, source, target) == 0
    made = read_picture(target)
    assert made.pixels.shape == (160, 148, channels)
    assert made.pixels.dtype == dtype
    assert (made.alpha is not None) == alpha


def test_16_bits_are_more_than_8(checkpoint: Path) -> None:
    """A slow ramp has far more than 256 levels afterwards."""
    ramp = np.linspace(20_000, 24_000, 64 * 64).astype(np.uint16).reshape(64, 64, 1)
    made = upscale_picture(load_generator(checkpoint), Picture(ramp))
    assert len(np.unique(made.pixels)) > 2_000


def test_grey_stays_grey_and_colour_of_tiny_follows_bicubic(checkpoint: Path) -> None:
    grey = values(1)
    made = upscale_picture(load_generator(checkpoint), Picture(grey)).pixels
    three = upscale_picture(load_generator(checkpoint), Picture(np.repeat(grey, 3, axis=2))).pixels
    assert np.abs(made.astype(int) - three).max() <= 1


def test_no_fringe_where_a_picture_ends(checkpoint: Path) -> None:
    """A red disc on transparent green: no green may shine into what can be seen."""
    y, x = np.mgrid[:48, :48]
    inside = (y - 24) ** 2 + (x - 24) ** 2 < 200
    pixels = np.where(inside[..., None], [200, 30, 30], [0, 255, 0]).astype(np.uint8)
    picture = Picture(pixels, (inside * 255).astype(np.uint8)[..., None])
    made = upscale_picture(load_generator(checkpoint), picture)
    assert made.alpha is not None
    seen = made.alpha[..., 0] > 0
    assert made.pixels[seen][:, 1].max() < 60
    assert 0.9 < seen.mean() / inside.mean() < 1.3
    exact = Image.fromarray(inside * np.float32(255)).resize((192, 192), Image.Resampling.BICUBIC)
    assert np.abs(made.alpha[..., 0] - np.clip(np.asarray(exact), 0, 255)).max() <= 0.51


def test_bleed_takes_the_nearest_and_leaves_what_is_seen() -> None:
    pixels = np.array([[[1], [2], [3], [4], [5], [6]]], np.uint8)
    alpha = np.array([[[0], [9], [0], [0], [0], [255]]], np.uint8)
    assert bleed(pixels, alpha)[0, :, 0].tolist()[:3] == [2, 2, 2]
    assert bleed(pixels, alpha)[0, :, 0].tolist()[4:] == [6, 6]
    assert bleed(pixels, alpha * 0) is pixels


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2)])
def test_smallest_pictures_work(tmp_path: Path, checkpoint: Path, size: tuple[int, int]) -> None:
    source = a_picture(tmp_path / "a.png", height=size[0], width=size[1])
    assert call(checkpoint, source, tmp_path / "b.png") == 0
    assert Image.open(tmp_path / "b.png").size == (4 * size[1], 4 * size[0])


def test_a_folder_keeps_its_structure_and_goes_on(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    a_picture(source / "a.png")
    a_picture(source / "deep" / "er" / "b.JPG", 1)
    a_picture(source / ".hidden" / "c.png")
    (source / "notes.txt").write_text("no picture")
    assert call(checkpoint, source, target, "--json") == 0
    files = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    assert files == ["a.png", "deep/er/b.png"]
    out = capsys.readouterr().out
    assert "1 files in" in out
    assert json.loads(out.splitlines()[-1])["images"] == 2

    (target / "a.png").unlink()
    (target / "deep/er/b.png").write_bytes(b"mine")
    assert call(checkpoint, source, target, "--json") == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["images"], summary["skipped"]) == (1, 1)
    assert (target / "deep/er/b.png").read_bytes() == b"mine"
    assert call(checkpoint, source, target, "--force") == 0
    assert read_picture(target / "deep/er/b.png").grey


def test_a_broken_picture_does_not_stop_the_others(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    a_picture(source / "a.png")
    a_picture(source / "z.png")
    (source / "m.png").write_bytes((source / "a.png").read_bytes()[:60])
    (source / "n.jpg").write_bytes(b"hello")
    assert call(checkpoint, source, target) == 2
    error = capsys.readouterr().err
    assert sorted(path.name for path in target.iterdir()) == ["a.png", "z.png"]
    assert "m.png: damaged" in error
    assert "n.jpg: not a picture" in error
    assert "2 of 4 pictures" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(("kind", "names"), [("", ["a.png", "b.png"]), ("same", ["a.jpg", "b.tif"]), ("webp", None)])
def test_formats_of_a_folder(tmp_path: Path, kind: str, names: list[str] | None) -> None:
    a_picture(tmp_path / "in" / "a.jpg")
    a_picture(tmp_path / "in" / "b.tif")
    plan = make_plan(tmp_path / "in", tmp_path / "out", kind)
    assert [task.target.name for task in plan.tasks] == (names or ["a.webp", "b.webp"])


def test_results_inside_the_input_folder_are_not_enlarged_again(tmp_path: Path) -> None:
    a_picture(tmp_path / "a.png")
    a_picture(tmp_path / "x4" / "a.png")
    assert [task.source.name for task in make_plan(tmp_path, tmp_path / "x4", force=True).tasks] == ["a.png"]


def test_the_guide_is_true(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of docs/upscaling.md that needs no further packages, and its Python, with the files they name."""
    guide = (ROOT / "docs" / "upscaling.md").read_text(encoding="utf-8")
    a_picture(tmp_path / "photo.jpg")
    a_picture(tmp_path / "holiday" / "day 1" / "a.jpg")
    save_generator(load_generator(checkpoint), "tiny", tmp_path / "build/sr/gan.safetensors")
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^python -m sr_model\.(\w+) ?(.*)$", guide, re.MULTILINE)
    assert len(lines) == 6
    for module, words in lines:
        if "onnx" not in words and "RealESRGAN" not in words:  # weights that others publish
            assert importlib.import_module(f"sr_model.{module}").main(shlex.split(words)) == 0
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert made >= {"photo-x4.png", "holiday-x4/day 1/a.png", "generator.pt"}
    Path("photo-x4.png").unlink()
    exec(re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[-1], {})
    assert Path("photo-x4.png").exists()


def refused(capsys: pytest.CaptureFixture[str], code: int, *said: str) -> None:
    error = capsys.readouterr().err
    assert code == 2, error
    assert "Traceback" not in error
    last = error.strip().splitlines()[-1]
    for words in said:
        assert words in last


def test_a_picture_is_written_while_the_next_one_is_computed(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        a_picture(tmp_path / "in" / f"{name}.png")
    computed: list[bytes] = []
    second = threading.Event()
    enlarge, write = Upscaler.enlarge, upscale.write_picture

    def counted(self: Upscaler, content: bytes, *words: object) -> Picture:
        computed.append(content)
        if len(computed) == 2:
            second.set()
        return enlarge(self, content, *words)

    def slow(picture: Picture, path: Path, *words: object) -> Picture:
        assert path.name == "b.png" or second.wait(20)
        if path.name == "a.png":
            raise OSError(28, "No space left on device", str(path))
        return write(picture, path, *words)

    monkeypatch.setattr(Upscaler, "enlarge", counted)
    monkeypatch.setattr(upscale, "write_picture", slow)
    assert call(checkpoint, tmp_path / "in", tmp_path / "out") == 2
    assert "a.png: No space left on device" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not compute in bfloat16")
@pytest.mark.parametrize("channels", [1, 3])
def test_half_precision_on_a_cpu_is_nearly_the_same(tmp_path: Path, channels: int) -> None:
    """A few grey levels at most where the picture is noise, and not the same: it did compute in bfloat16."""
    source = a_picture(tmp_path / "a.png", channels, 50, 45)
    for name, words in (("full", ()), ("half", ("--half",)), ("tiles", ("--half", "--tile", "32"))):
        assert call(Path("tiny"), source, tmp_path / f"{name}.png", *words) == 0
    full, half, tiles = (np.asarray(Image.open(tmp_path / f"{n}.png"), int) for n in ("full", "half", "tiles"))
    assert 0 < np.abs(half - full).mean() < 1
    assert np.abs(half - full).max() <= 16
    assert np.abs(half - tiles).mean() < 0.5


def test_wrong_inputs_are_one_sentence(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = a_picture(tmp_path / "in" / "a.png")
    there = a_picture(tmp_path / "there.png")
    before = there.read_bytes()
    refused(capsys, call(checkpoint, tmp_path / "no.png", tmp_path / "b.png"), "no.png", "no such file")
    refused(capsys, call(checkpoint, source, there), "there.png", "--force")
    assert there.read_bytes() == before
    refused(capsys, call(checkpoint, source, source, "--force"), "the input itself")
    refused(capsys, call(checkpoint, source, tmp_path), "is a folder", "name of a file")
    refused(capsys, call(checkpoint, source, tmp_path / "b.gif"), "b.gif", "suffix")
    refused(capsys, call(checkpoint, source, tmp_path / "b.jpg", "--format", "png"), "b.jpg", "agree")
    refused(capsys, call(checkpoint, source.parent, there), "there.png", "give a folder")
    refused(capsys, call(checkpoint, source.parent, source.parent), "input folder itself")
    (tmp_path / "empty").mkdir()
    refused(capsys, call(checkpoint, tmp_path / "empty", tmp_path / "out"), "empty", "no pictures")
    refused(capsys, call(checkpoint, source, tmp_path / "b.png", "--tile", 8), "tile", "at least 32")
    with monkeypatch.context() as patch:
        patch.setattr(upscale, "has_bfloat16", lambda: False)
        refused(capsys, call(checkpoint, source, tmp_path / "b.png", "--half"), "--half", "AVX-512 BF16")
    refused(capsys, call(checkpoint, source, there / "b.png"), "there.png", "no folder")
    a_picture(source.parent / "a.jpg")
    refused(capsys, call(checkpoint, source.parent, tmp_path / "out"), "both would become", "--format same")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "b.png").exists()


def test_wrong_checkpoints_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = a_picture(tmp_path / "a.png"), tmp_path / "b.png"
    refused(capsys, main([str(source), str(target), "--checkpoint", ""]), "--checkpoint", "leave it out")
    refused(capsys, call(tmp_path / "no.safetensors", source, target), "no.safetensors", "no such checkpoint")
    refused(capsys, call(source, source, target), "a.png", "not a sound checkpoint")
    other = tmp_path / "other.safetensors"
    save_generator(nn.Conv2d(3, 3, 3), "tiny", other)
    refused(capsys, call(other, source, target), "other.safetensors", "do not fit")
    save_generator(nn.Conv2d(3, 3, 3), "unheard", other)
    refused(capsys, call(other, source, target), "unheard")
    assert not target.exists()


def test_nothing_but_a_picture_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = a_picture(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    Path("tiny").mkdir()  # what lies about does not stand in for the model
    assert main([str(source), "b.png", "--device", "cpu"]) == 0
    assert call(Path("tiny"), source, "c.png") == 0
    assert Path("b.png").read_bytes() == Path("c.png").read_bytes()
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"(default: {DEFAULT})" in capsys.readouterr().out


def test_of_a_training_checkpoint_the_averaged_weights_are_taken(tmp_path: Path, checkpoint: Path) -> None:
    weights = load_generator(checkpoint).state_dict()
    saved = {"config": {"net": "tiny"}, "ema": weights, "generator": make_generator("tiny").state_dict()}
    torch.save(saved, tmp_path / "best.pt")
    source = a_picture(tmp_path / "a.png")
    assert call(tmp_path / "best.pt", source, tmp_path / "b.png") == 0
    assert call(checkpoint, source, tmp_path / "c.png") == 0
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_a_gpu_that_is_not_there(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    words = [str(a_picture(tmp_path / "a.png")), str(tmp_path / "b.png"), "--checkpoint", str(checkpoint)]
    refused(capsys, main([*words, "--device", "cuda"]), "--device cpu")


def test_too_little_memory_is_said_before_the_work(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscaler, "available_bytes", lambda: 1000)
    source = a_picture(tmp_path / "a.png")
    refused(capsys, call(checkpoint, source, tmp_path / "b.png"), "a.png", "memory", "cut it into parts")


class Greedy(nn.Module):
    """A net whose memory ends above a size, as a GPU's does."""

    scale = 4

    def __init__(self, largest: int) -> None:
        super().__init__()
        self.inner, self.largest, self.calls = make_generator("tiny"), largest, 0

    def forward(self, lr_NCHW: torch.Tensor) -> torch.Tensor:
        if not lr_NCHW.isnan().any():  # the probe runs on the CPU
            self.calls += 1
            # The second call goes through, so that one tile is done and counted before memory ends again.
            if max(lr_NCHW.shape[2:]) > self.largest and self.calls != 2:
                raise torch.OutOfMemoryError("enough")
        return self.inner(lr_NCHW)


@pytest.mark.parametrize("tile", [0, 256])
def test_smaller_tiles_are_taken_when_gpu_memory_ends(
    tmp_path: Path, tile: int, capsys: pytest.CaptureFixture[str]
) -> None:
    source = a_picture(tmp_path / "a.png", height=150, width=20)
    counted: list[int] = []
    greedy = Greedy(largest=70).eval()
    upscaler = Upscaler(greedy, tile)
    made = make(upscaler, make_plan(source, tmp_path / "b.png").tasks[0], advance=counted.append)
    assert upscaler.tile == 37  # 150 → 75 → 37, with the margin 61 or less
    assert min(counted) == -75 * 20
    assert sum(counted) == 150 * 20
    wanted = upscale_tiled(greedy.inner.eval(), values(3, height=150, width=20), tile=0)
    assert np.abs(made.pixels.astype(int) - wanted).max() <= 1
    assert "--tile 37" in capsys.readouterr().err

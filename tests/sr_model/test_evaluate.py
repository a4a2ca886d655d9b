"""Evaluation: the field's baseline comes out, every layout of folders is read, mistakes are said."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHARED
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lakerank.cli.errors import UserError
from sr_model.degrade import downscale
from sr_model.evaluate import evaluate_folder, main
from sr_model.nets import make_generator
from sr_model.nets.ensemble import SelfEnsemble
from sr_model.scoring import validation
from sr_model.scoring.comparison import busiest, comparison
from sr_model.scoring.validation import Pair, load_pairs, super_resolve, validate
from sr_model.weights import save_generator


def picture(height: int = 48, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def save(image: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


class Nearest(nn.Module):
    """Repeats pixels: what it makes is known."""

    scale = 4

    def __init__(self) -> None:
        super().__init__()
        self.held = nn.Parameter(torch.zeros(1))
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training)
        return x.repeat_interleave(4, 2).repeat_interleave(4, 3)


class Shifted(Nearest):
    """Nearest, one output pixel to the right: what it makes depends on how the picture is turned."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).roll(1, 3)


@pytest.mark.parametrize(("folder", "psnr", "ssim"), [("Set5", 28.43, 0.8113), ("Set14", 26.09, 0.7050)])
def test_the_bicubic_row_is_the_literature_s(folder: str, psnr: float, ssim: float) -> None:
    path = SHARED / "images" / folder
    if not path.is_dir():
        pytest.skip(f"{folder} is not in {SHARED}")
    means = evaluate_folder(None, path)
    assert list(means) == ["bicubic"]
    assert means["bicubic"]["psnr_y"] == pytest.approx(psnr, abs=0.01)
    assert means["bicubic"]["ssim_y"] == pytest.approx(ssim, abs=0.0005)


def test_lr_beside_hr_in_other_folders_or_made(tmp_path: Path) -> None:
    hr = picture(50, 67)
    cut, lr = hr[:48, :64], downscale(hr[:48, :64])
    save(hr, tmp_path / "beside" / "a_HR.png")
    save(255 - lr, tmp_path / "beside" / "a_LR.png")
    for layout in ("HR LR_x4/a.png", "HR LR_bicubic/X4/ax4.png", "DIV2K_valid_HR DIV2K_valid_LR_bicubic/X4/ax4.png"):
        hr_folder, lr_file = layout.split()
        folder = tmp_path / layout.replace("/", "-")
        save(hr, folder / hr_folder / "a.png")
        save(255 - lr, folder / lr_file)
        (pair,) = load_pairs(folder)
        np.testing.assert_array_equal(pair.lr, 255 - lr)
    save(hr, tmp_path / "alone" / "a.png")
    (tmp_path / "alone" / "._a.png").write_bytes(b"macOS")
    for folder, expected in (("beside", 255 - lr), ("alone", lr)):
        (pair,) = load_pairs(tmp_path / folder)
        assert pair.name == "a"
        np.testing.assert_array_equal(pair.hr, cut)
        np.testing.assert_array_equal(pair.lr, expected)
    (pillow,) = load_pairs(tmp_path / "alone", degradation="pillow")
    np.testing.assert_array_equal(pillow.lr, downscale(cut, 4, "pillow"))


def test_grey_pictures_become_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(picture()).convert("L").save(tmp_path / "grey.png")
    (pair,) = load_pairs(tmp_path)
    assert pair.hr.shape == (48, 64, 3)
    assert (pair.lr == pair.lr[:, :, :1]).all()


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save(picture(48, 64), tmp_path / "unfit" / "a_HR.png")
    save(picture(12, 12), tmp_path / "unfit" / "a_LR.png")
    save(picture(), tmp_path / "half" / "HR" / "a.png")
    save(picture(12, 16), tmp_path / "half" / "LR_x4" / "b.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    for folder, message in {
        "none": "no such folder",
        "empty": "holds no pictures",
        "unfit": "is 12 × 12, but a_HR.png is 64 × 48; LR must be 4 times smaller",
        "half": "has no LR picture",
        "broken": "cannot be used",
    }.items():
        with pytest.raises(UserError, match=message):
            load_pairs(tmp_path / folder)
    with pytest.raises(UserError, match="no antialiasing"):
        load_pairs(tmp_path / "half", degradation="cv2")


def test_validation_scores_what_the_generator_makes_and_leaves_its_mode(tmp_path: Path) -> None:
    lr = picture(12, 16)
    pairs = [Pair("exact", lr, lr.repeat(4, 0).repeat(4, 1)), Pair("other", lr, picture(48, 64, 9))]
    net = Nearest().train()
    assert validate(net, pairs[:1])["ssim_y"] == pytest.approx(1)
    both = validate(net, pairs, ("ssim_y", "gmsd"))
    assert 0 < both["ssim_y"] < 1
    assert both["gmsd"] == pytest.approx(validate(net, pairs[1:], ("gmsd",))["gmsd"] / 2)
    assert net.training
    assert not any(net.modes)


def test_self_ensemble_is_the_mean_over_the_eight_turned_pictures() -> None:
    lr = picture(10, 14)
    net = Shifted()
    made = super_resolve(net, lr, self_ensemble=True).astype(float)
    exact = lr.repeat(4, 0).repeat(4, 1).astype(float)
    # Undone, the shifts go twice in each of the four directions.
    expected = np.mean([np.roll(exact, by, axis) for by in (-1, 1) for axis in (0, 1)], axis=0)
    np.testing.assert_allclose(made, expected, rtol=0, atol=0.51)
    assert np.abs(super_resolve(net, lr) - np.roll(exact, 1, 1)).max() == 0


class Knight(Nearest):
    """Nearest, two output pixels down and one to the right; turned and mirrored, that is eight different moves."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).roll((2, 1), (2, 3))


def test_self_ensemble_turns_and_mirrors() -> None:
    picture_NCHW = torch.zeros(1, 3, 4, 4)
    picture_NCHW[..., 2, 1] = 1.0
    made = SelfEnsemble(Knight())(picture_NCHW)
    exact = Nearest()(picture_NCHW)
    moves = [(a, b) for a in (-2, -1, 1, 2) for b in (-2, -1, 1, 2) if abs(a) != abs(b)]
    expected = torch.stack([exact.roll(move, (2, 3)) for move in moves]).mean(dim=0)
    assert len(moves) == 8
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)


def test_large_pictures_come_out_as_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = make_generator("tiny").eval()
    lr = picture(40, 300)
    whole = super_resolve(net, lr)
    monkeypatch.setattr(validation, "_LARGE", 1)
    tiled = super_resolve(net, lr)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_the_command_writes_table_csv_json_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate(("one/a", "one/b", "two/c")):
        save(picture(64, 96, seed), tmp_path / f"{name}.png")
    torch.manual_seed(0)
    save_generator(make_generator("tiny"), "tiny", tmp_path / "net.safetensors")
    words = ["--checkpoint", str(tmp_path / "net.safetensors"), "--data", f"{tmp_path / 'one'},{tmp_path / 'two'}"]
    words += ["--metrics", "psnr_y,ssim_y,gmsd,niqe_skvideo", "--self-ensemble", "--json", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out.splitlines()
    summary = json.loads(printed[-1])
    assert set(summary["sets"]) == {"one", "two"}
    assert {k: summary[k] for k in ("bicubic", "model", "model_x8")} == {
        k: v for k, v in summary["sets"]["one"].items() if k != "pictures"
    }
    assert summary["bicubic"]["niqe_skvideo"] is None  # too small, and JSON has no NaN
    saved = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert saved["sets"] == summary["sets"]
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 3
    mean = np.mean([float(row["psnr_y"]) for row in rows if row["set"] == "one" and row["upscaler"] == "model"])
    assert summary["model"]["psnr_y"] == pytest.approx(mean, abs=1e-5)
    net = evaluate_folder(loaded(tmp_path / "net.safetensors"), tmp_path / "one")
    assert net["model"]["psnr_y"] == pytest.approx(summary["model"]["psnr_y"])
    direct = validate(loaded(tmp_path / "net.safetensors"), load_pairs(tmp_path / "one"))
    assert direct["psnr_y"] == pytest.approx(summary["model"]["psnr_y"])
    assert direct["psnr_y"] != pytest.approx(summary["bicubic"]["psnr_y"], abs=1e-4)
    assert any(line.startswith("mean") and "bicubic" in line for line in printed)
    for name in ("one/a", "one/b", "two/c"):
        with Image.open(tmp_path / "out" / f"{name}.png") as page:
            assert page.width > 4 * 200  # LR, bicubic, two of the model's, HR


def loaded(path: Path) -> nn.Module:
    from sr_model.weights import load_generator

    return load_generator(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--data: give at least one folder"),
        (["--data", "ROOT/none"], "no such folder"),
        (["--data", "ROOT", "--checkpoint", "ROOT/none.pt"], "no such checkpoint"),
        (["--data", "ROOT", "--metrics", "psnr"], "no such metric; did you mean psnr_y"),
        (["--data", "ROOT", "--degradation", "inter_cubic"], "no antialiasing"),
        (["--data", "ROOT", "--self-ensemble"], "needs --checkpoint"),
        (["--data", "ROOT,ROOT,ROOT"], "name each folder once"),
        (["--data", "ROOT", "--border", "24"], "too small to cut 24 pixels"),
        (["--data", "ROOT", "--checkpoint", "ROOT/net.safetensors", "--scale", "2"], "enlarges by 4; give --scale 4"),
    ],
)
def test_mistakes_are_said_in_a_sentence(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(picture(), tmp_path / "a.png")
    save_generator(make_generator("tiny"), "tiny", tmp_path / "net.safetensors")
    given = [word.replace("ROOT", str(tmp_path)) for word in words]
    assert main([*given, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_the_detail_shown_is_the_busiest() -> None:
    image = np.full((120, 200, 3), 90, np.uint8)
    image[64:96, 144:176] = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    top, left = busiest(image, 48)
    assert 48 <= top <= 64
    assert 128 <= left <= 144
    page: Any = comparison([("LR", image, None), ("SR", image, 31.5), ("HR", image, None)], 48)
    assert page.shape[1] == 3 * 288 + 2 * 6
    # Below the whole pictures the three details are equal and show it.
    below = page[-288:, :288], page[-288:, 294:582]
    np.testing.assert_array_equal(*below)
    assert below[0].std() > 40


def test_training_s_needs_are_there_without_scipy_and_opencv(tmp_path: Path) -> None:
    """The trainer also runs on machines that have PyTorch, NumPy, pyarrow and Pillow alone."""
    save(picture(), tmp_path / "a.png")
    program = """
import sys
for name in ("cv2", "scipy", "skvideo", "skimage", "lpips", "matplotlib", "pyspark"):
    sys.modules[name] = None
import numpy as np
from pathlib import Path
from lakerank.cli.errors import UserError
from sr_model.leaks import refuse_leaks
from sr_model.nets import make_generator
from sr_model.scoring.validation import Pair, validate
lr = np.zeros((12, 12, 3), np.uint8)
print(sorted(validate(make_generator("tiny"), [Pair("a", lr, lr.repeat(4, 0).repeat(4, 1))])))
try:
    refuse_leaks(Path("."), Path("."))
except UserError as error:
    print(error)
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    assert "['psnr_y', 'ssim_y']" in ran.stdout
    assert "the leak check needs OpenCV" in ran.stdout
    assert "give leak_check=false" in ran.stdout

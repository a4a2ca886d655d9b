"""Generators of other projects: built by spandrel from their weights, used as it says, and never code."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from lakerank.cli.errors import UserError
from sr_model import evaluate, export, upscale
from sr_model.inference import serialization
from sr_model.inference.pictures import Picture
from sr_model.inference.tiles import margin_of, upscale_tiled
from sr_model.inference.upscaler import Upscaler
from sr_model.nets import make_generator
from sr_model.weights import fingerprint, load_generator, read_weights, save_generator

spandrel = pytest.importorskip("spandrel", reason="needs lakerank[spandrel]")


def an_architecture(name: str) -> Any:
    return importlib.import_module(f"spandrel.architectures.{name}")


def an_esrgan(**settings: Any) -> nn.Module:
    return an_architecture("ESRGAN").ESRGAN(num_filters=8, num_blocks=1, **settings)


def a_compact() -> nn.Module:
    return an_architecture("Compact").Compact(num_feat=8, num_conv=3, upscale=2)


def a_swinir() -> nn.Module:
    sizes = {"img_size": 16, "window_size": 8, "depths": [2], "embed_dim": 12, "num_heads": [2], "mlp_ratio": 2}
    return an_architecture("SwinIR").SwinIR(upscale=3, upsampler="pixelshuffle", **sizes)


def a_dncnn() -> nn.Module:
    return an_architecture("DnCNN").DnCNN(in_nc=1, out_nc=1, nc=8, nb=4, act_mode="BR")


def a_nafnet() -> nn.Module:
    return an_architecture("NAFNet").NAFNet(width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1])


# Net, factor, whether it computes in float16, how its project wraps the weights.
MODELS: dict[str, tuple[Callable[[], nn.Module], int, bool, Callable[[Any], Any]]] = {
    "esrgan": (lambda: an_esrgan(scale=4), 4, True, lambda state: {"params_ema": state}),
    "old-esrgan": (lambda: an_esrgan(scale=2), 2, True, lambda state: state),
    "compact": (a_compact, 2, True, lambda state: {"params": state}),
    "swinir": (a_swinir, 3, False, lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}}),
    "dncnn": (a_dncnn, 1, False, lambda state: {"model_state_dict": state, "epoch": 3}),
    "nafnet": (a_nafnet, 1, False, lambda state: {"params": state}),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of each, random, as `.pth`, as safetensors, and as torch.save wrote before 1.6."""
    folder = tmp_path_factory.mktemp("community")
    torch.manual_seed(0)
    for name, (make, _, _, wrapped) in MODELS.items():
        state = make().state_dict()
        torch.save(wrapped(state), folder / f"{name}.pth")
        torch.save(wrapped(state), folder / f"{name}-old.pth", _use_new_zipfile_serialization=False)
        safetensors.torch.save_file(state, folder / f"{name}.safetensors")
    return folder


def pixels(height: int = 70, width: int = 83, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)


@pytest.mark.parametrize("name", MODELS)
def test_each_file_gives_the_net_that_spandrel_runs(files: Path, name: str) -> None:
    _, scale, half, _ = MODELS[name]
    theirs = spandrel.ModelLoader().load_from_file(files / f"{name}.safetensors").eval()
    image = torch.rand(1, 3, 40, 33)
    x = image if theirs.input_channels == 3 else image.transpose(0, 1)
    wanted = theirs(x).reshape(1, 3, 40 * scale, 33 * scale)
    for suffix in (".pth", "-old.pth", ".safetensors"):
        generator = load_generator(files / f"{name}{suffix}")
        assert (generator.scale, generator.supports_half, generator.training) == (scale, half, False)
        assert torch.allclose((generator(image * 2 - 1) + 1) / 2, wanted, atol=1e-5)
    prints = {fingerprint(read_weights(files / f"{name}{suffix}")[1]) for suffix in (".pth", ".safetensors")}
    assert len(prints) == 1


@pytest.mark.parametrize("name", MODELS)
def test_tiles_keep_to_what_a_net_cuts_its_input_into(files: Path, name: str) -> None:
    """In windows of attention and halvings of U-Nets, tiles that began anywhere would differ by up to 100 levels."""
    generator = load_generator(files / f"{name}.safetensors")
    assert margin_of(generator) <= 32
    whole, tiled = (upscale_tiled(generator, pixels(), tile).astype(int) for tile in (0, 32))
    assert np.abs(whole - tiled).max() <= 1


def test_a_net_that_cuts_pictures_itself_is_given_whole_ones(files: Path) -> None:
    generator = load_generator(files / "esrgan.pth")
    assert Upscaler(generator, 64).tile == 64
    generator.smallest = 96
    assert Upscaler(generator, 64).tile == 96
    generator.whole = True
    assert Upscaler(generator, 64).tile == 0
    assert "is given whole pictures" in " ".join(Upscaler(generator, 64).notes)
    assert "tiles may show" in " ".join(Upscaler(load_generator(files / "swinir.pth"), 64).notes)


def test_half_precision_is_refused_where_spandrel_says_so(files: Path) -> None:
    Upscaler(load_generator(files / "swinir.pth"), half=True)
    generator = load_generator(files / "esrgan.pth")
    generator.supports_bfloat16 = False
    with pytest.raises(UserError, match=r"--half: ESRGAN does not compute in bfloat16, spandrel says"):
        Upscaler(generator, half=True)


def test_upscale_takes_them(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(pixels(20, 30)).save(tmp_path / "a.png")
    Image.fromarray(pixels(20, 30, 1)[..., 0]).save(tmp_path / "grey.png")
    for name, (_, scale, _, _) in MODELS.items():
        for picture in ("a", "grey"):
            out = tmp_path / f"{picture}-{name}.png"
            words = [str(tmp_path / f"{picture}.png"), str(out), "--checkpoint", str(files / f"{name}.pth")]
            assert upscale.main([*words, "--device", "cpu", "--json"]) == 0
            printed = capsys.readouterr().out
            assert f"of another project, ×{scale}" in printed
            assert json.loads(printed.splitlines()[-1])["scale"] == scale
            with Image.open(out) as image:
                assert (image.size, image.mode) == ((30 * scale, 20 * scale), "RGB" if picture == "a" else "L")


def test_evaluate_scores_one(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "set").mkdir()
    Image.fromarray(pixels(40, 48)).save(tmp_path / "set" / "a.png")
    words = ["--data", str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--metrics", "psnr_y", "--device", "cpu"]
    assert evaluate.main([*words, "--checkpoint", str(files / "esrgan.pth"), "--self-ensemble", "--json"]) == 0
    assert {"bicubic", "model", "model_x8"} <= json.loads(capsys.readouterr().out.splitlines()[-1]).keys()
    for name, message in (("compact", "enlarges by 2; give --scale 2"), ("dncnn", "does not enlarge")):
        assert evaluate.main([*words, "--checkpoint", str(files / f"{name}.pth")]) == 2
        assert message in capsys.readouterr().err


def test_what_goes_to_workers_is_the_same_net(files: Path) -> None:
    recipe = serialization.serialize(str(files / "swinir.pth"), 32)
    same = serialization.serialize(str(files / "swinir.safetensors"), 32)
    assert (recipe.key, recipe.packages) == (same.key, "lakerank[spandrel]")
    there = serialization.generator_of(recipe.weights, recipe.model)
    made = Upscaler(load_generator(files / "swinir.pth"), 32)._enlarged(Picture(pixels(20, 20)), None).pixels
    assert np.array_equal(made, Upscaler(there, 32)._enlarged(Picture(pixels(20, 20)), None).pixels)


def test_what_is_no_generator_is_one_sentence(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = an_esrgan(scale=4).state_dict()
    torch.save({"params": {"weights": torch.zeros(3)}}, tmp_path / "unknown.pth")
    torch.save({"params": {3: torch.zeros(3)}}, tmp_path / "numbers.pth")
    torch.save({"params": {}, "epoch": 3}, tmp_path / "empty.pth")
    torch.save({name: value for name, value in state.items() if "RDB2" not in name}, tmp_path / "half.pth")
    torch.save(
        an_architecture("ESRGAN").ESRGAN(num_filters=8, num_blocks=1, in_nc=4, out_nc=4).state_dict(),
        tmp_path / "rgba.pth",
    )
    (tmp_path / "old.pth").write_bytes((files / "esrgan-old.pth").read_bytes()[:2000])
    (tmp_path / "cut.pth").write_bytes((files / "esrgan.pth").read_bytes()[:2000])
    torch.jit.script(nn.Conv2d(3, 3, 3)).save(str(tmp_path / "script.pth"))
    Image.fromarray(pixels(5, 5)).save(tmp_path / "a.png")
    for name, message in (
        ("unknown", "knows no architecture with such tensors"),
        ("numbers", "no weights of another project"),
        ("empty", "holds no tensors by name"),
        ("half", "cannot build a net from its tensors"),
        ("rgba", "makes 4 channels of 4"),
        ("old", "not a sound checkpoint"),
        ("cut", "not a sound checkpoint"),
        ("script", "it is TorchScript"),
    ):
        path = str(tmp_path / f"{name}.pth")
        assert upscale.main([str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--checkpoint", path]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert message in line, line
        assert f"{name}.pth" in line
    assert export.main(["--checkpoint", str(files / "esrgan.pth"), "--out", str(tmp_path / "x.pt")]) == 2
    assert "is another project's" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(UserError, match=r"those of other projects need spandrel .*lakerank\[spandrel\]"):
        load_generator(files / "esrgan.pth")
    save_generator(make_generator("tiny"), "tiny", tmp_path / "ours.safetensors")
    load_generator(tmp_path / "ours.safetensors")  # needs none


class Mischief:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path("mischief-was-here").touch, ())


@pytest.mark.parametrize("zipped", [True, False])
def test_no_file_can_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    state = {"params": {**an_esrgan(scale=4).state_dict(), "x": Mischief()}}
    torch.save(state, "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="not a sound checkpoint"):
        load_generator("evil.pth")
    assert not Path("mischief-was-here").exists()

"""Exported generators: they compute what PyTorch computes at any size, say what they are, and stay out if wrong."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sr_model import export
from sr_model.export import largest_difference, main, open_onnx, open_torchscript
from sr_model.nets import GENERATORS, make_generator
from sr_model.nets.msrresnet import MSRResNet
from sr_model.nets.srresnet import SRResNet
from sr_model.nets.tiny import Tiny
from sr_model.weights import load_generator, save_generator


class Sum(nn.Module):
    """All kinds of nets in one, since each export to ONNX takes seconds."""

    scale = 4

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList([SMALL[name]() for name in ("srresnet5", "msrresnet", "tiny")])

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        return self.nets[0](lr_NCHW) + self.nets[1](lr_NCHW) + self.nets[2](lr_NCHW)


SMALL: dict[str, Callable[[], nn.Module]] = {
    "srresnet5": lambda: SRResNet(blocks=1, width=4),
    "msrresnet": lambda: MSRResNet(blocks=1, width=4),
    "tiny": lambda: Tiny(blocks=1, width=4),
    "all": Sum,
}


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Small nets under the real names, with statistics and weights that are not the fresh ones."""
    torch.manual_seed(2)
    found = {}
    for name, make in SMALL.items():
        monkeypatch.setitem(GENERATORS, name, make)
        net = make()
        for key, value in net.state_dict().items():
            if value.is_floating_point():
                value.add_(0.05 * torch.rand_like(value) if "var" in key else 0.05 * torch.randn_like(value))
        found[name] = tmp_path / f"{name}.safetensors"
        save_generator(net, name, found[name])
    return found


@pytest.mark.filterwarnings("ignore:.*torch.jit.load. is deprecated")
@pytest.mark.parametrize(("name", "suffix"), [*((name, "pt") for name in SMALL), ("all", "onnx")])
def test_exported_equals_pytorch(
    name: str, suffix: str, checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if suffix == "onnx":
        pytest.importorskip("onnxruntime")
    out = tmp_path / "made" / f"g.{suffix}"
    assert main(["--checkpoint", str(checkpoints[name]), "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["net"] == name
    assert summary["max_abs_difference"] < 1e-5
    assert [path.name for path in out.parent.iterdir()] == [out.name]

    # Independently of the command's own check, with a batch and sides that it did not see.
    exported = (open_onnx if suffix == "onnx" else open_torchscript)(out)
    lr_NCHW = np.random.default_rng(8).uniform(-1, 1, (5, 3, 9, 50)).astype(np.float32)
    with torch.no_grad():
        wanted = load_generator(checkpoints[name])(torch.from_numpy(lr_NCHW)).numpy()
    np.testing.assert_allclose(exported(lr_NCHW), wanted, atol=2e-5)
    assert np.abs(wanted).max() > 0.1

    metadata = _metadata(out)
    assert (metadata["net"], metadata["scale"], metadata["format"]) == (name, "4", export.FORMAT)
    assert "[-1, 1]" in metadata["input"]


def _metadata(path: Path) -> dict[str, str]:
    if path.suffix == ".onnx":
        import onnx

        model = onnx.load(path)
        assert [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim][2:] == ["height", "width"]
        return {entry.key: entry.value for entry in model.metadata_props}
    held = {export.METADATA: ""}
    torch.jit.load(str(path), _extra_files=held)
    return json.loads(held[export.METADATA])


def test_a_file_that_computes_something_else_is_not_put_in_place(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = export.export_torchscript

    def other(net: nn.Module, path: Path, metadata: dict[str, str]) -> None:
        with torch.no_grad():
            next(net.parameters()).add_(0.3)
        whole(net, path, metadata)
        with torch.no_grad():
            next(net.parameters()).sub_(0.3)

    monkeypatch.setattr(export, "export_torchscript", other)
    out = tmp_path / "g.pt"
    assert main(["--checkpoint", str(checkpoints["msrresnet"]), "--out", str(out)]) == 2
    assert "differs from PyTorch" in capsys.readouterr().err
    assert not out.exists()
    assert not list(tmp_path.glob(".g.pt*"))


def test_not_a_number_is_a_difference() -> None:
    net = make_generator("tiny").eval()
    assert largest_difference(net, lambda x: np.full((len(x), 3, 4 * x.shape[2], 4 * x.shape[3]), np.nan)) == np.inf


def test_wrong_inputs_are_one_sentence(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there.pt"
    there.write_bytes(b"mine")

    def refused(words: str, *argv: object) -> None:
        assert main([str(word) for word in argv]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error

    refused("--checkpoint", "--out", tmp_path / "g.pt")
    refused("--out", "--checkpoint", checkpoints["tiny"])
    refused("ends with none of", "--checkpoint", checkpoints["tiny"], "--out", tmp_path / "g.bin")
    refused("is a folder", "--checkpoint", checkpoints["tiny"], "--out", tmp_path, "--format", "onnx")
    refused("--force", "--checkpoint", checkpoints["tiny"], "--out", there)
    refused("no such checkpoint", "--checkpoint", tmp_path / "no.pt", "--out", tmp_path / "g.pt")
    assert there.read_bytes() == b"mine"


def test_without_the_extra_it_says_which(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str, package: str | None = None) -> object:
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", missing)
    assert main(["--checkpoint", str(checkpoints["tiny"]), "--out", str(tmp_path / "g.onnx")]) == 2
    error = capsys.readouterr().err
    assert "pip install 'lakerank[onnx]'" in error
    assert "No module named 'onnx'" in error

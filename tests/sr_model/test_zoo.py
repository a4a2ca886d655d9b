"""The bundled models: entry, weights, card and figures of each agree, and a damaged file is not used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import SHARED
from PIL import Image
from tests_root import ROOT

from lakerank.cli.errors import UserError
from sr_model import export, upscale, zoo
from sr_model.evaluate import evaluate_folder
from sr_model.weights import load_generator, read_weights
from sr_model.zoo import BICUBIC, DEFAULT, MODELS, MOST_BYTES, SETS

WEIGHTS = ROOT / "sr_model" / "pretrained"
CARDS = ROOT / "docs" / "models"


def test_every_file_has_an_entry_and_a_card() -> None:
    assert {file.name for file in WEIGHTS.iterdir()} == {"README.md", *(model.file for model in MODELS.values())}
    assert {file.stem for file in CARDS.glob("*.md")} == {"README", *MODELS}
    assert DEFAULT in MODELS


@pytest.mark.parametrize("name", MODELS)
def test_an_entry_says_what_is_in_the_file(name: str) -> None:
    model = MODELS[name]
    assert len(zoo.content(name)) <= MOST_BYTES
    net, tensors = read_weights(name)
    assert net == model.net
    generator = load_generator(name)
    assert sum(value.numel() for value in generator.parameters()) == model.parameters
    with torch.no_grad():
        made = generator(torch.rand(1, 3, 12, 12) * 2 - 1)
    assert made.shape == (1, 3, 48, 48)
    assert torch.isfinite(made).all()
    assert all(torch.isfinite(value).all() for value in tensors.values())


@pytest.mark.parametrize("name", MODELS)
def test_a_card_has_the_facts_and_says_what_people_ask(name: str) -> None:
    card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    assert zoo.card_table(MODELS[name]) in card
    for heading in ("Facts", "What it is", "What it is for, and what not", "Make it again"):
        assert f"\n## {heading}\n" in card, f"docs/models/{name}.md has no part `{heading}`"
    for words in (MODELS[name].purpose, MODELS[name].training, MODELS[name].pictures):
        assert words


@pytest.mark.parametrize("folder", SETS)
@pytest.mark.parametrize("name", MODELS)
def test_recorded_scores_are_those_of_the_weights(name: str, folder: str) -> None:
    path = SHARED / "images" / folder
    if not path.is_dir():
        pytest.skip(f"{folder} is not in {SHARED}")
    recorded = MODELS[name].scores[folder]
    scored = evaluate_folder(load_generator(name), path, list(recorded))
    for of, found in ((recorded, scored["model"]), (BICUBIC[folder], scored["bicubic"])):
        assert found["psnr_y"] == pytest.approx(of["psnr_y"], abs=0.01)
        assert found["ssim_y"] == pytest.approx(of["ssim_y"], abs=0.0002)
        if "gmsd" in of:
            assert found["gmsd"] == pytest.approx(of["gmsd"], abs=0.0002)


def test_a_damaged_or_missing_file_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    shutil.copy(WEIGHTS / MODELS[DEFAULT].file, tmp_path)
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path)
    words = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert upscale.main(words) == 0
    weights = tmp_path / MODELS[DEFAULT].file
    good = bytearray(weights.read_bytes())
    good[-1] ^= 1  # one bit, in the last weight: still a sound safetensors file
    weights.write_bytes(good)
    for message in ("damaged", "cannot be read"):
        capsys.readouterr()
        assert upscale.main([*words, "--force"]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert f"model `{DEFAULT}`" in error
        assert "Traceback" not in error
        weights.unlink(missing_ok=True)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=f"tinny: no such checkpoint.*{DEFAULT}"):
        load_generator("tinny")


def test_a_model_is_exported_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["--checkpoint", DEFAULT, "--out", str(tmp_path / "g.pt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["net"] == MODELS[DEFAULT].net


def test_the_command_lists_all_models_beside_bicubic(capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo.main(["--json"]) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    for name, model in MODELS.items():
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert f"{model.scores['Set5']['psnr_y']:.2f} dB" in line
    assert any(line.startswith("bicubic") for line in lines)
    assert json.loads(summary)["default"] == DEFAULT

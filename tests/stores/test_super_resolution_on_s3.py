"""Super-resolution with all its files on S3: patches, training, scores, pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lakerank.cli.errors import UserError
from lakerank.cli.files import read_bytes
from lakerank.cli.stores import list_store, upload

pytest.importorskip("torch", reason="super-resolution needs PyTorch")
from sr_model import build_patches, evaluate, train, upscale
from sr_model.patching import parts
from sr_model.patching.dataset import PatchSettings, build_in_store
from sr_model.patching.extract import PatchPlan
from sr_model.patching.sources import list_items, read_items

SMALL = ["--patch", "32", "--filter", "0", "--valid-fraction", "0.3"]


@pytest.fixture
def pictures(s3: str, tmp_path: Path) -> str:
    (tmp_path / "pictures").mkdir()
    for n in range(3):
        pixels = np.random.default_rng(n).integers(0, 256, (96, 128, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{n}.png")
    (tmp_path / "pictures" / "words.txt").write_text("no picture")
    upload(tmp_path / "pictures", f"{s3}/pictures")
    return f"{s3}/pictures"


def names(place: str) -> set[str]:
    return {file.name for file in list_store(place) or ()}


def test_pictures_in_a_store_are_listed_and_read(pictures: str, tmp_path: Path) -> None:
    listing = list_items(pictures)
    assert ([item.name for item in listing.items], listing.others) == (["0.png", "1.png", "2.png"], 1)
    assert next(iter(read_items(listing.items))) == (tmp_path / "pictures" / "0.png").read_bytes()
    upload(tmp_path / "pictures" / "words.txt", f"{pictures}/all.tar")
    with pytest.raises(UserError, match=r"all\.tar is an archive; in a store only pictures are read"):
        list_items(pictures)


@pytest.mark.slow
def test_a_data_set_is_made_in_a_store_part_by_part(pictures: str, s3: str) -> None:
    """As make_patches does, the workers' function called here; of a killed run the parts that are done stay."""
    settings = PatchSettings(patch=32, filter=0.0, valid_fraction=0.3)
    build, place, made = settings.build(), f"{s3}/patches", []

    def make(where: str) -> int:
        for batch in parts.parts_table(plan).to_batches(max_chunksize=1):
            made.extend(parts.make_parts_in_store(where, build)(iter([batch])))
            if len(made) == stop_after:
                raise KeyboardInterrupt
        return plan.count

    plan, stop_after = parts.plan_files(pictures, 0, build), 1
    with pytest.raises(KeyboardInterrupt):
        build_in_store("test", place, build, plan, make, overwrite=False)
    assert not any(name.endswith("_manifest.json") for name in names(place))
    stop_after = 0
    results = build_in_store("test", place, build, plan, make, overwrite=False)
    rows = sum(part.rows for one in results for part in one.parts.values())
    assert rows > 0
    other = PatchSettings(patch=48, filter=0.0).build()
    assert isinstance(other.plan, PatchPlan)
    with pytest.raises(UserError, match="holds patches of other pictures or settings"):
        build_in_store("test", place, other, parts.plan_files(pictures, 0, other), make, overwrite=False)
    before = len(made)
    build_in_store("test", place, build, plan, make, overwrite=False)
    assert len(made) == before  # nothing is made twice


@pytest.mark.slow
def test_training_scores_and_pictures_go_through_the_store(
    pictures: str, s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build_patches.main(["--source", pictures, "--out", str(tmp_path / "patches"), *SMALL]) == 0
    upload(tmp_path / "patches", f"{s3}/patches")
    words = [
        "--config",
        "debug",
        "--data",
        f"{s3}/patches/train",
        "--out",
        f"{s3}/sr",
        "crop=32",
        "steps_init=2",
        "device=cpu",
        "steps=4",
    ]
    capsys.readouterr()
    assert train.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 6
    weights = sorted(name for name in names(f"{s3}/sr") if name.endswith(".safetensors"))
    assert weights
    assert "history.jsonl" in names(f"{s3}/sr")
    assert train.main([*words[:-1], "steps=6", "--resume", "auto", "--json"]) == 0  # from the store's checkpoint
    history = read_bytes(f"{s3}/sr/history.jsonl", "--out").decode().splitlines()
    assert json.loads(history[-1])["step"] == 8
    checkpoint = f"{s3}/sr/{weights[0]}"
    flags = ["--checkpoint", checkpoint, "--data", pictures, "--out", f"{s3}/scores", "--metrics", "psnr_y"]
    assert evaluate.main([*flags, "--device", "cpu"]) == 0
    assert "pictures" in json.loads(read_bytes(f"{s3}/scores/scores.json", "--out"))["sets"]
    assert upscale.main([f"{pictures}/0.png", f"{s3}/large.png", "--checkpoint", checkpoint, "--device", "cpu"]) == 0
    assert read_bytes(f"{s3}/large.png", "OUT").startswith(b"\x89PNG")
    assert upscale.main([pictures, f"{s3}/large", "--checkpoint", checkpoint, "--device", "cpu"]) == 0
    assert names(f"{s3}/large") == {"0.png", "1.png", "2.png"}
    capsys.readouterr()
    assert build_patches.main(["--source", pictures, "--out", f"{s3}/p2", *SMALL]) == 2
    assert "spark_jobs/make_patches.py writes to a store" in capsys.readouterr().err

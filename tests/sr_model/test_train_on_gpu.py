"""The script for a lent GPU, rehearsed at small size: in pieces, without what such a machine lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests_root import ROOT

pytestmark = pytest.mark.slow

# Not there: no Spark, no OpenCV, no scikit-video. Python imports this module by itself where it starts.
LACKING = """
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pyspark", "cv2", "skvideo"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Lacking())
"""


def a_picture(path: Path, side: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (side, side, 3)).astype(np.uint8)).save(path)


def piece(folder: Path, limit: int) -> str:
    words = ["mode=srresnet", "leak_check=false", "steps_init=30", "valid_every=0", "device=cpu", "threads=1"]
    # Against noise the made-up pictures teach nothing; only that both phases run and go on is looked at.
    gan = "n_epoch=1 seconds=0 steps=4 batch=2 crop=32 discriminator_width=4 sample_every=0 device=cpu threads=1"
    done = subprocess.run(
        [
            str(ROOT / "scripts" / "train_on_gpu.sh"),
            *(str(folder / name) for name in ("images", "sets", "out")),
            *words,
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(folder / "lacking"),
            "PYTHON": sys.executable,
            "WORK": str(folder / "work"),
            "CONFIG": "debug",
            "NET": "tiny",
            "GAN_SETTINGS": gan,
            "LIMIT": str(limit),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_gpu_script_trains_and_scores_in_pieces_on_a_bare_machine(tmp_path: Path) -> None:
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "sitecustomize.py").write_text(LACKING)
    for number in range(3):
        a_picture(tmp_path / "images" / f"{number}.png", 256, number)
    for name in ("Set5", "Set14"):
        a_picture(tmp_path / "sets" / name / "a.png", 64, 9)
    assert "run the same command again" in piece(tmp_path, 10)  # no time but for the patches
    assert not list((tmp_path / "out").glob("*.safetensors"))
    assert "train_on_gpu: done" in piece(tmp_path, 600)
    out = tmp_path / "out"
    for phase in ("init", "gan"):
        assert (out / f"{phase}.safetensors").stat().st_size > 100_000
        assert {"Set5", "Set14"} == set(json.loads((out / f"{phase}-scores.json").read_text())["sets"])
        assert (out / f"{phase}-tensorboard.tar.gz").stat().st_size > 100
    steps = [json.loads(line)["step"] for line in (out / "init-history.jsonl").read_text().splitlines()]
    assert max(steps) == 30
    before = (out / "gan.safetensors").stat().st_mtime_ns
    piece(tmp_path, 600)
    assert (out / "gan.safetensors").stat().st_mtime_ns == before  # nothing is left to do


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_the_gpu_script_says_what_it_wants(missing: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "scripts" / "train_on_gpu.sh"), *(["x"] * missing)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "IMAGES SETS OUT" in done.stderr

"""The wheel that clusters install: both packages, nothing else, and what the code reads from itself."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests_root import ROOT

FROM_WHEEL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import spark_jobs
assert sys.argv[1] in spark_jobs.__file__, spark_jobs.__file__
for job in sys.argv[2:]:
    importlib.import_module(f"spark_jobs.{job}")
from lakerank.graph.kernels import pull
values = np.zeros(1)
pull(np.array([0.25, 0.5]), np.array([0, 2]), np.array([0, 1], np.uint32), np.empty(0), values)
assert values[0] == 0.75
from lakerank.recommend.latent_factors.predictions import predict_pairs
one, none = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
at, guess = np.zeros(1, np.int32), np.zeros(1, np.float32)
predict_pairs(at, at, one, none, one, none, guess)
assert guess[0] == 1
from datetime import datetime
from lakerank.report.page import Page, render
assert "<title>probe</title>" in render(Page("probe", "lake", (), datetime(2026, 1, 1)))
from sr_model import zoo
assert all(zoo.content(name) for name in zoo.MODELS)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("lakerank-*.whl")
    return built


@pytest.mark.slow
def test_jobs_and_kernels_work_from_inside_the_wheel(wheel: Path) -> None:
    # As workers import it when it is given by `--py-files`: numba finds no folder for its cache there.
    jobs = [file.stem for file in (ROOT / "spark_jobs").glob("[a-z]*.py")]
    done = subprocess.run([sys.executable, "-c", FROM_WHEEL, str(wheel), *jobs], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_wheel_holds_both_packages_and_their_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"lakerank", "spark_jobs", "sr_model"}
    for file in (path for top in ("lakerank", "spark_jobs", "sr_model") for path in (ROOT / top).rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            assert file.relative_to(ROOT).as_posix() in names
    # The bundled weights are most of it, and do not get smaller by packing.
    weights = sum(file.stat().st_size for file in (ROOT / "sr_model" / "pretrained").iterdir())
    assert wheel.stat().st_size < 1_100_000 + weights

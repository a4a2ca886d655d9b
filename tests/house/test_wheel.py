"""The wheel that clusters install: both packages, nothing else, and what the code reads from itself."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests_root import ROOT


def test_wheel_holds_both_packages_and_their_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("lakerank-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"spark_jobs", "sr_model"}
    for file in (ROOT / "spark_jobs").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert file.relative_to(ROOT).as_posix() in names
    assert wheel.stat().st_size < 1_000_000

"""Compiled loops that are kept on disk: what they are made from decides whether they may be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests_root import ROOT

LOOPS = """
from constants import CALLED, NUMBER, SIZES, called
from lakerank.spark.jit import compiled


@compiled()
def loop():
    return NUMBER + SIZES[0] + called()


found = loop()
print(found, sum(loop.stats.cache_hits.values()))
"""
CONSTANTS = """
import numpy as np
from lakerank.spark.jit import compiled

NUMBER, SIZES, CALLED = {}, np.array([{}]), {}


@compiled()
def called():
    return CALLED + {}
"""


@pytest.mark.slow
def test_a_loop_is_compiled_anew_where_what_it_takes_from_another_file_changed(tmp_path: Path) -> None:
    """Also if that file has the same time and size, as the files of wheels do."""
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
    (tmp_path / "loops.py").write_text(LOOPS)

    def run(*values: int) -> list[int]:
        (tmp_path / "constants.py").write_text(CONSTANTS.format(*values))
        os.utime(tmp_path / "constants.py", (1_580_601_600, 1_580_601_600))
        done = subprocess.run(
            [sys.executable, "loops.py"], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        )
        return [int(word) for word in done.stdout.split()]

    assert run(1, 10, 100, 1000) == [1111, 0]
    assert run(1, 10, 100, 1000) == [1111, 1]
    assert run(2, 10, 100, 1000) == [1112, 0]
    assert run(2, 20, 100, 1000) == [1122, 0]
    assert run(2, 20, 200, 1000) == [1222, 0]
    assert run(2, 20, 200, 2000) == [2222, 0]

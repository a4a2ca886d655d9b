"""Every `spark-submit` line of the README and the guides is run, page by page, in a folder with the files it names."""

from __future__ import annotations

import gzip
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession
from tests_root import ROOT

PAGES = ["README.md", "docs/latent-factors.md", "docs/pagerank.md", "docs/patches.md", "docs/ratings.md"]
LINE = re.compile(r"^(?:\$ )?spark-submit spark_jobs/(\w+)\.py\b([^#\n]*)", re.MULTILINE)
# What a test cannot have: GroupLens's and DIV2K's servers, large editions, somebody's catalog.
ELSEWHERE = ("--dataset", "ml-25m", "ml-1m", "main.web")


def commands(page: str) -> list[tuple[str, list[str]]]:
    """(job, arguments) of a page, in order, without those that need something from elsewhere."""
    found = LINE.findall((ROOT / page).read_text(encoding="utf-8"))
    return [(job, shlex.split(rest)) for job, rest in found if not any(word in rest for word in ELSEWHERE)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with small files under the names that the pages use."""
    ratings = tmp_path / "path/to/ml-latest-small"
    small = ["--users", "60", "--items", "40", "--ratings", "1500"]
    subprocess.run([sys.executable, ROOT / "examples/make_ratings.py", ratings, *small], check=True)
    links = "# source\ttarget\n1\t2\n2\t1\n2\t3\n3\t1\n"
    (tmp_path / "path/to/links.tsv").write_text(links)
    (tmp_path / "links.tsv").write_text(links)
    (tmp_path / "web-Google.txt.gz").write_bytes(gzip.compress(links.encode()))
    (tmp_path / "trade.csv").write_text("src,dst,weight\nde,fr,3\nfr,de,1\nfr,it,2.5\nit,de,1\n")
    (tmp_path / "home.txt").write_text("de 2\nfr 1\n")
    (tmp_path / "stars.csv").write_text("uid,sku,stars,ts\n1,a,4,1600000000\n2,a,3.5,1600000001\n2,b,1,1600000002\n")
    (tmp_path / "path/to/images").mkdir()
    for seed in range(2):
        noise = np.random.default_rng(seed).integers(0, 256, (100, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"path/to/images/{seed}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_run(
    page: str, folder: Path, spark: SparkSession, capfd: pytest.CaptureFixture[str]
) -> None:
    assert commands(page)
    for job, argv in commands(page):
        code = importlib.import_module(f"spark_jobs.{job}").main(argv)
        assert code == 0, f"{page}: {job} {shlex.join(argv)}\n{capfd.readouterr().err}"
    made = {path.name for path in folder.iterdir()}
    assert made & {"lake", "build"}, "the commands write to a folder that they name, or to ./lake"

"""Every command of the README and the guides is run, page by page, in a folder with the files it names."""

from __future__ import annotations

import gzip
import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession
from tests_root import ROOT

from sr_model.nets import make_generator
from sr_model.weights import save_generator

pytestmark = pytest.mark.slow

GUIDES = (
    *("content", "evaluation", "evaluation-recommenders", "implicit", "lfm", "pagerank", "pages", "patches", "ratings"),
    *("recommenders", "search-engine", "spam", "training", "tuning", "upscaling"),
)
PAGES = ["README.md", *(f"docs/{guide}.md" for guide in GUIDES)]
LINE = re.compile(
    r"^(?:\$ )?(?:spark-submit (spark_jobs)/(\w+)\.py\b|python -m (sr_model)\.(\w+))([^#\n]*)", re.MULTILINE
)
# Training that takes minutes as it stands there; in the test it is the same for a second.
SHORT = {
    "sr_model.train": ["seconds=1", "n_epoch_init=1", "tensorboard=false", "threads=1"],
    "sr_model.evaluate": ["--no-pictures"],
    "spark_jobs.tune": ["--trials", "2", "--epochs", "2"],
}
# What a test cannot have: GroupLens's and DIV2K's servers, large editions, somebody's catalog, others' weights.
ELSEWHERE = ("--dataset", "ml-25m", "ml-1m", "main.web", "--niqe-model", "RealESRGAN")


def commands(page: str) -> list[tuple[str, str, list[str]]]:
    """(package, module, arguments) of a page, in order, without those that need something from elsewhere."""
    found = LINE.findall((ROOT / page).read_text(encoding="utf-8"))
    lines = [(job_of, job, rest) if job else (tool_of, tool, rest) for job_of, job, tool_of, tool, rest in found]
    return [(of, name, shlex.split(rest)) for of, name, rest in lines if not any(word in rest for word in ELSEWHERE)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with small files under the names that the pages use."""
    ratings = tmp_path / "path/to/ml-latest-small"
    small = ["--users", "60", "--items", "240", "--ratings", "1500"]
    subprocess.run([sys.executable, ROOT / "examples/make_ratings.py", ratings, *small], check=True)
    links = "# source\ttarget\n1\t2\n2\t1\n2\t3\n3\t1\n"
    (tmp_path / "path/to/links.tsv").write_text(links)
    (tmp_path / "links.tsv").write_text(links)
    (tmp_path / "web-Google.txt.gz").write_bytes(gzip.compress(links.encode()))
    (tmp_path / "trade.csv").write_text("src,dst,weight\nde,fr,3\nfr,de,1\nfr,it,2.5\nit,de,1\n")
    (tmp_path / "seeds.csv").write_text("ann,1\nann,2,0.5\nbob,3\n")
    (tmp_path / "good-pages.txt").write_text("1\n")
    shutil.copytree(ROOT / "examples/site", tmp_path / "path/to/site")
    (tmp_path / "crawl.warc.gz").write_bytes(gzip.compress(_warc("https://site.org/", "<p>a page</p>")))
    (tmp_path / "queries.tsv").write_text("1\tlink spam\n")
    (tmp_path / "qrels.txt").write_text("1 0 https://example.org/search/trustrank-and-link-spam.html 1\n")
    (tmp_path / "home.txt").write_text("de 2\nfr 1\n")
    (tmp_path / "stars.csv").write_text("uid,sku,stars,ts\n1,a,4,1600000000\n2,a,3.5,1600000001\n2,b,1,1600000002\n")
    (tmp_path / "today.csv").write_text("user,item,rating,time\n1,b,5,1600000003\n3,a,2,1600000004\n")
    (tmp_path / "feed").mkdir()
    shutil.copy(tmp_path / "today.csv", tmp_path / "feed/today.csv")
    (tmp_path / "pairs.csv").write_text("user_id,item_id\n1,1\n1,2\n7,1\n")
    (tmp_path / "train.csv").write_text("user,item,rating\n1,1,4\n1,2,3\n2,1,2\n2,3,5\n3,2,1\n3,3,4\n")
    (tmp_path / "test.csv").write_text("user,item,rating\n1,3,4\n2,2,3\n")
    clicks = [f"u{n % 23},i{n * n % 17}" for n in range(300)]
    for name in ("clicks.csv", "path/to/clicks.csv"):
        (tmp_path / name).write_text("\n".join(["user,item", *clicks]))
    (tmp_path / "checkins.txt").write_text("\n".join(f"{pair} 2.0".replace(",", " ") for pair in clicks))
    for seed, picture in enumerate(("images/0", "images/1", "Set5/a", "Set14/b", "picture", "photo")):
        noise = np.random.default_rng(seed).integers(0, 256, (100, 120, 3), dtype=np.uint8)
        (tmp_path / f"path/to/{picture}.png").parent.mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / f"path/to/{picture}.png")
    shutil.copy(tmp_path / "path/to/picture.png", tmp_path / "picture.png")
    pictures = [path.read_bytes() for path in sorted((tmp_path / "path/to/images").iterdir())]
    (tmp_path / "path/to/dataset/split=train").mkdir(parents=True)
    table = pa.table({"image": pictures, "label": [3] * len(pictures)})
    pq.write_table(table, tmp_path / "path/to/dataset/split=train/0.parquet")
    (tmp_path / "holiday").mkdir()
    for copy in ("photo.jpg", "holiday/a.jpg", "holiday/b.jpg"):
        Image.open(tmp_path / "picture.png").resize((40, 30)).save(tmp_path / copy)
    # The evaluation guide takes what the training guide made.
    save_generator(make_generator("tiny"), "tiny", tmp_path / "build/sr/gan.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _warc(url: str, html: str) -> bytes:
    """A WARC file with one page."""
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{html}"
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(answer)}\r\n"
    return f"{head}Content-Type: application/http; msgtype=response\r\n\r\n{answer}\r\n\r\n".encode()


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_run(
    page: str, folder: Path, spark: SparkSession, capfd: pytest.CaptureFixture[str]
) -> None:
    assert commands(page)
    for package, name, argv in commands(page):
        more = SHORT.get(f"{package}.{name}", [])
        code = importlib.import_module(f"{package}.{name}").main([*argv, *more])
        assert code == 0, f"{page}: {name} {shlex.join(argv)}\n{capfd.readouterr().err}"
    made = {path.name for path in folder.iterdir()}
    assert made & {"lake", "build"}, "the commands write to a folder that they name, or to ./lake"

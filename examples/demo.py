"""`make demo`: the main jobs end to end, in one Spark session, ending with an HTML page.

Ratings → factors → recommendations → models compared; pages → links → ranks → index → answers; a small picture → one
four times larger; everything → report.
Each step prints the command that does the same on its own. The data is embedded: synthetic ratings with known tastes
and films named after their genres, the hand-written web site in `examples/site`, a picture that is drawn, and bundled
weights. `--data PATH` takes MovieLens files instead of the generated ratings.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAKE = "build/demo"
PICTURES = f"{LAKE}/pictures"


def step(
    title: str, command: list[str], run: Callable[[list[str]], int], how: str = "spark-submit spark_jobs/{}.py"
) -> None:
    """Announce and run one job or command; stop the demo if it fails."""
    begun = time.perf_counter()
    print(f"\n=== {title}\n    $ {how.format(command[0])} {' '.join(command[1:])}\n", flush=True)
    if (code := run(command[1:])) != 0:
        sys.exit(code)
    print(f"    ({time.perf_counter() - begun:.0f} s)", flush=True)


def python(*command: str) -> None:
    """Run one of the example scripts."""
    subprocess.run([sys.executable, *command], check=True)


def recommend_films(source: str, users: str) -> None:
    """Train on ratings, recommend, and compare models; `users` are those whose films the report is to show."""
    from spark_jobs import evaluate, ingest_ratings, lfm, recommend

    step("Ratings into the lake", ["ingest_ratings", "--source", source, "--lake", LAKE], ingest_ratings.main)
    step("Latent factors by distributed SGD", ["lfm", "--factors", "32", "--lake", LAKE], lfm.main)
    step("Recommendations", ["recommend", "--lake", LAKE, "--top", "10"], recommend.main)
    compared = ["evaluate", "--models", "popular,lfm,linear,content", "--lake", LAKE]
    step("Four recommenders on the same split", compared, evaluate.main)
    if users:
        print(f"The report shows users {users}: what each rated highest, and what each is recommended.", flush=True)


def search_site() -> None:
    """Read a small web site, rank its pages, index them and ask a question."""
    from spark_jobs import build_index, ingest_pages, pagerank, search

    seed = ["pagerank", "--links", "seed", "--out", f"{LAKE}/seed_ranks", "--lake", f"{LAKE}/seed"]
    step("PageRank of three pages, as worked out in docs/pagerank.md", seed, pagerank.main)
    site = ["ingest_pages", "--source", "examples/site", "--base-url", "https://lakerank.example/", "--lake", LAKE]
    step("A small web site into the lake", site, ingest_pages.main)
    links = ["pagerank", "--lake", LAKE, "--weights", "--top", "10"]
    step("PageRank of its pages, links in menus counting less", links, pagerank.main)
    step("An inverted index", ["build_index", "--lake", LAKE], build_index.main)
    query = ["search", "--lake", LAKE, "--query", "how is link spam found", "--top", "3", "--explain"]
    step("A question", query, search.main)


def upscale_picture() -> None:
    """Score bundled weights against bicubic interpolation, then make a picture four times larger."""
    from sr_model import evaluate, upscale

    python("examples/picture.py", f"{PICTURES}/house.png")
    scores = ["evaluate", "--checkpoint", "tiny", "--data", PICTURES, "--out", f"{LAKE}/super-resolution"]
    step("A picture reduced to a quarter and restored", scores, evaluate.main, "python -m sr_model.{}")
    larger = ["upscale", f"{PICTURES}/house.png", f"{LAKE}/house-x4.png", "--checkpoint", "tiny"]
    step("The picture four times larger", larger, upscale.main, "python -m sr_model.{}")


def main() -> None:
    """Run the whole story."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder or zip of MovieLens files")
    data = parser.parse_args().data
    source = str(Path(data).resolve()) if data else "build/demo-ratings"
    os.chdir(ROOT)
    begun = time.perf_counter()
    shutil.rmtree(LAKE, ignore_errors=True)
    users = ""
    if not data:
        print("No DATA=… given: the ratings are generated (no real users, no real films).", flush=True)
        python("examples/make_ratings.py", source, "--bad-lines")
        users = Path(source, "users.txt").read_text(encoding="utf-8")

    from lakerank.spark.session import session
    from spark_jobs import report

    with session("lakerank-demo", "local[*]"):
        recommend_films(source, users)
        search_site()
        upscale_picture()
        show = ["--show-users", users] if users else []
        step("A page to look at", ["report", "--lake", LAKE, *show], report.main)
    print(f"\nThe demo took {time.perf_counter() - begun:.0f} s. Open {ROOT / LAKE / 'report' / 'index.html'}")


if __name__ == "__main__":
    main()

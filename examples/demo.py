"""`make demo`: the main jobs end to end, in one Spark session, ending with an HTML page.

Ratings → factors → recommendations; pages → links → ranks → index → answers; a small picture → one four times larger;
everything → report.
Each step prints the command that does the same on its own. The data is embedded: generated ratings with planted
factors, the hand-written web site in `examples/site`, a picture that is drawn, and weights that come with the project.
`--data PATH` takes MovieLens files instead of the generated ratings.
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


def enlarge() -> None:
    """Super-resolution with the bundled weights: scores against bicubic, then a picture four times larger."""
    from sr_model import evaluate, upscale

    pictures = f"{LAKE}/pictures"
    python("examples/picture.py", f"{pictures}/house.png")
    scores = ["evaluate", "--checkpoint", "tiny", "--data", pictures, "--out", f"{LAKE}/super-resolution"]
    step("A picture reduced to a quarter and restored", scores, evaluate.main, "python -m sr_model.{}")
    larger = ["upscale", f"{pictures}/house.png", f"{LAKE}/house-x4.png", "--checkpoint", "tiny"]
    step("The picture four times larger", larger, upscale.main, "python -m sr_model.{}")


def main() -> None:
    """The whole story."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder or zip of MovieLens files")
    data = parser.parse_args().data
    source = str(Path(data).resolve()) if data else "build/demo-ratings"
    os.chdir(ROOT)
    begun = time.perf_counter()
    shutil.rmtree(LAKE, ignore_errors=True)
    if not data:
        print("No DATA=… given: the ratings are generated (no real users, no real films).", flush=True)
        python("examples/make_ratings.py", source)

    from lakerank.spark.session import session
    from spark_jobs import build_index, ingest_pages, ingest_ratings, lfm, pagerank, recommend, report, search

    with session("lakerank-demo", "local[*]"):
        ingest = ["ingest_ratings", "--source", source, "--lake", LAKE]
        step("Ratings into the lake", ingest, ingest_ratings.main)
        step("Latent factors by distributed SGD", ["lfm", "--factors", "32", "--lake", LAKE], lfm.main)
        step("Recommendations", ["recommend", "--lake", LAKE, "--top", "10"], recommend.main)
        seed = ["pagerank", "--links", "seed", "--out", f"{LAKE}/seed_ranks", "--lake", f"{LAKE}/seed"]
        step("PageRank of three pages, as worked out in docs/pagerank.md", seed, pagerank.main)
        site = ["ingest_pages", "--source", "examples/site", "--base-url", "https://lakerank.example/", "--lake", LAKE]
        step("A small web site into the lake", site, ingest_pages.main)
        links = ["pagerank", "--lake", LAKE, "--weights", "--top", "10"]
        step("PageRank of its pages, links in menus counting less", links, pagerank.main)
        step("An inverted index", ["build_index", "--lake", LAKE], build_index.main)
        query = ["search", "--lake", LAKE, "--query", "how is link spam found", "--top", "3", "--explain"]
        step("A question", query, search.main)
        enlarge()
        step("A page to look at", ["report", "--lake", LAKE], report.main)
    print(f"\nThe demo took {time.perf_counter() - begun:.0f} s. Open {ROOT / LAKE / 'report' / 'index.html'}")


if __name__ == "__main__":
    main()

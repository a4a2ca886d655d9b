"""`make demo`: the main jobs end to end, in one Spark session, ending with an HTML page.

Ratings → factors → recommendations, links → ranks, everything → report. Each step prints the command that does
the same on its own. The data is embedded: generated ratings with planted factors, and the hand-written web
site in `examples/site`. `--data PATH` takes MovieLens files instead of the generated ratings.
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


def step(title: str, command: list[str], run: Callable[[list[str]], int]) -> None:
    """Announce and run one job; stop the demo if it fails."""
    begun = time.perf_counter()
    print(f"\n=== {title}\n    $ spark-submit spark_jobs/{command[0]}.py {' '.join(command[1:])}\n", flush=True)
    if (code := run(command[1:])) != 0:
        sys.exit(code)
    print(f"    ({time.perf_counter() - begun:.0f} s)", flush=True)


def python(*command: str) -> None:
    """Run one of the example scripts."""
    subprocess.run([sys.executable, *command], check=True)


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
    python("examples/site_links.py", "examples/site", "https://lakerank.example/", "build/demo-links.tsv")

    from spark_jobs import ingest_ratings, lfm, pagerank, recommend, report
    from spark_jobs.lake.session import session

    with session("lakerank-demo", "local[*]"):
        ingest = ["ingest_ratings", "--source", source, "--lake", LAKE]
        step("Ratings into the lake", ingest, ingest_ratings.main)
        step("Latent factors by distributed SGD", ["lfm", "--factors", "32", "--lake", LAKE], lfm.main)
        step("Recommendations", ["recommend", "--lake", LAKE, "--top", "10"], recommend.main)
        seed = ["pagerank", "--links", "seed", "--out", f"{LAKE}/seed_ranks", "--lake", f"{LAKE}/seed"]
        step("PageRank of three pages, as worked out in docs/pagerank.md", seed, pagerank.main)
        links = ["pagerank", "--links", "build/demo-links.tsv", "--lake", LAKE, "--top", "10"]
        step("PageRank of a web site of 30 pages", links, pagerank.main)
        step("A page to look at", ["report", "--lake", LAKE], report.main)
    print(f"\nThe demo took {time.perf_counter() - begun:.0f} s. Open {ROOT / LAKE / 'report' / 'index.html'}")


if __name__ == "__main__":
    main()

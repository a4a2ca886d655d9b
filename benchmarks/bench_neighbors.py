"""All neighbours of MovieLens-20M's 27,278 items: seconds and memory, from a Delta table to a Delta table.

    python benchmarks/make_ratings.py OUT
    python benchmarks/bench_neighbors.py --ratings OUT [--of items|users] [--metric …] [--repeats 1] [--json]

`OUT` is what `make_ratings.py` wrote (or anything `ingest_ratings` reads), or a `ratings` Delta table, which is used as
it is. Timed is `neighbors.run` in a session that is there: reading, all pairs, writing. A first run on 1 % of the users
compiles the kernels and starts the workers. Memory is the peak of all resident sets (`memory.py`), the JVM included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

import pyspark
from memory import PeakMemory

from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import RATINGS
from lakerank.spark.session import session
from spark_jobs import ingest_ratings, neighbors

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=Path, required=True)
    parser.add_argument("--of", choices=["items", "users"], default="items")
    parser.add_argument("--metric", default="cosine")
    parser.add_argument("--top", type=int, default=neighbors.NeighborsArgs.top)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, session("bench-neighbors", "local[2]") as spark:
        table = str(args.ratings)
        if not (args.ratings / "_delta_log").is_dir():
            assert ingest_ratings.main(["--source", table, "--lake", f"{folder}/lake"]) == 0
            table = f"{folder}/lake/ratings"
        ratings = TableRef(table).read(spark, RATINGS)
        few = TableSink(TableRef(f"{folder}/few"), RATINGS)
        few.write(ratings.where("pmod(hash(user_id), 100) = 0"))
        settings = {"of": args.of, "metric": args.metric, "top": args.top, "out": f"{folder}/out"}
        neighbors.run(spark, neighbors.NeighborsArgs(ratings=few.ref.location, **settings))
        seconds = []
        with PeakMemory() as memory:
            for _ in range(args.repeats):
                told = neighbors.run(spark, neighbors.NeighborsArgs(ratings=table, **settings))
                seconds.append(told["seconds"])
                print(f"{told['seconds']:.1f} s", flush=True)
        n = ratings.count()
    facts = {
        "benchmark": "neighbors",
        "of": args.of,
        "metric": args.metric,
        "top": args.top,
        "ratings": n,
        args.of: told[args.of],
        "rows": told["rows"],
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "peak_mib": round(memory.mib),
        "load_average_at_end": os.getloadavg(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "pyspark": pyspark.__version__},
    }
    RESULTS.mkdir(exist_ok=True)
    name = f"neighbors-{args.of}-{args.metric}-{n}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{facts['median_seconds']:.1f} s, peak {memory.mib:.0f} MiB; written to benchmarks/results/{name}")
    if args.json:
        print(json.dumps(facts))


if __name__ == "__main__":
    sys.exit(main())

"""Run every Spark job once, in one session, on the cluster that spark-submit names: `every_job.py FOLDER`.

The folder may be a place in a store.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator

import pyarrow as pa

from lakerank.spark.session import session

LAKELESS = {"evaluate_search"}  # reads and writes files alone


def commands(folder: str) -> list[list[str]]:
    """Job and flags, each after those whose tables it reads."""
    return [
        ["ingest_ratings", "--source", f"{folder}/ratings"],
        ["lfm", "--factors", "4", "--epochs", "2"],
        ["tune", "--trials", "1", "--epochs", "1"],
        ["neighbors"],
        ["linear"],
        ["content", "--method", "model"],
        ["recommend", "--model", "neighbors", "--top", "3", "--explain"],
        ["export_factors", "--out", f"{folder}/vectors"],
        ["predict", "--pairs", f"{folder}/ratings/ratings.csv"],
        ["evaluate", "--models", "popular", "--n-bootstrap", "0", "--metrics", "ndcg@10"],
        ["ingest_pages", "--source", f"{folder}/site", "--base-url", "https://lakerank.example/"],
        ["pagerank", "--weights", "--one-task-edges", "100", "--block-edges", "100"],
        ["centrality", "--measure", "hits"],
        ["host_graph"],
        ["link_spam"],
        ["build_index"],
        ["search", "--queries", f"{folder}/queries.tsv", "--run-file", f"{folder}/run.txt", "--top", "10"],
        ["evaluate_search", "--run-file", f"{folder}/run.txt", "--qrels", f"{folder}/qrels.txt"],
        ["make_patches", "--source", f"{folder}/pictures", "--out", f"{folder}/patches"],
        ["upscale_images", "--images", f"{folder}/pictures"],
        ["report"],
    ]


def where(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The folder that a task runs in: each executor has its own."""
    for _ in batches:
        yield pa.RecordBatch.from_pydict({"folder": [os.getcwd()]})  # noqa: PTH109


def main() -> int:
    """Run them; the first that fails ends it."""
    folder = sys.argv[1]
    with session("lakerank-every-job") as spark:
        for job, *flags in commands(folder):
            begun = time.perf_counter()
            lake = [] if job in LAKELESS else ["--lake", f"{folder}/lake"]
            code = importlib.import_module(f"spark_jobs.{job}").main([*flags, *lake])
            print(f"every_job: {job} ended with {code} after {time.perf_counter() - begun:.0f} s", flush=True)
            if code:
                return int(code)
        folders = spark.range(0, 64, 1, 16).mapInArrow(where, "folder string").distinct().collect()
        print(f"every_job: executors {len(folders)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

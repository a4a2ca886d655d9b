"""Top-N for everybody: ours against MLlib's `ALSModel.recommendForAllUsers` on the same factors, in one run.

Generated factors and seen pairs of MovieLens-20M's size, both in Parquet, results written to Delta, `local[2]`. Ours
leaves out what users have seen, which the peer cannot do: reading, shuffling and masking 20 million pairs counts for
ours. Before they are timed both have answered 200 users (Java and numba have compiled). Ours is timed --repeats
times, the peer once; `ratio_als` is the peer's seconds over the median of ours. Ours is compared with a sort of all
float64 scores for 200 users.

    python benchmarks/bench_top_n.py [--quick] [--ours-only] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
from numpy.typing import NDArray
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.recommend.latent_factors.latent import LatentFactors
from lakerank.spark.session import session

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "bench-top-n"
CHECKED_USERS = WARM_UP_USERS = 200
FILES = 4  # of the seen pairs
ALS_BLOCKS = 10  # what ALS makes of its factors by default
MEAN = 3.5


def draw(rng: np.random.Generator, weights: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Draw `n` indexes, each with its weight."""
    cumulated = np.cumsum(weights)
    return np.searchsorted(cumulated, rng.random(n) * cumulated[-1]).clip(0, len(weights) - 1)


def generate(args: argparse.Namespace) -> None:
    """Write `users`, `items` and `seen` to Parquet folders; a few per cent of the pairs repeat."""
    rng = np.random.default_rng(args.seed)
    for name, rows in (("user", args.users), ("item", args.items)):
        factors = rng.standard_normal((rows, args.factors), dtype=np.float32) * np.float32(args.factors**-0.25)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(factors.ravel()), args.factors)
        table = {
            f"{name}_id": pa.array(np.arange(rows)),
            "bias": pa.array(rng.normal(0, 0.35, rows).astype(np.float32)),
            "factors": lists.cast(pa.list_(pa.float32())),
        }
        (WORK / f"{name}s").mkdir(parents=True)
        pq.write_table(pa.table(table), WORK / f"{name}s" / "0.parquet")
    popularity = (1.0 + np.arange(args.items)) ** -0.8
    rng.shuffle(popularity)
    seen = pa.table(
        {
            "user_id": draw(rng, rng.lognormal(0.0, 1.2, args.users), args.ratings),
            "item_id": draw(rng, popularity, args.ratings),
        }
    )
    (WORK / "seen").mkdir()
    for n in range(FILES):
        lo, hi = n * args.ratings // FILES, (n + 1) * args.ratings // FILES
        pq.write_table(seen.slice(lo, hi - lo), WORK / "seen" / f"{n}.parquet")


def read(spark: SparkSession, name: str) -> DataFrame:
    """Read a generated folder."""
    return spark.read.parquet(str(WORK / name))


def write(df: DataFrame, name: str) -> float:
    """Measure the seconds to compute `df` and write it to a Delta table."""
    begun = time.perf_counter()
    df.write.format("delta").mode("overwrite").save(str(WORK / name))
    return time.perf_counter() - begun


def ours(spark: SparkSession, top: int, repeats: int) -> list[float]:
    """Measure the seconds of each run of ours, after one for a few users."""
    model = LatentFactors(read(spark, "users"), read(spark, "items"), MEAN, 0.5, 5.0)
    users, seen = read(spark, "users").select("user_id"), read(spark, "seen")
    write(model.recommend(users.limit(WARM_UP_USERS), seen, top), "ours")
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        write(model.recommend(users, seen, top), "ours")  # `recommend` itself counts users and fetches the items
        seconds.append(time.perf_counter() - begun)
        print(f"ours: {seconds[-1]:.1f} s", flush=True)
    return seconds


def als(spark: SparkSession, top: int, factors: int) -> float:
    """Measure MLlib on the same factors: a tiny model is fitted and saved, and its factors are replaced."""
    tiny = spark.createDataFrame([(0, 0, 1.0), (1, 1, 2.0)], "user int, item int, rating float")
    path = str(WORK / "als")
    ALS(rank=factors, maxIter=1).fit(tiny).write().overwrite().save(path)
    for name in ("user", "item"):
        rows = read(spark, f"{name}s").select(F.col(f"{name}_id").cast("int").alias("id"), "factors")
        rows = rows.withColumnRenamed("factors", "features").repartition(ALS_BLOCKS, "id")
        rows.write.mode("overwrite").parquet(f"{path}/{name}Factors")
    model = ALSModel.load(path)
    few = read(spark, "users").select(F.col("user_id").cast("int").alias("user")).limit(WARM_UP_USERS)
    write(model.recommendForUserSubset(few, top), "theirs")
    print("ALSModel.recommendForAllUsers: …", flush=True)
    seconds = write(model.recommendForAllUsers(top), "theirs")
    print(f"ALSModel.recommendForAllUsers: {seconds:.1f} s", flush=True)
    return seconds


def matrix(table: pa.Table) -> NDArray[np.float64]:
    """Return the factors of (…, bias, factors), float64."""
    flat = table.column("factors").combine_chunks().flatten().to_numpy().astype(np.float64)
    return flat.reshape(table.num_rows, -1)


def check(spark: SparkSession, top: int, seed: int) -> int:
    """Count the users of `CHECKED_USERS` who got exactly the list that sorting all scores gives."""
    users, items = pq.read_table(WORK / "users"), pq.read_table(WORK / "items")
    chosen = np.sort(np.random.default_rng(seed).choice(users.num_rows, CHECKED_USERS, replace=False))
    picked = users.take(chosen)
    scores = matrix(picked) @ matrix(items).T + items.column("bias").to_numpy()
    scores += picked.column("bias").to_numpy()[:, None] + MEAN
    among = F.col("user_id").isin(chosen.tolist())
    seen = read(spark, "seen").where(among).toArrow()
    scores[np.searchsorted(chosen, seen.column("user_id").to_numpy()), seen.column("item_id").to_numpy()] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    rows = spark.read.format("delta").load(str(WORK / "ours")).where(among).sort("user_id", "rank").toArrow()
    lists: dict[int, list[int]] = {user: [] for user in chosen.tolist()}
    for user, item in zip(rows.column("user_id").to_pylist(), rows.column("item_id").to_pylist(), strict=True):
        lists[user].append(item)
    return sum(mine == wanted for mine, wanted in zip(lists.values(), best.tolist(), strict=True))


def descendants(process: int) -> Iterator[int]:
    """Process ids of the children, of theirs, and so on."""
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, children.read_text(encoding="ascii").split()):
            yield child
            yield from descendants(child)


def worker_peaks() -> list[float]:
    """Return the highest resident set that each living Python worker below this process has had, MiB, largest first."""
    peaks = []
    for process in descendants(os.getpid()):
        if b"pyspark.daemon" in Path(f"/proc/{process}/cmdline").read_bytes():
            status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
            peaks += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return sorted(peaks, reverse=True)


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=138_493)
    parser.add_argument("--items", type=int, default=27_278)
    parser.add_argument("--ratings", type=int, default=20_000_263, help="seen pairs")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours")
    parser.add_argument("--quick", action="store_true", help="a tenth of the users and pairs, ours once")
    parser.add_argument("--ours-only", action="store_true", help="without the peer; no result is kept")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.users, args.ratings, args.repeats = args.users // 10, args.ratings // 10, 1
    shutil.rmtree(WORK, ignore_errors=True)
    generate(args)
    with session("bench-top-n", "local[2]") as spark:
        spark.sparkContext.setLogLevel("ERROR")
        seconds = ours(spark, args.top, args.repeats)
        peaks = worker_peaks()
        right = check(spark, args.top, args.seed)
        print(f"exact for {right} of {CHECKED_USERS} users; peak memory of a worker {max(peaks, default=0):.0f} MiB")
        theirs = None if args.ours_only else als(spark, args.top, args.factors)
    median = statistics.median(seconds)
    facts: dict[str, Any] = {
        "benchmark": "top-n",
        "n": {name: getattr(args, name) for name in ("users", "items", "ratings", "factors", "top")},
        "seed": args.seed,
        "seconds_ours": [round(second, 2) for second in seconds],
        "seconds_als": theirs and round(theirs, 2),
        "ratio_als": theirs and round(theirs / median, 2),
        "exact": f"{right} of {CHECKED_USERS} users",
        "note": "ours leaves out seen items, the peer cannot",
        "worker_peak_mib": [round(peak) for peak in peaks],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "pyspark": pyspark.__version__, "numpy": np.__version__},
    }
    print(f"ours {median:.1f} s (median of {args.repeats})" + (f", ratio {facts['ratio_als']}" if theirs else ""))
    if theirs:
        RESULTS.mkdir(exist_ok=True)
        name = f"top-n{'-quick' if args.quick else ''}.json"
        (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n")
        print(f"written to benchmarks/results/{name}")
    if args.json:
        print(json.dumps(facts))
    shutil.rmtree(WORK)


if __name__ == "__main__":
    sys.exit(main())

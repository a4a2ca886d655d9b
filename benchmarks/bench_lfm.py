"""Latent factors: ours against MLlib's ALS, same ratings, same splits, same session, one run.

ALS gets the best settings of a small grid, chosen by the test ratings themselves (in its favour); ours runs
with the job's defaults. ALS has no answer for users or items it did not see, so two errors are printed: over
all test ratings (ALS falls back to the training mean) and over those ALS can predict.

    python benchmarks/bench_lfm.py --ratings PATH [--seeds 3] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyspark
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.blocks import BlockStore
from spark_jobs.lake.contracts import RATINGS
from spark_jobs.lake.session import session
from spark_jobs.lake.tables import TableRef
from spark_jobs.recsys.models.latent import LatentFactors
from spark_jobs.recsys.models.lfm import LfmConfig, train
from spark_jobs.recsys.splits import Split, split_ratings

RESULTS = Path(__file__).parent / "results"
RANKS, REGS = (8, 16, 32, 64), (0.05, 0.1, 0.15, 0.2)
QUICK_RANKS, QUICK_REGS = (16, 64), (0.1, 0.15)


@dataclass(frozen=True)
class Score:
    """RMSE over all test ratings, and over those ALS can predict; seconds to fit."""

    rmse: float
    rmse_known: float
    seconds: float
    note: str


def errors(predicted: DataFrame) -> tuple[float, float]:
    """RMSE of (rating, prediction, known) over all rows and over the known ones."""
    square = F.pow(F.col("rating").cast("double") - F.col("prediction"), 2)
    row = predicted.agg(F.sqrt(F.avg(square)), F.sqrt(F.avg(F.when(F.col("known"), square)))).first()
    assert row is not None
    return float(row[0]), float(row[1])


def best_als(spark: SparkSession, parts: DataFrame, quick: bool) -> tuple[Score, DataFrame]:
    """MLlib's ALS at its best of the grid, and the test ratings marked by whether ALS knows them."""
    fit, test = parts.where("part = 'train'").cache(), parts.where("part = 'test'").cache()
    stats = fit.agg(F.avg(F.col("rating").cast("double")), F.min("rating"), F.max("rating")).first()
    assert stats is not None
    mean, low, high = stats
    best: Score | None = None
    known = test
    for rank in QUICK_RANKS if quick else RANKS:
        for reg in QUICK_REGS if quick else REGS:
            als = ALS(rank=rank, regParam=reg, maxIter=10, seed=0, userCol="user_id", itemCol="item_id")
            begun = time.perf_counter()
            model = als.fit(fit)
            seconds = time.perf_counter() - begun
            raw = model.transform(test).withColumn("known", ~F.isnan("prediction"))
            clipped = F.greatest(F.lit(float(low)), F.least(F.lit(float(high)), F.col("prediction")))
            guess = F.when(F.col("known"), clipped).otherwise(F.lit(mean))
            rmse, rmse_known = errors(raw.withColumn("prediction", guess))
            print(
                f"  ALS rank {rank:3} reg {reg:.2f}: RMSE {rmse:.4f}, known {rmse_known:.4f}, {seconds:.1f} s",
                flush=True,
            )
            if best is None or rmse_known < best.rmse_known:
                best = Score(rmse, rmse_known, seconds, f"rank {rank}, regParam {reg}, maxIter 10")
                known = raw.select("user_id", "item_id", "rating", "known")
    assert best is not None
    return best, known


def ours(parts: DataFrame, known: DataFrame, config: LfmConfig) -> Score:
    """Our model on the same split."""
    scratch = tempfile.mkdtemp()
    try:
        begun = time.perf_counter()
        trained = train(parts, config, BlockStore.open(scratch, "scratch"))
        trained.item_factors.count()
        seconds = time.perf_counter() - begun
        model = LatentFactors(trained.user_factors, trained.item_factors, trained.mean, trained.low, trained.high)
        rmse, rmse_known = errors(model.predict(known))
    finally:
        shutil.rmtree(scratch)
    note = f"K {config.factors}, {config.optimizer} lr {config.lr}, reg {config.reg}, {config.epochs} epochs"
    return Score(rmse, rmse_known, seconds, note)


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", required=True, help="a `ratings` Delta table (see ingest_ratings)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a smaller grid for ALS")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    runs: list[tuple[Score, Score]] = []
    with session("bench-lfm", "local[2]") as spark:
        ratings = TableRef(args.ratings).read(spark, RATINGS)
        n = ratings.count()
        for seed in range(args.seeds):
            parts = split_ratings(ratings, ratings, Split.parse("random:0.1"), seed).localCheckpoint()
            als, known = best_als(spark, parts, args.quick)
            mine = ours(parts, known, LfmConfig(seed=seed))
            runs.append((als, mine))
            print(f"seed {seed}: ALS  {als.rmse:.4f} (known {als.rmse_known:.4f}) {als.seconds:5.1f} s  {als.note}")
            print(f"seed {seed}: ours {mine.rmse:.4f} (known {mine.rmse_known:.4f}) {mine.seconds:5.1f} s  {mine.note}")
    facts = {
        "benchmark": "lfm",
        "ratings": n,
        "seeds": args.seeds,
        "rmse_als": round(statistics.mean(a.rmse_known for a, _ in runs), 4),
        "rmse_ours": round(statistics.mean(m.rmse_known for _, m in runs), 4),
        "rmse_als_all": round(statistics.mean(a.rmse for a, _ in runs), 4),
        "rmse_ours_all": round(statistics.mean(m.rmse for _, m in runs), 4),
        "worst_margin": round(min(a.rmse_known - m.rmse_known for a, m in runs), 4),
        "ratio_als": round(statistics.median(a.seconds / m.seconds for a, m in runs), 3),
        "runs": [[vars(a), vars(m)] for a, m in runs],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "pyspark": pyspark.__version__},
    }
    print(f"\nmean test RMSE over {args.seeds} seeds, on ratings ALS can predict: "
          f"ALS {facts['rmse_als']}, ours {facts['rmse_ours']}")  # fmt: skip
    print(f"on all test ratings: ALS {facts['rmse_als_all']}, ours {facts['rmse_ours_all']}")
    RESULTS.mkdir(exist_ok=True)
    name = f"lfm-{n}{'-quick' if args.quick else ''}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n")
    print(f"written to benchmarks/results/{name}")
    if args.json:
        print(json.dumps(facts))


if __name__ == "__main__":
    sys.exit(main())

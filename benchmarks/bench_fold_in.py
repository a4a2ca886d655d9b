"""Newcomers without training again: folding in, and going on from the old model, against a full training.

A tenth of the users are newcomers: the model is trained without them. Then they come with 90 % of their ratings, and
their other ratings are predicted by (a) the old model with them folded in, (b) the old model trained on for a few
epochs on everything, (c) a model trained from scratch on everything, (d) what the old model knows of strangers.

    python benchmarks/bench_fold_in.py --ratings PATH [--factors 32] [--quick] [--json]

PATH is a `ratings` Delta table; --quick takes every fifth user of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pyspark
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import RATINGS
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.latent import LatentFactors
from lakerank.recommend.latent_factors.train import Trained, train
from lakerank.recommend.latent_factors.warm_start import BaseStats, WarmStart
from lakerank.spark.array_store import BlockStore
from lakerank.spark.session import session

RESULTS = Path(__file__).resolve().parent / "results"
UPDATE_EPOCHS = 3


def model_of(trained: Trained) -> LatentFactors:
    """Return a model of the trained tables."""
    return LatentFactors(trained.user_factors, trained.item_factors, trained.mean, trained.low, trained.high)


def rmse(model: LatentFactors, test: DataFrame) -> float:
    """Compute the RMSE on the newcomers' test ratings."""
    error = F.avg((F.col("prediction") - F.col("rating")) ** 2)
    row = model.predict(test).agg(F.sqrt(error)).first()
    assert row is not None
    return float(row[0])


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", required=True)
    parser.add_argument("--factors", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--reg", type=float, default=0.1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    config = LfmConfig(factors=args.factors, epochs=args.epochs, lr=args.lr, reg=args.reg)
    with tempfile.TemporaryDirectory() as folder, session("bench-fold-in", "local[2]") as spark:
        ratings = TableRef(args.ratings).read(spark, RATINGS)
        if args.quick:
            ratings = ratings.where(F.pmod(F.xxhash64("user_id"), F.lit(5)) == 0)
        parts = split_ratings(ratings, ratings, Split.parse("random:0.1"), 0).localCheckpoint()
        new = F.pmod(F.xxhash64("user_id", F.lit(7)), F.lit(10)) == 0
        train_part = F.col("part") == "train"
        old = train(parts.where(~new), config, BlockStore.open(f"{folder}/old", ""))
        test = parts.where(new & ~train_part).select("user_id", "item_id", "rating").localCheckpoint()
        rated = parts.where(new & train_part)
        newcomers = rated.select("user_id").distinct().count()

        begun = time.perf_counter()
        folded = model_of(old).with_users(rated, args.reg)
        fresh = folded.users.join(rated.select("user_id").distinct(), "user_id").localCheckpoint()
        folding = time.perf_counter() - begun
        begun = time.perf_counter()
        stats = BaseStats(old.mean, len(old.history), old.train_rmse)
        warm_start = WarmStart(old.user_factors, old.item_factors, stats)
        update = replace(config, epochs=UPDATE_EPOCHS)
        updated = train(parts, update, BlockStore.open(f"{folder}/updated", ""), warm_start=warm_start)
        updating = time.perf_counter() - begun
        begun = time.perf_counter()
        whole = train(parts, config, BlockStore.open(f"{folder}/whole", ""))
        retraining = time.perf_counter() - begun
        folded = replace(folded, users=fresh)
        scores = {
            "folded_in": rmse(folded, test),
            "updated": rmse(model_of(updated), test),
            "retrained": rmse(model_of(whole), test),
            "strangers": rmse(model_of(old), test),
        }
        facts = {
            "benchmark": "fold-in",
            "ratings": parts.count(),
            "newcomers": newcomers,
            "their_ratings": rated.count(),
            "their_test_ratings": test.count(),
            **{f"rmse_{name}": round(value, 5) for name, value in scores.items()},
            "folded_in_over_retrained": round(scores["folded_in"] / scores["retrained"], 5),
            "updated_over_retrained": round(scores["updated"] / scores["retrained"], 5),
            "milliseconds_per_newcomer": round(1000 * folding / newcomers, 3),
            "seconds": {"fold_in": folding, "update": updating, "retrain": retraining},
            "settings": {name: getattr(config, name) for name in ("factors", "epochs", "lr", "reg")},
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, local[2]",
            "versions": {"python": platform.python_version(), "pyspark": pyspark.__version__},
        }
    for name, value in facts.items():
        print(f"{name}: {value}")
    RESULTS.mkdir(exist_ok=True)
    name = f"fold-in-{facts['ratings']}{'-quick' if args.quick else ''}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"written to benchmarks/results/{name}")
    if args.json:
        print(json.dumps(facts))


if __name__ == "__main__":
    main()

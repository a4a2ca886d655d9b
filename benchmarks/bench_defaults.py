"""Do settings carry? What the defaults reach on sets of several kinds, beside the best setting of a grid.

For each set a tenth of the ratings is test. `defaults` is the model as it is without any flag; the grid's best is
chosen by the test ratings themselves, at its best epoch: no honest search can be better than that, so the gap is an
upper bound. `cost` is what defaults took beside a plain training with fixed settings. For `linear` and `neighbors` each
user's last rating is the test, and the score is nDCG@10; with `ials` they are clicks.

    python benchmarks/bench_defaults.py [--movielens FOLDER] [--filmtrust FILE] [--like 100k,1m]
        [--generated N[:DENSITY],…] [--models mf,svdpp,bayesian,linear,neighbors,ials] [--candidates N]
        [--no-grid] [--quick] [--json]

--like 100k,1m makes ratings of MovieLens-100K's and 1M's numbers of users, items and ratings that have what people's
ratings have (`ratings_like_movielens`). --generated 1000000:0.04 makes about a million ratings of so large a share of
all pairs; --quick takes `mf` and a grid of four.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyspark
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.recommend.data.rating_input import read_ratings_of
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.recommend.data.synthetic import generate_ratings
from lakerank.recommend.evaluation.evaluate_model import FULL, EvaluationConfig, evaluate_models
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.train import train
from lakerank.recommend.models.base import Data
from lakerank.recommend.models.registry import model_spec
from lakerank.spark.array_store import BlockStore
from lakerank.spark.session import session

RESULTS = Path(__file__).resolve().parent / "results"
LIKE = {"100k": (943, 1_682, 100_000), "1m": (6_040, 3_706, 1_000_209)}  # users, items, ratings
REGS, RATES, EPOCHS = (0.0125, 0.025, 0.05, 0.1, 0.2), (0.05, 0.1), 40
TASTE, NOISE = 0.7, 0.71  # as in make_ratings.py
LINEAR_GRID = [{"reg": reg, "top": top} for reg in (50.0, 200.0, 800.0, 3200.0) for top in (300, 100_000)]
IALS_GRID = [
    {"reg": reg, "unobserved": unobserved, "recency": recency}
    for reg in (0.005, 0.01, 0.02)
    for unobserved in (0.1, 0.25)
    for recency in (0.0, 0.8)
]
RANKERS = ("linear", "neighbors", "ials")
NEIGHBOR_GRID = [
    {"measure": "cosine", "weighting": weighting, "shrink": shrink, "recency": recency}
    for weighting in ("none", "tf-idf", "bm25")
    for shrink in (0.0, 30.0, 100.0)
    for recency in (0.0, 0.8)
]


@dataclass(frozen=True)
class Row:
    """A line of the table: RMSE, or nDCG@10 (`higher` is better)."""

    set: str
    model: str
    defaults: float
    chosen: str
    seconds: float
    grid: float | None
    grid_settings: str
    plain_seconds: float | None
    higher: bool = False

    @property
    def gap(self) -> float | None:
        """How much worse than the grid's best the defaults are, as a share of that."""
        if self.grid is None:
            return None
        return (self.grid - self.defaults if self.higher else self.defaults - self.grid) / self.grid


def ratings_like_movielens(n_users: int, n_items: int, n: int, seed: int = 0) -> pa.Table:
    """Generate ratings 1 to 5, with times, about `n` of them, at least 20 a user.

    40 factors of decaying weight (k^-0.7), which drift over a user's choices, biases of users and items (popular items
    are better liked), and noise, in shares that give MovieLens's mean 3.58, its deviation 1.12, biases alone an RMSE
    of about 0.92 and the generating model one of about 0.80. Users choose by popularity and taste (a softmax choice);
    how many they choose is log-normal.
    """
    rng, rank = np.random.default_rng(seed), 40
    scale = np.arange(1, rank + 1) ** -0.7
    scale /= np.sqrt(np.square(scale).sum())
    popularity = 1.5 * rng.standard_normal(n_items)
    b_U = rng.normal(0, 0.42, n_users)
    b_I = 0.35 * popularity / 1.5 + rng.normal(0, 0.38, n_items)
    q_IK = rng.standard_normal((n_items, rank)) * np.sqrt(scale)
    activity = rng.lognormal(0, 0.95, n_users)
    counts = np.clip(20 + (activity / activity.sum() * (n - 20 * n_users)), 20, n_items // 2).astype(int)
    joined = rng.integers(0, 900 * 86_400, n_users) + 950_000_000
    columns: list[list[Any]] = [[], [], [], []]
    for user in range(n_users):
        early, late = (rng.standard_normal(rank) * np.sqrt(scale) for _ in range(2))
        late = 0.7 * early + np.sqrt(1 - 0.7**2) * late
        whole = popularity + 0.8 * q_IK @ (early + late) + rng.gumbel(size=n_items)
        items = np.argpartition(-whole, counts[user])[: counts[user]]
        # What suits the later taste comes later; a session is a hundred choices, seconds apart.
        items = items[np.argsort(q_IK[items] @ (late - early) + 0.7 * rng.gumbel(size=len(items)), kind="stable")]
        age = np.linspace(0, 1, len(items))[:, None]
        tastes = (1 - age) * early + age * late
        truth = 2.65 + b_U[user] + b_I[items] + 0.62 * np.einsum("nk,nk->n", tastes, q_IK[items])
        ratings = np.clip(np.round(truth + rng.normal(0, 0.84, len(items))), 1, 5)
        seconds = joined[user] + np.arange(len(items)) * 20 + np.arange(len(items)) // 100 * 7 * 86_400
        for column, values in zip(columns, (np.full(len(items), user), items, ratings, seconds), strict=True):
            column.append(values)
    users, items, ratings, seconds = (np.concatenate(column) for column in columns)
    return pa.table(
        {
            "user_id": users.astype(np.int64),
            "item_id": items.astype(np.int64),
            "rating": ratings.astype(np.float32),
            "rated_at": pa.array(seconds, pa.timestamp("s", "UTC")).cast(pa.timestamp("us", "UTC")),
        }
    )


def sets(spark: SparkSession, args: argparse.Namespace, scratch: str) -> Iterator[tuple[str, DataFrame]]:
    """Yield names and `ratings` relations."""
    if args.filmtrust:
        with Path(args.filmtrust).open(encoding="utf-8") as file:
            rows = ["user,item,rating", *(",".join(line.split()) for line in file if line.strip())]
        copy = Path(scratch) / "filmtrust.csv"
        copy.write_text("\n".join(rows) + "\n", encoding="utf-8")
        yield "FilmTrust", read_ratings_of(spark, "--filmtrust", str(copy), scratch, {})
    if args.movielens:
        where = str(Path(args.movielens) / "ratings.csv")
        yield "ml-latest-small", read_ratings_of(spark, "--movielens", where, scratch, {})
    for size in filter(None, args.like.split(",")):
        yield f"like MovieLens-{size.upper()}", spark.createDataFrame(ratings_like_movielens(*LIKE[size]))
    for text in filter(None, args.generated.split(",")):
        n, density = int(text.partition(":")[0]), float(text.partition(":")[2] or 0.02)
        items = int(np.sqrt(n / density / 4))
        made = generate_ratings(4 * items, items, n, 20, NOISE, 0, TASTE)
        table = pa.table(
            {
                "user_id": made.users.astype(np.int64),
                "item_id": made.items.astype(np.int64),
                "rating": made.ratings,
                "rated_at": pa.array(made.seconds, pa.timestamp("s", "UTC")).cast(pa.timestamp("us", "UTC")),
            }
        )
        yield f"generated {len(made.ratings):,} at {density:g}", spark.createDataFrame(table)


def factors_row(name: str, model: str, ratings: DataFrame, grid: list[dict[str, Any]], store: BlockStore) -> Row:
    """Train the defaults and the grid on the same blocks."""
    parts = split_ratings(ratings, ratings, Split.parse("random:0.1"), 0, scratch=store.root)
    data, numbers = store.below("data"), itertools.count()

    def trained(**settings: Any) -> tuple[Any, float]:
        begun = time.perf_counter()
        found = train(parts, LfmConfig(model, **settings), store.below(f"run-{next(numbers)}"), data=data)
        return found, time.perf_counter() - begun

    trained(epochs=1 if model != "bayesian" else 21, reg=0.05)  # blocks, compiled loops
    _, plain = trained(reg=0.05, epochs=120) if model == "bayesian" else trained(reg=0.05)
    own, seconds = trained()
    best: tuple[float, str] | None = None
    for settings in grid:
        found, _ = trained(**settings)
        lowest = min(found.history, key=lambda epoch: epoch.test_rmse)
        outcome = (lowest.test_rmse, f"{settings}, epoch {lowest.epoch}")
        best = outcome if best is None or outcome < best else best
    chosen = f"reg {own.config.reg:g}, lr {own.config.lr:g}, epochs {own.sweeps or own.config.epochs}"
    return Row(name, model, own.test_rmse, chosen, seconds, best and best[0], best[1] if best else "", plain)


def ranking_row(
    name: str, model: str, ratings: DataFrame, grid: list[dict[str, Any]], store: BlockStore, candidates: str
) -> Row:
    """Evaluate the defaults and the grid on each user's last rating."""
    spec = model_spec(model)

    def with_settings(settings: dict[str, Any]) -> Any:
        return replace(spec, name=f"{model}-{settings}", fit=partial(_fit, spec, settings))

    how = EvaluationConfig(metrics="ndcg@10,hr@10", candidates=candidates, n_bootstrap=0)
    found = evaluate_models([spec, *map(with_settings, grid)], Data(ratings), how, store)
    scores = {score.model: score.value for score in found.everyone if score.metric == "ndcg@10"}
    hits = {score.model: score.value for score in found.everyone if score.metric == "hr@10"}
    own = scores.pop(spec.name)
    best = max(scores, key=lambda one: scores[one], default="")
    told = f"HR@10 {hits[spec.name]:.4f}"
    where = name if candidates == FULL else f"{name}, among {candidates} not rated"
    return Row(where, model, own, told, found.seconds[spec.name], scores.get(best), best, None, higher=True)


def _fit(spec: Any, settings: dict[str, Any], data: Data, store: BlockStore, _: Any = None, /) -> Any:
    return spec.fit(data, store.below("grid"), spec.settings(**{"recency": 0.8, **settings}))


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movielens", default="", help="folder of ml-latest-small")
    parser.add_argument("--filmtrust", default="", help="file of FilmTrust's ratings")
    parser.add_argument("--like", default="", help="MovieLens editions whose shape is generated: 100k, 1m")
    parser.add_argument("--generated", default="", metavar="N[:DENSITY],…")
    parser.add_argument("--models", default="mf,svdpp,bayesian,linear,neighbors,ials")
    parser.add_argument("--candidates", default=FULL, help="ranked beside each last rating: full, or a number")
    parser.add_argument("--no-grid", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", default=str(RESULTS / "defaults.json"))
    args = parser.parse_args()
    models = ["mf"] if args.quick else args.models.split(",")
    by_sgd = [{"reg": reg, "lr": lr, "epochs": EPOCHS} for reg in REGS for lr in RATES]
    if args.quick:
        by_sgd = by_sgd[2:6]
    grids: dict[str, list[dict[str, Any]]] = {
        "linear": LINEAR_GRID,
        "neighbors": NEIGHBOR_GRID,
        "ials": IALS_GRID,
        "bayesian": [],
    }
    out, rows = Path(args.out), []
    with (
        session("bench-defaults", os.environ.get("BENCH_MASTER", "local[2]"), "") as spark,
        tempfile.TemporaryDirectory() as scratch,
    ):
        for number, (name, found) in enumerate(sets(spark, args, scratch)):
            ratings = found.withColumn("rated_at", F.col("rated_at").cast("timestamp")).localCheckpoint()
            for model in models:
                store = BlockStore.open(f"{scratch}/{number}-{model}", "scratch")
                grid = [] if args.no_grid else grids.get(model, by_sgd)
                if model in RANKERS:
                    row = ranking_row(name, model, ratings, grid, store, args.candidates)
                else:
                    row = factors_row(name, model, ratings, grid, store)
                rows.append(row)
                gap = "" if row.gap is None else f", grid {row.grid:.4f} ({row.grid_settings}), gap {row.gap:+.2%}"
                cost = f", cost {row.seconds / row.plain_seconds:.1f}x" if row.plain_seconds else ""
                print(f"{name}, {model}: defaults {row.defaults:.4f} ({row.chosen}){gap}{cost}", flush=True)
                store.drop("")
                keep(out, rows)
    if args.json:
        gaps = [row.gap for row in rows if row.gap is not None]
        print(json.dumps({"worst_gap": max(gaps, default=None), "rows": len(rows)}))


def keep(out: Path, rows: list[Row]) -> None:
    """Write the table: rows of sets and models that are measured again replace their own."""
    old = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.is_file() else []
    mine = {(row.set, row.model) for row in rows}
    kept = [row for row in old if (row["set"], row["model"]) not in mine]
    found = [{**vars(row), "gap": row.gap} for row in rows]
    facts = {
        "benchmark": "defaults",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "pyspark": pyspark.__version__},
        "load_average": os.getloadavg()[0],
        "rows": [*kept, *found],
    }
    out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

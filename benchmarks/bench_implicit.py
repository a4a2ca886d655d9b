"""Who ranks clicks best, and how soon: `lfm --model ials`, implicit's ALS and BPR, MLlib's ALS and EASE in one run.

Check-ins (their own test), ml-latest-small as clicks (a tenth of the ratings is the test) and generated clicks.
Everyone's settings are chosen by nDCG@10 on a tenth of the training clicks out of nine; then it is fitted to all of
them, and nDCG@10 of the test among all items but those of training is told with the seconds it took, on two cores:
ours and MLlib's from a frame of pairs to the factors, implicit's from a sparse matrix in memory. `ials defaults` is the
model without a flag. A row's `curve` has nDCG after each iteration; `seconds to equal` are those after which ours (by
its defaults) first was as good as that peer at its best, the peer's own to there, and their ratio.

    python benchmarks/bench_implicit.py --sets foursquare,movielens,generated:1000000 --data ../shared/data [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from implicit_peers import ndcg
from numpy.typing import NDArray
from peer_environment import peer_python
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy import sparse

from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.train import Trained, train
from lakerank.spark.array_store import BlockStore
from lakerank.spark.session import session

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("numpy==1.26.4", "scipy==1.13.1", "implicit==0.7.2")
OURS = {"reg": (0.005, 0.01, 0.02), "unobserved": (0.05, 0.1, 0.3)}
MLLIB = {"regParam": (0.03, 0.1, 0.3), "alpha": (3.0, 10.0, 30.0)}
MLLIB_ITERATIONS = (1, 2, 3, 5, 10, 15)
TASTE, POPULARITY = 1.5, 1.3  # of generated clicks: deviations of taste and popularity beside a Gumbel of 1.28
USERS_AT_ONCE = 256
Clicks = dict[str, pd.DataFrame]


def generated_clicks(n: int, seed: int = 0) -> pd.DataFrame:
    """Generate clicks: each user takes the items of largest popularity + p·q + Gumbel noise (a softmax choice).

    Users and items are in the proportions of MovieLens-20M; activity is log-normal.
    """
    rng = np.random.default_rng(seed)
    share = n / 20_000_263
    n_users, n_items, rank = round(138_493 * share**0.75) + 50, round(27_278 * share**0.5) + 50, 16
    popularity = rng.standard_normal(n_items).astype(np.float32) * POPULARITY
    q_IK = rng.standard_normal((n_items, rank), dtype=np.float32) / np.float32(np.sqrt(rank))
    activity = rng.lognormal(0, 1, n_users)
    counts = np.clip((activity / activity.sum() * n).astype(int), 5, n_items // 3)
    users, items = [], []
    for lo in range(0, n_users, USERS_AT_ONCE):
        size = min(USERS_AT_ONCE, n_users - lo)
        p_UK = rng.standard_normal((size, rank), dtype=np.float32) * np.float32(TASTE)
        noise = -np.log(rng.standard_exponential((size, n_items), dtype=np.float32))
        scores = popularity + p_UK @ q_IK.T + noise
        for row, count in enumerate(counts[lo : lo + size]):
            users.append(np.full(count, lo + row))
            items.append(np.argpartition(-scores[row], count)[:count])
    return pd.DataFrame({"user": np.concatenate(users), "item": np.concatenate(items), "count": 1.0})


def load(name: str, data: Path) -> Clicks:
    """Return the parts train, valid and test of a data set, numbered; items that training lacks are left out."""
    rng = np.random.default_rng(0)
    if name == "foursquare":
        columns = {"sep": " ", "names": ["user", "item", "count"]}
        train, test = (pd.read_csv(data / f"ratings-more/foursquare-checkins-{part}.txt", **columns) for part in
                       ("train", "test"))  # fmt: skip
    else:
        if name == "movielens":
            frame = pd.read_csv(data / "movielens/ml-latest-small/ratings.csv").iloc[:, :3]
            frame.columns = pd.Index(["user", "item", "count"])
            frame["count"] = 1.0
        else:
            frame = generated_clicks(int(name.partition(":")[2]))
        held = rng.random(len(frame)) < 0.1
        train, test = frame[~held], frame[held]
    valid = rng.random(len(train)) < 0.1
    users, items = np.unique(train.user), np.unique(train.item)

    def numbered(part: pd.DataFrame) -> pd.DataFrame:
        u, i = pd.Index(users).get_indexer(part.user), pd.Index(items).get_indexer(part.item)
        frame = pd.DataFrame({"user_id": u, "item_id": i, "rating": part["count"].to_numpy(np.float32)})
        return frame[(u >= 0) & (i >= 0)].groupby(["user_id", "item_id"], as_index=False).sum()

    return {"train": numbered(train[~valid]), "valid": numbered(train[valid]), "test": numbered(test)}


def matrix(parts: list[pd.DataFrame], shape: tuple[int, int]) -> sparse.csr_matrix:
    """Return counts as a sparse matrix."""
    frame = pd.concat(parts)
    return sparse.csr_matrix((frame.rating, (frame.user_id, frame.item_id)), shape)


def parted(spark: SparkSession, known: list[pd.DataFrame], held: pd.DataFrame) -> DataFrame:
    """Return clicks with `part`, as training takes them."""
    frame = pd.concat([*(one.assign(part="train") for one in known), held.assign(part="test")])
    return spark.createDataFrame(pa.Table.from_pandas(frame, preserve_index=False)).withColumn(
        "rated_at", F.lit(None).cast("timestamp")
    )


def factors_of(trained: Any, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the factors of users and items by number, (U, K) and (I, K); zeros for those without."""
    found = []
    for frame, n in zip(trained, shape, strict=True):
        table = frame.toArrow()
        rows = np.stack(table.column(1).combine_chunks().to_numpy(zero_copy_only=False))
        whole = np.zeros((n, rows.shape[1]), np.float32)
        whole[table.column(0).to_numpy()] = rows
        found.append(whole)
    return found[0], found[1]


def score_factors(sides: Any, known: sparse.csr_matrix, held: sparse.csr_matrix) -> float:
    """Return nDCG@10 of factors."""
    p, q = factors_of(sides, known.shape)
    return float(ndcg(lambda mine: p[mine] @ q.T, known, held)[0])


def fit_ours(
    spark: SparkSession, clicks: DataFrame, folder: Path, **settings: Any
) -> tuple[list[list[float]], Trained]:
    """Train `ials`; returns [[seconds, nDCG@10 of what is held out], …] by epoch, the blocks' time included."""
    ends: list[list[float]] = []
    begun, asked = time.perf_counter(), 0.0
    store = BlockStore.open(str(folder), "")
    trained = train(clicks, LfmConfig("ials", **settings), store, lambda line: ends.append([line.seconds]))
    seconds = time.perf_counter() - begun - asked
    start = seconds - sum(line.seconds for line in trained.history)  # building blocks, and jobs
    curve = [[start + float(end), line.test_ndcg or 0.0] for end, line in
             zip(np.cumsum([line.seconds for line in trained.history]), trained.history, strict=True)]  # fmt: skip
    return curve, trained


def run_ours(
    spark: SparkSession, made: Clicks, shape: tuple[int, int], folder: Path, quick: bool, tune: bool
) -> dict[str, Any]:
    """Tune and fit ours; then, or without `tune` only, with its defaults."""
    known, both = matrix([made["train"]], shape), matrix([made["train"], made["valid"]], shape)
    held = matrix([made["test"]], shape)
    tuning = parted(spark, [made["train"]], made["valid"]).persist()
    final = parted(spark, [made["train"], made["valid"]], made["test"]).persist()
    for frame in (tuning, final):
        frame.count()
    grid = [dict(zip(OURS, values, strict=True)) for values in itertools.product(*OURS.values())]
    tried = []
    for n, settings in enumerate((grid[3:5] if quick else grid) if tune else []):
        curve, _ = fit_ours(spark, tuning, folder / f"try-{n}", **settings)
        tried.append((curve[-1][1], settings))
    valid, best = max(tried, key=lambda pair: pair[0], default=(0.0, {}))
    told = {}
    for name, settings in ([("ials", best)] if tune else []) + [("ials defaults", {})]:
        curve, trained = fit_ours(spark, final, folder / name, **settings)
        sides = (trained.user_factors.select("user_id", "factors"), trained.item_factors.select("item_id", "factors"))
        told[name] = {"settings": settings, "curve": curve, "ndcg": score_factors(sides, both, held)}
        told[name] |= {"used": {"reg": trained.config.reg, "unobserved": trained.config.unobserved}}
    if tune:
        told["ials"] |= {"valid": valid, "tried": len(tried)}
    for frame in (tuning, final):
        frame.unpersist()
    assert known.shape == both.shape
    return told


def run_mllib(spark: SparkSession, made: Clicks, shape: tuple[int, int], quick: bool) -> dict[str, Any]:
    """Tune and fit MLlib's ALS with implicitPrefs; its curve is made of fits of several lengths."""
    known, both = matrix([made["train"]], shape), matrix([made["train"], made["valid"]], shape)
    tuning = parted(spark, [made["train"]], made["valid"]).where("part = 'train'").persist()
    final = parted(spark, [made["train"], made["valid"]], made["test"]).where("part = 'train'").persist()
    for frame in (tuning, final):
        frame.count()

    def fit(frame: DataFrame, iterations: int, **settings: float) -> tuple[float, Any]:
        als = ALS(
            userCol="user_id", itemCol="item_id", implicitPrefs=True, rank=32 if quick else 64, seed=0,
            maxIter=iterations, numUserBlocks=2, numItemBlocks=2, **settings,
        )  # fmt: skip
        begun = time.perf_counter()
        model = als.fit(frame)
        model.userFactors.count()
        return time.perf_counter() - begun, (model.userFactors, model.itemFactors)

    grid = [dict(zip(MLLIB, values, strict=True)) for values in itertools.product(*MLLIB.values())]
    tried = []
    for settings in grid[2:4] if quick else grid:
        _, sides = fit(tuning, 10, **settings)
        tried.append((score_factors(sides, known, matrix([made["valid"]], shape)), settings))
    valid, best = max(tried, key=lambda pair: pair[0])
    curve = []
    for iterations in MLLIB_ITERATIONS[: 3 if quick else None]:
        seconds, sides = fit(final, iterations, **best)
        curve.append([seconds, score_factors(sides, both, matrix([made["test"]], shape))])
    for frame in (tuning, final):
        frame.unpersist()
    return {"settings": best, "valid": valid, "tried": len(tried), "curve": curve}


def run_peers(made: Clicks, shape: tuple[int, int], folder: Path, quick: bool) -> dict[str, Any]:
    """Run implicit and EASE in their own environment."""
    train, both = matrix([made["train"]], shape), matrix([made["train"], made["valid"]], shape)
    sparse.save_npz(folder / "train.npz", train)
    sparse.save_npz(folder / "all.npz", both)
    held = {name: matrix([made[name]], shape) for name in ("valid", "test")}
    arrays = {f"{name}-{what}": getattr(one, what) for name, one in held.items() for what in ("indptr", "indices")}
    np.savez(folder / "held.npz", **arrays)
    python = peer_python(ROOT / "build" / "peers-rec", PACKAGES)
    command = [
        str(python),
        str(ROOT / "benchmarks" / "implicit_peers.py"),
        str(folder),
        *(["--quick"] if quick else []),
    ]
    if min(shape) > 20_000:
        command.append("--skip-ease")
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, text=True).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def first_at_least(curve: list[list[float]], value: float) -> float | None:
    """Return the seconds after which a curve first reaches a value; None if it never does."""
    return next((seconds for seconds, reached in curve if reached >= value), None)


def summarise(rows: dict[str, Any]) -> dict[str, Any]:
    """Add each row's nDCG, and ours over the peer's seconds to the peer's best nDCG."""
    for row in rows.values():
        row.setdefault("ndcg", row["curve"][-1][1])
        row["seconds"] = row["curve"][-1][0]
    for name, row in rows.items():
        if name.startswith("ials"):
            continue
        best = max(value for _, value in row["curve"])
        ours, theirs = first_at_least(rows["ials defaults"]["curve"], best), first_at_least(row["curve"], best)
        row["seconds to equal"] = None if ours is None or theirs is None else [ours, theirs, ours / theirs]
    return rows


def main() -> None:
    """Run all sets, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the data sets")
    parser.add_argument("--sets", default="foursquare,movielens,generated:1000000", help="which, with commas between")
    parser.add_argument("--only", default="ials,mllib,peers", help="who runs beside our defaults, with commas between")
    parser.add_argument("--quick", action="store_true", help="few settings, small models: that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS / "implicit.json", help="JSON to write the results to")
    args = parser.parse_args()
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    versions = {"python": platform.python_version(), "peers": PACKAGES}
    results: dict[str, Any] = {"machine": machine, "versions": versions, "sets": {}}
    only = args.only.split(",")
    for name in args.sets.split(","):
        made = load(name, args.data)
        shape = tuple(int(max(part[side].max() for part in made.values())) + 1 for side in ("user_id", "item_id"))
        sizes = {part: len(frame) for part, frame in made.items()} | {"users": shape[0], "items": shape[1]}
        print(name, sizes, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows: dict[str, Any] = {}
            with session("bench-implicit", "local[2]") as spark:
                rows |= run_ours(spark, made, shape, Path(folder), args.quick, tune="ials" in only)
                if "mllib" in only:
                    rows["MLlib ALS"] = run_mllib(spark, made, shape, args.quick)
            if "peers" in only:
                rows |= run_peers(made, shape, Path(folder), args.quick)
        for row, found in summarise(rows).items():
            equal = found.get("seconds to equal")
            print(f"  {row:14} nDCG@10 {found['ndcg']:.4f}  {found['seconds']:8.1f} s  {found['settings']}"
                  + (f"  ours to equal {equal[0]:.1f} s of {equal[1]:.1f} s" if equal else ""), flush=True)  # fmt: skip
        results["sets"][name] = {"sizes": sizes, "models": rows}
        args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

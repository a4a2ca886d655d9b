"""Who recommends best what a user rates next: ours against six others, in one run on the same splits.

ml-latest-small (or any folder of MovieLens): the newest rating of each user is the test, the newest of the rest the
validation (equal times: the higher item id, as `--split leave-one-out`). All items are ranked, those a user has rated
left out. Everybody's settings are chosen by nDCG@10 on validation out of a grid (`GRIDS` here and in `rec_peers.py`),
then fitted to training and validation; nothing is chosen on the test. `lfm`, `content` and `popular` have their
defaults. The blend is ours as `recommend --model blend` makes it. Models are compared by a paired bootstrap of users.
Then, for colder users: the same test with only the newest 0, 1, 3, 5 ratings of each user known, users unknown by id.

    python benchmarks/bench_recommenders.py --data path/to/ml-latest-small [--quick] [--json]
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from peer_environment import peer_python
from pyspark.sql import SparkSession
from scipy import sparse

from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import ITEMS, RATINGS, TAGS
from lakerank.recommend.blend.model import GROUPS
from lakerank.recommend.blend.scorer import BlendScorer
from lakerank.recommend.blend.solver import learn
from lakerank.recommend.content import model as content
from lakerank.recommend.ease.solver import Ease
from lakerank.recommend.evaluation.compare import Sums, bootstrap, percentile_interval
from lakerank.recommend.evaluation.metrics import discounted_gain, hit_rate, hits, reciprocal_rank
from lakerank.recommend.latent_factors import latent
from lakerank.recommend.models import popular
from lakerank.recommend.models.base import Data, Scorer
from lakerank.recommend.models.batch_shuffle import users_at_once
from lakerank.recommend.models.item_weights import ItemWeights
from lakerank.recommend.models.top_n import top_k
from lakerank.recommend.models.training_matrix import TrainingMatrix
from lakerank.recommend.models.user_histories import Biases
from lakerank.recommend.neighbors.solver import Similarity, nearest
from lakerank.spark.array_store import BlockStore
from lakerank.spark.session import session

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PEERS = ROOT / "build" / "peers-rec"
PACKAGES = ("numpy==1.26.4", "scipy==1.13.1", "implicit==0.7.2")
TOP, RESAMPLES = 10, 10_000
GIVEN = (0, 1, 3, 5)
RECENCIES = (0.0, 0.4, 0.8, 1.2)
GRIDS = {
    "neighbors": {"weighting": ("none", "tf-idf"), "shrink": (0.0, 10.0, 30.0), "top": (50, 100, 200)},
    "linear": {"reg": (100.0, 200.0, 400.0), "top": (300,)},
}
QUICK = {
    "neighbors": {"weighting": ("tf-idf",), "shrink": (10.0,), "top": (100,)},
    "linear": {"reg": (200.0,), "top": (300,)},
}


@dataclass(frozen=True)
class Stage:
    """A stage of evaluation: the known ratings, and the held-out items of each user.

    Attributes:
        ratings: rows user_id, item_id, rating, rated_at that are known.
        training: the same as arrays.
        held: (users of the training) item id, −1 for none.
    """

    ratings: pd.DataFrame
    training: TrainingMatrix
    held: NDArray[np.int64]


def stages(ratings: pd.DataFrame) -> tuple[Stage, Stage]:
    """Split ratings into the stages validation and test."""
    ordered = ratings.sort_values(["user_id", "rated_at", "item_id"], ascending=[True, False, False])
    position = ordered.groupby("user_id").cumcount()
    size = ordered.groupby("user_id").user_id.transform("size")

    def stage(n: int) -> Stage:
        known = ordered[(position > n) | (size <= n + 1)]
        asked = ordered[(position == n) & (size > n + 1)].set_index("user_id").item_id
        columns = [pa.chunked_array([known[name].to_numpy()]) for name in ("user_id", "item_id")]
        seconds = known.rated_at.to_numpy().astype("datetime64[s]").astype(np.int64)
        training = TrainingMatrix.of(*columns, known.rating.to_numpy(np.float32), seconds)
        return Stage(known, training, asked.reindex(training.block.users.to_numpy()).fillna(-1).to_numpy(np.int64))

    return stage(1), stage(0)


def top_of(scorer: Scorer, stage: Stage, given: int | None = None) -> NDArray[np.int64]:
    """Return item ids, (users, 10), −1 at the end; with `given`, only so many ratings of each user are known."""
    items = scorer.items.to_numpy()
    to = pc.index_in(stage.training.items, value_set=scorer.items).fill_null(-1).to_numpy().astype(np.int32)
    block = stage.training.block.reindex(to)
    asked = block if given is None else block.newest(given).anonymous()
    found = []
    step = users_at_once(len(items))
    for lo in range(0, len(block), step):
        part = block.part(lo, min(lo + step, len(block)))
        hidden = np.zeros((len(part), len(items)), bool)
        hidden[part.rows, part.positions] = True
        positions = top_k(scorer.scores(asked.part(lo, lo + len(part))), hidden, TOP)[0]
        found.append(np.where(positions >= 0, items[positions], -1))
    return np.concatenate(found)


def measured(top: NDArray[np.int64], held: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Compute the metrics of each user with held-out items."""
    some = held >= 0
    ids = np.unique(np.concatenate([top[some].ravel(), held[some]]))
    positions = np.where(top[some] >= 0, np.searchsorted(ids, top[some]), -1).astype(np.int32)
    hit = hits(positions, np.arange(int(some.sum())), np.searchsorted(ids, held[some]), len(ids))
    return {"ndcg": discounted_gain(*hit), "hr": hit_rate(*hit), "mrr": reciprocal_rank(*hit)}


def neighbors_scorer(
    stage: Stage, store: BlockStore, settings: dict[str, Any], recency: float, key: str
) -> ItemWeights:
    """Make our neighbours' scorer without Spark: as little work as here is done in one process by the job, too."""
    work = store.below(f"n-{key}")
    work.drop_where(lambda _: True)
    weights = nearest(None, stage.training.matrix.T.tocsr(), Similarity(**settings), work).matrix()
    t = stage.training
    return ItemWeights.make("neighbors", t.items, t.block, weights, store.below(key), recency, rates=True)


def linear_scorer(stage: Stage, store: BlockStore, settings: dict[str, Any], recency: float, key: str) -> ItemWeights:
    """Solve EASE as the job does."""
    t = stage.training
    weights = Ease.solve(t.matrix, settings["reg"], 20_000).largest(settings["top"])
    return ItemWeights.make("linear", t.items, t.block, weights, store.below(key), recency, rates=False)


MAKERS: dict[str, Callable[..., ItemWeights]] = {"neighbors": neighbors_scorer, "linear": linear_scorer}


def tuned(name: str, valid: Stage, store: BlockStore, grid: dict[str, Any], recencies: tuple[float, ...]) -> Any:
    """Return (nDCG, settings, recency) of the best of the grid, and the best with recency 0."""
    tried = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        base = MAKERS[name](valid, store, settings, 0.0, "tuning")
        for recency in recencies:
            scorer = ItemWeights(**{**base.__dict__, "recency": recency})
            value = float(measured(top_of(scorer, valid), valid.held)["ndcg"].mean())
            tried.append((value, settings, recency))
            print(f"{name} {settings} recency {recency}: {value:.4f}", flush=True)
    best = max(tried, key=lambda one: one[0])
    plain = max((one for one in tried if one[2] == 0.0), key=lambda one: one[0])
    return best, plain


def other_parts(spark: SparkSession, stage: Stage, lake: str, store: BlockStore) -> dict[str, Scorer]:
    """Train `lfm`, `content` and `popular` with their defaults."""
    ratings = spark.createDataFrame(stage.ratings[["user_id", "item_id", "rating", "rated_at"]], RATINGS.schema())
    tables = [TableRef.find("", relation, lake).read(spark, relation) for relation in (ITEMS, TAGS)]
    data = Data(ratings, *tables)
    fits = {"lfm": latent.fit, "content": content.fit, "popular": popular.fit}
    return {name: fit(data, store.below(f"fit-{name}")).as_scorer(store.below(name)) for name, fit in fits.items()}


def blended(parts: dict[str, Scorer], stage: Stage, weights: NDArray[np.float64]) -> BlendScorer:
    """Return a blend of the parts."""
    biases = Biases.fit(stage.training.block, len(stage.training.items))
    return BlendScorer.make(parts, weights, (stage.training.items, biases), ("lfm", "content", "neighbors"))


def learned(parts: dict[str, Scorer], stage: Stage) -> NDArray[np.float64]:
    """Return the blend weights learned from held-out ratings."""
    blend = blended(parts, stage, np.ones((4, len(parts))))
    to = pc.index_in(stage.training.items, value_set=blend.items).to_numpy().astype(np.int32)
    targets = pc.index_in(pa.array(stage.held), value_set=blend.items).fill_null(-1).to_numpy().astype(np.int64)
    return learn(blend, stage.training.block.reindex(to), targets)


def peers(valid: Stage, test: Stage, quick: bool) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]]]:
    """Run the peers; return their own figures, and their top ten as item ids."""
    python = peer_python(PEERS, PACKAGES)
    items = test.training.items
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        held = {}
        for key, stage in (("train", valid), ("all", test)):
            to = pc.index_in(stage.training.items, value_set=items).to_numpy().astype(np.int32)
            block = stage.training.block.reindex(to)
            sparse.save_npz(folder / f"{key}.npz", block.matrix(np.ones(len(block.positions)), len(items)))
            positions = pc.index_in(pa.array(stage.held), value_set=items).fill_null(-2).to_numpy()
            held["valid" if key == "train" else "test"] = np.where(stage.held < 0, -1, positions)
        np.savez(folder / "held.npz", **held)
        command = [str(python), str(ROOT / "benchmarks" / "rec_peers.py"), name, *(["--quick"] if quick else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ})
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told, {peer: items.to_numpy()[np.load(folder / f"{peer}.npy")] for peer in told}


def read(path: Path, lake: str) -> pd.DataFrame:
    """Ingest a file into the lake by `ingest_ratings`; return its ratings."""
    from spark_jobs import ingest_ratings

    assert ingest_ratings.main(["--source", str(path), "--lake", lake]) == 0
    from deltalake import DeltaTable

    ratings = DeltaTable(f"{lake}/ratings").to_pandas()
    ratings["rated_at"] = ratings.rated_at.dt.tz_localize(None)
    return ratings


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="one point of each grid")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    tops: dict[str, NDArray[np.int64]] = {}
    settings: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        store = BlockStore.open(f"{work}/store", "")
        with session("bench-recommenders", "local[2]"):
            ratings = read(args.data, f"{work}/lake")
        valid, test = stages(ratings)
        begun = time.perf_counter()
        told, theirs = peers(valid, test, args.quick)
        print(f"peers: {time.perf_counter() - begun:.0f} s", flush=True)
        parts: dict[str, dict[str, Scorer]] = {"valid": {}, "test": {}}
        for name, grid in (QUICK if args.quick else GRIDS).items():
            best, plain = tuned(name, valid, store, grid, (0.8, 0.0) if args.quick else RECENCIES)
            for label, (value, chosen, recency) in ((name, best), (f"{name}, recency 0", plain)):
                settings[label] = {**chosen, "recency": recency, "valid": value}
                scorer = MAKERS[name](test, store, chosen, recency, f"test-{label}")
                tops[label] = top_of(scorer, test)
                if label == name:
                    parts["valid"][name] = MAKERS[name](valid, store, chosen, recency, f"valid-{label}")
                    parts["test"][name] = scorer
        with session("bench-recommenders", "local[2]") as spark:
            for key, stage in (("valid", valid), ("test", test)):
                parts[key] |= other_parts(spark, stage, f"{work}/lake", store.below(key))
        weights = learned(parts["valid"], valid)
        blend = blended(parts["test"], test, weights)
        tops |= {name: top_of(parts["test"][name], test) for name in ("lfm", "content", "popular")}
        tops["blend"] = top_of(blend, test)
        cold = {
            given: {
                name: float(measured(top_of(scorer, test, given), test.held)["ndcg"].mean())
                for name, scorer in {**parts["test"], "blend": blend}.items()
            }
            for given in GIVEN
        }
    rows = {name: measured(top, test.held) for name, top in {**tops, **theirs}.items()}
    one = np.ones(len(next(iter(rows.values()))["ndcg"]))
    drawn = bootstrap([Sums(row["ndcg"], one) for row in rows.values()], RESAMPLES, 0)
    names = list(rows)
    best_peer = max(theirs, key=lambda name: rows[name]["ndcg"].mean())
    table = {
        name: {
            **{f"{metric}@{TOP}": float(values.mean()) for metric, values in rows[name].items()},
            "interval": percentile_interval(drawn[:, k]),
            f"less {best_peer}": percentile_interval(drawn[:, k] - drawn[:, names.index(best_peer)]),
            **({"tuned": told[name]} if name in told else {"tuned": settings.get(name)}),
        }
        for k, name in enumerate(names)
    }
    facts = {
        "benchmark": "recommenders",
        "data": args.data.name,
        "split": "leave-one-out (newest of each user), all unseen items ranked",
        "users": len(one),
        "ratings": len(test.ratings),
        "best_peer": best_peer,
        "models": table,
        "blend_weights": {
            group: dict(zip(parts["valid"], map(float, weights[g]), strict=True)) for g, group in enumerate(GROUPS)
        },
        "ndcg@10_by_ratings_known": cold,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "peers": list(PACKAGES)},
    }
    for name in sorted(names, key=lambda one: -table[one]["ndcg@10"]):
        low, high = table[name]["interval"]
        print(
            f"{name:24} nDCG@10 {table[name]['ndcg@10']:.4f} ({low:.4f} to {high:.4f})"
            f"  HR@10 {table[name]['hr@10']:.4f}"
        )
    print(json.dumps({"weights": facts["blend_weights"], "cold": cold}, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"recommenders{'-quick' if args.quick else ''}.json").write_text(json.dumps(facts, indent=1) + "\n")
    if args.json:
        print(json.dumps(facts))


if __name__ == "__main__":
    sys.exit(main())

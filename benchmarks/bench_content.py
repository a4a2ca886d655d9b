"""Content on items that nobody has rated: ratings against the user's mean, rankings against popularity.

For each draw a fifth of the rated films is held out with all its ratings; models learn from the others. Ratings: RMSE
over the held-out ratings. Rankings: each user with held-out ratings is recommended ten of the held-out films (`cold`),
or of all films they have not rated in training (`full`); relevant is what they rated. What popularity knows of films
nobody has rated is nothing: it orders them by id. So other yardsticks stand beside it: a random order; the order of
what the average user would choose by content, the same for all (`typical`); and the held-out films ordered by their
number of held-out ratings (`oracle`), which no list without them can know.

Settings were chosen looking at draws 0 to 2, 100 and 101; reported are draws 0 to 9 (`--quick`: 0 to 2).

    python benchmarks/bench_content.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
from numpy.typing import NDArray

from lakerank.recommend.content.features import make_features
from lakerank.recommend.content.model import ContentConfig, learn, make_scorer
from lakerank.recommend.evaluation.compare import bootstrap, percentile_interval
from lakerank.recommend.evaluation.metrics import parse_metrics
from lakerank.recommend.evaluation.test_set import EvaluationSet
from lakerank.recommend.models.top_n import top_k
from lakerank.recommend.models.user_histories import Biases, Histories
from lakerank.spark.array_store import BlockStore

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LAKERANK_SAMPLE_DATA", ROOT.parent / "shared" / "data")) / "movielens" / "ml-latest-small"
RESULTS = ROOT / "benchmarks" / "results"
SHARE, TOP = 0.2, 10
MEASURES = parse_metrics("ndcg@10,recall@10,hr@10")
METHODS = {
    "model": (ContentConfig(), True),
    "model without tags": (ContentConfig(), False),
    "heuristic": (ContentConfig(method="heuristic"), True),
}


def read() -> tuple[pa.Table, pa.Table, pa.Table]:
    """Read ratings, items and tags of MovieLens."""
    ratings = csv.read_csv(DATA / "ratings.csv").rename_columns(["user_id", "item_id", "rating", "seconds"])
    movies = csv.read_csv(DATA / "movies.csv")
    years = pc.extract_regex(movies.column("title"), r"\((?P<year>\d{4})[^()]*\)\s*$")
    genres = pc.replace_substring(movies.column("genres"), "(no genres listed)", "")
    listed = [[genre for genre in text.split("|") if genre] for text in genres.to_pylist()]
    items = pa.table(
        {
            "item_id": movies.column("movieId"),
            "title": pc.replace_substring_regex(movies.column("title"), r"\s*\(\d{4}[^()]*\)\s*$", ""),
            "year": pa.array([None if y is None else int(y["year"]) for y in years.to_pylist()], pa.int32()),
            "genres": pa.array(listed, pa.list_(pa.string())),
        }
    )
    tags = csv.read_csv(DATA / "tags.csv").rename_columns(["user_id", "item_id", "tag", "seconds"])
    return ratings, items, tags


def rank_candidates(scores_UI: NDArray[Any], block: Histories, hidden_I: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Rank the candidates that are neither hidden nor rated, (U, TOP); equal ones by id."""
    hidden_UI = np.repeat(hidden_I[None], len(block), axis=0)
    hidden_UI[block.rows, block.positions] = True
    return top_k(scores_UI, hidden_UI, TOP)[0].astype(np.int32)


def run_draw(draw: int, ratings: pa.Table, items: pa.Table, tags: pa.Table) -> dict[str, dict[str, Any]]:
    """Run all methods and yardsticks on one draw of held-out films: name → metric → value."""
    rng = np.random.default_rng(draw)
    films = np.unique(ratings.column("item_id").to_numpy())
    cold = pa.array(np.sort(rng.permutation(films)[: int(SHARE * len(films))]))
    is_test = pc.is_in(ratings.column("item_id"), value_set=cold)
    test, train = ratings.filter(is_test), ratings.filter(pc.invert(is_test))
    ids = items.column("item_id").combine_chunks()
    ids = ids.take(pc.sort_indices(ids))
    raters = train.group_by("item_id").aggregate([([], "count_all")]).rename_columns(["item_id", "n"])
    by_user = train.group_by("user_id").aggregate([([], "count_all")]).rename_columns(["user_id", "n"])
    profiles = by_user.append_column("total", by_user.column("n"))  # groups are not reported here
    test_set = EvaluationSet.of(test.select(["user_id", "item_id"]), ids, raters, profiles, by_user.num_rows)
    block = Histories.of(test_set.users, ids, train)
    everyone = pc.unique(train.column("user_id"))
    all_users = Histories.of(everyone.take(pc.sort_indices(everyone)), ids, train)
    rows, positions = test_set.rows, test_set.positions
    truth = test.column("rating").to_numpy()
    biases = Biases.fit(all_users, len(ids))

    found: dict[str, dict[str, Any]] = {}
    sums = {}
    mean = float(train.column("rating").to_numpy().mean())
    total = np.bincount(block.rows, block.ratings, len(block))
    guesses = {"mean": np.full(len(truth), mean)}
    guesses["user mean"] = (total / np.maximum(block.counts, 1))[rows]
    guesses["user mean, damped"] = ((total + 5 * mean) / (block.counts + 5))[rows]
    n_cold = np.bincount(positions, minlength=len(ids)).astype(float)
    popular = np.tile(test_set.raters.astype(np.float64), (len(block), 1))
    orders = {"popularity": popular, "random": rng.random(popular.shape), "oracle": np.tile(n_cold, (len(block), 1))}
    with tempfile.TemporaryDirectory() as folder:
        for name, (config, tagged) in METHODS.items():
            begun = time.process_time()
            features = make_features(items, tags if tagged else None, pa.array(films))
            learned = learn(all_users, features, config) if config.method == "model" else {}
            store = BlockStore.open(f"{folder}/{name}", "")
            scorer = make_scorer(all_users, features, learned, biases, store, config)
            seconds = time.process_time() - begun
            guesses[name] = np.clip(scorer.ratings(block)[rows, positions], biases.low, biases.high)
            orders[name] = scorer.scores(block)
            found[name] = {"fit_cpu_seconds": round(seconds, 2)}
            if name == "model":
                nobody = Histories.of(pa.array([-1]), ids, train.slice(0, 0))
                orders["typical"] = np.tile(scorer.scores(nobody), (len(block), 1))
    predicted = pa.table({"user_id": test.column("user_id"), "rating": truth})
    for name, guess in guesses.items():
        sums[name] = test_set.accuracy(predicted.append_column("prediction", pa.array(guess)))
        found.setdefault(name, {})["rmse"] = sums[name]["rmse"].value()
    drawn = bootstrap([sums[name]["rmse"] for name in ("model", "user mean")], 2000, draw)
    found["model"]["rmse_ratio"] = found["model"]["rmse"] / found["user mean"]["rmse"]
    found["model"]["rmse_ratio_interval"] = percentile_interval(drawn[:, 0] / drawn[:, 1])
    for among, hidden in (("cold", test_set.raters > 0), ("full", np.zeros(len(ids), bool))):
        for name, scores in orders.items():
            if among == "full" and name not in ("popularity", *METHODS):
                continue
            values = test_set.ranked(rank_candidates(scores, block, hidden), MEASURES)
            found.setdefault(name, {})[among] = {key: value.value() for key, value in values.items()}
    found["model"]["ratings"], found["model"]["users"] = len(truth), len(block)
    return found


def summary(draws: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Compute the means over the draws."""

    def mean(name: str, *path: str) -> float:
        values = []
        for draw in draws:
            value: Any = draw[name]
            for key in path:
                value = value[key]
            values.append(value)
        return round(float(np.mean(values)), 4)

    rows: dict[str, dict[str, float]] = {}
    for name, one in draws[0].items():
        rows[name] = {"rmse": mean(name, "rmse")} if "rmse" in one else {}
        for among in ("cold", "full"):
            if among in one:
                rows[name] |= {f"{among} {key}": mean(name, among, key) for key in one[among]}
        if "fit_cpu_seconds" in one:
            rows[name]["fit CPU s"] = mean(name, "fit_cpu_seconds")
    return rows


def main() -> None:
    """Run all draws, print the table, write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three draws instead of ten")
    parser.add_argument("--json", action="store_true", help="print one JSON summary as the last line")
    args = parser.parse_args()
    ratings, items, tags = read()
    draws = []
    for draw in range(3 if args.quick else 10):
        draws.append(run_draw(draw, ratings, items, tags))
        print(f"draw {draw}: RMSE over the user mean's {draws[-1]['model']['rmse_ratio']:.4f}", flush=True)
    rows = summary(draws)
    ratios = [draw["model"]["rmse_ratio"] for draw in draws]
    keys = ["rmse", *(f"{among} {m.name}" for among in ("cold", "full") for m in MEASURES), "fit CPU s"]
    print(f"{'':<20}" + "".join(f"{key:>16}" for key in keys))
    for name, row in rows.items():
        print(f"{name:<20}" + "".join(f"{row[key]:>16.4f}" if key in row else f"{'':>16}" for key in keys))
    print(
        f"RMSE over the user mean's: {np.mean(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f}, {len(draws)} draws)"
    )
    facts = {
        "n_draws": len(draws),
        "ratio_user_mean": round(float(np.mean(ratios)), 4),
        "ratio_user_mean_range": [round(min(ratios), 4), round(max(ratios), 4)],
        "ndcg_cold": {name: row["cold ndcg@10"] for name, row in rows.items() if "cold ndcg@10" in row},
    }
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    versions = {name: version(name) for name in ("numpy", "scipy", "pyarrow")} | {"python": platform.python_version()}
    result = facts | {"machine": machine, "versions": versions, "means": rows, "draws": draws}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"content{'-quick' if args.quick else ''}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(facts))


if __name__ == "__main__":
    main()

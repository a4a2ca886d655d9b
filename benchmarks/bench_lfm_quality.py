"""Latent factors on real ratings: test RMSE of ours against MLlib's ALS, LIBMF, Surprise and myFM, on the same folds.

Folds are ten random tenths of the ratings (`random:0.1`, seeds 0 to 9). Nobody's settings are chosen on test ratings:
each contestant is tuned on fold 0, where it trains on nine tenths of the training part and is scored on the last one,
and keeps these settings in all folds, training on the whole training part. (What fold 0 trains and validates on is
partly test in folds 1 to 9, for everybody alike; fold 0 by itself is free of that, and is in the JSON.)

ALS has no answer for users and items it did not see. The headline RMSE is that over test ratings whose user and item
are in training, the same for all; the one over all test ratings stands beside it. Differences come with a 95 %
interval and a p value by paired bootstrap over the test ratings of all folds (lfm_quality_bootstrap.py). "Our best"
is the one of ours with the lowest validation RMSE.

Predictions are kept in build/bench-lfm-quality, by contestant and settings: a run that was killed goes on, and
`--only NAME` runs some contestants and takes the others' from there. After a change of our code the kept ones of ours
are old: `--only ours-mf,… --fresh`. Seconds are those of the run that made the predictions, whatever else the machine
did then: bench_lfm.py is for speed. The peers are installed into build/peers-lfm.

    python benchmarks/bench_lfm_quality.py --ratings PATH [--only NAME,…] [--fresh] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from lfm_quality_bootstrap import RESAMPLES, bootstrap_rmse, difference, pooled_rmse
from lfm_quality_contestants import Contestant, Settings, contestants
from lfm_quality_folds import Folds, folds_of
from lfm_quality_picture import draw
from numpy.typing import NDArray
from peers import VERSIONS
from pyspark.sql import SparkSession

from lakerank.recommend.latent_factors.config import LfmConfig

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "bench-lfm-quality"
QUICK_SETTINGS = 2  # of each grid, from its middle


@dataclass(frozen=True)
class Answer:
    """A contestant's predictions for the test rows of one fold, and the seconds of its training."""

    guess: NDArray[np.float32]
    seconds: float


def rmse(guess: NDArray[np.float32], rating: NDArray[np.float32]) -> float:
    """Compute the RMSE in rating units."""
    return float(np.sqrt(np.mean((guess.astype(np.float64) - rating) ** 2)))


def label(who: Contestant, settings: Settings) -> str:
    """Return the folder name of these settings: readable, and changed by our own defaults too."""
    resolved = asdict(LfmConfig(**settings)) if who.ours else dict(settings)
    digest = hashlib.sha1(json.dumps(resolved, sort_keys=True).encode(), usedforsecurity=False).hexdigest()[:8]
    words = [f"{key}={value}" for key, value in settings.items()]
    return ",".join([*words, digest]).replace("/", "_")


def answer(folds: Folds, name: str, who: Contestant, settings: Settings, fold: int, stage: str) -> Answer:
    """Return predictions from the cache, or by training now."""
    folder = WORK / folds.name / name / label(who, settings)
    kept, facts = folder / f"{stage}-{fold}.npy", folder / f"{stage}-{fold}.json"
    train_rows, rows = folds.rows(fold, stage)
    train_on, asked = folds.take(train_rows), folds.take(rows)
    if not facts.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=WORK) as scratch:
            guess, seconds = who.run(train_on, asked, settings, Path(scratch))
        if len(guess) != len(rows) or not np.isfinite(guess).all():
            raise RuntimeError(f"{name}, fold {fold}: {len(guess)} predictions for {len(rows)} ratings, or not finite")
        np.save(kept, guess)
        facts.write_text(json.dumps({"seconds": seconds}), encoding="utf-8")  # last: it says that both are there
    guess = np.load(kept)
    return Answer(guess, json.loads(facts.read_text(encoding="utf-8"))["seconds"])


def middle(settings: Sequence[Settings], quick: bool) -> Sequence[Settings]:
    """Return the whole grid, or a few settings from its middle."""
    begin = max(0, (len(settings) - QUICK_SETTINGS) // 2)
    return settings[begin : begin + QUICK_SETTINGS] if quick else settings


def tune(folds: Folds, name: str, who: Contestant, quick: bool) -> tuple[Settings, list[dict[str, Any]]]:
    """Return the settings of the lowest validation RMSE in fold 0 over what ALS can predict, and all that ran."""
    train_rows, rows = folds.rows(0, "valid")
    known, rating = folds.known(train_rows, rows), folds.take(rows).rating
    tried = []
    for settings in middle(who.grid, quick):
        found = answer(folds, name, who, settings, 0, "valid")
        score = rmse(found.guess[known], rating[known])
        tried.append({"settings": dict(settings), "rmse": round(score, 5), "seconds": round(found.seconds, 2)})
        print(f"  {name}, validation: {score:.4f}  {found.seconds:6.1f} s  {dict(settings)}", flush=True)
    best = min(tried, key=lambda line: line["rmse"])
    return best["settings"], tried


def measure(folds: Folds, name: str, who: Contestant, quick: bool) -> dict[str, Any]:
    """Tune, then all folds."""
    settings, tried = tune(folds, name, who, quick)
    lines = []
    for fold in range(len(folds.part_FN)):
        found = answer(folds, name, who, settings, fold, "test")
        train_rows, rows = folds.rows(fold, "test")
        known, rating = folds.known(train_rows, rows), folds.take(rows).rating
        line = {
            "fold": fold,
            "rmse_known": round(rmse(found.guess[known], rating[known]), 5),
            "rmse_all": round(rmse(found.guess, rating), 5),
            "seconds": round(found.seconds, 2),
        }
        lines.append(line)
        print(f"  {name}, fold {fold}: {line['rmse_known']:.4f}  {found.seconds:6.1f} s", flush=True)
    scores = [line["rmse_known"] for line in lines]
    return {
        "title": who.title,
        "ours": who.ours,
        "settings": settings,
        "rmse_known": round(statistics.mean(scores), 5),
        "deviation_known": round(statistics.stdev(scores), 5) if len(scores) > 1 else 0.0,
        "rmse_all": round(statistics.mean(line["rmse_all"] for line in lines), 5),
        "seconds": round(statistics.median(line["seconds"] for line in lines), 2),
        "validation": {"rmse": min(line["rmse"] for line in tried), "tried": tried},
        "folds": lines,
    }


def compare(folds: Folds, table: dict[str, Contestant], found: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare our best and our plain contestant with every peer."""
    names = list(found)
    mine = [name for name in names if found[name]["ours"]]
    if not mine:
        return []
    squared_NC = np.zeros((len(folds.ratings.rating), len(names)))
    tests_N = np.zeros(len(squared_NC))
    for fold in range(len(folds.part_FN)):
        train_rows, rows = folds.rows(fold, "test")
        known = folds.known(train_rows, rows)
        tests_N[rows[known]] += 1
        rating = folds.take(rows).rating.astype(np.float64)
        for c, name in enumerate(names):
            guess = answer(folds, name, table[name], found[name]["settings"], fold, "test").guess
            squared_NC[rows[known], c] += (guess[known] - rating[known]) ** 2
    tested = tests_N > 0
    squared_NC, tests_N = squared_NC[tested], tests_N[tested]
    point_C, drawn_RC = pooled_rmse(squared_NC, tests_N), bootstrap_rmse(squared_NC, tests_N)
    chosen = sorted({min(mine, key=lambda name: found[name]["validation"]["rmse"]), "ours-mf"} & set(mine))
    lines = []
    for ours in chosen:
        for peer in (name for name in names if not found[name]["ours"]):
            a, b = names.index(ours), names.index(peer)
            result = difference(point_C[a], point_C[b], drawn_RC[:, a], drawn_RC[:, b])
            lines.append({"ours": ours, "peer": peer, **{key: round(x, 5) for key, x in asdict(result).items()}})
    return lines


def cpu_model() -> str:
    """Return the processor's name."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def print_tables(found: dict[str, Any], comparisons: list[dict[str, Any]]) -> None:
    """Print the tables, best first."""
    print(f"\n{'':18} {'RMSE known':>10} {'± folds':>8} {'all':>7} {'seconds':>8}   settings")
    for line in sorted(found.values(), key=lambda line: line["rmse_known"]):
        numbers = f"{line['rmse_known']:10.4f} {line['deviation_known']:8.4f} {line['rmse_all']:7.4f}"
        print(f"{line['title']:18} {numbers} {line['seconds']:8.1f}   {line['settings'] or 'defaults'}")
    for line in comparisons:
        interval = f"[{line['low']:+.4f}, {line['high']:+.4f}]"
        print(f"{line['ours']} − {line['peer']:15} {line['value']:+.4f}  95 % {interval}  p {line['p']:.4f}")


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", required=True, help="folder of a MovieLens edition, or a `ratings` Delta table")
    parser.add_argument("--only", default="", help="contestants to run, comma separated; others come from the cache")
    parser.add_argument("--fresh", action="store_true", help="forget the predictions of those that run")
    parser.add_argument("--quick", action="store_true", help=f"2 folds, {QUICK_SETTINGS} settings of each grid")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    folds, table = folds_of(args.ratings, 2 if args.quick else 10, WORK), contestants()
    wanted = [name for name in args.only.split(",") if name] or list(table)
    if unknown := [name for name in wanted if name not in table]:
        parser.error(f"--only {unknown[0]}: must be one of {', '.join(table)}")
    for name, who in table.items():
        folder = WORK / folds.name / name
        if args.fresh and name in wanted:
            shutil.rmtree(folder, ignore_errors=True)
        note = folder / f"measured{'-quick' if args.quick else ''}.json"
        if name in wanted:
            found[name] = measure(folds, name, who, args.quick)
            note.write_text(json.dumps(found[name]), encoding="utf-8")
        elif note.exists():
            found[name] = json.loads(note.read_text(encoding="utf-8"))
        else:
            print(f"  {name} is left out: it has not been run yet", flush=True)
    comparisons = compare(folds, table, found)
    print_tables(found, comparisons)
    if spark := SparkSession.getActiveSession():
        spark.stop()
    n = len(folds.ratings.rating)
    facts = {
        "benchmark": "lfm-quality",
        "ratings": n,
        "users": int(folds.ratings.user.max()) + 1,
        "items": int(folds.ratings.item.max()) + 1,
        "folds": len(folds.part_FN),
        "resamples": RESAMPLES,
        "tuned_on": "validation tenth of fold 0's training part; settings then fixed for all folds",
        "contestants": found,
        "comparisons": comparisons,
        "machine": f"{os.cpu_count()} cores, {cpu_model()}",
        "versions": {"python": platform.python_version(), "pyspark": version("pyspark"), **VERSIONS},
    }
    name = f"lfm-quality-{n}{'-quick' if args.quick else ''}"
    # Half a table is no result to keep: it stays with the predictions until the others have run.
    target = (RESULTS if len(found) == len(table) else WORK) / f"{name}.json"
    target.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    picture = WORK / f"{name}.png"
    draw(found, picture, f"{n:,} ratings, {len(folds.part_FN)} random 90/10 folds")
    print(f"written to {target.relative_to(ROOT)} and {picture.relative_to(ROOT)}")
    if args.json:
        print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Latent factors, speed: ours against MLlib's ALS and LIBMF, on the same split, in one run on local[2].

Ours and ALS start at a Delta table and end at two Delta tables of factors; all that lies between counts, for ours
also the test RMSE after each epoch. Of LIBMF (C++, two threads, a process of its own) only the training counts:
no start, no loading, no writing. Each engine's settings are the best of a small grid by the test ratings: ALS's and
ours on every fifth user, LIBMF's on all. Test ratings that ALS cannot predict are left out for all.

`ratio_als` and `ratio_libmf` are a peer's seconds over those in which ours, with as many factors, is first at least
as good; the lowest over all runs of that peer, null if ours got there in none of its epochs.

    python benchmarks/bench_lfm.py --ratings PATH [--factors 32,64] [--quick] [--json]
    python benchmarks/bench_lfm.py --memory 500

PATH is a `ratings` Delta table or what `ingest_ratings --source` takes: a MovieLens folder, or the output of
make_ratings.py. --quick makes 1 million ratings itself. --memory trains ours for so many epochs on few ratings and
watches its memory, and ALS without a checkpoint directory. The peers are installed by the first run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pyspark
from lfm_speed_data import Ready, prepare
from lfm_speed_engines import Run, als, libmf, ours
from lfm_speed_pictures import draw_curves, draw_memory
from make_ratings import LIKE, write_ratings
from memory import resident_mib
from peers import VERSIONS, peer_python
from pyspark.sql import SparkSession

from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.spark.session import session

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "bench-lfm"

ENGINES = ("ours", "als", "libmf")
# Settings tried, and epochs run with the best of them.
ALS_REG, ALS_BLOCKS, ALS_EPOCHS = (0.03, 0.06, 0.1), (2, 10), (5, 10)
LIBMF_L2, LIBMF_EPOCHS, LIBMF_EXTRA_FACTORS = (0.02, 0.03), (8, 20, 40), 24
OUR_REG, OUR_LR, OUR_EPOCHS = (0.02, 0.03, 0.05), (0.1, 0.2), 30
TRIAL_EPOCHS = {"als": 5, "libmf": 20, "ours": 10}


def told(run: Run) -> Run:
    """Print a run and return it."""
    settings = ", ".join(f"{name} {value}" for name, value in run.settings.items() if name != "factors")
    print(f"  {run.engine:6} K {run.settings['factors']:3}: RMSE {run.rmse:.4f}, {run.seconds:7.1f} s  {settings}",
          flush=True)  # fmt: skip
    return run


def best(runs: Iterable[Run]) -> dict[str, Any]:
    """Return the settings of the lowest test RMSE."""
    return min(map(told, runs), key=lambda run: run.rmse).settings


def run_ours(spark: SparkSession, ready: Ready, factors: int, epochs: int, few: slice) -> list[Run]:
    """Choose settings on the sample, then train once on everything."""
    config = LfmConfig(factors=factors, epochs=TRIAL_EPOCHS["ours"])
    tried = product(OUR_REG[few], OUR_LR[few])
    chosen = best(ours(spark, ready.sample, replace(config, reg=reg, lr=lr), WORK) for reg, lr in tried)
    print(f"ours, K {factors}, on all ratings:", flush=True)
    config = replace(config, epochs=epochs, reg=chosen["reg"], lr=chosen["lr"])
    return [told(ours(spark, ready.parts, config, WORK))]


def run_als(spark: SparkSession, ready: Ready, factors: int, few: slice) -> list[Run]:
    """Choose ALS's regularisation by RMSE and blocks by time on the sample, then fit once per number of epochs."""

    def trial(reg: float, blocks: int) -> Run:
        return als(spark, ready.sample, factors, TRIAL_EPOCHS["als"], reg, blocks, WORK)

    reg = best(trial(reg, ALS_BLOCKS[0]) for reg in ALS_REG[few])["reg"]
    blocks = min((told(trial(reg, n)) for n in ALS_BLOCKS), key=lambda run: run.seconds).settings["blocks"]
    print(f"ALS, K {factors}, on all ratings:", flush=True)
    return [told(als(spark, ready.parts, factors, epochs, reg, blocks, WORK)) for epochs in ALS_EPOCHS]


def run_libmf(ready: Ready, factors: int, few: slice) -> list[Run]:
    """Choose LIBMF's L2 on everything, then train once per number of epochs."""
    l2 = best(libmf(ready.arrays, factors, TRIAL_EPOCHS["libmf"], l2) for l2 in LIBMF_L2[few])["l2"]
    print(f"LIBMF, K {factors}:", flush=True)
    return [told(libmf(ready.arrays, factors, epochs, l2)) for epochs in LIBMF_EPOCHS]


def compare(peer: str, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Compare each run of a peer with the time ours took to be as good with as many factors (else with any number)."""
    mine = [run for run in runs if run.engine == "ours"]
    lines = []
    for run in (run for run in runs if run.engine == peer):
        alike = [m for m in mine if m.settings["factors"] == run.settings["factors"]] or mine
        times = [seconds for m in alike if (seconds := m.seconds_to(run.rmse)) is not None]
        lines.append(
            {
                "factors": run.settings["factors"],
                "epochs": run.settings["epochs"],
                "rmse": round(run.rmse, 5),
                "seconds": round(run.seconds, 2),
                "seconds_ours": round(min(times), 2) if times else None,
                "ratio": round(run.seconds / min(times), 3) if times else None,
            }
        )
    return lines


def lowest(lines: Sequence[dict[str, Any]]) -> float | None:
    """Return the lowest ratio; None if one is missing."""
    ratios = [line["ratio"] for line in lines]
    return None if None in ratios else min(ratios)


def machine() -> dict[str, Any]:
    """Describe the machine and the versions of this run."""
    versions = {"python": platform.python_version(), "pyspark": pyspark.__version__, "libmf": VERSIONS["libmf"]}
    return {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "master": "local[2]", "versions": versions}


def measure_speed(ratings: str, factors: Sequence[int], epochs: int, quick: bool) -> dict[str, Any]:
    """Measure the speed of all engines, ours first: a warm JVM is to the advantage of who comes later."""
    peer_python()
    few = slice(1, 3) if quick else slice(None)
    load = os.getloadavg()[0]
    with session("bench-lfm", "local[2]") as spark:
        spark.sparkContext.setCheckpointDir(str(WORK / "checkpoints"))
        ready = prepare(spark, ratings, WORK)
        print(ready, flush=True)
        runs = [run for k in factors for run in run_ours(spark, ready, k, epochs, few)]
        runs += [run for k in factors for run in run_als(spark, ready, k, few)]
    shutil.rmtree(WORK / "checkpoints")
    runs += [run for k in sorted({*factors, LIBMF_EXTRA_FACTORS}) for run in run_libmf(ready, k, few)]
    draw_curves(runs, ready.oracle, WORK / "curve.png")
    lines = {peer: compare(peer, runs) for peer in ("als", "libmf")}
    mine = [run for run in runs if run.engine == "ours"]
    reached = {name: [rmse for run in runs if run.engine == name for _, rmse in run.curve] for name in ENGINES}
    lowest_rmse = {engine: min(curve) for engine, curve in reached.items()}
    gaps = {f"gap_{e}": round(rmse - ready.oracle, 5) for e, rmse in lowest_rmse.items()} if ready.oracle else {}
    return {
        "benchmark": "lfm-speed",
        "ratings": ready.counts["train"] + ready.counts["test"],
        **{f"ratio_{peer}": lowest(lines[peer]) for peer in lines},
        **{f"rmse_{engine}": round(rmse, 5) for engine, rmse in lowest_rmse.items()},
        "rmse_oracle": ready.oracle and round(ready.oracle, 5),
        **gaps,
        "updates_per_second": round(max(run.facts["updates_per_second_best"] for run in mine)),
        "peak_rss_mib": round(max(run.facts["peak_rss_mib"] for run in mine)),
        "counts": ready.counts,
        "compared": lines,
        "runs": [run.shown() for run in runs],
        "load_before_and_after": [round(load, 1), round(os.getloadavg()[0], 1)],
        **machine(),
    }


def fate_of_als(table: Path, iterations: int) -> str:
    """Train ALS without a checkpoint directory; describe how it ends."""
    command = [sys.executable, str(ROOT / "benchmarks" / "lfm_als_alone.py"), str(table), str(iterations)]
    # Spark's log is silent by default; what kills it stands there.
    environment = {**os.environ, "PYSPARK_SUBMIT_ARGS": "--conf spark.log.level=ERROR pyspark-shell"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if not done.returncode:
        return "finished"
    (WORK / "als-alone.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    words = ("StackOverflowError", "OutOfMemoryError")
    return next((word for word in words if word in done.stdout + done.stderr), "failed: see als-alone.log")


def measure_memory(epochs: int) -> dict[str, Any]:
    """Measure memory: ours after each of many epochs, then ALS as far as it gets with no checkpoint directory."""
    folder = WORK / "small"
    write_ratings(folder, users=1000, items=500, ratings=100_000)
    memory: list[float] = []
    with session("bench-lfm", "local[2]") as spark:
        ready = prepare(spark, str(folder), WORK)
        # Two blocks: strata as in large runs, two jobs an epoch and one to score.
        config = LfmConfig(factors=32, epochs=epochs, blocks=2)
        run = ours(spark, ready.parts, config, WORK, lambda: memory.append(resident_mib()))
    draw_memory(memory, WORK / "memory.png")
    settled = min(50, len(memory)) - 1
    return {
        "benchmark": "lfm-memory",
        "epochs": len(memory),
        "test_rmse": run.rmse,
        f"mib_epoch_{settled + 1}": round(memory[settled]),
        "mib_last": round(memory[-1]),
        "mib_highest": round(max(memory)),
        "memory_flat": max(memory[settled:]) < 1.05 * memory[settled],
        "als_50_iterations_without_checkpoints": fate_of_als(ready.parts, 50),
        "mib": [round(m) for m in memory],
        **machine(),
    }


def print_tables(facts: dict[str, Any]) -> None:
    """Print the tables of the speed benchmark."""
    print(f"\n{'engine':7} {'K':>3} {'epochs':>6} {'RMSE':>7} {'seconds':>8}   of these")
    for run in facts["runs"]:
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run["stages"].items())
        settings = run["settings"]
        print(f"{run['engine']:7} {settings['factors']:3} {settings['epochs']:6} {run['rmse']:7.4f} "
              f"{run['seconds']:8.1f}   {stages}")  # fmt: skip
    for peer, lines in facts["compared"].items():
        print(f"\n{peer:7} {'K':>3} {'epochs':>6} {'RMSE':>7} {'seconds':>8} {'ours':>8} {'ratio':>6}")
        for line in lines:
            mine, ratio = ("never" if line[x] is None else f"{line[x]:.2f}" for x in ("seconds_ours", "ratio"))
            print(f"{'':7} {line['factors']:3} {line['epochs']:6} {line['rmse']:7.4f} {line['seconds']:8.1f} "
                  f"{mine:>8} {ratio:>6}")  # fmt: skip
    if facts["rmse_oracle"]:
        gaps = ", ".join(f"{e} {facts[f'gap_{e}']:+.4f}" for e in ENGINES)
        print(f"\nsynthetic truth: RMSE {facts['rmse_oracle']:.4f}; above it: {gaps}")
    print(f"ours: {facts['updates_per_second'] / 1e6:.1f} M updates/s in its best epoch, Spark's part included; "
          f"at most {facts['peak_rss_mib']} MiB resident in driver and workers")  # fmt: skip


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", help="Delta table, MovieLens folder or output of make_ratings.py")
    parser.add_argument("--factors", default="32,64", help="numbers of factors, with commas between")
    parser.add_argument("--epochs", type=int, default=OUR_EPOCHS, help="of ours")
    parser.add_argument("--quick", action="store_true", help="1 million generated ratings, few settings")
    parser.add_argument("--memory", type=int, metavar="EPOCHS", help="instead: memory over so many epochs")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not (args.ratings or args.quick or args.memory):
        parser.error("give --ratings PATH, --quick or --memory EPOCHS")
    WORK.mkdir(parents=True, exist_ok=True)
    if args.memory:
        facts = measure_memory(args.memory)
        print("\n".join(f"{name}: {value}" for name, value in facts.items() if name != "mib"))
        name = "lfm-memory.json"
    else:
        ratings = args.ratings
        if not ratings:
            ratings = str(WORK / "like-1m")
            if not Path(ratings, "truth.json").exists():
                write_ratings(Path(ratings), *LIKE["1m"])
        facts = measure_speed(ratings, [int(k) for k in args.factors.split(",")], args.epochs, args.quick)
        print_tables(facts)
        name = f"lfm-speed-{facts['ratings']}{'-quick' if args.quick else ''}.json"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"written to benchmarks/results/{name}; pictures in {WORK.relative_to(ROOT)}")
    if args.json:
        print(json.dumps(facts))


if __name__ == "__main__":
    main()

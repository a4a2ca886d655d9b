"""PageRank by everybody, on the same graphs, in one run: ours, GraphX, DataFrame joins, scipy, igraph, NetworKit.

Graphs: R-MAT (Graph500's parameters, 16 links a node, seed 0), Wikispeedia and the NumPy documentation
(pagerank_graphs.py). Damping 0.85; ours, scipy and NetworKit stop when ranks change by less than 1e-11 in sum; PRPACK
(igraph) has a rule of its own; GraphX and the joins do 20 iterations, as GraphFrames' users do. `l1_error` is the
distance to a power iteration in float64 that went on until nothing moved. Ours runs from Delta to Delta in a session
that has seen the smaller graphs, by its three plans: in the driver (what a user gets here), in one task of a worker,
and distributed, no worker holding all ranks. GraphX reads text by its own loader. `seconds` are on the clock and depend
on who else uses the machine; `cpu_seconds`, of all processes, do so less. Ours is timed --repeats times, medians count;
peers once.

A ratio is the peer's seconds over ours, on the largest graph both did; above 1 ours is faster. `warm_start`: 1 % of the
links lead elsewhere, and the job starts from the ranks before (--warm-start); its iterations against those from
nothing.

    python benchmarks/bench_pagerank.py [--scales 16 18 20] [--engines …] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from deltalake import DeltaTable, write_deltalake
from pagerank_graphs import Links, graph
from pagerank_spark import DAMPING, TOL
from peer_environment import peer_python

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "bench-pagerank"
PEERS = ROOT / "build" / "peers-pagerank"
PACKAGES = ("numpy==2.4.6", "scipy==1.17.1", "pyarrow==26.0.1", "igraph==1.0.0", "networkit==11.3")
PLANS = ("driver", "one task", "distributed")
SPARK, ALONE = (*PLANS, "graphx", "joins"), ("scipy", "igraph", "networkit")
ITERATIONS = 20
LIMIT = 3600  # seconds an engine may take for all graphs


def reference(links: Links, n: int) -> Any:
    """Compute ranks that an iteration does not move any more, float64[n]."""
    out = np.bincount(links[:, 0], minlength=n)
    share = np.divide(1.0, out, out=np.zeros(n), where=out > 0)
    matrix = sp.csr_matrix((share[links[:, 0]], (links[:, 1], links[:, 0])), shape=(n, n))
    x, best = np.full(n, 1 / n), np.inf
    for _ in range(2000):
        after = DAMPING * (matrix @ x)
        after += (1 - DAMPING + DAMPING * x[out == 0].sum()) / n
        delta, x = float(np.abs(after - x).sum()), after
        if delta == 0 or (delta < 1e-14 and delta >= best):
            break
        best = min(best, delta)
    return x / x.sum()


def prepare(name: str, seed: int) -> Path:
    """Make a folder with the graph in every form an engine reads, and the exact ranks; once."""
    folder = WORK / name
    if (folder / "exact.npy").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    links, n = graph(name, seed)
    for part in np.array_split(links, 8):
        columns = {"src": part[:, 0].copy(), "dst": part[:, 1].copy()}
        write_deltalake(str(folder / "links"), pa.table(columns), mode="append")
    write_deltalake(str(folder / "nodes"), pa.table({"id": np.arange(n)}))
    with (folder / "links.txt").open("wb") as file:
        for part in np.array_split(links, max(1, len(links) >> 20)):
            np.savetxt(file, part, fmt="%d", delimiter="\t")
    (folder / "nodes.txt").write_text(str(n), encoding="utf-8")
    np.save(folder / "exact.npy", reference(links, n))
    return folder


def graphx_ranks(folder: Path, n: int) -> Any:
    """Read GraphX's ranks and scale them to sum 1.

    Nodes without links, which its loader does not know, get the rank of nodes without incoming links: the least.
    """
    out = folder / "out-graphx" / (folder / "out-graphx" / "newest").read_text(encoding="utf-8")
    lines = [line.strip("()\n") for part in sorted(out.glob("part-*")) for line in part.open(encoding="utf-8")]
    ids, values = zip(*(line.split(",") for line in lines), strict=True)
    ranks = np.full(n, np.nan)
    ranks[np.array(ids, np.int64)] = np.array(values, np.float64)
    ranks = np.where(np.isnan(ranks), np.nanmin(ranks), ranks)
    return ranks / ranks.sum()


def error(engine: str, folder: Path) -> float:
    """Compute the L1 distance of an engine's ranks to the exact ones."""
    exact = np.load(folder / "exact.npy")
    if engine in ALONE:
        ranks = np.load(folder / f"ranks-{engine}.npy")
    elif engine == "graphx":
        ranks = graphx_ranks(folder, len(exact))
    else:
        table = DeltaTable(str(folder / f"out-{engine.replace(' ', '-')}" / "ranks")).to_pyarrow_table()
        ranks = np.zeros(len(exact))
        ranks[table.column("id").to_numpy()] = table.column("pagerank").to_numpy()
    return float(np.abs(ranks - exact).sum())


def lines_of(command: list[str]) -> list[dict[str, Any]]:
    """Run a script; its lines of JSON. What failed says so and gives what it had."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
        out, problem = done.stdout, done.stderr[-2000:] if done.returncode else ""
    except subprocess.TimeoutExpired as expired:
        out, problem = (expired.stdout or b"").decode(), f"stopped after {LIMIT} s"
    if problem:
        print(f"{' '.join(command[1:4])}: {problem}", file=sys.stderr, flush=True)
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def run_engine(engine: str, folders: list[Path], repeats: int) -> dict[str, dict[str, Any]]:
    """Measure one engine on each graph."""
    scripts = ROOT / "benchmarks"
    if engine in SPARK:
        times = repeats if engine in PLANS else 1
        command = [sys.executable, str(scripts / "pagerank_spark.py"), engine, str(times), str(ITERATIONS)]
        found = lines_of([*command, *map(str, folders)])
    else:
        script = [str(peer_python(PEERS, PACKAGES)), str(scripts / "pagerank_peers.py"), engine]
        found = [line for folder in folders for line in lines_of([*script, str(folder), str(TOL)])]
    figures: dict[str, dict[str, Any]] = {}
    for folder in folders:
        runs = [line for line in found if line["graph"] == folder.name]
        if not runs:
            continue
        kept = {name: value for name, value in runs[-1].items() if name != "graph"}
        for name in ("seconds", "cpu_seconds"):
            kept[name] = round(statistics.median(run[name] for run in runs), 3)
        kept |= {"runs": len(runs), "all_seconds": [run["seconds"] for run in runs]}
        kept["l1_error"] = float(f"{error(engine, folder):.3g}")
        figures[folder.name] = kept
        print(f"{engine:>12} {folder.name:>12} {json.dumps(kept)}", flush=True)
    return figures


def warm_start(folder: Path, seed: int) -> dict[str, int | float]:
    """Count iterations from nothing and from the ranks before 1 % of the links led elsewhere."""
    from lakerank.spark.session import session
    from spark_jobs import pagerank

    links = DeltaTable(str(folder / "links")).to_pyarrow_table()
    dst = links.column("dst").to_numpy().copy()
    rng = np.random.default_rng(seed)
    changed = rng.choice(len(dst), len(dst) // 100, replace=False)
    dst[changed] = dst[rng.permutation(changed)]
    table = pa.table({"src": links.column("src"), "dst": dst})
    write_deltalake(str(folder / "links-changed"), table, mode="overwrite")
    shared = ["--nodes", str(folder / "nodes"), "--top", "0", "--json", "--engine", "native"]
    found: dict[str, int | float] = {"changed_links": len(changed)}
    with session("bench-warm-start", "local[2]") as spark:
        spark.sparkContext.setLogLevel("ERROR")
        for tol in ("1e-8", "1e-11"):
            new, start = ["--links", str(folder / "links-changed")], str(folder / "before" / "ranks")
            runs = {
                "before": ["--links", str(folder / "links"), "--tol", tol],
                "cold": [*new, "--tol", tol],
                "warm": [*new, "--tol", tol, "--warm-start", start],
            }
            for name, flags in runs.items():
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    pagerank.main(["--lake", str(folder / name), *flags, *shared])
                found[f"{name}_iterations_{tol}"] = json.loads(said.getvalue().splitlines()[-1])["iterations"]
            found[f"share_{tol}"] = round(found[f"warm_iterations_{tol}"] / found[f"cold_iterations_{tol}"], 3)
    return found


def ratios(engines: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Compute peers' seconds over ours, by the clock and by processors, on the largest graph that both did."""
    found: dict[str, Any] = {}
    for plan, mark in (("driver", ""), ("one task", "_one_task"), ("distributed", "_distributed")):
        for peer in ("graphx", "joins", *ALONE):
            common = [name for name in engines.get(plan, {}) if name in engines.get(peer, {})]
            if common:
                one, other = engines[plan][common[-1]], engines[peer][common[-1]]
                found[f"ratio_{peer}{mark}"] = round(other["seconds"] / one["seconds"], 2)
                found[f"ratio_{peer}{mark}_cpu"] = round(other["cpu_seconds"] / one["cpu_seconds"], 2)
                found[f"ratio_{peer}{mark}_graph"] = common[-1]
    return found


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", type=int, nargs="*", default=[16, 18, 20])
    parser.add_argument("--engines", nargs="+", choices=(*SPARK, *ALONE), default=[*SPARK, *ALONE])
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-real", action="store_true", help="R-MAT only")
    parser.add_argument("--quick", action="store_true", help="R-MAT 16 and Wikispeedia only")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    real = ["wikispeedia"] if args.quick else ["wikispeedia", "numpy-docs"]
    names = [*([] if args.no_real else real), *(f"rmat-{scale}" for scale in ([16] if args.quick else args.scales))]
    folders = [prepare(name, args.seed) for name in names]
    engines = {engine: run_engine(engine, folders, args.repeats) for engine in args.engines}
    facts: dict[str, Any] = {"benchmark": "pagerank", "damping": DAMPING, "tol": TOL, "seed": args.seed}
    facts |= {"graphs": {folder.name: sizes(folder) for folder in folders}, "engines": engines, **ratios(engines)}
    if "driver" in args.engines:
        facts["warm_start"] = {folder.name: warm_start(folder, args.seed) for folder in folders[-2:]}
        print(json.dumps(facts["warm_start"]), flush=True)
    facts["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[2]:.1f} at the end"
    packages = dict(package.split("==") for package in PACKAGES)
    facts["versions"] = {"python": platform.python_version(), "pyspark": version("pyspark"), **packages}
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"pagerank{'-quick' if args.quick else ''}.json"
    target.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"written to {target.relative_to(ROOT)}")
    if args.json:
        print(json.dumps(facts))


def sizes(folder: Path) -> dict[str, int]:
    """Return the numbers of nodes and links."""
    return {
        "nodes": int((folder / "nodes.txt").read_text(encoding="utf-8")),
        "links": int(DeltaTable(str(folder / "links")).count()),
    }


if __name__ == "__main__":
    main()

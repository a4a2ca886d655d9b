"""Link-spam defence: ours, plain PageRank and simple TrustRank on farms added to two real graphs.

Of each setting: where the target stands (share of all pages that rank at least as high; the attacker wants it small),
the area under the ROC curve of the spam score (farm and target against good pages; none for PageRank), and Spearman's
correlation of the good pages' ranks with PageRank before the attack. Simple TrustRank: trust starts at the 1 % of pages
with the highest inverse PageRank; its score is 1 − trust / PageRank.

    python benchmarks/bench_spam.py [--data FOLDER] [--quick] [--json]

The first eight settings are farms of 1,000 and 5,000 pages in a star with 5 or 50 hijacked pages; the others vary the
shape, and which pages are hijacked. The first eight are drawn three times, the others once; --quick: once, and of the
others farms of 1,000 only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from link_farms import GRAPHS, SHAPES, Attacked, Edges, attack
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lakerank.graph.csr_block import pack  # noqa: E402 (after the path)
from lakerank.graph.iterate import StoppingRule, power_iteration  # noqa: E402
from lakerank.graph.spam.defend import defend  # noqa: E402
from lakerank.graph.spam.web import Web  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
Floats = NDArray[np.float64]
OUTSIDE, ENOUGH = 0.25, 0.95
SIZES, HIJACKED = (1000, 5000), (5, 50)
DRAWS = 3


def web(edges: Edges, nodes: int) -> Web:
    """Build the graph of links as the defence takes them."""
    return Web(pack(edges[:, 0], edges[:, 1], None, nodes=nodes))


def pagerank(edges: Edges, nodes: int, start: Floats | None = None) -> Floats:
    """Compute converged ranks, sum 1."""
    block = pack(edges[:, 0], edges[:, 1], None, nodes=nodes)
    even = np.full(nodes, 1 / nodes)
    return power_iteration(block, even if start is None else start, 0.85, StoppingRule(1e-9), 500)[0]


def simple_trustrank(edges: Edges, nodes: int, ranks: Floats) -> tuple[Floats, Floats]:
    """Trust and spam score."""
    seeds = np.argsort(-pagerank(edges[:, ::-1], nodes), kind="stable")[: nodes // 100]
    start = np.zeros(nodes)
    start[seeds] = 1 / len(seeds)
    trust = pagerank(edges, nodes, start)
    return trust, 1 - trust / ranks


def judge(graph: Attacked, clean: Floats, ranks: Floats, score: Floats | None) -> dict[str, float | None]:
    """Compute the three figures of one method."""
    position = float((ranks >= ranks[graph.target]).mean())
    spearman = float(spearmanr(ranks[: graph.good], clean).statistic)
    if score is None:
        return {"position": position, "auc": None, "spearman": spearman}
    bad = graph.nodes - graph.good
    above = rankdata(score)[graph.good :].sum() - bad * (bad + 1) / 2
    return {"position": position, "auc": float(above / (bad * graph.good)), "spearman": spearman}


def meets(found: dict[str, Any]) -> bool:
    """Return whether the target of the benchmark is met."""
    return found["position"] > OUTSIDE and found["auc"] >= ENOUGH and found["spearman"] >= ENOUGH


def measure(graph: Attacked, clean: Floats) -> dict[str, Any]:
    """Measure all methods on one attacked graph."""
    plain = pagerank(graph.edges, graph.nodes)
    begun = time.perf_counter()
    verdict = defend(web(graph.edges, graph.nodes))
    seconds = time.perf_counter() - begun
    trust, score = simple_trustrank(graph.edges, graph.nodes, plain)
    flagged = verdict.farm > 0
    ours: dict[str, Any] = judge(graph, clean, verdict.trusted_rank, verdict.spam_score)
    ours |= {"good_flagged": int(flagged[: graph.good].sum()), "bad_flagged": int(flagged[graph.good :].sum())}
    return {
        "ours": ours,
        "pagerank": judge(graph, clean, plain, None),
        "trustrank": judge(graph, clean, trust, score),
        "seconds": seconds,
        "links": len(graph.edges),
    }


def settings(quick: bool) -> Iterator[tuple[int, int, str, bool]]:
    """Return the settings farm size, hijacked pages, shape, whether the best pages are hijacked; the stars first."""
    yield from ((size, hijacked, "star", False) for size in SIZES for hijacked in HIJACKED)
    for size in SIZES[:1] if quick else SIZES:
        for shape in SHAPES:
            yield from ((size, hijacked, shape, False) for hijacked in HIJACKED if shape != "star")
            yield size, HIJACKED[-1], shape, True


def middle(draws: list[dict[str, Any]]) -> dict[str, Any]:
    """Compute the medians of the draws, and the number of them that meet the target."""
    made: dict[str, Any] = {"met": sum(meets(draw["ours"]) for draw in draws), "draws": len(draws)}
    for method in ("ours", "pagerank", "trustrank"):
        keys = draws[0][method]
        made[method] = {
            key: None if keys[key] is None else round(statistics.median(draw[method][key] for draw in draws), 4)
            for key in keys
        }
    made["seconds"] = round(statistics.median(draw["seconds"] for draw in draws), 2)
    return made


def line(row: dict[str, Any]) -> str:
    """Format one setting as a line of the table."""
    ours, plain, trust = row["ours"], row["pagerank"], row["trustrank"]
    hijacked = f"{row['hijacked']}{' best' if row['best'] else ''}"
    return (
        f"{row['graph']:<20} {row['size']:>5} {row['shape']:<19} {hijacked:>7} | "
        f"{ours['position']:>6.1%} {ours['auc']:.3f} {ours['spearman']:.3f} | "
        f"{plain['position']:>6.2%} {plain['spearman']:.3f} | "
        f"{trust['position']:>6.1%} {trust['auc']:.3f} {trust['spearman']:.3f} | {row['met']}/{row['draws']}"
    )


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the sample data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    unharmed: dict[str, Any] = {}
    head = "target  auc   rho"
    print(f"{'':<55}| ours {head:<15}| PageRank      | TrustRank {head} | met")
    for name, load in GRAPHS.items():
        good, nodes = load(args.data)
        clean = pagerank(good, nodes)
        verdict = defend(web(good, nodes))
        unharmed[name] = {
            "pages": nodes,
            "links": len(good),
            "flagged": int((verdict.farm > 0).sum()),
            "spearman": round(float(spearmanr(verdict.trusted_rank, clean).statistic), 6),
        }
        print(f"{name}, no farm: {unharmed[name]}")
        for size, hijacked, shape, best in settings(args.quick):
            draws = [
                measure(attack(good, nodes, size, hijacked, shape, best, seed), clean)
                for seed in range(DRAWS if shape == "star" and not best and not args.quick else 1)
            ]
            about = {"graph": name, "size": size, "shape": shape, "hijacked": hijacked, "best": best}
            rows.append(about | middle(draws))
            print(line(rows[-1]), flush=True)
    first = [row for row in rows if row["shape"] == "star" and not row["best"]]
    facts: dict[str, Any] = {
        "benchmark": "spam",
        "target": f"position > {OUTSIDE}, auc and spearman ≥ {ENOUGH}",
        "met": f"{sum(row['met'] == row['draws'] for row in first)} of {len(first)} settings",
        "met_all_shapes": f"{sum(row['met'] for row in rows)} of {sum(row['draws'] for row in rows)} farms",
        "no_farm": unharmed,
        "settings": rows,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
    print(f"target met in {facts['met']}; of all shapes by {facts['met_all_shapes']}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"spam{'-quick' if args.quick else ''}.json").write_text(json.dumps(facts, indent=1) + "\n")
    if args.json:
        print(json.dumps({key: facts[key] for key in facts if key != "settings"}))


if __name__ == "__main__":
    main()

"""Link-spam defence: both kinds of error side by side, on webs of honest sites and on graphs without hosts.

Of each web, attack and draw: honest pages flagged, the most places an honest page lost by the defence, and targets
missed: those that stand ahead of where honest links alone put them (more than 1 % of all places) and in the best
quarter. Plain PageRank's misses stand beside them. The attacks are those of `site_webs`; in the second draw each page
of a farm has a host of its own, else all are on one host.

    python benchmarks/bench_spam.py [--data FOLDER] [--web NAME] [--draws 3]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from link_farms import GRAPHS
from site_webs import FARMS, OTHERS, SiteWeb, attempt, defend_sites, once, places, read_sites, sites, votes, weigh

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MOST_LOST = 0.05


def numbered(name: str, data: Path) -> SiteWeb:
    """Read a real graph as numbered pages without hosts."""
    edges, nodes = GRAPHS[name](data)
    return SiteWeb(once(edges), np.arange(nodes))


def webs(data: Path) -> dict[str, tuple[Callable[[int], SiteWeb], bool]]:
    """Return each web by its name: how a draw of it is made, and whether hosts are known."""
    cases = data.parent / "cases" / "graphs" / "honest_sites.tsv"
    return {
        "honest_sites.tsv": (lambda draw: read_sites(cases)[0], True),
        "5 sites, mixed": (lambda draw: sites(5, "mixed", draw), True),
        "40 sites, menus": (lambda draw: sites(40, "menus", draw), True),
        "40 sites, hierarchies": (lambda draw: sites(40, "hierarchies", draw), True),
        "40 sites, mixed": (lambda draw: sites(40, "mixed", draw), True),
        "40 sites, mixed, numbered": (lambda draw: sites(40, "mixed", draw), False),
        "votes, numbered": (votes, False),
        "wikispeedia, numbered": (lambda draw: numbered("wikispeedia", data), False),
        "NumPy documentation, numbered": (lambda draw: numbered("NumPy documentation", data), False),
        "200 sites, mixed": (lambda draw: sites(200, "mixed", draw), True),
    }


def clean(web: SiteWeb, known: bool) -> dict[str, Any]:
    """Measure the defence on a web that nobody attacks."""
    begun = time.process_time()
    verdict = defend_sites(web.edges, web.hosts if known else None, len(web.hosts))
    seconds = time.process_time() - begun
    before, after = (places(ranks, ranks) for ranks in (verdict.pagerank, verdict.trusted_rank))
    flagged = int((verdict.farm > 0).sum())
    return {"flagged": flagged, "lost": float((after - before).max()), "cpu_seconds": round(seconds, 2)}


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the sample data")
    parser.add_argument("--web", default="", help="only this web")
    parser.add_argument("--draws", type=int, default=3)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {
        "benchmark": "spam",
        "target": f"no honest page flagged, none loses more than {MOST_LOST:.0%} of places, no target missed",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "rows": rows,
    }
    print(
        f"{'web':<30} {'attack':<13} flagged   lost | missed  plain PageRank | place  by honest links  (medians: place)"
    )
    for name, (make, known) in webs(args.data).items():
        if args.web and name != args.web:
            continue
        made = [make(draw) for draw in range(args.draws)]
        found = [clean(web, known) for web in made]
        rows.append({"web": name, "attack": "none", "draws": found})
        print(f"{name:<30} {'none':<13} {max(f['flagged'] for f in found):>7} {max(f['lost'] for f in found):>6.1%} |")
        for shape in (*FARMS, *OTHERS):
            tried = [weigh(web, attempt(web, shape, draw == 1, draw), known) for draw, web in enumerate(made)]
            rows.append({"web": name, "attack": shape, "draws": [asdict(one) for one in tried]})
            print(
                f"{name:<30} {shape:<13} {max(t.flagged for t in tried):>7} {max(t.lost for t in tried):>6.1%} | "
                f"{statistics.mean(t.missed for t in tried):>6.0%} {statistics.mean(t.plain for t in tried):>14.0%} | "
                f"{statistics.median(t.place for t in tried):>5.1%} "
                f"{statistics.median(t.honest_place for t in tried):>16.1%}",
                flush=True,
            )
        if not args.web:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / "spam.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

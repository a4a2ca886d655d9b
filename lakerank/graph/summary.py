"""Tell a ranking as text and as JSON: the best nodes, how exact they are, how the iteration converged."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from lakerank.graph.base import RankResult
from lakerank.graph.iterate import Iteration
from lakerank.graph.local_plan import ON_DRIVER


def top_nodes(ranks: Any, count: int) -> list[dict[str, Any]]:
    """Return the `count` nodes with the highest rank, `id` and `pagerank`, of a frame or an Arrow table; equal ranks in
    order of id."""
    if isinstance(ranks, pa.Table):
        order = [("pagerank", "descending"), ("id", "ascending")]
        return cast(list[dict[str, Any]], ranks.take(pc.select_k_unstable(ranks, count, order)).to_pylist())
    return [row.asDict() for row in ranks.orderBy(F.desc("pagerank"), "id").limit(count).collect()]


def certain_ranks(best: Sequence[Mapping[str, Any]], bound: float | None, count: int) -> int | None:
    """Count how many of the first ranks the exact vector gives to the same nodes, whatever the error; None if unknown.

    Both vectors sum to 1, so what some nodes have too much others have too little: no PageRank is off by more than half
    the L1 error, and no difference of two by more than all of it.

    Args:
        best: the `count` + 1 nodes with the highest PageRank, or all there are.
        bound: of the L1 error.
        count: how many ranks are asked for.
    """
    if bound is None:
        return None
    values = [row["pagerank"] for row in best]
    for position, (value, after) in enumerate(itertools.pairwise(values)):
        if value - after <= bound:
            return position
    return min(count, len(values))


@dataclass(frozen=True)
class RankSummary:
    """Hold what is told of a ranking.

    Attributes:
        result: what the engine found.
        top: the best nodes, `id` and `pagerank`.
        bound: of the L1 error; None if there is none.
        certain: the first so many of the best are certain; None if unknown.
        previous_iterations: of the run whose ranks this one began with; None if unknown.
    """

    result: RankResult
    top: Sequence[Mapping[str, Any]]
    bound: float | None
    certain: int | None
    previous_iterations: int | None

    @classmethod
    def of(cls, result: RankResult, ranks: Any, count: int, damping: float, previous: int | None) -> RankSummary:
        """Summarize a result.

        Args:
            result: what the engine found.
            ranks: its ranks as written, a frame or an Arrow table.
            count: of best nodes.
            damping: d.
            previous: iterations of the run before.
        """
        bound, best = result.error_bound(damping), top_nodes(ranks, count + 1)
        return cls(result, best[:count], bound, certain_ranks(best, bound, count), previous)

    def text(self, names: Mapping[Any, str]) -> str:
        """Return lines of text: convergence, the best nodes by name or id, how exact they are and what they cost."""
        result, bound = self.result, self.bound
        lines = [convergence(result.history), as_table(self.top, names)]
        if bound is not None:
            certain = f"; the first {self.certain} ranks are certain" if self.certain else ""
            lines.append(f"pagerank: off by at most {bound:.1e} in sum, no node by more than {bound / 2:.1e}{certain}")
        if self.previous_iterations is not None:
            lines.append(f"pagerank: {result.iterations} iterations, {self.previous_iterations} in the run before")
        if result.worker_mib is not None:
            who = "the driver's Python" if result.engine == ON_DRIVER else "a worker"
            lines.append(f"pagerank: {who} held at most {result.worker_mib:,.0f} MiB")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the fields of the JSON summary."""
        result, previous = self.result, self.previous_iterations
        return {
            "plan": result.engine,
            "iterations": result.iterations,
            "iterations_saved": None if previous is None else previous - result.iterations,
            "l1_delta": result.l1_delta,
            "converged": result.converged,
            "nodes": result.nodes,
            "edges": result.edges,
            "error_bound": self.bound,
            "worker_peak_mib": result.worker_mib and round(result.worker_mib),
            "top": [[row["id"], row["pagerank"]] for row in self.top],
            "certain_ranks": self.certain,
        }


def as_table(top: Sequence[Mapping[str, Any]], names: Mapping[Any, str]) -> str:
    """Return the best nodes as lines of text: rank, PageRank, name or id."""
    lines = [f"{'rank':>5}  {'pagerank':>12}  node"]
    for rank, row in enumerate(top, start=1):
        lines.append(f"{rank:>5}  {row['pagerank']:>12.6g}  {names.get(row['id'], row['id'])}")
    return "\n".join(lines)


def convergence(history: Sequence[Iteration]) -> str:
    """Return every iteration of a short run, every tenth and the last of a long one, as lines of text."""
    step = 1 if len(history) <= 10 else 10
    shown = [entry for entry in history if entry[0] == 1 or entry[0] % step == 0 or entry is history[-1]]
    return "\n".join(
        f"  iteration {number:>4}   l1 change {delta:.3e}   dangling {dangling:.4f}"
        for number, delta, dangling in shown
    )


def as_rows(rows: Sequence[Mapping[str, Any]], names: Mapping[Any, str]) -> str:
    """Return rows of a measure as lines of text, the node by name if it has one."""
    lines = []
    for row in rows:
        cells = (names.get(value, value) if key == "id" else value for key, value in row.items())
        lines.append("  " + "  ".join(f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in cells))
    return "\n".join(lines)

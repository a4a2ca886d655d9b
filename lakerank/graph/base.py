"""Define what every PageRank engine is given and what it gives back.

With A the links, t the teleport vector (uniform unless given) and d the damping, one iteration is

    x' = d · (Σ_j x_j · w_ji / w_j  +  m · t)  +  (1 − d) · t          m = Σ of x over dangling nodes

started from t and stopped when ‖x' − x‖₁ < tol (or by another `StoppingRule`). x sums to 1. A node is dangling
when its outgoing weights are all 0 or it has no links; its mass goes where the surfer teleports (Page, Brin, Motwani
and Winograd 1999, "The PageRank Citation Ranking"; the convention of networkx).

Without weights a link counts once however often it is listed (`nx.DiGraph`); with weights the weights of
parallel links add up (`nx.MultiDiGraph`). A link from a node to itself is a link like any other.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph.iterate import Iteration, StoppingRule

MOST_ITERATIONS = 10_000  # where damping is near 1


@dataclass(frozen=True)
class PageRankConfig:
    """Hold the settings of one PageRank computation.

    Attributes:
        damping: d, probability of following a link, in [0, 1].
        tol: stop when the ranks change by less than this in one iteration, L1 norm, ≥ 0.
        max_iter: stop after this many iterations at the latest; 0: as many as `damping` and `tol` can take.
        one_task_edges: up to this many edge rows the native engine works in one task.
        block_edges: edge rows per block of the native engine's distributed plan, ≥ 1.
        scratch: folder for intermediate results where local checkpoints are refused (`lakerank.spark.checkpoint`).
        stopping: another rule by which to stop than the one of `tol`.
    """

    damping: float = 0.85
    tol: float = 1e-8
    max_iter: int = 0
    one_task_edges: int = 100_000_000
    block_edges: int = 4_000_000
    scratch: str = ""
    stopping: StoppingRule | None = None

    @property
    def rule(self) -> StoppingRule:
        """The rule by which to stop."""
        return StoppingRule(self.tol) if self.stopping is None else self.stopping

    def __post_init__(self) -> None:
        for name, good, must in (
            ("damping", 0 <= self.damping <= 1, "be between 0 and 1"),
            ("tol", 0 <= self.tol < float("inf"), "be a number of at least 0"),
            ("max_iter", self.max_iter >= 0, "be at least 0"),
            ("block_edges", self.block_edges >= 1, "be at least 1"),
        ):
            if not good:
                raise UserError(f"{name.replace('_', '-')} must {must}, not {getattr(self, name)!r}")
        if not self.max_iter:
            object.__setattr__(self, "max_iter", iterations_needed(self.damping, self.tol))


def iterations_needed(damping: float, tol: float) -> int:
    """Return an iteration by which the ranks of any graph change by less than `tol`.

    Iteration k changes them by at most 2 damping^(k - 1), L1 norm. What follows it adds up to 1 / (1 - damping) times
    as much, and GraphX's normalising to four times that: then its ranks are as near to the limit, too.

    Args:
        damping: in [0, 1]; near 1 there is a limit of 10,000 iterations.
        tol: ≥ 0; below 1e-15 rounding decides.
    """
    if damping >= 1:
        return MOST_ITERATIONS
    needed = math.log(max(tol, 1e-15) * (1 - damping) / 8) / math.log(max(damping, 1e-9)) + 3
    return max(2, min(MOST_ITERATIONS, math.ceil(needed)))


@dataclass(frozen=True)
class Graph:
    """Hold the frames an engine works on. Ids are all bigint or all string, never null.

    Attributes:
        edges: `src`, `dst` and, if `weighted`, `weight` double, finite and ≥ 0; rows may repeat.
        nodes: `id`; nodes to rank even if no edge touches them. Repeats are harmless.
        teleport: `id`, `weight` double, finite and ≥ 0; weights of one id add up, the sum is scaled to 1.
        weighted: whether `edges.weight` counts.
        rows: number of rows of `edges` if the caller knows it; saves a pass.
        warm_start: `id`, `pagerank` double, ≥ 0, each id once: ranks to begin with, e.g. yesterday's. Ids that are no
            nodes any more do not count; nodes that are new begin with what the surfer's fresh starts give them.
        parallel: whether links without weights count as often as they are listed, as in GraphX, and not once.

    Raises:
        UserError: a column is missing, or the ids are not all of one of the two types.
    """

    edges: DataFrame
    nodes: DataFrame | None = None
    teleport: DataFrame | None = None
    weighted: bool = False
    rows: int | None = None
    warm_start: DataFrame | None = None
    parallel: bool = False

    def __post_init__(self) -> None:
        weight = [("weight", "double")] if self.weighted else []
        id_type = self.id_type
        _require(self.edges, [("src", id_type), ("dst", id_type), *weight], "edges")
        if self.nodes is not None:
            _require(self.nodes, [("id", id_type)], "nodes")
        if self.teleport is not None:
            _require(self.teleport, [("id", id_type), ("weight", "double")], "teleport")
        if self.warm_start is not None:
            _require(self.warm_start, [("id", id_type), ("pagerank", "double")], "warm_start")

    @property
    def id_type(self) -> str:
        """`bigint` or `string`."""
        return "string" if dict(self.edges.dtypes).get("src") == "string" else "bigint"

    @property
    def ids(self) -> DataFrame:
        """`id` of every node, each once."""
        every = self.edges.select(F.col("src").alias("id")).union(self.edges.select("dst"))
        if self.nodes is not None:
            every = every.union(self.nodes.select("id"))
        return every.distinct()


def _require(frame: DataFrame, columns: list[tuple[str, str]], what: str) -> None:
    have = dict(frame.dtypes)
    for name, wanted in columns:
        if have.get(name) != wanted:
            raise UserError(f"{what}: column `{name}` must be {wanted}, not {have.get(name, 'missing')}")


@dataclass(frozen=True)
class RankResult:
    """Hold what an engine found.

    Attributes:
        ranks: `id`, `pagerank` double: a DataFrame, from the driver's plan an Arrow table; one row per node, all > 0 if
            damping < 1 and teleport is uniform, sum 1.
        iterations: how many were done.
        history: per iteration its number from 1, the L1 change of the ranks in it, and the mass dangling
            nodes held before it. An engine that cannot look inside its loop gives the last one only.
        nodes: number of nodes.
        edges: number of different links (parallel ones counted once, those of weight 0 not at all).
        engine: which engine, and for the native one which plan.
        converged: whether the last iteration met the stopping rule (its change was below `tol`).
        rounding: at most how far rounding moved the last iteration, L1; None where nobody knows.
        worker_mib: highest memory of a Python worker so far, MiB; None where there is none.
    """

    ranks: Any
    iterations: int
    history: list[Iteration]
    nodes: int
    edges: int
    engine: str
    converged: bool
    rounding: float | None = None
    worker_mib: float | None = None

    @property
    def l1_delta(self) -> float:
        """L1 change of the last iteration."""
        return self.history[-1][1]

    def error_bound(self, damping: float) -> float | None:
        """Bound how far the ranks are from the exact ones in L1; None if d = 1.

        One iteration T brings any two vectors closer by the factor d. With e what rounding did to the last one,
        x' = T(x) + e, the triangle inequality gives ‖x* − x'‖ ≤ d · (‖x* − x'‖ + ‖x' − x‖) + ‖e‖, so
        ‖x* − x'‖ ≤ (d · last change + ‖e‖) / (1 − d).
        """
        return None if damping >= 1 else (damping * self.l1_delta + (self.rounding or 0.0)) / (1 - damping)


Engine = Callable[[Graph, PageRankConfig], RankResult]


def no_nodes() -> UserError:
    """Return the error for a graph without nodes."""
    return UserError("the graph has no nodes, so there is nothing to rank")


def unknown_teleport(node: object) -> UserError:
    """Return the error for a teleport id that is not in the graph."""
    return UserError(f"teleport: id {node!r} is not a node of the graph")


def no_teleport() -> UserError:
    """Return the error for a teleport vector without any weight."""
    return UserError("teleport: no id has a weight above 0, so the surfer has nowhere to start")


def peak_mib() -> float:
    """Return the highest resident memory of this process so far, MiB, as the operating system counts it."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)

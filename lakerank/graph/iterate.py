"""The power iteration of PageRank on one block of links, and when an iteration stops: every loop asks here.

A loop over iterations, on one worker or over the cluster, asks its `Convergence` after each one; that asks the
`StoppingRule`. The rule looks at the change of one block of nodes (`change`) and combines what it saw in several
(`combine`), so the same rule serves where no worker holds all ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import fsum

import numpy as np

from lakerank.graph.csr_block import Block, Floats
from lakerank.graph.kernels import finish_iteration, pull

Iteration = tuple[int, float, float]  # number from 1, L1 change of the ranks in it, dangling mass before it


@dataclass(frozen=True)
class StoppingRule:
    """Decide when ranks have converged: when they change by less than `tol` in one iteration, L1 norm.

    Another rule is a subclass with another `change` and `combine` (or `is_met`), given to `PageRankConfig(stopping=)`.

    Attributes:
        tol: threshold of the change, ≥ 0; 0 never stops.
    """

    tol: float = 1e-8

    def change(self, l1_change: float, before: Floats, after: Floats) -> float:
        """Return the distance that an iteration moved a block of nodes, as this rule measures it.

        Args:
            l1_change: Σ |after − before|, which every loop knows anyhow.
            before: float64[n] or float64[n, c], values of the block's nodes before the iteration.
            after: the same after it.
        """
        return l1_change

    def combine(self, changes: Iterable[float]) -> float:
        """Return the change of all nodes, from those of the blocks."""
        return fsum(changes)

    def is_met(self, change: float) -> bool:
        """Return whether an iteration with this change is the last one needed."""
        return change < self.tol


@dataclass
class Convergence:
    """Record the iterations of one computation and say when to stop.

    Attributes:
        rule: what convergence means.
        max_iter: iterations at most, ≥ 1.
        history: of each iteration its number from 1, L1 change and the dangling mass before it.
        converged: whether the last iteration met the rule.
    """

    rule: StoppingRule
    max_iter: int
    history: list[Iteration] = field(default_factory=list)
    converged: bool = False

    @property
    def iterations(self) -> int:
        """Number of iterations done."""
        return len(self.history)

    @property
    def l1_change(self) -> float:
        """L1 change of the last iteration; infinite before the first."""
        return self.history[-1][1] if self.history else float("inf")

    def stops(self, change: float, l1_change: float, dangling_mass: float = 0.0) -> bool:
        """Record an iteration; return whether it was the last.

        Args:
            change: as the rule measures it, of all nodes (`StoppingRule.combine`).
            l1_change: L1 change of all nodes.
            dangling_mass: rank that dangling nodes held before the iteration.
        """
        self.history.append((self.iterations + 1, l1_change, dangling_mass))
        self.converged = self.rule.is_met(change)
        return self.converged or self.iterations >= self.max_iter


def iterate(
    whole: Block, teleport: Floats, damping: float, warm_start: Floats | None = None
) -> Iterator[tuple[Floats, Floats, float, float]]:
    """Yield the iterations of PageRank of a graph in one block, without end.

    Args:
        whole: all links, B = 1.
        teleport: float64[n], sum 1.
        damping: d.
        warm_start: float64[n], sum 1, ranks to begin with: each iteration then goes on from an extrapolation of the
            last ones; None: begin with `teleport`, and each goes on from the last.

    Yields:
        Ranks before and after the iteration, float64[n] each, their L1 distance, and the dangling mass before it.
    """
    x = (teleport if warm_start is None else warm_start).copy()
    extrapolation = None if warm_start is None else Extrapolation()
    y, values = x * whole.scale, np.empty(len(whole.dst))
    dangling_mass = whole.dangling_mass(x)
    while True:
        after = np.empty(len(x))
        pull(y, whole.ptr, whole.src, whole.weight, values)
        l1_change, dangling_after = finish_iteration(
            values, whole.dst, x, whole.scale, teleport, damping, dangling_mass, after, y
        )
        yield x, after, l1_change, dangling_mass
        if extrapolation is None:
            x, dangling_mass = after, dangling_after
        else:
            x = extrapolation.next(x, after)
            y, dangling_mass = x * whole.scale, whole.dangling_mass(x)


def power_iteration(
    whole: Block,
    teleport: Floats,
    damping: float,
    rule: StoppingRule,
    max_iter: int,
    warm_start: Floats | None = None,
) -> tuple[Floats, Convergence]:
    """Compute PageRank of a graph in one block: float64[n], sum 1, and how it converged.

    Args:
        whole, teleport, damping, warm_start: as in `iterate`.
        rule: when to stop.
        max_iter: iterations at most, ≥ 1.
    """
    convergence, ranks = Convergence(rule, max_iter), teleport
    for before, after, l1_change, dangling_mass in iterate(whole, teleport, damping, warm_start):
        ranks = after
        if convergence.stops(rule.change(l1_change, before, after), l1_change, dangling_mass):
            break
    return ranks, convergence


_DEPTH = 4  # earlier vectors: more saved no iteration on the graphs of benchmarks/bench_pagerank.py
_SINGULAR = 1e-10  # directions this much shorter than the longest are noise


class Extrapolation:
    """Extrapolate the next vector from the last few (Anderson), where plain iteration creeps along one direction.

    Remembers the last vectors and what an iteration made of them: 2 · `_DEPTH` vectors of n. D. G. Anderson, "Iterative
    Procedures for Nonlinear Integral Equations", Journal of the ACM 12 (1965); for linear maps it is GMRES in disguise
    (H. F. Walker, P. Ni, "Anderson Acceleration for Fixed-Point Iterations", SIAM J. Numer. Anal. 49, 2011). What an
    iteration makes of the extrapolated vector is an iteration's outcome like any other: the bound of its error holds.
    """

    def __init__(self) -> None:
        self._moves: list[Floats] = []  # differences of residuals
        self._steps: list[Floats] = []  # differences of outcomes
        self._last: tuple[Floats, Floats] | None = None

    def next(self, x: Floats, after: Floats) -> Floats:
        """Return the vector to iterate from next, float64[n], when an iteration made `after` of `x`; all sum to 1."""
        residual = after - x
        if self._last is not None:
            self._moves = [*self._moves, residual - self._last[0]][-_DEPTH:]
            self._steps = [*self._steps, after - self._last[1]][-_DEPTH:]
        self._last = (residual, after)
        if not self._moves:
            return after
        normal = np.array([[float(a @ b) for b in self._moves] for a in self._moves])
        right = np.array([float(move @ residual) for move in self._moves])
        shares = np.linalg.lstsq(normal, right, rcond=_SINGULAR)[0]
        guess = after - sum(share * step for share, step in zip(shares.tolist(), self._steps, strict=True))
        guess = np.maximum(guess, 0.0)  # ranks are; leaving this out may only lead further away
        total = float(guess.sum())
        return guess / total if total > 0 else after

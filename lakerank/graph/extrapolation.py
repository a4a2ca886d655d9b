"""Anderson's extrapolation: the next vector from the last few, where plain iteration creeps along one direction.

D. G. Anderson, "Iterative Procedures for Nonlinear Integral Equations", Journal of the ACM 12 (1965); for linear maps
it is GMRES in disguise (H. F. Walker, P. Ni, "Anderson Acceleration for Fixed-Point Iterations", SIAM J. Numer. Anal.
49, 2011). What an iteration makes of the extrapolated vector is an iteration's outcome like any other: the bound of its
error holds.
"""

from __future__ import annotations

import numpy as np

from lakerank.graph.arrays import Floats

DEPTH = 4  # earlier vectors: more saved no iteration on the graphs of benchmarks/bench_pagerank.py
_SINGULAR = 1e-10  # directions this much shorter than the longest are noise


class Extrapolation:
    """Remembers the last vectors and what an iteration made of them; 2 · `DEPTH` vectors of n."""

    def __init__(self) -> None:
        self._moves: list[Floats] = []  # differences of residuals
        self._steps: list[Floats] = []  # differences of outcomes
        self._last: tuple[Floats, Floats] | None = None

    def next(self, x: Floats, after: Floats) -> Floats:
        """Where to iterate from next, float64[n], when an iteration made `after` of `x` (both sum 1); sums to 1."""
        residual = after - x
        if self._last is not None:
            self._moves = [*self._moves, residual - self._last[0]][-DEPTH:]
            self._steps = [*self._steps, after - self._last[1]][-DEPTH:]
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

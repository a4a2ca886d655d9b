"""Personal PageRank for many surfers at once: one pass over the links serves them all.

Each column of x is PageRank with a teleport vector of its own (`contract`). Reading a link costs more than adding to
one rank, so eight or more columns side by side are several times faster than one after another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lakerank.graph.arrays import Floats, Indexes
from lakerank.graph.csr_block import Block
from lakerank.graph.kernels_many import pull_many

COLUMNS = 16  # surfers side by side: 128 bytes a node, two lines of the processor's cache


@dataclass(frozen=True)
class Personal:
    """Ranks of some surfers.

    Attributes:
        ranks: float64[n, c], each column sums to 1.
        iterations: how many were done.
        l1_delta: the largest last change of a column, L1.
    """

    ranks: Floats
    iterations: int
    l1_delta: float


def personal_ranks(block: Block, teleport: Floats, damping: float, tol: float, max_iter: int) -> Personal:
    """PageRank for each column of `teleport`.

    Args:
        block: all links, B = 1.
        teleport: float64[n, c], each column sums to 1.
        damping: d, in [0, 1].
        tol: stop when no column changes by more, L1.
        max_iter: stop after so many iterations at the latest.
    """
    x, sinks = teleport.copy(), np.flatnonzero(block.scale == 0)
    values = np.empty((len(block.dst), teleport.shape[1]))
    delta, number = np.inf, 0
    while number < max_iter and delta >= tol:
        pull_many(x * block.scale[:, None], block.ptr, block.src, block.weight, values)
        after = (damping * x[sinks].sum(axis=0) + (1 - damping)) * teleport
        after[block.dst] += damping * values
        delta, x, number = float(np.abs(after - x).sum(axis=0).max()), after, number + 1
    return Personal(x, number, delta)


def best_of(ranks: Floats, count: int) -> tuple[Indexes, Floats]:
    """The `count` largest of float64[n] above 0 (all if 0), the largest first, of equals the first."""
    kept = np.flatnonzero(ranks > 0)
    if count and count < len(kept):
        least = np.partition(ranks[kept], -count)[-count]
        kept = kept[ranks[kept] >= least]
    order = kept[np.lexsort((kept, -ranks[kept]))]
    order = order[:count] if count else order
    return order, ranks[order]

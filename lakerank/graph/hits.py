"""Hubs and authorities: good hubs link to good authorities, good authorities are linked to by good hubs.

J. M. Kleinberg, "Authoritative Sources in a Hyperlinked Environment", Journal of the ACM 46 (1999). With A the links,
each counted once: a = Aᵀ h and h = A a, both scaled to sum 1, until they stay: the leading singular vectors of A.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lakerank.graph.arrays import Floats
from lakerank.graph.csr_block import Block, pack
from lakerank.graph.kernels import pull
from lakerank.graph.local_graph import Places

_ONE_EACH = np.empty(0)


@dataclass(frozen=True)
class Hits:
    """Scores of n nodes.

    Attributes:
        hub: float64[n], sum 1 (0 everywhere if there are no links).
        authority: float64[n], likewise.
        iterations: how many were done.
        l1_delta: last change of both, L1.
    """

    hub: Floats
    authority: Floats
    iterations: int
    l1_delta: float


def hits(src: Places, dst: Places, nodes: int, tol: float, max_iter: int) -> Hits:
    """Hubs and authorities of a graph.

    Args:
        src: int32[e], < nodes; links may repeat and count once.
        dst: int32[e].
        nodes: n.
        tol: stop when both together change by less, L1.
        max_iter: stop after so many iterations at the latest.
    """
    into, out_of = pack(src, dst, None, nodes=nodes), pack(dst, src, None, nodes=nodes)
    hub, authority = np.full(nodes, 1.0 / max(nodes, 1)), np.zeros(nodes)
    delta, number = np.inf, 0
    while number < max_iter and delta >= tol:
        new_authority = _scaled(_sums(into, hub))
        new_hub = _scaled(_sums(out_of, new_authority))
        delta = float(np.abs(new_hub - hub).sum() + np.abs(new_authority - authority).sum())
        hub, authority, number = new_hub, new_authority, number + 1
    return Hits(hub, authority, number, delta)


def _sums(block: Block, x: Floats) -> Floats:
    values, sums = np.empty(len(block.dst)), np.zeros(len(x))
    pull(x, block.ptr, block.src, _ONE_EACH, values)
    sums[block.dst] = values
    return sums


def _scaled(x: Floats) -> Floats:
    total = x.sum()
    return x / total if total > 0 else x

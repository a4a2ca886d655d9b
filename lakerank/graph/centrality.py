"""Compute centralities of a graph in one block: hubs and authorities, harmonic centrality, personal PageRank.

Hubs and authorities (HITS): good hubs link to good authorities, good authorities are linked to by good hubs. J. M.
Kleinberg, "Authoritative Sources in a Hyperlinked Environment", Journal of the ACM 46 (1999). With A the links, each
counted once: a = Aᵀ h and h = A a, both scaled to sum 1, until they stay: the leading singular vectors of A.

Harmonic centrality: how near a node is to all others that can reach it, Σ 1 / distance(u, v) over all u ≠ v. P. Boldi,
S. Vigna, "Axioms for Centrality", Internet Mathematics 10 (2014); Common Crawl publishes it for hosts and domains.
Exactly by 64 breadth-first searches at a time while that is affordable; else by HyperBall (P. Boldi, S. Vigna, "In-Core
Computation of Geometric Centralities with HyperBall", 2013): each node has a HyperLogLog counter (P. Flajolet, É.
Fusy, O. Gandouet, F. Meunier 2007) of the nodes that reach it within t steps; nodes new at step t add 1 / t each.

Personal PageRank for many surfers at once: each column of x is PageRank with a teleport vector of its own (`base`).
Reading a link costs more than adding to one rank, so eight or more columns side by side are several times faster than
one after another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.graph.csr_block import Block, Floats, Indexes, pack
from lakerank.graph.encode_ids import NodeNumbers
from lakerank.graph.iterate import Convergence, StoppingRule
from lakerank.graph.kernels import count_registers, merge_registers, pull, pull_many, search_step

COLUMNS = 16  # surfers side by side: 128 bytes a node, two lines of the processor's cache
EXACT_WORK = 2e10  # links looked at by exact searches, at most: a minute or two
REGISTERS = 256  # standard error of a count: 1.04 / √256 = 6.5 %
_STEPS_EXPECTED = 10
_ONE_EACH = np.empty(0)


@dataclass(frozen=True)
class Hits:
    """Hold the scores of n nodes.

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


def hits(src: NodeNumbers, dst: NodeNumbers, nodes: int, rule: StoppingRule, max_iter: int) -> Hits:
    """Compute the hubs and authorities of a graph.

    Args:
        src: int32[e], < nodes; links may repeat and count once.
        dst: int32[e].
        nodes: n.
        rule: stop when both together change by less.
        max_iter: stop after so many iterations at the latest.
    """
    into, out_of = pack(src, dst, None, nodes=nodes), pack(dst, src, None, nodes=nodes)
    hub, authority = np.full(nodes, 1.0 / max(nodes, 1)), np.zeros(nodes)
    convergence = Convergence(rule, max_iter)
    while True:
        new_authority = _scaled(_sums(into, hub))
        new_hub = _scaled(_sums(out_of, new_authority))
        moves = [(float(np.abs(b - a).sum()), a, b) for a, b in ((hub, new_hub), (authority, new_authority))]
        hub, authority = new_hub, new_authority
        if convergence.stops(rule.combine(rule.change(*move) for move in moves), sum(l1 for l1, _, _ in moves)):
            return Hits(hub, authority, convergence.iterations, convergence.l1_change)


def _sums(block: Block, x: Floats) -> Floats:
    values, sums = np.empty(len(block.dst)), np.zeros(len(x))
    pull(x, block.ptr, block.src, _ONE_EACH, values)
    sums[block.dst] = values
    return sums


def _scaled(x: Floats) -> Floats:
    total = x.sum()
    return x / total if total > 0 else x


def exact_work(block: Block) -> float:
    """Estimate how many links exact searches from all nodes look at."""
    return len(block.scale) / 64 * _STEPS_EXPECTED * block.edges


def harmonic_exact(block: Block) -> Floats:
    """Compute the harmonic centrality of each node, float64[n] (`block`: all links, B = 1)."""
    nodes = len(block.scale)
    harmonic = np.zeros(nodes)
    for first in range(0, nodes, 64):
        front = np.zeros(nodes, np.uint64)
        some = np.arange(first, min(first + 64, nodes))
        front[some] = np.uint64(1) << (some - first).astype(np.uint64)
        seen, distance = front.copy(), 1
        while True:
            after = np.zeros(nodes, np.uint64)
            if not search_step(front, seen, block.ptr, block.src, block.dst, distance, after, harmonic):
                break
            front, distance = after, distance + 1
    return harmonic


def harmonic_estimate(block: Block, registers: int = REGISTERS, seed: int = 0) -> Floats:
    """Estimate the harmonic centrality of each node, float64[n], by HyperBall.

    Args:
        block: all links, B = 1.
        registers: r of each counter, a power of 2 of at least 128; its memory is 2 · r bytes a node, its standard
            error 1.04 / √r.
        seed: of the hash function.
    """
    nodes = len(block.scale)
    counters = _first_counters(nodes, registers, seed)
    alpha = 0.7213 / (1 + 1.079 / registers)
    live, sizes = np.ones(nodes, bool), np.empty(nodes)
    count_registers(counters, live, alpha, sizes)
    harmonic, distance = np.zeros(nodes), 1
    after, changed = counters.copy(), np.empty(nodes, bool)
    while True:
        merge_registers(counters, block.ptr, block.src, block.dst, live, after, changed)
        if not changed.any():
            return harmonic
        before = sizes.copy()
        count_registers(after, changed, alpha, sizes)
        harmonic += np.maximum(sizes - before, 0) / distance
        counters[changed] = after[changed]
        live, changed, distance = changed, np.empty(nodes, bool), distance + 1


def _first_counters(nodes: int, registers: int, seed: int) -> NDArray[Any]:
    """Return counters that have counted their own node, uint8[n, r]."""
    start = np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % (1 << 64))
    hashed = _mixed(np.arange(nodes, dtype=np.uint64) + start)
    bits = registers.bit_length() - 1
    counters = np.zeros((nodes, registers), np.uint8)
    rest = hashed >> np.uint64(bits)
    lowest = rest & (~rest + np.uint64(1))  # 2^z, z trailing zeros
    zeros = np.log2(np.maximum(lowest, 1).astype(np.float64)).astype(np.uint8)
    counters[np.arange(nodes), (hashed & np.uint64(registers - 1)).astype(np.int64)] = zeros + 1
    return counters


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return well mixed bits (the finaliser of SplitMix64, G. Steele, D. Lea, C. Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class Personal:
    """Hold the ranks of some surfers.

    Attributes:
        ranks: float64[n, c], each column sums to 1.
        iterations: how many were done.
        l1_delta: the largest last change of a column, L1.
    """

    ranks: Floats
    iterations: int
    l1_delta: float


def personal_ranks(block: Block, teleport: Floats, damping: float, rule: StoppingRule, max_iter: int) -> Personal:
    """Compute PageRank for each column of `teleport`.

    Args:
        block: all links, B = 1.
        teleport: float64[n, c], each column sums to 1.
        damping: d, in [0, 1].
        rule: stop when no column changes by more.
        max_iter: stop after so many iterations at the latest.
    """
    x, sinks = teleport.copy(), np.flatnonzero(block.scale == 0)
    values = np.empty((len(block.dst), teleport.shape[1]))
    convergence = Convergence(rule, max_iter)
    while True:
        pull_many(x * block.scale[:, None], block.ptr, block.src, block.weight, values)
        after = (damping * x[sinks].sum(axis=0) + (1 - damping)) * teleport
        after[block.dst] += damping * values
        l1_change, before, x = float(np.abs(after - x).sum(axis=0).max()), x, after
        if convergence.stops(rule.change(l1_change, before, x), l1_change):
            return Personal(x, convergence.iterations, l1_change)


def top_k(ranks: Floats, count: int) -> tuple[Indexes, Floats]:
    """Return positions and values of the `count` largest of float64[n] above 0 (all if 0), of equals the first."""
    kept = np.flatnonzero(ranks > 0)
    if count and count < len(kept):
        least = np.partition(ranks[kept], -count)[-count]
        kept = kept[ranks[kept] >= least]
    order = kept[np.lexsort((kept, -ranks[kept]))]
    order = order[:count] if count else order
    return order, ranks[order]

"""Harmonic centrality: how near a node is to all others that can reach it, Σ 1 / distance(u, v) over all u ≠ v.

P. Boldi, S. Vigna, "Axioms for Centrality", Internet Mathematics 10 (2014); Common Crawl publishes it for hosts and
domains. Exactly by 64 breadth-first searches at a time while that is affordable; else by HyperBall (P. Boldi, S. Vigna,
"In-Core Computation of Geometric Centralities with HyperBall", 2013): each node has a HyperLogLog counter (P. Flajolet,
É. Fusy, O. Gandouet, F. Meunier 2007) of the nodes that reach it within t steps; nodes new at step t add 1 / t each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.graph.arrays import Floats
from lakerank.graph.csr_block import Block
from lakerank.graph.kernels_many import count_registers, merge_registers, spread_bits

EXACT_WORK = 2e10  # links looked at by exact searches, at most: a minute or two
_STEPS_EXPECTED = 10
REGISTERS = 256  # standard error of a count: 1.04 / √256 = 6.5 %


def work(block: Block) -> float:
    """About how many links exact searches from all nodes look at."""
    return len(block.scale) / 64 * _STEPS_EXPECTED * block.edges


def exact(block: Block) -> Floats:
    """float64[n]: the harmonic centrality of each node (`block`: all links, B = 1)."""
    nodes = len(block.scale)
    harmonic = np.zeros(nodes)
    for first in range(0, nodes, 64):
        front = np.zeros(nodes, np.uint64)
        some = np.arange(first, min(first + 64, nodes))
        front[some] = np.uint64(1) << (some - first).astype(np.uint64)
        seen, distance = front.copy(), 1
        while True:
            after = np.zeros(nodes, np.uint64)
            if not spread_bits(front, seen, block.ptr, block.src, block.dst, distance, after, harmonic):
                break
            front, distance = after, distance + 1
    return harmonic


def estimated(block: Block, registers: int = REGISTERS, seed: int = 0) -> Floats:
    """float64[n]: an estimate of the harmonic centrality of each node.

    Args:
        block: all links, B = 1.
        registers: r of each counter, a power of 2 of at least 128; its memory is 2 · r bytes a node, its standard
            error 1.04 / √r.
        seed: of the hash function.
    """
    nodes = len(block.scale)
    counters = _first(nodes, registers, seed)
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


def _first(nodes: int, registers: int, seed: int) -> NDArray[Any]:
    """uint8[n, r]: counters that have counted their own node."""
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
    """Well mixed bits (the finaliser of SplitMix64, G. Steele, D. Lea, C. Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

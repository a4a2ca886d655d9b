"""Compiled inner loops of the graph algorithms. All plans of the native engine run exactly these.

First what packs and iterates one value a node (PageRank, HITS), then what does it for many values a node at once
(personal ranks, breadth-first searches, HyperLogLog counters).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.spark.jit import compiled

_ONE = np.uint64(1)


@compiled()
def pull(y: NDArray[Any], ptr: NDArray[Any], src: NDArray[Any], weight: NDArray[Any], values: NDArray[Any]) -> None:
    """Fill `values[i]` with Σ y[src[k]] (· weight[k]) over k in ptr[i] … ptr[i+1], in that order.

    Args:
        y: float64[s], what each source gives along one link.
        ptr: int64[m+1], ascending.
        src: uint32[e] or int64[e], each < s.
        weight: float64[e], or empty for 1 everywhere.
        values: float64[m], overwritten.
    """
    if weight.shape[0] == 0:
        for i in range(values.shape[0]):
            total = 0.0
            for k in range(ptr[i], ptr[i + 1]):
                total += y[src[k]]
            values[i] = total
    else:
        for i in range(values.shape[0]):
            total = 0.0
            for k in range(ptr[i], ptr[i + 1]):
                total += y[src[k]] * weight[k]
            values[i] = total


@compiled()
def mark(numbers: NDArray[Any], offset: int, seen: NDArray[Any]) -> None:
    """Set `seen[numbers + offset]` (uint8[range]) to 1 for all numbers ≥ 0 (int32[rows])."""
    for i in range(numbers.shape[0]):
        if numbers[i] >= 0:
            seen[numbers[i] + offset] = 1


@compiled()
def renumber(numbers: NDArray[Any], offset: int, table: NDArray[Any], out: NDArray[Any]) -> None:
    """Fill `out` (int32[rows]) with `table[numbers + offset]` (int32[range]); −1 where the number is below 0."""
    for i in range(numbers.shape[0]):
        out[i] = table[numbers[i] + offset] if numbers[i] >= 0 else -1


@compiled()
def group(
    key: NDArray[Any], shift: int, src: NDArray[Any], column: NDArray[Any], ptr: NDArray[Any], links: NDArray[Any]
) -> tuple[int, int]:
    """Split sorted keys (`column` << `shift` | `src`) into columns and sources, repeated ones once.

    Args:
        key: int64[e'], ascending.
        shift: bits of a source's number.
        src: uint32[≥ e] or int64[≥ e], filled with the sources.
        column: int64[≥ m], filled with the distinct columns, ascending.
        ptr: int64[≥ m+1], filled: sources of column i are `src[ptr[i]:ptr[i+1]]`.
        links: int64[s], to which each source's number of links is added.

    Returns:
        e, number of different keys, and m, number of different columns.
    """
    mask = (1 << shift) - 1
    edges, columns = 0, 0
    for k in range(key.shape[0]):
        if k > 0 and key[k] == key[k - 1]:
            continue
        source, target = key[k] & mask, key[k] >> shift
        if columns == 0 or column[columns - 1] != target:
            column[columns] = target
            ptr[columns] = edges
            columns += 1
        src[edges] = source
        links[source] += 1
        edges += 1
    ptr[columns] = edges
    return edges, columns


RUN = 1024  # long sums are sums of such short ones: their rounding errors grow with 1024 + n / 1024, not with n


@compiled()
def finish_iteration(
    values: NDArray[Any],
    dst: NDArray[Any],
    x: NDArray[Any],
    scale: NDArray[Any],
    teleport: NDArray[Any],
    damping: float,
    dangling_mass: float,
    after: NDArray[Any],
    y: NDArray[Any],
) -> tuple[float, float]:
    """Compute the next ranks, once `values` is what the nodes `dst` receive along links.

    Args:
        values: float64[m].
        dst: uint32[m] or int64[m], each once.
        x: float64[n], ranks before.
        scale: float64[n], 0 marks a dangling node.
        teleport: float64[n], sum 1.
        damping: d.
        dangling_mass: mass of the dangling nodes in `x`.
        after: float64[n], filled with the ranks after.
        y: float64[n], filled with `after · scale`.

    Returns:
        The L1 change, and the mass of the dangling nodes in `after`.
    """
    lift = damping * dangling_mass + (1.0 - damping)
    for i in range(after.shape[0]):
        after[i] = lift * teleport[i]
    for k in range(values.shape[0]):
        after[dst[k]] += damping * values[k]
    change, dangling_after = 0.0, 0.0
    for first in range(0, after.shape[0], RUN):
        part_change, part_dangling = 0.0, 0.0
        for i in range(first, min(first + RUN, after.shape[0])):
            part_change += abs(after[i] - x[i])
            y[i] = after[i] * scale[i]
            if scale[i] == 0.0:
                part_dangling += after[i]
        change += part_change
        dangling_after += part_dangling
    return change, dangling_after


@compiled()
def pull_many(
    y: NDArray[Any], ptr: NDArray[Any], src: NDArray[Any], weight: NDArray[Any], values: NDArray[Any]
) -> None:
    """Fill `values[i, :]` with Σ y[src[k], :] (· weight[k]) over k in ptr[i] … ptr[i+1], in that order.

    Args:
        y: float64[s, c], what each source gives along one link, in c columns.
        ptr: int64[m+1], ascending.
        src: uint32[e] or int64[e], each < s.
        weight: float64[e], or empty for 1 everywhere.
        values: float64[m, c], overwritten.
    """
    columns = y.shape[1]
    for i in range(values.shape[0]):
        for j in range(columns):
            values[i, j] = 0.0
        for k in range(ptr[i], ptr[i + 1]):
            source = src[k]
            share = 1.0 if weight.shape[0] == 0 else weight[k]
            for j in range(columns):
                values[i, j] += y[source, j] * share


@compiled()
def search_step(
    front: NDArray[Any],
    seen: NDArray[Any],
    ptr: NDArray[Any],
    src: NDArray[Any],
    dst: NDArray[Any],
    distance: int,
    after: NDArray[Any],
    harmonic: NDArray[Any],
) -> bool:
    """Advance 64 breadth-first searches by one step, one to a bit; whether any reached a node it had not seen.

    Args:
        front: uint64[n], bit b: search b reached the node in the last step.
        seen: uint64[n], bit b: it reached the node in any step; updated.
        ptr: int64[m+1]: links to `dst[i]` come from `src[ptr[i]:ptr[i+1]]`.
        src: uint32[e] or int64[e].
        dst: uint32[m] or int64[m].
        distance: steps so far, this one among them.
        after: uint64[n], zero everywhere; filled with the new front.
        harmonic: float64[n], to which 1 / distance is added for each search that arrives.
    """
    moved = False
    for i in range(dst.shape[0]):
        node = dst[i]
        bits = _ONE - _ONE
        for k in range(ptr[i], ptr[i + 1]):
            bits |= front[src[k]]
        bits &= ~seen[node]
        if bits != 0:
            moved = True
            after[node] = bits
            seen[node] |= bits
            count = 0
            while bits != 0:
                bits &= bits - _ONE
                count += 1
            harmonic[node] += count / distance
    return moved


@compiled()
def merge_registers(
    before: NDArray[Any],
    ptr: NDArray[Any],
    src: NDArray[Any],
    dst: NDArray[Any],
    live: NDArray[Any],
    after: NDArray[Any],
    changed: NDArray[Any],
) -> None:
    """Merge into each node's counter those of its sources: the larger of each pair of registers.

    Args:
        before: uint8[n, r].
        ptr: int64[m+1]: links to `dst[i]` come from `src[ptr[i]:ptr[i+1]]`.
        src: uint32[e] or int64[e].
        dst: uint32[m] or int64[m].
        live: bool[n], counters that changed in the step before; the others have nothing new to say.
        after: uint8[n, r], equal to `before`; updated.
        changed: bool[n], overwritten.
    """
    registers = before.shape[1]
    changed[:] = False
    for i in range(dst.shape[0]):
        node = dst[i]
        for k in range(ptr[i], ptr[i + 1]):
            source = src[k]
            if live[source]:
                for j in range(registers):
                    after[node, j] = max(after[node, j], before[source, j])
        for j in range(registers):
            if after[node, j] != before[node, j]:
                changed[node] = True
                break


@compiled()
def count_registers(registers: NDArray[Any], which: NDArray[Any], alpha: float, sizes: NDArray[Any]) -> None:
    """Estimate what counters count, linear counting where many registers are empty.

    Args:
        registers: uint8[n, r].
        which: bool[n], counters to look at.
        alpha: the estimator's constant for r registers.
        sizes: float64[n], overwritten where `which`.
    """
    r = registers.shape[1]
    for node in range(registers.shape[0]):
        if which[node]:
            total, empty = 0.0, 0
            for j in range(r):
                total += 2.0 ** (-float(registers[node, j]))
                empty += registers[node, j] == 0
            estimate = alpha * r * r / total
            if estimate <= 2.5 * r and empty > 0:
                estimate = r * math.log(r / empty)
            sizes[node] = estimate


@compiled()
def unite(src: NDArray[Any], dst: NDArray[Any], parent: NDArray[Any]) -> None:
    """Join the trees of both ends of each link; the smaller root stays one (R. E. Tarjan 1975, paths halved).

    Args:
        src: int[e], < n.
        dst: int[e], < n.
        parent: int[n], `parent[i] <= i`: the forest, updated; at first each node is its own parent.
    """
    for k in range(src.shape[0]):
        a, b = src[k], dst[k]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        else:
            parent[a] = b


@compiled()
def flatten(parent: NDArray[Any]) -> None:
    """Replace the parent of each node of a forest, int[n] with `parent[i] <= i`, by its root."""
    for i in range(parent.shape[0]):
        parent[i] = parent[parent[i]]


@compiled()
def most_frequent(
    ptr: NDArray[Any],
    neighbours: NDArray[Any],
    labels: NDArray[Any],
    own: NDArray[Any],
    counts: NDArray[Any],
    after: NDArray[Any],
) -> None:
    """Fill `after` with the label that most neighbours of each node have; of several the smallest.

    Args:
        ptr: int64[n+1], ascending: neighbours of node i are `neighbours[ptr[i]:ptr[i+1]]`, a node may be there twice.
        neighbours: int[k], < m.
        labels: int[m], < c.
        own: int[n], labels of the nodes themselves: kept by those without neighbours.
        counts: int32[c], zero everywhere, and again afterwards.
        after: int[n], overwritten.
    """
    for i in range(after.shape[0]):
        best, most = own[i], 0
        for k in range(ptr[i], ptr[i + 1]):
            label = labels[neighbours[k]]
            counts[label] += 1
            if counts[label] > most or (counts[label] == most and label < best):
                best, most = label, counts[label]
        for k in range(ptr[i], ptr[i + 1]):
            counts[labels[neighbours[k]]] = 0
        after[i] = best


@compiled()
def sort_by_node(own: NDArray[Any], values: NDArray[Any], ptr: NDArray[Any], out: NDArray[Any]) -> None:
    """Sort values by their node, equal ones in the order given.

    Args:
        own: int[k], node of each value, < n.
        values: [k].
        ptr: int64[n+1], zero everywhere; filled: values of node i are `out[ptr[i]:ptr[i+1]]`.
        out: [k], overwritten.
    """
    nodes = ptr.shape[0] - 1
    for k in range(own.shape[0]):
        ptr[own[k]] += 1
    total = 0
    for i in range(nodes + 1):  # the first position of each node, which moves on as its values are placed
        count = ptr[i]
        ptr[i] = total
        total += count
    for k in range(own.shape[0]):
        out[ptr[own[k]]] = values[k]
        ptr[own[k]] += 1
    for i in range(nodes, 0, -1):
        ptr[i] = ptr[i - 1]
    if nodes:
        ptr[0] = 0

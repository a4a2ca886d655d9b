"""Compiled loops that do for many values a node at once what `kernels.pull` does for one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.spark.jit import compiled

_ONE = np.uint64(1)


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
def spread_bits(
    front: NDArray[Any],
    seen: NDArray[Any],
    ptr: NDArray[Any],
    src: NDArray[Any],
    dst: NDArray[Any],
    distance: int,
    after: NDArray[Any],
    harmonic: NDArray[Any],
) -> bool:
    """One step of 64 searches at once, one to a bit; whether any of them reached a node it had not seen.

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
    """Let each node's counter count what those of its sources count, too: the larger of each pair of registers.

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

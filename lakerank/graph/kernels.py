"""The inner loops of the graph algorithms, compiled. Both plans of the native engine run exactly these."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from lakerank.spark.jit import compiled


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
def mark(places: NDArray[Any], offset: int, seen: NDArray[Any]) -> None:
    """Set `seen[places + offset]` to 1 for all places ≥ 0 (int32[rows]; uint8[spread])."""
    for i in range(places.shape[0]):
        if places[i] >= 0:
            seen[places[i] + offset] = 1


@compiled()
def renumber(places: NDArray[Any], offset: int, numbers: NDArray[Any], out: NDArray[Any]) -> None:
    """Fill `out` (int32[rows]) with `numbers[places + offset]` (int32[spread]); −1 where the place is below 0."""
    for i in range(places.shape[0]):
        out[i] = numbers[places[i] + offset] if places[i] >= 0 else -1


@compiled()
def group(
    key: NDArray[Any], shift: int, src: NDArray[Any], column: NDArray[Any], ptr: NDArray[Any], links: NDArray[Any]
) -> tuple[int, int]:
    """Take sorted keys (`column` << `shift` | `src`) apart, repeated ones once.

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
def settle(
    values: NDArray[Any],
    dst: NDArray[Any],
    x: NDArray[Any],
    scale: NDArray[Any],
    teleport: NDArray[Any],
    damping: float,
    dangling: float,
    after: NDArray[Any],
    y: NDArray[Any],
) -> tuple[float, float]:
    """The rest of an iteration, once `values` is what the nodes `dst` receive along links.

    Args:
        values: float64[m].
        dst: uint32[m] or int64[m], each once.
        x: float64[n], ranks before.
        scale: float64[n], 0 marks a dangling node.
        teleport: float64[n], sum 1.
        damping: d.
        dangling: mass of the dangling nodes in `x`.
        after: float64[n], filled with the ranks after.
        y: float64[n], filled with `after · scale`.

    Returns:
        The L1 change, and the mass of the dangling nodes in `after`.
    """
    lift = damping * dangling + (1.0 - damping)
    for i in range(after.shape[0]):
        after[i] = lift * teleport[i]
    for k in range(values.shape[0]):
        after[dst[k]] += damping * values[k]
    change, held = 0.0, 0.0
    for first in range(0, after.shape[0], RUN):
        part_change, part_held = 0.0, 0.0
        for i in range(first, min(first + RUN, after.shape[0])):
            part_change += abs(after[i] - x[i])
            y[i] = after[i] * scale[i]
            if scale[i] == 0.0:
                part_held += after[i]
        change += part_change
        held += part_held
    return change, held

"""Links packed as compressed sparse columns for the native engine. NumPy only, no Spark.

Nodes are numbered 0 … n−1 and dealt out to B blocks like cards: node i is number i // B of block i % B. A
`Block` holds all links that start in one block, sorted by where they go, duplicates gone: 4 bytes a link
(12 with weights) and about 12 a destination. B = 1 is the whole graph.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.graph.kernels import RUN, group, pull

Floats = NDArray[np.float64]
Indexes = NDArray[Any]  # uint32, or int64 where numbers do not fit
_UNIT = np.finfo(np.float64).eps / 2  # largest relative error of one operation


@dataclass(frozen=True)
class Block:
    """Links that start in one block, grouped by destination (s sources, e links, m destinations, B blocks).

    Attributes:
        scale: float64[s]; what a source multiplies its rank with before giving it away: 1 / links, or 1 if
            weighted; 0 marks a dangling node.
        tile: int64[B+1]; destinations of block c are `dst[tile[c]:tile[c+1]]`.
        dst: uint32[m] (int64 beyond 2³² nodes a block); number of the destination within its block.
        ptr: int64[m+1]; links of destination i are `src[ptr[i]:ptr[i+1]]`.
        src: uint32[e] (or int64); number of the source within this block, ascending per destination.
        weight: float64[e], share of the source's rank; empty if unweighted.
    """

    scale: Floats
    tile: Indexes
    dst: Indexes
    ptr: Indexes
    src: Indexes
    weight: Floats

    def __post_init__(self) -> None:
        for field in fields(self):  # one kind of array for the kernel: it would be compiled twice otherwise
            getattr(self, field.name).flags.writeable = False

    @property
    def edges(self) -> int:
        """Number of different links."""
        return len(self.src)

    def propagate(self, x: Floats) -> Floats:
        """Return the mass that each destination receives: float64[m] for the ranks `x` float64[s] of the sources."""
        values = np.empty(len(self.dst))
        y = x * self.scale
        y.flags.writeable = False
        pull(y, self.ptr, self.src, self.weight, values)
        return values

    def dangling_mass(self, x: Floats) -> float:
        """Return the rank held by this block's dangling nodes."""
        return float(x[self.scale == 0].sum())

    def arrays(self) -> dict[str, Any]:
        """Return each array by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to_bytes(self) -> dict[str, bytes]:
        """Return each array as bytes, and the dtypes of those that vary as text, for a table row."""
        kind = {"kind": f"{self.dst.dtype.str} {self.src.dtype.str}".encode()}
        return {name: array.tobytes() for name, array in self.arrays().items()} | kind

    @classmethod
    def from_bytes(cls, row: dict[str, Any]) -> Block:
        """Read what `to_bytes` made; the arrays are views of the given buffers."""
        dst, src = row["kind"].decode().split()
        dtypes = {"scale": "<f8", "tile": "<i8", "dst": dst, "ptr": "<i8", "src": src, "weight": "<f8"}
        return cls(**{name: np.frombuffer(row[name], dtype) for name, dtype in dtypes.items()})


def block_size(nodes: int, blocks: int, block: int) -> int:
    """Return the number of nodes in block `block` of `blocks`."""
    return (nodes - block + blocks - 1) // blocks


def pack(
    src: Indexes,
    dst: Indexes,
    weight: Floats | None,
    *,
    nodes: int,
    blocks: int = 1,
    block: int = 0,
    parallel: bool = False,
) -> Block:
    """Pack one block's links: sort by destination, merge duplicates, and work out each source's shares.

    Args:
        src: int[e], number of the source within `block`.
        dst: int[e], number of the destination in the whole graph, < nodes.
        weight: float64[e], finite and ≥ 0, or None if every link counts the same.
        nodes: nodes of the whole graph.
        blocks: B.
        block: which of them.
        parallel: without weights: links count as often as they are listed, not once.

    Raises:
        ValueError: the block is too large to number its links in 64 bits.
    """
    sources, stripe = block_size(nodes, blocks, block), block_size(nodes, blocks, 0)
    shift = max(sources - 1, 1).bit_length()
    if (blocks * stripe).bit_length() + shift > 63:
        raise ValueError(f"{nodes} nodes in {blocks} blocks: use smaller blocks")
    if weight is not None:
        carries = weight > 0
        src, dst, weight = src[carries], dst[carries], weight[carries]
    # One number per link, so that one sort orders by block of destination, destination and source.
    key = dst.astype(np.int64)
    if blocks > 1:
        key = key % blocks * stripe + key // blocks
    key <<= shift
    key |= src
    share = np.empty(0)
    if weight is None:
        key.sort()
        if parallel:
            key, share = _counted(key)
    else:
        key, share = _merge(key, src, weight, sources)
    origins, column = np.empty(len(key), _index_type(sources)), np.empty(len(key), np.int64)
    ptr, links = np.empty(len(key) + 1, np.int64), np.zeros(sources, np.int64)
    edges, columns = group(key, shift, origins, column, ptr, links)
    del key
    origins, column = origins[:edges], column[:columns].copy()
    if not len(share):
        scale = np.divide(1.0, links, out=np.zeros(sources), where=links > 0)
    else:
        out = np.bincount(origins, weights=share, minlength=sources)
        scale = (out > 0).astype(np.float64)
        share = share / out[origins]
    return Block(
        scale=scale,
        tile=np.searchsorted(column, np.arange(blocks + 1) * stripe).astype(np.int64),
        dst=(column % max(stripe, 1)).astype(_index_type(stripe)),
        ptr=ptr[: columns + 1].copy(),
        src=origins,
        weight=share,
    )


def _index_type(count: int) -> type[np.uint32] | type[np.int64]:
    return np.uint32 if count <= 1 << 32 else np.int64


def _counted(key: Indexes) -> tuple[Indexes, Floats]:
    """Return sorted keys once each and how often each is there; empty if all are there once."""
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1])[: len(key)])
    if len(starts) == len(key):
        return key, np.empty(0)
    return key[starts], np.diff(np.append(starts, len(key))).astype(np.float64)


def _merge(key: Indexes, src: Indexes, weight: Floats, sources: int) -> tuple[Indexes, Floats]:
    """Return sorted distinct keys and the sum of each one's weights, the heaviest of every source scaled to 1.

    The scaling keeps huge weights from overflowing and tiny ones from vanishing when they are added.
    """
    heaviest = np.zeros(sources)
    np.maximum.at(heaviest, src, weight)
    weight = weight / heaviest[src]
    # Equal keys in order of weight: the sum must not depend on the order in which Spark delivered them.
    order = np.lexsort((weight, key))
    key, weight = key[order], weight[order]
    starts = np.append(True, key[1:] != key[:-1])[: len(key)]
    sums = np.add.reduceat(weight, np.flatnonzero(starts)) if len(weight) else weight
    return key[starts], sums


def advance(sums: Floats, x: Floats, teleport: Floats, dangling_mass: float, damping: float) -> tuple[Floats, float]:
    """Compute the next ranks of a block, and their L1 distance from `x`.

    Args:
        sums: float64[s], what each node received along links; used up.
        x: float64[s], the ranks before.
        teleport: float64[s], t.
        dangling_mass: m, of all dangling nodes before.
        damping: d.
    """
    sums *= damping
    sums += (damping * dangling_mass + (1.0 - damping)) * teleport
    return sums, float(np.abs(sums - x).sum())


def rounding(block: Block, x: Floats, flow: Floats, parts: int = 1) -> float:
    """Bound how far (L1) rounding moved one iteration's outcome, first order in the unit of rounding.

    A sum of k numbers ≥ 0 is off by at most its value times k − 1 units (N. J. Higham, *Accuracy and Stability of
    Numerical Algorithms*, 2nd ed., SIAM 2002, section 4.2); shares, products and the lift add some more each.

    Args:
        block: the links.
        x: float64[s], the ranks that were passed along.
        flow: float64[m], `block.propagate(x)`.
        parts: in how many parts a node receives.
    """
    each = np.diff(block.ptr) + (parts + 10)
    if len(block.weight):  # shares were divided by sums of as many weights as a source has links
        each = each + int(np.bincount(block.src).max(initial=0))
    long_sum = RUN + len(x) // RUN  # the mass of dangling nodes
    return float(_UNIT * ((each * flow).sum() + long_sum * x.sum()))

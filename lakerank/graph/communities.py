"""Compute how nodes hang together: weakly connected components, communities, degrees. NumPy only, no Spark.

Weakly connected components: nodes that are linked, in whatever direction and over however many others. Each is named
after its least node. Links are united one after another in a forest (`kernels.unite`), so a component's nodes need no
more than the links of one tree: whatever part of the links a worker sees, it passes on as many links as nodes at most.

Communities by label propagation: every node begins with a label of its own, and in each iteration all nodes at once
take the label that most of their neighbours have. U. N. Raghavan, R. Albert, S. Kumara, "Near linear time algorithm to
detect community structures in large-scale networks", Physical Review E 76 (2007), in the form of LDBC Graphalytics (A.
Iosup and others, VLDB 2016), which makes it repeatable: the source and the destination of each link are neighbours of
each other (who link to each other are so twice), and of labels that are equally frequent the smallest is taken. Where
two sides of a graph exchange labels for ever, the second time round ends it.

Links count once however often they are listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.graph.csr_block import Indexes, block_size
from lakerank.graph.kernels import flatten, most_frequent, sort_by_node, unite

Numbers = NDArray[Any]  # int32 or int64
_MOST_UNUSED = 4  # a table over all labels up to the greatest may be so many times as long as there are labels


def components(src: Numbers, dst: Numbers, nodes: int) -> Numbers:
    """Return the least node of each node's weakly connected component, int[n].

    Args:
        src: int[e], < nodes.
        dst: int[e].
        nodes: n.
    """
    parent = np.arange(nodes, dtype=np.int32 if nodes < 1 << 31 else np.int64)
    unite(src, dst, parent)
    flatten(parent)
    return parent


@dataclass(frozen=True)
class Adjacency:
    """Hold who is whose neighbour, of the nodes of one block (n of them, k neighbourships, B blocks).

    Attributes:
        ptr: int64[n+1]; neighbours of node i are `neighbours[ptr[i]:ptr[i+1]]`.
        neighbours: uint32[k] or int64[k], positions among all different neighbours that the block's nodes have, which
            come in order of block and number.
        wanted: int64[B+1]; those in block c are at positions `wanted[c]` to `wanted[c+1]`.
        given: uint32[g] or int64[g]; `given[give[c]:give[c+1]]` are the block's own nodes with a neighbour in block c,
            ascending: just those that block c wants.
        give: int64[B+1].
        links: int64[1], different links that begin here.
    """

    ptr: Indexes
    neighbours: Indexes
    wanted: Indexes
    given: Indexes
    give: Indexes
    links: Indexes

    def __post_init__(self) -> None:
        for array in self.arrays().values():  # one kind of array for the kernel: it would be compiled twice otherwise
            array.flags.writeable = False

    def arrays(self) -> dict[str, Any]:
        """Return each array by its name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def next_labels(self, labels: Numbers, own: Numbers) -> Numbers:
        """Return the label that most neighbours of each node have, int[n].

        Args:
            labels: int[m], of the block's different neighbours.
            own: int[n], of the nodes themselves.
        """
        after = np.empty(len(own), np.int64)
        greatest = max(int(own.max(initial=0)), int(labels.max(initial=0)))
        if greatest < _MOST_UNUSED * (len(own) + len(labels)):
            most_frequent(self.ptr, self.neighbours, labels, own, np.zeros(greatest + 1, np.int32), after)
            return after
        every, positions = np.unique(np.concatenate([own, labels]), return_inverse=True)
        numbers, counts = positions.astype(np.int64), np.zeros(len(every), np.int32)
        most_frequent(self.ptr, self.neighbours, numbers[len(own) :], numbers[: len(own)], counts, after)
        return every[after]


def adjacency(
    own: Numbers, other: Numbers, starts: Numbers, *, nodes: int, blocks: int = 1, block: int = 0
) -> Adjacency:
    """Pack the neighbourships of one block's nodes; repeated links count once.

    Args:
        own: int[e], number of a node within the block.
        other: int[e], number of its neighbour in the whole graph.
        starts: bool[e], whether the link leads from the node to its neighbour; else the other way.
        nodes: n of the whole graph.
        blocks: B.
        block: which of them.

    Raises:
        ValueError: the block is too large to number its links in 64 bits.
    """
    size, stripe = block_size(nodes, blocks, block), max(block_size(nodes, blocks, 0), 1)
    if (blocks * stripe).bit_length() + max(size, 1).bit_length() + 1 > 63:
        raise ValueError(f"{nodes} nodes in {blocks} blocks: use smaller blocks")
    place = other.astype(np.int64)
    if blocks > 1:  # in order of block
        place = place % blocks * stripe + place // blocks
    key = _distinct((place * max(size, 1) + own) * 2 + starts)
    links = np.array([int((key & 1).sum())])
    key >>= 1
    place, own = key // max(size, 1), key % max(size, 1)
    del key
    first = np.append(True, place[1:] != place[:-1])[: len(place)]  # they are sorted
    different, number = place[first], np.cumsum(first) - 1
    ptr, neighbours = np.zeros(size + 1, np.int64), np.empty(len(own), _index_type(len(different)))
    sort_by_node(own, number, ptr, neighbours)
    pairs = _distinct(place // stripe * max(size, 1) + own)
    return Adjacency(
        ptr=ptr,
        neighbours=neighbours,
        wanted=np.searchsorted(different, np.arange(blocks + 1) * stripe).astype(np.int64),
        given=(pairs % max(size, 1)).astype(_index_type(size)),
        give=np.searchsorted(pairs, np.arange(blocks + 1) * max(size, 1)).astype(np.int64),
        links=links,
    )


def _distinct(key: Numbers) -> Numbers:
    """Return the different numbers of int64[e], ascending; `key` is used up."""
    key.sort()  # np.unique hashes, which took 100 times as long
    distinct: Numbers = key[np.append(True, key[1:] != key[:-1])[: len(key)]]
    return distinct


def _index_type(count: int) -> type[np.uint32] | type[np.int64]:
    return np.uint32 if count <= 1 << 32 else np.int64


@dataclass(frozen=True)
class Labels:
    """Hold the communities of n nodes.

    Attributes:
        labels: int[n], a node of its community.
        iterations: how many were done.
        changed: nodes whose label the last one changed; 0 unless sides exchange labels, or `max_iter` was not enough.
    """

    labels: Numbers
    iterations: int
    changed: int


def propagate_labels(src: Numbers, dst: Numbers, nodes: int, max_iter: int) -> Labels:
    """Compute the communities of a graph.

    Args:
        src: int[e], < nodes.
        dst: int[e].
        nodes: n.
        max_iter: stop after so many iterations at the latest.
    """
    whole = adjacency(
        np.concatenate([src, dst]), np.concatenate([dst, src]), np.arange(2 * len(src)) < len(src), nodes=nodes
    )
    linked = np.flatnonzero(np.bincount(np.concatenate([src, dst]), minlength=nodes))
    labels = before = np.arange(nodes, dtype=np.int64)
    for iteration in range(1, max_iter + 1):
        after = whole.next_labels(labels[linked], labels)
        changed, back = int((after != labels).sum()), bool((after == before).all())
        before, labels = labels, after
        if not changed or (back and iteration > 1):
            break
    return Labels(labels, iteration, changed)


@dataclass(frozen=True)
class Degrees:
    """Hold the degrees of n nodes.

    Attributes:
        incoming: int64[n], different nodes that link to the node, itself among them if it does.
        outgoing: int64[n], different nodes that it links to, likewise.
        mutual: int64[n], different other nodes that it links to and that link to it.
    """

    incoming: Numbers
    outgoing: Numbers
    mutual: Numbers


def count_neighbours(src: Numbers, dst: Numbers, nodes: int) -> Degrees:
    """Count the different neighbours of each node.

    Args:
        src: int[e], < nodes.
        dst: int[e].
        nodes: n.
    """
    key = _distinct(src.astype(np.int64) * nodes + dst)
    src, dst = key // max(nodes, 1), key % max(nodes, 1)
    others = src != dst
    both = np.concatenate([key[others], dst[others] * nodes + src[others]])
    both.sort()  # links in both directions are there twice
    mutual = both[1:][both[1:] == both[:-1]] // max(nodes, 1)
    return Degrees(*(np.bincount(ends, minlength=nodes) for ends in (dst, src, mutual)))

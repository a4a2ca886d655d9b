"""A whole graph in one worker: links as arrays, and what else was said about its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.graph.arrays import Floats
from lakerank.graph.base import Graph
from lakerank.graph.csr_block import Block, pack
from lakerank.graph.encode_ids import gather

Places = NDArray[np.int32]


class UnknownId(Exception):
    """A teleport id is no node of the graph: the id."""


class NoTeleport(Exception):
    """No teleport id has a weight above 0."""


def incidence(graph: Graph) -> DataFrame:
    """All rows in one frame: links have a `dst`; nodes have none; teleport rows have a weight, too; ranks to start
    with have a negative one."""
    none, nothing = F.lit(None).cast("double").alias("weight"), F.lit(None).cast(graph.id_type).alias("dst")
    rows = graph.edges.select("src", "dst", F.col("weight") if graph.weighted else none)
    if graph.nodes is not None:
        rows = rows.union(graph.nodes.select("id", nothing, none))
    if graph.teleport is not None:
        rows = rows.union(graph.teleport.select("id", nothing, "weight"))
    if graph.start is not None:
        rows = rows.union(graph.start.where("pagerank > 0").select("id", nothing, (-F.col("pagerank")).alias("weight")))
    return rows


@dataclass(frozen=True)
class Loaded:
    """n nodes and e rows of links.

    Attributes:
        ids: the nodes' ids, sorted; node i below is the i-th of them.
        src: int32[e].
        dst: int32[e].
        weight: float64[e], ≥ 0; empty if links count alike.
        jump: int32[t], nodes where the surfer starts afresh.
        jump_weight: float64[t], ≥ 0.
        start: float64[n], ranks to begin with, 0 where none are known; empty if none were given.
    """

    ids: pa.Array
    src: Places
    dst: Places
    weight: Floats
    jump: Places
    jump_weight: Floats
    start: Floats

    @property
    def nodes(self) -> int:
        """n."""
        return len(self.ids)

    @cached_property
    def order(self) -> Places:
        """int32[n]: a new number for each node, those with most links first, so that the ranks that an iteration
        asks for most often lie side by side."""
        place = np.empty(self.nodes, np.int32)
        most_first = np.argsort(-np.bincount(self.src, minlength=self.nodes), kind="stable")
        place[most_first] = np.arange(self.nodes, dtype=np.int32)
        return place

    def block(self) -> Block:
        """The links in one block, nodes numbered by `order`."""
        weight = self.weight if len(self.weight) else None
        return pack(self.order[self.src], self.order[self.dst], weight, nodes=self.nodes)

    def teleport(self) -> Floats:
        """float64[n], sum 1.

        Raises:
            NoTeleport: no weight is above 0.
        """
        share = _sums(self.jump, _unit(self.jump_weight), self.nodes)
        if not share.sum() > 0:
            raise NoTeleport
        share /= share.sum()
        return share

    def begin(self, teleport: Floats, damping: float) -> Floats:
        """float64[n], sum 1: the ranks given to begin with, and for new nodes what fresh starts give them."""
        x: Floats = np.where(self.start > 0, self.start, (1 - damping) * teleport)
        total = float(x.sum())
        if not total > 0:
            return teleport
        x /= total
        return x


def load(batches: Iterator[pa.RecordBatch], weighted: bool, teleported: bool) -> Loaded:
    """Tell links, nodes, teleport rows and earlier ranks apart.

    Args:
        batches: chunks of `incidence`.
        weighted: whether the weights of links count.
        teleported: whether there are teleport rows.

    Raises:
        UnknownId: a teleport id is no node.
    """
    ids, src, dst, weight = gather(batches)
    link = dst >= 0
    if link.all() and not teleported:
        return Loaded(ids, src, dst, weight if weighted else np.empty(0), src[:0], np.empty(0), np.empty(0))
    jump, begin = (~link & (weight >= 0), weight < 0) if len(weight) else (np.zeros(len(src), bool),) * 2
    start = np.empty(0)
    if teleported or begin.any():
        known = np.zeros(len(ids), bool)
        known[dst[link]] = True
        known[src[~jump & ~begin]] = True
        for number in src[jump][~known[src[jump]]][:1]:
            raise UnknownId(ids[int(number)].as_py())
        if begin.any():
            start = _sums(src[begin], -weight[begin], len(ids))[known]
        if not known.all():  # nodes of yesterday
            number = np.cumsum(known, dtype=np.int32) - np.int32(1)
            ids, src, dst = ids.filter(pa.array(known)), number[src], number[dst]
    jumping = (src[jump], weight[jump] if len(weight) else np.empty(0))
    if not link.all():
        src, dst, weight = src[link], dst[link], weight[link] if len(weight) else weight
    return Loaded(ids, src, dst, weight if weighted else np.empty(0), *jumping, start)


def _unit(weight: Floats) -> Floats:
    """Weights with the largest scaled to 1, so that sums cannot overflow."""
    top = weight.max(initial=0.0)
    return weight / top if top > 0 else weight


def _sums(places: Places, values: Floats, nodes: int) -> Floats:
    """float64[n]: the sum of each node's values."""
    sums: Floats = np.bincount(places, weights=values, minlength=nodes).astype(np.float64)
    return sums

"""A whole graph in one process: links as arrays, and what else was said about its nodes.

`incidence` puts all inputs into one frame of rows, `arrow_incidence` does so with Arrow tables; `encode_ids` turns
either into chunks, from which `load` makes a `LocalGraph`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.graph.base import Graph
from lakerank.graph.csr_block import Block, Floats, pack
from lakerank.graph.encode_ids import NodeNumbers, gather

_BATCH_ROWS = 1 << 20


class UnknownId(Exception):
    """A teleport id is no node of the graph: the id."""


class NoTeleport(Exception):
    """No teleport id has a weight above 0."""


@dataclass(frozen=True)
class ArrowGraph:
    """Hold a graph as Arrow tables, ids all int64 or all string, nothing null or empty, weights finite and ≥ 0.

    The same as `Graph`, for those who have no need of Spark.

    Attributes:
        edges: `src`, `dst`, and `weight` float64 if weighted.
        nodes: `id`; nodes to rank even if no link touches them.
        teleport: `id`, `weight` float64.
        warm_start: `id`, `pagerank` float64: ranks to begin with.
        weighted: whether weights count.
    """

    edges: pa.Table
    nodes: pa.Table | None = None
    teleport: pa.Table | None = None
    warm_start: pa.Table | None = None
    weighted: bool = False


def incidence(graph: Graph) -> DataFrame:
    """Return all rows in one frame: links have a `dst`; nodes have none; teleport rows have a weight, too; ranks to
    start with have a negative one."""
    none, nothing = F.lit(None).cast("double").alias("weight"), F.lit(None).cast(graph.id_type).alias("dst")
    rows = graph.edges.select("src", "dst", F.col("weight") if graph.weighted else none)
    if graph.nodes is not None:
        rows = rows.union(graph.nodes.select("id", nothing, none))
    if graph.teleport is not None:
        rows = rows.union(graph.teleport.select("id", nothing, "weight"))
    if graph.warm_start is not None:
        ranked = graph.warm_start.where("pagerank > 0")
        rows = rows.union(ranked.select("id", nothing, (-F.col("pagerank")).alias("weight")))
    return rows


def arrow_incidence(graph: ArrowGraph) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `incidence` for a graph in Arrow tables, a million at a time.

    Beside `incidence` and not in its place, because Spark unites frames lazily and on its workers.
    """
    id_type = graph.edges.schema.field("src").type

    def batches(table: pa.Table, src: str, dst: str = "", weight: str = "") -> Iterator[pa.RecordBatch]:
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            n = batch.num_rows
            ends = [batch.column(src), batch.column(dst) if dst else pa.nulls(n, id_type)]
            ends.append(batch.column(weight) if weight else pa.nulls(n, pa.float64()))
            yield pa.record_batch(ends, names=["src", "dst", "weight"])

    yield from batches(graph.edges, "src", "dst", "weight" if graph.weighted else "")
    if graph.nodes is not None:
        yield from batches(graph.nodes, "id")
    if graph.teleport is not None:
        yield from batches(graph.teleport, "id", weight="weight")
    if graph.warm_start is not None:
        ranked = graph.warm_start.filter(pc.greater(graph.warm_start.column("pagerank"), 0.0))
        negative = pc.negate(ranked.column("pagerank"))
        yield from batches(pa.table({"id": ranked.column("id"), "negative": negative}), "id", weight="negative")


@dataclass(frozen=True)
class LocalGraph:
    """Hold n nodes and e rows of links as arrays.

    Attributes:
        ids: the nodes' ids, sorted; node i below is the i-th of them.
        src: int32[e].
        dst: int32[e].
        weight: float64[e], ≥ 0; empty if links count alike.
        teleport_nodes: int32[t], nodes where the surfer starts afresh.
        teleport_weight: float64[t], ≥ 0.
        warm_start: float64[n], ranks to begin with, 0 where none are known; empty if none were given.
    """

    ids: pa.Array
    src: NodeNumbers
    dst: NodeNumbers
    weight: Floats
    teleport_nodes: NodeNumbers
    teleport_weight: Floats
    warm_start: Floats

    @property
    def nodes(self) -> int:
        """The number of nodes, n."""
        return len(self.ids)

    @cached_property
    def order(self) -> NodeNumbers:
        """A new number for each node, int32[n], those with most links first, so that the ranks that an iteration
        asks for most often lie side by side."""
        order = np.empty(self.nodes, np.int32)
        most_first = np.argsort(-np.bincount(self.src, minlength=self.nodes), kind="stable")
        order[most_first] = np.arange(self.nodes, dtype=np.int32)
        return order

    def block(self, parallel: bool = False) -> Block:
        """Pack the links into one block, nodes numbered by `order`; `parallel` as in `pack`."""
        weight = self.weight if len(self.weight) else None
        return pack(self.order[self.src], self.order[self.dst], weight, nodes=self.nodes, parallel=parallel)

    def teleport_vector(self) -> Floats:
        """Return the teleport vector, where the surfer starts afresh: float64[n], sum 1.

        Raises:
            NoTeleport: no weight is above 0.
        """
        share = _sums(self.teleport_nodes, _largest_one(self.teleport_weight), self.nodes)
        if not share.sum() > 0:
            raise NoTeleport
        share /= share.sum()
        return share

    def first_ranks(self, teleport: Floats, damping: float) -> Floats:
        """Return the ranks given to begin with, and for new nodes what fresh starts give them: float64[n], sum 1."""
        x: Floats = np.where(self.warm_start > 0, self.warm_start, (1 - damping) * teleport)
        total = float(x.sum())
        if not total > 0:
            return teleport
        x /= total
        return x


def load(batches: Iterator[pa.RecordBatch], weighted: bool, teleported: bool) -> LocalGraph:
    """Join chunks of `incidence`, and tell links, nodes, teleport rows and earlier ranks apart.

    Args:
        batches: chunks (`encode_ids.to_chunks`).
        weighted: whether the weights of links count.
        teleported: whether there are teleport rows.

    Raises:
        UnknownId: a teleport id is no node.
    """
    ids, src, dst, weight = gather(batches)
    link = dst >= 0
    if link.all() and not teleported:
        return LocalGraph(ids, src, dst, weight if weighted else np.empty(0), src[:0], np.empty(0), np.empty(0))
    teleport, ranked = (~link & (weight >= 0), weight < 0) if len(weight) else (np.zeros(len(src), bool),) * 2
    warm_start = np.empty(0)
    if teleported or ranked.any():
        known = np.zeros(len(ids), bool)
        known[dst[link]] = True
        known[src[~teleport & ~ranked]] = True
        for number in src[teleport][~known[src[teleport]]][:1]:
            raise UnknownId(ids[int(number)].as_py())
        if ranked.any():
            warm_start = _sums(src[ranked], -weight[ranked], len(ids))[known]
        if not known.all():  # nodes of yesterday
            number = np.cumsum(known, dtype=np.int32) - np.int32(1)
            ids, src, dst = ids.filter(pa.array(known)), number[src], number[dst]
    starts = (src[teleport], weight[teleport] if len(weight) else np.empty(0))
    if not link.all():
        src, dst, weight = src[link], dst[link], weight[link] if len(weight) else weight
    return LocalGraph(ids, src, dst, weight if weighted else np.empty(0), *starts, warm_start)


def plain_ids(ids: pa.Array) -> pa.Array:
    """Return ids as they leave a worker: int64, or string with 32-bit offsets."""
    return ids if pa.types.is_integer(ids.type) else ids.cast(pa.string())


def _largest_one(weight: Floats) -> Floats:
    """Scale weights so that the largest is 1 and sums cannot overflow."""
    top = weight.max(initial=0.0)
    return weight / top if top > 0 else weight


def _sums(numbers: NodeNumbers, values: Floats, nodes: int) -> Floats:
    """Return the sum of each node's values, float64[n]."""
    sums: Floats = np.bincount(numbers, weights=values, minlength=nodes).astype(np.float64)
    return sums

"""PageRank of a graph too large for one worker: one Spark job per iteration.

Blocks of links stay where they were packed; what travels are messages: for each pair of blocks the ranks that
flow between them (12 bytes for each destination, or 8 for each node where that is less), and each block's own
ranks. A worker holds one block, its nodes' ranks and its messages, never the whole rank vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import fsum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from lakerank.cli.progress import progress
from lakerank.graph.base import Graph, PageRankConfig, RankResult, no_nodes, no_teleport, peak_mib, unknown_teleport
from lakerank.graph.csr_block import Block, Floats, advance, block_size, pack, rounding
from lakerank.graph.iterate import Convergence, StoppingRule
from lakerank.spark.array_cache import common_folder
from lakerank.spark.array_store import BlockStore
from lakerank.spark.checkpoint import checkpoint
from lakerank.spark.dense_ids import dense_index

_PARTS = ("scale", "tile", "dst", "ptr", "src", "weight", "kind")
_BLOCK = "block int, edges bigint, folder string, " + ", ".join(f"{name} binary" for name in _PARTS)
_BLOCK_ARROW = pa.schema(
    [("block", pa.int32()), ("edges", pa.int64()), ("folder", pa.string()), *((p, pa.binary()) for p in _PARTS)]
)

# Messages to `block`. From another block (or itself) `origin`: `values` for the destinations `at` (empty: for all,
# in order) and the mass `dangling` that the origin's dangling nodes hold. From STATE: the block's own ranks
# `values` (empty: those of the teleport vector) and teleport shares `at` (empty: uniform), their last L1 change
# `delta` and their `change` as the stopping rule measures it, how much rounding moved what was sent (`rounding`),
# and the memory of the worker.
STATE = -1
_NUMBERS = ("dangling", "delta", "change", "rounding", "worker_mib")
MESSAGES = "block int, origin int, at binary, values binary, " + ", ".join(f"{name} double" for name in _NUMBERS)
_MESSAGES_ARROW = pa.schema(
    [
        ("block", pa.int32()),
        ("origin", pa.int32()),
        ("at", pa.binary()),
        ("values", pa.binary()),
        *((name, pa.float64()) for name in _NUMBERS),
    ]
)


def run(graph: Graph, config: PageRankConfig) -> RankResult:
    """Compute PageRank with the links spread over the cluster.

    Raises:
        UserError: no nodes, a teleport id that is no node, or a teleport vector without weight.
    """
    rows = graph.rows if graph.rows is not None else graph.edges.count()
    # Odd: ids often have a structure of powers of two, and would not be dealt evenly otherwise.
    blocks = -(-rows // config.block_edges) | 1
    numbered, nodes, least = number_nodes(graph, config.scratch)
    if not nodes:
        raise no_nodes()
    with common_folder(graph.edges.sparkSession) as folder:
        return _ranked(graph, config, numbered, nodes, least, blocks, folder)


def _ranked(
    graph: Graph, config: PageRankConfig, numbered: DataFrame, nodes: int, least: int | None, blocks: int, folder: str
) -> RankResult:
    packed = pack_blocks(graph, numbered, nodes, blocks, config.scratch, least, folder)
    messages = first_messages(graph, numbered, nodes, blocks, config.damping)
    convergence = Convergence(config.rule, config.max_iter)
    dangling_mass = rounded = last_rounded = most = 0.0
    with progress(config.max_iter, "pagerank", "iteration") as meter:
        # The first delivery starts the ranks; each later one is an iteration.
        for number in range(config.max_iter + 1):
            sent = exchange(packed, messages, nodes, blocks, config.damping, config.rule)
            messages, total = _deliver(sent, config)
            most = max(most, total.worker_mib)
            if number:
                last_rounded = rounded
                meter.set_postfix(l1_delta=f"{total.delta:.1e}")
                meter.update(1)
                if convergence.stops(total.change, total.delta, dangling_mass):
                    break
            dangling_mass, rounded = total.dangling, total.rounding
    edges = packed.agg(F.sum("edges")).collect()[0][0]
    unpack = partial(_flat_ranks, blocks=blocks)
    flat = messages.where(F.col("origin") == STATE).mapInArrow(unpack, "number bigint, pagerank double")
    if least is None:
        ranks = numbered.join(flat, "number").select("id", "pagerank")
    else:
        ranks = flat.select((F.col("number") + least).alias("id"), "pagerank")
    name = f"native, distributed over {blocks} block{'s' if blocks > 1 else ''}"
    history, converged = convergence.history, convergence.converged
    return RankResult(ranks, len(history), history, nodes, edges, name, converged, last_rounded, most)


def number_nodes(graph: Graph, scratch: str) -> tuple[DataFrame, int, int | None]:
    """Return `id`, `number` 0 … n − 1 in order of id; n; and the least id if ids are whole numbers without a gap.

    Then a node's number is its distance from there, and finding it moves no link.
    """
    if graph.id_type != "string" and (ends := _ends(graph)) is not None:
        least, greatest, rows = ends
        if greatest - least < 2 * rows and (nodes := graph.ids.count()) == greatest - least + 1:
            number = F.col("id").alias("number")
            return graph.edges.sparkSession.range(nodes).select((number + least).alias("id"), number), nodes, least
    numbered, nodes = dense_index(graph.ids, scratch)
    return numbered.withColumnRenamed("ix", "number"), nodes, None


def _ends(graph: Graph) -> tuple[int, int, int] | None:
    """Return the least and the greatest id, and how many rows there are; None if there is none."""
    frames = [graph.edges] if graph.nodes is None else [graph.edges, graph.nodes]
    found = []
    for frame in frames:
        ids = [name for name in ("src", "dst", "id") if name in frame.columns]
        sides = [function(name) for name in ids for function in (F.min, F.max)]
        row = frame.agg(F.array_min(F.array(*sides)), F.array_max(F.array(*sides)), F.count("*")).collect()[0]
        if row[2]:
            found.append(row)
    if not found:
        return None
    return min(row[0] for row in found), max(row[1] for row in found), sum(row[2] for row in found)


def pack_blocks(
    graph: Graph,
    numbered: DataFrame,
    nodes: int,
    blocks: int,
    scratch: str = "",
    least: int | None = None,
    folder: str = "",
) -> DataFrame:
    """Pack the links, one `Block` per row: `block` int, `edges` bigint and the arrays as bytes; block b lies in
    partition b and Spark knows it, so that no iteration moves it again.

    Args:
        graph: the links.
        numbered: `id`, `number`.
        nodes: n.
        blocks: B.
        scratch: see `lakerank.spark.checkpoint`.
        least: the least id, if numbers are distances from there.
        folder: keep the arrays in files here, and only the folder in the row, so that no iteration hands them to
            Python; empty: keep them in the row.
    """
    weight = F.col("weight") if graph.weighted else F.lit(None).cast("double").alias("weight")
    if least is None:
        sources = numbered.select(F.col("id").alias("src"), F.col("number").alias("s"))
        targets = numbered.select(F.col("id").alias("dst"), F.col("number").alias("d"))
        links = graph.edges.select("src", "dst", weight).join(sources, "src").join(targets, "dst")
    else:
        numbers = (F.col("src") - least).alias("s"), (F.col("dst") - least).alias("d")
        links = graph.edges.select(*numbers, weight)
    rows = links.select(
        (F.col("s") % blocks).cast("int").alias("block"),
        F.expr(f"s div {blocks}").alias("s"),
        "d",
        "weight",
    )
    empty = graph.edges.sparkSession.range(blocks).select(  # a block without any link is a block, too
        F.col("id").cast("int").alias("block"),
        F.lit(None).cast("bigint").alias("s"),
        F.lit(None).cast("bigint").alias("d"),
        F.lit(None).cast("double").alias("weight"),
    )
    kinds = {"weighted": graph.weighted, "parallel": graph.parallel}  # what goes to the workers must not hold a frame
    # A lambda, because applyInArrow fails on a `partial`, whose type hints it cannot read.
    packed = (
        rows.union(empty)
        .repartitionById(blocks, "block")
        .groupBy("block")
        .applyInArrow(lambda t: _pack_group(t, nodes=nodes, blocks=blocks, folder=folder, **kinds), _BLOCK)
        .repartitionById(blocks, "block")
    )
    return checkpoint_partitioned(packed, scratch)


def checkpoint_partitioned(df: DataFrame, scratch: str) -> DataFrame:
    """Cut the lineage so that Spark remembers how rows are partitioned: under adaptive execution it forgets."""
    conf = df.sparkSession.conf
    adaptive = conf.get("spark.sql.adaptive.enabled") or "true"
    conf.set("spark.sql.adaptive.enabled", "false")
    try:
        return checkpoint(df, scratch)
    finally:
        conf.set("spark.sql.adaptive.enabled", adaptive)


def _pack_group(
    table: pa.Table, *, nodes: int, blocks: int, weighted: bool, parallel: bool = False, folder: str = ""
) -> pa.Table:
    number = table.column("block")[0].as_py()
    table = table.filter(pc.is_valid(table.column("s")))
    s, d = table.column("s").to_numpy(), table.column("d").to_numpy()
    weight = table.column("weight").to_numpy() if weighted else None
    block = pack(s, d, weight, nodes=nodes, blocks=blocks, block=number, parallel=parallel)
    row = {"block": number, "edges": block.edges}
    if folder:
        BlockStore(folder).put(str(number), block.arrays())
        return pa.Table.from_pylist([row | {"folder": folder}], schema=_BLOCK_ARROW)
    return pa.Table.from_pylist([row | block.to_bytes()], schema=_BLOCK_ARROW)


def _unpacked(row: Mapping[str, Any]) -> Block:
    return Block(**BlockStore(row["folder"]).get(str(row["block"]))) if row["folder"] else Block.from_bytes(dict(row))


def first_messages(graph: Graph, numbered: DataFrame, nodes: int, blocks: int, damping: float) -> DataFrame:
    """Return a state for each block: its part of the teleport vector and of the ranks to begin with, if given."""
    spark = numbered.sparkSession
    if graph.teleport is None and graph.warm_start is None:
        return spark.createDataFrame([state(block) for block in range(blocks)], MESSAGES)
    uniform = F.lit(1.0 / nodes)
    first = numbered.withColumn("share", uniform)
    if graph.teleport is not None:
        first = numbered.join(_teleport_shares(graph.teleport, numbered), "id", "left")
    share = F.coalesce(F.col("share"), F.lit(0.0))
    rank = F.lit(None).cast("double")
    if graph.warm_start is not None:
        known = graph.warm_start.where("pagerank > 0").select("id", F.col("pagerank").alias("rank"))
        first = first.join(known, "id", "left")
        rank = F.coalesce(F.col("rank"), (1 - damping) * share)
    rows_of = first.select(
        (F.col("number") % blocks).cast("int").alias("block"), "number", share.alias("share"), rank.alias("rank")
    )
    # Every block gets a row of number −1, so that none lacks its state.
    nobody = F.lit(-1).cast("bigint"), F.lit(0.0), F.lit(0.0)
    rows_of = rows_of.union(spark.range(blocks).select(F.col("id").cast("int"), *nobody))
    total = 1.0
    if graph.warm_start is not None:
        total = fsum(row["rank"] for row in rows_of.groupBy("block").agg(F.sum("rank").alias("rank")).collect())
    teleported, start_total = graph.teleport is not None, total if graph.warm_start is not None and total > 0 else 0.0
    return rows_of.groupBy("block").applyInArrow(
        lambda t: _first_state(t, nodes=nodes, blocks=blocks, teleported=teleported, total=start_total), MESSAGES
    )


def _teleport_shares(teleport: DataFrame, numbered: DataFrame) -> DataFrame:
    """Return `id`, `share`: the teleport vector, sum 1.

    Raises:
        UserError: an id is no node, or no weight is above 0.
    """
    shares = teleport.groupBy("id").agg(F.sum("weight").alias("weight"))
    unknown = shares.join(numbered, "id", "left_anti").orderBy("id").head(1)
    if unknown:
        raise unknown_teleport(unknown[0]["id"])
    top = shares.agg(F.max("weight")).collect()[0][0]
    if not top:
        raise no_teleport()
    scaled = shares.select("id", (F.col("weight") / top).alias("weight"))
    total = scaled.agg(F.sum("weight")).collect()[0][0]
    return scaled.select("id", (F.col("weight") / total).alias("share"))


def _first_state(table: pa.Table, *, nodes: int, blocks: int, teleported: bool, total: float) -> pa.Table:
    block = table.column("block")[0].as_py()
    table = table.filter(pc.greater_equal(table.column("number"), 0))
    local = table.column("number").to_numpy() // blocks
    share, rank = np.zeros(block_size(nodes, blocks, block)), np.zeros(block_size(nodes, blocks, block))
    share[local] = table.column("share").to_numpy()
    if total:
        rank[local] = table.column("rank").to_numpy()
        rank /= total
    at, values = share.tobytes() if teleported else b"", rank.tobytes() if total else b""
    return message_table([state(block, at, values)])


def state(block: int, teleport: bytes = b"", ranks: bytes = b"") -> tuple[Any, ...]:
    """Return the message that starts a block: its teleport shares (empty: uniform) and ranks (empty: those shares)."""
    return block, STATE, teleport, ranks, *([0.0] * len(_NUMBERS))


def message_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Return rows of `MESSAGES`, each with all its columns, as an Arrow table."""
    names = _MESSAGES_ARROW.names
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=_MESSAGES_ARROW)


def exchange(
    packed: DataFrame, messages: DataFrame, nodes: int, blocks: int, damping: float, rule: StoppingRule
) -> DataFrame:
    """Deliver messages once and let the blocks answer. Only messages are moved; `packed` stays where it is."""
    delivered = messages.repartitionById(blocks, "block").groupBy("block")
    return (
        packed.groupBy("block")
        .cogroup(delivered)
        .applyInArrow(lambda p, m: step(p, m, nodes=nodes, blocks=blocks, damping=damping, rule=rule), MESSAGES)
    )


@dataclass(frozen=True)
class _Total:
    """All blocks' states together: L1 change, that of the stopping rule, dangling mass, rounding, most MiB."""

    delta: float
    change: float
    dangling: float
    rounding: float
    worker_mib: float


def _deliver(messages: DataFrame, config: PageRankConfig) -> tuple[DataFrame, _Total]:
    """Compute the messages, and add up the states among them."""
    seen = Observation()  # rides along with the one job; a second one to read a few numbers costs 0.2 s
    numbers = F.when(F.col("origin") == STATE, F.struct(*_NUMBERS))
    sent = checkpoint(messages.observe(seen, F.collect_list(numbers).alias("states")), config.scratch)
    states = seen.get.get("states")
    if states is None:  # Connect does not pass on what a checkpoint observed
        states = sent.where(F.col("origin") == STATE).select(*_NUMBERS).collect()
    delta, dangling, rounded = (fsum(row[name] for row in states) for name in ("delta", "dangling", "rounding"))
    change = config.rule.combine([row["change"] for row in states])
    return sent, _Total(delta, change, dangling, rounded, max(row["worker_mib"] for row in states))


def step(
    packed: pa.Table, messages: pa.Table, *, nodes: int, blocks: int, damping: float, rule: StoppingRule
) -> pa.Table:
    """Do one block's part of one iteration: read its messages, update its ranks, write those for the next.

    Args:
        packed: one row, as `pack_blocks` makes it.
        messages: all to this block, among them one row from STATE.
        nodes: n.
        blocks: B.
        damping: d.
        rule: how to measure the change of the ranks.

    Returns:
        Messages: a row for STATE, and one for each block.
    """
    row = packed.to_pylist()[0]
    number, block = row["block"], _unpacked(row)
    size = block_size(nodes, blocks, number)
    # In order of origin: the sum must not depend on the order of arrival.
    own, *others = sorted(messages.to_pylist(), key=lambda message: message["origin"])
    teleport = np.frombuffer(own["at"]) if own["at"] else np.full(size, 1.0 / nodes)
    x = np.frombuffer(own["values"]) if own["values"] else teleport
    delta = change = 0.0
    if others:  # not the first delivery
        sums = np.zeros(size)
        for message in others:
            values = np.frombuffer(message["values"])
            if message["at"]:
                sums[np.frombuffer(message["at"], block.dst.dtype)] += values
            elif len(values):
                sums += values
        before = x
        x, delta = advance(sums, x, teleport, fsum(message["dangling"] for message in others), damping)
        change = rule.change(delta, before, x)
    dangling, flow = block.dangling_mass(x), block.propagate(x)
    moved = rounding(block, x, flow, blocks)
    sent: list[tuple[Any, ...]] = [
        (number, STATE, own["at"], x.tobytes(), dangling, delta, change, moved, peak_mib()),
    ]
    for to in range(blocks):
        message = _message(block, flow, to, block_size(nodes, blocks, to))
        sent.append((to, number, *message, dangling, 0.0, 0.0, 0.0, 0.0))
    return message_table(sent)


def _message(block: Block, flow: Floats, to: int, size: int) -> tuple[bytes, bytes]:
    """Return the message to block `to`, `at` and `values`: the nodes and their flows, or all flows if shorter."""
    first, last = block.tile[to], block.tile[to + 1]
    at, values = block.dst[first:last], flow[first:last]
    if at.nbytes + values.nbytes <= 8 * size:
        return at.tobytes(), values.tobytes()
    everywhere = np.zeros(size)
    everywhere[at] = values
    return b"", everywhere.tobytes()


def _flat_ranks(batches: Iterator[pa.RecordBatch], *, blocks: int) -> Iterator[pa.RecordBatch]:
    """Convert states to rows: `number` bigint, `pagerank` double."""
    for batch in batches:
        for state in batch.to_pylist():
            x = np.frombuffer(state["values"])
            numbers = np.arange(len(x), dtype=np.int64) * blocks + state["block"]
            for at in range(0, len(x), 1 << 17):
                columns = [pa.array(numbers[at : at + (1 << 17)]), pa.array(x[at : at + (1 << 17)])]
                yield pa.record_batch(columns, names=["number", "pagerank"])

"""PageRank of a graph too large for one worker: one Spark job per iteration.

Blocks of links stay where they were packed; what travels is mail: for each pair of blocks the ranks that
flow between them (12 bytes for each destination, or 8 for each node where that is less), and each block's own
ranks. A worker holds one block, its nodes' ranks and its mail, never the whole rank vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import fsum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from spark_jobs.graph.blocks import Block, Floats, advance, block_size, pack
from spark_jobs.graph.contract import (
    Graph,
    Iteration,
    PageRankConfig,
    RankResult,
    no_nodes,
    no_teleport,
    unknown_teleport,
)
from spark_jobs.lake.index import dense_index
from spark_jobs.lake.lineage import cut
from spark_jobs.lake.progress import progress

_PARTS = ("scale", "tile", "dst", "ptr", "src", "weight", "kind")
_BLOCK = "block int, edges bigint, " + ", ".join(f"{name} binary" for name in _PARTS)
_BLOCK_ARROW = pa.schema([("block", pa.int32()), ("edges", pa.int64()), *((p, pa.binary()) for p in _PARTS)])

# Mail to `block`. From another block (or itself) `origin`: `values` for the destinations `at` (empty: for all,
# in order) and the mass `dangling` that the origin's dangling nodes hold. From STATE: the block's own ranks
# `values` (empty: not started) and teleport shares `at` (empty: uniform), and their last L1 change `delta`.
STATE = -1
_MAIL = "block int, origin int, at binary, values binary, dangling double, delta double"
_MAIL_ARROW = pa.schema(
    [
        ("block", pa.int32()),
        ("origin", pa.int32()),
        ("at", pa.binary()),
        ("values", pa.binary()),
        ("dangling", pa.float64()),
        ("delta", pa.float64()),
    ]
)


def run(graph: Graph, config: PageRankConfig) -> RankResult:
    """PageRank with the links spread over the cluster.

    Raises:
        UserError: no nodes, a teleport id that is no node, or a teleport vector without weight.
    """
    rows = graph.rows if graph.rows is not None else graph.edges.count()
    # Odd: ids often have a structure of powers of two, and would not be dealt evenly otherwise.
    blocks = -(-rows // config.block_edges) | 1
    numbered, nodes = dense_index(graph.ids, config.scratch)
    numbered = numbered.withColumnRenamed("ix", "number")
    if not nodes:
        raise no_nodes()
    packed = pack_blocks(graph, numbered, nodes, blocks, config.scratch)
    mail = _first_mail(graph, numbered, nodes, blocks)
    history: list[Iteration] = []
    held = 0.0
    with progress(config.max_iter, "pagerank", "iteration") as meter:
        # The first delivery starts the ranks at the teleport vector; each later one is an iteration.
        for number in range(config.max_iter + 1):
            sent = exchange(packed, mail, nodes, blocks, config.damping)
            mail, delta, dangling = _deliver(sent, config.scratch)
            if number:
                history.append((number, delta, held))
                meter.set_postfix(l1_delta=f"{delta:.1e}")
                meter.update(1)
                if delta < config.tol:
                    break
            held = dangling
    edges = packed.agg(F.sum("edges")).collect()[0][0]
    unpack = partial(_flat_ranks, blocks=blocks)
    flat = mail.where(F.col("origin") == STATE).mapInArrow(unpack, "number bigint, pagerank double")
    ranks = numbered.join(flat, "number").select("id", "pagerank")
    name = f"native, distributed over {blocks} block{'s' if blocks > 1 else ''}"
    return RankResult(ranks, len(history), history, nodes, edges, name, history[-1][1] < config.tol)


def pack_blocks(graph: Graph, numbered: DataFrame, nodes: int, blocks: int, scratch: str = "") -> DataFrame:
    """The links as one `Block` per row: `block` int, `edges` bigint and the arrays as bytes; block b lies in
    partition b and Spark knows it, so that no iteration moves it again."""
    sources = numbered.select(F.col("id").alias("src"), F.col("number").alias("s"))
    targets = numbered.select(F.col("id").alias("dst"), F.col("number").alias("d"))
    weight = F.col("weight") if graph.weighted else F.lit(None).cast("double").alias("weight")
    links = graph.edges.select("src", "dst", weight).join(sources, "src").join(targets, "dst")
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
    weighted = graph.weighted  # what goes to the workers must not hold a frame
    # A lambda, because applyInArrow fails on a `partial`, whose type hints it cannot read.
    packed = (
        rows.union(empty)
        .repartitionById(blocks, "block")
        .groupBy("block")
        .applyInArrow(lambda t: _pack_group(t, nodes=nodes, blocks=blocks, weighted=weighted), _BLOCK)
        .repartitionById(blocks, "block")
    )
    return _cut_in_place(packed, scratch)


def _cut_in_place(df: DataFrame, scratch: str) -> DataFrame:
    """`cut`, and Spark remembers how the rows are partitioned: under adaptive execution it forgets."""
    conf = df.sparkSession.conf
    adaptive = conf.get("spark.sql.adaptive.enabled") or "true"
    conf.set("spark.sql.adaptive.enabled", "false")
    try:
        return cut(df, scratch)
    finally:
        conf.set("spark.sql.adaptive.enabled", adaptive)


def _pack_group(table: pa.Table, *, nodes: int, blocks: int, weighted: bool) -> pa.Table:
    number = table.column("block")[0].as_py()
    table = table.filter(pc.is_valid(table.column("s")))
    s, d = table.column("s").to_numpy(), table.column("d").to_numpy()
    weight = table.column("weight").to_numpy() if weighted else None
    block = pack(s, d, weight, nodes=nodes, blocks=blocks, block=number)
    return pa.Table.from_pylist([{"block": number, "edges": block.edges, **block.to_bytes()}], schema=_BLOCK_ARROW)


def _first_mail(graph: Graph, numbered: DataFrame, nodes: int, blocks: int) -> DataFrame:
    """A state without ranks for each block, with the block's part of the teleport vector if there is one."""
    spark = numbered.sparkSession
    if graph.teleport is None:
        rows = [(block, STATE, b"", b"", 0.0, 0.0) for block in range(blocks)]
        return spark.createDataFrame(rows, _MAIL)
    shares = graph.teleport.groupBy("id").agg(F.sum("weight").alias("weight"))
    unknown = shares.join(numbered, "id", "left_anti").orderBy("id").head(1)
    if unknown:
        raise unknown_teleport(unknown[0]["id"])
    top = shares.agg(F.max("weight")).collect()[0][0]
    if not top:
        raise no_teleport()
    scaled = shares.select("id", (F.col("weight") / top).alias("weight"))
    total = fsum(row["weight"] for row in scaled.groupBy().agg(F.sum("weight").alias("weight")).collect())
    jump = numbered.join(scaled, "id").select(
        (F.col("number") % blocks).cast("int").alias("block"), "number", (F.col("weight") / total).alias("weight")
    )
    # Every block gets a row of number −1, so that none lacks its state.
    jump = jump.union(spark.range(blocks).select(F.col("id").cast("int"), F.lit(-1), F.lit(0.0)))
    return jump.groupBy("block").applyInArrow(lambda t: _teleport_state(t, nodes=nodes, blocks=blocks), _MAIL)


def _teleport_state(table: pa.Table, *, nodes: int, blocks: int) -> pa.Table:
    block = table.column("block")[0].as_py()
    table = table.filter(pc.greater_equal(table.column("number"), 0))
    share = np.zeros(block_size(nodes, blocks, block))
    share[table.column("number").to_numpy() // blocks] = table.column("weight").to_numpy()
    return _mail([(block, STATE, share.tobytes(), b"", 0.0, 0.0)])


def _mail(rows: list[tuple[Any, ...]]) -> pa.Table:
    names = _MAIL_ARROW.names
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=_MAIL_ARROW)


def exchange(packed: DataFrame, mail: DataFrame, nodes: int, blocks: int, damping: float) -> DataFrame:
    """One delivery: mail in, mail out. Only the mail is moved; `packed` stays where it is."""
    placed = mail.repartitionById(blocks, "block").groupBy("block")
    return (
        packed.groupBy("block")
        .cogroup(placed)
        .applyInArrow(lambda p, m: step(p, m, nodes=nodes, blocks=blocks, damping=damping), _MAIL)
    )


def _deliver(mail: DataFrame, scratch: str) -> tuple[DataFrame, float, float]:
    """The mail as it arrived, the L1 change of the ranks, and the mass now held by dangling nodes."""
    seen = Observation()  # rides along with the one job; a second one to read two numbers costs 0.2 s
    state = F.when(F.col("origin") == STATE, F.struct("delta", "dangling"))
    sent = cut(mail.observe(seen, F.collect_list(state).alias("states")), scratch)
    states = seen.get.get("states")
    if states is None:  # Connect does not pass on what a checkpoint observed
        states = sent.where(F.col("origin") == STATE).select("delta", "dangling").collect()
    return sent, fsum(row["delta"] for row in states), fsum(row["dangling"] for row in states)


def step(packed: pa.Table, mail: pa.Table, *, nodes: int, blocks: int, damping: float) -> pa.Table:
    """One block's part of one iteration: read the mail, update the ranks, write the mail for the next.

    Args:
        packed: one row, as `pack_blocks` makes it.
        mail: all mail to this block, among it one row from STATE.
        nodes: n.
        blocks: B.
        damping: d.

    Returns:
        Mail: a row for STATE, and one for each block.
    """
    row = packed.to_pylist()[0]
    number, block = row["block"], Block.from_bytes(row)
    size = block_size(nodes, blocks, number)
    # In order of origin: the sum must not depend on the order of arrival.
    letters = sorted(mail.to_pylist(), key=lambda letter: letter["origin"])
    state, letters = letters[0], letters[1:]
    teleport = np.frombuffer(state["at"]) if state["at"] else np.full(size, 1.0 / nodes)
    if state["values"]:
        sums = np.zeros(size)
        for letter in letters:
            values = np.frombuffer(letter["values"])
            if letter["at"]:
                sums[np.frombuffer(letter["at"], block.dst.dtype)] += values
            elif len(values):
                sums += values
        held = fsum(letter["dangling"] for letter in letters)
        x, delta = advance(sums, np.frombuffer(state["values"]), teleport, held, damping)
    else:
        x, delta = teleport, 0.0
    dangling = block.dangling(x)
    sent = [(number, STATE, state["at"], x.tobytes(), dangling, delta)]
    flow = block.spread(x)
    sent += [
        (to, number, *_letter(block, flow, to, block_size(nodes, blocks, to)), dangling, 0.0) for to in range(blocks)
    ]
    return _mail(sent)


def _letter(block: Block, flow: Floats, to: int, size: int) -> tuple[bytes, bytes]:
    """`at` and `values` for block `to`: the places and what flows there, or all places if that is shorter."""
    first, last = block.tile[to], block.tile[to + 1]
    at, values = block.dst[first:last], flow[first:last]
    if at.nbytes + values.nbytes <= 8 * size:
        return at.tobytes(), values.tobytes()
    everywhere = np.zeros(size)
    everywhere[at] = values
    return b"", everywhere.tobytes()


def _flat_ranks(batches: Iterator[pa.RecordBatch], *, blocks: int) -> Iterator[pa.RecordBatch]:
    """States to rows: `number` bigint, `pagerank` double."""
    for batch in batches:
        for state in batch.to_pylist():
            x = np.frombuffer(state["values"])
            numbers = np.arange(len(x), dtype=np.int64) * blocks + state["block"]
            for at in range(0, len(x), 1 << 17):
                columns = [pa.array(numbers[at : at + (1 << 17)]), pa.array(x[at : at + (1 << 17)])]
                yield pa.record_batch(columns, names=["number", "pagerank"])

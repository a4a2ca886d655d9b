"""PageRank of a graph too large for one worker: one Spark job per iteration.

Blocks of links stay where they were packed; what travels is mail: for each pair of blocks the ranks that
flow between them (12 bytes for each destination, or 8 for each node where that is less), and each block's own
ranks. A worker holds one block, its nodes' ranks and its mail, never the whole rank vector.
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
from lakerank.graph.arrays import Floats
from lakerank.graph.base import Graph, Iteration, PageRankConfig, RankResult, no_nodes
from lakerank.graph.csr_block import Block, advance, block_size, pack, rounding
from lakerank.graph.messages import MAIL, STATE, as_mail, first_mail
from lakerank.graph.resources import peak_mib
from lakerank.spark.array_store import BlockStore, common_folder
from lakerank.spark.checkpoint import checkpoint
from lakerank.spark.dense_ids import dense_index

_PARTS = ("scale", "tile", "dst", "ptr", "src", "weight", "kind")
_BLOCK = "block int, edges bigint, folder string, " + ", ".join(f"{name} binary" for name in _PARTS)
_BLOCK_ARROW = pa.schema(
    [("block", pa.int32()), ("edges", pa.int64()), ("folder", pa.string()), *((p, pa.binary()) for p in _PARTS)]
)


def run(graph: Graph, config: PageRankConfig) -> RankResult:
    """PageRank with the links spread over the cluster.

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
    mail = first_mail(graph, numbered, nodes, blocks, config.damping)
    history: list[Iteration] = []
    held = rounded = last_rounded = most = 0.0
    with progress(config.max_iter, "pagerank", "iteration") as meter:
        # The first delivery starts the ranks; each later one is an iteration.
        for number in range(config.max_iter + 1):
            sent = exchange(packed, mail, nodes, blocks, config.damping)
            mail, state = _deliver(sent, config.scratch)
            most = max(most, state.worker_mib)
            if number:
                history.append((number, state.delta, held))
                last_rounded = rounded
                meter.set_postfix(l1_delta=f"{state.delta:.1e}")
                meter.update(1)
                if state.delta < config.tol:
                    break
            held, rounded = state.dangling, state.rounding
    edges = packed.agg(F.sum("edges")).collect()[0][0]
    unpack = partial(_flat_ranks, blocks=blocks)
    flat = mail.where(F.col("origin") == STATE).mapInArrow(unpack, "number bigint, pagerank double")
    if least is None:
        ranks = numbered.join(flat, "number").select("id", "pagerank")
    else:
        ranks = flat.select((F.col("number") + least).alias("id"), "pagerank")
    name = f"native, distributed over {blocks} block{'s' if blocks > 1 else ''}"
    converged = history[-1][1] < config.tol
    return RankResult(ranks, len(history), history, nodes, edges, name, converged, last_rounded, most)


def number_nodes(graph: Graph, scratch: str) -> tuple[DataFrame, int, int | None]:
    """`id`, `number` 0 … n − 1 in order of id; n; and the least id if ids are whole numbers without a gap.

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
    """The least and the greatest id, and how many rows there are; None if there is none."""
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
    """The links as one `Block` per row: `block` int, `edges` bigint and the arrays as bytes; block b lies in
    partition b and Spark knows it, so that no iteration moves it again.

    Args:
        graph: the links.
        numbered: `id`, `number`.
        nodes: n.
        blocks: B.
        scratch: see `checkpoint`.
        least: the least id, if numbers are distances from there.
        folder: keep the arrays in files here, and only their place in the row, so that no iteration hands them to
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
    weighted = graph.weighted  # what goes to the workers must not hold a frame
    # A lambda, because applyInArrow fails on a `partial`, whose type hints it cannot read.
    packed = (
        rows.union(empty)
        .repartitionById(blocks, "block")
        .groupBy("block")
        .applyInArrow(lambda t: _pack_group(t, nodes=nodes, blocks=blocks, weighted=weighted, folder=folder), _BLOCK)
        .repartitionById(blocks, "block")
    )
    return _cut_in_place(packed, scratch)


def _cut_in_place(df: DataFrame, scratch: str) -> DataFrame:
    """`checkpoint`, and Spark remembers how the rows are partitioned: under adaptive execution it forgets."""
    conf = df.sparkSession.conf
    adaptive = conf.get("spark.sql.adaptive.enabled") or "true"
    conf.set("spark.sql.adaptive.enabled", "false")
    try:
        return checkpoint(df, scratch)
    finally:
        conf.set("spark.sql.adaptive.enabled", adaptive)


def _pack_group(table: pa.Table, *, nodes: int, blocks: int, weighted: bool, folder: str = "") -> pa.Table:
    number = table.column("block")[0].as_py()
    table = table.filter(pc.is_valid(table.column("s")))
    s, d = table.column("s").to_numpy(), table.column("d").to_numpy()
    weight = table.column("weight").to_numpy() if weighted else None
    block = pack(s, d, weight, nodes=nodes, blocks=blocks, block=number)
    row = {"block": number, "edges": block.edges}
    if folder:
        BlockStore(folder).put(str(number), block.arrays())
        return pa.Table.from_pylist([row | {"folder": folder}], schema=_BLOCK_ARROW)
    return pa.Table.from_pylist([row | block.to_bytes()], schema=_BLOCK_ARROW)


def _unpacked(row: Mapping[str, Any]) -> Block:
    return Block(**BlockStore(row["folder"]).get(str(row["block"]))) if row["folder"] else Block.from_bytes(dict(row))


def exchange(packed: DataFrame, mail: DataFrame, nodes: int, blocks: int, damping: float) -> DataFrame:
    """One delivery: mail in, mail out. Only the mail is moved; `packed` stays where it is."""
    placed = mail.repartitionById(blocks, "block").groupBy("block")
    return (
        packed.groupBy("block")
        .cogroup(placed)
        .applyInArrow(lambda p, m: step(p, m, nodes=nodes, blocks=blocks, damping=damping), MAIL)
    )


@dataclass(frozen=True)
class _State:
    """All blocks' states together: L1 change, mass of dangling nodes, rounding, the largest worker's MiB."""

    delta: float
    dangling: float
    rounding: float
    worker_mib: float


def _deliver(mail: DataFrame, scratch: str) -> tuple[DataFrame, _State]:
    """The mail as it arrived, and the states in it."""
    seen = Observation()  # rides along with the one job; a second one to read a few numbers costs 0.2 s
    names = ("delta", "dangling", "rounding", "worker_mib")
    state = F.when(F.col("origin") == STATE, F.struct(*names))
    sent = checkpoint(mail.observe(seen, F.collect_list(state).alias("states")), scratch)
    states = seen.get.get("states")
    if states is None:  # Connect does not pass on what a checkpoint observed
        states = sent.where(F.col("origin") == STATE).select(*names).collect()
    delta, dangling, rounded = (fsum(row[name] for row in states) for name in names[:3])
    return sent, _State(delta, dangling, rounded, max(row["worker_mib"] for row in states))


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
    number, block = row["block"], _unpacked(row)
    size = block_size(nodes, blocks, number)
    # In order of origin: the sum must not depend on the order of arrival.
    letters = sorted(mail.to_pylist(), key=lambda letter: letter["origin"])
    state, letters = letters[0], letters[1:]
    teleport = np.frombuffer(state["at"]) if state["at"] else np.full(size, 1.0 / nodes)
    x = np.frombuffer(state["values"]) if state["values"] else teleport
    delta = 0.0
    if letters:  # not the first delivery
        sums = np.zeros(size)
        for letter in letters:
            values = np.frombuffer(letter["values"])
            if letter["at"]:
                sums[np.frombuffer(letter["at"], block.dst.dtype)] += values
            elif len(values):
                sums += values
        held = fsum(letter["dangling"] for letter in letters)
        x, delta = advance(sums, x, teleport, held, damping)
    dangling, flow = block.dangling(x), block.spread(x)
    moved = rounding(block, x, flow, blocks)
    sent = [(number, STATE, state["at"], x.tobytes(), dangling, delta, moved, peak_mib())]
    for to in range(blocks):
        letter = _letter(block, flow, to, block_size(nodes, blocks, to))
        sent.append((to, number, *letter, dangling, 0.0, 0.0, 0.0))
    return as_mail(sent)


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

"""PageRank in one Spark job: chunks are encoded by all workers, then one worker iterates to the end.

Needs no storage between iterations. The one worker holds about 25 bytes for each link (40 with weights) and
50 for each node (plus the text of ids that are text).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.graph.blocks import Floats, iterate, pack
from spark_jobs.graph.contract import (
    Graph,
    Iteration,
    PageRankConfig,
    RankResult,
    no_nodes,
    no_teleport,
    unknown_teleport,
)
from spark_jobs.lake.lineage import cut

CHUNK_ROWS = 1 << 20  # 8 to 16 MB a chunk: few rows for Spark to move, well below Arrow's batch limit
OUT_ROWS = 1 << 17

_CHUNK = "ids binary, src binary, dst binary, weight binary"
_CHUNK_ARROW = pa.schema([(name, pa.binary()) for name in ("ids", "src", "dst", "weight")])


def run(graph: Graph, config: PageRankConfig) -> RankResult:
    """PageRank of a graph whose links fit into one worker.

    Raises:
        UserError: no nodes, a teleport id that is no node, or a teleport vector without weight.
    """
    id_type = graph.id_type
    chunks = _incidence(graph).mapInArrow(to_chunks, _CHUNK)
    out = f"part string, id {id_type}, pagerank double, number bigint, l1_delta double, dangling double"
    work = partial(solve, config=config, weighted=graph.weighted, teleported=graph.teleport is not None)
    found = cut(chunks.repartition(1).mapInArrow(work, out), config.scratch)
    notes = found.where("part <> 'rank'").collect()
    counts = {row["part"]: row["number"] for row in notes}
    for row in notes:
        if row["part"] == "unknown":
            raise unknown_teleport(row["id"])
    if not counts.get("nodes"):
        raise no_nodes()
    if "no teleport" in counts:
        raise no_teleport()
    history: list[Iteration] = sorted(
        (row["number"], row["l1_delta"], row["dangling"]) for row in notes if row["part"] == "iteration"
    )
    ranks = found.where("part = 'rank'").select("id", "pagerank")
    converged = history[-1][1] < config.tol
    engine = "native, one task"
    return RankResult(ranks, len(history), history, counts["nodes"], counts["edges"], engine, converged)


def _incidence(graph: Graph) -> DataFrame:
    """All rows in one frame: links have a `dst`; nodes have none; teleport rows have a weight, too."""
    weight = F.col("weight") if graph.weighted else F.lit(None).cast("double").alias("weight")
    rows = graph.edges.select("src", "dst", weight)
    nothing = F.lit(None).cast(graph.id_type).alias("dst")
    if graph.nodes is not None:
        rows = rows.union(graph.nodes.select("id", nothing, F.lit(None).cast("double")))
    if graph.teleport is not None:
        rows = rows.union(graph.teleport.select("id", nothing, "weight"))
    return rows


def to_chunks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Replace ids by places in a dictionary, a million rows at a time.

    Args:
        batches: `src`, `dst` (null: a node or teleport row) and `weight` (null: none).

    Returns:
        One row per chunk: `ids` (an Arrow stream of the distinct ids), `src` and `dst` int32[rows] (−1 for
        null), `weight` float64[rows] (NaN for null), or empty if all are null.

    Raises:
        ValueError: `src` is null somewhere.
    """
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= CHUNK_ROWS:
            yield _chunk(pa.Table.from_batches(waiting))
            waiting, rows = [], 0
    if rows:
        yield _chunk(pa.Table.from_batches(waiting))


def _chunk(table: pa.Table) -> pa.RecordBatch:
    src, dst, weight = (table.column(i).combine_chunks() for i in range(3))
    if src.null_count:
        raise ValueError("an edge, node or teleport id is null")
    both = pa.concat_arrays([src, dst])
    if not pa.types.is_integer(both.type):
        both = both.cast(pa.large_string())  # 64-bit offsets: joined dictionaries may pass 2 GB
    encoded = both.dictionary_encode()
    places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    sink = pa.BufferOutputStream()
    dictionary = pa.record_batch([encoded.dictionary], names=["id"])
    with pa.ipc.new_stream(sink, dictionary.schema) as writer:
        writer.write_batch(dictionary)
    weights = b""
    if weight.null_count < len(weight):
        weights = weight.fill_null(float("nan")).to_numpy(zero_copy_only=False).tobytes()
    row = [sink.getvalue().to_pybytes(), places[: len(src)].tobytes(), places[len(src) :].tobytes(), weights]
    return pa.record_batch([pa.array([cell], pa.binary()) for cell in row], schema=_CHUNK_ARROW)


def gather(
    batches: Iterator[pa.RecordBatch],
) -> tuple[pa.Array, NDArray[Any], NDArray[Any], Floats]:
    """Join chunks: sorted distinct ids [n]; and for all rows their `src` and `dst` as int32 places in it
    (`dst` −1: a node or teleport row) and their float64 `weight` (NaN: none; empty: none anywhere)."""
    dictionaries, parts = [], []
    for batch in batches:
        for row in batch.to_pylist():
            ids = pa.ipc.open_stream(row["ids"]).read_all().column(0).combine_chunks()
            src, dst = np.frombuffer(row["src"], np.int32), np.frombuffer(row["dst"], np.int32)
            dictionaries.append(ids)
            parts.append((len(ids), src, dst, np.frombuffer(row["weight"])))
    if not parts:
        nothing = np.empty(0, np.int32)
        return pa.array([], pa.int64()), nothing, nothing, np.empty(0)
    # Chunks arrive in any order: sorting makes the numbering, and so every sum's order, the same each time.
    encoded = pa.concat_arrays(dictionaries).dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    numbers = place[encoded.indices.to_numpy()]
    has_weight = any(len(weight) for _, _, _, weight in parts)
    sources, targets, weights, at = [], [], [], 0
    for size, src, dst, weight in parts:
        lookup = np.append(numbers[at : at + size], np.int32(-1))  # −1 stays −1
        at += size
        sources.append(lookup[src])
        targets.append(lookup[dst])
        if has_weight:
            weights.append(weight if len(weight) else np.full(len(src), np.nan))
    return (
        encoded.dictionary.take(pa.array(order)),
        np.concatenate(sources),
        np.concatenate(targets),
        np.concatenate(weights) if has_weight else np.empty(0),
    )


def solve(
    batches: Iterator[pa.RecordBatch], *, config: PageRankConfig, weighted: bool, teleported: bool
) -> Iterator[pa.RecordBatch]:
    """The whole computation on chunks: ranks and notes as rows (`part` says which).

    Args:
        batches: as `to_chunks` makes them.
        config: damping, tol and max_iter are used.
        weighted: whether the weights of links count.
        teleported: whether there are teleport rows; else the surfer starts anywhere.
    """
    ids, src, dst, weight = gather(batches)
    nodes = len(ids)
    if not nodes:
        return
    link = dst >= 0
    teleport = np.full(nodes, 1.0 / nodes)
    if teleported:
        jump = ~link & ~np.isnan(weight) if len(weight) else np.zeros(len(src), bool)
        known = np.zeros(nodes, bool)
        known[src[~jump]] = True
        known[dst[link]] = True
        for number in src[jump][~known[src[jump]]][:1]:
            yield _notes(ids.type, "unknown", id=ids[int(number)].as_py(), number=nodes)
            yield _notes(ids.type, "nodes", number=nodes)
            return
        teleport = np.bincount(src[jump], weights=_unit(weight[jump]), minlength=nodes)
        if not teleport.sum() > 0:
            yield _notes(ids.type, "no teleport", number=nodes)
            yield _notes(ids.type, "nodes", number=nodes)
            return
        teleport = teleport / teleport.sum()
    if not link.all():
        src, dst, weight = src[link], dst[link], weight[link] if len(weight) else weight
    whole = pack(src, dst, _link_weights(weight, len(src)) if weighted else None, nodes=nodes)
    del src, dst, link, weight
    ranks = teleport
    for number, (x, delta, dangling) in enumerate(iterate(whole, teleport, config.damping), start=1):
        ranks = x
        yield _notes(ids.type, "iteration", number=number, l1_delta=delta, dangling=dangling)
        if delta < config.tol or number == config.max_iter:
            break
    yield _notes(ids.type, "nodes", number=nodes)
    yield _notes(ids.type, "edges", number=whole.edges)
    for at in range(0, nodes, OUT_ROWS):
        yield _rows(ids[at : at + OUT_ROWS], ranks[at : at + OUT_ROWS])


def _link_weights(weight: Floats, rows: int) -> Floats:
    """The weights of links; a chunk without any link has none to show."""
    return weight if len(weight) else np.zeros(rows)


def _unit(weight: Floats) -> Floats:
    """Weights with the largest scaled to 1, so that sums cannot overflow."""
    top = weight.max(initial=0.0)
    return weight / top if top > 0 else weight


def _schema(id_type: pa.DataType) -> pa.Schema:
    plain = id_type if pa.types.is_integer(id_type) else pa.string()
    return pa.schema(
        [
            ("part", pa.string()),
            ("id", plain),
            ("pagerank", pa.float64()),
            ("number", pa.int64()),
            ("l1_delta", pa.float64()),
            ("dangling", pa.float64()),
        ]
    )


def _notes(id_type: pa.DataType, part: str, **values: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"part": part, **values}], schema=_schema(id_type))


def _rows(ids: pa.Array, x: Floats) -> pa.RecordBatch:
    schema = _schema(ids.type)
    columns = [pa.array(["rank"] * len(ids)), ids.cast(schema.field("id").type), pa.array(x)]
    columns += [pa.nulls(len(ids), field.type) for field in list(schema)[3:]]
    return pa.record_batch(columns, schema=schema)

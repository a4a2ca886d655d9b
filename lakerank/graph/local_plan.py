"""PageRank in one Spark job: chunks are encoded by all workers, then one worker iterates to the end.

Needs no storage between iterations. The one worker holds about 30 bytes for each link (50 with weights) and
100 for each node (plus the text of ids that are text).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from lakerank.graph.arrays import Floats
from lakerank.graph.base import Graph, Iteration, PageRankConfig, RankResult, no_nodes, no_teleport, unknown_teleport
from lakerank.graph.csr_block import iterate, rounding
from lakerank.graph.encode_ids import CHUNK, gather, to_chunks
from lakerank.graph.local_graph import NoTeleport, Places, UnknownId, incidence, load
from lakerank.graph.resources import peak_mib
from lakerank.spark.checkpoint import checkpoint

__all__ = ["gather", "run", "solve", "to_chunks"]
OUT_ROWS = 1 << 17


def run(graph: Graph, config: PageRankConfig) -> RankResult:
    """PageRank of a graph whose links fit into one worker.

    Raises:
        UserError: no nodes, a teleport id that is no node, or a teleport vector without weight.
    """
    id_type = graph.id_type
    chunks = incidence(graph).mapInArrow(to_chunks, CHUNK)
    out = f"note string, id {id_type}, pagerank double, number bigint, l1_delta double, dangling double"
    work = partial(solve, config=config, weighted=graph.weighted, teleported=graph.teleport is not None)
    found = checkpoint(chunks.repartition(1).mapInArrow(work, out), config.scratch)
    notes = [row.asDict() for row in found.where("note IS NOT NULL").collect()]
    return outcome(notes, found.where("note IS NULL").select("id", "pagerank"), config, "native, one task")


def outcome(notes: Sequence[Mapping[str, Any]], ranks: Any, config: PageRankConfig, engine: str) -> RankResult:
    """What `solve` said, in the engines' terms.

    Args:
        notes: its rows that have a `note`.
        ranks: the others, `id` and `pagerank`.
        config: tol is used.
        engine: the plan's name.

    Raises:
        UserError: no nodes, a teleport id that is no node, or a teleport vector without weight.
    """
    counts = {row["note"]: row["number"] for row in notes}
    values = {row["note"]: row["pagerank"] for row in notes}
    for row in notes:
        if row["note"] == "unknown":
            raise unknown_teleport(row["id"])
    if not counts.get("nodes"):
        raise no_nodes()
    if "no teleport" in counts:
        raise no_teleport()
    history: list[Iteration] = sorted(
        (row["number"], row["l1_delta"], row["dangling"]) for row in notes if row["note"] == "iteration"
    )
    return RankResult(
        ranks=ranks,
        iterations=len(history),
        history=history,
        nodes=counts["nodes"],
        edges=counts["edges"],
        engine=engine,
        converged=history[-1][1] < config.tol,
        rounding=values["rounding"],
        worker_mib=values["mib"],
    )


def solve(
    batches: Iterator[pa.RecordBatch], *, config: PageRankConfig, weighted: bool, teleported: bool
) -> Iterator[pa.RecordBatch]:
    """The whole computation on chunks: ranks (`note` null) and notes.

    Args:
        batches: chunks of `incidence`.
        config: damping, tol and max_iter are used.
        weighted: whether the weights of links count.
        teleported: whether there are teleport rows; else the surfer starts anywhere.
    """
    try:
        graph = load(batches, weighted, teleported)
        nodes = graph.nodes
        if not nodes:
            return
        teleport = graph.teleport() if teleported else np.full(nodes, 1.0 / nodes)
    except UnknownId as unknown:
        kind = pa.int64() if isinstance(unknown.args[0], int) else pa.string()
        yield _notes(kind, [{"note": "unknown", "id": unknown.args[0]}])
        return
    except NoTeleport:
        yield _notes(graph.ids.type, [{"note": "no teleport", "number": nodes}, {"note": "nodes", "number": nodes}])
        return
    start = graph.begin(teleport, config.damping) if len(graph.start) else None
    ids, order, whole = graph.ids, graph.order, graph.block()
    del graph
    teleport = _placed(teleport, order)
    start = None if start is None else _placed(start, order)
    ranks = teleport
    notes: list[dict[str, Any]] = []
    for number, (x, delta, dangling) in enumerate(iterate(whole, teleport, config.damping, start), start=1):
        ranks = x
        notes.append({"note": "iteration", "number": number, "l1_delta": delta, "dangling": dangling})
        if delta < config.tol or number == config.max_iter:
            break
    notes += [{"note": "nodes", "number": nodes}, {"note": "edges", "number": whole.edges}]
    moved = rounding(whole, ranks, whole.spread(ranks))
    notes += [{"note": "rounding", "pagerank": moved}, {"note": "mib", "pagerank": peak_mib()}]
    yield _notes(ids.type, notes)
    ranks = ranks[order]
    for at in range(0, nodes, OUT_ROWS):
        yield _rows(ids[at : at + OUT_ROWS], ranks[at : at + OUT_ROWS])


def _placed(values: Floats, order: Places) -> Floats:
    placed = np.empty_like(values)
    placed[order] = values
    return placed


def _schema(id_type: pa.DataType) -> pa.Schema:
    plain = id_type if pa.types.is_integer(id_type) else pa.string()
    return pa.schema(
        [
            ("note", pa.string()),
            ("id", plain),
            ("pagerank", pa.float64()),
            ("number", pa.int64()),
            ("l1_delta", pa.float64()),
            ("dangling", pa.float64()),
        ]
    )


def _notes(id_type: pa.DataType, notes: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(notes, schema=_schema(id_type))


def _rows(ids: pa.Array, x: Floats) -> pa.RecordBatch:
    schema = _schema(ids.type)
    none = (pa.nulls(len(ids), field.type) for field in list(schema)[3:])
    columns = [pa.nulls(len(ids), pa.string()), ids.cast(schema.field("id").type), pa.array(x), *none]
    return pa.record_batch(columns, schema=schema)

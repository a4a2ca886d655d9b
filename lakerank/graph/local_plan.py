"""PageRank of a graph that one process can hold: one Arrow implementation, `solve`, run in two ways.

`run` is one Spark job: all workers encode chunks of links, then one worker iterates to the end. Nothing is stored
between iterations. `run_on_driver` does the same in this process, without Spark: to hand a worker every row and take
ranks back costs several times the computation itself. Either process holds about 30 bytes for each link (50 with
weights) and 100 for each node (plus the text of ids that are text).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerank.graph.base import Graph, PageRankConfig, RankResult, no_nodes, no_teleport, peak_mib, unknown_teleport
from lakerank.graph.csr_block import Floats, rounding
from lakerank.graph.encode_ids import CHUNK, NodeNumbers, to_chunks
from lakerank.graph.iterate import Iteration, power_iteration
from lakerank.graph.local_graph import (
    ArrowGraph,
    NoTeleport,
    UnknownId,
    arrow_incidence,
    incidence,
    load,
    plain_ids,
)
from lakerank.spark.checkpoint import checkpoint

ON_DRIVER = "native, on the driver"
ONE_TASK = "native, one task"
OUT_ROWS = 1 << 17


def run(graph: Graph, config: PageRankConfig) -> RankResult:
    """Compute PageRank in one task of a worker.

    Raises:
        UserError: no nodes, a teleport id that is no node, or a teleport vector without weight.
    """
    chunks = incidence(graph).mapInArrow(to_chunks, CHUNK)
    out = (
        f"note string, id {graph.id_type}, pagerank double, number bigint, l1_delta double, dangling double, "
        "converged boolean"
    )
    teleported = graph.teleport is not None
    work = partial(solve, config=config, weighted=graph.weighted, teleported=teleported, parallel=graph.parallel)
    found = checkpoint(chunks.repartition(1).mapInArrow(work, out), config.scratch)
    notes = [row.asDict() for row in found.where("note IS NOT NULL").collect()]
    return _rank_result(notes, found.where("note IS NULL").select("id", "pagerank"), ONE_TASK)


def run_on_driver(graph: ArrowGraph, config: PageRankConfig) -> RankResult:
    """Compute PageRank in this process; `ranks` is an Arrow table. Errors as `run`."""
    chunks, teleported = to_chunks(arrow_incidence(graph)), graph.teleport is not None
    rows = list(solve(chunks, config=config, weighted=graph.weighted, teleported=teleported))
    found = pa.Table.from_batches(rows, _schema(graph.edges.schema.field("src").type))
    is_note = pc.is_valid(found.column("note"))
    ranks = found.filter(pc.invert(is_note)).select(["id", "pagerank"])
    return _rank_result(found.filter(is_note).to_pylist(), ranks, ON_DRIVER)


def _rank_result(notes: Sequence[Mapping[str, Any]], ranks: Any, plan: str) -> RankResult:
    """Read the notes of `solve`; raise what they say was wrong."""
    counts = {row["note"]: row["number"] for row in notes}
    values = {row["note"]: row["pagerank"] for row in notes}
    for row in notes:
        if row["note"] == "unknown":
            raise unknown_teleport(row["id"])
    if not counts.get("nodes"):
        raise no_nodes()
    if "no teleport" in counts:
        raise no_teleport()
    iterations = sorted((row for row in notes if row["note"] == "iteration"), key=lambda row: int(row["number"]))
    history: list[Iteration] = [(row["number"], row["l1_delta"], row["dangling"]) for row in iterations]
    return RankResult(
        ranks=ranks,
        iterations=len(history),
        history=history,
        nodes=counts["nodes"],
        edges=counts["edges"],
        engine=plan,
        converged=iterations[-1]["converged"],
        rounding=values["rounding"],
        worker_mib=values["mib"],
    )


def solve(
    batches: Iterator[pa.RecordBatch],
    *,
    config: PageRankConfig,
    weighted: bool,
    teleported: bool,
    parallel: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Compute PageRank of chunks: rows of ranks (`note` null), and notes.

    Args:
        batches: chunks of `incidence`.
        config: damping, the stopping rule and max_iter are used.
        weighted: whether the weights of links count.
        teleported: whether there are teleport rows; else the surfer starts anywhere.
        parallel: whether links count as often as they are listed.
    """
    try:
        graph = load(batches, weighted, teleported)
        nodes = graph.nodes
        if not nodes:
            return
        teleport = graph.teleport_vector() if teleported else np.full(nodes, 1.0 / nodes)
    except UnknownId as unknown:
        kind = pa.int64() if isinstance(unknown.args[0], int) else pa.string()
        yield _notes(kind, [{"note": "unknown", "id": unknown.args[0]}])
        return
    except NoTeleport:
        yield _notes(graph.ids.type, [{"note": "no teleport", "number": nodes}, {"note": "nodes", "number": nodes}])
        return
    warm_start = graph.first_ranks(teleport, config.damping) if len(graph.warm_start) else None
    ids, order, whole = graph.ids, graph.order, graph.block(parallel)
    del graph
    teleport = _reordered(teleport, order)
    warm_start = None if warm_start is None else _reordered(warm_start, order)
    ranks, found = power_iteration(whole, teleport, config.damping, config.rule, config.max_iter, warm_start)
    notes: list[dict[str, Any]] = [
        {"note": "iteration", "number": number, "l1_delta": change, "dangling": mass, "converged": found.converged}
        for number, change, mass in found.history
    ]
    notes += [{"note": "nodes", "number": nodes}, {"note": "edges", "number": whole.edges}]
    moved = rounding(whole, ranks, whole.propagate(ranks))
    notes += [{"note": "rounding", "pagerank": moved}, {"note": "mib", "pagerank": peak_mib()}]
    yield _notes(ids.type, notes)
    ranks = ranks[order]
    for at in range(0, nodes, OUT_ROWS):
        yield _rows(ids[at : at + OUT_ROWS], ranks[at : at + OUT_ROWS])


def _reordered(values: Floats, order: NodeNumbers) -> Floats:
    reordered = np.empty_like(values)
    reordered[order] = values
    return reordered


def _schema(id_type: pa.DataType) -> pa.Schema:
    return pa.schema(
        [
            ("note", pa.string()),
            ("id", id_type if pa.types.is_integer(id_type) else pa.string()),
            ("pagerank", pa.float64()),
            ("number", pa.int64()),
            ("l1_delta", pa.float64()),
            ("dangling", pa.float64()),
            ("converged", pa.bool_()),
        ]
    )


def _notes(id_type: pa.DataType, notes: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(notes, schema=_schema(id_type))


def _rows(ids: pa.Array, x: Floats) -> pa.RecordBatch:
    schema = _schema(ids.type)
    none = (pa.nulls(len(ids), field.type) for field in list(schema)[3:])
    columns = [pa.nulls(len(ids), pa.string()), plain_ids(ids), pa.array(x), *none]
    return pa.record_batch(columns, schema=schema)

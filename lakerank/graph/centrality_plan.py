"""Compute hubs and authorities and harmonic centrality of a graph in one task, personal ranks in one or several.

A worker holds the graph as the local plan of PageRank does, and besides: HITS the links a second time; harmonic
centrality 24 bytes a node if exact, else 512; personal ranks 400 bytes a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph.base import Graph, PageRankConfig, no_nodes, unknown_teleport
from lakerank.graph.centrality import (
    COLUMNS,
    EXACT_WORK,
    exact_work,
    harmonic_estimate,
    harmonic_exact,
    hits,
    personal_ranks,
    top_k,
)
from lakerank.graph.encode_ids import CHUNK, to_chunks
from lakerank.graph.iterate import StoppingRule
from lakerank.graph.local_graph import ArrowGraph, LocalGraph, arrow_incidence, incidence, load, plain_ids
from lakerank.graph.local_plan import OUT_ROWS
from lakerank.spark.checkpoint import checkpoint

_SURFERS_PER_TASK = 64  # at least, if there are so many: each task packs the graph, which costs some iterations


@dataclass(frozen=True)
class Measured:
    """Hold the values of nodes.

    Attributes:
        values: `id` and the measure's columns: a frame, of Arrow tables an Arrow table.
        summary: `nodes`, and what the measure says of itself: `iterations`, `l1_delta`, `exact` (0 or 1).
    """

    values: Any
    summary: dict[str, float]


def hubs_and_authorities(graph: Graph, config: PageRankConfig) -> Measured:
    """Compute HITS: `id`, `hub`, `authority`, each column of sum 1. Links count once, weights do not.

    Raises:
        UserError: the graph has no nodes.
    """
    work = partial(_hits, rule=config.rule, max_iter=config.max_iter)
    return measure(graph, work, ("hub double", "authority double"), config.scratch)


def harmonic_centrality(graph: Graph, scratch: str = "", most_work: float = EXACT_WORK) -> Measured:
    """Compute `id`, `harmonic`: Σ 1 / distance over all other nodes that reach it; links count once, weights do not.

    Args:
        graph: links.
        scratch: see `lakerank.spark.checkpoint`.
        most_work: exact searches look at so many links at most; beyond, HyperBall estimates.

    Raises:
        UserError: the graph has no nodes.
    """
    return measure(graph, partial(_harmonic, most_work=most_work), ("harmonic double",), scratch)


def personal_pagerank(graph: Graph, seeds: DataFrame, config: PageRankConfig, top: int = 0) -> Measured:
    """Compute PageRank of many surfers at once: `source`, `rank` from 1, `id`, `pagerank`.

    Surfers are dealt out to tasks, each of which is sent the whole graph and the seeds of its own surfers.

    Args:
        graph: links; its `teleport` does not count.
        seeds: `source` (whose), `id` (where that surfer starts afresh), `weight` double ≥ 0; any number of rows.
        config: damping, tol (of each surfer's ranks), max_iter.
        top: so many nodes of each surfer, those with the highest ranks; 0 for all with a rank above 0.

    Raises:
        UserError: no nodes, a seed that is no node, or a surfer without weight.
    """
    spark = seeds.sparkSession
    totals = seeds.groupBy("source").agg((~(F.sum("weight") > 0)).alias("bad"))
    surfers, nowhere = totals.agg(F.count("*"), F.min(F.when(F.col("bad"), F.col("source")))).collect()[0]
    if nowhere is not None:
        raise UserError(f"seeds: {nowhere!r} has no id with a weight above 0")
    tasks = min(-(-surfers // _SURFERS_PER_TASK), int(spark.conf.get("spark.sql.shuffle.partitions") or 1))
    tasks = max(tasks, 1)
    chunks = incidence(replace(graph, teleport=None, warm_start=None)).mapInArrow(to_chunks, CHUNK)
    task = F.explode(F.sequence(F.lit(0), F.lit(tasks - 1))).alias("task")
    rows = chunks.select(task, "*").unionByName(
        seeds.select(
            F.pmod(F.xxhash64("source"), F.lit(tasks)).cast("int").alias("task"),
            "source",
            F.col("id").alias("node"),
            F.col("weight").alias("share"),
        ),
        allowMissingColumns=True,
    )
    dealt = rows.repartitionById(tasks, "task").drop("task")
    work = partial(_personal, config=config, weighted=graph.weighted, parallel=graph.parallel, top=top)
    columns = f"source {dict(seeds.dtypes)['source']}, rank int, id {graph.id_type}, pagerank double"
    return _found(dealt, work, columns, ("source", "rank", "id", "pagerank"), config.scratch)


def measure(graph: Graph, work: Any, columns: Sequence[str], scratch: str) -> Measured:
    """Run `work` in one task of a worker, which loads the graph's chunks and yields `rows_of`.

    Args:
        graph: links and nodes.
        work: from chunks (`encode_ids.to_chunks`) to batches.
        columns: names and types of the values that it yields beside `id`.
        scratch: see `lakerank.spark.checkpoint`.

    Raises:
        UserError: the graph has no nodes.
    """
    names = [column.split()[0] for column in columns]
    chunks = incidence(replace(graph, teleport=None, warm_start=None)).mapInArrow(to_chunks, CHUNK)
    types = ", ".join((f"id {graph.id_type}", *columns))
    return _found(chunks.repartition(1), work, types, ("id", *names), scratch)


def measure_here(graph: ArrowGraph, work: Any) -> Measured:
    """Run `work` in this process, as `measure` does in a worker; `values` is an Arrow table.

    Raises:
        UserError: the graph has no nodes.
    """
    found = pa.Table.from_batches(work(to_chunks(arrow_incidence(replace(graph, teleport=None, warm_start=None)))))
    is_note = pc.is_valid(found.column("note"))
    summary = {row["note"]: row["value"] for row in found.filter(is_note).select(["note", "value"]).to_pylist()}
    if not summary.get("nodes"):
        raise no_nodes()
    return Measured(found.filter(pc.invert(is_note)).drop_columns(["note", "value"]), summary)


def _found(rows: DataFrame, work: Any, columns: str, names: Sequence[str], scratch: str) -> Measured:
    found = checkpoint(rows.mapInArrow(work, f"note string, value double, {columns}"), scratch)
    notes = found.where("note IS NOT NULL").collect()
    unknown = [row["id"] for row in notes if row["note"] == "unknown"]
    if unknown:
        raise UserError(str(unknown_teleport(min(unknown))).replace("teleport", "seeds"))
    summary: dict[str, float] = {}
    for row in notes:  # of several tasks the largest
        summary[row["note"]] = max(row["value"], summary.get(row["note"], row["value"]))
    if not summary.get("nodes"):
        raise no_nodes()
    return Measured(found.where("note IS NULL").select(*names), summary)


def _hits(batches: Iterator[pa.RecordBatch], *, rule: StoppingRule, max_iter: int) -> Iterator[pa.RecordBatch]:
    graph = load(batches, False, False)
    found = hits(graph.src, graph.dst, graph.nodes, rule, max_iter)
    summary = {"nodes": graph.nodes, "iterations": found.iterations, "l1_delta": found.l1_delta}
    yield from rows_of(graph, summary, {"hub": pa.array(found.hub), "authority": pa.array(found.authority)})


def _harmonic(batches: Iterator[pa.RecordBatch], *, most_work: float) -> Iterator[pa.RecordBatch]:
    graph = load(batches, False, False)
    block = graph.block()
    exactly = exact_work(block) <= most_work
    values = (harmonic_exact(block) if exactly else harmonic_estimate(block))[graph.order]
    yield from rows_of(graph, {"nodes": graph.nodes, "exact": exactly}, {"harmonic": pa.array(values)})


def rows_of(
    graph: LocalGraph, summary: Mapping[str, float], values: Mapping[str, pa.Array]
) -> Iterator[pa.RecordBatch]:
    """Yield the summary, then the values of the nodes in order of id."""
    ids = plain_ids(graph.ids)
    yield _notes(summary, {"id": ids.type} | {name: column.type for name, column in values.items()})
    for at in range(0, graph.nodes, OUT_ROWS):
        yield _batch({"id": ids[at : at + OUT_ROWS]} | {k: v[at : at + OUT_ROWS] for k, v in values.items()})


def _personal(
    batches: Iterator[pa.RecordBatch], *, config: PageRankConfig, weighted: bool, parallel: bool, top: int
) -> Iterator[pa.RecordBatch]:
    """Rank for the surfers of one task: rows are chunks of the graph, or seeds (`source`, `node`, `share`)."""
    chunks, seeds = [], []
    for batch in batches:
        is_chunk = pc.is_valid(batch.column("ids"))
        chunks.append(batch.filter(is_chunk).select(["ids", "src", "dst", "weight"]))
        seeds.append(batch.filter(pc.invert(is_chunk)).select(["source", "node", "share"]))
    if not seeds:
        return
    graph, table = load(iter(chunks), weighted, False), pa.Table.from_batches(seeds).combine_chunks()
    ids, order = plain_ids(graph.ids), graph.order
    types = {"source": table.schema.field("source").type, "rank": pa.int32(), "id": ids.type, "pagerank": pa.float64()}
    if not graph.nodes:
        return
    table = table.sort_by([(name, "ascending") for name in table.column_names])  # sums in the same order each time
    numbers = pc.index_in(table.column("node"), ids)
    if numbers.null_count:
        missing = table.column("node").filter(pc.is_null(numbers))
        yield _notes({"unknown": 0.0}, types, id=pc.min(missing).as_py())
        return
    block, starts = graph.block(parallel), order[numbers.to_numpy()]
    source, share = table.column("source").combine_chunks(), table.column("share").to_numpy()
    whose = (
        pc.rank(source, tiebreaker="dense").to_numpy().astype(np.int64) - 1 if len(source) else np.empty(0, np.int64)
    )
    first_rows = np.flatnonzero(np.append(True, whose[1:] != whose[:-1])[: len(whose)])
    sources = source.take(pa.array(first_rows))
    iterations, delta = 0, 0.0
    for first in range(0, len(sources), COLUMNS):
        some = (whose >= first) & (whose < first + COLUMNS)
        teleport = np.zeros((graph.nodes, min(COLUMNS, len(sources) - first)))
        np.add.at(teleport, (starts[some], whose[some] - first), share[some])
        teleport /= teleport.sum(axis=0)
        found = personal_ranks(block, teleport, config.damping, config.rule, config.max_iter)
        iterations, delta = max(iterations, found.iterations), max(delta, found.l1_delta)
        for column in range(teleport.shape[1]):
            best, ranks = top_k(found.ranks[order, column], top)
            name = sources.slice(first + column, 1).take(pa.array(np.zeros(len(best), np.int64)))
            positions = pa.array(np.arange(1, len(best) + 1, dtype=np.int32))
            yield _batch({"source": name, "rank": positions, "id": ids.take(best), "pagerank": pa.array(ranks)})
    yield _notes({"nodes": graph.nodes, "iterations": iterations, "l1_delta": delta}, types)


def _notes(notes: Mapping[str, float], types: Mapping[str, pa.DataType], **given: Any) -> pa.RecordBatch:
    schema = pa.schema([("note", pa.string()), ("value", pa.float64()), *types.items()])
    rows = [{"note": name, "value": float(value), **given} for name, value in notes.items()]
    return pa.RecordBatch.from_pylist(rows, schema=schema)


def _batch(columns: Mapping[str, Any]) -> pa.RecordBatch:
    rows = len(next(iter(columns.values())))
    empty = {"note": pa.nulls(rows, pa.string()), "value": pa.nulls(rows, pa.float64())}
    return pa.record_batch(empty | dict(columns))

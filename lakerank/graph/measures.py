"""What else a web of links says of its nodes, each measure in one Spark job on one worker.

The worker holds the graph as the one-task plan of PageRank does, and besides: HITS the links a second time; harmonic
centrality 24 bytes a node if exact, else 512; personal ranks 400 bytes a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph import harmonic
from lakerank.graph.base import Graph, PageRankConfig, no_nodes, unknown_teleport
from lakerank.graph.encode_ids import CHUNK, to_chunks
from lakerank.graph.hits import hits
from lakerank.graph.local_graph import Loaded, load
from lakerank.graph.personal import COLUMNS, best_of, personal_ranks
from lakerank.spark.checkpoint import checkpoint

OUT_ROWS = 1 << 17
MOST_SEED_ROWS = 1_000_000  # they travel with the task
Seeds = Mapping[str, Sequence[tuple[Any, float]]]  # of each surfer: ids and weights


@dataclass(frozen=True)
class Measured:
    """Values of nodes.

    Attributes:
        values: `id` and the measure's columns.
        facts: `nodes`, and what the measure says of itself: `iterations`, `l1_delta`, `exact` (0 or 1).
    """

    values: DataFrame
    facts: dict[str, float]


def hubs_and_authorities(graph: Graph, config: PageRankConfig) -> Measured:
    """HITS: `id`, `hub`, `authority`, each column of sum 1. Links count once, weights do not.

    Raises:
        UserError: the graph has no nodes.
    """
    return _measure(graph, partial(_hits, tol=config.tol, max_iter=config.max_iter), "hub, authority", config.scratch)


def harmonic_centrality(graph: Graph, scratch: str = "", most_work: float = harmonic.EXACT_WORK) -> Measured:
    """`id`, `harmonic`: Σ 1 / distance over all other nodes that reach it; links count once, weights do not.

    Args:
        graph: links.
        scratch: see `checkpoint`.
        most_work: exact searches look at so many links at most; beyond, HyperBall estimates.

    Raises:
        UserError: the graph has no nodes.
    """
    return _measure(graph, partial(_harmonic, most_work=most_work), "harmonic", scratch)


def personal_pagerank(graph: Graph, seeds: DataFrame, config: PageRankConfig, top: int = 0) -> Measured:
    """PageRank of many surfers at once: `source`, `rank` from 1, `id`, `pagerank`.

    Args:
        graph: links; its `teleport` does not count.
        seeds: `source` (whose), `id` (where that surfer starts afresh), `weight` double ≥ 0; at most a million rows.
        config: damping, tol (of each surfer's ranks), max_iter.
        top: so many nodes of each surfer, those with the highest ranks; 0 for all with a rank above 0.

    Raises:
        UserError: no nodes, too many seeds, one that is no node, or a surfer without weight.
    """
    rows = seeds.select("source", "id", "weight").limit(MOST_SEED_ROWS + 1).collect()
    if len(rows) > MOST_SEED_ROWS:
        raise UserError(f"seeds: more than {MOST_SEED_ROWS} rows; give them in several runs")
    wanted: dict[str, list[tuple[Any, float]]] = {}
    for row in sorted(rows):
        wanted.setdefault(row["source"], []).append((row["id"], row["weight"]))
    for source, places in wanted.items():
        if not sum(weight for _, weight in places) > 0:
            raise UserError(f"seeds: {source!r} has no id with a weight above 0")
    work = partial(_personal, seeds=wanted, config=config, weighted=graph.weighted, top=top)
    source_type = dict(seeds.dtypes)["source"]
    columns = f"source {source_type}, rank int, id {graph.id_type}, pagerank double"
    return _run(graph, work, columns, ("source", "rank", "id", "pagerank"), config.scratch)


def _measure(graph: Graph, work: Any, names: str, scratch: str) -> Measured:
    columns = [name.strip() for name in names.split(",")]
    types = f"id {graph.id_type}, " + ", ".join(f"{name} double" for name in columns)
    return _run(graph, work, types, ("id", *columns), scratch)


def _run(graph: Graph, work: Any, columns: str, names: Sequence[str], scratch: str) -> Measured:
    chunks = graph.edges.select("src", "dst", F.col("weight") if graph.weighted else F.lit(None).cast("double"))
    if graph.nodes is not None:
        nothing = F.lit(None).cast(graph.id_type)
        chunks = chunks.union(graph.nodes.select("id", nothing, F.lit(None).cast("double")))
    packed = chunks.mapInArrow(to_chunks, CHUNK).repartition(1)
    found = checkpoint(packed.mapInArrow(work, f"note string, fact double, {columns}"), scratch)
    notes = found.where("note IS NOT NULL").collect()
    for row in notes:
        if row["note"] == "unknown":
            raise UserError(str(unknown_teleport(row["id"])).replace("teleport", "seeds"))
    facts = {row["note"]: row["fact"] for row in notes}
    if not facts.get("nodes"):
        raise no_nodes()
    return Measured(found.where("note IS NULL").select(*names), facts)


def _hits(batches: Iterator[pa.RecordBatch], *, tol: float, max_iter: int) -> Iterator[pa.RecordBatch]:
    graph = load(batches, False, False)
    found = hits(graph.src, graph.dst, graph.nodes, tol, max_iter)
    facts = {"nodes": graph.nodes, "iterations": found.iterations, "l1_delta": found.l1_delta}
    yield from _rows(graph, facts, {"hub": found.hub, "authority": found.authority})


def _harmonic(batches: Iterator[pa.RecordBatch], *, most_work: float) -> Iterator[pa.RecordBatch]:
    graph = load(batches, False, False)
    block = graph.block()
    exactly = harmonic.work(block) <= most_work
    values = (harmonic.exact(block) if exactly else harmonic.estimated(block))[graph.order]
    yield from _rows(graph, {"nodes": graph.nodes, "exact": exactly}, {"harmonic": values})


def _rows(graph: Loaded, facts: Mapping[str, float], values: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
    """First the facts, then the values in order of id."""
    ids = _plain(graph.ids)
    yield _facts(facts, {"id": ids.type} | dict.fromkeys(values, pa.float64()))
    for at in range(0, graph.nodes, OUT_ROWS):
        part = {"id": ids[at : at + OUT_ROWS]} | {k: pa.array(v[at : at + OUT_ROWS]) for k, v in values.items()}
        yield _batch(part)


def _personal(
    batches: Iterator[pa.RecordBatch], *, seeds: Seeds, config: PageRankConfig, weighted: bool, top: int
) -> Iterator[pa.RecordBatch]:
    graph = load(batches, weighted, False)
    ids, block, order = _plain(graph.ids), graph.block(), graph.order
    sources = list(seeds)
    types = {"source": pa.array(sources).type if sources else pa.string(), "rank": pa.int32(), "id": ids.type}
    types["pagerank"] = pa.float64()
    places = {node: i for i, node in enumerate(ids.to_pylist())} if graph.nodes else {}
    missing = [node for rows in seeds.values() for node, _ in rows if node not in places]
    if missing and places:
        yield _facts({"unknown": 0.0}, types, id=missing[0])
        return
    iterations, delta = 0, 0.0
    for first in range(0, len(sources) if places else 0, COLUMNS):
        some = sources[first : first + COLUMNS]
        teleport = np.zeros((graph.nodes, len(some)))
        for column, source in enumerate(some):
            for node, weight in seeds[source]:
                teleport[order[places[node]], column] += weight
        teleport /= teleport.sum(axis=0)
        found = personal_ranks(block, teleport, config.damping, config.tol, config.max_iter)
        iterations, delta = max(iterations, found.iterations), max(delta, found.l1_delta)
        for column, source in enumerate(some):
            best, ranks = best_of(found.ranks[order, column], top)
            numbers = np.arange(1, len(best) + 1, dtype=np.int32)
            whose = pa.array([source] * len(best), types["source"])
            yield _batch(
                {"source": whose, "rank": pa.array(numbers), "id": ids.take(best), "pagerank": pa.array(ranks)}
            )
    yield _facts({"nodes": graph.nodes, "iterations": iterations, "l1_delta": delta}, types)


def _plain(ids: pa.Array) -> pa.Array:
    return ids if pa.types.is_integer(ids.type) else ids.cast(pa.string())


def _facts(facts: Mapping[str, float], types: Mapping[str, pa.DataType], **given: Any) -> pa.RecordBatch:
    schema = pa.schema([("note", pa.string()), ("fact", pa.float64()), *types.items()])
    rows = [{"note": name, "fact": float(value), **given} for name, value in facts.items()]
    return pa.RecordBatch.from_pylist(rows, schema=schema)


def _batch(columns: Mapping[str, Any]) -> pa.RecordBatch:
    rows = len(next(iter(columns.values())))
    empty = {"note": pa.nulls(rows, pa.string()), "fact": pa.nulls(rows, pa.float64())}
    return pa.record_batch(empty | dict(columns))

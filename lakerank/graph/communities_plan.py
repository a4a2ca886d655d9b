"""Compute components, communities and degrees of a graph in frames: here, in one task, or spread over the cluster.

**Components.** All workers reduce the links that they read, a million at a time, to stars: of each component that they
see, one link from each node to the least. What is left is put together in one task if it is few enough. Else stars are
exchanged until they are those of the whole graph: each node's links meet in one block, which makes stars of them, then
those of the larger ends do. The two steps are the large and the small star of R. Kiveris and others, "Connected
Components in MapReduce and Beyond" (SoCC 2014), which here unite all that a block holds. No worker holds more than one
block, and rounds grow with the logarithm of the nodes.

**Communities.** Each block holds who is whose neighbour for its own nodes (`communities.Adjacency`); in each iteration
it sends every other block the labels of those nodes that the other needs, 8 bytes each.

**Degrees** are two aggregations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.progress import progress
from lakerank.graph.base import Graph, PageRankConfig, no_nodes
from lakerank.graph.centrality_plan import Measured, measure, measure_here, rows_of
from lakerank.graph.communities import Adjacency, Numbers, adjacency, components, count_neighbours, propagate_labels
from lakerank.graph.csr_block import block_size
from lakerank.graph.distributed_plan import checkpoint_partitioned, number_nodes
from lakerank.graph.encode_ids import gather, to_chunks
from lakerank.graph.local_graph import ArrowGraph, load, plain_ids
from lakerank.spark.array_cache import common_folder
from lakerank.spark.array_store import BlockStore
from lakerank.spark.checkpoint import checkpoint

_STAR = "s bigint, d bigint, unfinished bigint"
_PARTS = ("ptr", "neighbours", "wanted", "given", "give", "links")
_BLOCK = "block int, edges bigint, folder string, dtypes string, " + ", ".join(f"{name} binary" for name in _PARTS)
_BLOCK_ARROW = pa.schema(
    [
        ("block", pa.int32()), ("edges", pa.int64()), ("folder", pa.string()), ("dtypes", pa.string()),
        *((name, pa.binary()) for name in _PARTS),
    ]
)  # fmt: skip

# Messages to `block`: from another block (or itself) `origin` the `labels` of the nodes that it wants to know. From
# STATE its own labels, those of the iteration before, and how many nodes the last one changed, and how many it did not
# give back the label they had before that.
STATE = -1
_MESSAGES = "block int, origin int, labels binary, before binary, changed bigint, moved_on bigint"
_MESSAGES_ARROW = pa.schema(
    [
        ("block", pa.int32()), ("origin", pa.int32()), ("labels", pa.binary()), ("before", pa.binary()),
        ("changed", pa.int64()), ("moved_on", pa.int64()),
    ]
)  # fmt: skip


def find_components(graph: Graph | ArrowGraph, config: PageRankConfig) -> Measured:
    """Compute weakly connected components: `id`, `component` (its least id), `size` bigint.

    Args:
        graph: links, of which weights do not count; Arrow tables are worked on in this process.
        config: `one_task_edges`, `block_edges` and `scratch` are used.

    Raises:
        UserError: the graph has no nodes.
    """
    if isinstance(graph, ArrowGraph):
        return measure_here(graph, _components)
    ends = graph.edges.select("src", "dst")
    kind = graph.id_type
    stars = checkpoint(ends.mapInArrow(_stars, f"src {kind}, dst {kind}"), config.scratch)
    reduced = Graph(stars, graph.nodes, rows=stars.count())
    assert reduced.rows is not None
    if reduced.rows <= config.one_task_edges:
        return measure(reduced, _components, ("component " + kind, "size bigint"), config.scratch)
    return _spread_components(reduced, config)


def find_communities(graph: Graph | ArrowGraph, config: PageRankConfig) -> Measured:
    """Compute communities by label propagation: `id`, `label` (an id of its community), `size` bigint.

    Args:
        graph: links, of which weights do not count; Arrow tables are worked on in this process.
        config: `max_iter`, `one_task_edges`, `block_edges` and `scratch` are used.

    Raises:
        UserError: the graph has no nodes.
    """
    work = partial(_labels, max_iter=config.max_iter)
    if isinstance(graph, ArrowGraph):
        return measure_here(graph, work)
    rows = graph.rows if graph.rows is not None else graph.edges.count()
    if rows <= config.one_task_edges:
        return measure(graph, work, ("label " + graph.id_type, "size bigint"), config.scratch)
    blocks = -(-2 * rows // config.block_edges) | 1  # each link is there twice
    numbered, nodes, least = number_nodes(graph, config.scratch)
    if not nodes:
        raise no_nodes()
    with common_folder(graph.edges.sparkSession) as folder:
        packed = _pack_neighbours(graph, numbered, nodes, blocks, config.scratch, least, folder)
        flat, summary = _spread_labels(packed, nodes, blocks, config)
        flat = checkpoint(flat, config.scratch)
    return Measured(_sized(_named(flat, numbered, least), "label"), {"nodes": nodes, **summary})


def count_degrees(graph: Graph | ArrowGraph, scratch: str = "") -> Measured:
    """Count neighbours: `id`, `in_degree`, `out_degree`, `mutual` bigint, `reciprocity` double.

    Links count once however often they are listed. `reciprocity` is 2 · mutual / (in_degree + out_degree), 0 for nodes
    without links; the summary has that of the graph, the part of its links that are answered.

    Raises:
        UserError: the graph has no nodes.
    """
    if isinstance(graph, ArrowGraph):
        return measure_here(graph, _degrees)
    out, into = F.col("starts").cast("bigint").alias("out"), (~F.col("starts")).cast("bigint").alias("into")
    ends = _both_ways(graph.edges, "src", "dst").select(F.col("s").alias("id"), F.col("d").alias("other"), out, into)
    if graph.nodes is not None:
        none = F.lit(0).cast("bigint")
        ends = ends.union(graph.nodes.select("id", F.lit(None).cast(graph.id_type), none, none))
    # Partitioned by node first, so that both aggregations find what they need without another exchange.
    pairs = ends.repartition("id").groupBy("id", "other").agg(F.max("out").alias("out"), F.max("into").alias("into"))
    mutual = F.when(F.col("id") != F.col("other"), F.col("out") * F.col("into"))
    sums = (F.sum("into").alias("in_degree"), F.sum("out").alias("out_degree"))
    counted = pairs.groupBy("id").agg(*sums, F.coalesce(F.sum(mutual), F.lit(0)).cast("bigint").alias("mutual"))
    links = F.col("in_degree") + F.col("out_degree")
    found = checkpoint(
        counted.withColumn("reciprocity", F.coalesce(F.try_divide(2 * F.col("mutual"), links), F.lit(0.0))), scratch
    )
    total = found.agg(F.count("*"), F.sum("out_degree"), F.sum("mutual")).collect()[0]
    if not total[0]:
        raise no_nodes()
    summary = {"nodes": total[0], "edges": total[1], "reciprocity": total[2] / total[1] if total[1] else 0.0}
    return Measured(found, summary)


def _stars(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Reduce links to stars, a million links at a time: each node, and the least that it is connected to."""
    schema = None
    for chunk in to_chunks(_unweighted(batches)):
        ids, src, dst, _ = gather(iter([chunk]))
        least = components(src, dst, len(ids))
        ids = plain_ids(ids)
        schema = pa.schema([("src", ids.type), ("dst", ids.type)])
        yield pa.record_batch([ids, ids.take(pa.array(least))], schema=schema)


def _unweighted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        weight = pa.nulls(batch.num_rows, pa.float64())
        yield pa.record_batch([batch.column(0), batch.column(1), weight], names=["src", "dst", "weight"])


def _components(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    graph = load(batches, False, False)
    least = components(graph.src, graph.dst, graph.nodes)
    size = np.bincount(least, minlength=graph.nodes)
    summary = {"nodes": graph.nodes, "components": int(np.count_nonzero(size)), "largest": int(size.max(initial=0))}
    named = plain_ids(graph.ids).take(pa.array(least))
    yield from rows_of(graph, summary, {"component": named, "size": pa.array(size[least], pa.int64())})


def _labels(batches: Iterator[pa.RecordBatch], *, max_iter: int) -> Iterator[pa.RecordBatch]:
    graph = load(batches, False, False)
    found = propagate_labels(graph.src, graph.dst, graph.nodes, max_iter)
    size = np.bincount(found.labels, minlength=graph.nodes)
    summary = {"nodes": graph.nodes, "iterations": found.iterations, "changed": found.changed}
    summary |= {"communities": int(np.count_nonzero(size)), "largest": int(size.max(initial=0))}
    named = plain_ids(graph.ids).take(pa.array(found.labels))
    yield from rows_of(graph, summary, {"label": named, "size": pa.array(size[found.labels], pa.int64())})


def _degrees(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    graph = load(batches, False, False)
    found = count_neighbours(graph.src, graph.dst, graph.nodes)
    links, mutual = int(found.outgoing.sum()), int(found.mutual.sum())
    summary = {"nodes": graph.nodes, "edges": links, "reciprocity": mutual / links if links else 0.0}
    ends = found.incoming + found.outgoing
    columns = {"in_degree": found.incoming, "out_degree": found.outgoing, "mutual": found.mutual}
    columns["reciprocity"] = np.divide(2.0 * found.mutual, ends, out=np.zeros(graph.nodes), where=ends > 0)
    yield from rows_of(graph, summary, {name: pa.array(values) for name, values in columns.items()})


def _spread_components(stars: Graph, config: PageRankConfig) -> Measured:
    """Compute components of stars that no worker can hold."""
    numbered, nodes, least = number_nodes(stars, config.scratch)
    if not nodes:
        raise no_nodes()
    links, rows = _numbered(stars, numbered, least), stars.rows or 0
    with progress(None, "components", "round") as meter:
        while True:
            both = _both_ways(links.where("s <> d"), "s", "d").select("s", "d")
            met = checkpoint(_met(both, 2 * rows, config, large=True), config.scratch)
            rows, unfinished = met.agg(F.count("s"), F.sum("unfinished")).collect()[0]
            if not unfinished:
                break
            links = checkpoint(
                _met(met.where("s IS NOT NULL").select("s", "d"), rows, config, large=False), config.scratch
            )
            links = links.where("s IS NOT NULL").select("s", "d")
            meter.update(1)
    stars_of_all = links.where("s <> d").distinct()
    flat = numbered.select("number").join(stars_of_all, F.col("number") == F.col("s"), "left")
    flat = flat.select("number", F.coalesce("d", "number").alias("label"))
    named = _named(checkpoint(flat, config.scratch), numbered, least).withColumnRenamed("label", "component")
    found = checkpoint(_sized(named, "component"), config.scratch)
    sizes = found.where("id = component").agg(F.count("*"), F.max("size")).collect()[0]
    return Measured(found, {"nodes": nodes, "components": sizes[0], "largest": sizes[1]})


def _met(links: DataFrame, rows: int, config: PageRankConfig, *, large: bool) -> DataFrame:
    """Let the links of each node `s` meet in one block; return the stars of the blocks."""
    parts = -(-rows // config.block_edges) | 1
    return links.repartition(parts, "s").mapInArrow(partial(_meet, large=large), _STAR)


def _both_ways(links: DataFrame, src: str, dst: str) -> DataFrame:
    """Return each link from both ends: `s`, `d`, and `starts`, whether it leads from `s` to `d`."""
    ends = [
        F.struct(F.col(a).alias("s"), F.col(b).alias("d"), F.lit(starts).alias("starts"))
        for a, b, starts in ((src, dst, True), (dst, src, False))
    ]
    return links.select(F.explode(F.array(*ends)).alias("end")).select("end.*")


def _meet(batches: Iterator[pa.RecordBatch], *, large: bool) -> Iterator[pa.RecordBatch]:
    """Make stars of the links of one block: `s`, `d`, and a row without them that counts unfinished nodes.

    Args:
        batches: all links of some nodes, `s`, and others, `d`; both ways if `large`.
        large: whether to count: a node has not arrived that has two smaller neighbours, or a smaller and a larger one.
    """
    ends = [(batch.column(0).to_numpy(), batch.column(1).to_numpy()) for batch in batches if batch.num_rows]
    if not ends:
        return
    node, other = (np.concatenate(column) for column in zip(*ends, strict=True))
    unfinished = _unfinished(node, other) if large else 0
    ids = np.concatenate([node, other])
    ids.sort()
    ids = ids[np.append(True, ids[1:] != ids[:-1])]
    least = components(np.searchsorted(ids, node), np.searchsorted(ids, other), len(ids))
    moved = least != np.arange(len(ids))
    yield _star_batch(ids[moved], ids[least[moved]], 0)
    yield _star_batch([None], [None], unfinished)


def _star_batch(node: Any, least: Any, unfinished: int) -> pa.RecordBatch:
    columns = [pa.array(node, pa.int64()), pa.array(least, pa.int64()), pa.array([unfinished] * len(node), pa.int64())]
    return pa.record_batch(columns, names=["s", "d", "unfinished"])


def _unfinished(node: Numbers, other: Numbers) -> int:
    order = np.lexsort((other, node))
    node, other = node[order], other[order]
    keep = np.append(True, (node[1:] != node[:-1]) | (other[1:] != other[:-1]))
    node, other = node[keep], other[keep]
    first = np.flatnonzero(np.append(True, node[1:] != node[:-1]))
    smaller = np.add.reduceat((other < node).astype(np.int64), first)
    degree = np.diff(np.append(first, len(node)))
    return int(((smaller > 1) | ((smaller == 1) & (degree > 1))).sum())


def _numbered(graph: Graph, numbered: DataFrame, least: int | None) -> DataFrame:
    """Return the links as numbers: `s`, `d`."""
    if least is not None:
        return graph.edges.select((F.col("src") - least).alias("s"), (F.col("dst") - least).alias("d"))
    sources = numbered.select(F.col("id").alias("src"), F.col("number").alias("s"))
    targets = numbered.select(F.col("id").alias("dst"), F.col("number").alias("d"))
    return graph.edges.join(sources, "src").join(targets, "dst").select("s", "d")


def _named(flat: DataFrame, numbered: DataFrame, least: int | None) -> DataFrame:
    """Return `id` and `label` as ids, of `number` and `label` as numbers."""
    if least is not None:
        return flat.select((F.col("number") + least).alias("id"), (F.col("label") + least).alias("label"))
    names = numbered.select(F.col("number").alias("label"), F.col("id").alias("name"))
    return flat.join(numbered, "number").join(names, "label").select("id", F.col("name").alias("label"))


def _sized(named: DataFrame, column: str) -> DataFrame:
    """Add `size`: how many nodes have the same value in a column."""
    return named.join(named.groupBy(column).agg(F.count("*").alias("size")), column).select("id", column, "size")


def _pack_neighbours(
    graph: Graph, numbered: DataFrame, nodes: int, blocks: int, scratch: str, least: int | None, folder: str
) -> DataFrame:
    """Pack an `Adjacency` for each block: `block` int and the arrays, in files of `folder` or as bytes."""
    links = _numbered(graph, numbered, least)
    rows = _both_ways(links, "s", "d").select(
        (F.col("s") % blocks).cast("int").alias("block"), F.expr(f"s div {blocks}").alias("own"), "d", "starts"
    )
    nothing = F.lit(None).cast("bigint")
    empty = graph.edges.sparkSession.range(blocks).select(  # a block without any link is a block, too
        F.col("id").cast("int").alias("block"), nothing.alias("own"), nothing.alias("d"), F.lit(True).alias("starts")
    )
    packed = (
        rows.union(empty)
        .repartitionById(blocks, "block")
        .groupBy("block")
        .applyInArrow(lambda t: _pack_group(t, nodes=nodes, blocks=blocks, folder=folder), _BLOCK)
        .repartitionById(blocks, "block")
    )
    return checkpoint_partitioned(packed, scratch)


def _pack_group(table: pa.Table, *, nodes: int, blocks: int, folder: str) -> pa.Table:
    number = table.column("block")[0].as_py()
    table = table.filter(pc.is_valid(table.column("own")))
    own, other, starts = (table.column(name).to_numpy() for name in ("own", "d", "starts"))
    block = adjacency(own, other, starts, nodes=nodes, blocks=blocks, block=number)
    row = {"block": number, "edges": int(block.links[0])}
    if folder:
        BlockStore(folder).put(str(number), block.arrays())
        return pa.Table.from_pylist([row | {"folder": folder}], schema=_BLOCK_ARROW)
    arrays = block.arrays()
    dtypes = " ".join(array.dtype.str for array in arrays.values())
    cells = {name: array.tobytes() for name, array in arrays.items()}
    return pa.Table.from_pylist([row | {"dtypes": dtypes} | cells], schema=_BLOCK_ARROW)


def _unpacked(row: Mapping[str, Any]) -> Adjacency:
    if row["folder"]:
        return Adjacency(**BlockStore(row["folder"]).get(str(row["block"])))
    kinds = zip(_PARTS, row["dtypes"].split(), strict=True)
    return Adjacency(**{name: np.frombuffer(row[name], kind) for name, kind in kinds})


def _spread_labels(
    packed: DataFrame, nodes: int, blocks: int, config: PageRankConfig
) -> tuple[DataFrame, dict[str, float]]:
    """Exchange labels until they stay; return `number`, `label` and the summary."""
    spark = packed.sparkSession
    first = [(block, STATE, b"", b"", 0, 0) for block in range(blocks)]
    messages = spark.createDataFrame(first, _MESSAGES)
    with progress(config.max_iter, "communities", "iteration") as meter:
        for number in range(config.max_iter + 1):  # the first delivery starts the labels
            delivered = messages.repartitionById(blocks, "block").groupBy("block")
            sent = packed.groupBy("block").cogroup(delivered)
            messages = checkpoint(
                sent.applyInArrow(lambda p, m: _exchange(p, m, nodes=nodes, blocks=blocks), _MESSAGES), config.scratch
            )
            state = messages.where(F.col("origin") == STATE)
            if number:
                changed, moved_on = state.agg(F.sum("changed"), F.sum("moved_on")).collect()[0]
                meter.update(1)
                if not changed or (not moved_on and number > 1):
                    break
    edges = packed.agg(F.sum("edges")).collect()[0][0]
    flat = state.select("block", "labels").mapInArrow(partial(_flat, blocks=blocks), "number bigint, label bigint")
    return flat, {"iterations": number, "changed": changed, "edges": edges}


def _exchange(packed: pa.Table, messages: pa.Table, *, nodes: int, blocks: int) -> pa.Table:
    """Do one block's part of one iteration: read the labels sent to it, update its own, send those that others want."""
    row = packed.to_pylist()[0]
    number, block = row["block"], _unpacked(row)
    own, *others = sorted(messages.to_pylist(), key=lambda message: message["origin"])
    size = block_size(nodes, blocks, number)
    if others:
        labels, before = np.frombuffer(own["labels"], np.int64), np.frombuffer(own["before"], np.int64)
        received = np.concatenate([np.frombuffer(message["labels"], np.int64) for message in others])
        after = block.next_labels(received, labels)
        changed, moved_on = int((after != labels).sum()), int((after != before).sum())
    else:
        after = labels = np.arange(size, dtype=np.int64) * blocks + number
        changed = moved_on = 0
    sent = [(number, STATE, after.tobytes(), labels.tobytes(), changed, moved_on)]
    for to in range(blocks):
        given = block.given[block.give[to] : block.give[to + 1]]
        sent.append((to, number, after[given].tobytes(), b"", 0, 0))
    rows = [dict(zip(_MESSAGES_ARROW.names, cells, strict=True)) for cells in sent]
    return pa.Table.from_pylist(rows, schema=_MESSAGES_ARROW)


def _flat(batches: Iterator[pa.RecordBatch], *, blocks: int) -> Iterator[pa.RecordBatch]:
    """Convert states to rows: `number`, `label` bigint."""
    for batch in batches:
        for state in batch.to_pylist():
            labels = np.frombuffer(state["labels"], np.int64)
            numbers = np.arange(len(labels), dtype=np.int64) * blocks + state["block"]
            for at in range(0, len(labels), 1 << 17):
                columns = [pa.array(numbers[at : at + (1 << 17)]), pa.array(labels[at : at + (1 << 17)])]
                yield pa.record_batch(columns, names=["number", "label"])

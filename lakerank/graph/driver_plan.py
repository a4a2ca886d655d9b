"""PageRank without a Spark job: links from a Delta table in a folder, the one-task computation in the driver.

Spark hands a worker every row as Arrow and takes ranks back, which costs several times the computation itself. Where a
table lies in a folder of this machine, is not large and has no row that cannot be used, the driver reads it directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from lakerank.graph.base import PageRankConfig, RankResult
from lakerank.graph.edge_lists import EDGE, NODE, column_for
from lakerank.graph.encode_ids import to_chunks
from lakerank.graph.local_plan import outcome, solve

Read = Callable[[str, Callable[[Mapping[str, str]], Mapping[str, str] | None], int], pa.Table | None]
ON_DRIVER = "native, on the driver"
_ROWS = 1 << 20
_NUMBERS = ("int8", "int16", "int32", "int64")
_TEXTS = ("string", "large_string", "string_view")


@dataclass(frozen=True)
class Tables:
    """A graph as Arrow tables, ids all int64 or all string, nothing null or empty, weights finite and ≥ 0.

    Attributes:
        edges: `src`, `dst`, and `weight` float64 if weighted.
        nodes: `id`; nodes to rank even if no link touches them.
        start: `id`, `pagerank`: ranks to begin with.
        weighted: whether weights count.
    """

    edges: pa.Table
    nodes: pa.Table | None = None
    start: pa.Table | None = None
    weighted: bool = False


def tables(read: Read, links: str, nodes: str, start: str, weighted: bool, most: int) -> Tables | None:
    """The graph, if the driver can read it and all of it can be used; else None: the way through Spark says why.

    Args:
        read: `lake.delta_arrow.in_folder`.
        links: table of links.
        nodes: table of nodes, or empty.
        start: table of earlier ranks, or empty.
        weighted: whether weights count.
        most: links; more are for Spark.
    """
    if most <= 0:
        return None
    edges = _usable(read(links, lambda types: _edges(types, weighted), most))
    if edges is None or not len(edges):
        return None
    kind = edges.schema.field("src").type
    others: list[pa.Table | None] = []
    for where, names in ((nodes, NODE), (start, ("id", "pagerank"))):
        table = _usable(read(where, partial(_columns, names=names), most)) if where else None
        if where and (table is None or table.schema.field("id").type != kind):
            return None
        others.append(table)
    return Tables(edges, others[0], others[1], weighted)


def run(graph: Tables, config: PageRankConfig) -> RankResult:
    """PageRank of `graph` in this process; `ranks` is an Arrow table.

    Raises:
        UserError: there are no nodes.
    """
    made = list(solve(to_chunks(_rows(graph)), config=config, weighted=graph.weighted, teleported=False))
    found = pa.Table.from_batches(made)
    noted = pc.is_valid(found.column("note"))
    ranks = found.filter(pc.invert(noted)).select(["id", "pagerank"])
    return outcome(found.filter(noted).to_pylist(), ranks, config, ON_DRIVER)


def _rows(graph: Tables) -> Iterator[pa.RecordBatch]:
    """As `loaded.incidence` has them."""
    kind = graph.edges.schema.field("src").type

    def batches(src: pa.Table, dst: bool, weight: str) -> Iterator[pa.RecordBatch]:
        for batch in src.to_batches(max_chunksize=_ROWS):
            n = batch.num_rows
            columns = [batch.column(0), batch.column(1) if dst else pa.nulls(n, kind)]
            columns.append(batch.column(weight) if weight else pa.nulls(n, pa.float64()))
            yield pa.record_batch(columns, names=["src", "dst", "weight"])

    yield from batches(graph.edges, True, "weight" if graph.weighted else "")
    if graph.nodes is not None:
        yield from batches(graph.nodes, False, "")
    if graph.start is not None:
        begun = graph.start.filter(pc.greater(graph.start.column("pagerank"), 0.0))
        begun = begun.set_column(1, "pagerank", pc.negate(begun.column("pagerank")))
        yield from batches(begun, False, "pagerank")


def _edges(types: Mapping[str, str], weighted: bool) -> Mapping[str, str] | None:
    """The columns of a table of links."""
    wanted = _columns(types, ("src", "dst", "weight") if weighted else EDGE)
    if wanted is None:
        return None
    ends = {types[wanted[name]] for name in EDGE}
    if not (ends <= set(_NUMBERS) or ends <= set(_TEXTS)):
        return None
    if weighted and types[wanted["weight"]] not in (*_NUMBERS, "float", "double"):
        return None
    return {**wanted, "nofollow": "nofollow"} if types.get("nofollow") == "bool" else wanted


def _columns(types: Mapping[str, str], names: Sequence[str]) -> Mapping[str, str] | None:
    """Each name and the column it stands for; None if there is none for one of them."""
    found = {name: column for name in names if (column := column_for(name, types)) is not None}
    return found if len(found) == len(names) else None


def _usable(table: pa.Table | None) -> pa.Table | None:
    """The rows that count, in the types of `Tables`; None if a row cannot be used, which is for Spark to tell."""
    if table is None:
        return None
    if "nofollow" in table.column_names:
        follow = pc.invert(pc.fill_null(table.column("nofollow"), False))
        table = table.filter(follow).drop_columns(["nofollow"])
    for i, name in enumerate(table.column_names):
        column = table.column(name)
        if column.null_count:
            return None
        if name in ("weight", "pagerank"):
            column = column.cast(pa.float64())
            if not pc.all(pc.and_(pc.is_finite(column), pc.greater_equal(column, 0.0)), min_count=0).as_py():
                return None
        elif str(column.type) in _NUMBERS:
            column = column.cast(pa.int64())
        elif str(column.type) in _TEXTS:
            column = column.cast(pa.string())
            if pc.any(pc.equal(column, ""), min_count=0).as_py():
                return None
        else:
            return None
        table = table.set_column(i, name, column)
    return table

"""PageRank for programs: `pagerank` on frames or a GraphFrame, its kin, and GraphFrames' own calls without GraphX.

    pagerank(edges)                                             # a frame with `src` and `dst`
    pagerank(links, pages, src="from", dst="to", weight="n")    # your own column names
    connected_components(edges), label_propagation(edges), node_degrees(edges)

    g.pageRank(resetProbability=0.15, maxIter=20)               # GraphFrames before
    graphframes_pagerank(g, resetProbability=0.15, maxIter=20)  # after

Frames are Spark's, pandas' or Arrow tables; the latter two are ranked in this process, without a session. A frame that
does not fit raises `UserError` with the column, before anything is computed from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph.base import Graph, PageRankConfig, RankResult
from lakerank.graph.centrality_plan import Measured, personal_pagerank
from lakerank.graph.communities_plan import count_degrees, find_communities, find_components
from lakerank.graph.engines import run_native
from lakerank.graph.iterate import StoppingRule
from lakerank.graph.local_graph import ArrowGraph
from lakerank.graph.local_plan import run_on_driver
from lakerank.lake.input_files import quoted

_WHOLE = (
    "tinyint", "smallint", "int", "bigint", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
_TEXT = ("string", "large_string", "string_view")
_NUMBERS = (*_WHOLE, "float", "double", "halffloat")
_IDS = ("id", "component", "label")  # columns of results that hold ids
_UNTIL_DONE = 1000  # iterations at most when only `tol` decides


@dataclass(frozen=True)
class PageRankResult:
    """Hold the ranks of all nodes and how exact they are.

    Attributes:
        ranks: `id`, `pagerank` float64; one row per node, sum 1. A frame of the kind that the edges are.
        iterations: how many were done.
        converged: whether the last one met the stopping rule.
        error_bound: at most how far the ranks are from the exact ones, L1 (no rank by more than half of it); None if
            damping is 1.
        nodes: number of nodes.
        edges: number of different links.
    """

    ranks: Any
    iterations: int
    converged: bool
    error_bound: float | None
    nodes: int
    edges: int


def pagerank(
    edges: Any,
    vertices: Any = None,
    *,
    src: str = "src",
    dst: str = "dst",
    weight: str | None = None,
    id: str = "id",
    damping: float = 0.85,
    tol: float = 1e-8,
    max_iter: int = 0,
    teleport: Any = None,
    warm_start: Any = None,
    stopping: StoppingRule | None = None,
    scratch: str = "",
) -> PageRankResult:
    """Compute the PageRank of every node of a graph.

    Args:
        edges: a Spark or pandas DataFrame or an Arrow table with a row for each link, or a GraphFrame. Without weights
            a link counts once however often it is listed; with them, weights of parallel links add up.
        vertices: frame of nodes to rank even if no link touches them; others are ranked, too.
        src: column of `edges`: where the link stands; whole numbers or text.
        dst: column of `edges`: where it leads.
        weight: column of `edges` with numbers ≥ 0; None: links count alike.
        id: column of `vertices`, `teleport` and `warm_start`.
        damping: probability of following a link, 0 to 1.
        tol: stop when the ranks change by less than this in one iteration, L1 norm.
        max_iter: stop after this many iterations at the latest; 0: as many as `damping` and `tol` can take.
        teleport: where the surfer starts afresh (personal PageRank): ids and weights as a mapping, or a frame with the
            columns `id` and `weight`; None: anywhere.
        warm_start: earlier ranks to begin with, such as `ranks` of an earlier result; saves iterations.
        stopping: another rule by which to stop than the one of `tol`.
        scratch: folder for intermediate results where Spark refuses local checkpoints, as serverless does.

    Raises:
        UserError: an argument is no frame, a column is missing, of a wrong type or has a value that cannot be used, a
            teleport id is no node, or there is no node at all.
    """
    if vertices is None and _is_graph(edges):
        edges, vertices = edges.edges, edges.vertices
    config = PageRankConfig(damping, tol, max_iter, scratch=scratch, stopping=stopping)
    frames = _Frames(edges)
    links = frames.take(edges, "edges", {"src": src, "dst": dst}, {"weight": weight} if weight else {})
    nodes = None if vertices is None else frames.take(vertices, "vertices", {"id": id})
    starts = None if teleport is None else frames.take(teleport, "teleport", {"id": id}, {"weight": "weight"})
    ranks = None if warm_start is None else frames.take(warm_start, "warm_start", {"id": id}, {"pagerank": "pagerank"})
    result = frames.rank(links, nodes, starts, ranks, weight is not None, config)
    bound = result.error_bound(damping)
    found = frames.returned(result.ranks)
    return PageRankResult(found, result.iterations, result.converged, bound, result.nodes, result.edges)


def connected_components(
    edges: Any,
    vertices: Any = None,
    *,
    src: str = "src",
    dst: str = "dst",
    id: str = "id",
    scratch: str = "",
) -> Any:
    """Find the weakly connected component of every node of a graph.

    Args:
        edges: see `pagerank`, as `vertices`, `src`, `dst`, `id` and `scratch`.

    Returns:
        A frame of the kind that the edges are: `id`, `component` (the least id that it is connected to) and `size`, how
        many nodes the component has.

    Raises:
        UserError: see `pagerank`.
    """
    return _measured(find_components, edges, vertices, (src, dst, id), PageRankConfig(scratch=scratch))


def label_propagation(
    edges: Any,
    vertices: Any = None,
    *,
    src: str = "src",
    dst: str = "dst",
    id: str = "id",
    max_iter: int = 20,
    scratch: str = "",
) -> Any:
    """Find the community of every node of a graph by label propagation (`lakerank.graph.communities` says how).

    Args:
        edges: see `pagerank`, as `vertices`, `src`, `dst`, `id` and `scratch`.
        max_iter: stop after this many iterations at the latest; before, when no label changes any more.

    Returns:
        A frame of the kind that the edges are: `id`, `label` (an id) and `size`, how many nodes have that label.

    Raises:
        UserError: see `pagerank`.
    """
    config = PageRankConfig(max_iter=max_iter, scratch=scratch)
    return _measured(find_communities, edges, vertices, (src, dst, id), config)


def node_degrees(
    edges: Any,
    vertices: Any = None,
    *,
    src: str = "src",
    dst: str = "dst",
    id: str = "id",
    scratch: str = "",
) -> Any:
    """Count the different neighbours of every node of a graph, those without links too if `vertices` has them.

    Args:
        edges: see `pagerank`, as `vertices`, `src`, `dst`, `id` and `scratch`.

    Returns:
        A frame of the kind that the edges are: `id`, `in_degree`, `out_degree`, `mutual` (other nodes that it links to
        and that link to it) and `reciprocity`, 2 · mutual / (in_degree + out_degree).

    Raises:
        UserError: see `pagerank`.
    """
    return _measured(
        lambda graph, config: count_degrees(graph, config.scratch), edges, vertices, (src, dst, id),
        PageRankConfig(scratch=scratch),
    )  # fmt: skip


def _measured(
    compute: Callable[[Any, PageRankConfig], Measured],
    edges: Any,
    vertices: Any,
    names: tuple[str, str, str],
    config: PageRankConfig,
) -> Any:
    """Compute a measure of a user's frames; return a frame of the kind that the edges are."""
    if vertices is None and _is_graph(edges):
        edges, vertices = edges.edges, edges.vertices
    frames, (src, dst, id) = _Frames(edges), names
    links = frames.take(edges, "edges", {"src": src, "dst": dst})
    nodes = None if vertices is None else frames.take(vertices, "vertices", {"id": id})
    kind = ArrowGraph(links, nodes) if frames.spark is None else Graph(links, nodes, rows=frames.rows["edges"])
    return frames.returned(compute(kind, config).values)


@dataclass(frozen=True)
class RankedGraph:
    """Hold what GraphFrames' `pageRank` returns, as two frames.

    Attributes:
        vertices: as given, with `pagerank` double.
        edges: as given, with `weight` double: the part of its source's rank that each edge carries.
        result: how it converged: iterations, last change, bound of the error (`RankResult.error_bound`); None of many.
    """

    vertices: DataFrame
    edges: DataFrame
    result: RankResult | None


def graphframes_pagerank(
    vertices: Any,
    edges: DataFrame | None = None,
    *,
    resetProbability: float = 0.15,
    sourceId: Any = None,
    maxIter: int | None = None,
    tol: float | None = None,
    weightCol: str | None = None,
    sumToN: bool = False,
    scratch: str = "",
) -> RankedGraph:
    """Rank the vertices of a graph, with the parameters and columns of `GraphFrame.pageRank`.

    Parallel edges count as often as they are listed, as in GraphX; each comes back once. Ends of edges that are no
    vertices are treated as GraphFrames does: whole numbers take part but are not returned; edges to or from text that
    is no vertex do not count and are not returned. Ranks are those GraphX converges to: it lets the mass of sinks leak
    and rescales at the end (`graphframes_engine` says why that is the same).

    Args:
        vertices: a GraphFrame, or its vertices: `id` (whole numbers or text) and any other columns.
        edges: `src`, `dst` and any other columns; left out if `vertices` is a GraphFrame.
        resetProbability: of starting afresh, 0 to 1; 1 − damping.
        sourceId: start afresh at this vertex only (personal PageRank); None: anywhere.
        maxIter: do so many iterations at most. Exactly one of `maxIter` and `tol`.
        tol: stop when ranks of sum 1 change by less than this, L1. (GraphX asks it of each vertex by itself.)
        weightCol: column of `edges` with a number ≥ 0 that says how much an edge counts; None: all alike.
        sumToN: ranks sum to the number of vertices, as GraphFrames has it, rather than to 1.
        scratch: folder for intermediate results where local checkpoints are refused, as on serverless.

    Raises:
        UserError: a column is missing, of the wrong type or has a null, both or neither of `maxIter` and `tol` are
            given, a weight cannot be used, or there is no vertex `sourceId`.
    """
    if (maxIter is None) == (tol is None):
        raise UserError("pagerank: exactly one of maxIter or tol must be set")
    taken = _GraphFrame.take(vertices, edges, weightCol)
    config = PageRankConfig(
        1 - resetProbability, 0.0 if tol is None else tol, _UNTIL_DONE if maxIter is None else maxIter, scratch=scratch
    )
    starts = None if sourceId is None else taken.vertex(sourceId, "sourceId").withColumn("weight", F.lit(1.0))
    result = run_native(replace(taken.graph, teleport=starts), config)
    scale = F.lit(float(result.nodes)) if sumToN else F.lit(1.0)
    ranks = result.ranks.select("id", (F.col("pagerank") * scale).alias("pagerank"))
    return RankedGraph(taken.with_column(ranks), taken.edges.withColumn("weight", _share(weightCol)), result)


def graphframes_parallel_personalized_pagerank(
    vertices: Any,
    edges: DataFrame | None = None,
    *,
    resetProbability: float = 0.15,
    sourceIds: Sequence[Any] = (),
    maxIter: int | None = None,
    scratch: str = "",
) -> RankedGraph:
    """Rank the vertices of a graph as seen from each of several, as `GraphFrame.parallelPersonalizedPageRank` does.

    Args:
        vertices: see `graphframes_pagerank`, as `edges`, `resetProbability` and `scratch`.
        edges: likewise.
        resetProbability: likewise.
        sourceIds: vertices, one or more; each surfer starts afresh at one of them.
        maxIter: do so many iterations.
        scratch: likewise.

    Returns:
        The vertices with `pageranks`, a vector (of `pyspark.ml.linalg`): element i is the rank as seen from
        `sourceIds[i]`, 0 where it cannot be reached; over all nodes each element sums to 1. `result` is None.

    Raises:
        UserError: see `graphframes_pagerank`; `sourceIds` is empty or `maxIter` is not given.
    """
    from pyspark.ml.functions import array_to_vector  # nothing else here needs pyspark.ml

    if not sourceIds or maxIter is None:
        raise UserError("parallelPersonalizedPageRank: give sourceIds, one vertex or more, and maxIter")
    taken = _GraphFrame.take(vertices, edges, None)
    for vertex in sourceIds:
        taken.vertex(vertex, "sourceIds")
    spark, kind = taken.edges.sparkSession, taken.graph.id_type
    seeds = spark.createDataFrame(
        [(number, vertex, 1.0) for number, vertex in enumerate(sourceIds)], f"source int, id {kind}, weight double"
    )
    config = PageRankConfig(1 - resetProbability, 0.0, maxIter, scratch=scratch)
    found = personal_pagerank(taken.graph, seeds, config).values
    known = F.map_from_entries(F.collect_list(F.struct("source", "pagerank")))
    each = F.sequence(F.lit(0), F.lit(len(sourceIds) - 1))
    dense = F.transform(each, lambda number: F.coalesce(F.try_element_at("known", number), F.lit(0.0)))
    ranks = found.groupBy("id").agg(known.alias("known")).select("id", array_to_vector(dense).alias("pageranks"))
    nowhere = array_to_vector(F.array_repeat(F.lit(0.0), len(sourceIds)))
    every = taken.graph.nodes.distinct().join(ranks, "id", "left")  # type: ignore[union-attr]
    whole = every.select("id", F.coalesce("pageranks", nowhere).alias("pageranks"))
    return RankedGraph(taken.with_column(whole), taken.edges.withColumn("weight", _share(None)), None)


@dataclass(frozen=True)
class _GraphFrame:
    """Hold a GraphFrame's frames, as given but for edges that do not count, and the graph that they are."""

    vertices: DataFrame
    edges: DataFrame
    graph: Graph

    @classmethod
    def take(cls, vertices: Any, edges: Any, weight: str | None) -> _GraphFrame:
        """Check a GraphFrame, or its vertices and edges.

        Raises:
            UserError: see `graphframes_pagerank`.
        """
        if edges is None:
            if not _is_graph(vertices):
                raise UserError("pagerank: give vertices and edges, or a GraphFrame")
            vertices, edges = vertices.vertices, vertices.edges
        for what, frame in (("vertices", vertices), ("edges", edges)):
            if not isinstance(frame, DataFrame):
                raise UserError(f"{what} must be a Spark DataFrame, not {type(frame).__name__}")
        frames = _Frames(edges)
        nodes = frames.take(vertices, "vertices", {"id": "id"})
        links = frames.take(edges, "edges", {"src": "src", "dst": "dst"}, {"weight": weight} if weight else {})
        rows: int | None = frames.rows["edges"]
        if dict(nodes.dtypes)["id"] == "string":
            for end in ("src", "dst"):
                known = nodes.select(F.col("id").alias(end))
                links, edges, rows = links.join(known, end, "left_semi"), edges.join(known, end, "left_semi"), None
        return cls(vertices, edges, Graph(links, nodes, None, weight is not None, rows, parallel=True))

    def vertex(self, node: Any, what: str) -> DataFrame:
        """Return the vertex with an id, one row.

        Raises:
            UserError: there is none.
        """
        assert self.graph.nodes is not None
        found = self.graph.nodes.where(F.col("id") == F.lit(node)).distinct()
        if isinstance(node, str) != (self.graph.id_type == "string") or not found.head(1):
            raise UserError(f"pagerank: {what} {node!r} is no vertex")
        return found

    def with_column(self, values: DataFrame) -> DataFrame:
        """Return the vertices with the columns of `values`, in place of their own of that name."""
        values = values.withColumnRenamed("id", "_id")
        given = self.vertices.drop(*values.columns)
        return given.join(values, given["id"].cast(self.graph.id_type) == values["_id"]).drop("_id")


def _is_graph(value: Any) -> bool:
    return not isinstance(value, DataFrame) and hasattr(value, "vertices") and hasattr(value, "edges")


def _share(weight: str | None) -> Column:
    """Return the part of its source's rank that an edge carries."""
    each = F.lit(1.0) if weight is None else F.col(weight).cast("double")
    return F.try_divide(each, F.sum(each).over(Window.partitionBy("src")))


class _Frames:
    """Take columns from a user's frames, check them, and rank them where the edges are: in Spark or in this process."""

    def __init__(self, edges: Any) -> None:
        self.spark = edges.sparkSession if isinstance(edges, DataFrame) else None
        self.pandas = type(edges).__module__.partition(".")[0] == "pandas"
        self.rows: dict[str, int] = {}
        self.id_type: dict[str, str] = {}  # by the column of the user's frames, as "edges: column `src`"

    def take(self, frame: Any, what: str, ids: Mapping[str, str], numbers: Mapping[str, str] | None = None) -> Any:
        """Return the columns named, ids bigint or string and numbers double, all checked.

        Args:
            frame: a user's; a mapping from id to number, too.
            what: its name, for messages.
            ids: our name → the user's, of columns with ids.
            numbers: likewise, of columns with numbers that are finite and ≥ 0.

        Raises:
            UserError: no frame, or a column is missing, of another type, or has values that cannot be used.
        """
        numbers = numbers or {}
        if isinstance(frame, Mapping) and numbers:
            values = zip([*ids.values(), *numbers.values()], (list(frame), list(frame.values())), strict=True)
            frame = _arrow(dict(values), what)
        wanted = dict.fromkeys(ids.values(), "whole numbers or text") | dict.fromkeys(numbers.values(), "numbers")
        frame = self._columns(frame, what, wanted)
        types = dict(frame.dtypes) if self.spark else {field.name: str(field.type) for field in frame.schema}
        for name, must in wanted.items():
            fits = types[name] in (_NUMBERS if must == "numbers" else (*_WHOLE, *_TEXT))
            if not fits and not (must == "numbers" and types[name].startswith("decimal")):
                raise UserError(f"{what}: column `{name}` must be {must}, not {types[name]}")
        for name in ids.values():
            self.id_type[f"{what}: column `{name}`"] = types[name]
            first, first_type = next(iter(self.id_type.items()))
            if (types[name] in _TEXT) != (first_type in _TEXT):
                raise UserError(
                    f"{what}: column `{name}` is {types[name]}, but {first} is {first_type}: ids must be all whole "
                    "numbers or all text"
                )
        check = self._check_spark if self.spark else self._check_arrow
        return check(frame, what, ids, numbers, text=types[next(iter(ids.values()))] in _TEXT)

    def _columns(self, frame: Any, what: str, wanted: Mapping[str, str]) -> Any:
        """Return the frame with the columns wanted: in Spark if the edges are there, else as an Arrow table."""
        in_pandas = type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns")
        if not (isinstance(frame, (DataFrame, pa.Table)) or in_pandas):
            raise UserError(f"{what} must be a Spark or pandas DataFrame or an Arrow table, not {type(frame).__name__}")
        names = frame.column_names if isinstance(frame, pa.Table) else list(frame.columns)
        for name, must in wanted.items():
            if names.count(name) != 1:
                count = "there are several" if name in names else "there is none"
                listed = ", ".join(map(str, names))
                raise UserError(f"{what}: column `{name}` must be {must}, but {count} (its columns: {listed})")
        if isinstance(frame, DataFrame):
            if self.spark is None:
                raise UserError(f"{what} is a Spark DataFrame, but the edges are not: give both as the same kind")
            return frame
        table = (
            frame.select(list(wanted)) if isinstance(frame, pa.Table) else _arrow({n: frame[n] for n in wanted}, what)
        )
        for at, field in enumerate(table.schema):
            if pa.types.is_dictionary(field.type):  # pandas' categories
                table = table.set_column(at, field.name, table.column(at).cast(field.type.value_type))
        return table if self.spark is None else self.spark.createDataFrame(table)

    def _check_spark(
        self, frame: DataFrame, what: str, ids: Mapping[str, str], numbers: Mapping[str, str], *, text: bool
    ) -> DataFrame:
        every = {**ids, **numbers}
        types = {name: "double" if name in numbers else "string" if text else "bigint" for name in every}
        chosen = frame.select(*(quoted(every[name]).cast(types[name]).alias(name) for name in every))
        bad = {name: F.col(name).isNull() for name in ids}
        bad |= {n: F.coalesce(F.isnan(n) | (F.col(n) < 0) | (F.col(n) == float("inf")), F.lit(True)) for n in numbers}
        counts = [F.count("*"), *(F.count_if(odd) for odd in bad.values())]
        total, *found = chosen.agg(*(c.alias(f"c{i}") for i, c in enumerate(counts))).collect()[0]
        self.rows[what] = total
        for (name, odd), count in zip(bad.items(), found, strict=True):
            if count:
                raise _unusable(what, every[name], chosen.where(odd).head(1)[0], name, count)
        if what == "warm_start":
            return chosen.groupBy("id").agg(F.max("pagerank").alias("pagerank"))
        return chosen

    def _check_arrow(
        self, table: pa.Table, what: str, ids: Mapping[str, str], numbers: Mapping[str, str], *, text: bool
    ) -> pa.Table:
        every = {**ids, **numbers}
        types = {name: pa.float64() if name in numbers else pa.string() if text else pa.int64() for name in every}
        try:
            chosen = pa.table({name: table.column(given).cast(types[name]) for name, given in every.items()})
        except pa.ArrowInvalid as error:
            raise UserError(f"{what}: {error}") from error
        self.rows[what] = len(chosen)
        for name, given in every.items():
            column = chosen.column(name)
            odd = pc.is_null(column)
            if name in numbers:
                fits = pc.and_(pc.is_finite(column), pc.greater_equal(column, 0.0))
                odd = pc.invert(pc.fill_null(fits, False))
            if count := pc.sum(odd, min_count=0).as_py():
                raise _unusable(what, given, chosen.filter(odd).slice(0, 1).to_pylist()[0], name, count)
        if what == "warm_start":
            return chosen.group_by("id").aggregate([("pagerank", "max")]).rename_columns(["id", "pagerank"])
        return chosen

    def rank(
        self, links: Any, nodes: Any, starts: Any, ranks: Any, weighted: bool, config: PageRankConfig
    ) -> RankResult:
        """Compute PageRank of what `take` returned."""
        if self.spark is None:
            return run_on_driver(ArrowGraph(links, nodes, starts, ranks, weighted), config)
        return run_native(Graph(links, nodes, starts, weighted, self.rows["edges"], ranks), config)

    def returned(self, ranks: Any) -> Any:
        """Return ranks or another measure as a frame of the kind that the edges are, ids of their type."""
        types = {kind for column, kind in self.id_type.items() if column.startswith(("edges", "vertices"))}
        kind = types.pop() if len(types) == 1 else None  # of several, the widest
        if self.spark is not None:
            for name in ranks.columns if kind is not None else ():
                if name in _IDS and kind is not None:
                    ranks = ranks.withColumn(name, F.col(name).cast(kind))
            return ranks
        for at, name in enumerate(ranks.column_names if kind is not None else ()):
            if name in _IDS:
                ranks = ranks.set_column(at, name, ranks.column(name).cast(kind))
        return ranks.to_pandas() if self.pandas else ranks


def _arrow(columns: Mapping[str, Any], what: str) -> pa.Table:
    """Return columns of Python or pandas as an Arrow table."""
    made = {}
    for name, values in columns.items():
        try:
            made[name] = pa.array(values, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise UserError(f"{what}: column `{name}` has values of several kinds ({error})") from error
    return pa.table(made)


def _unusable(what: str, column: str, row: Row | Mapping[str, Any], name: str, count: int) -> UserError:
    """Return the error for values that cannot be used; `row` has the first."""
    where = f"edge {row['src']} → {row['dst']}: " if what == "edges" else ""
    rows = "1 row" if count == 1 else f"{count} rows"
    if row[name] is None:
        return UserError(f"{what}: {where}`{column}` is null in {rows}; fill or drop them")
    return UserError(f"{what}: {where}`{column}` is {row[name]}, not a number ≥ 0, in {rows}")

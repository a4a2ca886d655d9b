"""Read the inputs of the graph jobs and write the tables of `pagerank`: the room's only file with input and output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.graph import edge_lists
from lakerank.graph.base import Graph
from lakerank.graph.build_graph import SEED, build_graph, example_frame, host_numbers, host_of, page_hosts
from lakerank.graph.edge_lists import EDGE, NODE, Parsed
from lakerank.graph.iterate import Iteration
from lakerank.graph.local_graph import ArrowGraph
from lakerank.lake.delta_arrow import in_folder
from lakerank.lake.delta_table import TableRef
from lakerank.lake.input_files import open_input
from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import EDGES_REJECTED, HOST_RANKS, LINKS, PAGERANK_METRICS, RANKS

EXAMPLE = "seed"  # what `--links` calls the built-in example


@dataclass(frozen=True)
class LinkArgs(JobArgs):
    """Hold the settings of all graph jobs: where their links are and how these are read."""

    links: str = flag("", "links table or edge-list file (default: the lake's links)")
    nodes: str = flag("", "file or table of node ids, to take in those without links too", metavar="FILE")
    weights: bool = flag(False, "the third column (or `weight`) of the links is their weight")
    separator: str = flag("auto", "of text columns", choices=("auto", *edge_lists.SEPARATORS))
    header: str = flag(
        "auto",
        "first line names the columns; auto: if its words are known names (source, dst, …) or its ids are "
        "not whole numbers while all others are",
        choices=edge_lists.HEADERS,
    )
    scratch: str = flag("", "folder for intermediate results where Spark's local checkpoints are refused")


@dataclass(frozen=True)
class Links:
    """Hold the graph that was read, and what could not be used.

    Attributes:
        graph: links, nodes, teleport vector and earlier ranks.
        location: where the links are.
        rejected: relation `edges_rejected`; None if every row could be used.
        rejected_count: rows of it.
        ignored_columns: whether the links have further columns, such as weights that nobody asked for.
    """

    graph: Graph
    location: str
    rejected: DataFrame | None
    rejected_count: int
    ignored_columns: bool


def links_location(spark: SparkSession, args: LinkArgs, default: str = "") -> str:
    """Return the path of the links: the one `--links` names, the lake's table, or `default`.

    Raises:
        UserError: it names nothing, the lake has no such table, and there is no default.
    """
    table = TableRef.find("", LINKS, args.lake)
    if args.links:
        return args.links
    if table.exists(spark):
        return table.location
    if not default:
        raise UserError(
            f"no Delta table `{LINKS.name}` at {table.location}: give --links, or run {LINKS.producer} first"
        )
    return default


def published_at(spark: SparkSession, lake: str, location: str) -> TableRef:
    """Return the table at a location, if it is one, at the version that readers read (`Publications.at`)."""
    return Publications.read(lake, lambda: spark).at(TableRef(location))


def read_rows(
    spark: SparkSession, args: LinkArgs, location: str, ids: Sequence[str], weight: str, nofollow: bool = False
) -> Parsed:
    """Open and parse what a flag names; see `edge_lists.parse`."""
    rows = open_input(spark, location, published_at(spark, args.lake, location))
    return edge_lists.parse(rows, ids, weight, args.separator, args.header, nofollow=nofollow)


def read_links(
    spark: SparkSession,
    args: LinkArgs,
    location: str,
    *,
    teleport: str = "",
    warm_start: str = "",
    nofollow: bool = False,
    example: bool = False,
) -> Links:
    """Read a graph.

    Args:
        spark: the session.
        args: nodes, and how text is read.
        location: of the links (`links_location`).
        teleport: file or table of ids, and weights if you like; empty: none.
        warm_start: table of earlier ranks; empty: none.
        nofollow: whether links that their author does not vouch for count, too.
        example: whether the location `seed` is the built-in example.

    Raises:
        UserError: an input is missing or cannot be used.
    """
    if example and location == EXAMPLE:
        pages = example_frame(spark, SEED)
        edges = edge_lists.from_rows(pages, EXAMPLE, pages.columns)
        if args.weights:
            raise UserError("--weights: the built-in example has none; give --links")
    else:
        edges = read_rows(spark, args, location, EDGE, "yes" if args.weights else "no", nofollow)
    nodes = read_rows(spark, args, args.nodes, NODE, "no") if args.nodes else None
    starts = read_rows(spark, args, teleport, NODE, "optional").all_of(teleport) if teleport else None
    ranks = published_at(spark, args.lake, warm_start).read(spark, RANKS) if warm_start else None
    count = edges.rejected_count + (nodes.rejected_count if nodes else 0)
    rejected = edges.rejected.union(nodes.rejected) if nodes else edges.rejected
    try:
        graph = build_graph(edges, nodes, starts, args.weights, ranks)
    except UserError as error:
        raise UserError(f"{teleport}: {str(error).removeprefix('teleport: ')}") from error
    return Links(graph, location, rejected if count else None, count, edges.wider and not args.weights)


def read_seeds(spark: SparkSession, args: LinkArgs, location: str, id_type: str) -> DataFrame:
    """Read the seeds of personal ranks: `source` string, `id` of type `id_type`, `weight`.

    Raises:
        UserError: it cannot be read, a line is wrong, or an id cannot be the graph's.
    """
    seeds = read_rows(spark, args, location, EDGE, "optional").all_of(location)
    text = seeds.as_text(EDGE).select(F.col("src").alias("source"), F.col("dst").alias("id"), "weight")
    if id_type == "string":
        return text
    odd = text.where(F.col("id").try_cast("bigint").isNull()).head(1)
    if odd:
        raise UserError(f"{location}: id {odd[0]['id']!r} is not a node of the graph")
    return text.withColumn("id", F.col("id").cast("bigint"))


def read_on_driver(
    links: TableRef, nodes: TableRef | None, warm_start: TableRef | None, weighted: bool, most: int
) -> ArrowGraph | None:
    """Read a graph without Spark, if it lies in folders of this machine and all of it can be used.

    Args:
        links: table of links.
        nodes: table of nodes, if any.
        warm_start: table of earlier ranks, if any.
        weighted: whether weights count.
        most: links; more are for Spark.

    Returns:
        None where Spark has to read it: that way also says what cannot be used, and why.
    """
    if most <= 0:
        return None
    edges = edge_lists.usable(in_folder(links, partial(edge_lists.arrow_edge_columns, weighted=weighted), most))
    if edges is None or not len(edges):
        return None
    others: list[pa.Table | None] = []
    for ref, names in ((nodes, NODE), (warm_start, ("id", "pagerank"))):
        columns = partial(edge_lists.arrow_columns, names=names)
        table = None if ref is None else edge_lists.usable(in_folder(ref, columns, most))
        if ref is not None and (table is None or table.schema.field("id").type != edges.schema.field("src").type):
            return None
        others.append(table)
    return ArrowGraph(edges, others[0], None, others[1], weighted)


def names_of(spark: SparkSession, lake: str, location: str, ids: Sequence[Any]) -> dict[Any, str]:
    """Return the addresses of some nodes, if the links are a table with the columns `src_url` and `dst_url`."""
    table = published_at(spark, lake, location)
    if not ids or not table.exists(spark):
        return {}
    links = table.frame(spark)
    if not {"src", "dst", "src_url", "dst_url"} <= set(links.columns):
        return {}
    both = links.select(F.col("src").alias("id"), F.col("src_url").alias("url")).union(links.select("dst", "dst_url"))
    named = both.where(F.col("id").isin(list(ids))).groupBy("id").agg(F.min("url").alias("url")).collect()
    return {row["id"]: row["url"] for row in named if row["url"]}


def hosts_of(spark: SparkSession, lake: str, links: Links) -> DataFrame:
    """Return `id`, `host` of pages: from the links table's addresses, or from ids that are addresses.

    Raises:
        UserError: it has neither.
    """
    table = published_at(spark, lake, links.location)
    if table.exists(spark):
        frame = table.frame(spark)
        if {"src", "dst", "src_url", "dst_url"} <= set(frame.columns):
            hosts = page_hosts(frame)
            return hosts.withColumn("id", F.col("id").cast(links.graph.id_type))
    if links.graph.id_type == "string":
        hosts = links.graph.ids.select("id", host_of("id").alias("host")).where("host IS NOT NULL")
        if hosts.head(1):
            return hosts
    raise UserError(
        f"--by-host: {links.location} has no hosts; ids must be addresses such as https://example.org/a, or the links "
        "a table with `src_url` and `dst_url`, as ingest_pages makes it"
    )


def hosts_at(spark: SparkSession, lake: str, location: str) -> DataFrame | None:
    """Return `id`, `host` (`host_numbers`) of the pages of a links table with addresses; None if it has none."""
    table = published_at(spark, lake, location)
    if not table.exists(spark):
        return None
    links = table.frame(spark)
    return host_numbers(links) if {"src", "dst", "src_url", "dst_url"} <= set(links.columns) else None


def previous_iterations(spark: SparkSession, lake: str, tol: float) -> int | None:
    """Return the number of iterations the run before needed for this tolerance; None if it did not get there."""
    curve = Publications.read(lake, lambda: spark).table(PAGERANK_METRICS)
    if not curve.exists(spark):
        return None
    reached = curve.read(spark, PAGERANK_METRICS).where(F.col("l1_delta") < tol)
    first = reached.agg(F.min("iteration")).collect()[0][0]
    return None if first is None else int(first)


@dataclass(frozen=True)
class RankTables:
    """Hold where the tables of a ranking were written.

    Attributes:
        ranks: of `ranks`.
        rejected: of `edges_rejected`.
        rows: the ranks as written, a frame or an Arrow table.
    """

    ranks: str
    rejected: str
    rows: Any


def write_ranking(
    spark: SparkSession,
    ranks: Any,
    history: Sequence[Iteration],
    rejected: DataFrame | None,
    out: str,
    lake: str,
    host_ranks: DataFrame | None = None,
) -> RankTables:
    """Write `ranks`, `pagerank_metrics` and, where there are or were any, `edges_rejected` and `host_ranks`.

    Args:
        spark: the session.
        ranks: `id`, `pagerank`, a frame or an Arrow table.
        history: of the iterations (`RankResult.history`).
        rejected: lines that could not be used; None if there were none.
        out: where the ranks go; empty: into the lake.
        lake: for all other tables.
        host_ranks: relation `host_ranks`; None if none were computed.
    """
    number, change, dangling = (list(column) for column in zip(*history, strict=True))
    metrics = pa.table({"iteration": pa.array(number, pa.int32()), "l1_delta": change, "dangling": dangling})
    bad_lines = TableRef.find("", EDGES_REJECTED, lake)
    with publishing(lambda: spark, lake, "ranks") as run:
        target = run.write(RANKS, ranks, out)
        run.write(PAGERANK_METRICS, metrics)
        if host_ranks is not None:
            run.write(HOST_RANKS, host_ranks)
        if rejected is not None or bad_lines.exists(spark):
            run.write(
                EDGES_REJECTED,
                spark.createDataFrame([], EDGES_REJECTED.schema()) if rejected is None else rejected,
            )
    rows = ranks if isinstance(ranks, pa.Table) else target.read(spark, RANKS)
    return RankTables(target.location, bad_lines.location, rows)

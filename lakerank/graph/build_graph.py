"""Build graphs: from parsed inputs, from links between pages those between hosts, and the three pages of the guide.

Yahoo links to itself and to Amazon, Amazon to Yahoo and Microsoft, Microsoft to Amazon (and two variants with a trap).
Started from 1 each with damping 1, one iteration gives Yahoo 1, Amazon 3/2, Microsoft 1/2.
"""

from __future__ import annotations

from fractions import Fraction

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph.base import Graph
from lakerank.graph.edge_lists import EDGE, NODE, Parsed

Edges = tuple[tuple[str, str], ...]
# Of an address, for Spark's expressions and Arrow's alike.
BEFORE_HOST, HOST = r"^[A-Za-z][A-Za-z0-9+.\-]*://(?:[^/?#@]*@)?", "[^/?#:]+"

SEED: Edges = (
    ("Yahoo", "Yahoo"),
    ("Yahoo", "Amazon"),
    ("Amazon", "Yahoo"),
    ("Amazon", "Microsoft"),
    ("Microsoft", "Amazon"),
)
SPIDER_TRAP: Edges = (*SEED[:4], ("Microsoft", "Microsoft"))
DEAD_END: Edges = SEED[:4]

# Exact PageRanks at damping 17/20 (solve the 3 × 3 system by hand to check).
EXACT: dict[str, tuple[Edges, dict[str, Fraction]]] = {
    "seed": (
        SEED,
        {"Yahoo": Fraction(760, 1991), "Amazon": Fraction(794, 1991), "Microsoft": Fraction(437, 1991)},
    ),
    "spider trap": (
        SPIDER_TRAP,
        {"Yahoo": Fraction(114, 631), "Amazon": Fraction(80, 631), "Microsoft": Fraction(437, 631)},
    ),
    "dead end": (
        DEAD_END,
        {"Yahoo": Fraction(2280, 5191), "Amazon": Fraction(1600, 5191), "Microsoft": Fraction(1311, 5191)},
    ),
}


def build_graph(
    edges: Parsed,
    nodes: Parsed | None,
    teleport: Parsed | None,
    weighted: bool,
    warm_start: DataFrame | None = None,
) -> Graph:
    """Build a graph with ids of one type: bigint if those of edges and nodes are whole numbers, else text.

    Args:
        edges: links.
        nodes: nodes to rank even if no link touches them.
        teleport: where the surfer starts afresh.
        weighted: whether the weights of links count.
        warm_start: `id`, `pagerank`: ranks to begin with; ids that cannot be the graph's are left out.

    Raises:
        UserError: a teleport id cannot be one of the graph's.
    """
    numeric = edges.numeric and (nodes is None or nodes.numeric)
    starts = None
    if teleport is not None:
        text = teleport.as_text(NODE)
        if numeric and not teleport.numeric:
            whole = F.col("id").try_cast("bigint").cast("string")
            odd = text.where(whole.isNull() | (whole != F.col("id"))).head(1)
            raise UserError(f"teleport: id {odd[0]['id']!r} is not a node of the graph")
        starts = teleport.rows if numeric else text
    return Graph(
        edges.rows if numeric else edges.as_text(EDGE),
        None if nodes is None else nodes.rows if numeric else nodes.as_text(NODE),
        starts,
        weighted,
        edges.count,
        None if warm_start is None else _of_type(warm_start, numeric),
    )


def _of_type(ranks: DataFrame, numeric: bool) -> DataFrame:
    """Return ranks with ids as numbers, or as text."""
    kind = "bigint" if numeric else "string"
    return ranks.select(F.col("id").try_cast(kind).alias("id"), "pagerank").where("id IS NOT NULL")


def example_frame(spark: SparkSession, edges: Edges) -> DataFrame:
    """Return `src`, `dst` string. From an Arrow table: from a list, classic Spark would start Python workers."""
    src, dst = zip(*edges, strict=True)
    return spark.createDataFrame(pa.table({"src": list(src), "dst": list(dst)}))


def host_links(links: DataFrame, keep_own: bool = False) -> DataFrame:
    """Add up links between pages to links between their hosts: relation `host_links`.

    A page votes once for each host it links to, however many links lead there, so that menus do not add up; the weight
    of a link between hosts is how many pages vote for it.

    Args:
        links: `src_url` and `dst_url` string; `nofollow` boolean if it is there: such links do not count.
        keep_own: whether links of a host to itself count.

    Raises:
        UserError: a column is missing.
    """
    for name in ("src_url", "dst_url"):
        if name not in links.columns:
            raise UserError(f"links: column `{name}` is missing; the web of hosts needs the addresses of both ends")
    if "nofollow" in links.columns:
        links = links.where("nofollow IS NOT TRUE")
    ends = links.select("src_url", host_of("src_url").alias("src"), host_of("dst_url").alias("dst"))
    ends = ends.where("src IS NOT NULL AND dst IS NOT NULL")
    if not keep_own:
        ends = ends.where("src <> dst")
    votes = ends.distinct()
    return votes.groupBy("src", "dst").agg(F.count("*").cast("double").alias("weight"))


def host_numbers(links: DataFrame) -> DataFrame:
    """Return `id` and `host`, a whole number in double that stands for the page's host: those of the links table.

    Args:
        links: `src`, `dst` and their addresses `src_url`, `dst_url`; pages without a host are left out.
    """
    both = links.select(F.col("src").alias("id"), F.col("src_url").alias("url")).union(links.select("dst", "dst_url"))
    # 52 bits of the hash: exact in a double, and two of a million hosts meet with a probability of 1 in 9,000.
    number = F.xxhash64(host_of("url")).bitwiseAND(F.lit((1 << 52) - 1)) + 1
    hosts = both.where(host_of("url").isNotNull()).select("id", number.cast("double").alias("host"))
    return hosts.groupBy("id").agg(F.min("host").alias("host"))


def host_of(url: str) -> Column:
    """Return the host of an address in lower case, without port, without a dot at the end; null if there is none."""
    host: Column = F.lower(F.regexp_extract(F.col(url), f"{BEFORE_HOST}({HOST})", 1))
    return F.nullif(F.rtrim(host, F.lit(".")), F.lit(""))

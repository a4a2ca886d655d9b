"""TrustRank and spam mass where the links do not fit into one worker: two runs of a PageRank engine.

What is not distributed is the search for clusters. So there is no farm to name here, links from good pages into
farms still count, and without seeds from the user the good pages are the ones with the most kinds of supporters.
"""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph.base import Graph, PageRankConfig, no_nodes
from lakerank.graph.native import run as rank
from lakerank.graph.spam.farms import MIN_STARTS, START_SHARE
from lakerank.graph.spam.one_task import Defended, SpamConfig, unknown_seed
from lakerank.spark.checkpoint import checkpoint

ELSEWHERE = 1e-3  # fresh starts outside of the seeds, so that no rank is 0
SUSPECT = 0.75  # reported: pages whose rank is to so great a part not from trusted pages,
HIGH = 10.0  # and is so many times the average


def run(graph: Graph, config: SpamConfig, engine: PageRankConfig) -> Defended:
    """Ranks from trusted starts only, and how they compare with PageRank.

    Args:
        graph: its `teleport`, if given, are the pages known to be good.
        config: `damping`, `tol`, `max_iter` and `scratch` are those of `engine`.
        engine: settings of the two PageRank runs.

    Raises:
        UserError: no nodes, a seed that is no page, or no page has supporters of several kinds.
    """
    plain = replace(graph, teleport=None)
    ids = checkpoint(plain.ids, config.scratch)
    nodes = ids.count()
    if not nodes:
        raise no_nodes()
    if graph.teleport is None:
        seeds = most_varied(plain, max(MIN_STARTS, int(START_SHARE * nodes)))
    else:
        seeds = graph.teleport.select("id").distinct()
        for row in seeds.join(ids, "id", "left_anti").orderBy("id").head(1):
            raise unknown_seed(row["id"])
    seeds = checkpoint(seeds, config.scratch)
    count = seeds.count()
    if not count:
        raise UserError("no page is linked to: give --seeds, a file of pages known to be good")
    before = rank(plain, engine)
    starts = seeds.select("id", F.lit((1 - ELSEWHERE) / count).alias("weight")).union(
        ids.select("id", F.lit(ELSEWHERE / nodes).alias("weight"))
    )
    after = rank(replace(plain, teleport=starts), engine)
    both = before.ranks.join(after.ranks.withColumnRenamed("pagerank", "trusted_rank"), "id")
    ratio = F.least(F.col("trusted_rank") / F.col("pagerank"), F.lit(1.0))
    pages = both.select(
        "id",
        "pagerank",
        "trusted_rank",
        ratio.alias("support"),
        (1 - ratio).alias("spam_mass"),
        (1 - ratio).alias("spam_score"),
        F.lit(None).cast("int").alias("farm"),
    )
    pages = checkpoint(pages, config.scratch)
    report = pages.where((F.col("spam_mass") >= SUSPECT) & (F.col("pagerank") * nodes >= HIGH)).select(
        "farm",
        "id",
        "pagerank",
        "trusted_rank",
        *(F.lit(None).cast("bigint").alias(name) for name in ("place", "trusted_place")),
        F.col("spam_mass").alias("share"),
        *(F.lit(None).cast("bigint").alias(name) for name in ("pages", "links_in")),
    )
    counts = {"nodes": nodes, "edges": before.edges, "trusted": count, "farms": 0, "flagged": 0, "cut": 0}
    return Defended(pages, report, counts, f"TrustRank and spam mass only, {after.engine}")


def most_varied(graph: Graph, count: int) -> DataFrame:
    """`id` of the `count` pages with the most kinds of supporters (`Web.variety`); equal ones in order of id."""
    links = graph.edges.where("weight > 0") if graph.weighted else graph.edges
    links = links.select("src", "dst").distinct()
    links_in = links.groupBy(F.col("dst").alias("id")).agg(F.count("*").alias("links_in"))
    links_out = links.groupBy(F.col("src").alias("id")).agg(F.count("*").alias("links_out"))
    kinds = links_out.join(links_in, "id", "left").select(
        F.col("id").alias("src"), F.struct(F.coalesce("links_in", F.lit(0)), "links_out").alias("kind")
    )
    variety = links.join(kinds, "src").groupBy(F.col("dst").alias("id")).agg(F.countDistinct("kind").alias("variety"))
    return variety.orderBy(F.desc("variety"), "id").limit(count).select("id")

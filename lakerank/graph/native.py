"""Our own engine: needs nothing but Spark, knows weights and teleport vectors, and runs on Spark Connect.

Two plans, the same blocks and the same compiled loop: all links in one task while they fit there, else
blocks of links over the cluster with one Spark job per iteration.
"""

from __future__ import annotations

import dataclasses

from lakerank.graph import distributed_plan, local_plan
from lakerank.graph.base import Graph, PageRankConfig, RankResult


def run(graph: Graph, config: PageRankConfig) -> RankResult:
    """PageRank of `graph`, by the plan that fits its size.

    Raises:
        UserError: no nodes, a teleport id that is no node, or a teleport vector without weight.
    """
    if graph.rows is None:
        graph = dataclasses.replace(graph, rows=graph.edges.count())
    if graph.rows is not None and graph.rows <= config.one_task_edges:
        return local_plan.run(graph, config)
    return distributed_plan.run(graph, config)

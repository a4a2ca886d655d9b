"""Compute any measure of the links that a user named: one function for the job `centrality`."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.graph import store
from lakerank.graph.base import PageRankConfig
from lakerank.graph.centrality import EXACT_WORK
from lakerank.graph.centrality_plan import Measured, harmonic_centrality, hubs_and_authorities, personal_pagerank
from lakerank.graph.communities_plan import count_degrees, find_communities, find_components
from lakerank.lake.schemas import COMMUNITIES, COMPONENTS, DEGREES, HARMONIC, HITS, PERSONAL_RANKS, Relation

# Of each measure its table, and the column by which the first are told.
MEASURES: dict[str, tuple[Relation, str]] = {
    "hits": (HITS, "authority"),
    "harmonic": (HARMONIC, "harmonic"),
    "personal": (PERSONAL_RANKS, "pagerank"),
    "components": (COMPONENTS, "size"),
    "communities": (COMMUNITIES, "size"),
    "degrees": (DEGREES, "in_degree"),
}
GROUPS = {"components": "component", "communities": "label"}  # of which the largest are told, and not the nodes
_ITERATIONS = {
    "communities": 20
}  # at most, where the user does not say; by then labels stay or swap on every graph tried
_UNTIL_DONE = 1000


def measure_links(
    spark: SparkSession,
    args: store.LinkArgs,
    name: str,
    config: PageRankConfig,
    *,
    seeds: str = "",
    keep: int = 0,
    most_work: float = EXACT_WORK,
) -> tuple[Measured, store.Links]:
    """Compute a measure of the links that `args` names; return it and what was read.

    Args:
        spark: the session.
        args: where the links and nodes are.
        name: one of `MEASURES`.
        config: settings of the computation.
        seeds: of personal ranks: file of surfer and id (and weight).
        keep: of personal ranks: so many nodes of each surfer; 0: all.
        most_work: see `harmonic_centrality`.

    Raises:
        UserError: an input is missing or cannot be used, or the graph has no nodes.
    """
    links = store.read_links(spark, args, store.links_location(spark, args))
    graph = links.graph
    if name == "personal":
        if not seeds:
            raise UserError("--measure personal: give --seeds, a file of surfer and id, one a line")
        frame = store.read_seeds(spark, args, seeds, graph.id_type)
        try:
            return personal_pagerank(graph, frame, config, keep), links
        except UserError as error:
            text = str(error)
            raise UserError(
                f"{seeds}: {text.removeprefix('seeds: ')}" if text.startswith("seeds: ") else text
            ) from error
    if name == "harmonic":
        return harmonic_centrality(graph, config.scratch, most_work), links
    if name == "degrees":
        return count_degrees(graph, config.scratch), links
    compute = {"hits": hubs_and_authorities, "components": find_components, "communities": find_communities}[name]
    return compute(graph, config), links


def iterations_at_most(name: str, wanted: int) -> int:
    """Return after how many iterations a measure stops at the latest, if the user wants that many (0: does not say)."""
    return wanted or _ITERATIONS.get(name, _UNTIL_DONE)


def first_rows(values: DataFrame, name: str, count: int) -> list[dict[str, Any]]:
    """Return the first `count` rows of a measure's table: the nodes with the most, or the largest groups."""
    best_by = F.desc(MEASURES[name][1])
    if name in GROUPS:
        values = values.select(F.col(GROUPS[name]).alias("id"), "size").distinct()
    return [row.asDict() for row in values.orderBy(best_by, "id").limit(count).collect()]

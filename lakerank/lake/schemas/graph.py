"""Ranks of pages, their centrality, how they hang together, and what the link-spam defence finds."""

from __future__ import annotations

from lakerank.lake.schemas.relation import ID, Column, Relation, rejected_rows

RANKS = Relation(
    "ranks",
    "PageRank of every node: the probability of finding the random surfer there; sums to 1.",
    (Column("id", ID, "node"), Column("pagerank", "double", "probability in (0, 1]")),
    ("id",),
    "pagerank",
    "nodes",
)
PAGERANK_METRICS = Relation(
    "pagerank_metrics",
    "How the last PageRank run converged.",
    (
        Column("iteration", "int", "from 1"),
        Column("l1_delta", "double", "sum of absolute changes of all ranks in this iteration"),
        Column("dangling", "double", "rank held by nodes without outgoing edges, before this iteration"),
    ),
    ("iteration",),
    "pagerank",
    "iterations",
)
EDGES_REJECTED = rejected_rows("edges_rejected", "pagerank", "Edge-list lines")
HOST_LINKS = Relation(
    "host_links",
    "Links between hosts, added up from links between pages.",
    (
        Column("src", "string", "host, in lower case, without port"),
        Column("dst", "string", "another host (with --keep-own perhaps the same)"),
        Column("weight", "double", "pages of `src` that link to a page of `dst`, at least 1"),
    ),
    ("src", "dst"),
    "host_graph",
    "pairs of linked hosts",
)
HOST_RANKS = Relation(
    "host_ranks",
    "Ranks of hosts, beside the `ranks` of their pages (`pagerank --by-host`).",
    (
        Column("host", "string", "in lower case, without port"),
        Column("pagerank", "double", "of the web of hosts, in which pages vote once for each other host; sums to 1"),
        Column("pages", "bigint", "pages of the host that are ranked, at least 1"),
        Column("page_ranks", "double", "sum of their PageRank, 0 to 1"),
    ),
    ("host",),
    "pagerank",
    "hosts",
)
HITS = Relation(
    "hits",
    "Hubs and authorities: good hubs link to good authorities, which good hubs link to.",
    (
        Column("id", ID, "node"),
        Column("hub", "double", "0 to 1; sums to 1 (0 everywhere without links)"),
        Column("authority", "double", "0 to 1; sums to 1 (0 everywhere without links)"),
    ),
    ("id",),
    "centrality",
    "nodes",
)
HARMONIC = Relation(
    "harmonic",
    "Harmonic centrality: how near a node is to all others that can reach it.",
    (Column("id", ID, "node"), Column("harmonic", "double", "sum of 1 / distance over these, 0 to nodes − 1")),
    ("id",),
    "centrality",
    "nodes",
)
PERSONAL_RANKS = Relation(
    "personal_ranks",
    "PageRank as each of several surfers sees it, who start afresh at places of their own.",
    (
        Column("source", ID, "surfer"),
        Column("rank", "int", "from 1"),
        Column("id", ID, "node"),
        Column("pagerank", "double", "probability of finding that surfer there; all nodes of one surfer sum to 1"),
    ),
    ("source", "id"),
    "centrality",
    "surfers × --top",
)
COMPONENTS = Relation(
    "components",
    "Weakly connected components: nodes that links connect, in whatever direction.",
    (
        Column("id", ID, "node"),
        Column("component", ID, "least id of its component"),
        Column("size", "bigint", "nodes of the component, at least 1"),
    ),
    ("id",),
    "centrality",
    "nodes",
)
COMMUNITIES = Relation(
    "communities",
    "Communities by label propagation: nodes most of whose neighbours are in the same one.",
    (
        Column("id", ID, "node"),
        Column("label", ID, "its community, named after one of the nodes it began with"),
        Column("size", "bigint", "nodes of the community, at least 1"),
    ),
    ("id",),
    "centrality",
    "nodes",
)
DEGREES = Relation(
    "degrees",
    "How many other nodes each node has to do with; links count once however often they are listed.",
    (
        Column("id", ID, "node"),
        Column("in_degree", "bigint", "nodes that link to it"),
        Column("out_degree", "bigint", "nodes that it links to"),
        Column("mutual", "bigint", "other nodes that it links to and that link to it"),
        Column("reciprocity", "double", "2 · mutual / (in_degree + out_degree), 0 to 1; 0 without links"),
    ),
    ("id",),
    "centrality",
    "nodes",
)
TRUST_RANKS = Relation(
    "trust_ranks",
    "What the link-spam defence thinks of every page.",
    (
        Column("id", ID, "page"),
        Column("pagerank", "double", "without defence, sum 1"),
        Column("trusted_rank", "double", "with it, sum 1"),
        Column("support", "double", "of what it receives along links, how much began outside of farms, 0 to 1"),
        Column("spam_mass", "double", "part of its PageRank that began in farms, 0 to 1"),
        Column("spam_score", "double", "0 to 1; above 0.5 in farms (beyond --one-task-edges: 1 − support)"),
        Column("farm", "int", "number of its farm, from 1; null if it is in none", nullable=True),
    ),
    ("id",),
    "link_spam",
    "nodes",
)
TRUSTED_RANKS = Relation(
    "trusted_ranks",
    "PageRank in which link farms count for nothing; sums to 1. `build_index` takes it for `ranks`.",
    (Column("id", ID, "node"), Column("pagerank", "double", "probability in (0, 1]")),
    ("id",),
    "link_spam",
    "nodes",
)
SPAM_REPORT = Relation(
    "spam_report",
    "Pages whose rank comes mostly from a farm.",
    (
        Column("farm", "int", "number of the farm; null beyond --one-task-edges, where none is named", nullable=True),
        Column("id", ID, "page it lifts"),
        Column("pagerank", "double", "its rank without defence"),
        Column("trusted_rank", "double", "its rank with it"),
        Column("position", "bigint", "1 + pages with a higher PageRank", nullable=True),
        Column("trusted_position", "bigint", "1 + pages with a higher defended rank", nullable=True),
        Column("share", "double", "of what it receives along links, how much comes from the farm, 0 to 1"),
        Column("pages", "bigint", "pages of the farm", nullable=True),
        Column("links_in", "bigint", "links from other pages into the farm", nullable=True),
    ),
    ("id",),
    "link_spam",
    "targets of farms",
)

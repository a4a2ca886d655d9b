"""Components, communities and degrees against networkx and a dictionary's arithmetic, by every plan."""

from __future__ import annotations

from collections import Counter
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from graph_oracles import Case, random_case
from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.graph.base import Graph, PageRankConfig
from lakerank.graph.communities import adjacency, components, count_neighbours, propagate_labels
from lakerank.graph.communities_plan import _meet, count_degrees, find_communities, find_components

SEEDS = range(40)
PLANS = {"one task": {}, "distributed": {"one_task_edges": 0, "block_edges": 40}}


def labels_after(case: Case, steps: int) -> dict[Any, Any]:
    """LDBC's rule in dictionaries, written without looking at ours: exactly `steps` iterations."""
    neighbours: dict[Any, list[Any]] = {node: [] for node in case.ids}
    for source, target in set(case.edges):
        neighbours[source].append(target)
        neighbours[target].append(source)
    labels = {node: node for node in case.ids}
    for _ in range(steps):
        votes = {node: Counter(labels[other] for other in neighbours[node]) for node in case.ids}
        labels = {
            node: min(count, key=lambda label: (-count[label], label)) if count else labels[node]
            for node, count in votes.items()
        }
    return labels


def as_networkx(case: Case) -> nx.DiGraph:
    graph = nx.DiGraph(case.edges)
    graph.add_nodes_from(case.ids)
    return graph


def least_ids(case: Case) -> dict[Any, Any]:
    parts = nx.weakly_connected_components(as_networkx(case))
    return {node: min(part) for part in parts for node in part}


def arrays(case: Case) -> tuple[Any, Any, int]:
    position = {node: i for i, node in enumerate(case.ids)}
    src, dst = (np.array([position[edge[end]] for edge in case.edges], np.int32) for end in (0, 1))
    return src, dst, len(position)


def frames(spark: SparkSession, case: Case) -> Graph:
    kind = pa.string() if isinstance(case.ids[0], str) else pa.int64()
    src, dst = (pa.array([edge[end] for edge in case.edges], kind) for end in (0, 1))
    nodes = spark.createDataFrame(pa.table({"id": pa.array(case.nodes, kind)})) if case.nodes else None
    return Graph(spark.createDataFrame(pa.table({"src": src, "dst": dst})), nodes)


def column(frame: DataFrame, name: str) -> dict[Any, Any]:
    rows = frame.collect()
    found = {row["id"]: row[name] for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_arrays_against_networkx(seed: int) -> None:
    case = random_case(seed)
    src, dst, nodes = arrays(case)
    graph, ids = as_networkx(case), case.ids
    assert [ids[i] for i in components(src, dst, nodes)] == [least_ids(case)[node] for node in ids]
    found = propagate_labels(src, dst, nodes, 30)
    assert found.iterations < 30
    expected = labels_after(case, found.iterations)
    assert [ids[i] for i in found.labels] == [expected[node] for node in ids]
    counted = count_neighbours(src, dst, nodes)
    assert counted.incoming.tolist() == [graph.in_degree(node) for node in ids]
    assert counted.outgoing.tolist() == [graph.out_degree(node) for node in ids]
    both = [len((set(graph.pred[node]) & set(graph.succ[node])) - {node}) for node in ids]
    assert counted.mutual.tolist() == both
    if case.edges:
        assert counted.mutual.sum() / counted.outgoing.sum() == pytest.approx(nx.overall_reciprocity(graph))


def test_sides_that_exchange_labels_are_seen() -> None:
    src, dst = np.array([0, 0, 1, 1], np.int32), np.array([2, 3, 2, 3], np.int32)  # every link crosses
    found = propagate_labels(src, dst, 4, 100)
    assert (found.iterations, found.changed) == (3, 4)
    assert sorted(set(found.labels.tolist())) == [0, 2]


def test_labels_far_above_the_block_are_counted_as_well() -> None:
    one = adjacency(np.array([0, 0, 0]), np.array([5, 9, 11]), np.ones(3, bool), nodes=12)
    labels = np.array([10**12, 7, 10**12])
    own = np.arange(12) + 10**11
    assert one.next_labels(labels, own).tolist() == [10**12, *own[1:]]


def test_a_block_gives_what_the_others_want() -> None:
    rng, nodes, blocks = np.random.default_rng(3), 50, 7
    src, dst = rng.integers(0, nodes, 200), rng.integers(0, nodes, 200)
    made = []
    for number in range(blocks):
        out, into = src % blocks == number, dst % blocks == number
        own = np.concatenate([src[out], dst[into]]) // blocks
        other, starts = np.concatenate([dst[out], src[into]]), np.arange(out.sum() + into.sum()) < out.sum()
        made.append(adjacency(own, other, starts, nodes=nodes, blocks=blocks, block=number))
    assert sum(int(block.links[0]) for block in made) == len(set(zip(src.tolist(), dst.tolist(), strict=True)))
    for a in range(blocks):
        for b in range(blocks):
            assert made[a].give[b + 1] - made[a].give[b] == made[b].wanted[a + 1] - made[b].wanted[a]


@pytest.mark.connect(slow=True)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("seed", [pytest.param(9, marks=pytest.mark.slow), 10])  # text, numbers with gaps
def test_every_plan_finds_the_same(spark: SparkSession, plan: str, seed: int) -> None:
    case = random_case(seed)
    case = Case(case.name, case.edges, None, case.nodes)
    graph, config = frames(spark, case), PageRankConfig(max_iter=3, **PLANS[plan])
    found = find_components(graph, config)
    expected = least_ids(case)
    assert column(found.values, "component") == expected
    sizes = Counter(expected.values())
    assert column(found.values, "size") == {node: sizes[part] for node, part in expected.items()}
    assert found.summary["components"] == len(sizes)
    assert found.summary["largest"] == max(sizes.values())
    found = find_communities(graph, config)
    assert column(found.values, "label") == labels_after(case, int(found.summary["iterations"]))
    assert (found.summary["nodes"], found.summary["iterations"]) == (len(case.ids), 3)


def meet(pairs: set[tuple[int, int]], parts: int, large: bool) -> tuple[set[tuple[int, int]], int]:
    """Let links meet by their first end in one of `parts` blocks, as in Spark; return stars and unfinished nodes."""
    stars, unfinished = set(), 0
    for part in range(parts):
        some = sorted(pair for pair in pairs if hash(pair[0]) % parts == part)
        columns = [pa.array([pair[end] for pair in some], pa.int64()) for end in (0, 1)]
        for batch in _meet(iter([pa.record_batch(columns, names=["s", "d"])]), large=large):
            for row in batch.to_pylist():
                unfinished += row["unfinished"]
                stars |= {(row["s"], row["d"])} if row["s"] is not None else set()
    return stars, unfinished


@pytest.mark.parametrize("shape", ["way", "shuffled way", "tree", "random"])
def test_stars_that_meet_become_those_of_the_whole_graph_in_few_rounds(shape: str) -> None:
    rng, nodes = np.random.default_rng(0), 3000
    order = rng.permutation(nodes) if shape == "shuffled way" else np.arange(nodes)
    ends = {
        "tree": [(i, (i - 1) // 2) for i in range(1, nodes)],
        "random": rng.integers(0, nodes, (nodes, 2)).tolist(),
    }.get(shape, list(zip(order[:-1].tolist(), order[1:].tolist(), strict=True)))
    links, rounds = {(a, b) for a, b in ends if a != b}, 0
    while True:
        met, unfinished = meet(links | {(b, a) for a, b in links}, 7, large=True)
        if not unfinished:
            break
        links, rounds = meet(met, 7, large=False)[0], rounds + 1
        assert rounds <= 12
    assert rounds >= 2
    label = dict(links) if all(a > b for a, b in links) else {max(pair): min(pair) for pair in links}
    parts = nx.connected_components(nx.Graph(ends))
    assert all(label.get(node, node) == min(part) for part in parts for node in part)


@pytest.mark.slow
def test_parts_of_the_links_are_put_together(spark: SparkSession) -> None:
    order = np.random.default_rng(0).permutation(3000)
    ends = np.sort(np.stack([order[:-1], order[1:]]), axis=0)
    both = np.concatenate([ends, ends + 5000], axis=1)  # two ways
    edges = spark.createDataFrame(pa.table({"src": both[1], "dst": both[0]})).repartition(5)
    found = find_components(Graph(edges), PageRankConfig(one_task_edges=0, block_edges=2500))
    rows = found.values.groupBy("component", "size").count().collect()
    assert sorted(tuple(row) for row in rows) == [(0, 3000, 3000), (5000, 3000, 3000)]


@pytest.mark.connect(slow=True)
def test_degrees_are_those_of_networkx(spark: SparkSession) -> None:
    case = random_case(12)
    graph = as_networkx(case)
    found = count_degrees(frames(spark, case))
    rows = {row["id"]: row for row in found.values.collect()}
    assert {node: row["in_degree"] for node, row in rows.items()} == dict(graph.in_degree)
    assert {node: row["out_degree"] for node, row in rows.items()} == dict(graph.out_degree)
    loops = {node for node in graph if graph.has_edge(node, node)}
    linked = [node for node in graph if graph.degree(node) and node not in loops]  # networkx counts a loop as answered
    assert {node: rows[node]["reciprocity"] for node in linked} == pytest.approx(nx.reciprocity(graph, linked))
    assert all(rows[node]["reciprocity"] == 0 for node in graph if not graph.degree(node))
    assert found.summary["reciprocity"] == pytest.approx(nx.overall_reciprocity(graph))
    assert found.summary["edges"] == len(set(case.edges))


def test_no_nodes_is_the_users_error(spark: SparkSession) -> None:
    nothing = Graph(spark.createDataFrame([], "src bigint, dst bigint"))
    for plan in PLANS.values():
        for compute in (find_components, find_communities):
            with pytest.raises(UserError, match="no nodes"):
                compute(nothing, PageRankConfig(**plan))
    with pytest.raises(UserError, match="no nodes"):
        count_degrees(nothing)

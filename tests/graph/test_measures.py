"""Hubs and authorities, harmonic centrality and personal ranks against networkx on random graphs, without Spark."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from graph_oracles import Case, random_case

from lakerank.graph import centrality_plan
from lakerank.graph.base import PageRankConfig
from lakerank.graph.centrality import harmonic_estimate, harmonic_exact, hits, personal_ranks, top_k
from lakerank.graph.csr_block import pack
from lakerank.graph.encode_ids import to_chunks
from lakerank.graph.iterate import StoppingRule

SEEDS = (1, 2, 4, 7, 10, 13)


def arrays(case: Case) -> tuple[Any, Any, int]:
    position = {node: i for i, node in enumerate(case.ids)}
    src, dst = (np.array([position[edge[end]] for edge in case.edges], np.int32) for end in (0, 1))
    return src, dst, len(position)


def as_networkx(src: Any, dst: Any, nodes: int) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(zip(src.tolist(), dst.tolist(), strict=True))
    return graph


@pytest.mark.parametrize("seed", SEEDS)
def test_harmonic_centrality_is_that_of_networkx(seed: int) -> None:
    src, dst, nodes = arrays(random_case(seed))
    expected = nx.harmonic_centrality(as_networkx(src, dst, nodes))
    ours = harmonic_exact(pack(src, dst, None, nodes=nodes))
    np.testing.assert_allclose(ours, [expected[i] for i in range(nodes)], atol=1e-12)


def test_estimates_are_as_good_as_their_counters() -> None:
    # More nodes than 64, so that searches run in several lots; a ring with chords is 12 steps wide.
    rng = np.random.default_rng(0)
    nodes = 1500
    ring = np.arange(nodes)
    src = np.concatenate([ring, rng.integers(0, nodes, 2000)]).astype(np.int32)
    dst = np.concatenate([(ring + 1) % nodes, rng.integers(0, nodes, 2000)]).astype(np.int32)
    block = pack(src, dst, None, nodes=nodes)
    exact = harmonic_exact(block)
    expected = nx.harmonic_centrality(as_networkx(src, dst, nodes), nbunch=range(0, nodes, 100))
    np.testing.assert_allclose([exact[i] for i in expected], list(expected.values()), rtol=1e-12)
    for registers, limit in ((256, 0.1), (4096, 0.025)):
        off = harmonic_estimate(block, registers, seed=3) / exact - 1
        assert float(np.sqrt((off**2).mean())) < limit
    assert np.abs(harmonic_estimate(block, 256, seed=3) / exact - 1).max() > 0.01  # not the exact values by accident


@pytest.mark.parametrize("seed", SEEDS)
def test_hubs_and_authorities_are_those_of_networkx(seed: int) -> None:
    src, dst, nodes = arrays(random_case(seed))
    hub, authority = nx.hits(as_networkx(src, dst, nodes), max_iter=10_000, tol=1e-14)
    ours = hits(src, dst, nodes, StoppingRule(1e-13), 10_000)
    np.testing.assert_allclose(ours.hub, [hub[i] for i in range(nodes)], atol=1e-9)
    np.testing.assert_allclose(ours.authority, [authority[i] for i in range(nodes)], atol=1e-9)
    assert ours.l1_delta < 1e-13


def test_nodes_without_links_are_neither_hubs_nor_authorities() -> None:
    none = np.empty(0, np.int32)
    found = hits(none, none, 3, StoppingRule(1e-8), 10)
    assert (found.hub.tolist(), found.authority.tolist()) == ([0, 0, 0], [0, 0, 0])
    assert harmonic_exact(pack(none, none, None, nodes=3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("weighted", [False, True])
def test_each_surfer_has_the_ranks_it_would_have_alone(weighted: bool) -> None:
    case = random_case(17 if weighted else 10)
    src, dst, nodes = arrays(case)
    weight = np.array(case.weights) if weighted else None
    rng = np.random.default_rng(5)
    teleport = np.where(rng.random((nodes, 5)) < 0.3, rng.random((nodes, 5)), 0)
    teleport[0] += 0.1
    teleport /= teleport.sum(axis=0)
    found = personal_ranks(pack(src, dst, weight, nodes=nodes), teleport, 0.9, StoppingRule(1e-14), 2000)
    graph = nx.MultiDiGraph() if weighted else nx.DiGraph()
    graph.add_nodes_from(range(nodes))
    each = case.weights if weighted else [1.0] * len(src)
    graph.add_weighted_edges_from(zip(src.tolist(), dst.tolist(), each or [], strict=True))
    for column in range(5):
        start = dict(enumerate(teleport[:, column].tolist()))
        expected = nx.pagerank(graph, 0.9, personalization=start, tol=1e-15, max_iter=3000)
        assert np.abs(found.ranks[:, column] - [expected[i] for i in range(nodes)]).sum() < 1e-11
    assert found.l1_delta < 1e-14


def test_the_best_of_equals_are_the_first() -> None:
    ranks = np.array([0.1, 0.3, 0.0, 0.3, 0.1, 0.2])
    assert top_k(ranks, 4)[0].tolist() == [1, 3, 5, 0]
    assert top_k(ranks, 0)[0].tolist() == [1, 3, 5, 0, 4]


def personal(rows: list[tuple[Any, ...]], seeds: Any, top: int) -> list[dict[str, Any]]:
    """Run one task of personal ranks: `rows` of links, `seeds` of each surfer ids and weights."""
    kind = pa.array([row[0] for row in rows]).type
    columns = [
        pa.array(column, t) for column, t in zip(zip(*rows, strict=True), (kind, kind, pa.float64()), strict=True)
    ]
    batch = pa.record_batch(columns, names=["src", "dst", "weight"])
    config = PageRankConfig(tol=1e-13, max_iter=500)
    starts = [(source, node, share) for source, some in seeds.items() for node, share in some]
    names = dict(zip(("source", "node", "share"), map(list, zip(*starts, strict=True)), strict=True))
    chunks = pa.Table.from_batches(to_chunks(iter([batch])))
    both = pa.concat_tables([pa.table(names), chunks], promote_options="default")  # in any order
    out = centrality_plan._personal(iter(both.to_batches()), config=config, weighted=False, parallel=False, top=top)
    return [row for part in out for row in part.to_pylist()]


def test_many_surfers_come_out_in_order_with_their_own_ids() -> None:
    links = [("a", "b", None), ("b", "c", None), ("c", "a", None), ("d", "a", None), ("d", "b", None), ("c", "b", None)]
    seeds = {f"surfer {i}": [("abcd"[i % 4], 1.0)] for i in range(20)}  # more than go side by side
    rows = personal(links, seeds, top=2)
    ranks = [row for row in rows if row["note"] is None]
    assert [row["source"] for row in ranks[::2]] == sorted(seeds)
    assert [row["rank"] for row in ranks] == [1, 2] * 20
    graph = nx.DiGraph([(source, target) for source, target, _ in links])
    alone = nx.pagerank(graph, personalization={"b": 1}, tol=1e-14, max_iter=1000)
    found = {row["id"]: row["pagerank"] for row in ranks if row["source"] == "surfer 1"}
    assert found == pytest.approx({page: alone[page] for page in ("b", "c")}, abs=1e-9)
    assert personal(links, {"x": [("nobody", 1.0)]}, 2)[0]["id"] == "nobody"

"""Random graphs of every awkward kind, and PageRank by others to compare with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np


@dataclass(frozen=True)
class Case:
    """A graph as plain lists; `weights` runs along `edges`, `teleport` maps ids to weights."""

    name: str
    edges: list[tuple[Any, Any]]
    weights: list[float] | None = None
    nodes: list[Any] = field(default_factory=list)
    teleport: dict[Any, float] | None = None
    damping: float = 0.85

    @property
    def ids(self) -> list[Any]:
        return sorted({node for edge in self.edges for node in edge} | set(self.nodes))


def random_case(seed: int) -> Case:
    """Duplicates, self-loops, dangling and isolated nodes, several components; text ids, weights (some 0) and
    teleport vectors now and then."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    m = int(rng.integers(0, 4 * n))
    label = (lambda i: f"page {i}é") if seed % 3 == 0 else (lambda i: int(i) * 7 - 50)
    # Links start in the lower half more often: the rest dangles.
    src = rng.integers(0, max(1, n // (1 + seed % 2)), m)
    dst = np.where(rng.random(m) < 0.1, src, rng.integers(0, n, m))
    edges = [(label(s), label(d)) for s, d in zip(src, dst, strict=True)]
    edges += edges[: m // 5]
    weights = None
    if seed % 4 in (1, 2):
        weights = [float(w) for w in np.where(rng.random(len(edges)) < 0.2, 0, rng.exponential(size=len(edges)))]
    nodes = [label(i) for i in range(n)]
    teleport = None
    if seed % 5 == 4:
        teleport = {nodes[i]: float(rng.integers(1, 9)) for i in rng.integers(0, n, 3)}
    return Case(f"random {seed}", edges, weights, nodes, teleport, damping=(0.85, 0.5, 0.95)[seed % 3])


def by_networkx(case: Case) -> dict[Any, float]:
    graph = nx.DiGraph() if case.weights is None else nx.MultiDiGraph()
    graph.add_nodes_from(case.ids)
    weights = case.weights or [1.0] * len(case.edges)
    graph.add_weighted_edges_from((s, d, w) for (s, d), w in zip(case.edges, weights, strict=True))
    return nx.pagerank(graph, case.damping, personalization=case.teleport, tol=1e-14, max_iter=1000)


def by_igraph(case: Case) -> dict[Any, float]:
    import igraph

    position = {node: i for i, node in enumerate(case.ids)}
    merged: dict[tuple[int, int], float] = {}
    for (s, d), w in zip(case.edges, case.weights or [1.0] * len(case.edges), strict=True):
        edge = (position[s], position[d])
        merged[edge] = merged.get(edge, 0.0) + w if case.weights else 1.0
    merged = {edge: w for edge, w in merged.items() if w > 0}
    graph = igraph.Graph(n=len(position), edges=list(merged), directed=True)
    ranks = graph.pagerank(damping=case.damping, weights=list(merged.values()))
    return dict(zip(case.ids, ranks, strict=True))


def by_steps(case: Case, steps: int) -> dict[Any, float]:
    """A dense power method, written without looking at ours: exactly `steps` iterations from the teleport vector."""
    ids = case.ids
    position = {node: i for i, node in enumerate(ids)}
    links = np.zeros((len(ids), len(ids)))
    for (s, d), w in zip(case.edges, case.weights or [1.0] * len(case.edges), strict=True):
        links[position[s], position[d]] = links[position[s], position[d]] + w if case.weights else 1.0
    jump = np.ones(len(ids)) if case.teleport is None else np.array([case.teleport.get(i, 0.0) for i in ids])
    jump = jump / jump.sum()
    out = links.sum(axis=1, keepdims=True)
    follow = np.where(out > 0, links / np.where(out > 0, out, 1), jump)
    x = jump
    for _ in range(steps):
        x = case.damping * x @ follow + (1 - case.damping) * jump
    return dict(zip(ids, x.tolist(), strict=True))


def l1(ours: dict[Any, float], theirs: dict[Any, float]) -> float:
    """Sum of absolute differences; infinite if the nodes differ."""
    if set(ours) != set(theirs):
        return float("inf")
    return sum(abs(ours[node] - theirs[node]) for node in ours)

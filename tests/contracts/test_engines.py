"""What every PageRank engine must do, run against each entry of ENGINES and each plan of the native one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from graph_oracles import Case, by_networkx, by_steps, l1, random_case
from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.graph import graphframes_engine
from lakerank.graph.base import Graph, PageRankConfig, RankResult
from lakerank.graph.build_graph import EXACT, SEED
from lakerank.graph.engines import ENGINES, choose_engine

# The distributed plan costs half a second an iteration: it is held to the exact result of few iterations.
VARIANTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "one task": ("native", {}, 300),
    "distributed": ("native", {"one_task_edges": 0, "block_edges": 60}, 5),
    "graphframes": ("graphframes", {}, 300),
}
MIXED = random_case(9)  # text ids; duplicates, self-loops, dangling and isolated nodes; teleport
WEIGHTED = random_case(17)  # numbers; parallel weighted links, some of weight 0

Solver = Callable[[Case], tuple[RankResult, dict[Any, float]]]


def frame(spark: SparkSession, **columns: Any) -> DataFrame:
    return spark.createDataFrame(pa.table(columns))


def as_graph(spark: SparkSession, case: Case) -> Graph:
    kind = pa.string() if isinstance(case.ids[0], str) else pa.int64()
    src, dst = ([edge[i] for edge in case.edges] for i in (0, 1))
    columns: dict[str, Any] = {"src": pa.array(src, kind), "dst": pa.array(dst, kind)}
    if case.weights is not None:
        columns["weight"] = pa.array(case.weights, pa.float64())
    teleport = None
    if case.teleport is not None:
        weights = pa.array([float(w) for w in case.teleport.values()])
        teleport = frame(spark, id=pa.array(list(case.teleport), kind), weight=weights)
    nodes = frame(spark, id=pa.array(case.nodes, kind)) if case.nodes else None
    return Graph(frame(spark, **columns), nodes, teleport, case.weights is not None)


def test_every_engine_is_covered() -> None:
    assert {engine for engine, _, _ in VARIANTS.values()} == set(ENGINES)


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest, spark: SparkSession) -> str:
    if request.param == "graphframes" and (reason := graphframes_engine.missing(spark)):
        pytest.skip(f"no GraphFrames: {reason}")
    return str(request.param)


@pytest.fixture
def solve(variant: str, spark: SparkSession) -> Solver:
    engine, settings, most = VARIANTS[variant]

    def run(case: Case) -> tuple[RankResult, dict[Any, float]]:
        config = PageRankConfig(case.damping, tol=1e-13, max_iter=most, **settings)
        result = ENGINES[engine](as_graph(spark, case), config)
        return result, {row["id"]: row["pagerank"] for row in result.ranks.collect()}

    return run


def expected(variant: str, case: Case, result: RankResult) -> dict[Any, float]:
    return by_networkx(case) if variant != "distributed" else by_steps(case, result.iterations)


@pytest.mark.connect
def test_a_graph_with_every_oddity(variant: str, solve: Solver) -> None:
    case = Case("mixed", MIXED.edges, None, MIXED.nodes)
    result, ranks = solve(case)
    assert l1(ranks, expected(variant, case, result)) < 1e-9
    assert sum(ranks.values()) == pytest.approx(1, abs=1e-12)
    assert (result.nodes, result.edges) == (len(case.ids), len(set(case.edges)))
    assert result.ranks.dtypes == [("id", "string"), ("pagerank", "double")]
    assert [entry[0] for entry in result.history][-1] == result.iterations
    assert result.converged == (result.l1_delta < 1e-13)


@pytest.mark.connect
def test_weights_or_a_clear_no(variant: str, solve: Solver) -> None:
    if variant == "graphframes":
        with pytest.raises(UserError, match="weights"):
            solve(WEIGHTED)
        return
    assert WEIGHTED.weights
    result, ranks = solve(WEIGHTED)
    assert l1(ranks, expected(variant, WEIGHTED, result)) < 1e-9
    carrying = {edge for edge, weight in zip(WEIGHTED.edges, WEIGHTED.weights, strict=True) if weight > 0}
    assert result.edges == len(carrying)
    assert result.ranks.dtypes[0] == ("id", "bigint")


@pytest.mark.connect
def test_teleport_or_a_clear_no(variant: str, solve: Solver) -> None:
    if variant == "graphframes":
        with pytest.raises(UserError, match="teleport"):
            solve(MIXED)
        return
    assert MIXED.teleport
    result, ranks = solve(MIXED)
    assert l1(ranks, expected(variant, MIXED, result)) < 1e-9


@pytest.mark.connect(slow=True)
def test_earlier_ranks_or_a_clear_no(variant: str, spark: SparkSession) -> None:
    engine, settings, _ = VARIANTS[variant]
    kind = pa.string() if isinstance(MIXED.ids[0], str) else pa.int64()
    exact = by_networkx(MIXED)
    warm_start = frame(spark, id=pa.array([*exact, "gone"], kind), pagerank=[*exact.values(), 0.3])
    whole = dataclasses.replace(as_graph(spark, MIXED), warm_start=warm_start)
    config = PageRankConfig(MIXED.damping, tol=1e-3, max_iter=8, **settings)
    if variant == "graphframes":
        with pytest.raises(UserError, match=r"earlier ranks|teleport"):
            ENGINES[engine](whole, config)
        return
    cold = ENGINES["native"](as_graph(spark, MIXED), PageRankConfig(MIXED.damping, tol=1e-3))
    assert ENGINES[engine](whole, config).iterations < cold.iterations
    # A node that has no earlier rank begins with what fresh starts give it; the answer is as sure as ever.
    result = ENGINES[engine](
        dataclasses.replace(whole, warm_start=warm_start.where(warm_start["id"] != MIXED.ids[-1])), config
    )
    assert result.worker_mib is not None
    bound = result.error_bound(MIXED.damping)
    assert bound is not None
    assert l1({row["id"]: row["pagerank"] for row in result.ranks.collect()}, exact) <= bound


@pytest.mark.parametrize(
    ("teleport", "message"), [({"Google": 1.0}, "'Google' is not a node"), ({"Yahoo": 0.0}, "weight above 0")]
)
def test_teleport_nowhere_is_the_users_error(
    variant: str, solve: Solver, teleport: dict[str, float], message: str
) -> None:
    if variant == "graphframes":
        pytest.skip("knows no teleport vector")
    with pytest.raises(UserError, match=message):
        solve(Case("nowhere", list(SEED), teleport=teleport))


def test_nodes_without_links(variant: str, solve: Solver) -> None:
    result, ranks = solve(Case("islands", [], nodes=[1, 2, 3, 4]))
    assert ranks == pytest.approx(dict.fromkeys((1, 2, 3, 4), 0.25), abs=1e-15)
    assert (result.nodes, result.edges) == (4, 0)


def test_nothing_at_all_is_the_users_error(variant: str, spark: SparkSession) -> None:
    engine, settings, _ = VARIANTS[variant]
    nothing = frame(spark, src=pa.array([], pa.int64()), dst=pa.array([], pa.int64()))
    with pytest.raises(UserError, match="no nodes"):
        ENGINES[engine](Graph(nothing), PageRankConfig(**settings))


@pytest.mark.parametrize("seed", [1, 5, 8, 11, 22, 30, 34, 44])
def test_random_graphs_through_spark(spark: SparkSession, seed: int) -> None:
    case = random_case(seed)
    result = ENGINES["native"](as_graph(spark, case), PageRankConfig(case.damping, tol=1e-14, max_iter=2000))
    assert l1({row["id"]: row["pagerank"] for row in result.ranks.collect()}, by_networkx(case)) < 1e-9


def test_the_seeds_first_step_through_spark(spark: SparkSession) -> None:
    config = PageRankConfig(damping=1.0, max_iter=1)
    result = ENGINES["native"](as_graph(spark, Case("seed", list(SEED))), config)
    ranks = {row["id"]: 3 * row["pagerank"] for row in result.ranks.collect()}
    assert ranks == pytest.approx({"Amazon": 1.5, "Yahoo": 1, "Microsoft": 0.5}, abs=1e-12)
    assert (result.iterations, result.converged, result.error_bound(1.0)) == (1, False, None)


def test_the_error_bound_holds(spark: SparkSession) -> None:
    edges, exact = EXACT["seed"]
    result = ENGINES["native"](as_graph(spark, Case("seed", list(edges))), PageRankConfig(tol=1e-3))
    error = l1({r["id"]: r["pagerank"] for r in result.ranks.collect()}, {k: float(v) for k, v in exact.items()})
    bound = result.error_bound(0.85)
    assert bound is not None
    assert bound / 100 < error <= bound


def test_frames_of_the_wrong_shape_are_refused(spark: SparkSession) -> None:
    with pytest.raises(UserError, match="`dst` must be bigint"):
        Graph(frame(spark, src=[1], dst=["a"]))
    with pytest.raises(UserError, match="`weight` must be double"):
        Graph(frame(spark, src=[1], dst=[2]), weighted=True)
    with pytest.raises(UserError, match="nodes: column `id` must be string"):
        Graph(frame(spark, src=["a"], dst=["b"]), nodes=frame(spark, id=[1]))


def test_choosing_an_engine_says_why(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = as_graph(spark, Case("seed", list(SEED)))
    weighted = as_graph(spark, Case("seed", list(SEED), [1.0] * 5))
    config = PageRankConfig()
    assert choose_engine(spark, "native", plain, config)[0] == "native"
    monkeypatch.setattr(graphframes_engine, "missing", lambda spark: "it is not here")
    with pytest.raises(UserError, match="it is not here"):
        choose_engine(spark, "graphframes", plain, config)
    monkeypatch.setattr(graphframes_engine, "missing", lambda spark: "")
    assert choose_engine(spark, "graphframes", plain, config) == ("graphframes", "you asked for it")
    assert choose_engine(spark, "auto", plain, config) == ("native", "GraphFrames only if you ask for it")
    with pytest.raises(UserError, match="ignores edge weights"):
        choose_engine(spark, "graphframes", weighted, config)
    with pytest.raises(UserError, match="must be one of"):
        choose_engine(spark, "networkx", plain, config)

"""PageRank for programs: frames in, ranks out, and a GraphFrames user's call without GraphFrames."""

from __future__ import annotations

import contextlib
import io
import re
from types import SimpleNamespace
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from graph_oracles import Case, by_networkx, random_case
from pyspark.sql import SparkSession
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.graph.api import (
    connected_components,
    graphframes_pagerank,
    graphframes_parallel_personalized_pagerank,
    label_propagation,
    node_degrees,
    pagerank,
)
from lakerank.graph.base import Graph, PageRankConfig
from lakerank.graph.centrality_plan import personal_pagerank
from lakerank.graph.csr_block import pack
from lakerank.graph.iterate import StoppingRule


@pytest.mark.connect
def test_vertices_and_edges_come_back_with_their_columns(spark: SparkSession) -> None:
    vertices = spark.createDataFrame(pa.table({"id": pa.array([1, 2, 3, 4], pa.int32()), "name": ["a", "b", "c", "d"]}))
    ends = {"src": pa.array([1, 1, 1, 2, 3], pa.int32()), "dst": pa.array([2, 2, 3, 3, 1], pa.int32())}
    edges = spark.createDataFrame(pa.table(ends | {"kind": ["x", "y", "x", "x", "x"]}))
    graph = nx.MultiDiGraph([(1, 2), (1, 2), (1, 3), (2, 3), (3, 1)])  # parallel edges count, as in GraphX
    graph.add_node(4)
    expected = nx.pagerank(graph, 0.8, tol=1e-14, max_iter=1000)

    found = graphframes_pagerank(
        SimpleNamespace(vertices=vertices, edges=edges), resetProbability=0.2, tol=1e-12, sumToN=True
    )
    rows = {row["id"]: row for row in found.vertices.collect()}
    assert found.vertices.dtypes == [("id", "int"), ("name", "string"), ("pagerank", "double")]
    assert {node: row["pagerank"] for node, row in rows.items()} == pytest.approx(
        {node: 4 * rank for node, rank in expected.items()}, abs=1e-10
    )
    assert rows[4]["name"] == "d"
    weights = sorted((row["src"], row["dst"], row["kind"], row["weight"]) for row in found.edges.collect())
    assert weights == [
        (1, 2, "x", pytest.approx(1 / 3)),
        (1, 2, "y", pytest.approx(1 / 3)),
        (1, 3, "x", pytest.approx(1 / 3)),
        (2, 3, "x", 1.0),
        (3, 1, "x", 1.0),
    ]
    assert found.result.converged
    with pytest.raises(UserError, match="sourceId 9 is no vertex"):
        graphframes_pagerank(vertices, edges, maxIter=3, sourceId=9)


def test_weights_a_source_and_few_iterations(spark: SparkSession) -> None:
    vertices = spark.createDataFrame(pa.table({"id": ["a", "b", "c"]}))
    edges = spark.createDataFrame(pa.table({"src": ["a", "a", "b"], "dst": ["b", "c", "a"], "w": [3, 1, 1]}))
    graph = nx.DiGraph()
    graph.add_weighted_edges_from([("a", "b", 3), ("a", "c", 1), ("b", "a", 1)])
    expected = nx.pagerank(graph, 0.85, personalization={"a": 1}, dangling={"a": 1}, tol=1e-14, max_iter=1000)
    found = graphframes_pagerank(vertices, edges, maxIter=200, sourceId="a", weightCol="w")
    ranks = {row["id"]: row["pagerank"] for row in found.vertices.collect()}
    assert ranks == pytest.approx(expected, abs=1e-10)
    assert found.result.iterations == 200
    assert sorted(row["weight"] for row in found.edges.collect()) == [0.25, 0.75, 1.0]


def test_what_cannot_be_is_said(spark: SparkSession) -> None:
    vertices = spark.createDataFrame(pa.table({"id": [1, 2]}))
    edges = spark.createDataFrame(pa.table({"src": [1], "dst": [2], "w": [-1.0]}))
    texts = edges.withColumn("src", edges["src"].cast("string"))
    for call, message in (
        (lambda: graphframes_pagerank(vertices, edges), "exactly one of maxIter or tol"),
        (lambda: graphframes_pagerank(vertices, edges, maxIter=3, tol=0.1), "exactly one of maxIter or tol"),
        (lambda: graphframes_pagerank(vertices, maxIter=3), "or a GraphFrame"),
        (lambda: graphframes_pagerank(vertices, edges.drop("dst"), maxIter=3), "`dst` must be"),
        (
            lambda: graphframes_pagerank(vertices, texts, maxIter=3),
            "all text",
        ),
        (lambda: graphframes_pagerank(vertices, edges, maxIter=3, sourceId="a"), "sourceId 'a' is no vertex"),
        (lambda: graphframes_pagerank(vertices, edges, maxIter=3, weightCol="w"), "`w` is -1.0"),
        (lambda: graphframes_pagerank(vertices, edges, maxIter=3, resetProbability=1.5), "damping"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def asked(case: Case) -> dict[str, Any]:
    """The case as the arguments of `pagerank`, frames as Arrow tables with columns of their own names."""
    src, dst = ([edge[end] for edge in case.edges] for end in (0, 1))
    kind = pa.string() if isinstance(case.ids[0], str) else pa.int32()
    columns = {
        "from": pa.array(src, kind),
        "to": pa.array(dst, kind),
        "n": pa.array(case.weights or [1.0] * len(src), pa.float64()),
    }
    weight = None if case.weights is None else "n"
    return {
        "edges": pa.table(columns), "vertices": pa.table({"page": pa.array(case.nodes, kind)}), "src": "from",
        "dst": "to", "id": "page", "weight": weight, "damping": case.damping, "teleport": case.teleport,
        "tol": 1e-13, "max_iter": 1000,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(24))
def test_arrow_and_pandas_frames_are_ranked_without_spark(seed: int) -> None:
    case = random_case(seed)
    arguments, expected = asked(case), by_networkx(case)
    found = pagerank(**arguments)
    kind = arguments["vertices"].schema.field("page").type
    assert found.ranks.schema == pa.schema([("id", kind), ("pagerank", pa.float64())])
    ranks = dict(zip(*(found.ranks.column(name).to_pylist() for name in ("id", "pagerank")), strict=True))
    assert ranks == pytest.approx(expected, abs=1e-10)
    assert (found.nodes, found.converged) == (len(expected), True)
    frames = {name: arguments[name].to_pandas() for name in ("edges", "vertices")}
    again = pagerank(**arguments | frames)
    assert isinstance(again.ranks, pd.DataFrame)
    assert dict(zip(again.ranks["id"], again.ranks["pagerank"], strict=True)) == ranks
    assert again.error_bound == found.error_bound


@pytest.mark.connect
def test_spark_frames_and_a_graphframe_are_ranked(spark: SparkSession) -> None:
    case = random_case(17)
    arguments = asked(case)
    arguments |= {name: spark.createDataFrame(arguments[name]) for name in ("edges", "vertices")}
    found = pagerank(**arguments)
    assert found.ranks.dtypes == [("id", "int"), ("pagerank", "double")]
    assert {row["id"]: row["pagerank"] for row in found.ranks.collect()} == pytest.approx(by_networkx(case), abs=1e-10)
    assert found.error_bound is not None
    assert found.error_bound < 1e-10
    again = pagerank(**arguments | {"warm_start": found.ranks.withColumnRenamed("id", "page")})
    assert again.iterations < found.iterations
    links, pages = arguments["edges"].toDF("src", "dst", "n"), arguments["vertices"].toDF("id")
    short = pagerank(SimpleNamespace(vertices=pages, edges=links), max_iter=2, weight="n")
    assert (short.iterations, short.converged, short.nodes) == (2, False, found.nodes)


class LargestChange(StoppingRule):
    """Stops as soon as no rank moves by more than `tol`, whatever their sum does."""

    def change(self, l1_change: float, before: Any, after: Any) -> float:
        return float(np.abs(after - before).max())

    def combine(self, changes: Any) -> float:
        return max(changes)


def test_another_rule_stops_the_same_iteration() -> None:
    edges = pa.table({"src": [0, 1, 2, 2, 3], "dst": [1, 2, 0, 1, 0]})
    exact, earlier = pagerank(edges, tol=1e-6), pagerank(edges, stopping=LargestChange(1e-6))
    assert earlier.converged
    assert 1 < earlier.iterations < exact.iterations


EDGES = {"src": [1, 2], "dst": [2, 3], "n": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"edges": [(1, 2)]}, "edges must be a Spark or pandas DataFrame or an Arrow table, not list"),
        ({"src": "from"}, "edges: column `from` must be whole numbers or text, but there is none .*src, dst, n"),
        ({"weight": "w"}, "edges: column `w` must be numbers, but there is none"),
        ({"edges": EDGES | {"src": [1.5, 2.0]}}, "edges: column `src` must be whole numbers or text, not double"),
        ({"edges": EDGES | {"dst": [[1], [2]]}}, "edges: column `dst` must be whole numbers or text, not "),
        ({"edges": EDGES | {"dst": ["a", "b"]}}, "edges: column `dst` is string, but edges: column `src` is "),
        ({"edges": EDGES | {"src": [1, None]}}, "edges: edge None → 3: `src` is null in 1 row"),
        ({"edges": EDGES | {"n": ["1", "2"]}, "weight": "n"}, "edges: column `n` must be numbers, not string"),
        ({"edges": EDGES | {"n": [1.0, -2.0]}, "weight": "n"}, "edges: edge 2 → 3: `n` is -2.0, not a number ≥ 0"),
        ({"edges": EDGES | {"n": [None, 1.0]}, "weight": "n"}, "`n` is null in 1 row"),
        ({"edges": EDGES | {"n": [float("nan"), 1.0]}, "weight": "n"}, "`n` is nan, not"),
        ({"vertices": {"id": ["a"]}}, "vertices: column `id` is string, but edges: column `src` is "),
        ({"vertices": {"id": [1, None]}}, "vertices: `id` is null in 1 row"),
        ({"vertices": {"name": [1]}}, "vertices: column `id` must be .* but there is none"),
        ({"teleport": {9: 1.0}}, "teleport: id 9 is not a node"),
        ({"teleport": {1: 0.0}}, "teleport: no id has a weight above 0"),
        ({"teleport": {1: -1.0}}, "teleport: `weight` is -1.0"),
        ({"warm_start": {1: -1.0}}, "warm_start: `pagerank` is -1.0"),
        ({"edges": {"src": pa.array([], pa.int64()), "dst": pa.array([], pa.int64())}}, "no nodes"),
        ({"damping": 1.5}, "damping must be between 0 and 1"),
    ],
)
@pytest.mark.parametrize("kind", ["arrow", "spark"])
def test_frames_that_do_not_fit_are_named(
    kind: str, wrong: dict[str, Any], message: str, request: pytest.FixtureRequest
) -> None:
    spark = request.getfixturevalue("spark") if kind == "spark" else None
    arguments: dict[str, Any] = {"edges": EDGES} | wrong
    for name in ("edges", "vertices"):
        if isinstance(arguments.get(name), dict):
            table = pa.table(arguments[name])
            arguments[name] = table if spark is None else spark.createDataFrame(table)
    with pytest.raises(UserError, match=message):
        pagerank(**arguments)


def test_pandas_columns_of_several_kinds_and_twice_the_same_name_are_named() -> None:
    mixed = pd.DataFrame({"src": [1, "a"], "dst": [2, 3]})
    with pytest.raises(UserError, match="edges: column `src` has values of several kinds"):
        pagerank(mixed)
    twice = pd.DataFrame([[1, 2, 3]], columns=["src", "dst", "dst"])
    with pytest.raises(UserError, match="must be whole numbers or text, but there are several"):
        pagerank(twice)
    categories = pd.DataFrame({"src": ["a", "b"], "dst": ["b", "a"]}, dtype="category")
    assert pagerank(categories).nodes == 2


def test_the_guides_example_runs() -> None:
    guide = (ROOT / "docs" / "pagerank.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[0]
    assert len(example.splitlines()) <= 10
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example, {})
    assert "True" in printed.getvalue()
    assert printed.getvalue().split().index("a") < printed.getvalue().split().index("b")


@pytest.mark.connect
def test_components_communities_and_degrees_of_any_frame(spark: SparkSession) -> None:
    table = pa.table({"from": pa.array([1, 2, 7], pa.int32()), "to": pa.array([2, 1, 8], pa.int32())})
    more = pa.table({"page": pa.array([5], pa.int32())})
    expected = {
        connected_components: [(1, 1, 2), (2, 1, 2), (5, 5, 1), (7, 7, 2), (8, 7, 2)],
        node_degrees: [(1, 1, 1, 1, 1.0), (2, 1, 1, 1, 1.0), (5, 0, 0, 0, 0.0), (7, 0, 1, 0, 0.0), (8, 1, 0, 0, 0.0)],
    }
    for compute, rows in expected.items():
        for frame, nodes in ((table, more), (table.to_pandas(), more.to_pandas())):
            found = compute(frame, nodes, src="from", dst="to", id="page")
            assert type(found) is type(frame)
            if isinstance(found, pa.Table):
                assert found.schema.field(0).type == pa.int32()
                found = found.to_pandas()
            assert sorted(found.itertuples(index=False, name=None)) == rows
        found = compute(spark.createDataFrame(table), spark.createDataFrame(more), src="from", dst="to", id="page")
        assert dict(found.dtypes)["id"] == "int"
        assert sorted(tuple(row) for row in found.collect()) == rows
    chain = pa.table({"src": ["a", "b", "c", "a"], "dst": ["b", "c", "a", "d"]})
    found = label_propagation(chain, max_iter=1).to_pylist()
    assert [(row["id"], row["label"]) for row in found] == [("a", "b"), ("b", "a"), ("c", "a"), ("d", "a")]
    with pytest.raises(UserError, match="`src` is null"):
        connected_components(pa.table({"src": [None, "a"], "dst": ["b", "c"]}))


@pytest.mark.connect(slow=True)
@pytest.mark.parametrize("text", [False, True])
def test_edges_to_absent_vertices_as_in_graphframes(spark: SparkSession, text: bool) -> None:
    # Whole numbers take part, as GraphX adds them; edges to or from text that is no vertex are left out.
    def ids(*numbers: int) -> pa.Array:
        return pa.array([str(i) for i in numbers] if text else list(numbers))

    vertices = spark.createDataFrame(pa.table({"id": ids(1, 2, 3)}))
    listed = [(1, 2), (1, 9), (2, 3), (8, 1), (2, 3)]
    edges = spark.createDataFrame(
        pa.table({name: ids(*ends) for name, ends in zip(("src", "dst"), zip(*listed, strict=True), strict=True)})
    )
    counted = [edge for edge in listed if not text or max(edge) < 8]
    graph = nx.MultiDiGraph(counted)
    expected = nx.pagerank(graph, 0.85, tol=1e-14, max_iter=1000)
    found = graphframes_pagerank(vertices, edges, tol=1e-13)
    assert found.result is not None
    assert found.result.nodes == (3 if text else 5)
    ranks = {int(row["id"]): row["pagerank"] for row in found.vertices.collect()}
    assert ranks == pytest.approx({node: expected[node] for node in (1, 2, 3)}, abs=1e-10)
    rows = found.edges.collect()
    assert sorted((int(row["src"]), int(row["dst"])) for row in rows) == sorted(counted)
    assert {row["weight"] for row in rows if int(row["src"]) == 1} == {1.0 if text else 0.5}


@pytest.mark.connect(slow=True)
def test_ranks_as_seen_from_several_vertices(spark: SparkSession) -> None:
    vertices = spark.createDataFrame(pa.table({"id": ["a", "b", "c", "d"], "name": ["A", "B", "C", "D"]}))
    listed = [("a", "b"), ("a", "b"), ("a", "c"), ("b", "a"), ("d", "a")]
    edges = spark.createDataFrame(pa.table({"src": [s for s, _ in listed], "dst": [d for _, d in listed]}))
    found = graphframes_parallel_personalized_pagerank(vertices, edges, sourceIds=["d", "a"], maxIter=200)
    assert found.vertices.dtypes == [("id", "string"), ("name", "string"), ("pageranks", "vector")]
    rows = {row["id"]: row["pageranks"].toArray() for row in found.vertices.collect()}
    for position, source in enumerate("da"):
        graph = nx.MultiDiGraph(listed)
        expected = nx.pagerank(graph, personalization={source: 1}, dangling={source: 1}, tol=1e-15, max_iter=1000)
        assert {node: ranks[position] for node, ranks in rows.items()} == pytest.approx(expected, abs=1e-10)
    assert rows["d"][1] == 0  # nobody gets there from a
    assert sorted(row["weight"] for row in found.edges.collect())[:3] == pytest.approx([1 / 3] * 3)
    for sources, message in ((["x"], "sourceIds 'x' is no vertex"), ([], "one vertex or more")):
        with pytest.raises(UserError, match=message):
            graphframes_parallel_personalized_pagerank(vertices, edges, sourceIds=sources, maxIter=3)
    nulls = spark.createDataFrame(pa.table({"src": ["a", None], "dst": ["b", "c"]}))
    with pytest.raises(UserError, match="`src` is null in 1 row; fill or drop them"):
        graphframes_parallel_personalized_pagerank(vertices, nulls, sourceIds=["a"], maxIter=3)


def test_more_surfers_than_one_task_takes(spark: SparkSession) -> None:
    case = random_case(10)
    src, dst = zip(*case.edges, strict=True)
    graph = Graph(spark.createDataFrame(pa.table({"src": list(src), "dst": list(dst)})))
    nodes = sorted({*src, *dst})
    starts = [(number, nodes[number % len(nodes)], 2.0) for number in range(130)]
    seeds = spark.createDataFrame(starts, "source bigint, id bigint, weight double")
    config = PageRankConfig(tol=1e-13)
    found = personal_pagerank(graph, seeds, config, top=3)
    assert found.summary["nodes"] == len(nodes)
    rows = found.values.collect()
    assert {row["source"] for row in rows} == set(range(130))
    for number in (0, 65, 129):
        expected = nx.pagerank(nx.DiGraph(case.edges), personalization={nodes[number % len(nodes)]: 1}, tol=1e-15)
        mine = {row["id"]: row["pagerank"] for row in rows if row["source"] == number}
        assert mine == pytest.approx({node: expected[node] for node in mine}, abs=1e-9)
    unknown = seeds.union(spark.createDataFrame([(7, 10**6, 1.0)], seeds.schema))
    with pytest.raises(UserError, match="id 1000000 is not a node"):
        personal_pagerank(graph, unknown, config)


def test_parallel_links_are_counted_while_packing() -> None:
    rng = np.random.default_rng(1)
    src, dst = rng.integers(0, 9, 200), rng.integers(0, 18, 200)
    once, counted = (pack(src, dst, weight, nodes=18, blocks=2, parallel=True) for weight in (None, np.ones(200)))
    x = rng.random(9)
    np.testing.assert_allclose(once.propagate(x), counted.propagate(x), rtol=1e-14)
    assert once.edges == len(set(zip(src.tolist(), dst.tolist(), strict=True))) < 200
    alone = pack(src[:3], np.arange(3), None, nodes=18, blocks=2, parallel=True)
    assert len(alone.weight) == 0  # links that are there once take no more room than without


@pytest.mark.parametrize("damping", [0.5, 0.85, 0.95, 0.99])
@pytest.mark.parametrize("tol", [1e-6, 1e-8, 1e-12])
def test_defaults_can_reach_one_another(damping: float, tol: float) -> None:
    # Two pages that link to each other, one of which all others link to: the change shrinks by no more than damping.
    src, dst = [0, 1, *range(2, 40)], [1, 0, *[0] * 38]
    found = pagerank(pa.table({"src": src, "dst": dst}), damping=damping, tol=tol)
    assert found.converged
    assert found.iterations > 0.8 * np.log(tol) / np.log(damping)  # slow indeed

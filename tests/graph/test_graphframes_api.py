"""A GraphFrames user's call: the same parameter names and columns, without GraphFrames."""

from __future__ import annotations

from types import SimpleNamespace

import networkx as nx
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.graph.graphframes_api import pagerank


@pytest.mark.connect
def test_vertices_and_edges_come_back_with_their_columns(spark: SparkSession) -> None:
    vertices = spark.createDataFrame(pa.table({"id": pa.array([1, 2, 3, 4], pa.int32()), "name": ["a", "b", "c", "d"]}))
    ends = {"src": pa.array([1, 1, 1, 2, 3], pa.int32()), "dst": pa.array([2, 2, 3, 3, 1], pa.int32())}
    edges = spark.createDataFrame(pa.table(ends | {"kind": ["x", "y", "x", "x", "x"]}))
    graph = nx.MultiDiGraph([(1, 2), (1, 2), (1, 3), (2, 3), (3, 1)])  # parallel edges count, as in GraphX
    graph.add_node(4)
    expected = nx.pagerank(graph, 0.8, tol=1e-14, max_iter=1000)

    found = pagerank(SimpleNamespace(vertices=vertices, edges=edges), resetProbability=0.2, tol=1e-12, sumToN=True)
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
        pagerank(vertices, edges, maxIter=3, sourceId=9)


def test_weights_a_source_and_few_iterations(spark: SparkSession) -> None:
    vertices = spark.createDataFrame(pa.table({"id": ["a", "b", "c"]}))
    edges = spark.createDataFrame(pa.table({"src": ["a", "a", "b"], "dst": ["b", "c", "a"], "w": [3, 1, 1]}))
    graph = nx.DiGraph()
    graph.add_weighted_edges_from([("a", "b", 3), ("a", "c", 1), ("b", "a", 1)])
    expected = nx.pagerank(graph, 0.85, personalization={"a": 1}, dangling={"a": 1}, tol=1e-14, max_iter=1000)
    found = pagerank(vertices, edges, maxIter=200, sourceId="a", weightCol="w")
    ranks = {row["id"]: row["pagerank"] for row in found.vertices.collect()}
    assert ranks == pytest.approx(expected, abs=1e-10)
    assert found.result.iterations == 200
    assert sorted(row["weight"] for row in found.edges.collect()) == [0.25, 0.75, 1.0]


def test_what_cannot_be_is_said(spark: SparkSession) -> None:
    vertices = spark.createDataFrame(pa.table({"id": [1, 2]}))
    edges = spark.createDataFrame(pa.table({"src": [1], "dst": [2], "w": [-1.0]}))
    for call, message in (
        (lambda: pagerank(vertices, edges), "exactly one of maxIter or tol"),
        (lambda: pagerank(vertices, edges, maxIter=3, tol=0.1), "exactly one of maxIter or tol"),
        (lambda: pagerank(vertices, maxIter=3), "or a GraphFrame"),
        (lambda: pagerank(vertices, edges.drop("dst"), maxIter=3), "`dst` must be"),
        (lambda: pagerank(vertices, edges.withColumn("src", edges["src"].cast("string")), maxIter=3), "all text"),
        (lambda: pagerank(vertices, edges, maxIter=3, weightCol="w"), "`w` is -1.0"),
        (lambda: pagerank(vertices, edges, maxIter=3, resetProbability=1.5), "damping"),
    ):
        with pytest.raises(UserError, match=message):
            call()

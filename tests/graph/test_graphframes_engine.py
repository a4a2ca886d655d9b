"""The GraphFrames adapter against GraphX's arithmetic, where the real one is not to be had.

`tests/contracts/test_engines.py` runs the real one wherever its jar is on the class path.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from graph_oracles import Case, by_networkx, l1, random_case
from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.graph import graphframes_engine
from lakerank.graph.base import Graph, PageRankConfig
from lakerank.graph.iterate import StoppingRule

graphframes = pytest.importorskip("graphframes", reason="the extra `graphframes` is not installed")


class Stubborn(StoppingRule):
    """Never stops."""

    def is_met(self, change: float) -> bool:
        return False


class FakeGraphX:
    """GraphX's static PageRank as its source has it: start at 1, sinks leak, rescale to n at the end."""

    def __init__(self, vertices: DataFrame, edges: DataFrame) -> None:
        assert dict(vertices.dtypes)["id"] == "bigint"  # for text GraphFrames would keep a frame for ever
        self.ids = [row["id"] for row in vertices.collect()]
        self.links = [(row["src"], row["dst"]) for row in edges.collect()]
        assert len(set(self.ids)) == len(self.ids)
        assert len(set(self.links)) == len(self.links), "GraphX counts duplicates: they must be gone"
        self.spark = vertices.sparkSession

    def pageRank(self, resetProbability: float, maxIter: int) -> Any:
        out: dict[Any, int] = {}
        for src, _ in self.links:
            out[src] = out.get(src, 0) + 1
        ranks = dict.fromkeys(self.ids, 1.0)
        for _ in range(maxIter):
            got = dict.fromkeys(self.ids, 0.0)
            for src, dst in self.links:
                got[dst] += ranks[src] / out[src]
            ranks = {node: resetProbability + (1 - resetProbability) * got[node] for node in self.ids}
        scale = len(self.ids) / sum(ranks.values())
        table = pa.table({"id": list(ranks), "pagerank": [rank * scale for rank in ranks.values()]})
        return SimpleNamespace(vertices=self.spark.createDataFrame(table))


@pytest.mark.parametrize("seed", [2, 6])  # numbers, text
def test_leaking_and_rescaling_is_spreading_evenly(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(graphframes, "GraphFrame", FakeGraphX)
    made = random_case(seed)
    case = Case("plain", made.edges, None, made.nodes)
    src, dst = zip(*case.edges, strict=True)
    graph = Graph(
        spark.createDataFrame(pa.table({"src": list(src), "dst": list(dst)})),
        spark.createDataFrame(pa.table({"id": list(case.nodes)})),
    )
    result = graphframes_engine.run(graph, PageRankConfig(tol=1e-10, max_iter=500))
    ranks = {row["id"]: row["pagerank"] for row in result.ranks.collect()}
    assert l1(ranks, by_networkx(case)) < 1e-9
    assert result.converged
    assert result.l1_delta < 1e-10
    assert result.history[0][2] > 0.01  # some mass dangles, or this would prove nothing
    short = graphframes_engine.run(graph, PageRankConfig(tol=1e-10, max_iter=3))
    assert (short.iterations, short.converged) == (3, False)
    assert short.l1_delta > 1e-6


@pytest.mark.parametrize(("tol", "most", "steps"), [(1e-8, 1000, 138), (1e-8, 100, 100), (0.0, 70, 70)])
def test_steps_are_enough_for_the_tolerance(tol: float, most: int, steps: int) -> None:
    assert graphframes_engine.steps_needed(0.85, tol, most) == steps
    assert graphframes_engine.steps_needed(0.0, tol, most) == 1


def test_what_graphx_cannot_do_is_refused(spark: SparkSession) -> None:
    edges = spark.createDataFrame(pa.table({"src": [1], "dst": [2], "weight": [1.0]}))
    with pytest.raises(UserError, match="weights; use --engine native"):
        graphframes_engine.run(Graph(edges, weighted=True), PageRankConfig())
    start = spark.createDataFrame(pa.table({"id": [1], "weight": [1.0]}))
    with pytest.raises(UserError, match="teleport"):
        graphframes_engine.run(Graph(edges, teleport=start), PageRankConfig())
    with pytest.raises(UserError, match="a stopping rule of its own"):
        graphframes_engine.run(Graph(edges), PageRankConfig(stopping=Stubborn()))
    with pytest.raises(UserError, match="damping is 1"):
        graphframes_engine.run(Graph(edges), PageRankConfig(damping=1.0))


def test_the_reason_for_its_absence_is_said(spark: SparkSession) -> None:
    reason = graphframes_engine.missing(spark)
    assert reason == "" or "--packages io.graphframes:" in reason or "Connect" in reason


def test_what_graphx_keeps_in_memory_is_released(spark: SparkSession, tmp_path: Path) -> None:
    jvm: Any = spark._jvm
    context, level = spark._jsc.sc(), jvm.org.apache.spark.storage.StorageLevel.MEMORY_ONLY()  # type: ignore[attr-defined]
    edges, whole = tmp_path / "edges.txt", jvm.scala.reflect.ClassTag.Int()
    edges.write_text("1 2\n2 3\n3 1\n")
    before = set(graphframes_engine._kept(spark))
    with graphframes_engine.releasing(spark):
        graph = jvm.org.apache.spark.graphx.GraphLoader.edgeListFile(context, str(edges), False, 1, level, level)
        ranked = jvm.org.apache.spark.graphx.lib.PageRank.run(graph, 3, 0.15, whole, whole)
        assert ranked.vertices().count() == 3
        assert len(set(graphframes_engine._kept(spark)) - before) > 3
    assert set(graphframes_engine._kept(spark)) <= before


def test_connect_is_asked_for_its_plugins() -> None:
    for plugins, found in (("org.apache.spark.sql.graphframes.GraphFramesConnect", True), (None, False)):
        conf = SimpleNamespace(get=lambda name, other, plugins=plugins: plugins or other)
        reason = graphframes_engine.missing(cast(Any, SimpleNamespace(conf=conf)))
        assert (reason == "") == found
        assert found or "no GraphFrames plugin" in reason

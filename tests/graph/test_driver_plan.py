"""PageRank in the driver: the same ranks as everywhere, and what it leaves to Spark."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import Any

import lake_tables
import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from graph_oracles import by_networkx, l1, random_case
from pyspark.sql import SparkSession

from lakerank.graph.base import PageRankConfig
from lakerank.graph.local_plan import run_on_driver
from lakerank.graph.store import read_on_driver
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import EDGES_REJECTED, RANKS
from spark_jobs import pagerank

MANY = 1000


def put(folder: Path, **columns: Any) -> str:
    write_deltalake(str(folder), pa.table(columns), mode="overwrite")
    return str(folder)


def read(links: str, nodes: str = "", warm_start: str = "", weighted: bool = False, most: int = MANY) -> Any:
    found = (TableRef(where) if where else None for where in (nodes, warm_start))
    return read_on_driver(TableRef(links), *found, weighted, most)


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_agree_with_networkx(seed: int, tmp_path: Path) -> None:
    case = random_case(seed)
    if case.teleport is not None or not case.edges:
        return  # teleport vectors are for Spark
    src, dst = zip(*case.edges, strict=True)
    weight = {} if case.weights is None else {"weight": case.weights}
    links = put(tmp_path / "links", FromNodeId=list(src), target=list(dst), **weight)
    nodes = put(tmp_path / "nodes", page=list(case.nodes)) if case.nodes else ""
    found = read(links, nodes, weighted=case.weights is not None)
    assert found is not None
    result = run_on_driver(found, PageRankConfig(case.damping, 1e-14, 2000))
    assert result.engine == "native, on the driver"
    ours = dict(zip(*(result.ranks.column(name).to_pylist() for name in ("id", "pagerank")), strict=True))
    assert l1(ours, by_networkx(case)) < 1e-9


def test_earlier_ranks_save_iterations(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    links = put(tmp_path / "links", src=rng.integers(0, 300, 900), dst=rng.integers(0, 300, 900))
    cold = run_on_driver(read(links), PageRankConfig(tol=1e-10))
    gone = pa.table({"id": [10**9], "pagerank": [0.2]})  # of a page that is no more
    write_deltalake(str(tmp_path / "ranks"), pa.concat_tables([cold.ranks, gone]))
    warm = run_on_driver(read(links, warm_start=str(tmp_path / "ranks")), PageRankConfig(tol=1e-10))
    assert warm.iterations < cold.iterations / 3
    assert warm.nodes == cold.nodes
    assert np.abs(warm.ranks.column("pagerank").to_numpy() - cold.ranks.column("pagerank").to_numpy()).sum() < 1e-9


def test_links_an_author_does_not_vouch_for_do_not_count(tmp_path: Path) -> None:
    links = put(tmp_path / "links", src=["a", "a", "b"], dst=["b", "c", "a"], nofollow=[False, True, None])
    assert read(links).edges.to_pylist() == [{"src": "a", "dst": "b"}, {"src": "b", "dst": "a"}]


@pytest.mark.parametrize(
    ("columns", "weighted"),
    [
        ({"src": [1, None], "dst": [2, 3]}, False),
        ({"src": ["a", ""], "dst": ["b", "c"]}, False),
        ({"src": [1, 2], "dst": ["b", "c"]}, False),
        ({"src": [1.0, 2.0], "dst": [2.0, 3.0]}, False),
        ({"src": [1, 2], "somewhere": [2, 3]}, False),
        ({"src": pa.array([], pa.int64()), "dst": pa.array([], pa.int64())}, False),
        ({"src": [1, 2], "dst": [2, 3]}, True),
        ({"src": [1, 2], "dst": [2, 3], "weight": [1.0, -1.0]}, True),
        ({"src": [1, 2], "dst": [2, 3], "weight": [1.0, float("inf")]}, True),
        ({"src": [1, 2], "dst": [2, 3], "weight": ["1", "2"]}, True),
    ],
)
def test_what_cannot_be_used_as_it_is_is_for_spark(columns: dict[str, Any], weighted: bool, tmp_path: Path) -> None:
    assert read(put(tmp_path / "links", **columns), weighted=weighted) is None


def test_what_is_elsewhere_or_large_is_for_spark(tmp_path: Path) -> None:
    links = put(tmp_path / "links", src=[1, 2, 3], dst=[2, 3, 1])
    assert read(links) is not None
    assert read(links, most=2) is None
    assert read(links, most=0) is None
    assert read(str(tmp_path / "nothing")) is None
    assert read("main.web.links") is None
    assert read("s3://bucket/links") is None
    assert read(links, nodes=put(tmp_path / "nodes", id=["x"])) is None  # ids of another kind
    assert read(links, nodes=str(tmp_path / "nothing")) is None


def test_the_job_writes_the_same_either_way(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    columns = {"src": rng.integers(-40, 40, 400), "dst": rng.integers(-40, 40, 400), "weight": rng.random(400)}
    links, nodes = put(tmp_path / "links", **columns), put(tmp_path / "nodes", id=[2**60, 5])
    found = {}
    for name, flags in (("driver", []), ("spark", ["--driver-edges", "0"])):
        lake = str(tmp_path / name)
        shared = ["--links", links, "--nodes", nodes, "--weights", "--engine", "native", "--json", "--lake", lake]
        assert pagerank.main([*shared, *flags]) == 0
        facts = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert facts["plan"] == {"driver": "native, on the driver", "spark": "native, one task"}[name]
        rows = sorted(lake_tables.rows(RANKS, lake), key=itemgetter("id"))
        told = ("top", "iterations", "l1_delta", "nodes", "edges", "certain_ranks", "error_bound", "rejected")
        found[name] = ([tuple(row) for row in rows], [facts[key] for key in told])
    assert found["driver"] == found["spark"]


def test_a_row_that_is_wrong_goes_to_spark_and_is_told(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links, lake = put(tmp_path / "links", src=[1, None, 3], dst=[2, 3, 1]), str(tmp_path / "lake")
    assert pagerank.main(["--links", links, "--lake", lake, "--engine", "native", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rejected"] == 1
    assert len(lake_tables.rows(EDGES_REJECTED, lake)) == 1

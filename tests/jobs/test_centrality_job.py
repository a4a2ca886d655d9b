"""centrality and host_graph end to end: files and tables in, tables out, wrong input named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lake_tables
import networkx as nx
import pytest
from pyspark.sql import SparkSession

from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import (
    COMMUNITIES,
    COMPONENTS,
    DEGREES,
    HARMONIC,
    HITS,
    HOST_LINKS,
    LINKS,
    PERSONAL_RANKS,
    RANKS,
)
from spark_jobs import centrality, host_graph, pagerank

EDGES = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"), ("d", "c"), ("e", "d")]


def ended(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.connect(slow=True)
def test_every_measure_from_a_file(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    links, seeds, lake = tmp_path / "links.tsv", tmp_path / "seeds.csv", str(tmp_path / "lake")
    links.write_text("".join(f"{s}\t{d}\n" for s, d in EDGES) + "broken\n")
    seeds.write_text("anna,a\nanna,b,3\nbert,e\n")
    graph = nx.DiGraph(EDGES)
    shared = ["--lake", lake, "--links", str(links), "--json", "--tol", "1e-12", "--max-iter", "5000"]

    assert centrality.main([*shared, "--measure", "hits"]) == 0
    assert ended(capsys)["rejected"] == 1
    hub, authority = nx.hits(graph, tol=1e-14, max_iter=10_000)
    rows = lake_tables.rows(HITS, lake)
    assert {row["id"]: row["hub"] for row in rows} == pytest.approx(hub, abs=1e-8)
    assert {row["id"]: row["authority"] for row in rows} == pytest.approx(authority, abs=1e-8)

    assert centrality.main([*shared, "--measure", "harmonic"]) == 0
    assert ended(capsys)["exact"] == 1
    rows = lake_tables.rows(HARMONIC, lake)
    assert {row["id"]: row["harmonic"] for row in rows} == pytest.approx(nx.harmonic_centrality(graph))

    assert centrality.main([*shared, "--measure", "personal", "--seeds", str(seeds), "--keep", "0"]) == 0
    assert ended(capsys)["l1_delta"] < 1e-12
    rows = lake_tables.rows(PERSONAL_RANKS, lake)
    for who, start in (("anna", {"a": 1, "b": 3}), ("bert", {"e": 1})):
        expected = nx.pagerank(graph, personalization=start, tol=1e-14, max_iter=1000)
        mine = {row["id"]: row["pagerank"] for row in rows if row["source"] == who}
        assert mine == pytest.approx({k: v for k, v in expected.items() if v > 0}, abs=1e-9)
    seeds.write_text("anna,nobody\n")
    assert centrality.main([*shared, "--measure", "personal", "--seeds", str(seeds)]) == 2
    assert "id 'nobody' is not a node" in capsys.readouterr().err
    assert centrality.main([*shared, "--measure", "personal"]) == 2
    assert "give --seeds" in capsys.readouterr().err


@pytest.mark.connect
def test_pages_vote_once_for_each_host(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = str(tmp_path / "lake")
    rows = [
        ("http://a.org/1", "https://B.org:8080/x", False),
        ("http://a.org/1", "https://b.org/y", None),  # the same page once more
        ("http://a.org/2", "http://u:p@b.org./", False),
        ("http://a.org/2", "http://a.org/1", False),  # its own
        ("http://b.org/x", "http://c.org?q", False),
        ("http://b.org/x", "http://a.org", True),  # not vouched for
        ("mailto:x", "http://a.org", False),
    ]
    frame = spark.createDataFrame(rows, "src_url string, dst_url string, nofollow boolean")
    frame.write.format("delta").save(f"{lake}/{LINKS.name}")
    assert host_graph.main(["--lake", lake, "--json"]) == 0
    said = ended(capsys)
    assert (said["hosts"], said["links"]) == (3, 2)
    made = TableRef.find("", HOST_LINKS, lake)
    found = {(row["src"], row["dst"]): row["weight"] for row in lake_tables.rows_of(made, HOST_LINKS)}
    assert found == {("a.org", "b.org"): 2.0, ("b.org", "c.org"): 1.0}
    assert pagerank.main(["--lake", lake, "--links", made.location, "--weights", "--json"]) == 0
    assert {row["id"] for row in lake_tables.rows(RANKS, lake)} == {
        "a.org",
        "b.org",
        "c.org",
    }
    assert host_graph.main(["--lake", str(tmp_path / "none")]) == 2
    assert "run ingest_pages first" in capsys.readouterr().err


def test_how_nodes_hang_together(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    links, nodes, lake = tmp_path / "links.tsv", tmp_path / "nodes.txt", str(tmp_path / "lake")
    links.write_text("".join(f"{s}\t{d}\n" for s, d in [*EDGES, ("x", "y"), ("y", "x"), ("y", "x")]))
    nodes.write_text("alone\n")
    shared = ["--lake", lake, "--links", str(links), "--nodes", str(nodes), "--json"]

    assert centrality.main([*shared, "--measure", "components", "--top", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-4:-2] == ["  a  5", "  x  2"]
    said = json.loads(printed[-1])
    assert (said["nodes"], said["components"], said["largest"]) == (8, 3, 5)
    found = {row["id"]: (row["component"], row["size"]) for row in lake_tables.rows(COMPONENTS, lake)}
    assert found == dict.fromkeys("abcde", ("a", 5)) | dict.fromkeys("xy", ("x", 2)) | {"alone": ("alone", 1)}

    assert centrality.main([*shared, "--measure", "communities"]) == 0
    said = ended(capsys)
    assert said["communities"] == len({row["label"] for row in lake_tables.rows(COMMUNITIES, lake)})
    assert said["iterations"] <= 20

    assert centrality.main([*shared, "--measure", "degrees"]) == 0
    said = ended(capsys)
    assert (said["edges"], said["reciprocity"]) == (8, 0.25)
    rows = {row["id"]: row for row in lake_tables.rows(DEGREES, lake)}
    assert (rows["a"]["in_degree"], rows["a"]["out_degree"], rows["x"]["reciprocity"]) == (2, 1, 1.0)

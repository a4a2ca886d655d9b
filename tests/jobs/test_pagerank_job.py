"""pagerank end to end, in this process: real files, real tables, twice, and with wrong input."""

from __future__ import annotations

import gzip
import json
from operator import itemgetter
from pathlib import Path
from typing import Any

import lake_tables
import networkx as nx
import pytest
from conftest import SHARED
from graph_oracles import Case, by_igraph, by_networkx, by_steps, l1
from pyspark.sql import SparkSession

from lakerank.graph.build_graph import EXACT
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import EDGES_REJECTED, HOST_RANKS, LINKS, PAGERANK_METRICS, RANKS
from spark_jobs import pagerank

LDBC = SHARED / "graphs" / "ldbc"
WIKISPEEDIA = SHARED / "graphs" / "wikispeedia" / "links.tsv"


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return str(tmp_path / "lake")


def ranks(spark: SparkSession, lake: str) -> dict[Any, float]:
    rows = lake_tables.rows(RANKS, lake)
    return {row["id"]: row["pagerank"] for row in rows}


def ended(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.connect(slow=True)
def test_the_example_is_the_default_and_twice_is_once(
    spark: SparkSession, lake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = []
    for _ in range(2):
        assert pagerank.main(["--lake", lake, "--tol", "1e-14", "--max-iter", "300", "--json"]) == 0
        said = ended(capsys)
        curve = sorted(lake_tables.rows(PAGERANK_METRICS, lake), key=itemgetter("iteration"))
        runs.append((ranks(spark, lake), [tuple(row) for row in curve], said["top"]))
        assert (said["engine"], said["converged"], said["nodes"], said["edges"]) == ("native", True, 3, 5)
        assert said["iterations"] == len(curve) == curve[-1]["iteration"]
        assert said["l1_delta"] == curve[-1]["l1_delta"]
        assert 0.85 / 0.15 * said["l1_delta"] < said["error_bound"] < 1e-12  # and what rounding may have done
        assert said["certain_ranks"] == 3
        assert said["iterations_saved"] is None
        assert said["worker_peak_mib"] > 0
    assert runs[0] == runs[1]
    assert runs[0][0] == pytest.approx({k: float(v) for k, v in EXACT["seed"][1].items()}, abs=1e-12)
    assert [node for node, _ in runs[0][2]] == ["Amazon", "Yahoo", "Microsoft"]
    # Started from these ranks there is nothing left to do.
    warm_start = ["--warm-start", f"{lake}/{RANKS.name}"]
    assert pagerank.main(["--lake", lake, "--tol", "1e-14", "--max-iter", "300", "--json", *warm_start]) == 0
    said = ended(capsys)
    assert said["iterations"] <= 3
    assert said["iterations_saved"] == len(runs[0][1]) - said["iterations"]
    assert ranks(spark, lake) == pytest.approx(runs[0][0], abs=1e-13)


def test_links_table_of_the_lake_comes_first_and_names_its_pages(
    spark: SparkSession, lake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = {1: "http://a/", 2: "http://b/", 3: "http://c/"}
    rows = [(1, 2, False), (2, 1, False), (3, 1, None), (1, 3, True), (2, 3, True)]
    frame = spark.createDataFrame(
        [(s, d, pages[s], pages[d], nofollow) for s, d, nofollow in rows],
        "src long, dst long, src_url string, dst_url string, nofollow boolean",
    )
    frame.write.format("delta").save(f"{lake}/{LINKS.name}")
    assert pagerank.main(["--lake", lake, "--top", "2", "--json"]) == 0
    out = capsys.readouterr().out
    assert f"links from {lake}/links" in out
    assert "http://a/" in out
    assert "http://c/" not in out  # not among the top 2
    summary = json.loads(out.splitlines()[-1])
    assert [node for node, _ in summary["top"]] == [1, 2]
    assert summary["edges"] == 3  # nofollow links are no votes


def test_wrong_lines_are_kept_aside_with_their_numbers(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links, nodes, home = tmp_path / "links.txt.gz", tmp_path / "nodes.txt", tmp_path / "home.csv"
    with gzip.open(links, "wt", encoding="utf-8") as file:
        file.write("# a graph\nfrom to w\n1 2 0.5\n2\n2 3 -1\n2 1 2\n2 3 1\n\n3 1 inf\n")
    nodes.write_text("1\n2\n3\n4\n")
    home.write_text("id,weight\n1,3\n4,1\n")
    flags = ["--links", str(links), "--weights", "--nodes", str(nodes), "--teleport", str(home)]
    out = str(tmp_path / "elsewhere")
    assert pagerank.main(["--lake", lake, *flags, "--out", out, "--tol", "1e-14", "--max-iter", "300", "--json"]) == 0
    assert ended(capsys)["rejected"] == 3
    bad = sorted(lake_tables.rows(EDGES_REJECTED, lake), key=itemgetter("line"))
    assert [tuple(row) for row in bad] == [
        (str(links), 4, "2", "fewer than 2 columns"),
        (str(links), 5, "2 3 -1", "the weight is negative"),
        (str(links), 9, "3 1 inf", "the weight is not finite"),
    ]
    case = Case("job", [(1, 2), (2, 1), (2, 3)], [0.5, 2.0, 1.0], [1, 2, 3, 4], {1: 3.0, 4: 1.0})
    found = {row["id"]: row["pagerank"] for row in lake_tables.rows_of(TableRef(out), RANKS)}
    assert l1(found, by_networkx(case)) < 1e-10
    assert not TableRef.find("", RANKS, lake).exists(spark)
    # A later clean run leaves no old complaints behind.
    assert pagerank.main(["--lake", lake, "--links", "seed"]) == 0
    assert lake_tables.rows(EDGES_REJECTED, lake) == []


def test_parquet_folder_and_stopping_early(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "edges")
    rows = [(1, 2), (2, 1), (None, 2), (3, 1)]
    spark.createDataFrame(rows, "source int, target int").coalesce(1).write.parquet(folder)
    flags = ["--lake", lake, "--links", folder, "--max-iter", "2", "--top", "0", "--json"]
    assert pagerank.main(flags) == 0
    said = capsys.readouterr()
    assert "WARNING: not converged: the last of 2 iterations" in said.err
    assert json.loads(said.out.splitlines()[-1])["rejected"] == 1
    assert l1(ranks(spark, lake), by_steps(Case("p", [(1, 2), (2, 1), (3, 1)]), 2)) < 1e-14
    bad = lake_tables.rows(EDGES_REJECTED, lake)
    assert [(Path(row["source"]).suffix, row["line"], row["raw"]) for row in bad] == [(".parquet", 3, "null, 2")]


def test_wrong_input_is_two_and_names_the_culprit(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*flags: str) -> str:
        assert pagerank.main(["--lake", lake, *flags]) == 2, flags
        message = capsys.readouterr().err
        assert "Traceback" not in message
        return message

    def file(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    good = file("good.tsv", b"1\t2\n2\t1\n")
    (tmp_path / "folder").mkdir()
    assert "nothing.tsv: no such file" in fails("--links", "nothing.tsv")
    assert "folder" in fails("--links", str(tmp_path / "folder"))
    assert "empty.tsv: no line of data" in fails("--links", file("empty.tsv", b""))
    assert "comments.tsv: no line of data" in fails("--links", file("comments.tsv", b"# a\n#\tb\n"))
    assert "junk.bin: not UTF-8 text" in fails("--links", file("junk.bin", bytes(range(256)) * 40))
    assert "words.txt: none of 2 lines is an edge; line 1" in fails("--links", file("words.txt", b"one\ntwo\n"))
    assert "liar.gz" in fails("--links", file("liar.gz", b"1\t2\n"))
    assert "none of 2 lines" in fails("--links", file("w.tsv", b"1\t2\n2\t1\n"), "--weights")
    assert "liar.parquet" in fails("--links", file("liar.parquet", b"1\t2\n"))
    assert "home.txt: teleport: id 7 is not a node" in fails("--links", good, "--teleport", file("home.txt", b"7\n"))
    assert "home.txt: no line of data" in fails("--links", good, "--teleport", file("home.txt", b"\n"))
    assert "home.txt: line 2: the weight is negative" in fails(
        "--links", good, "--teleport", file("home.txt", b"1 1\n2 -1\n")
    )
    assert "damping" in fails("--damping", "1.5")
    assert "max-iter" in fails("--max-iter", "-1").replace("_", "-")
    assert "unrecognized arguments: --dampin" in fails("--dampin", "0.5")
    assert "example has none" in fails("--links", "seed", "--weights")
    assert not Path(lake).exists(), "a run that failed must write nothing"


@pytest.mark.connect
def test_headers_of_several_files(spark: SparkSession, lake: str, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "a.csv").write_text("source,target\nx,y\n")
    (folder / "b.csv").write_text("# later\nsource,target\ny,x\nz,x\n")
    assert pagerank.main(["--lake", lake, "--links", str(folder)]) == 0
    assert set(ranks(spark, lake)) == {"x", "y", "z"}


@pytest.mark.slow
@pytest.mark.skipif(not WIKISPEEDIA.exists(), reason=f"no Wikispeedia links at {WIKISPEEDIA}")
def test_wikispeedia_agrees_with_igraph(spark: SparkSession, lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert pagerank.main(["--lake", lake, "--links", str(WIKISPEEDIA), "--tol", "1e-13", "--json"]) == 0
    said = ended(capsys)
    lines = WIKISPEEDIA.read_text(encoding="utf-8").splitlines()[1:]
    edges = [tuple(line.split("\t")) for line in lines]
    assert (said["nodes"], said["edges"], said["rejected"]) == (4592, len(set(edges)), 0)
    assert l1(ranks(spark, lake), by_igraph(Case("wikispeedia", edges))) < 1e-10


@pytest.mark.skipif(not LDBC.exists(), reason=f"no LDBC reference graphs at {LDBC}")
def test_ldbc_example_after_two_iterations(spark: SparkSession, lake: str) -> None:
    flags = ["--links", str(LDBC / "example-directed.e"), "--nodes", str(LDBC / "example-directed.v")]
    assert pagerank.main(["--lake", lake, *flags, "--max-iter", "2", "--tol", "0"]) == 0
    lines = (LDBC / "example-directed-PR").read_text(encoding="utf-8").splitlines()
    expected = {int(node): float(rank) for node, rank in (line.split() for line in lines)}
    assert l1(ranks(spark, lake), expected) < 1e-12


@pytest.mark.parametrize("table", [pytest.param(False, marks=pytest.mark.slow), True])
def test_links_inside_a_host_count_less(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], table: bool
) -> None:
    pages = [
        "http://a.org/",
        "http://a.org/1",
        "http://A.org:80/2",
        "https://b.org/",
        "https://b.org/x",
        "https://c.org/",
    ]
    links = [(0, 1), (0, 2), (0, 3), (0, 3), (1, 0), (2, 0), (2, 5), (3, 4), (4, 3), (4, 0), (5, 0), (1, 3)]
    graph, hosts = nx.DiGraph(), nx.MultiDiGraph()
    for source, target in set(links):
        a, b = (pages[page].lower().split("/")[2].split(":")[0] for page in (source, target))
        graph.add_edge(source, target, weight=0.25 if a == b else 1.0)
        if a != b:
            hosts.add_edge(a, b, key=source)  # a page votes once for a host
    if table:
        rows = [(s, d, pages[s], pages[d]) for s, d in links]
        frame = spark.createDataFrame(rows, "src bigint, dst bigint, src_url string, dst_url string")
        frame.write.format("delta").save(f"{lake}/{LINKS.name}")
        source: list[str] = []
    else:
        (tmp_path / "links.tsv").write_text("".join(f"{pages[s]}\t{pages[d]}\n" for s, d in links))
        source = ["--links", str(tmp_path / "links.tsv")]
    flags = ["--lake", lake, *source, "--by-host", "--inside-weight", "0.25", "--tol", "1e-13", "--json"]
    assert pagerank.main(flags) == 0
    assert "ranks of their hosts" in capsys.readouterr().out
    expected = nx.pagerank(graph, tol=1e-15, max_iter=1000)
    named = {node if table else pages[node]: rank for node, rank in expected.items()}
    assert ranks(spark, lake) == pytest.approx(named, abs=1e-10)
    found = {row["host"]: row for row in lake_tables.rows(HOST_RANKS, lake)}
    assert {host: row["pagerank"] for host, row in found.items()} == pytest.approx(
        nx.pagerank(hosts, tol=1e-15, max_iter=1000), abs=1e-10
    )
    assert {host: row["pages"] for host, row in found.items()} == {"a.org": 3, "b.org": 2, "c.org": 1}
    assert found["b.org"]["page_ranks"] == pytest.approx(expected[3] + expected[4], abs=1e-10)


def test_hosts_need_addresses(lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "links.tsv").write_text("1\t2\n")
    assert pagerank.main(["--lake", lake, "--links", str(tmp_path / "links.tsv"), "--by-host"]) == 2
    assert "has no hosts; ids must be addresses" in capsys.readouterr().err

"""Files of graphs as other programs write them: header names, KONECT, MatrixMarket, METIS, Gephi, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.graph.edge_lists import NODE, Parsed, from_lines
from lakerank.lake.input_files import read_lines

CASES = SHARED.parent / "cases" / "graphs"
RING = {(1, 2), (2, 3), (3, 1)}


def parse(spark: SparkSession, path: Path, **how: Any) -> Parsed:
    return from_lines(read_lines(spark, str(path)), path.name, **how)


def edges(parsed: Parsed) -> set[tuple[Any, ...]]:
    found = [tuple(row) for row in parsed.rows.collect()]
    assert len(found) == parsed.count
    return set(found)


@pytest.fixture
def written(spark: SparkSession, tmp_path: Path) -> Any:
    def write(name: str, text: str, **how: Any) -> Parsed:
        (tmp_path / name).write_text(text)
        return parse(spark, tmp_path / name, **how)

    return write


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")
@pytest.mark.parametrize(
    ("name", "how", "wanted"),
    [
        ("rev_int.csv", {}, {(2, 1), (3, 1), (1, 2)}),
        ("rev.csv", {}, {("b", "a"), ("c", "a"), ("a", "b")}),
        ("hdr2.csv", {}, {("P1", "P2"), ("P2", "P3")}),
        ("swapped.csv", {"weight": "yes"}, {(1, 2, 5.0), (2, 1, 5.0), (3, 1, 1.0)}),
        (
            "gephi.csv",
            {"weight": "yes"},
            {("http://a/?x=1,2", "http://b/", 2.0), ("http://b/", "http://a/?x=1,2", 1.0)},
        ),
        ("konect_small.txt", {}, RING),
        ("mtx_small.mtx", {}, RING),
        ("metis_small.graph", {}, {(1, 2), (1, 3), (1, 4), (2, 1), (3, 1), (3, 4), (4, 1), (4, 3)}),
    ],
)
def test_given_files_are_read(
    spark: SparkSession, name: str, how: dict[str, Any], wanted: set[tuple[Any, ...]]
) -> None:
    parsed = parse(spark, CASES / name, **how)
    assert edges(parsed) == wanted
    assert parsed.rejected_count == 0


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")
@pytest.mark.parametrize(("name", "said"), [("g.graphml", "GraphML"), ("pajek.net", "Pajek"), ("dimacs.gr", "DIMACS")])
def test_given_files_are_refused_by_name(spark: SparkSession, name: str, said: str) -> None:
    with pytest.raises(UserError, match=f"{name}: this is {said}, which is not read: write the graph as lines"):
        parse(spark, CASES / name)


@pytest.mark.parametrize(
    ("header", "line", "wanted"),
    [
        ("To Node;From Node", "1;2", (2, 1)),
        (":END_ID\t:START_ID\t:TYPE", "a\tb\tLIKES", ("b", "a")),
        ('"Dest","x","SRC"', 'p,"1,5",q', ("q", "p")),
        ("followee follower", "1 2", (2, 1)),
        ("id,target,source", "7,1,2", (2, 1)),
    ],
)
def test_a_headers_names_decide(written: Any, header: str, line: str, wanted: tuple[Any, ...]) -> None:
    assert edges(written("x.csv", f"{header}\n{line}\n")) == {wanted}


def test_a_weight_is_found_by_name_or_stands_after_the_ids(written: Any) -> None:
    assert edges(written("a.csv", "w,to,from\n3,1,2\n", weight="yes")) == {(2, 1, 3.0)}
    assert edges(written("b.csv", "from,to,clicks\n1,2,3\n", weight="yes")) == {(1, 2, 3.0)}
    assert edges(written("c.csv", "weight,id\n3,x\n", ids=NODE, weight="optional")) == {("x", 3.0)}
    with pytest.raises(UserError, match=r"d.csv: no column for `weight` \(one of weight, w, weights\)"):
        written("d.csv", "clicks,to,from\n3,1,2\n", weight="yes")


def test_a_folders_files_must_agree(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("source,target\n1,2\n")
    (tmp_path / "2.csv").write_text("source,target\n2,3\n")
    assert edges(parse(spark, tmp_path)) == {(1, 2), (2, 3)}
    (tmp_path / "3.csv").write_text("target,source\n2,3\n")
    with pytest.raises(UserError, match=r"3\.csv has its columns in another order"):
        parse(spark, tmp_path)


def test_gephis_undirected_edges_lead_both_ways(written: Any) -> None:
    text = "Source,Target,Type,Id,Label,Weight\na,b,Undirected,0,,2\nb,b,Undirected,1,,5\nb,c,Directed,2,,1\n"
    wanted = {("a", "b", 2.0), ("b", "a", 2.0), ("b", "b", 5.0), ("b", "c", 1.0)}
    assert edges(written("gephi.csv", text, weight="yes")) == wanted


def test_konect_says_whether_edges_lead_both_ways(written: Any) -> None:
    assert edges(written("out.x", "% sym weighted\n% 2 3 3\n1 2 0.5 1167\n3 3 4 1168\n", weight="yes")) == {
        (1, 2, 0.5),
        (2, 1, 0.5),
        (3, 3, 4.0),
    }
    with pytest.raises(UserError, match="bipartite"):
        written("out.y", "% bip unweighted\n1 1\n")
    assert edges(written("titles.tsv", "%C3%81ed\tBrian\nBrian\t%C3%81ed\n")) == {
        ("%C3%81ed", "Brian"),
        ("Brian", "%C3%81ed"),
    }


def test_matrix_market(written: Any) -> None:
    head = "%%MatrixMarket matrix coordinate"
    both = {(2, 1, 0.5), (1, 2, 0.5), (3, 3, 1.0)}
    assert edges(written("s.mtx", f"{head} real symmetric\n%\n% n\n3 3 2\n2 1 0.5\n3 3 1\n", weight="yes")) == both
    with pytest.raises(UserError, match="--weights: this MatrixMarket file has none"):
        written("p.mtx", f"{head} pattern general\n2 2 1\n1 2\n", weight="yes")
    for kind, said in (("array real general", "matrix array"), ("coordinate complex general", "complex general")):
        with pytest.raises(UserError, match=said):
            written("x.mtx", f"%%MatrixMarket matrix {kind}\n2 2 1\n1 2\n")


def test_metis_with_weights_comments_and_lonely_nodes(written: Any) -> None:
    text = "% c\n4 2 011 1\n9 2 5\n% in between\n9 1 5 4 7\n9\n9 2 7\n"
    wanted = {(1, 2, 5.0), (2, 1, 5.0), (2, 4, 7.0), (4, 2, 7.0)}
    assert edges(written("w.metis", text, weight="yes")) == wanted
    with pytest.raises(UserError, match="METIS's header"):
        written("x.graph", "a b\n1 2\n")
    with pytest.raises(UserError, match="says 1 nodes"):
        written("y.graph", "1 1\n2\n1\n")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a", '<gexf xmlns="x">\n', "GEXF"),
        ("b", "graph [\n  node [\n", "GML"),
        ("c", 'digraph G {\n"a" -> "b"\n', "DOT"),
        ("d", "*Arcs\n1 2\n", "Pajek"),
        ("e", '{"nodes": []}\n', "JSON"),
        ("f.gml", "Version 1\ngraph\n", "GML"),
        ("g.jsonl", '{"source": 1}\n', "JSON"),
        ("h", "p edge 3 2\ne 1 2\n", "DIMACS"),
    ],
)
def test_what_is_no_list_of_edges_is_refused_by_name(written: Any, name: str, text: str, said: str) -> None:
    with pytest.raises(UserError, match=f"this is {said}"):
        written(name, text)


def test_words_that_look_like_a_format_are_an_edge_list(written: Any) -> None:
    assert edges(written("a.txt", "c a\na b\n")) == {("c", "a"), ("a", "b")}
    assert edges(written("b.txt", "graph theory\ntheory graph\n")) == {("graph", "theory"), ("theory", "graph")}


def test_lines_of_differing_width(written: Any) -> None:
    with pytest.raises(UserError, match=r"adj.txt: its lines have 2 to 4 columns: give one edge a line"):
        written("adj.txt", "1 2 3 4\n2 3\n3 1 2\n4 1\n")
    parsed = written("odd.txt", "".join(f"{n} {n + 1}\n" for n in range(30)) + "1 2 3\n4\n")
    assert [(row["line"], row["reason"]) for row in parsed.rejected.orderBy("line").collect()] == [
        (31, "more than the 2 columns of other lines"),
        (32, "fewer than 2 columns"),
    ]
    assert parsed.count == 30


@pytest.mark.parametrize("header", ["3 2 1 ²", "3 " + "2" * 5000, "3 2 000 99999999999", "3 2 7", "3 2 0 1 1", "² 2"])
def test_a_header_of_metis_that_is_none_is_a_sentence(written: Any, header: str) -> None:
    with pytest.raises(UserError, match="METIS's header"):
        written("w.metis", f"{header}\n2\n1 3\n2\n")

"""Measures are trec_eval's, to four digits; wrong files are named with their lines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval

from lakerank.cli.errors import UserError
from lakerank.search.evaluation import USUAL, by_query, evaluate, read_measures, read_qrels, read_run
from lakerank.search.query.batch import read_queries, rejected_lines, run_lines
from spark_jobs import evaluate_search


def random_judged(seed: int) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    random = np.random.default_rng(seed)
    qrels = {f"q{q}": {f"d{d}": int(random.integers(0, 3)) for d in random.choice(3000, 40, False)} for q in range(20)}
    run = {f"q{q}": {f"d{d}": float(random.random()) for d in random.choice(3000, 1200, False)} for q in range(20)}
    return qrels, run


def test_measures_are_those_of_trec_eval() -> None:
    qrels, run = random_judged(1)
    names = {"ndcg@10": "ndcg_cut_10", "map": "map", "p@10": "P_10", "mrr": "recip_rank", "recall@1000": "recall_1000"}
    peer = pytrec_eval.RelevanceEvaluator(qrels, set(names.values())).evaluate(run)
    ours = evaluate(run, qrels, read_measures(USUAL))
    for name, theirs in names.items():
        assert ours[name] == pytest.approx(np.mean([one[theirs] for one in peer.values()]), abs=5e-5)


def test_measures_by_hand() -> None:
    qrels = {"1": {"a": 2, "b": 0, "c": 1}, "2": {"x": 1}}
    run = {"1": {"b": 3.0, "a": 2.0, "c": 1.0}, "3": {"a": 1.0}}
    measures = read_measures("ndcg@2, MAP, p@2, mrr, recall@2, map@2")
    got = evaluate(run, qrels, measures)
    ideal = 2 + 1 / math.log2(3)
    assert got["ndcg@2"] == pytest.approx(2 / math.log2(3) / ideal / 2)
    assert got["map"] == pytest.approx((1 / 2 + 2 / 3) / 2 / 2), "the query without answers counts 0"
    assert got["p@2"] == pytest.approx(0.25)
    assert got["mrr"] == pytest.approx(0.25)
    assert got["recall@2"] == pytest.approx(0.25)
    assert got["map@2"] == pytest.approx(1 / 2 / 2 / 2)
    assert by_query(run, qrels, measures["mrr"]) == {"1": 0.5, "2": 0.0}


@pytest.mark.parametrize(
    ("reader", "text", "said"),
    [
        (read_qrels, "1 0 a\n", "x: line 1: not `query 0 document grade`"),
        (read_qrels, "\n1 0 a yes\n", "x: line 2"),
        (read_qrels, " \n", "no judgement"),
        (read_run, "1 Q0 a 1 2.0\n", "x: line 1: not `query Q0"),
        (read_run, "1 Q0 a 1 high t\n", "x: line 1"),
        (read_run, "1 Q0 a 1 nan t\n", "x: line 1: the score is nan"),
        (read_run, "1 Q0 a 1 2 t\n1 Q0 a 2 1 t\n", "x: line 2: document a stands twice for query 1"),
        (read_run, "", "no answer"),
    ],
)
def test_wrong_files_are_told_by_line(reader: object, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        reader(text, "x")


def test_a_bad_query_costs_itself_alone() -> None:
    lines = ["\ufeff1\tfox", "1\tdog", "lonely", "\ttext", "2\t \r", "3\ta\x0bb\u2028c\r", "4\tno\0thing", "5\t\ud800"]
    content = "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n6\tcaf\xe9\n7\tcat"
    queries, rejected = read_queries(content, "x")
    assert queries == {"1": "fox", "3": "a\x0bb\u2028c", "4": "nothing", "7": "cat"}
    assert [(one.line, one.reason) for one in rejected] == [
        (2, "query 1 stands there twice"),
        (3, "no query after an id and a tab"),
        (4, "no query after an id and a tab"),
        (5, "no query after an id and a tab"),
        (8, "not UTF-8"),
        (9, "not UTF-8"),
    ]
    assert "\n9\tnot UTF-8\t6\tcaf\ufffd\n" in rejected_lines(rejected)
    for nothing in (b"", b"\n \n", b"1\t\n"):
        with pytest.raises(UserError, match="x: there is no query in it"):
            read_queries(nothing, "x")


@pytest.mark.parametrize("names", ["", "bleu", "p", "map@", "map@0", "ndcg@x"])
def test_unknown_measures_are_refused(names: str) -> None:
    with pytest.raises(UserError, match="--metrics"):
        read_measures(names)


def test_white_space_in_ids_does_not_break_a_run() -> None:
    queries, _ = read_queries(b"q 1\tthe fox\nq\xe2\x80\xa82\tdog\n", "x")
    answers = [
        {"query_id": query, "rank": 1, "document": document, "score": 1.0}
        for query, document in zip(queries, ["y\tz", "a\u2028b\x85c"], strict=True)
    ]
    run = read_run("\n".join(run_lines(answers, list(queries), "t")), "run")
    assert run == {"q%201": {"y%09z": 1.0}, "q%E2%80%A82": {"a%E2%80%A8b%C2%85c": 1.0}}


def test_queries_and_runs_go_through_files(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_queries(b"b\tthe fox\na\tdog\n", "x") == ({"b": "the fox", "a": "dog"}, [])
    assert read_queries(b"the fox\n\ndog\n", "x") == ({"1": "the fox", "2": "dog"}, [])
    answers = [
        {"query_id": "a", "rank": 1, "document": "y z", "score": 1.0},
        {"query_id": "b", "rank": 2, "document": "u", "score": 0.25},
        {"query_id": "b", "rank": 1, "document": "v", "score": 1 / 3},
    ]
    lines = run_lines(answers, ["b", "a"], "t")
    assert lines == ["b Q0 v 1 0.333333333 t", "b Q0 u 2 0.250000000 t", "a Q0 y%20z 1 1.000000000 t"]
    (tmp_path / "run").write_text("\n".join(lines))
    (tmp_path / "qrels").write_text("b 0 u 1\nc 0 u 1\n")
    flags = ["--qrels", str(tmp_path / "qrels"), "--run-file", str(tmp_path / "run"), "--metrics", "mrr"]
    assert evaluate_search.main([*flags, "--json"]) == 0
    said = capsys.readouterr().out
    assert "no answer to 1 of 2 judged queries" in said
    assert '"mrr": 0.25' in said
    assert evaluate_search.main(flags[:2]) == 2
    assert evaluate_search.main([*flags[:3], str(tmp_path / "none")]) == 2
    assert "cannot read it" in capsys.readouterr().err

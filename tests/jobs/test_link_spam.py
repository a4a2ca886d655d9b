"""link_spam end to end, in this process: real files, real tables, both plans, and with wrong input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lake_tables
import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from tests_root import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from link_farms import attack

from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import LINKS, RANKS, SPAM_REPORT, TRUST_RANKS, TRUSTED_RANKS
from spark_jobs import link_spam

PAGES, FARM, HIJACKED = 400, 150, 5
TARGET = PAGES


def web() -> list[tuple[int, int]]:
    """A good web with popular pages, and a star of 150 pages with five links into it."""
    rng = np.random.default_rng(0)
    count = rng.integers(3, 21, PAGES)
    weight = 1 / (np.arange(PAGES) + 5.0)
    src = np.repeat(np.arange(PAGES), count)
    good = np.unique(np.column_stack([src, rng.choice(PAGES, len(src), p=weight / weight.sum())]), axis=0)
    return [tuple(edge) for edge in attack(good[good[:, 0] != good[:, 1]], PAGES, FARM, HIJACKED).edges.tolist()]


@pytest.fixture(scope="module")
def edges() -> list[tuple[int, int]]:
    return web()


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return str(tmp_path / "lake")


def rows(spark: SparkSession, lake: str, relation: Any) -> list[Any]:
    return lake_tables.rows(relation, lake)


def tsv(path: Path, edges: list[tuple[int, int]]) -> str:
    path.write_text("".join(f"{s}\t{d}\n" for s, d in edges), encoding="utf-8")
    return str(path)


@pytest.mark.connect
def test_a_farm_in_the_links_table_is_named_and_loses_its_rank(
    spark: SparkSession, lake: str, edges: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    src, dst = (list(column) for column in zip(*edges, strict=True))
    table = {"src": src, "dst": dst, "src_url": [f"http://{s}/" for s in src], "dst_url": [f"http://{d}/" for d in dst]}
    spark.createDataFrame(pa.table(table)).write.format("delta").save(f"{lake}/{LINKS.name}")
    assert link_spam.main(["--lake", lake, "--json"]) == 0
    out = capsys.readouterr().out
    assert f"http://{TARGET}/" in out
    said = json.loads(out.splitlines()[-1])
    counted = {key: said[key] for key in ("plan", "nodes", "edges", "farms", "flagged", "links_cut")}
    assert counted == {
        "plan": "one task",
        "nodes": PAGES + 1 + FARM,
        "edges": len(set(edges)),
        "farms": 1,
        "flagged": FARM + 1,
        "links_cut": HIJACKED,
    }
    pages = {row["id"]: row for row in rows(spark, lake, TRUST_RANKS)}
    assert {page for page, row in pages.items() if row["farm"] == 1} == set(range(TARGET, TARGET + FARM + 1))
    assert {row["farm"] for row in pages.values()} == {1, None}
    assert min(pages[page]["spam_score"] for page in range(TARGET, TARGET + FARM + 1)) > 0.5
    (found,) = rows(spark, lake, SPAM_REPORT)
    assert (found["id"], found["position"], found["pages"], found["links_in"]) == (TARGET, 1, FARM + 1, HIJACKED)
    assert found["share"] > 0.9
    assert found["trusted_position"] > PAGES
    # The defended ranks keep the contract of ranks.
    ranks = {row["id"]: row["pagerank"] for row in lake_tables.rows_of(TableRef.find("", TRUSTED_RANKS, lake), RANKS)}
    assert sum(ranks.values()) == pytest.approx(1, abs=1e-9)
    assert min(ranks.values()) > 0
    assert ranks == {page: row["trusted_rank"] for page, row in pages.items()}


@pytest.mark.slow
def test_text_ids_seeds_and_out(
    spark: SparkSession, lake: str, tmp_path: Path, edges: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    links = tmp_path / "links.csv"
    links.write_text("source,target\n" + "".join(f"p{s},p{d}\n" for s, d in edges), encoding="utf-8")
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("".join(f"p{page}\n" for page in range(10)), encoding="utf-8")
    out = str(tmp_path / "elsewhere")
    flags = ["--lake", lake, "--links", str(links), "--seeds", str(seeds), "--out", out, "--json"]
    assert link_spam.main(flags) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["farms"] == 1
    assert not TableRef.find("", TRUSTED_RANKS, lake).exists(spark)
    ranks = {row["id"]: row["pagerank"] for row in lake_tables.rows_of(TableRef(out), RANKS)}
    assert ranks[f"p{TARGET}"] < min(ranks[f"p{page}"] for page in range(PAGES))


@pytest.mark.slow
def test_beyond_one_task_trust_and_mass_come_from_the_engines(
    spark: SparkSession, lake: str, tmp_path: Path, edges: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    links = tsv(tmp_path / "links.tsv", edges)
    flags = ["--lake", lake, "--links", links, "--one-task-edges", "100", "--max-iter", "6", "--json"]
    assert link_spam.main(flags) == 0
    out = capsys.readouterr().out
    assert "TrustRank and spam mass only" in out
    assert json.loads(out.splitlines()[-1])["farms"] == 0
    (found,) = rows(spark, lake, SPAM_REPORT)
    assert (found["id"], found["farm"], found["pages"]) == (TARGET, None, None)
    pages = {row["id"]: row for row in rows(spark, lake, TRUST_RANKS)}
    farm = [pages[page]["spam_score"] for page in range(TARGET, TARGET + FARM + 1)]
    popular = [pages[page]["spam_score"] for page in range(20)]
    assert min(farm) > 0.75 > max(popular)
    assert sum(row["trusted_rank"] for row in pages.values()) == pytest.approx(1, abs=1e-6)


def test_wrong_input_is_two_and_names_the_culprit(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*flags: str) -> str:
        assert link_spam.main(["--lake", lake, *flags]) == 2, flags
        message = capsys.readouterr().err
        assert "Traceback" not in message
        return message

    links = tsv(tmp_path / "links.tsv", [(1, 2), (2, 1), (2, 3)])
    seeds = tmp_path / "seeds.txt"
    assert "no Delta table `links`" in fails()
    assert "nothing.tsv: no such file" in fails("--links", "nothing.tsv")
    seeds.write_text("1\n7\n", encoding="utf-8")
    assert "seeds.txt: id 7 is not a page" in fails("--links", links, "--seeds", str(seeds))
    assert "seeds.txt: id 7 is not a page" in fails("--links", links, "--seeds", str(seeds), "--one-task-edges", "1")
    seeds.write_text("1\nx\n", encoding="utf-8")
    assert "seeds.txt: id 'x' is not a node" in fails("--links", links, "--seeds", str(seeds))
    assert "damping" in fails("--links", links, "--damping", "1")
    assert "smallest" in fails("--links", links, "--smallest", "1")
    assert not Path(lake).exists(), "a run that failed must write nothing"


def test_a_web_without_a_farm_is_told_so(
    spark: SparkSession, lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links = tsv(tmp_path / "links.tsv", [(1, 2), (2, 1), (2, 3)])
    assert link_spam.main(["--lake", lake, "--links", links, "--json"]) == 0
    out = capsys.readouterr().out
    assert "no page owes its rank to a farm" in out
    assert json.loads(out.splitlines()[-1])["farms"] == 0
    assert rows(spark, lake, SPAM_REPORT) == []
    assert {row["id"] for row in rows(spark, lake, TRUSTED_RANKS)} == {1, 2, 3}

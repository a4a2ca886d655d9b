"""report end to end: on an empty lake, one table, a full lake with text ids and hostile titles, wrong settings."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import lake_tables
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import RELATIONS
from lakerank.report import sections, store, summaries
from spark_jobs import report

EVIL = "<script>alert('title')</script>"
RUN, EVALUATION = "run-of-today", "evaluation-of-today"


def put(spark: SparkSession, lake: Path, name: str, rows: list[tuple[Any, ...]], ids: str, run_id: str = "") -> None:
    lake_tables.put(TableRef.find("", RELATIONS[name], str(lake)), RELATIONS[name], rows, ids, run_id)


@pytest.fixture(scope="module")
def full(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every table, with text ids: user u01 rated one item, u20 all of them."""
    lake = tmp_path_factory.mktemp("full")
    when = dt.datetime(2020, 5, 1)
    given = [(f"u{u:02}", f"i{i:02}", 0.5 + (u * i) % 10 / 2, when) for u in range(1, 21) for i in range(1, u + 1)]
    put(spark, lake, "ratings", given, "string")
    titles = [
        (f"i{i:02}", EVIL if i == 1 else f"Film {i} & co", 1990 + i, ["Drama" if i % 2 else "Comedy"])
        for i in range(1, 26)
    ]
    put(spark, lake, "items", titles, "string")
    bad = [("/in/ratings.csv", 7, EVIL, "rating is no number"), ("/in/ratings.csv", 9, "x", "rating is no number")]
    put(spark, lake, "ratings_rejected", bad, "string")
    put(spark, lake, "edges_rejected", [], "string")
    put(spark, lake, "pages_rejected", [("/in/crawl.warc.gz", 4096, "shop.example/a", "cut short")], "string")
    metrics = [("popular", "ndcg@10", "all", 0.1), ("lfm", "ndcg@10", "all", 0.25), ("lfm", "ndcg@10", "new", 0.2)]
    measured = [
        (
            EVALUATION,
            model,
            "leave-one-out",
            "full",
            metric,
            group,
            value,
            value - 0.05,
            value + 0.05,
            20,
            None,
            *3 * [None],
            7.5,
        )
        for model, metric, group, value in metrics
    ]
    older = [("before", "popular", "random:0.1", "full", "rmse", "all", 9.0, *2 * [None], 20, None, *3 * [None], 1.0)]
    put(spark, lake, "recommender_metrics", older + measured, "string", EVALUATION)
    old = [("a-run-before", e, 0.1, 9.0, None, 9.0, 1.0, 10.0, *3 * [None]) for e in range(1, 9)]
    curve = [(RUN, e, 0.1, 1 / e, None, 1.0 + abs(e - 2) / 8, 0.5, 1e5, *3 * [None]) for e in range(1, 4)]
    put(spark, lake, "lfm_metrics", old + curve, "string", RUN)
    put(spark, lake, "lfm_models", [(RUN, 3.0, 0.5, 5.0, 2, "{}", "mf", 0.8, 0.9, "ratings", 0)], "string")
    factors = [(f"i{i:02}", 0.1, [float(i), i**2 / 9, 1.0]) for i in range(1, 21)]
    put(spark, lake, "item_factors", factors, "string", RUN)
    advice = [(f"u{u:02}", r, f"i{20 + r}", 5 - r / 7, "latent factors") for u in range(1, 21) for r in range(1, 4)]
    put(spark, lake, "recommendations", advice, "string")
    pairs = [("p1", "p2"), ("p2", "p1"), ("p1", "p1")]
    links = [(a, b, f"https://x/{a}", f"https://x/{b}", "text", False, "main", 1.0) for a, b in pairs]
    put(spark, lake, "links", links, "string")
    put(spark, lake, "ranks", [(f"p{n}", n / 55) for n in range(1, 11)], "string")
    put(spark, lake, "pagerank_metrics", [(n, 0.85**n, 0.0) for n in range(1, 13)], "string")
    pages = spark.createDataFrame([("p10", EVIL), ("p9", "About us")], "page_id string, title string")
    pages.write.format("delta").save(str(lake / "pages"))
    return lake


def plain(html: str) -> str:
    """The page's words, without style and tags."""
    text = re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))
    return re.sub(r"\s+", " ", text)


@pytest.mark.connect(slow=True)
def test_full_lake(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--lake", str(full), "--json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    facts = json.loads(printed[-1])
    page = full / "report" / "index.html"
    assert printed[-2] == facts["path"] == str(page)
    assert facts["sections"] == [
        *("ratings", "learning", "recommendations", "taste", "evaluation", "ranks", "rejected", "timings")
    ]
    html = page.read_text(encoding="utf-8")
    said = plain(html)
    for words in (
        "ratings 210 52 % of all pairs",
        "users 20 10.5 ratings each",
        "rated items 20 of 25 in the catalogue",
        "test RMSE 1.0000 latent factors, epoch 2",  # the epoch that was kept, of the newest run
        "epochs 3 1.5 s",
        "nodes 10 ranks sum to 1",
        "links 3",
        "iterations 12",
        "rejected ratings 2",
        "rejected edges 0",
        "cut short 1 crawl.warc.gz, byte 4096 shop.example/a",
        "model ndcg@10 lfm 0.25 (0.2 to 0.3) popular 0.1 (0.05 to 0.15)",
        "Split leave-one-out, candidates full, 20 users",
        "latent factors, training 1.5 3 epochs lfm, evaluation 7.5",
        "Half of the nodes that are linked at all are linked 1 times or more",
        f"Run {RUN} of the latent-factor model",
        "each iteration leaves 85 % of the change",
        "The 10 highest of 10 nodes hold 100 %",
        "rating is no number 2 ratings.csv, line 7",
        "Film 21 &amp; co 2011 Drama 4.86 latent factors",
        "Rated highest by user u02 2 ratings",
        "18 ratings, 2.67 on average; Comedy highest (2.72), Drama lowest (2.61).",
        "Recommended to user u10",
        "Recommended to user u18",
        "About us",
    ):
        assert words in said, words
    assert "missing" not in said
    assert re.search(r"item_factors 0 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d run-of-today", said)
    assert re.search(r"with lakerank [\d.]+, Spark 4\.[\d.]+, Delta 4\.[\d.]+\.", said)
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(") >= 4  # map, bar, line of input, table
    assert not re.search(r"https?://", html)


@pytest.mark.slow
def test_one_table_and_numbers_as_ids(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(spark, tmp_path, "ranks", [(n, n / 210) for n in range(20, 0, -1)], "bigint")
    out = tmp_path / "new" / "folder" / "ours.html"
    assert report.main(["--lake", str(tmp_path), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    said = plain(out.read_text(encoding="utf-8"))
    for words in (
        "the table ratings is missing: run ingest_ratings",
        "the table lfm_metrics is missing: run lfm",
        "the table recommendations is missing: run recommend",
        "the table item_factors is missing: run lfm; the table ratings is missing",
        "the table pagerank_metrics is missing, run pagerank",
        "nodes 20 ranks sum to 1",
    ):
        assert words in said, words
    assert [path.name for path in out.parent.iterdir()] == ["ours.html"]
    assert not (tmp_path / "report").exists()


def test_an_empty_lake_says_what_to_run(
    tmp_path: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["--lake", str(tmp_path)]) == 2
    assert f"no tables in {tmp_path}: run ingest_ratings or pagerank first" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_tables_without_rows_are_said_to_be_empty(spark: SparkSession) -> None:
    names = ("ratings", "lfm_metrics", "recommendations", "item_factors", "ranks")
    tables = {name: spark.createDataFrame([], RELATIONS[name].schema()) for name in names}
    notes = {spec.key: spec.section(store.Lake(tables)).note for spec in sections.SECTIONS}
    assert notes == {
        "ratings": "The table ratings is empty.",
        "learning": "The last run did not finish an epoch.",
        "recommendations": "The table recommendations is empty.",
        "taste": "Fewer than three rated items have factors: no map.",
        "ranks": "The table ranks is empty.",
        "evaluation": "Nothing to show yet; the table recommender_metrics is missing: run evaluate.",
        "super-resolution": sections.super_resolution(store.Lake({})).note,
        "rejected": "Nothing to show yet; jobs that read files keep what they refuse.",
        "timings": "Nothing to show yet: jobs that train or evaluate note their seconds.",
    }


@pytest.mark.connect
def test_named_users_in_their_order(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(spark, tmp_path, "recommendations", [(u, 1, 5, 4.9, "latent factors") for u in range(1, 9)], "bigint")
    assert report.main(["--lake", str(tmp_path), "--show-users", "7, 3"]) == 0
    html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"Recommended to user (\w+)</h3>", html) == ["7", "3"]
    assert "1 5 4.90 latent factors" in plain(html)  # no title: the id; no catalogue: no year
    assert report.main(["--lake", str(tmp_path), "--show-users", "3,99"]) == 2
    assert "--show-users: there are no recommendations for user 99" in capsys.readouterr().err


@pytest.fixture
def vision(tmp_path: Path) -> Path:
    """What a training run and an evaluation leave."""
    folder = tmp_path / "sr"
    (folder / "evaluation" / "Set5").mkdir(parents=True)
    lines = [{"step": 10 * n, "seconds": float(n), "mse": 0.1, "psnr_y": 28.0 + n} for n in (1, 2, 3)]
    lines.append({"step": 40, "seconds": 4.0, "mse": 0.1})
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    means = {"bicubic": {"psnr_y": 28.4, "ssim_y": 0.81}, "model": {"psnr_y": 31.18, "ssim_y": 0.88}, "pictures": 5}
    (folder / "evaluation" / "scores.json").write_text(json.dumps({"sets": {"Set5": means}}))
    for name, shade in (("baby-bicubic", 90), ("baby-model", 160), ("bird-model", 10), ("baby", 0)):
        Image.new("RGB", (64, 48), (shade, 0, 0)).save(folder / "evaluation" / "Set5" / f"{name}.png")
    return folder


def test_super_resolution_under_a_slider(
    spark: SparkSession, tmp_path: Path, vision: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(spark, tmp_path, "ranks", [(1, 0.4), (2, 0.6)], "bigint")
    assert report.main(["--lake", str(tmp_path), "--sr", str(vision), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["sections"] == ["ranks", "super-resolution", "timings"]
    html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    said = plain(html)
    for words in (
        "PSNR on Set5 31.18 dB bicubic 28.40 dB",
        "31.00 dB after 3 s; the best, 31.00 dB, after 3 s.",
        "set upscaler PSNR Y SSIM Y Set5 bicubic 28.4 0.81 Set5 model",
        "Set5/baby",
        "super-resolution, training 4 40 steps",
    ):
        assert words in said, words
    assert "bird" not in said  # no bicubic beside it
    assert html.count("data:image/png") == 2
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_the_slider_slides(spark: SparkSession, tmp_path: Path, vision: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium here")
    put(spark, tmp_path, "ranks", [(1, 0.4), (2, 0.6)], "bigint")
    assert report.main(["--lake", str(tmp_path), "--sr", str(vision)]) == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"file://{tmp_path}/report/index.html")
        shown = "() => getComputedStyle(document.querySelector('.before')).clipPath"
        half = page.evaluate(shown)
        page.get_by_role("slider").fill("20")
        assert page.evaluate(shown) != half
        assert page.evaluate("() => document.querySelector('.compare').style.getPropertyValue('--at')") == "20%"
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        assert errors == []
        browser.close()


def test_results_that_are_none_are_named(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(spark, tmp_path, "ranks", [(1, 1.0)], "bigint")
    (tmp_path / "super-resolution").mkdir()
    (tmp_path / "super-resolution" / "scores.json").write_text("[1, 2]")
    assert report.main(["--lake", str(tmp_path)]) == 2
    assert "super-resolution/scores.json: cannot be read" in capsys.readouterr().err


def test_where_the_page_goes(tmp_path: Path) -> None:
    assert store.report_file(str(tmp_path), "") == tmp_path / "report" / "index.html"
    assert store.report_file("s3://x", str(tmp_path)) == tmp_path / "index.html"
    assert store.report_file("s3://x/lake", "") == "s3://x/lake/report/index.html"
    assert store.report_file(str(tmp_path), "s3://x/y") == "s3://x/y/index.html"
    for lake, out in (("hdfs://x/lake", ""), ("main.movies", ""), (str(tmp_path), "hdfs://x/y.html")):
        with pytest.raises(UserError, match="give --out FILE"):
            store.report_file(lake, out)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write it"):
        write_file(tmp_path / "file" / "index.html", "x", "--out")


def test_many_distinct_ratings_are_binned(spark: SparkSession) -> None:
    ratings = spark.range(1000).selectExpr("id AS user_id", "id AS item_id", "float(id / 999) AS rating")
    bars, mean = summaries.histogram(ratings)
    assert mean == pytest.approx(0.5)
    assert len(bars) == 40
    assert sum(bar[2] for bar in bars) == 1000
    assert bars[0][0] == 0
    assert bars[-1][1] == pytest.approx(1)

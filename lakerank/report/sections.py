"""The report's sections: each takes the tables it is about and says what is to be seen in them.

A section is listed in `SECTIONS` with the tables it cannot do without; where one is missing the page says which
job makes it. What a section reads beyond those (titles, the kept epoch) it does without if need be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.schemas import (
    ITEM_FACTORS,
    LFM_METRICS,
    RANKS,
    RATINGS,
    RECOMMENDATIONS,
    RECOMMENDER_METRICS,
    RELATIONS,
    Relation,
)
from lakerank.report import figures, summaries
from lakerank.report.page import Block, Cell, Headline, Page, Section, Slider, Table, decimals, percent, thousands
from lakerank.report.store import Lake

TOP_NODES = 20
TOP_ITEMS = 10
MAPPED_ITEMS = 150
_SR_METRICS = {"psnr_y": "PSNR Y", "ssim_y": "SSIM Y", "niqe": "NIQE", "gmsd": "GMSD"}
_REJECTED = "_rejected"  # how the names of tables of refused input end


@dataclass(frozen=True)
class Panel:
    """The content of a section: a sentence, figures and tables, headline numbers."""

    note: str = ""
    blocks: tuple[Block, ...] = ()
    headlines: tuple[Headline, ...] = ()


@dataclass(frozen=True)
class SectionSpec:
    """A section of the report: its tables and the function that makes its content."""

    key: str
    title: str
    needs: tuple[Relation, ...]
    make: Callable[[Lake], Panel]

    def section(self, lake: Lake) -> Section:
        """Return the section, or one line about the table that is missing."""
        missing = [relation for relation in self.needs if relation.name not in lake.tables]
        if missing:
            said = "; ".join(f"the table {table.name} is missing: run {table.producer}" for table in missing)
            return Section(self.key, self.title, f"Nothing to show yet; {said}.")
        content = self.make(lake)
        return Section(self.key, self.title, content.note, content.blocks, content.headlines)


def report_page(lake: Lake, name: str, keys: Sequence[str] = (), users: Sequence[str] = ()) -> Page:
    """Return the report of a lake; `page.render` makes HTML of it. A notebook shows a part of it.

    Args:
        lake: the tables.
        name: of the lake, as it is shown.
        keys: the sections to make, by their keys (`ranks`, `learning`, …); empty: all.
        users: whose recommendations to show; empty: three typical users.

    Raises:
        UserError: a user has no recommendations.
    """
    check_users(lake, users)
    lake = replace(lake, users=users)
    rows = tuple((table, commit.version, commit.at, commit.run) for table, commit in lake.written.items())
    return Page(
        "lakerank report",
        name,
        tuple(spec.section(lake) for spec in SECTIONS if not keys or spec.key in keys),
        datetime.now(UTC),
        {"lakerank": _installed("lakerank"), "Spark": lake.spark, "Delta": _installed("delta-spark")},
        Table("Tables this page was made from", ("table", "version", "written", "run"), rows, numbers=("version",)),
    )


def check_users(lake: Lake, users: Sequence[str]) -> None:
    """Raise a UserError for a user without recommendations; a mistyped id is not shown as an empty table."""
    if users and RECOMMENDATIONS.name in lake.tables:
        known = summaries.of_users(lake.tables[RECOMMENDATIONS.name], users).select("user_id").distinct()
        have = {str(row["user_id"]) for row in summaries.few(known)}
        if missing := [user for user in users if user not in have]:
            raise UserError(f"--show-users: there are no recommendations for user {', '.join(missing)}")


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def ratings(lake: Lake) -> Panel:
    """Show how people rate and how many ratings they give."""
    table = lake.tables["ratings"]
    bars, mean = summaries.histogram(table)
    total = sum(n for _, _, n in bars)
    if not total:
        return Panel("The table ratings is empty.", headlines=(Headline("ratings", "0"),))
    per = summaries.holders(table, ("user_id", "item_id"))
    users, rated = (sum(k for _, k in pairs) for pairs in per)
    catalogue = lake.tables["items"].count() if "items" in lake.tables else rated
    headlines = (
        Headline("ratings", thousands(total), f"{percent(total / (users * rated))} of all pairs of user and item"),
        Headline("users", thousands(users), f"{decimals(total / users)} ratings each on average"),
        Headline(
            "rated items", thousands(rated), f"of {thousands(catalogue)} in the catalogue" if catalogue > rated else ""
        ),
    )
    return Panel(blocks=(figures.rating_histogram(bars, mean), figures.activity(*per)), headlines=headlines)


def rejected(lake: Lake) -> Panel:
    """List rows that were not used, by reason."""
    headlines, blocks, clean = [], [], []
    for name, relation in RELATIONS.items():
        if not name.endswith(_REJECTED) or name not in lake.tables:
            continue
        what = f"rejected {_what(relation)}"
        reasons, n = summaries.by_reason(lake.tables[name])
        headlines.append(Headline(what, thousands(n)))
        if not n:
            clean.append(f"No {what}.")
            continue
        unit = "byte" if "offset" in lake.tables[name].columns else "line"
        rows = tuple((r["reason"], r["n"], _source(r["source"], r["line"], unit), r["raw"]) for r in reasons)
        blocks.append(
            Table(
                what.capitalize(),
                ("reason", "rows", "first seen in", "as it stood"),
                rows,
                numbers=("rows",),
                wide=True,
            )
        )
    note = " ".join(clean) if headlines else "Nothing to show yet; jobs that read files keep what they refuse."
    return Panel(note, tuple(blocks), tuple(headlines))


def _what(relation: Relation) -> str:
    """Name the rows of a table of rejected rows: by the word of the table's name; pictures where it names their use."""
    return "pictures" if relation.meaning.startswith("Pictures") else relation.name.removesuffix(_REJECTED)


def _source(source: str, line: int | None, unit: str) -> str:
    name = source.rstrip("/").rsplit("/", 1)[-1]
    return name if line is None else f"{name}, {unit} {line}"


def learning(lake: Lake) -> Panel:
    """Show the learning curve and the speed of the last run."""
    metrics = lake.tables["lfm_metrics"]
    run = lake.run_of(LFM_METRICS)
    curve = summaries.few(metrics.where(F.col("run_id") == run).sort("epoch"))
    if not curve:  # the table was not written by our job: any run, but always the same
        run = summaries.few(metrics.agg(F.max("run_id").alias("run")))[0]["run"]
        curve = summaries.few(metrics.where(F.col("run_id") == run).sort("epoch"))
    if not curve:
        return Panel("The last run did not finish an epoch.")
    epochs = [row["epoch"] for row in curve]
    kept = epochs[-1]
    if "lfm_models" in lake.tables:
        models = summaries.few(lake.tables["lfm_models"].where(F.col("run_id") == run).select("epoch"))
        kept = models[0]["epoch"] if models else kept
    # A model that ranks has no RMSE; a table of an earlier version has no other columns.
    ranks = all(row["train_rmse"] is None for row in curve)
    measure, suffix = ("nDCG@10", "ndcg") if ranks else ("RMSE", "rmse")
    parts = {part: [row.get(f"{part}_{suffix}") for row in curve] for part in ("train", "valid", "test")}
    at = epochs.index(kept) if kept in epochs else -1
    part, label = ("test", f"test {measure}") if parts["test"][at] is not None else ("train", f"train {measure}")
    value = parts[part][at]
    if value is None:  # nothing was held out to be ranked
        label, value = "loss per rating", curve[at].get("objective")
    headlines = (
        Headline(label, "–" if value is None else f"{value:.4f}", f"latent factors, epoch {kept}"),
        Headline("epochs", thousands(len(epochs)), f"{decimals(sum(row['seconds'] for row in curve))} s"),
    )
    shown = curve[:: -(-len(curve) // 100)]  # of a run with thousands of epochs, a hundred
    rows = tuple(
        (row["epoch"], *(row.get(name) for name in names), row["lr"], row["seconds"])
        for names in [[f"{part}_{suffix}" for part in ("train", "valid", "test")]]
        for row in shown
    )
    head = ("epoch", "train", "valid", "test", "learning rate", "seconds")
    blocks = (
        figures.learning_curve(epochs, parts, kept if kept != epochs[-1] else None, measure),
        figures.epoch_seconds(epochs, [row["seconds"] for row in curve], [row["updates_per_second"] for row in curve]),
        Table("The numbers", head, rows, numbers=head, folded=True),
    )
    return Panel(f"Run {run} of the latent-factor model.", blocks, headlines)


def recommendations(lake: Lake) -> Panel:
    """Show for a few users what they rated highest beside what they are recommended."""
    table, rated, items = lake.tables["recommendations"], lake.tables.get("ratings"), lake.tables.get("items")
    users: Sequence[Any] = lake.users
    if not users and rated is not None:
        users = summaries.typical_users(table, rated)
    elif not users:
        users = [row["user_id"] for row in summaries.few(table.select("user_id").distinct().sort("user_id").limit(3))]
    if not users:
        return Panel("The table recommendations is empty.")
    advice = summaries.few(summaries.with_titles(summaries.of_users(table, users), items).sort("rank"))
    best: summaries.Rows = []
    totals: dict[str, dict[str, Any]] = {}
    if rated is not None:
        liked = summaries.liked_most(rated, users, TOP_ITEMS)
        best = summaries.few(summaries.with_titles(liked, items).sort("position"))
        totals = {str(row["user_id"]): row for row in best}
    tastes = summaries.tastes(rated, items, users) if rated is not None and items is not None else {}
    named = ("title", "year", "genres") if items is not None else ("title",)
    numbers = ("rank", "year", "rating", "score")
    blocks: list[Block] = []
    for user in map(str, users):
        theirs = [row for row in advice if str(row["user_id"]) == user]
        if user in totals:
            n, mean = thousands(totals[user]["n"]), totals[user]["mean"]
            caption = f"{n} ratings, {mean:.2f} on average{_extremes(tastes, user)}."
            head: tuple[str, ...] = (*named, "rating")
            blocks.append(Table(f"Rated highest by user {user}", head, _rows(best, user, head), caption, numbers))
        elif rated is not None:
            blocks.append(Table(f"Rated highest by user {user}", (), (), "No ratings of this user in the lake."))
        head = ("rank", *named, "score", "reason")
        caption = f"The best {len(theirs)} of what this user has not rated." if theirs else "Nothing for this user."
        blocks.append(Table(f"Recommended to user {user}", head, _rows(theirs, user, head), caption, numbers))
    picked = " The users are a light, a typical and a heavy rater." if not lake.users and rated is not None else ""
    return Panel(f"The score is the rating that the model expects.{picked}", tuple(blocks))


def _extremes(tastes: Mapping[str, Sequence[tuple[str, float]]], user: str) -> str:
    """Describe the genres a user rates highest and lowest, as the end of a sentence; empty where too few are known."""
    means = tastes.get(user, ())
    if len(means) < 2:
        return ""
    (best, high), (worst, low) = means[0], means[-1]
    return f"; {best} highest ({high:.2f}), {worst} lowest ({low:.2f})"


def _rows(rows: summaries.Rows, user: str, names: tuple[str, ...]) -> tuple[tuple[Cell, ...], ...]:
    def cell(row: dict[str, Any], name: str) -> Cell:
        value: Cell = row[name]
        if name == "year":
            return None if value is None else str(value)  # a year has no thousands
        return f"{value:.2f}" if name == "score" else value  # 4.90 stays 4.90

    return tuple(tuple(cell(row, name) for name in names) for row in rows if str(row["user_id"]) == user)


def taste(lake: Lake) -> Panel:
    """Place items on the map of their factors."""
    rows = summaries.most_rated_factors(
        lake.tables["item_factors"], lake.tables["ratings"], lake.tables.get("items"), MAPPED_ITEMS
    )
    if len(rows) < 3:
        return Panel("Fewer than three rated items have factors: no map.")
    points = np.array([row["factors"] for row in rows])
    return Panel(blocks=(figures.factor_map([row["title"] for row in rows], points, [row["n"] for row in rows]),))


def ranks(lake: Lake) -> Panel:
    """Show the highest ranks and how the ranks converged."""
    total = summaries.rank_totals(lake.tables["ranks"])
    if not total["nodes"]:
        return Panel("The table ranks is empty.", headlines=(Headline("nodes", "0"),))
    best = summaries.top_ranked(lake.tables["ranks"], lake.tables.get("pages"), TOP_NODES)
    names = [row["title"] or str(row["id"]) for row in best]
    headlines = [Headline("nodes", thousands(total["nodes"]), f"ranks sum to {total['total']:.6g}")]
    if "links" in lake.tables:
        headlines.append(Headline("links", thousands(lake.tables["links"].count())))
    blocks: list[Block] = [figures.top_ranks(names, [row["pagerank"] for row in best], total["nodes"])]
    note = "How the ranks converged is not known: the table pagerank_metrics is missing, run pagerank."
    if "links" in lake.tables and headlines[-1].value != "0":
        blocks.append(figures.degrees(*summaries.holders(lake.tables["links"], ("dst", "src"))))
    if "pagerank_metrics" in lake.tables:
        note = ""
        steps = summaries.few(lake.tables["pagerank_metrics"].sort("iteration"))
        if steps:
            deltas = [row["l1_delta"] for row in steps]
            headlines.append(Headline("iterations", thousands(len(steps)), f"last change {decimals(deltas[-1])}"))
            blocks.append(figures.convergence([row["iteration"] for row in steps], deltas))
    numbers = tuple((i, row["title"] or "", str(row["id"]), row["pagerank"]) for i, row in enumerate(best, start=1))
    blocks.append(
        Table("The numbers", ("rank", "title", "id", "PageRank"), numbers, numbers=("rank", "PageRank"), folded=True)
    )
    return Panel(note, tuple(blocks), tuple(headlines))


def evaluation(lake: Lake) -> Panel:
    """Compare the models, as they did in the newest evaluation."""
    table = lake.tables["recommender_metrics"]
    newest = table.where((F.col("run_id") == lake.run_of(RECOMMENDER_METRICS)) & (F.col("user_group") == "all"))
    rows = summaries.few(newest.sort("metric", F.desc("value"), "model"))
    if not rows:
        return Panel("The last run left no results.")
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    found = {(row["model"], row["metric"]): row for row in rows}
    cells = tuple((model, *(_scored(found.get((model, metric))) for metric in metrics)) for model in models)
    first = rows[0]
    caption = (
        f"Split {first['split']}, candidates {first['candidates']}, {thousands(first['users'])} users; 95 % intervals."
    )
    return Panel(caption, (Table("Models side by side", ("model", *metrics), cells, "", tuple(metrics), wide=True),))


def _scored(row: Mapping[str, Any] | None) -> Cell:
    if row is None:
        return None
    if row["low"] is None:
        return decimals(row["value"])
    return f"{decimals(row['value'])} ({decimals(row['low'])} to {decimals(row['high'])})"


def super_resolution(lake: Lake) -> Panel:
    """Show the learning curve, scores beside bicubic, pictures under a slider."""
    sr = lake.sr
    curve = [(line["seconds"], line["psnr_y"]) for line in sr.history if line.get("psnr_y") is not None]
    blocks: list[Block] = [figures.sr_curve(*zip(*curve, strict=True))] if curve else []
    headlines, rows = [], []
    scores = [by_way[way] for by_way in sr.sets.values() for way in ("bicubic", "model") if way in by_way]
    measured = [metric for metric in _SR_METRICS if any(score.get(metric) is not None for score in scores)]
    for name, by_way in sr.sets.items():
        ways = [way for way in ("bicubic", "model", "model_x8") if way in by_way]
        rows += [(name, way, *(by_way[way].get(m) for m in measured)) for way in ways]
        if "model" in by_way and "psnr_y" in by_way["model"]:
            bicubic = f"bicubic {by_way['bicubic']['psnr_y']:.2f} dB"
            headlines.append(Headline(f"PSNR on {name}", f"{by_way['model']['psnr_y']:.2f} dB", bicubic))
    if rows:
        head = ("set", "upscaler", *(_SR_METRICS[metric] for metric in measured))
        caption = "PSNR and SSIM: higher is better; NIQE and GMSD: lower."
        blocks.append(Table("Beside bicubic interpolation", head, tuple(rows), caption, head[2:]))
    for picture in sr.pictures:
        caption = "Left of the line: bicubic interpolation; right of it: the network. Move the slider."
        blocks.append(Slider(picture.name, picture.before, picture.after, caption))
    note = (
        "" if blocks else "Nothing to show yet: run sr_model.train or sr_model.evaluate, and name its folder with --sr."
    )
    return Panel(note, tuple(blocks), tuple(headlines))


def timings(lake: Lake) -> Panel:
    """List how long things took, as far as the lake knows."""
    rows: list[tuple[Cell, ...]] = []
    if "lfm_metrics" in lake.tables:
        mine = lake.tables["lfm_metrics"].where(F.col("run_id") == lake.run_of(LFM_METRICS))
        for row in summaries.few(mine.agg(F.count("*").alias("n"), F.sum("seconds").alias("s"))):
            rows += [("latent factors, training", row["s"], f"{row['n']} epochs")] if row["n"] else []
    if "recommender_metrics" in lake.tables:
        mine = lake.tables["recommender_metrics"].where(F.col("run_id") == lake.run_of(RECOMMENDER_METRICS))
        per = mine.groupBy("model").agg(F.max("seconds").alias("s")).sort("model")
        rows += [(f"{row['model']}, evaluation", row["s"], "training and answers") for row in summaries.few(per)]
    if lake.sr.history:
        last = lake.sr.history[-1]
        rows.append(("super-resolution, training", last["seconds"], f"{thousands(int(last['step']))} steps"))
    if not rows:
        return Panel("Nothing to show yet: jobs that train or evaluate note their seconds.")
    return Panel(blocks=(Table("Seconds", ("what", "seconds", "of"), tuple(rows), numbers=("seconds",)),))


SECTIONS = (
    SectionSpec("ratings", "Ratings", (RATINGS,), ratings),
    SectionSpec("learning", "Learning", (LFM_METRICS,), learning),
    SectionSpec("recommendations", "Recommendations", (RECOMMENDATIONS,), recommendations),
    SectionSpec("taste", "Map of taste", (ITEM_FACTORS, RATINGS), taste),
    SectionSpec("evaluation", "Recommenders side by side", (RECOMMENDER_METRICS,), evaluation),
    SectionSpec("ranks", "PageRank", (RANKS,), ranks),
    SectionSpec("super-resolution", "Super-resolution", (), super_resolution),
    SectionSpec("rejected", "Rejected rows", (), rejected),
    SectionSpec("timings", "Timings", (), timings),
)

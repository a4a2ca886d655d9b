"""Recommend to users what they have not seen, best first, and say why.

Reads what the model's job left in the lake (`lfm`, `neighbors`, `content`, `linear`; for `blend` whatever of these
there is), `ratings` for what was seen and `items` for titles; writes `recommendations`, with `--explain` also
`explanations`, and prints those of a few users. The guide is docs/recommenders.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.input_files import read_ids
from lakerank.lake.schemas import EXPLANATIONS, ITEMS, RATINGS, RECOMMENDATIONS, TAGS, USER_FACTORS
from lakerank.recommend.blend import blend
from lakerank.recommend.data.format_recommendations import told
from lakerank.recommend.data.item_filter import allowed_items
from lakerank.recommend.models.base import Data, Recommender, Stored
from lakerank.recommend.models.lfm_store import read_model
from lakerank.recommend.models.registry import MODELS, PARTS
from lakerank.recommend.models.store import find_run, load_model, save_model
from lakerank.spark.array_store import BlockStore
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace

SHOWN_USERS = 3


@dataclass(frozen=True)
class RecommendArgs(JobArgs):
    """Settings of the recommend job."""

    model: str = flag("lfm", "which model", choices=list(MODELS))
    users: str = flag("", "file with one user id per line (default: all users with ratings)")
    top: int = flag(10, "items per user", check=lambda n: n > 0, must="be above 0")
    explain: bool = flag(False, "write and print what each score is the sum of")
    genre: str = flag("", "only items of one of these genres, separated by commas")
    year: str = flag("", "only items of this year or these years, e.g. 1994, 1990-1999, 2000-")
    items: str = flag("", "file with one item id per line: recommend only these")
    seen: bool = flag(False, "recommend also what the user has rated")
    relearn: bool = flag(False, "blend: learn the weights anew although its parts have not changed")
    ratings: str = flag("", "ratings table: what users have seen (default: `ratings` in the lake)")
    out: str = flag("", "recommendations table (default: `recommendations` in the lake)")
    scratch: str = flag("", "folder all workers mount, for arrays (default: this machine's temporary folder)")


def stored(spark: SparkSession, lake: str, name: str) -> tuple[str, Stored] | None:
    """The run and what it left of a model; None if it is not in the lake."""
    if name == "popular":
        return "", Stored({})
    if name == "lfm":
        if not TableRef.find("", USER_FACTORS, lake).exists(spark):
            return None
        found = read_model(spark, lake)
        row, settings = found.row, found.settings
        facts = {"mean": row["mean"], "low": row["rating_min"], "high": row["rating_max"]}
        facts |= {"reg": settings["reg"], "rank": settings["factors"], "settings": settings}
        return found.run_id, Stored({"user_factors": found.users, "item_factors": found.items}, facts)
    run = find_run(spark, lake, name)
    if run is None:
        return None
    return run, Stored(*load_model(spark, lake, name, PARTS[name].relations, PARTS[name].producer))


def load(spark: SparkSession, args: RecommendArgs, data: Data, source: TableRef, store: BlockStore) -> Recommender:
    """The model that its job left in the lake, asked about the users of the ratings.

    Raises:
        UserError: it is not there.
    """
    if args.model == "blend":
        return load_blend(spark, args, data, source, store)
    found = stored(spark, args.lake, args.model)
    if found is None:
        raise UserError(f"{args.lake} has no model `{args.model}`: run {PARTS[args.model].producer} first")
    return PARTS[args.model].load(found[1], data, store)


def load_blend(
    spark: SparkSession, args: RecommendArgs, data: Data, source: TableRef, store: BlockStore
) -> Recommender:
    """The parts that are in the lake, by weights that were learned for these runs of them."""
    parts = {name: found for name in PARTS if (found := stored(spark, args.lake, name)) is not None}
    if missing := [name for name in PARTS if name not in parts]:
        print(f"recommend: blend goes without {', '.join(missing)}: not in {args.lake}")
    runs = {name: run for name, (run, _) in parts.items()}
    facts: dict[str, Any] = {}
    if find_run(spark, args.lake, "blend") is not None:
        facts = load_model(spark, args.lake, "blend", (), "recommend")[1]
    if args.relearn or facts.get("runs") != runs:
        refits = {name: partial(PARTS[name].refit or _fit(name), kept.facts) for name, (_, kept) in parts.items()}
        weights = blend.learned(refits, data, store.below("learning"))
        facts = {"runs": runs, "weights": weights.tolist()}
        save_model(spark, args.lake, "blend", {}, facts, source)
    models = {name: PARTS[name].load(kept, data, store.below(name)) for name, (_, kept) in parts.items()}
    for group, weights_M in zip(blend.GROUPS, facts["weights"], strict=True):
        told_weights = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(parts, weights_M, strict=True))
        print(f"recommend: weights for users with {group} ratings: {told_weights}")
    return blend.assembled(models, facts["weights"], data, store)


def _fit(name: str) -> Any:
    return lambda facts, data, store: PARTS[name].fit(data, store)


def show(spark: SparkSession, args: RecommendArgs, recommendations: DataFrame, explanations: DataFrame | None) -> None:
    """Print what the first few users are recommended, with titles if there are any."""
    few = recommendations.select("user_id").distinct().sort("user_id").limit(SHOWN_USERS)
    rows = recommendations.join(few, "user_id").sort("user_id", "rank").collect()
    reasons = [] if explanations is None else explanations.join(few, "user_id").collect()
    titles: dict[Any, str] = {}
    ref = TableRef.find("", ITEMS, args.lake)
    if ref.exists(spark):
        named = {row["item_id"] for row in rows} | {row["because_id"] for row in reasons} - {None}
        catalogue = ref.read(spark, ITEMS).select("item_id", "title", "year")
        for item, title, year in catalogue.where(catalogue.item_id.isin(list(named))).collect():
            titles[item] = f"{title} ({year})" if year else title
    for line in told(rows, reasons, titles):
        print(line)


def run(spark: SparkSession, args: RecommendArgs) -> dict[str, Any]:
    """Load the model, rank for each user, write."""
    begun = time.perf_counter()
    source = TableRef.find(args.ratings, RATINGS, args.lake)
    ratings = source.read(spark, RATINGS)
    types = dict(ratings.dtypes)
    refs = {relation.name: TableRef.find("", relation, args.lake) for relation in (ITEMS, TAGS)}
    there = {name: ref.exists(spark) for name, ref in refs.items()}
    items = refs["items"].read(spark, ITEMS) if there["items"] else None
    data = Data(ratings, items, refs["tags"].read(spark, TAGS) if there["tags"] else None)
    users = ratings.select("user_id").distinct()
    if args.users:
        users = read_ids(spark, "--users", args.users, "user_id", types["user_id"])
    listed = read_ids(spark, "--items", args.items, "item_id", types["item_id"]) if args.items else None
    allowed = allowed_items(items, args.genre, args.year, listed)
    seen = ratings.select("user_id", "item_id")
    sink = TableSink(TableRef.find(args.out, RECOMMENDATIONS, args.lake), RECOMMENDATIONS)
    with workspace(spark, args.scratch, "--scratch") as store:
        model = load(spark, args, data, source, store)
        sink.write(model.recommend(users, seen.limit(0) if args.seen else seen, args.top, allowed))
        written = sink.ref.read(spark, RECOMMENDATIONS)
        explanations = None
        if args.explain:
            reasons = TableSink(TableRef.find("", EXPLANATIONS, args.lake), EXPLANATIONS)
            reasons.write(model.explain(written))
            explanations = reasons.ref.read(spark, EXPLANATIONS)
    show(spark, args, written, explanations)
    n_users, rows = written.select("user_id").distinct().count(), written.count()
    seconds = round(time.perf_counter() - begun, 3)
    print(f"\nrecommend: {args.model}: top {args.top} for {n_users} users in {sink.ref.location} ({seconds:.1f} s)")
    return {"model": args.model, "users": n_users, "rows": rows, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return run_job(run, RecommendArgs, "recommend", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

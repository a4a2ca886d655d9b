"""Recommend to users what they have not seen, best first, and say why.

Reads what the model's job left in the lake (for a blend what the jobs of its parts did), `ratings` for what was seen
and `items` for titles; writes `recommendations`, with `--explain` also `explanations`, and prints those of a few users.
The guide is docs/recommenders.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.settings import POSITIVE, JobArgs, flag
from lakerank.lake.input_files import read_ids
from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import EXPLANATIONS, RATINGS, RECOMMENDATIONS
from lakerank.recommend.data.format_recommendations import format_recommendations
from lakerank.recommend.data.item_filter import allowed_items
from lakerank.recommend.models.registry import DEFAULT_MODEL, MODELS, PARTS, model_spec
from lakerank.recommend.models.store import open_model, read_data, within_rules
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace


@dataclass(frozen=True)
class RecommendArgs(JobArgs):
    """Settings of the recommend job."""

    model: str = flag(DEFAULT_MODEL, "which model", choices=list(MODELS))
    parts: str = flag("", f"of a blend, of {', '.join(PARTS)} (default: those in the lake that are made for it)")
    users: str = flag("", "file with one user id per line (default: all users with ratings)")
    top: int = flag(10, "items per user", within=POSITIVE)
    explain: bool = flag(False, "write and print what each score is the sum of")
    genre: str = flag("", "only items of one of these genres, separated by commas")
    year: str = flag("", "only items of this year or these years, e.g. 1994, 1990-1999, 2000-")
    items: str = flag("", "file with one item id per line: recommend only these")
    exclude: str = flag("", "file with one item id per line: recommend none of these")
    rules: str = flag("", "table or file of rules: what to exclude, allow, boost, and how many of a genre at most")
    include_seen: bool = flag(False, "recommend also what the user has rated")
    relearn: bool = flag(False, "of a blend: learn the weights anew although its parts have not changed")
    ratings: str = flag("", "ratings table: what users have seen (default: `ratings` in the lake)")
    out: str = flag("", "recommendations table (default: `recommendations` in the lake)")
    scratch: str = flag("", "folder all workers reach, also in an object store, for arrays (default: a temporary one)")


def run(spark: SparkSession, args: RecommendArgs) -> dict[str, Any]:
    """Read, rank for each user, write, print."""
    begun = time.perf_counter()
    spec = model_spec(args.model, args.parts)
    published = Publications.read(args.lake, lambda: spark)
    data = read_data(spark, published, source := published.table(RATINGS, args.ratings))
    ratings, items = data.ratings, data.items
    types, users = dict(ratings.dtypes), ratings.select("user_id").distinct()
    if args.users:
        users = read_ids(spark, "--users", args.users, "user_id", types["user_id"])
    listed = read_ids(spark, "--items", args.items, "item_id", types["item_id"]) if args.items else None
    allowed = allowed_items(items, args.genre, args.year, listed)
    excluded = read_ids(spark, "--exclude", args.exclude, "item_id", types["item_id"]) if args.exclude else None
    seen = ratings.select("user_id", "item_id")
    explanations = None
    with workspace(spark, args.scratch, "--scratch", args.lake) as store:
        model = open_model(spark, published, spec, data, source, store, args.relearn)
        for remark in spec.remarks(model.params()):
            print(f"recommend: {remark}")
        if args.rules or args.exclude:
            model, allowed = within_rules(model, args.rules, excluded, data, store, allowed)
        with publishing(lambda: spark, args.lake, RECOMMENDATIONS.name) as tables:
            best = model.recommend(users, seen.limit(0) if args.include_seen else seen, args.top, allowed)
            target = tables.write(RECOMMENDATIONS, best, args.out)
            written = target.read(spark, RECOMMENDATIONS)
            if args.explain:
                explanations = tables.write(EXPLANATIONS, model.explain(written)).read(spark, EXPLANATIONS)
    for line in format_recommendations(written, explanations, items):
        print(line)
    n_users, rows = written.select("user_id").distinct().count(), written.count()
    seconds = round(time.perf_counter() - begun, 3)
    print(f"\nrecommend: {args.model}: top {args.top} for {n_users} users in {target.location} ({seconds:.1f} s)")
    return {"model": args.model, "users": n_users, "rows": rows, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_job(run, RecommendArgs, "recommend", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

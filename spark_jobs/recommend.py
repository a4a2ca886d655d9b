"""Recommend to users what they have not seen, best first.

Reads the model's tables (`user_factors`, `item_factors`, `lfm_models` for `lfm`), `ratings` for what was seen
and `items` for titles; writes `recommendations` and prints those of a few users.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.args import JobArgs, flag
from spark_jobs.lake.contracts import ITEMS, RATINGS, RECOMMENDATIONS
from spark_jobs.lake.errors import UserError
from spark_jobs.lake.job import run_job
from spark_jobs.lake.model_tables import read_model
from spark_jobs.lake.tables import TableRef, TableSink
from spark_jobs.recsys.models import MODELS, Recommender
from spark_jobs.recsys.models.latent import LatentFactors
from spark_jobs.recsys.models.popular import Popular

SHOWN_USERS = 3


@dataclass(frozen=True)
class RecommendArgs(JobArgs):
    """Settings of the recommend job."""

    model: str = flag("lfm", "which model", choices=list(MODELS))
    users: str = flag("", "file with one user id per line (default: all users with ratings)")
    top: int = flag(10, "items per user", check=lambda n: n > 0, must="be above 0")
    ratings: str = flag("", "ratings table: what users have seen (default: `ratings` in the lake)")
    out: str = flag("", "recommendations table (default: `recommendations` in the lake)")


def load_lfm(spark: SparkSession, lake: str, ratings: DataFrame) -> Recommender:
    """The model that the last lfm run left in the lake; users who have rated since are folded in."""
    stored = read_model(spark, lake)
    row = stored.row
    model = LatentFactors(stored.users, stored.items, row["mean"], row["rating_min"], row["rating_max"])
    newcomers = ratings.join(stored.users.select("user_id"), "user_id", "left_anti")
    return model.with_users(newcomers, float(stored.settings["reg"]), int(stored.settings["factors"]))


def load_popular(spark: SparkSession, lake: str, ratings: DataFrame) -> Recommender:
    """Nothing is stored for it: averages of the ratings at hand."""
    return Popular.average(ratings)


LOADERS: dict[str, Callable[[SparkSession, str, DataFrame], Recommender]] = {"lfm": load_lfm, "popular": load_popular}


def chosen_users(spark: SparkSession, file: str, ratings: DataFrame) -> DataFrame:
    """Frame (user_id) of the users in the file, or of all who rated.

    Raises:
        UserError: the file cannot be read, is empty, or an id is not of the ratings' kind.
    """
    everyone = ratings.select("user_id").distinct()
    if not file:
        return everyone
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--users {file}: cannot read it as text ({error})") from error
    ids: list[Any] = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UserError(f"--users {file}: no user ids in it; write one per line")
    kind = dict(everyone.dtypes)["user_id"]
    if kind == "bigint":
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.strip().lstrip("-").isdigit():
                raise UserError(
                    f"--users {file}, line {number}: {line.strip()!r} is not a whole number as user ids are"
                )
        ids = [int(text) for text in ids]
    return spark.createDataFrame([(user,) for user in ids], f"user_id {kind}").distinct()


def show(spark: SparkSession, recommendations: DataFrame, lake: str) -> int:
    """Print what the first few users are recommended, with titles if there are any; return how many users."""
    items_ref = TableRef.find("", ITEMS, lake)
    users = recommendations.select("user_id").distinct()
    few = users.sort("user_id").limit(SHOWN_USERS)
    rows = recommendations.join(few, "user_id")
    if items_ref.exists(spark):
        rows = rows.join(items_ref.read(spark, ITEMS).select("item_id", "title", "year"), "item_id", "left")
    else:
        rows = rows.withColumn("title", F.lit(None).cast("string")).withColumn("year", F.lit(None).cast("int"))
    for row in rows.sort("user_id", "rank").collect():
        if row["rank"] == 1:
            print(f"\nuser {row['user_id']} ({row['reason']})")
        year = f" ({row['year']})" if row["year"] else ""
        print(f"  {row['rank']:>3}  {row['score']:.3f}  {row['title'] or row['item_id']}{year}")
    return users.count()


def run(spark: SparkSession, args: RecommendArgs) -> dict[str, Any]:
    """Load the model, rank for each user, write."""
    begun = time.perf_counter()
    ratings = TableRef.find(args.ratings, RATINGS, args.lake).read(spark, RATINGS)
    model = LOADERS[args.model](spark, args.lake, ratings)
    users = chosen_users(spark, args.users, ratings)
    sink = TableSink(TableRef.find(args.out, RECOMMENDATIONS, args.lake), RECOMMENDATIONS)
    sink.write(model.recommend(users, ratings.select("user_id", "item_id"), args.top))
    written = sink.ref.read(spark, RECOMMENDATIONS)
    n_users = show(spark, written, args.lake)
    seconds = round(time.perf_counter() - begun, 3)
    print(f"\nrecommend: {args.model}: top {args.top} for {n_users} users in {sink.ref.location} ({seconds:.1f} s)")
    return {"model": args.model, "users": n_users, "rows": written.count(), "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return run_job(run, RecommendArgs, "recommend", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

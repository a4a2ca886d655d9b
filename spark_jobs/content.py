"""Learn what items are about and what users like about them, so that also items nobody has rated can be recommended.

Reads `items`, `tags` (if there is one) and `ratings`; writes `item_profiles`, `user_profiles` and a row of
`recommenders`. The guide is docs/content.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import ITEM_PROFILES, ITEMS, RATINGS, TAGS, USER_PROFILES
from lakerank.recommend.content import model as content
from lakerank.recommend.models.base import Data
from lakerank.recommend.models.store import save_model
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace

_DEFAULT = content.ContentConfig()
_POSITIVE: dict[str, Any] = {"check": lambda x: x > 0, "must": "be above 0"}
SHOWN_USERS, SHOWN_FEATURES = 3, 6


@dataclass(frozen=True)
class ContentArgs(JobArgs):
    """Settings of the content job; those of the model are `ContentConfig`'s."""

    method: str = flag(
        _DEFAULT.method,
        "model: learned from all users' ratings; heuristic: cosine of profiles",
        choices=list(content.METHODS),
    )
    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    items: str = flag("", "items table (default: `items` in the lake)")
    tags: str = flag("", "tags table (default: `tags` in the lake, if it is there); none: go without")
    out: str = flag("", "folder or catalog.schema for the tables written (default: the lake)")
    scratch: str = flag("", "folder all workers mount, for arrays (default: this machine's temporary folder)")
    factors: int = flag(_DEFAULT.factors, "model: directions of choice, K", **_POSITIVE)
    reg: float = flag(_DEFAULT.reg, "model: L2 weight for choices, per rated item", **_POSITIVE)
    reg_quality: float = flag(_DEFAULT.reg_quality, "model: L2 weight for ratings, in items", **_POSITIVE)
    recency: float = flag(
        _DEFAULT.recency,
        "power by which older ratings count less; 0: all alike",
        check=lambda x: x >= 0,
        must="be 0 or more",
    )

    def config(self) -> content.ContentConfig:
        """The settings of the model alone."""
        return content.ContentConfig(self.method, self.factors, self.reg, self.reg_quality, self.recency)


def read_tags(spark: SparkSession, given: str, lake: str) -> DataFrame | None:
    """The tags, or None if they are not wanted or, unless they were named, not there."""
    ref = TableRef.find(given, TAGS, lake)
    if given == "none" or (not given and not ref.exists(spark)):
        return None
    return ref.read(spark, TAGS)


def show(profiles: DataFrame) -> None:
    """Print what the first few users like."""
    for row in profiles.sort("user_id").limit(SHOWN_USERS).collect():
        pairs = list(zip(row["features"], row["weights"], strict=True))[:SHOWN_FEATURES]
        liked = ", ".join(f"{name} {weight:+.2f}" for name, weight in pairs)
        print(f"content: user {row['user_id']} ({row['ratings']} ratings): {liked}")


def run(spark: SparkSession, args: ContentArgs) -> dict[str, Any]:
    """Read, learn, write."""
    begun = time.perf_counter()
    source = TableRef.find(args.ratings, RATINGS, args.lake)
    ratings = source.read(spark, RATINGS)
    items = TableRef.find(args.items, ITEMS, args.lake).read(spark, ITEMS)
    out = args.out or args.lake
    with workspace(spark, args.scratch, "--scratch") as store:
        model = content.fit(Data(ratings, items, read_tags(spark, args.tags, args.lake)), store, args.config())
        save_model(spark, out, "content", model.tables(), model.facts(), source)
    written = TableRef.find("", USER_PROFILES, out).read(spark, USER_PROFILES)
    show(written)
    users, features = written.count(), len(model.facts()["names"])
    target = TableRef.find("", ITEM_PROFILES, out)
    n_items = target.read(spark, ITEM_PROFILES).count()
    seconds = round(time.perf_counter() - begun, 3)
    print(f"content: {args.method}: {n_items} items, {features} features in {target.location} ({seconds:.1f} s)")
    return {"method": args.method, "items": n_items, "features": features, "users": users, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return run_job(run, ContentArgs, "content", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

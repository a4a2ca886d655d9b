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
from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import ITEM_PROFILES, ITEMS, TAGS, USER_PROFILES
from lakerank.recommend.content.model import SPEC, ContentConfig, format_profiles
from lakerank.recommend.models.base import Data
from lakerank.recommend.models.store import read_ratings, save_model
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace


@dataclass(frozen=True)
class ContentArgs(ContentConfig, JobArgs):
    """Settings of the content job; those of the model are `ContentConfig`'s."""

    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    items: str = flag("", "items table (default: `items` in the lake)")
    tags: str = flag("", "tags table (default: `tags` in the lake, if it is there); none: go without")
    out: str = flag("", "folder or catalog.schema for the tables written (default: the lake)")
    scratch: str = flag("", "folder all workers reach, also in an object store, for arrays (default: a temporary one)")


def read_tags(spark: SparkSession, given: str, published: Publications) -> DataFrame | None:
    """Return the tags, or None if they are not wanted or, unless they were named, not there."""
    if given == "none":
        return None
    ref = published.table(TAGS, given)
    if not given and not ref.exists(spark):
        return None
    return ref.read(spark, TAGS)


def run(spark: SparkSession, args: ContentArgs) -> dict[str, Any]:
    """Read, learn, write, print."""
    begun = time.perf_counter()
    published = Publications.read(args.lake, lambda: spark)
    source, ratings = read_ratings(spark, published, args.ratings)
    items = published.table(ITEMS, args.items).read(spark, ITEMS)
    data = Data(ratings, items, read_tags(spark, args.tags, published))
    with workspace(spark, args.scratch, "--scratch", args.lake) as store:
        model = SPEC.fit(data, store, ContentConfig.from_settings(args))
        with publishing(lambda: spark, args.out or args.lake, SPEC.name) as tables:
            refs = save_model(tables, SPEC, model, source)
    written = refs[USER_PROFILES.name].read(spark, USER_PROFILES)
    for line in format_profiles(written):
        print(f"content: {line}")
    users, features = written.count(), len(model.params()["names"])
    target = refs[ITEM_PROFILES.name]
    n_items = target.read(spark, ITEM_PROFILES).count()
    seconds = round(time.perf_counter() - begun, 3)
    print(f"content: {args.method}: {n_items} items, {features} features in {target.location} ({seconds:.1f} s)")
    return {"method": args.method, "items": n_items, "features": features, "users": users, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_job(run, ContentArgs, "content", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

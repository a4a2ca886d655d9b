"""Find for every item (or user) the most similar others, exactly, by what was rated.

Reads `ratings`; writes `similar_items` and a row of `recommenders`, or with `--of users` `similar_users`. The guide is
docs/recommenders.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import SIMILAR_ITEMS, SIMILAR_USERS
from lakerank.recommend.models.base import Data
from lakerank.recommend.models.store import read_ratings, save_model
from lakerank.recommend.neighbors.model import SPEC, NeighborsConfig, similar_users
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace


@dataclass(frozen=True)
class NeighborsArgs(NeighborsConfig, JobArgs):
    """Settings of the neighbors job; those of the model are `NeighborsConfig`'s."""

    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "folder or catalog.schema for the tables written (default: the lake)")
    scratch: str = flag(
        "", "folder all workers reach, also in an object store, for the matrix (default: a temporary one)"
    )
    of: str = flag("items", "what is compared", choices=["items", "users"])


def run(spark: SparkSession, args: NeighborsArgs) -> dict[str, Any]:
    """Read ratings, compare, write."""
    begun = time.perf_counter()
    settings, out = NeighborsConfig.from_settings(args), args.out or args.lake
    source, ratings = read_ratings(spark, Publications.read(args.lake, lambda: spark), args.ratings)
    relation = SIMILAR_ITEMS if args.of == "items" else SIMILAR_USERS
    with workspace(spark, args.scratch, "--scratch", args.lake) as store:
        if args.of == "items":
            model = SPEC.fit(Data(ratings), store, settings)
            with publishing(lambda: spark, out, SPEC.name) as tables:
                target = save_model(tables, SPEC, model, source)[relation.name]
        else:
            with publishing(lambda: spark, out, relation.name) as tables:
                target = tables.write(relation, similar_users(ratings, store, settings))
    written = target.read(spark, relation)
    rows, lists = written.count(), written.where("rank = 1").count()
    seconds = round(time.perf_counter() - begun, 3)
    print(f"neighbors: {rows} neighbours of {lists} {args.of} in {target.location} ({seconds:.1f} s)")
    return {"of": args.of, "measure": args.measure, "rows": rows, args.of: lists, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_job(run, NeighborsArgs, "neighbors", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

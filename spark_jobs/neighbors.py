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
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import RATINGS, SIMILAR_ITEMS, SIMILAR_USERS
from lakerank.recommend.models.base import Data
from lakerank.recommend.models.store import save_model
from lakerank.recommend.neighbors import model as neighbors
from lakerank.recommend.neighbors.measures import MEASURES, WEIGHTINGS, Similarity
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace

_DEFAULT = neighbors.NeighborsConfig()
_NOT_NEGATIVE: dict[str, Any] = {"check": lambda x: x >= 0, "must": "be 0 or more"}
_POSITIVE: dict[str, Any] = {"check": lambda x: x > 0, "must": "be above 0"}


@dataclass(frozen=True)
class NeighborsArgs(JobArgs):
    """Settings of the neighbors job; those of similarity are `Similarity`'s."""

    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "folder or catalog.schema for the tables written (default: the lake)")
    scratch: str = flag("", "folder all workers mount, for the matrix (default: this machine's temporary folder)")
    of: str = flag("items", "what is compared", choices=["items", "users"])
    measure: str = flag(_DEFAULT.how.measure, "of similarity", choices=list(MEASURES))
    weighting: str = flag(None, "of cosine's values (default: tf-idf for cosine, else none)", choices=list(WEIGHTINGS))
    values: str = flag(_DEFAULT.how.values, "what cosine compares", choices=["ones", "ratings"])
    shrink: float = flag(_DEFAULT.how.shrink, "n common raters count n / (n + shrink)", **_NOT_NEGATIVE)
    min_support: int = flag(_DEFAULT.how.min_support, "fewer common raters: not alike", **_POSITIVE)
    top: int = flag(_DEFAULT.how.top, "neighbours kept for each", **_POSITIVE)
    popularity: float = flag(
        _DEFAULT.how.popularity,
        "cosine: share of the item's own length in the denominator; above 0.5 favours much rated neighbours",
        check=lambda x: 0 <= x <= 1,
        must="be between 0 and 1",
    )
    recency: float = flag(_DEFAULT.recency, "power by which older ratings count less; 0: all alike", **_NOT_NEGATIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weighting:
            object.__setattr__(self, "weighting", _DEFAULT.how.weighting if self.measure == "cosine" else "none")

    def config(self) -> neighbors.NeighborsConfig:
        """The settings of the model alone."""
        how = Similarity(
            self.measure, self.weighting, self.values, self.shrink, self.min_support, self.top, self.popularity
        )
        return neighbors.NeighborsConfig(how.checked(), self.recency)


def run(spark: SparkSession, args: NeighborsArgs) -> dict[str, Any]:
    """Read ratings, compare, write."""
    begun = time.perf_counter()
    config, out = args.config(), args.out or args.lake
    source = TableRef.find(args.ratings, RATINGS, args.lake)
    ratings = source.read(spark, RATINGS)
    relation = SIMILAR_ITEMS if args.of == "items" else SIMILAR_USERS
    target = TableRef.find("", relation, out)
    with workspace(spark, args.scratch, "--scratch") as store:
        if args.of == "items":
            model = neighbors.fit(Data(ratings), store, config)
            save_model(spark, out, "neighbors", model.tables(), model.facts(), source)
        else:
            TableSink(target, relation).write(neighbors.similar_users(ratings, store, config.how))
    written = target.read(spark, relation)
    rows, lists = written.count(), written.where("rank = 1").count()
    seconds = round(time.perf_counter() - begun, 3)
    print(f"neighbors: {rows} neighbours of {lists} {args.of} in {target.location} ({seconds:.1f} s)")
    return {"of": args.of, "measure": args.measure, "rows": rows, args.of: lists, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return run_job(run, NeighborsArgs, "neighbors", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Learn what having rated one item says for every other: EASE, a linear model in closed form.

Reads `ratings`; writes `linear_weights` and a row of `recommenders`. The guide is docs/recommenders.md.
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
from lakerank.lake.schemas import LINEAR_WEIGHTS
from lakerank.recommend.ease.model import SPEC, LinearConfig
from lakerank.recommend.models.base import Data
from lakerank.recommend.models.store import read_ratings, save_model
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace


@dataclass(frozen=True)
class LinearArgs(LinearConfig, JobArgs):
    """Settings of the linear job; those of the model are `LinearConfig`'s."""

    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "folder or catalog.schema for the tables written (default: the lake)")
    scratch: str = flag(
        "", "folder all workers reach, also in an object store, for the weights (default: a temporary one)"
    )


def run(spark: SparkSession, args: LinearArgs) -> dict[str, Any]:
    """Read ratings, solve, write."""
    begun = time.perf_counter()
    source, ratings = read_ratings(spark, Publications.read(args.lake, lambda: spark), args.ratings)
    with workspace(spark, args.scratch, "--scratch", args.lake) as store:
        model = SPEC.fit(Data(ratings), store, LinearConfig.from_settings(args))
        with publishing(lambda: spark, args.out or args.lake, SPEC.name) as tables:
            target = save_model(tables, SPEC, model, source)[LINEAR_WEIGHTS.name]
    rows = target.read(spark, LINEAR_WEIGHTS).count()
    seconds = round(time.perf_counter() - begun, 3)
    print(f"linear: {rows} weights in {target.location} ({seconds:.1f} s)")
    return {"rows": rows, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_job(run, LinearArgs, "linear", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

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
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import LINEAR_WEIGHTS, RATINGS
from lakerank.recommend.ease import model as linear
from lakerank.recommend.models.base import Data
from lakerank.recommend.models.store import save_model
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace

_DEFAULT = linear.LinearConfig()
_POSITIVE: dict[str, Any] = {"check": lambda x: x > 0, "must": "be above 0"}


@dataclass(frozen=True)
class LinearArgs(JobArgs):
    """Settings of the linear job; those of the model are `LinearConfig`'s."""

    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "folder or catalog.schema for the tables written (default: the lake)")
    scratch: str = flag("", "folder all workers mount, for the weights (default: this machine's temporary folder)")
    reg: float = flag(_DEFAULT.reg, "L2 weight λ, in users", **_POSITIVE)
    top: int = flag(_DEFAULT.top, "weights kept for each item, the largest by size", **_POSITIVE)
    most: int = flag(_DEFAULT.most, "items, by number of ratings, that may speak for others", **_POSITIVE)
    recency: float = flag(
        _DEFAULT.recency,
        "power by which older ratings count less; 0: all alike",
        check=lambda x: x >= 0,
        must="be 0 or more",
    )

    def config(self) -> linear.LinearConfig:
        """The settings of the model alone."""
        return linear.LinearConfig(self.reg, self.top, self.most, self.recency)


def run(spark: SparkSession, args: LinearArgs) -> dict[str, Any]:
    """Read ratings, solve, write."""
    begun = time.perf_counter()
    source = TableRef.find(args.ratings, RATINGS, args.lake)
    ratings = source.read(spark, RATINGS)
    out = args.out or args.lake
    with workspace(spark, args.scratch, "--scratch") as store:
        model = linear.fit(Data(ratings), store, args.config())
        save_model(spark, out, "linear", model.tables(), model.facts(), source)
    target = TableRef.find("", LINEAR_WEIGHTS, out)
    rows = target.read(spark, LINEAR_WEIGHTS).count()
    seconds = round(time.perf_counter() - begun, 3)
    print(f"linear: {rows} weights in {target.location} ({seconds:.1f} s)")
    return {"rows": rows, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return run_job(run, LinearArgs, "linear", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

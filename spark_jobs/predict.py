"""Predict the ratings of pairs of users and items that a table or a file lists.

Reads the pairs, what the model's job left in the lake, and `ratings`; writes `predictions`, a row for each pair. The
guide is docs/recommenders.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import PREDICTIONS, RATINGS
from lakerank.recommend.data.rating_input import id_types, read_pairs
from lakerank.recommend.models.registry import MODELS, PARTS, model_spec
from lakerank.recommend.models.store import open_model, read_data
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace


@dataclass(frozen=True)
class PredictArgs(JobArgs):
    """Settings of the predict job."""

    pairs: str = flag("", "table or file with columns of user and item ids, as a test set has them")
    model: str = flag("lfm", "which model", choices=list(MODELS))
    parts: str = flag("", f"of a blend, of {', '.join(PARTS)} (default: those in the lake that are made for it)")
    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "table of predictions (default: `predictions` in the lake)")
    scratch: str = flag("", "folder all workers reach, also in an object store, for arrays (default: a temporary one)")


def run(spark: SparkSession, args: PredictArgs) -> dict[str, Any]:
    """Read the pairs and the model, predict, write."""
    begun = time.perf_counter()
    if not args.pairs:
        raise UserError("say whose ratings of what to predict: --pairs TABLE or FILE, with user and item ids")
    spec, published = model_spec(args.model, args.parts), Publications.read(args.lake, lambda: spark)
    source = published.table(RATINGS, args.ratings)
    data = read_data(spark, published, source)
    pairs = read_pairs(spark, "--pairs", args.pairs, id_types(data.ratings))
    with workspace(spark, args.scratch, "--scratch", args.lake) as store:
        model = open_model(spark, published, spec, data, source, store)
        rows = model.predict(pairs).select(*PREDICTIONS.names)
        with publishing(lambda: spark, args.lake, PREDICTIONS.name) as tables:
            target = tables.write(PREDICTIONS, rows, args.out)
            tables.reads(RATINGS, source)
    written = target.read(spark, PREDICTIONS)
    by_source = {row["source"]: row["count"] for row in written.groupBy("source").count().sort("source").collect()}
    n, seconds = sum(by_source.values()), round(time.perf_counter() - begun, 3)
    told = ", ".join(f"{count} by {word}" for word, count in by_source.items())
    print(f"predict: {n} predictions in {target.location} ({told}; {seconds:.1f} s)")
    return {"model": args.model, "rows": n, "sources": by_source, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_job(run, PredictArgs, "predict", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

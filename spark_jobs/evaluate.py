"""Evaluate recommenders: each is trained on a part of the ratings and asked about the rest, all on the same users.

Reads `ratings`, `items` and `tags`; writes `recommender_metrics` and with `--plot` a PNG, and prints the table. Nothing
that is in the lake of the models is used or changed. The guide is docs/evaluation-recommenders.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.files import write_file
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import RATINGS, RECOMMENDER_METRICS
from lakerank.recommend.data.rating_input import id_types, identity_of, read_negatives
from lakerank.recommend.data.splits import GIVEN
from lakerank.recommend.evaluation.evaluate_model import Evaluation, EvaluationConfig, evaluate_models
from lakerank.recommend.latent_factors.store import RatingsSource
from lakerank.recommend.models.registry import BASELINE, DEFAULT_MODEL, MODELS, PARTS, model_spec, parse_models
from lakerank.recommend.models.store import read_data
from lakerank.report.png_plots import comparison_png
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace


@dataclass(frozen=True)
class EvaluateArgs(EvaluationConfig, JobArgs):
    """Settings of the evaluate job; those of the evaluation are `EvaluationConfig`'s."""

    models: str = flag(f"{BASELINE},{DEFAULT_MODEL}", f"of {', '.join(MODELS)}; the others are compared with the first")
    parts: str = flag("", f"of a blend, of {', '.join(PARTS)} (default: those that are made for it)")
    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    train: str = flag("", "table or file of training ratings, instead of --ratings")
    test: str = flag("", "table or file of test ratings, instead of --split; they are left out of --ratings")
    negatives: str = flag("", "table or file of (user, item): rank test items among these, not among --candidates")
    out: str = flag("", "table of results (default: `recommender_metrics` in the lake)")
    plot: str = flag("", "PNG file to draw the results in (default: none)")
    scratch: str = flag("", "folder all workers reach, also in an object store, for arrays (default: a temporary one)")


def draw(path: str, evaluation: Evaluation) -> None:
    """Write the picture.

    Raises:
        UserError: it cannot be written.
    """
    points = [(s.model, s.metric, s.value, s.interval) for s in evaluation.everyone]
    write_file(path, comparison_png(points, evaluation.title), "--plot")
    print(f"evaluate: {path}")


def print_seconds(name: str, seconds: float) -> None:
    """Say that a model is done."""
    print(f"evaluate: {name}: {seconds:.1f} s", flush=True)


def run(spark: SparkSession, args: EvaluateArgs) -> dict[str, Any]:
    """Read, evaluate, write, print."""
    begun = time.perf_counter()
    specs = [model_spec(name, args.parts) for name in parse_models(args.models, "--models")]
    settings, published = EvaluationConfig.from_settings(args), Publications.read(args.lake, lambda: spark)
    if args.test:
        settings = dataclasses.replace(settings, split=GIVEN)
    given = RatingsSource.find(
        published, args.ratings, args.split, args.seed, train=args.train, test=args.test, strong=True
    )
    source = given.ratings
    with workspace(spark, args.scratch, "--scratch", args.lake) as store:
        divided = given.read(spark, store.root) if args.train or args.test else None
        data = read_data(spark, published, source, None if divided is None else divided.drop("part"))
        negatives = (
            read_negatives(spark, "--negatives", args.negatives, id_types(data.ratings)) if args.negatives else None
        )
        evaluation = evaluate_models(
            specs,
            data,
            settings,
            store,
            lambda name, s: print(f"evaluate: {name}: {s:.1f} s", flush=True),
            divided,
            negatives,
        )
    what: list[Any] = [evaluation.models, args.parts, dataclasses.asdict(evaluation.settings), given.params(spark)]
    what += [given.newest(spark), identity_of(spark, args.negatives) if args.negatives else ""]
    run_id = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:10]
    rows = spark.createDataFrame(evaluation.rows(run_id), RECOMMENDER_METRICS.schema())
    with publishing(lambda: spark, args.lake, "evaluation", run_id) as tables:
        target = tables.add_own(RECOMMENDER_METRICS, rows, f"run_id = '{run_id}'", args.out)
        if not given.is_file:
            tables.reads(RATINGS, source)

    print(evaluation.as_text())
    if args.plot:
        draw(args.plot, evaluation)
    seconds = round(time.perf_counter() - begun, 3)
    print(f"evaluate: run {run_id} in {target.location} ({seconds:.1f} s)")
    values = {name: {s.metric: s.value for s in evaluation.everyone if s.model == name} for name in evaluation.models}
    users = evaluation.n_users
    return {"run_id": run_id, "split": evaluation.settings.split, "users": users, "models": values, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_job(run, EvaluateArgs, "evaluate", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Judge recommenders: each is trained on a part of the ratings and asked about the rest, all on the same users.

Reads `ratings`, `items` and `tags`; writes `recommender_metrics` and a picture, and prints the table. Nothing that is
in the lake of the models is used or changed. The guide is docs/evaluation-recommenders.md.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.schemas import ITEMS, RATINGS, RECOMMENDER_METRICS, TAGS
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.recommend.evaluation.compare import Score, as_text, compare
from lakerank.recommend.evaluation.evaluate_model import Contest, Judged
from lakerank.recommend.evaluation.metrics import USUAL, Measure, read_measures
from lakerank.recommend.evaluation.predict_and_rank import COLD, FULL, Parts
from lakerank.recommend.evaluation.user_groups import EVERYONE
from lakerank.recommend.models.base import Data
from lakerank.recommend.models.registry import MODELS
from lakerank.report.png_plots import comparison_png
from lakerank.spark.checkpoint import cut
from lakerank.spark.job import run_job
from lakerank.spark.ml_persistence import workspace

_NOT_NEGATIVE: dict[str, Any] = {"check": lambda x: x >= 0, "must": "be 0 or more"}


@dataclass(frozen=True)
class EvaluateArgs(JobArgs):
    """Settings of the evaluate job."""

    models: str = flag("popular,lfm", f"of {', '.join(MODELS)}; the others are compared with the first")
    split: str = flag("leave-one-out", "random:SHARE, time:SHARE, items:SHARE, users:SHARE, corner:… or leave-one-out")
    metrics: str = flag(USUAL, "what to measure; see the guide")
    candidates: str = flag(
        FULL,
        "what is ranked: full: all items the user has not rated; cold: those nobody has; N: the test item and N others",
    )
    relevant: float = flag(0.0, "lowest test rating that should have been recommended; 0: any", **_NOT_NEGATIVE)
    resamples: int = flag(1000, "of users, for intervals; 0: none", **_NOT_NEGATIVE)
    seed: int = flag(0, "of split, candidates and resamples", **_NOT_NEGATIVE)
    ratings: str = flag("", "ratings table (default: `ratings` in the lake)")
    out: str = flag("", "table of results (default: `recommender_metrics` in the lake)")
    picture: str = flag("", "PNG file to draw the results in (default: none)")
    scratch: str = flag("", "folder all workers mount, for arrays (default: this machine's temporary folder)")

    @cached_property
    def names(self) -> list[str]:
        """The models asked for, each once.

        Raises:
            UserError: there is none, or one is unknown.
        """
        names = list(dict.fromkeys(filter(None, (part.strip() for part in self.models.split(",")))))
        if unknown := [name for name in names if name not in MODELS]:
            raise UserError(f"--models: `{unknown[0]}` is not one of {', '.join(MODELS)}")
        if not names:
            raise UserError(f"--models: name at least one of {', '.join(MODELS)}")
        return names

    @cached_property
    def sampled(self) -> int:
        """How many negatives there are for each test item; 0: full ranking."""
        if self.candidates in (FULL, COLD):
            return 0
        if not (self.candidates.isdecimal() and int(self.candidates)):
            raise UserError(f"--candidates {self.candidates}: must be {FULL}, {COLD} or a number above 0, such as 99")
        return int(self.candidates)

    @cached_property
    def measures(self) -> list[Measure]:
        """What is measured; with sampled candidates only how well relevant items are found."""
        asked = read_measures(self.metrics)
        fit = [m for m in asked if m.finds or not m.ranked] if self.sampled else asked
        if not fit:
            raise UserError(f"--candidates {self.candidates}: of {self.metrics} nothing can be said among so few items")
        return fit


def write(
    spark: SparkSession, args: EvaluateArgs, run_id: str, scores: Sequence[Score], judged: dict[str, Judged]
) -> TableRef:
    """Replace this run's rows."""
    nothing = (None, None)
    rows = [
        (
            run_id, s.model, args.split, args.candidates, s.metric, s.group, s.value, *(s.within or nothing), s.users,
            s.reference, s.difference, *(s.difference_within or nothing), judged[s.model].seconds,
        )
        for s in scores
    ]  # fmt: skip
    sink = TableSink(TableRef.find(args.out, RECOMMENDER_METRICS, args.lake), RECOMMENDER_METRICS, stamp=run_id)
    sink.write(spark.createDataFrame(rows, RECOMMENDER_METRICS.schema()), f"run_id = '{run_id}'")
    return sink.ref


def draw(path: str, picture: bytes) -> None:
    """Write the picture.

    Raises:
        UserError: it cannot be written.
    """
    try:
        Path(path).write_bytes(picture)
    except OSError as error:
        raise UserError(f"--picture {path}: cannot write it ({error.strerror})") from error
    print(f"evaluate: {path}")


def run(spark: SparkSession, args: EvaluateArgs) -> dict[str, Any]:
    """Read, split, train and ask, compare, write."""
    begun = time.perf_counter()
    split, names, measures = Split.parse(args.split, strong=True), args.names, args.measures
    source = TableRef.find(args.ratings, RATINGS, args.lake)
    ratings = source.read(spark, RATINGS)
    refs = {relation: TableRef.find("", relation, args.lake) for relation in (ITEMS, TAGS)}
    items, tags = (ref.read(spark, relation) if ref.exists(spark) else None for relation, ref in refs.items())
    what = [names, args.split, args.candidates, args.metrics, args.relevant, args.resamples, args.seed]
    what += [source.identity(spark), source.version(spark)]
    run_id = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:10]
    with workspace(spark, args.scratch, "--scratch") as store:
        catalogue = ratings.select("item_id").distinct() if items is None else items
        divided = cut(split_ratings(ratings, catalogue, split, args.seed, scratch=store.root), store.root)
        parts = Parts.of(divided, args.relevant, args.candidates == COLD)
        setting = parts.setting(catalogue)
        contest = Contest(parts, setting, measures, args.candidates, args.sampled, args.seed, split.kind == "users")
        judged = {}
        for name in names:
            judged[name] = contest.judge(MODELS[name], Data(parts.train, items, tags), store.below(name))
            print(f"evaluate: {name}: {judged[name].seconds:.1f} s", flush=True)
            store.drop(name)
    by_user, whole = ({name: getattr(one, part) for name, one in judged.items()} for part in ("sums", "whole"))
    scores = compare(by_user, whole, setting.groups, args.resamples, args.seed)
    table = write(spark, args, run_id, scores, judged)

    everyone = [score for score in scores if score.group == EVERYONE]
    metrics = [measure.name for measure in measures]
    note = f"{args.split}, {len(setting.users)} users"
    print(as_text(everyone, metrics, names, "metric", note))
    for name in [m.name for m in measures if m.finds][:1] + [m.name for m in measures if not m.ranked][:1]:
        print("\n" + as_text([s for s in scores if s.metric == name], list(setting.groups), names, "group", name))
    if args.resamples:
        print(f"\n± half of the 95 % interval; * differs from {names[0]}, 95 % sure, on the same draws of users")
    if args.picture:
        drawn = [(s.model, s.metric, s.value, s.within) for s in everyone]
        draw(args.picture, comparison_png(drawn, note))
    seconds = round(time.perf_counter() - begun, 3)
    print(f"evaluate: run {run_id} in {table.location} ({seconds:.1f} s)")
    values = {name: {s.metric: s.value for s in everyone if s.model == name} for name in names}
    return {"run_id": run_id, "split": args.split, "users": len(setting.users), "models": values, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return run_job(run, EvaluateArgs, "evaluate", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

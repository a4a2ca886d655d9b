"""Evaluate models: train each on one part of the ratings, ask it about the other, and score its answers.

Test items may be ranked among a few that the user has not rated, the protocol of He et al. 2017 (*Neural collaborative
filtering*), which ranks a user's last item among it and 99 sampled ones. Its figures are comparable with each other
only: sampled metrics may order models otherwise than full rankings do (Krichene and Rendle 2020, *On sampled metrics
for item recommendation*).

Shape suffixes: U users, P test pairs, C candidates of a pair.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.settings import NOT_NEGATIVE, CheckedSettings, flag
from lakerank.recommend.data.splits import GIVEN, Split, split_ratings
from lakerank.recommend.evaluation.compare import Score, as_text, compare
from lakerank.recommend.evaluation.metrics import USUAL, Metric, Sums, parse_metrics
from lakerank.recommend.evaluation.test_set import EVERYONE, EvaluationSet, positions_of
from lakerank.recommend.models.base import Data, ModelSpec, Recommender
from lakerank.spark.array_store import BlockStore
from lakerank.spark.checkpoint import checkpoint

FULL, COLD = "full", "cold"


def draw_negatives(
    rows_P: NDArray[Any], rated: tuple[NDArray[Any], NDArray[Any]], n_users: int, n_items: int, n: int, seed: int
) -> NDArray[np.int32]:
    """Draw distinct items for each test pair, (P, n), none of which its user has rated, test items included.

    Args:
        rows_P: the user of each test pair.
        rated: users and items of all rated pairs, training and test.
        n_users, n_items: sizes.
        n: how many.
        seed: of the draws.

    Raises:
        UserError: a user has rated so much that there are not n others.
    """
    order = np.argsort(rated[0], kind="stable")
    items = np.asarray(rated[1])[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(rated[0], minlength=n_users))])
    generator = np.random.default_rng(seed)
    drawn = np.empty((len(rows_P), n), np.int32)
    for k, u in enumerate(rows_P):
        own = np.unique(items[starts[u] : starts[u + 1]])
        if n_items - len(own) < n:
            raise UserError(
                f"--candidates {n}: a user has rated {len(own)} of {n_items} items, so there are not that many others"
            )
        # The x-th item that is not among `own`: x plus the number of own items up to there.
        free = generator.choice(n_items - len(own), n, replace=False)
        drawn[k] = free + np.searchsorted(own - np.arange(len(own)), free, side="right")
    return drawn


def rank_candidates(scores_PC: NDArray[np.float64], ids_PC: NDArray[np.int32], top: int) -> NDArray[np.int32]:
    """Return the candidates of highest score, (P, min(top, C)), best first, equal ones by item."""
    by_item = np.argsort(ids_PC, axis=1, kind="stable")
    scores = np.take_along_axis(scores_PC, by_item, axis=1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(np.take_along_axis(ids_PC, by_item, axis=1), best, axis=1).astype(np.int32)


@dataclass(frozen=True)
class SplitRatings:
    """Ratings divided by `splits`.

    Attributes:
        train: what models learn from.
        known: what users had rated when they are asked, of users with test ratings: train, or `history`.
        test: what is kept back.
        relevant: (user_id, item_id) of those test ratings that should have been recommended.
    """

    train: DataFrame
    known: DataFrame
    test: DataFrame
    relevant: DataFrame

    @classmethod
    def of(cls, parts: DataFrame, relevant_from: float, cold: bool) -> SplitRatings:
        """Make one from ratings with `part`.

        Args:
            parts: see `splits.split_ratings`.
            relevant_from: lowest relevant rating.
            cold: whether only items without training ratings are relevant.
        """
        train = parts.where("part = 'train'").drop("part")
        test = parts.where("part = 'test'").drop("part")
        relevant = test.where(F.col("rating") >= relevant_from).select("user_id", "item_id")
        if cold:
            relevant = relevant.join(train.select("item_id").distinct(), "item_id", "left_anti")
        asked = relevant.select("user_id").distinct()
        known = parts.where("part IN ('train', 'history')").drop("part").join(asked, "user_id", "left_semi")
        return cls(train, known, test, relevant.select("user_id", "item_id"))

    def evaluation_set(self, catalogue: DataFrame) -> EvaluationSet:
        """Return the test set that all models are evaluated on.

        Args:
            catalogue: frame with `item_id`; what is rated is added to it.

        Raises:
            UserError: there is no test rating to evaluate on.
        """
        relevant = self.relevant.toArrow()
        if not relevant.num_rows:
            raise UserError("no relevant test rating: take another --split, or a lower --relevance-threshold")
        raters = self.train.groupBy("item_id").agg(F.count("*").alias("n"))
        counts = raters.toArrow()
        listed = [catalogue.select("item_id").toArrow().column(0), counts.column("item_id"), relevant.column("item_id")]
        items = pa.chunked_array([c for column in listed for c in column.cast(listed[0].type).chunks]).unique()
        profiles = self.known.join(raters, "item_id", "left").groupBy("user_id")
        total = profiles.agg(F.count("*").alias("n"), F.coalesce(F.sum("n"), F.lit(0)).alias("total")).toArrow()
        n_users = self.train.select("user_id").distinct().count()
        return EvaluationSet.of(relevant, items.take(pc.sort_indices(items)), counts, total, n_users)


def recommend_positions(
    model: Recommender, parts: SplitRatings, test_set: EvaluationSet, top: int, candidates: str
) -> NDArray[np.int32]:
    """Recommend to each user out of all items they have not rated; with `cold`, out of those without training ratings.

    Returns:
        positions of the items, (U, top).
    """
    spark = parts.test.sparkSession
    allowed = None
    if candidates == COLD:
        allowed = spark.createDataFrame(pa.table({"item_id": test_set.items.filter(pa.array(test_set.raters == 0))}))
    users = parts.relevant.select("user_id").distinct()
    rows = model.recommend(users, parts.known.select("user_id", "item_id"), top, allowed)
    return test_set.top(rows.select("user_id", "rank", "item_id").toArrow(), top)


def sample_candidates(parts: SplitRatings, test_set: EvaluationSet, n: int, seed: int) -> NDArray[np.int32]:
    """Return the candidates of each test pair, (P, 1 + n): its item and `n` that its user has rated neither in
    training nor test; the same for every model."""
    asked = parts.relevant.select("user_id").distinct()
    tested = parts.test.select("user_id", "item_id").join(asked, "user_id", "left_semi")
    rated = parts.known.select("user_id", "item_id").unionByName(tested).toArrow().combine_chunks()
    pairs = (
        positions_of(rated.column("user_id").combine_chunks(), test_set.users),
        positions_of(rated.column("item_id").combine_chunks(), test_set.items),
    )
    drawn = draw_negatives(test_set.rows, pairs, len(test_set.users), len(test_set.items), n, seed)
    return np.column_stack([test_set.positions.astype(np.int32), drawn])


def _negatives_of_each(negatives: DataFrame) -> int:
    """Return how many negatives each user has.

    Raises:
        UserError: there are none, or not all have equally many.
    """
    counts = negatives.groupBy("user_id").agg(F.count("*").alias("n"))
    row = counts.agg(F.min("n").alias("fewest"), F.max("n").alias("most")).first()
    if row is None or row["most"] is None:
        raise UserError("--negatives: there are none in it")
    if row["fewest"] != row["most"]:
        raise UserError(
            f"--negatives: users have {row['fewest']} to {row['most']} different ones; figures are comparable "
            "only if all have equally many"
        )
    return int(row["most"])


def given_candidates(negatives: DataFrame, test_set: EvaluationSet, n: int) -> NDArray[np.int32]:
    """Return the candidates of each test pair, (P, 1 + n): its item and the `n` negatives of its user.

    Raises:
        UserError: a user asked has none, or the test item among them.
    """
    table = negatives.toArrow().combine_chunks()
    rows = positions_of(table.column("user_id").combine_chunks(), test_set.users)
    items = positions_of(table.column("item_id").combine_chunks(), test_set.items)
    order = np.lexsort((items, rows))
    rows, items = rows[order], items[order]
    starts = np.searchsorted(rows, np.arange(len(test_set.users)))
    lacking = np.flatnonzero(np.bincount(rows[rows >= 0], minlength=len(test_set.users)) == 0)
    if len(lacking):
        user = test_set.users[int(lacking[0])].as_py()
        raise UserError(f"--negatives: user {user} has none, and {len(lacking)} users with test ratings in all")
    found = items[starts[test_set.rows][:, None] + np.arange(n)]
    if len(same := np.flatnonzero((found == test_set.positions[:, None]).any(axis=1))):
        p = int(same[0])
        item, user = test_set.items[int(test_set.positions[p])], test_set.users[int(test_set.rows[p])]
        raise UserError(f"--negatives: item {item} of user {user} is a test item, too")
    return np.column_stack([test_set.positions, found]).astype(np.int32)


def rank_sampled(
    model: Recommender, parts: SplitRatings, test_set: EvaluationSet, candidates_PC: NDArray[np.int32], top: int
) -> NDArray[np.int32]:
    """Return the best of each pair's candidates by the model's scores, (P, top)."""
    n_pairs, n = candidates_PC.shape
    rows = np.repeat(test_set.rows, n)
    keys = rows * len(test_set.items) + candidates_PC.ravel()
    distinct, back = np.unique(keys, return_inverse=True)  # a user's candidates of several pairs may be the same
    own, positions = np.divmod(distinct, len(test_set.items))
    asked = pa.table(
        {"user_id": test_set.users.take(pa.array(own)), "item_id": test_set.items.take(pa.array(positions))}
    )
    answers = (
        model.score(parts.test.sparkSession.createDataFrame(asked)).select("user_id", "item_id", "score").toArrow()
    )
    found = positions_of(answers.column("user_id").combine_chunks(), test_set.users) * len(test_set.items)
    found += positions_of(answers.column("item_id").combine_chunks(), test_set.items)
    scores = answers.column("score").to_numpy()[np.argsort(found)]
    return rank_candidates(scores[back].reshape(n_pairs, n), candidates_PC, top)


@dataclass(frozen=True)
class EvaluationConfig(CheckedSettings):
    """Settings.

    Attributes:
        split: see `data.splits.Split.parse`.
        metrics: see `metrics.parse_metrics`.
        candidates: `full`, `cold` or a number of unrated items beside each test item.
        relevance_threshold: lowest rating of relevant test items.
        n_bootstrap: draws of users; 0 for no intervals.
        seed: of split, candidates and draws.
    """

    split: str = flag(
        "leave-one-out", "random:, user:, time:, items: or users:SHARE, corner:ROW,COLS or leave-one-out; see the guide"
    )
    metrics: str = flag(USUAL, "what to measure; see the guide")
    candidates: str = flag(
        FULL,
        "what is ranked: full: all items the user has not rated; cold: those nobody has; N: the test item and N others",
    )
    relevance_threshold: float = flag(
        0.0, "lowest test rating that should have been recommended; 0: any", within=NOT_NEGATIVE
    )
    n_bootstrap: int = flag(1000, "draws of users, for intervals; 0: none", within=NOT_NEGATIVE)
    seed: int = flag(0, "of split, candidates and draws", within=NOT_NEGATIVE)

    def n_sampled(self) -> int:
        """Return the number of unrated items beside each test item; 0: all are ranked.

        Raises:
            UserError: `candidates` is neither a word it may be nor a number above 0.
        """
        if self.candidates in (FULL, COLD):
            return 0
        if not (re.fullmatch("[0-9]{1,9}", self.candidates) and int(self.candidates)):
            told = f"must be {FULL}, {COLD} or a number above 0, such as 99"
            raise UserError(f"--candidates {self.candidates[:40]}: {told}")
        return int(self.candidates)

    def parse_metrics(self) -> list[Metric]:
        """Return the metrics to compute; with sampled candidates only those of how well relevant items are found.

        Raises:
            UserError: a metric is unknown, or none is left.
        """
        asked = parse_metrics(self.metrics)
        fit = [m for m in asked if m.finds_relevant or not m.ranked] if self.n_sampled() else asked
        if not fit:
            raise UserError(f"--candidates {self.candidates}: of {self.metrics} nothing can be said among so few items")
        return fit


@dataclass(frozen=True)
class ModelScores:
    """One model's results.

    Attributes:
        sums: metric → its sums over users.
        overall: metric → value, of metrics that have no value of one user.
        seconds: to train the model and to ask it.
    """

    sums: dict[str, Sums]
    overall: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """The scores of all models.

    Attributes:
        settings: what they were put through.
        metrics: what was measured.
        models: their names; the others are compared with the first.
        groups: of users, everybody first.
        n_users: who were asked.
        scores: of each model, metric and group.
        seconds: to train each model and to ask it.
    """

    settings: EvaluationConfig
    metrics: list[Metric]
    models: list[str]
    groups: list[str]
    n_users: int
    scores: list[Score]
    seconds: dict[str, float]

    @property
    def title(self) -> str:
        """Describe the test set: the split and the number of users."""
        return f"{self.settings.split}, {self.n_users} users"

    @property
    def everyone(self) -> list[Score]:
        """The scores of all users together."""
        return [score for score in self.scores if score.group == EVERYONE]

    def rows(self, run_id: str) -> list[tuple[Any, ...]]:
        """Return the rows of `recommender_metrics`."""
        none = (None, None)
        return [
            (
                run_id, s.model, self.settings.split, self.settings.candidates, s.metric, s.group, s.value,
                *(s.interval or none), s.users, s.reference, s.difference, *(s.difference_interval or none),
                self.seconds[s.model],
            )
            for s in self.scores
        ]  # fmt: skip

    def as_text(self) -> str:
        """Return tables for people: all metrics, then by group of users one of ranking and one of ratings."""
        blocks = [as_text(self.everyone, [m.name for m in self.metrics], self.models, "metric", self.title)]
        for some in ([m for m in self.metrics if m.finds_relevant], [m for m in self.metrics if not m.ranked]):
            for name in (m.name for m in some[:1]):
                chosen = [score for score in self.scores if score.metric == name]
                blocks.append(as_text(chosen, self.groups, self.models, "group", name))
        if self.settings.n_bootstrap:
            first = self.models[0]
            blocks.append(f"± half of the 95 % interval; * differs from {first}, 95 % sure, on the same draws of users")
        return "\n\n".join(blocks)


def evaluate_models(
    specs: Sequence[ModelSpec],
    data: Data,
    settings: EvaluationConfig,
    store: BlockStore,
    on_model: Callable[[str, float], None] = lambda name, seconds: None,
    divided: DataFrame | None = None,
    negatives: DataFrame | None = None,
) -> Evaluation:
    """Train each model on one part of the ratings, ask it about the rest, and compare the scores.

    Args:
        specs: the models; the others are compared with the first.
        data: all ratings, and items and tags if there are any.
        settings: what is kept back, asked and measured.
        store: a folder that all workers see.
        on_model: called with each model's name and seconds when it is done.
        divided: ratings with `part`, if they are divided already; what `settings.split` says does not count then.
        negatives: (user_id, item_id), the items that a user's test items are ranked among instead of sampled ones.

    Raises:
        UserError: the settings cannot be read, there is no test rating to evaluate on, or users have no negatives, or
            not all equally many.
    """
    if negatives is not None:
        settings = replace(settings, candidates=str(_negatives_of_each(negatives)))
    metrics = settings.parse_metrics()
    split = Split(GIVEN) if divided is not None else Split.parse(settings.split, strong=True)
    catalogue = (data.ratings if data.items is None else data.items).select("item_id").distinct()
    if negatives is not None:
        catalogue = catalogue.union(negatives.select("item_id")).distinct()
    if divided is None:
        divided = split_ratings(data.ratings, catalogue, split, settings.seed, scratch=store.root)
    parts = SplitRatings.of(checkpoint(divided, store.root), settings.relevance_threshold, settings.candidates == COLD)
    test_set = parts.evaluation_set(catalogue)
    n_sampled = settings.n_sampled()
    candidates_PC = sample_candidates(parts, test_set, n_sampled, settings.seed) if n_sampled else None
    if negatives is not None:
        candidates_PC = given_candidates(negatives, test_set, n_sampled)
    found: dict[str, ModelScores] = {}
    for spec in specs:
        begun = time.perf_counter()
        model = spec.fit(Data(parts.train, data.items, data.tags), store.below(spec.name))
        if split.kind == "users":
            model = model.with_ratings(parts.known)
        sums, overall = score_model(model, parts, test_set, metrics, settings.candidates, candidates_PC)
        found[spec.name] = ModelScores(sums, overall, round(time.perf_counter() - begun, 3))
        on_model(spec.name, found[spec.name].seconds)
        store.drop(spec.name)
    by_user = {name: one.sums for name, one in found.items()}
    overall_scores = {name: one.overall for name, one in found.items()}
    groups = test_set.groups
    scores = compare(by_user, overall_scores, groups, settings.n_bootstrap, settings.seed)
    seconds = {name: one.seconds for name, one in found.items()}
    return Evaluation(settings, metrics, list(found), list(groups), len(test_set.users), scores, seconds)


def score_model(
    model: Recommender,
    parts: SplitRatings,
    test_set: EvaluationSet,
    metrics: Sequence[Metric],
    candidates: str,
    sampled_PC: NDArray[np.int32] | None,
) -> tuple[dict[str, Sums], dict[str, float]]:
    """Return a fitted model's sums by metric, and the values of metrics that no single user has.

    Args:
        model: fitted to `parts.train`.
        parts, test_set: what is known and what is asked.
        metrics: what is measured.
        candidates: `full` or `cold`; not looked at if candidates are sampled.
        sampled_PC: the candidates of each test pair, the same for every model; None ranks all.
    """
    ranked = [metric for metric in metrics if metric.ranked]
    rated = [metric.name for metric in metrics if not metric.ranked]
    top = max((metric.cutoff for metric in ranked), default=0)
    sums: dict[str, Sums] = {}
    overall: dict[str, float] = {}
    if ranked and sampled_PC is not None:
        sums |= test_set.sampled_candidates(rank_sampled(model, parts, test_set, sampled_PC, top), ranked)
    elif ranked:
        best = recommend_positions(model, parts, test_set, top, candidates)
        sums |= test_set.ranked(best, ranked)
        overall = test_set.overall(best, ranked)
    if rated:
        predicted = model.predict(parts.test).select("user_id", "rating", "prediction").toArrow()
        accuracy = test_set.accuracy(predicted)
        sums |= {name: accuracy[name] for name in rated}
    return sums, overall

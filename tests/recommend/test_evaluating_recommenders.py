"""Comparing models: bootstrap, groups, sampled candidates, and one evaluation set worked out by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lakerank.cli.errors import UserError
from lakerank.recommend.evaluation.compare import as_text, bootstrap, compare, percentile_interval
from lakerank.recommend.evaluation.evaluate_model import draw_negatives, rank_candidates
from lakerank.recommend.evaluation.metrics import Metric, Sums, parse_metrics
from lakerank.recommend.evaluation.test_set import EvaluationSet, user_groups
from lakerank.report.png_plots import comparison_png


def test_the_bootstrap_spreads_as_the_mean_does() -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(2.0, 400)
    drawn = bootstrap([Sums(values, np.ones(400))], 4000, seed=1)[:, 0]
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.02)
    assert drawn.std() == pytest.approx(values.std() / np.sqrt(400), rel=0.05)
    low, high = percentile_interval(drawn)
    assert (drawn < low).mean() == pytest.approx(0.025, abs=0.002)
    assert (drawn > high).mean() == pytest.approx(0.025, abs=0.002)


def test_an_rmse_is_the_root_of_a_ratio_of_sums() -> None:
    squares, n = np.array([4.0, 9.0, 0.0]), np.array([1.0, 3.0, 0.0])
    rmse = Sums(squares, n, root=True)
    assert rmse.value() == pytest.approx(np.sqrt(13 / 4))
    assert rmse.of(np.array([False, True, True])).value() == pytest.approx(np.sqrt(3))
    assert np.isnan(rmse.of(np.array([False, False, True])).value())
    drawn = bootstrap([rmse], 300, seed=0)[:, 0]
    possible = {2.0, np.sqrt(3.0), np.sqrt(13 / 4), np.sqrt(17 / 5), np.sqrt(22 / 7), np.sqrt(13 / 4)}
    known = drawn[np.isfinite(drawn)]
    assert all(min(abs(x - y) for y in possible) < 1e-12 for x in known)
    assert len(known) < 300, "a draw of the third user alone has no rating"
    assert np.isfinite(percentile_interval(drawn)).all()
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


def test_models_are_compared_on_the_same_draws() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 1, 300)  # what is hard for one user is hard for both models
    both = {"a": {"x": Sums(hard, np.ones(300))}, "b": {"x": Sums(hard + 0.01, np.ones(300))}}
    groups = {"all": np.ones(300, bool), "few": np.arange(300) < 10}
    overall = {"a": {"c": 0.5}, "b": {"c": 0.25}}
    scores = {(s.model, s.group): s for s in compare(both, overall, groups, 500, seed=0) if s.metric == "x"}
    one = scores["b", "all"]
    assert one.interval is not None
    assert one.difference_interval is not None
    assert one.interval[0] < scores["a", "all"].value < one.interval[1]
    assert one.difference_interval == pytest.approx((0.01, 0.01), abs=1e-9)
    assert one.significant
    assert scores["a", "all"].reference is None
    assert not scores["a", "all"].significant
    assert scores["b", "few"].users == 10
    assert scores["b", "few"].value == pytest.approx(hard[:10].mean() + 0.01)
    plain = [s for s in compare(both, overall, groups, 0, seed=0) if s.metric == "c"]
    assert [(s.value, s.interval, s.difference) for s in plain] == [(0.5, None, None), (0.25, None, -0.25)]
    text = as_text(list(scores.values()), ["all", "few"], ["a", "b"], "group", "x")
    assert [line.split()[0] for line in text.splitlines()] == ["x", "all", "few"]
    assert text.splitlines()[1].count("±") == 2
    assert text.splitlines()[1].rstrip().endswith("*")


def test_groups_are_thirds_and_newcomers_stand_apart() -> None:
    counts = np.array([0, 1, 2, 3, 4, 5, 6])
    profile = np.array([np.nan, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    groups = {name: np.flatnonzero(chosen).tolist() for name, chosen in user_groups(counts, profile).items()}
    assert groups == {
        "all": [0, 1, 2, 3, 4, 5, 6],
        "new": [0],
        "light": [1, 2],
        "medium": [3, 4],
        "heavy": [5, 6],
        "niche": [5, 6],
        "mixed": [3, 4],
        "blockbuster": [1, 2],
    }
    tied = user_groups(np.array([1, 1, 1, 1, 9, 9]), np.full(6, 0.5))
    assert tied["light"].tolist() == [True] * 4 + [False] * 2, "an edge belongs to the lower third"
    assert list(user_groups(np.zeros(2, int), np.full(2, np.nan))) == ["all", "new"]


def test_negatives_are_distinct_unrated_and_uniform() -> None:
    rng = np.random.default_rng(0)
    users, items = 6, 30
    rated = [(u, i) for u in range(users) for i in rng.permutation(items)[: rng.integers(3, 20)].tolist()]
    own, what = np.array(rated)[rng.permutation(len(rated))].T
    rows = np.arange(users).repeat(400)
    drawn = draw_negatives(rows, (own, what), users, items, 5, seed=4)
    assert drawn.shape == (len(rows), 5)
    assert all(len(set(row)) == 5 for row in drawn.tolist())
    for u in range(users):
        free = sorted(set(range(items)) - {i for v, i in rated if v == u})
        times = np.bincount(drawn[rows == u].ravel(), minlength=items)
        assert set(np.flatnonzero(times).tolist()) == set(free)
        expected = 2000 / len(free)
        assert np.abs(times[free] - expected).max() < 6 * np.sqrt(expected)
    assert (draw_negatives(rows, (own, what), users, items, 5, seed=4) == drawn).all()
    assert (draw_negatives(rows, (own, what), users, items, 5, seed=5) != drawn).any()
    with pytest.raises(UserError, match="--candidates 29: a user has rated"):
        draw_negatives(np.array([0]), (own, what), users, items, 29, seed=0)


def test_candidates_are_ranked_by_score_and_equal_ones_by_item() -> None:
    scores = np.array([[0.1, 0.5, 0.5, 0.9]])
    assert rank_candidates(scores, np.array([[7, 9, 3, 1]], np.int32), 3).tolist() == [[1, 3, 9]]


@pytest.fixture
def held_out() -> EvaluationSet:
    """Users a, b, c; items 10, 20, 30, 40, of which 40 is not rated in training; c has no training rating."""
    relevant = pa.table({"user_id": ["c", "a", "a", "b"], "item_id": [40, 30, 40, 10]})
    raters = pa.table({"item_id": [10, 20, 30], "n": [2, 4, 1]})
    profiles = pa.table({"user_id": ["a", "b"], "n": [2, 1], "total": [6, 4]})
    return EvaluationSet.of(relevant, pa.array([10, 20, 30, 40]), raters, profiles, 4)


def test_a_test_set_worked_out_by_hand(held_out: EvaluationSet) -> None:
    assert held_out.users.to_pylist() == ["a", "b", "c"]
    np.testing.assert_allclose(held_out.profile, [0.75, 1.0, np.nan])
    rows = pa.table({"user_id": ["b", "a", "a", "b", "x"], "rank": [1, 2, 1, 3, 1], "item_id": [10, 30, 20, 40, 10]})
    top = held_out.top(rows, 2)
    assert top.tolist() == [[1, 2], [0, -1], [-1, -1]]
    metrics = parse_metrics("hr@2,precision@5,recall@2,novelty@2,popularity@2,popularity-lift@2,coverage@2")
    found = held_out.ranked(top, metrics)
    assert found["hr@2"].top.tolist() == [1.0, 1.0, 0.0]
    assert found["precision@5"].top.tolist() == [0.2, 0.2, 0.0]
    assert found["recall@2"].value() == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["popularity@2"].value() == pytest.approx(((1.0 + 0.25) / 2 + 0.5) / 2), "c is told nothing"
    lift = (0.625 - 0.75 + 0.5 - 1.0) / (0.75 + 1.0)
    assert found["popularity-lift@2"].value() == pytest.approx(lift)
    assert found["novelty@2"].top[1] == pytest.approx(-np.log2(3 / 5))
    assert held_out.overall(top, metrics) == {"coverage@2": 0.75}


def test_sampled_rankings_weigh_users_by_their_test_items(held_out: EvaluationSet) -> None:
    order = np.lexsort((held_out.positions, held_out.rows))
    assert held_out.positions[order].tolist() == [2, 3, 0, 3]
    best = held_out.positions[:, None].astype(np.int32).repeat(2, axis=1)
    best[:, 0] = 1  # second position for all but the first of a, who is not found
    best[order[0]] = 1
    found = held_out.sampled_candidates(best, [Metric("mrr", 2), Metric("hr", 1), Metric("ndcg", 10)])
    assert found["mrr@2"].value() == pytest.approx((0.5 + 0.5 + 0.5) / 4)
    assert found["mrr@2"].of(np.array([True, False, False])).value() == pytest.approx(0.25)
    assert found["hr@1"].value() == 0.0
    assert found["ndcg@10"].value() == pytest.approx(3 / 4 / np.log2(3))


def test_errors_of_users_who_are_not_asked_do_not_count(held_out: EvaluationSet) -> None:
    rows = pa.table(
        {"user_id": ["a", "a", "b", "z"], "rating": [4.0, 2.0, 1.0, 5.0], "prediction": [3.0, 4.0, 1.0, 0.0]}
    )
    found = held_out.accuracy(rows)
    assert found["rmse"].value() == pytest.approx(np.sqrt(5 / 3))
    assert found["mae"].value() == pytest.approx(1.0)
    assert np.isnan(found["mae"].of(np.array([False, False, True])).value())


def test_the_picture_is_a_png_also_without_intervals() -> None:
    scores = [("a", "rmse", 0.9, (0.8, 1.0)), ("a", "gini@10", 0.0, None), ("b", "rmse", 0.95, (0.9, np.nan))]
    assert comparison_png(scores, "three points").startswith(b"\x89PNG")

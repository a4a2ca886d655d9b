"""Ranking and exposure metrics: against trec_eval (through ir_measures), by hand, and at the edges."""

from __future__ import annotations

import math

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, Success, nDCG

from lakerank.cli.errors import UserError
from lakerank.recommend.evaluation import metrics
from lakerank.recommend.evaluation.evaluate_model import EvaluationConfig
from lakerank.recommend.evaluation.metrics import RANKED, RATED, USUAL, Metric, parse_metrics

INDEPENDENT = {"ndcg": nDCG, "recall": R, "precision": P, "map": AP, "mrr": RR, "hr": Success}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [1, 3, 10])
def test_each_user_gets_what_trec_eval_says(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    users, items, longest = 25, 40, 12
    top = np.full((users, longest), -1, np.int32)
    for row in top:  # some get fewer than N
        listed = rng.permutation(items)[: rng.integers(0, longest + 1)]
        row[: len(listed)] = listed
    pairs = [(u, i) for u in range(users) for i in rng.permutation(items)[: rng.integers(1, 15)].tolist()]
    rows, positions = np.array(pairs).T
    shuffled = rng.permutation(len(pairs))
    hit, relevant = metrics.hits(top[:, :n], rows[shuffled], positions[shuffled], items)

    qrels = [ir_measures.Qrel(str(u), str(i), 1) for u, i in pairs]
    run = [ir_measures.ScoredDoc(str(u), str(i), -r) for u in range(users) for r, i in enumerate(top[u]) if i >= 0]
    for kind, metric in INDEPENDENT.items():
        wanted = np.zeros(users)
        for one in ir_measures.iter_calc([metric @ n], qrels, run):
            wanted[int(one.query_id)] = one.value
        np.testing.assert_allclose(metrics.BY_USER[kind](hit, relevant), wanted, atol=1e-12, err_msg=kind)


def test_the_two_definitions_of_recall_differ_for_users_with_much_to_find() -> None:
    top = np.array([[0, 1], [0, 1]], np.int32)
    hit, relevant = metrics.hits(top, np.array([0, 0, 0, 0, 1]), np.array([0, 1, 2, 3, 5]), 9)
    assert metrics.recall(hit, relevant).tolist() == [0.5, 0.0]
    assert metrics.recall_capped(hit, relevant).tolist() == [1.0, 0.0]


def test_relevant_items_that_no_model_can_name_count_as_missed() -> None:
    hit, relevant = metrics.hits(np.array([[3, -1]], np.int32), np.array([0, 0, 0]), np.array([3, -1, 10]), 10)
    assert hit.tolist() == [[True, False]]
    assert relevant.tolist() == [3]
    ends, _ = metrics.hits(np.array([[1], [-1]], np.int32), np.array([0, 1]), np.array([9, 4]), 10)
    assert not ends.any(), "the position before a user's first item is the last item of another"
    nothing, none = metrics.hits(np.array([[3]], np.int32), np.array([], int), np.array([], int), 10)
    assert not nothing.any()
    assert [float(f(nothing, none)[0]) for f in metrics.BY_USER.values()] == [0.0] * len(metrics.BY_USER)


def test_a_user_is_not_credited_with_another_ones_item() -> None:
    hit, _ = metrics.hits(np.array([[1], [2]], np.int32), np.array([0, 1]), np.array([2, 1]), 3)
    assert not hit.any()


def test_coverage_and_gini_by_hand() -> None:
    top = np.array([[0, 1], [0, 2], [0, -1]], np.int32)
    assert metrics.coverage(top, 6) == 0.5
    times = np.array([3, 1, 1, 0, 0, 0])
    pairwise = np.abs(times[:, None] - times[None, :]).sum() / (2 * 6 * times.sum())
    assert metrics.gini(top, 6) == pytest.approx(pairwise)
    assert metrics.gini(np.arange(6, dtype=np.int32)[:, None], 6) == pytest.approx(0.0)
    assert metrics.gini(np.full((2, 2), -1, np.int32), 6) == 0.0


def test_surprise_falls_with_popularity_and_is_finite_for_items_nobody_rated() -> None:
    bits = metrics.surprise(np.array([0, 3, 7]), 7)
    assert bits.tolist() == [3.0, 1.0, 0.0]
    values, weights = metrics.mean_over(np.array([[0, 2], [1, -1], [-1, -1]], np.int32), bits)
    assert values.tolist() == [1.5, 1.0, 0.0]
    assert weights.tolist() == [1.0, 1.0, 0.0]


def test_popularity_lift_is_relative_to_what_the_same_users_rated() -> None:
    share = np.array([0.8, 0.2])
    top = np.array([[0], [0], [1], [-1]], np.int32)
    above, below = metrics.popularity_lift(top, share, np.array([0.4, np.nan, 0.2, 0.6]))
    assert above.sum() / below.sum() == pytest.approx((0.8 - 0.4 + 0.2 - 0.2) / (0.4 + 0.2))


def test_measures_are_read_by_name() -> None:
    assert parse_metrics(" RMSE, ndcg@10,recall-capped@20,ndcg@10") == [
        Metric("rmse"),
        Metric("ndcg", 10),
        Metric("recall-capped", 20),
    ]
    assert [metric.name for metric in parse_metrics(USUAL)] == USUAL.split(",")
    assert set(INDEPENDENT) | {"recall-capped"} == set(metrics.BY_USER)
    assert set(metrics.BY_USER) < set(RANKED)
    assert all(Metric(kind).ranked is (kind in RANKED) for kind in (*RANKED, *RATED))
    assert [kind for kind in RANKED if Metric(kind, 5).finds_relevant] == list(metrics.BY_USER)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("auc@10", "`auc@10` is not one of rmse, mae, ndcg"),
        ("ndcg", "`ndcg` needs a number of recommendations, as ndcg@10"),
        ("hr@0", "`hr@0` needs a number"),
        ("map@x", "`map@x` needs a number"),
        ("rmse@10", "takes no number"),
        (" , ", "name at least one"),
    ],
)
def test_a_bad_name_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        parse_metrics(text)


def test_places_are_discounted_as_defined() -> None:
    hit, relevant = metrics.hits(np.array([[5, 7, 9]], np.int32), np.array([0, 0]), np.array([7, 9]), 10)
    ideal = 1 + 1 / math.log2(3)
    wanted = (1 / math.log2(3) + 1 / math.log2(4)) / ideal
    assert metrics.discounted_gain(hit, relevant)[0] == pytest.approx(wanted)


@pytest.mark.parametrize("number", ["9" * 5000, "²", "", "0", "1000000"])
def test_numbers_that_are_none_are_sentences(number: str) -> None:
    with pytest.raises(UserError, match="--metrics") as told:
        parse_metrics(f"ndcg@{number}")
    assert len(str(told.value)) < 200
    if number != "1000000":
        with pytest.raises(UserError, match="--candidates") as told:
            EvaluationConfig(candidates=number).n_sampled()
        assert len(str(told.value)) < 200

"""Blends: scores, words and explanations of parts put together, and weights learned from choices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest
from histories_made import random_training

from lakerank.recommend.blend.scorer import BlendScorer, leading_part, rating_source
from lakerank.recommend.blend.solver import learn
from lakerank.recommend.models.array_model import REST, largest
from lakerank.recommend.models.base import Reason
from lakerank.recommend.models.user_histories import Biases, Histories


@dataclass(frozen=True)
class Fixed:
    """A scorer with a table of scores by item, shifted by the user's number of ratings."""

    name: str
    items: pa.Array
    table: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, name: str, items: list[int], table: list[float]) -> Fixed:
        return cls(name, pa.array(items), np.array(table), np.ones(len(items), bool))

    def is_warm(self, block: Histories) -> np.ndarray:
        return block.counts > 0

    def scores(self, block: Histories) -> np.ndarray:
        return self.table[None, :] * (1.0 + block.counts[:, None])

    def ratings(self, block: Histories) -> np.ndarray:
        return np.tile(self.table, (len(block), 1))

    def item_similarity(self, positions: np.ndarray) -> np.ndarray:
        return np.tile(self.table, (len(positions), 1))

    def explain(self, block: Histories, row: int, position: int) -> list[Reason]:
        mine = block.positions[block.starts[row] : block.starts[row + 1]]
        return [Reason(self.name, int(p), float(self.table[position])) for p in mine] + [
            Reason(self.name, -1, float(self.table[position]))
        ]


def two_parts(weights: list[float]) -> BlendScorer:
    one = Fixed.of("one", [10, 20, 30], [1.0, 2.0, 6.0])
    two = Fixed.of("two", [20, 40], [5.0, 3.0])
    biases = Biases(3.0, np.array([0.5, 0.0]), 1.0, 5.0)
    return BlendScorer.make(
        {"lfm": one, "content": two}, np.tile(weights, (4, 1)), (pa.array([10, 50]), biases), ("lfm",)
    )


def users(*positions: list[int]) -> Histories:
    starts = np.concatenate([[0], np.cumsum([len(p) for p in positions])])
    flat = np.array([p for own in positions for p in own], np.int32)
    nothing = np.zeros(len(flat), np.int64)
    return Histories(pa.array(range(len(positions))), starts, flat, np.full(len(flat), 4.0, np.float32), nothing)


def test_scores_are_weighted_sums_of_standardised_parts() -> None:
    blend = two_parts([0.75, 0.25])
    assert blend.items.to_pylist() == [10, 20, 30, 40]
    z_one = (np.array([1.0, 2.0, 6.0]) - 3.0) / np.std([1.0, 2.0, 6.0])
    wanted = [0.75 * z_one[0], 0.75 * z_one[1] + 0.25, 0.75 * z_one[2], -0.25]
    np.testing.assert_allclose(blend.scores(users([], [0], [0, 1])), [wanted] * 3)


def test_a_part_whose_scores_are_equal_but_for_rounding_says_nothing() -> None:
    same = Fixed.of("same", [10, 20, 30], [0.1 + 0.2, 0.3, 0.3])  # one of them is 0.30000000000000004
    blend = BlendScorer.make({"lfm": same}, np.ones((4, 1)), (pa.array([10]), Biases(3.0, np.zeros(1), 1, 5)), ())
    np.testing.assert_allclose(blend.scores(users([])), 0.0, atol=1e-12)


def test_explanations_add_up_to_the_score_and_name_the_rated_items() -> None:
    blend, block = two_parts([0.6, 0.4]), users([], [0, 1, 3])
    for row in range(2):
        for position in range(4):
            reasons = blend.explain(block, row, position)
            assert sum(r.value for r in reasons) == pytest.approx(blend.scores(block)[row, position], abs=1e-12)
    because = {(r.source, r.because) for r in blend.explain(block, 1, 1)}
    assert because == {("one", 0), ("one", 1), ("one", -1), ("two", 1), ("two", 3), ("two", -1), ("starting point", -1)}


def test_the_smaller_summands_become_one() -> None:
    reasons = [Reason("a", n, value) for n, value in enumerate([0.5, -3.0, 1.0, 0.25])]
    shown = largest(reasons, 2)
    assert [(r.source, r.because, r.value) for r in shown] == [("a", 1, -3.0), ("a", 2, 1.0), (REST, -1, 0.75)]
    assert largest(reasons, 4) == sorted(reasons, key=lambda r: -abs(r.value))


def test_words_name_the_part_and_the_fallback() -> None:
    blend, block = two_parts([0.5, 0.5]), users([], [0])
    rows, positions = np.array([0, 1, 1]), np.array([2, 2, 1])
    assert leading_part(blend, block, rows, positions) == [
        "fallback: one, nothing known of this user",
        "blend: most by one",
        "blend: most by two",
    ]
    # Item 30 is rated by `lfm`; 40 only by biases, which know nothing of it; −1 is in no catalogue.
    positions = np.array([2, 3, -1])
    assert rating_source(blend, block, np.array([1, 1, 1]), positions) == ["one", "user bias", "user bias"]
    assert rating_source(blend, block, np.array([0, 0, 0]), np.array([0, 3, -1])) == ["item bias", "mean", "mean"]
    np.testing.assert_allclose(blend.ratings(block)[0], [1.0, 2.0, 6.0, 3.0])


def test_weights_follow_the_part_that_knows_what_comes_next() -> None:
    training = random_training(2, 200, 40)
    rng = np.random.default_rng(0)
    hidden = np.zeros((200, 40), bool)
    hidden[training.block.rows, training.block.positions] = True
    quality = rng.standard_normal(40)
    targets = np.array([max(np.flatnonzero(~hidden[u]), key=lambda i: quality[i]) for u in range(200)])
    good = Fixed("good", training.items, quality, np.ones(40, bool))
    noise = Fixed("noise", training.items, rng.standard_normal(40), np.ones(40, bool))
    wrong = replace(good, name="wrong", table=-quality)
    parts = {"noise": noise, "good": good, "wrong": wrong}
    biases = Biases.fit(training.block, 40)
    blend = BlendScorer.make(parts, np.ones((4, 3)), (training.items, biases), ())
    weights = learn(blend, training.block, targets)
    assert weights.shape == (4, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert (weights[:, 1] > 0.9).all()
    nobody = learn(blend, training.block, np.full(200, -1))
    np.testing.assert_allclose(nobody, 1 / 3)


def test_each_group_of_users_has_its_own_weights() -> None:
    blend = two_parts([1.0, 0.0])
    blend = replace(blend, weights=np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.2, 0.8]]))
    sizes = [0, 1, 5, 6, 20, 21]
    block = users(*(list(range(n)) for n in sizes))
    assert blend.weights_of(block)[:, 0].tolist() == [1.0, 0.0, 0.0, 0.5, 0.5, 0.2]

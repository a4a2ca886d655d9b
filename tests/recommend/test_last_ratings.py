"""Settings of models that rank, chosen by what users rated last: what is held out, how it is scored, what is found."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lakerank.recommend.ease.model import LinearConfig
from lakerank.recommend.ease.model import decided as linear_decided
from lakerank.recommend.ease.solver import Ease, choose
from lakerank.recommend.models.last_ratings import LastRatings, keep_largest
from lakerank.recommend.models.training_matrix import TrainingMatrix
from lakerank.recommend.neighbors.model import NeighborsConfig
from lakerank.recommend.neighbors.model import decided as neighbors_decided
from lakerank.recommend.neighbors.solver import Similarity, all_similarities


def training(users: int, items: int, share: float, seed: int = 0, timed: bool = True) -> TrainingMatrix:
    """Two camps of users that rate the items of their camp; times in the order of the items' numbers."""
    rng = np.random.default_rng(seed)
    camp_u, camp_i = rng.integers(0, 2, users), rng.integers(0, 2, items)
    rated = rng.random((users, items)) < np.where(camp_u[:, None] == camp_i[None, :], 2 * share, share / 4)
    u, i = np.nonzero(rated)
    seconds = 1_000_000 + i if timed else np.zeros(len(u), np.int64)
    columns = (pa.chunked_array([pa.array(column.astype(np.int64))]) for column in (u, i))
    return TrainingMatrix.of(*columns, rng.integers(1, 6, len(u)).astype(np.float32), seconds.astype(np.int64))


def test_the_newest_rating_of_each_user_asked_is_held_out() -> None:
    matrix = training(200, 40, 0.2)
    last = LastRatings.of(matrix)
    assert last is not None
    whole = matrix.block
    newest = {int(row): int(whole.positions[whole.rows == row].max()) for row in np.unique(whole.rows)}
    own = {user.as_py(): newest[n] for n, user in enumerate(whole.users)}
    several = {user.as_py() for n, user in enumerate(whole.users) if whole.counts[n] > 1}
    assert {user.as_py() for user in last.asked.users} == several
    assert [own[user.as_py()] for user in last.asked.users] == last.targets.tolist()
    assert len(last.block.positions) == len(whole.positions) - len(last.targets)
    pairs = set(zip(last.asked.rows.tolist(), last.asked.positions.tolist(), strict=True))
    assert not pairs & set(enumerate(last.targets.tolist()))


def test_without_times_any_rating_is_held_out_and_few_users_are_not_asked() -> None:
    last = LastRatings.of(training(200, 40, 0.2, timed=False))
    assert last is not None
    largest = [last.asked.positions[last.asked.rows == row].max() for row in range(len(last.asked))]
    assert np.mean(last.targets > largest) < 0.4
    assert LastRatings.of(training(30, 40, 0.2)) is None


def test_a_score_is_the_discount_of_the_rank_among_what_is_not_rated() -> None:
    last = LastRatings.of(training(200, 40, 0.2))
    assert last is not None
    scores = np.random.default_rng(1).random((len(last.asked), last.n_items))
    wanted = []
    for row, target in enumerate(last.targets):
        rated = set(last.asked.positions[last.asked.rows == row].tolist())
        rank = 1 + sum(scores[row, item] > scores[row, target] for item in range(last.n_items) if item not in rated)
        wanted.append(1 / np.log2(1 + rank))
    assert last.score(scores) == pytest.approx(np.mean(wanted))
    perfect = np.zeros_like(scores)
    perfect[np.arange(len(last.asked)), last.targets] = 1
    assert last.score(perfect) == 1.0


@pytest.mark.parametrize(("users", "items"), [(300, 60), (70, 120)])  # more users than items, and the other way round
def test_one_decomposition_gives_the_scores_of_every_lambda(users: int, items: int) -> None:
    last = LastRatings.of(training(users, items, 0.15))
    assert last is not None
    regs = (5.0, 50.0, 500.0)
    found = choose(last, 10_000, regs, (300, 1000), (0.0,))
    by_inverse = {}
    for reg in regs:
        weights = Ease.solve(last.ones().tocsr(), reg, 10_000).columns(0, last.n_items)
        by_inverse[reg] = last.score(last.taste(0.0) @ np.asarray(weights))
    assert found.scores == pytest.approx(by_inverse, abs=2e-3)
    assert found.reg == max(found.scores, key=lambda reg: found.scores[reg])


def test_few_weights_are_kept_where_they_are_as_good() -> None:
    last = LastRatings.of(training(300, 60, 0.15))
    assert last is not None
    assert choose(last, 60, (50.0,), (50, 55), (0.0,)).top in (50, 55, 60)
    assert choose(last, 60, (50.0,), (7,), (0.0,)).top == 7  # given
    weights = np.array([[0.0, 3.0], [-5.0, 1.0], [2.0, -2.0]])
    np.testing.assert_array_equal(keep_largest(weights, 1), [[0, 3], [-5, 0], [0, 0]])


def test_all_similarities_are_what_the_definition_says() -> None:
    rng = np.random.default_rng(2)
    from scipy import sparse

    x = sparse.random_array((12, 30), density=0.4, rng=rng, format="csr")
    x.data[:] = 1.0
    dense = x.toarray()
    common = dense @ dense.T
    either = dense.sum(axis=1)[:, None] + dense.sum(axis=1)[None, :] - common
    for how, plain in (
        (Similarity(measure="jaccard", shrink=5.0, min_support=1), common / either),
        (Similarity(shrink=5.0, min_support=1), common / np.sqrt(np.outer(common.diagonal(), common.diagonal()))),
    ):
        wanted = plain * common / (common + 5.0)
        np.fill_diagonal(wanted, 0.0)
        np.testing.assert_allclose(all_similarities(sparse.csr_matrix(x), how), wanted, atol=1e-12)
    rare = all_similarities(sparse.csr_matrix(x), Similarity(min_support=4))
    assert not rare[common < 4].any()


def test_what_is_given_is_not_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    matrix = training(300, 60, 0.15)
    linear = linear_decided(LinearConfig(recency=0.3), matrix)
    assert (linear.recency, linear.auto) == (0.3, "none")
    assert linear.top == 60  # all there are
    assert f"linear: chose --reg {linear.reg:g}" in capsys.readouterr().out
    near = neighbors_decided(NeighborsConfig(measure="jaccard"), matrix)
    assert (near.measure, near.weighting, near.auto) == ("jaccard", "none", "none")
    given = NeighborsConfig(measure="pearson", shrink=3.0, recency=0.0)
    assert neighbors_decided(given, matrix) == given
    assert LinearConfig(reg=1.0, top=2, recency=0.0).auto == "none"
    few = linear_decided(LinearConfig(), training(30, 40, 0.2))
    assert (few.reg, few.top, few.recency) == (200.0, 300, 0.8)
    assert LinearConfig(**vars(linear)) == linear  # as it is saved and loaded

"""Content without Spark: features, what is learned of them, and the two scorers on synthetic data."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from lakerank.recommend.content.features import Features, from_named, make_features, words
from lakerank.recommend.content.model import ContentConfig, learn, make_scorer
from lakerank.recommend.content.scorer import LearnedContent, ProfileCosine
from lakerank.recommend.content.solver import Ratings, Taste, _squared, directions, shared_factors, shared_quality
from lakerank.recommend.models.user_histories import Biases, Histories
from lakerank.spark.array_store import BlockStore

GENRES = ["Comedy", "Horror", "War"]


@pytest.fixture(scope="module")
def films() -> pa.Table:
    """60 films, one genre each in turn, ids from 100, given in no order."""
    order = np.random.default_rng(0).permutation(60)
    return pa.table(
        {
            "item_id": order + 100,
            "title": [f"The film {n % 7}" for n in order],
            "year": pa.array([None if n == 5 else 1950 + int(n) for n in order], pa.int32()),
            "genres": [[GENRES[n % 3]] if n != 5 else [] for n in order],
        }
    )


@pytest.fixture(scope="module")
def features(films: pa.Table) -> Features:
    tags = pa.table({"item_id": [100, 101, 100, 999], "tag": ["Dark  Élan", "dark", "dark", "unknown item"]})
    return make_features(films, tags, pa.array([100, 7000]))


@pytest.fixture(scope="module")
def history() -> tuple[Histories, np.ndarray]:
    """80 users with a taste for one genre (+1.2 stars) and against another; comedies are better by 0.5 for all. They
    choose mostly what they like. Nobody has rated films 40 to 59 (ids 140 to 159)."""
    rng = np.random.default_rng(1)
    rows = []
    liked = rng.integers(0, 3, 80)
    for u in range(80):
        for n in rng.permutation(40)[:25]:
            fits = n % 3 == liked[u]
            if fits or rng.random() < 0.3:
                rating = 3 + 1.2 * fits - 0.8 * (n % 3 == (liked[u] + 1) % 3) + 0.5 * (n % 3 == 0)
                rows.append((u, n + 100, rating + rng.normal(0, 0.2)))
    users, items, ratings = zip(*rows, strict=True)
    seconds = rng.integers(1, 1_000_000, len(users))
    table = pa.table({"user_id": users, "item_id": items, "rating": np.array(ratings, np.float32), "seconds": seconds})
    return Histories.of(pa.array(np.arange(81)), pa.array(np.arange(100, 160)), table), liked


def test_words_are_folded() -> None:
    assert words("L'Été, WALL·E (2)") == ["l", "ete", "wall", "e", "2"]


def test_features_by_hand(features: Features) -> None:
    assert features.items.to_pylist() == [*range(100, 160), 7000]
    rows = dict(zip(features.items.to_pylist(), zip(*features.named(), strict=True), strict=True))
    names, values = rows[100]
    assert dict(zip(names, values, strict=True))["genre:Comedy"] == 1.0
    found = dict(zip(*rows[101], strict=True))
    assert (found["year:1950"], found["year:1960"]) == (pytest.approx(0.9), pytest.approx(0.1))
    assert found["tag:dark"] == pytest.approx(0.3 * np.log1p(61 / 2))
    assert dict(zip(names, values, strict=True))["tag:dark"] == pytest.approx((1 + np.log(2)) * found["tag:dark"])
    assert found["tagged"] == 1.0
    assert "tag:elan" not in features.names, "one item alone has it"
    assert "word:film" in features.names
    assert rows[7000] == ([], []), "rated, but not in the catalogue"
    assert all(not name.startswith(("genre:", "year:")) for name in rows[105][0])
    assert features.names[: features.dense] == ("constant", *(f"genre:{g}" for g in GENRES), *(
        f"year:{y}" for y in range(1950, 2011, 10)
    ))  # fmt: skip


def test_features_survive_a_table(features: Features) -> None:
    names, values = features.named()
    order = np.random.default_rng(0).permutation(len(features.items))
    again = from_named(
        features.items.take(pa.array(order)), features.names, [names[k] for k in order], [values[k] for k in order]
    )
    assert again.items.equals(features.items)
    assert (again.x_IF != features.x_IF).nnz == 0


def test_profiles_have_length_one_and_leave_out_what_all_have(features: Features) -> None:
    profiles = features.profiles()
    lengths = np.sqrt(np.asarray(profiles.multiply(profiles).sum(axis=1)).ravel())
    np.testing.assert_allclose(lengths[:-1], 1.0)
    assert lengths[-1] == 0.0
    left_out = [features.names.index(name) for name in ("constant", "tagged")]
    assert profiles[:, left_out].nnz == 0


def test_weights_are_the_posterior_mean() -> None:
    rng = np.random.default_rng(2)
    z = sparse.random(15, 4, 0.6, "csr", random_state=3)
    pairs = _squared(z).toarray().reshape(15, 4, 4)
    np.testing.assert_allclose(pairs, z.toarray()[:, :, None] * z.toarray()[:, None, :])
    positions, y = rng.integers(0, 15, 20).astype(np.int32), rng.normal(size=20)
    a = rng.normal(size=(4, 4))
    taste = Taste(a @ a.T + np.eye(4), 0.3)
    weights = taste.of(Ratings(np.array([0, 8, 8, 20]), positions, y), z)
    for u, part in ((0, slice(0, 8)), (2, slice(8, 20))):
        zu = z.toarray()[positions[part]]
        wanted = np.linalg.solve(taste.precision + zu.T @ zu / 0.3, zu.T @ y[part] / 0.3)
        np.testing.assert_allclose(weights[u], wanted, atol=1e-10)
    assert not weights[1].any()


def test_the_prior_is_found_again() -> None:
    rng = np.random.default_rng(4)
    z = sparse.csr_matrix(np.column_stack([np.ones(40), rng.random((40, 2)) < 0.5]).astype(float))
    spread = np.array([[0.4, 0.1, 0.0], [0.1, 0.3, -0.2], [0.0, -0.2, 0.5]])
    w = rng.multivariate_normal(np.zeros(3), spread, 600)
    positions = np.concatenate([rng.permutation(40)[:30] for _ in range(600)]).astype(np.int32)
    rows = np.repeat(np.arange(600), 30)
    y = np.asarray(z[positions].multiply(w[rows]).sum(axis=1)).ravel()
    taste = Taste.learn(Ratings(np.arange(601) * 30, positions, y + rng.normal(0, 0.7, len(y))), z)
    np.testing.assert_allclose(np.linalg.inv(taste.precision), spread, atol=0.08)
    assert taste.noise == pytest.approx(0.49, rel=0.05)


def test_quality_reaches_items_that_nobody_rated(films: pa.Table, history: tuple[Histories, np.ndarray]) -> None:
    block, _ = history
    ratings = Ratings(block.starts, block.positions, block.ratings.astype(float))
    mean, quality = shared_quality(ratings, make_features(films).x_IF, 1.0)
    assert np.mean(ratings.values - quality[block.positions]) == pytest.approx(mean)
    cold = np.arange(40, 60)
    assert quality[cold[cold % 3 == 0]].min() > quality[cold[cold % 3 != 0]].max()


def test_directions_span_the_best_subspace() -> None:
    x = sparse.random(30, 20, 0.3, "csr", random_state=5)
    _, s, vt = np.linalg.svd(x.toarray())
    found = directions(x, 4)
    np.testing.assert_allclose(found @ found.T, vt[:4].T @ vt[:4], atol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(x @ found, axis=0), s[:4])
    assert (found[np.abs(found).argmax(axis=0), np.arange(4)] > 0).all()
    assert directions(x[:1], 64).shape == (20, 1)


def test_factors_by_features_are_a_ridge_regression() -> None:
    rng = np.random.default_rng(6)
    x, v, rated = rng.random((12, 3)), rng.normal(size=(12, 2)), np.arange(12) < 9
    found = shared_factors(sparse.csr_matrix(x), v, rated, 0.1)
    weights = np.linalg.solve(x[:9].T @ x[:9] + 0.9 * np.eye(3), x[:9].T @ v[:9])
    np.testing.assert_allclose(found, x @ weights)


@pytest.fixture(scope="module", params=["model", "heuristic"])
def scorer(
    request: pytest.FixtureRequest,
    films: pa.Table,
    history: tuple[Histories, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> LearnedContent | ProfileCosine:
    store = BlockStore.open(str(tmp_path_factory.mktemp("store")), "--scratch")
    block, features = history[0], make_features(films)
    config = ContentConfig(method=request.param, factors=4, reg_quality=5.0)
    learned = learn(block, features, config) if request.param == "model" else {}
    return make_scorer(block, features, learned, Biases.fit(block, 60), store, config)


def test_items_nobody_rated_are_ranked_by_taste(
    scorer: LearnedContent | ProfileCosine, history: tuple[Histories, np.ndarray]
) -> None:
    block, liked = history
    scores = scorer.scores(block)[:80]
    cold = np.arange(40, 60)
    best = cold[scores[:, cold].argsort(axis=1)[:, ::-1][:, :5]]
    assert np.mean(best % 3 == liked[:, None]) > 0.95
    rated = scorer.ratings(block)[:80]
    truth = (
        3 + 1.2 * (cold % 3 == liked[:, None]) - 0.8 * (cold % 3 == (liked[:, None] + 1) % 3) + 0.5 * (cold % 3 == 0)
    )
    means = np.array([block.ratings[block.rows == u].mean() for u in range(80)])
    rmse, of_means = (np.sqrt(np.mean((x - truth) ** 2)) for x in (rated[:, cold], means[:, None]))
    assert rmse < (0.5 if isinstance(scorer, LearnedContent) else 0.95) * of_means


def test_a_user_alone_is_served_as_in_a_block(
    scorer: LearnedContent | ProfileCosine, history: tuple[Histories, np.ndarray]
) -> None:
    block = history[0]
    for u in (0, 33, 80):
        one = block.part(u, u + 1)
        assert np.array_equal(scorer.scores(one)[0], scorer.scores(block)[u])
        assert np.array_equal(scorer.ratings(one)[0], scorer.ratings(block)[u])
    assert scorer.is_warm(block).tolist() == [True] * 80 + [False]
    assert np.isfinite(scorer.scores(block)).all()
    assert np.isfinite(scorer.ratings(block)).all()
    assert scorer.scores(block)[80].any()


def test_reasons_add_up(scorer: LearnedContent | ProfileCosine, history: tuple[Histories, np.ndarray]) -> None:
    block = history[0]
    scores = scorer.scores(block)
    for u, position in ((0, 45), (7, 3), (80, 50)):
        reasons = scorer.explain(block, u, position)
        assert sum(reason.value for reason in reasons) == pytest.approx(scores[u, position], abs=1e-12)
        assert {r.because for r in reasons} <= {-1, *block.part(u, u + 1).positions.tolist()}
    named = max(scorer.explain(block, 0, 45), key=lambda reason: reason.value)
    assert named.because % 3 == 45 % 3


def test_likeness_is_of_profiles(scorer: LearnedContent | ProfileCosine) -> None:
    like = scorer.item_similarity(np.array([0, 5]))
    assert like[0, 0] == -np.inf
    assert (like[0][np.isfinite(like[0])] <= 1 + 1e-12).all()
    assert like[0].argmax() % 3 == 0
    assert like[0, 3] > like[0, 57], "the nearer decade"


def test_a_profile_says_what_a_user_likes(
    scorer: LearnedContent | ProfileCosine, history: tuple[Histories, np.ndarray]
) -> None:
    block, liked = history
    for k, (user, weights, names) in enumerate(scorer.tastes(block.part(0, 20))):
        genres = {name: w for name, w in zip(names, weights, strict=True) if name.startswith("genre:")}
        assert user.as_py() == k
        assert max(genres, key=lambda name: genres[name]) == f"genre:{GENRES[liked[k]]}"

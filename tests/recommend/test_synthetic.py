"""Generated ratings: exact counts, everybody occurs, skew, and a truth that the ratings bear out."""

from __future__ import annotations

import numpy as np
import pytest

from lakerank.recommend.data.synthetic import GeneratedRatings, generate_ratings


@pytest.fixture(scope="module")
def exact() -> GeneratedRatings:
    return generate_ratings(2000, 1000, 40_000, rank=20, noise=0.71, seed=4, taste=0.7, exact=True)


def test_exact_gives_the_wanted_number_of_distinct_pairs(exact: GeneratedRatings) -> None:
    pairs = exact.users.astype(np.int64) * 1000 + exact.items
    assert len(pairs) == len(exact.ratings) == len(exact.seconds) == 40_000
    assert len(np.unique(pairs)) == 40_000


def test_exact_reaches_every_user_and_item(exact: GeneratedRatings) -> None:
    assert set(exact.users) == set(range(2000))
    assert set(exact.items) == set(range(1000))


def test_exact_reaches_all_even_with_as_few_ratings_as_allowed() -> None:
    made = generate_ratings(90, 60, 150, seed=1, exact=True)
    assert (len(made.users), len(set(made.users)), len(set(made.items))) == (150, 90, 60)


@pytest.mark.parametrize("n_ratings", [149, 90 * 60 // 4 + 1])
def test_exact_refuses_what_it_cannot_give(n_ratings: int) -> None:
    with pytest.raises(ValueError, match="at least users \\+ items and at most a quarter"):
        generate_ratings(90, 60, n_ratings, exact=True)


def test_ratings_are_half_stars_and_times_are_in_order(exact: GeneratedRatings) -> None:
    assert set(exact.ratings) == set(np.arange(0.5, 5.5, 0.5, dtype=np.float32))
    assert (np.diff(exact.seconds) >= 0).all()


def test_pairs_come_in_random_order(exact: GeneratedRatings) -> None:
    """The first ratings in time are not those that make each user and item occur."""
    early, late = exact.users[:20_000], exact.users[20_000:]
    assert abs(early.mean() - late.mean()) < 20
    counts = [np.sort(np.bincount(half, minlength=2000))[-200:].sum() for half in (early, late)]
    assert counts[0] == pytest.approx(counts[1], rel=0.05)


def test_few_items_and_users_have_most_of_the_ratings(exact: GeneratedRatings) -> None:
    for who, n in ((exact.users, 2000), (exact.items, 1000)):
        counts = np.sort(np.bincount(who, minlength=n))[::-1]
        assert counts[: n // 10].sum() > 0.3 * len(who)
        assert counts.mean() > 1.3 * np.median(counts)


def test_the_oracle_is_what_noise_and_rounding_leave(exact: GeneratedRatings) -> None:
    """Rounding to halves adds a variance of 1/48, the ends of the scale take some away."""
    assert 0.65 < exact.oracle_rmse < np.sqrt(0.71**2 + 1 / 48)


def test_more_noise_raises_the_oracle_and_more_taste_the_spread() -> None:
    def made(noise: float, taste: float) -> GeneratedRatings:
        return generate_ratings(300, 200, 8000, noise=noise, taste=taste, seed=2, exact=True)

    assert made(0.3, 0.7).oracle_rmse < made(0.6, 0.7).oracle_rmse - 0.2
    assert made(0.3, 0.3).ratings.std() < made(0.3, 0.9).ratings.std() - 0.2
    products = [m.user_factors[m.users] * m.item_factors[m.items] for m in (made(0.3, 0.3), made(0.3, 0.9))]
    assert [p.sum(axis=1).std() for p in products] == pytest.approx([0.3, 0.9], rel=0.15)


def test_the_seed_alone_decides(exact: GeneratedRatings) -> None:
    again = generate_ratings(2000, 1000, 40_000, rank=20, noise=0.71, seed=4, taste=0.7, exact=True)
    other = generate_ratings(2000, 1000, 40_000, rank=20, noise=0.71, seed=5, taste=0.7, exact=True)
    for name in ("users", "items", "ratings", "seconds"):
        np.testing.assert_array_equal(getattr(exact, name), getattr(again, name))
        assert (getattr(exact, name) != getattr(other, name)).any()


def test_the_demos_ratings_stay_as_they_were() -> None:
    """The guides quote figures of examples/make_ratings.py's 36,949 ratings."""
    made = generate_ratings(600, 400, 40_000, rank=8, seed=7)
    assert len(made.ratings) == 36_949
    assert float(made.ratings.sum()) == 127_253.0
    assert made.seconds[:3].tolist() == [1400005170, 1400006456, 1400014365]
    assert made.oracle_rmse == pytest.approx(0.4958725256265502)

"""The models beyond plain factorisation: implicit feedback, time effects, Gibbs sampling; without Spark."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from recommend.resident import blocks_of, trained

from lakerank.cli.errors import UserError
from lakerank.recommend.data.synthetic import generate_ratings
from lakerank.recommend.latent_factors import gibbs, implicit_feedback
from lakerank.recommend.latent_factors.auto_settings import hold_out
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.gibbs import gamma_precision, normal_wishart
from lakerank.recommend.latent_factors.implicit_feedback import centre_rows, regress
from lakerank.recommend.latent_factors.predictions import error_of, fit_effects, predictions
from lakerank.recommend.latent_factors.run_state import (
    NO_DAY,
    RatingBlocks,
    Run,
    degrees,
    gather,
    held_out_groups,
    make_layout,
    make_layouts,
)
from lakerank.recommend.latent_factors.train import model_state
from lakerank.spark.array_store import BlockStore, added_up, in_process


def split(seed: int = 0, *columns: np.ndarray, held: float = 0.15) -> dict[str, tuple]:
    chosen = np.random.default_rng(seed).random(len(columns[0])) < held
    return {"train": tuple(c[~chosen] for c in columns), "test": tuple(c[chosen] for c in columns)}


def synthetic(n: int = 9000) -> dict[str, tuple]:
    made = generate_ratings(150, 100, n, rank=3, noise=0.4, seed=2)
    return split(0, made.users, made.items, made.ratings)


def taste_seen_in_choices() -> dict[str, tuple]:
    """Two camps; whom a user belongs to shows in what they rate, and few ratings say it otherwise."""
    rng = np.random.default_rng(3)
    camp_u, camp_i = rng.integers(0, 2, 300), rng.integers(0, 2, 120)
    u, i = (pairs.ravel() for pairs in np.meshgrid(np.arange(300), np.arange(120), indexing="ij"))
    keep = rng.random(len(u)) < np.where(camp_u[u] == camp_i[i], 0.13, 0.02)
    u, i = u[keep], i[keep]
    r = 3 + np.where(camp_u[u] == 1, 1.0, -1.0) * np.where(i % 2 == 0, 1, -1) + rng.normal(0, 0.9, len(u))
    return split(1, u, i, r.astype(np.float32), held=0.3)


def moods() -> dict[str, tuple]:
    """Ratings that depend on the user's mood of the day and on when the item was in fashion."""
    rng = np.random.default_rng(4)
    u, i = np.divmod(rng.permutation(120 * 80)[:6000], 80)
    day = (rng.integers(0, 6, len(u)) * 40 + u % 3).astype(np.int32)
    mood, fashion = rng.normal(0, 0.8, (120, 300)), rng.normal(0, 0.5, (80, 6))
    r = 3 + mood[u, day] + fashion[i, day // 40] + rng.normal(0, 0.2, len(u))
    return split(2, u, i, r.astype(np.float32), day)


def rmse(folder: Path, parts: dict[str, tuple], blocks: int = 1, **settings: object) -> float:
    data = blocks_of(folder / "data", parts, blocks, bins=6)
    run, _, kept = trained(folder / f"run-{len(list(folder.iterdir()))}", data, LfmConfig(**settings))
    total, n = (
        added_up(error_of([(run, model_state(run, e)) for e in kept], ("test",))(0))["test"]
        if blocks == 1
        else (in_process(blocks, error_of([(run, model_state(run, e)) for e in kept], ("test",)))["test"])
    )
    return float(np.sqrt(total / n))


def test_implicit_feedback_helps_where_choices_tell_taste(tmp_path: Path) -> None:
    parts = taste_seen_in_choices()
    plain = rmse(tmp_path, parts, factors=4, epochs=30, reg=0.4, lr=0.1)
    implied = rmse(tmp_path, parts, factors=4, epochs=30, reg=0.4, lr=0.1, model="svdpp", reg_implicit=1.0)
    assert implied < 0.98 * plain


@pytest.mark.slow
def test_time_effects_help_where_moods_change(tmp_path: Path) -> None:
    parts = moods()
    without = rmse(tmp_path, parts, factors=4, epochs=15, model="svdpp")
    timed = rmse(tmp_path, parts, factors=4, epochs=15, model="timesvdpp", reg_time=1.0)
    bayesian = rmse(tmp_path, parts, factors=4, epochs=40, burn_in=10, model="bayesian")
    assert timed < 0.75 * without
    assert bayesian < timed


@pytest.mark.parametrize("blocks", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_sampling_beats_descent_without_tuning(tmp_path: Path, blocks: int) -> None:
    parts = synthetic()
    descended = rmse(tmp_path, parts, blocks, factors=6, epochs=20, lr=0.1, reg=0.05)
    bayesian = rmse(tmp_path, parts, blocks, factors=6, epochs=100, burn_in=40, average=60, model="bayesian")
    assert bayesian < descended
    # Noise of 0.4 stars and rounding to halves (0.144) is what nobody can predict.
    assert np.hypot(0.4, 0.144) < bayesian < 0.53


@pytest.mark.parametrize("model", ["svdpp", "timesvdpp", "bayesian"])
@pytest.mark.parametrize("blocks", [1, 2])
def test_stopped_and_continued_equals_uninterrupted(tmp_path: Path, model: str, blocks: int) -> None:
    data = blocks_of(tmp_path / "data", moods(), blocks)
    config = LfmConfig(model=model, factors=3, epochs=6, burn_in=2, average=2)
    whole, curve, kept = trained(tmp_path / "whole", data, config)
    half = dataclasses.replace(config, epochs=3)
    trained(tmp_path / "halves", data, half)
    halves, again, same = trained(tmp_path / "halves", data, config)
    assert [e.train_rmse for e in again] == [e.train_rmse for e in curve]
    assert [e.test_rmse for e in again] == [e.test_rmse for e in curve]
    assert same == kept
    for key in ("user-0", "item-0"):
        for name, values in whole.store.get(f"epoch-{kept[-1]}/{key}").items():
            np.testing.assert_array_equal(halves.store.get(f"epoch-{kept[-1]}/{key}")[name], values)


def sampled(folder: Path, data: RatingBlocks, config: LfmConfig) -> tuple[Run, list[dict[str, tuple[float, int]]]]:
    """A chain of which every state is kept, and what each sweep said."""
    run, runner = Run(config, data, BlockStore.open(str(folder), "").root), partial(in_process, data.blocks)
    runner(partial(make_layouts, data))
    gibbs.start(run, runner)
    return run, [gibbs.epoch(run, runner, number) for number in range(1, config.epochs + 1)]


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_model_is_the_mean_of_all_samples_the_later_ones_counting_more(tmp_path: Path, blocks: int) -> None:
    data = blocks_of(tmp_path / "data", moods(), blocks)
    config = LfmConfig(model="bayesian", factors=3, epochs=12, burn_in=6, average=6)
    run, sums = sampled(tmp_path / "run", data, config)
    total, n, weights = 0.0, 0, np.arange(1, 7) / 21
    for p in range(blocks):
        for q in range(blocks):
            test = data.get("test", p, q)
            assert test is not None
            guesses = [predictions(run, f"epoch-{epoch}", "test", p, q) for epoch in range(7, 13)]
            mean = weights @ np.array(guesses)
            np.testing.assert_allclose(predictions(run, "epoch-12/mean", "test", p, q), mean, atol=1e-4)
            errors = np.clip(mean, data.low, data.high) - test["ratings"]
            total, n = total + float(errors @ errors), n + len(errors)
    assert sums[-1]["test"] == (pytest.approx(total, rel=1e-4), n)  # the one error that is told is the model's
    widths = {run.store.get(f"epoch-12/mean/{side}-0")["factors"].shape[1] for side in ("user", "item")}
    assert widths == {18}


def test_few_factors_keep_most_of_the_mean_of_many_samples(tmp_path: Path) -> None:
    data = blocks_of(tmp_path / "data", synthetic(3000))
    config = LfmConfig(model="bayesian", factors=4, epochs=40, burn_in=10, average=3, implicit="none", time=False)
    run, sums = sampled(tmp_path / "run", data, config)
    mean = np.arange(1, 31) @ np.array([predictions(run, f"epoch-{e}", "test", 0, 0) for e in range(11, 41)]) / 465
    kept = predictions(run, "epoch-40/mean", "test", 0, 0)
    assert run.store.get("epoch-40/mean/user-0")["factors"].shape[1] == 12
    test = data.get("test", 0, 0)
    assert test is not None
    exact, told = (float(np.sqrt(np.mean((guess - test["ratings"]) ** 2))) for guess in (mean, kept))
    assert told == pytest.approx(exact, rel=0.01)
    assert np.sqrt(np.mean((mean - kept) ** 2)) < 0.2 * exact
    assert sums[-1]["test"][1] == len(kept)


def test_compressed_factors_are_the_best_of_their_rank() -> None:
    rng = np.random.default_rng(7)
    p, q = rng.normal(size=(50, 8)) @ rng.normal(size=(8, 8)), rng.normal(size=(40, 8))
    p[:, 3] = 2 * p[:, 2]  # directions that are none
    turns = gibbs.compression(p.T @ p, q.T @ q, 4)
    assert turns is not None
    left, middle, right = np.linalg.svd(p @ q.T)
    wanted = (left[:, :4] * middle[:4]) @ right[:4]
    np.testing.assert_allclose((p @ turns["user"]) @ (q @ turns["item"]).T, wanted, atol=1e-6)
    assert gibbs.compression(p.T @ p, q.T @ q, 8) is None


def test_a_chain_goes_on_with_other_ratings_from_where_another_was(tmp_path: Path) -> None:
    data = blocks_of(tmp_path / "data", moods())
    config = LfmConfig(model="bayesian", factors=3, epochs=4, burn_in=2)
    first, _ = sampled(tmp_path / "first", data, config)
    held = hold_out(data, BlockStore.open(str(tmp_path / "held"), ""), 0.2, 0, partial(in_process, 1))
    runner = partial(in_process, 1)
    runner(partial(make_layouts, held))
    second = Run(config, held, BlockStore.open(str(tmp_path / "second"), "").root)
    gibbs.go_on(second, first.store, "epoch-4", runner)
    for key in ("user-0", "item-0", "hyper", "ridge"):
        for name, values in first.store.get(f"epoch-4/{key}").items():
            np.testing.assert_array_equal(second.store.get(f"epoch-0/{key}")[name], values)
    sums = [gibbs.epoch(second, runner, number) for number in (1, 2, 3)]
    assert np.isfinite(sums[-1]["train"][0])


def test_drawn_rows_have_the_posterior_mean_and_covariance() -> None:
    rng = np.random.default_rng(0)
    v = rng.normal(size=(40, 3)).astype(np.float32)
    others = rng.permutation(40)[:25].astype(np.int32)
    targets = rng.normal(size=25).astype(np.float32)
    prior, alpha, weight = np.diag([2.0, 1.0, 0.5]) + 0.2, 1.7, 1.3
    centre = rng.normal(size=(1, 3)).astype(np.float32)
    w = v[others].astype(float)
    a = weight * prior + alpha * w.T @ w
    mean = np.linalg.solve(a, weight * prior @ centre[0] + alpha * w.T @ targets)
    n = 4000
    indptr = np.arange(n + 1) * 25
    out, left = np.empty((n, 3), np.float32), np.empty(25 * n, np.float32)
    gibbs.draw_rows(
        indptr, np.tile(others, n), np.tile(targets, n), v, np.repeat(centre, n, 0), prior, np.full(n, weight), alpha,
        rng.standard_normal((n, 3)), out, left,
    )  # fmt: skip
    np.testing.assert_allclose(out.mean(axis=0), mean, atol=4 * np.sqrt(np.diag(np.linalg.inv(a)).max() / n))
    np.testing.assert_allclose(np.cov(out.T), np.linalg.inv(a), atol=0.05 * np.linalg.inv(a).max())
    np.testing.assert_allclose(left[:25], targets - w @ out[0], atol=1e-5)


def test_rows_with_many_ratings_are_summed_in_chunks() -> None:
    rng = np.random.default_rng(1)
    n = 2 * gibbs.CHUNK + 77
    v = rng.normal(size=(500, 4)).astype(np.float32)
    others, targets = rng.integers(0, 500, n).astype(np.int32), rng.normal(size=n).astype(np.float32)
    out, left, zeros = np.empty((1, 4), np.float32), np.empty(n, np.float32), np.zeros((1, 4))
    gibbs.draw_rows(
        np.array([0, n]), others, targets, v, zeros.astype(np.float32), np.eye(4), np.ones(1), 1.0, zeros, out, left
    )
    w = v[others].astype(float)
    np.testing.assert_allclose(out[0], np.linalg.solve(np.eye(4) + w.T @ w, w.T @ targets), atol=1e-4)


def test_regression_converges_to_ridge() -> None:
    rng = np.random.default_rng(2)
    rated = rng.random((30, 12)) < 0.3  # 30 others, 12 rows
    weight = rng.random(30).astype(np.float32)
    target = rng.normal(size=(30, 2)).astype(np.float32)
    others = np.concatenate([np.flatnonzero(rated[:, r]) for r in range(12)]).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(rated.sum(axis=0))])
    left, coef = target.copy(), np.zeros((12, 2), np.float32)
    for _ in range(300):
        total = implicit_feedback.regress_rows(indptr, others, weight, left, coef, 0.5, np.zeros((12, 2), np.float32))
    x = rated * weight[:, None]
    wanted = np.linalg.solve(x.T @ x + 0.5 * np.eye(12), x.T @ target)
    np.testing.assert_allclose(coef, wanted, atol=1e-4)
    np.testing.assert_allclose(left, target - x @ wanted, atol=1e-4)
    assert total == pytest.approx(float((coef.astype(float) ** 2).sum()))


def test_hyperparameters_concentrate_on_what_the_rows_show() -> None:
    rng = np.random.default_rng(3)
    truth = np.array([[2.0, 0.6], [0.6, 1.0]])
    rows = rng.multivariate_normal([1.0, -2.0], truth, 20_000)
    mean, precision = normal_wishart(len(rows), rows.sum(axis=0), rows.T @ rows, np.full(2, 0.05), rng)
    np.testing.assert_allclose(mean, [1, -2], atol=0.06)
    np.testing.assert_allclose(np.linalg.inv(precision), truth, atol=0.1)
    assert gamma_precision(4.0 * 50_000, 50_000, rng) == pytest.approx(0.25, rel=0.05)


def test_without_rows_hyperparameters_come_from_the_prior() -> None:
    rng = np.random.default_rng(4)
    nothing = np.zeros(2), np.zeros((2, 2)), np.array([0.5, 2.0])
    drawn = np.mean([normal_wishart(0, *nothing, rng)[1] for _ in range(4000)], axis=0)
    np.testing.assert_allclose(drawn, np.diag([2 / 0.5, 2 / 2.0]), atol=0.25)  # Wishart with 2 degrees of freedom


@pytest.mark.parametrize("blocks", [1, 2])
def test_centres_become_the_ridge_regression_on_who_rated_what(tmp_path: Path, blocks: int) -> None:
    data = blocks_of(tmp_path / "data", synthetic(1500), blocks)
    run = Run(LfmConfig(model="svdpp", factors=2), data, BlockStore.open(str(tmp_path / "run"), "").root)
    rows = np.random.default_rng(5).normal(size=(data.n_users, 3)).astype(np.float32)
    for p in range(blocks):
        make_layout(data, "user", p)
        make_layout(data, "item", p)
    for n in range(150):
        for p in range(blocks):
            mine = rows[p::blocks]
            run.store.put(f"epoch-{n}/user-{p}", {"factors": mine[:, :2].copy(), "bias": mine[:, 2].copy()})
        for p in range(blocks):
            regress(run, f"epoch-{n - 1}", f"epoch-{n}", "user", p, np.zeros(3), 3.0, None)
    rated = np.zeros((data.n_users, data.n_items))
    for p in range(blocks):
        layout = data.store.get(f"rows/user-{p}")
        owner = np.repeat(np.arange(data.rows("user", p)) * blocks + p, np.diff(layout["indptr"]))
        rated[owner, layout["others"]] = 1
    x = rated / np.sqrt(np.maximum(rated.sum(axis=1, keepdims=True), 1))
    wanted = x @ np.linalg.solve(x.T @ x + 3.0 * np.eye(data.n_items), x.T @ rows)
    for p in range(blocks):
        np.testing.assert_allclose(centre_rows(run, "epoch-149", "user", p), wanted[p::blocks], atol=2e-3)


def test_a_day_that_training_had_not_has_no_effect(tmp_path: Path) -> None:
    train = np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([1, 2, 3], np.float32), np.array([7, 9, 7], np.int32)
    held = np.array([0, 0, 1, -1]), np.array([1, 1, 0, -1]), np.ones(4, np.float32), np.array([9, 8, 7, 7], np.int32)
    data = blocks_of(tmp_path / "data", {"train": train, "test": held}, bins=2)
    for side in ("user", "item"):
        make_layout(data, side, 0)
    test = data.get("test", 0, 0)
    assert test is not None
    known = {(0, 9): 1, (0, 8): -1, (1, 7): 2, (-1, 7): -1}  # effects in order: user 0 on 7 and 9, user 1 on 7
    wanted = [known[u, day] for u, day in zip(test["rows"].tolist(), test["days"].tolist(), strict=True)]
    assert held_out_groups(data, "user", test, 0).tolist() == wanted
    bins = held_out_groups(data, "item", test, 0)
    assert (bins < 0).tolist() == (test["cols"] < 0).tolist()


@pytest.mark.parametrize("model", ["timesvdpp", "bayesian"])
def test_a_block_without_any_days_is_trained_without_effects(tmp_path: Path, model: str) -> None:
    u, i, r, day = moods()["train"]
    day = np.where(u % 2 == 1, NO_DAY, day).astype(np.int32)  # all of the second user block
    found = rmse(tmp_path, split(3, u, i, r, day), 2, factors=2, epochs=4, burn_in=2, average=1, model=model)
    assert np.isfinite(found)


def test_time_effects_are_shrunken_means() -> None:
    left, groups = np.array([1, 3, 5, 9], np.float32), np.array([0, 0, 2, -1], np.int32)
    np.testing.assert_allclose(fit_effects(left, groups, 3, 2.0, None), [4 / 4, 0, 5 / 3])
    drawn = np.array([fit_effects(left, groups, 3, 2.0, np.random.default_rng(n), alpha=4.0) for n in range(3000)])
    np.testing.assert_allclose(drawn.mean(axis=0), [1, 0, 5 / 3], atol=0.03)
    np.testing.assert_allclose(drawn.std(axis=0), [0.25, 1 / np.sqrt(8), 1 / np.sqrt(12)], rtol=0.06)


def test_layouts_hold_every_rating_once_on_both_sides(tmp_path: Path) -> None:
    parts = moods()
    u, i, r, day = parts["train"]
    day[:50] = NO_DAY
    data = blocks_of(tmp_path / "data", parts, 3)
    for side, mine, theirs in (("user", u, i), ("item", i, u)):
        seen = []
        for p in range(3):
            make_layout(data, side, p)
            layout = data.store.get(f"rows/{side}-{p}")
            ratings = gather(data, side, p, "ratings")[layout["order"]]
            rows = np.repeat(np.arange(data.rows(side, p)), np.diff(layout["indptr"])) * 3 + p
            seen += list(zip(rows.tolist(), layout["others"].tolist(), ratings.tolist(), strict=True))
            timeless = layout["groups"] < 0
            assert timeless.sum() == ((mine % 3 == p) & (day == NO_DAY)).sum()
        assert sorted(seen) == sorted(zip(mine.tolist(), theirs.tolist(), r.tolist(), strict=True))
        np.testing.assert_array_equal(degrees(data, side), np.bincount(mine))


def test_settings_that_do_not_go_together_are_named() -> None:
    assert LfmConfig(model="bayesian").factors == 32
    assert LfmConfig(model="bayesian", factors=5).factors == 5
    for settings, message in (
        ({"model": "nmf"}, "--model nmf: must be one of mf, svdpp"),
        ({"implicit": "all"}, "--implicit all: must be one of"),
        ({"model": "svdpp", "bias": False}, "--no-bias goes with --model mf only"),
        ({"model": "bayesian", "early_stop": 3}, "--early-stop goes with SGD"),
        ({"model": "bayesian", "epochs": 20}, "--epochs 20 must be more than --burn-in 20"),
    ):
        with pytest.raises(UserError, match=message):
            LfmConfig(**settings)

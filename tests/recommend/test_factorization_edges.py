"""Where factorisation libraries break: tiny, constant, exactly solvable and lopsided ratings; newcomers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recommend.resident import blocks_of, trained

from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.fold_in import solve
from lakerank.recommend.latent_factors.predictions import error_of
from lakerank.recommend.latent_factors.train import model_state
from lakerank.spark.array_store import in_process

BOTH = pytest.mark.parametrize("model", ["mf", "bayesian"])


def errors(folder: Path, parts: dict[str, tuple], blocks: int = 1, **settings: object) -> dict[str, float]:
    """RMSE of the trained model by part."""
    data = blocks_of(folder / f"data-{blocks}", parts, blocks)
    run, _, kept = trained(folder / f"run-{len(list(folder.iterdir()))}", data, LfmConfig(**settings))
    sums = in_process(blocks, error_of([(run, model_state(run, e)) for e in kept], list(parts)))
    return {part: float(np.sqrt(total / n)) for part, (total, n) in sums.items()}


def grid(users: int, items: int) -> tuple[np.ndarray, np.ndarray]:
    u, i = np.divmod(np.arange(users * items), items)
    return u, i


def test_an_exact_rank_one_matrix_is_recovered(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    u, i = grid(40, 30)
    r = (rng.uniform(0.5, 2, 40)[u] * rng.uniform(0.5, 2, 30)[i]).astype(np.float32)
    held = rng.random(len(u)) < 0.3
    parts = {"train": (u[~held], i[~held], r[~held]), "test": (u[held], i[held], r[held])}
    found = errors(tmp_path, parts, factors=2, epochs=500, lr=0.2, reg=0.0, reg_bias=0.0, init="normal:1")
    assert found["test"] < 0.001


def test_rank_two_with_noise_is_recovered_to_the_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    u, i = grid(80, 60)
    r = (rng.normal(size=(80, 2))[u] * rng.normal(size=(60, 2))[i]).sum(axis=1) + rng.normal(0, 0.01, len(u))
    held = rng.random(len(u)) < 0.2
    r = r.astype(np.float32)
    parts = {"train": (u[~held], i[~held], r[~held]), "test": (u[held], i[held], r[held])}
    found = errors(tmp_path, parts, factors=3, epochs=300, lr=0.2, reg=0.0, reg_bias=0.0, init="normal:1")
    assert found["test"] < 0.03
    bayesian = errors(tmp_path, parts, factors=3, epochs=120, model="bayesian")
    assert bayesian["test"] < 0.03


@BOTH
def test_more_blocks_than_ratings(tmp_path: Path, model: str) -> None:
    u, i, r = np.array([0, 1, 4]), np.array([2, 0, 4]), np.array([1, 5, 3], np.float32)
    found = errors(tmp_path, {"train": (u, i, r)}, blocks=5, factors=3, model=model, epochs=25)
    assert np.isfinite(found["train"])


@BOTH
def test_one_user(tmp_path: Path, model: str) -> None:
    parts = {"train": (np.zeros(20, int), np.arange(20), np.linspace(1, 5, 20).astype(np.float32))}
    assert errors(tmp_path, parts, factors=2, model=model, epochs=60)["train"] < 1.2


@BOTH
def test_constant_ratings_are_predicted_as_they_are(tmp_path: Path, model: str) -> None:
    u, i = grid(12, 9)
    keep = np.random.default_rng(2).random(len(u)) < 0.7
    parts = {"train": (u[keep], i[keep], np.full(keep.sum(), 4, np.float32))}
    parts["test"] = (u[~keep], i[~keep], np.full((~keep).sum(), 4, np.float32))
    assert errors(tmp_path, parts, factors=4, model=model, epochs=25)["test"] < 1e-4


@BOTH
def test_more_factors_than_users_stays_finite(tmp_path: Path, model: str) -> None:
    u, i = grid(5, 40)
    r = np.random.default_rng(3).uniform(1, 5, len(u)).astype(np.float32)
    assert errors(tmp_path, {"train": (u, i, r)}, factors=80, model=model, epochs=25)["train"] < 2


@BOTH
def test_strangers_get_what_is_known_of_them(tmp_path: Path, model: str) -> None:
    u, i = grid(10, 10)
    r = np.where(i < 5, 1, 5).astype(np.float32)
    strangers = (np.array([-1, -1, 0, -1]), np.array([0, 9, -1, -1]), np.array([1, 5, 3, 3], np.float32))
    found = errors(tmp_path, {"train": (u, i, r), "test": strangers}, factors=2, model=model, epochs=60, reg=0.1)
    assert found["test"] < 0.7  # the item's bias says it; a user nobody knows of nothing gets the mean


def test_folding_in_solves_the_ridge_regression() -> None:
    rng = np.random.default_rng(4)
    q, bias = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(0, 0.3, 30).astype(np.float32)
    rows, positions = np.array([0] * 7 + [2] * 12), np.concatenate([rng.permutation(30)[:7], rng.permutation(30)[:12]])
    targets = rng.normal(size=19).astype(np.float32)
    factors, biases, counts = solve(rows, positions, targets, 3, bias, q, reg=0.1)
    assert counts.tolist() == [7, 0, 12]
    for row in (0, 2):
        mine = rows == row
        v = np.column_stack([q[positions[mine]], np.ones(mine.sum())]).astype(float)
        a = v.T @ v + mine.sum() * np.diag([0.1] * 4 + [0.01])
        wanted = np.linalg.solve(a, v.T @ (targets[mine] - bias[positions[mine]]))
        np.testing.assert_allclose([*factors[row], biases[row]], wanted, atol=1e-3)
    assert not factors[1].any()


def test_folding_into_an_average_folds_into_each_model() -> None:
    rng = np.random.default_rng(5)
    q, bias = rng.normal(size=(30, 6)).astype(np.float32), np.zeros(30, np.float32)
    rows, positions, targets = np.zeros(9, int), rng.permutation(30)[:9], rng.normal(size=9).astype(np.float32)
    factors, biases, _ = solve(rows, positions, targets, 1, bias, q / np.float32(np.sqrt(2)), reg=0.1, models=2)
    each = [solve(rows, positions, targets, 1, bias, part, reg=0.1) for part in (q[:, :3], q[:, 3:])]
    guess = q / np.sqrt(2) @ factors[0] + biases[0]
    wanted = np.mean([part @ f[0] + b[0] for part, (f, b, _) in zip((q[:, :3], q[:, 3:]), each, strict=True)], axis=0)
    np.testing.assert_allclose(guess, wanted, atol=1e-4)

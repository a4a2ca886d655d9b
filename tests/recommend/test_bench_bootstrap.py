"""The paired bootstrap that `benchmarks/bench_lfm_quality.py` judges differences of RMSE by."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
from tests_root import ROOT


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    path = ROOT / "benchmarks" / "lfm_quality_bootstrap.py"
    spec = importlib.util.spec_from_file_location("lfm_quality_bootstrap", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lfm_quality_bootstrap"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def compare(bootstrap: ModuleType, squared_NC: np.ndarray, tests_N: np.ndarray, resamples: int = 4000):  # type: ignore[no-untyped-def]
    point, drawn = bootstrap.pooled_rmse(squared_NC, tests_N), bootstrap.bootstrap_rmse(squared_NC, tests_N, resamples)
    return bootstrap.difference(point[0], point[1], drawn[:, 0], drawn[:, 1])


def errors(n: int, gap: float, seed: int = 0) -> np.ndarray:
    """Squared errors of two contestants that err alike on the same ratings, the second a little more."""
    draw = np.random.default_rng(seed)
    shared = draw.normal(0, 0.9, n)
    return np.column_stack([(shared + draw.normal(0, 0.1, n)) ** 2, ((1 + gap) * shared + draw.normal(0, 0.1, n)) ** 2])


def test_interval_is_that_of_the_normal_approximation(bootstrap: ModuleType) -> None:
    squared, once = errors(5000, 0.005), np.ones(5000)
    found = compare(bootstrap, squared, once)
    # Delta method: the RMSE's influence of rating n is squared_n / (2 RMSE).
    influence = squared / (2 * np.sqrt(squared.mean(axis=0)))
    error = np.std(influence[:, 0] - influence[:, 1]) / np.sqrt(5000)
    assert found.value == pytest.approx(np.sqrt(squared[:, 0].mean()) - np.sqrt(squared[:, 1].mean()), abs=1e-12)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert (found.high + found.low) / 2 == pytest.approx(found.value, abs=0.1 * error)


def test_pairing_finds_what_independent_draws_would_not(bootstrap: ModuleType) -> None:
    squared, once = errors(5000, 0.01), np.ones(5000)
    found = compare(bootstrap, squared, once)
    assert found.high < 0
    assert found.p < 0.01
    shuffled = np.column_stack([squared[:, 0], np.random.default_rng(1).permutation(squared[:, 1])])
    assert compare(bootstrap, shuffled, once).p > 0.05


def test_p_is_uniform_when_there_is_no_difference(bootstrap: ModuleType) -> None:
    once = np.ones(400)
    p = [compare(bootstrap, errors(400, 0.0, seed)[:, ::-1], once, 400).p for seed in range(200)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.median(p) == pytest.approx(0.5, abs=0.12)


def test_same_contestant_twice_is_no_difference(bootstrap: ModuleType) -> None:
    squared = np.repeat(errors(500, 0.0)[:, :1], 2, axis=1)
    found = compare(bootstrap, squared, np.ones(500), 200)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_ten_folds_that_test_the_same_ratings_are_no_more_evidence_than_one(bootstrap: ModuleType) -> None:
    squared, once = errors(1000, 0.005), np.ones(1000)
    one, ten = compare(bootstrap, squared, once), compare(bootstrap, 10 * squared, 10 * once)
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high), abs=1e-12)


def test_ratings_count_as_often_as_they_are_tested(bootstrap: ModuleType) -> None:
    draw = np.random.default_rng(3)
    tests = draw.integers(1, 4, 300)
    each = [draw.normal(0, 1, (n, 2)) ** 2 for n in tests]
    sums = np.array([rows.sum(axis=0) for rows in each])
    pooled = bootstrap.pooled_rmse(sums, tests.astype(float))
    np.testing.assert_allclose(pooled, np.sqrt(np.concatenate(each).mean(axis=0)), rtol=1e-12)
    drawn = bootstrap.bootstrap_rmse(sums, tests.astype(float), 2000)
    np.testing.assert_allclose(drawn.mean(axis=0), pooled, rtol=0.005)


def test_draws_depend_on_the_seed_alone(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    squared, once = errors(100, 0.0), np.ones(100)
    first = bootstrap.bootstrap_rmse(squared, once, 50, seed=5)
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 700)  # in pieces of 7 draws
    np.testing.assert_allclose(first, bootstrap.bootstrap_rmse(squared, once, 50, seed=5), rtol=1e-12)
    assert not np.allclose(first, bootstrap.bootstrap_rmse(squared, once, 50, seed=6), rtol=1e-9)

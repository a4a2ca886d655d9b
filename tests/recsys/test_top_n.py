"""The best of a list of scores, against sorting it whole."""

from __future__ import annotations

import numpy as np
import pytest

from spark_jobs.recsys.models.top_n import best_first


@pytest.mark.parametrize("seed", range(30))
def test_best_first_equals_sorting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    scores = rng.integers(0, 6, n).astype(float)  # many equal ones
    scores[rng.random(n) < 0.2] = -np.inf
    scores[rng.random(n) < 0.1] = np.nan
    top = int(rng.integers(1, 12))
    whole = sorted((i for i in range(n) if np.isfinite(scores[i])), key=lambda i: (-scores[i], i))
    before = scores.copy()
    assert best_first(scores, top).tolist() == whole[:top]
    np.testing.assert_array_equal(scores, before)


def test_nothing_left_is_nothing() -> None:
    assert best_first(np.full(3, -np.inf), 5).tolist() == []
    assert best_first(np.empty(0), 5).tolist() == []

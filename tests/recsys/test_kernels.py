"""The compiled kernel against the same mathematics written plainly in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from spark_jobs.recsys.models import kernels
from spark_jobs.recsys.models.lfm_config import LfmConfig
from spark_jobs.recsys.models.lfm_workers import initial_state, train_in_place
from spark_jobs.recsys.models.rating_blocks import arrange


def _reference(users, items, ratings, config: LfmConfig, mean: float, lr: float, rng) -> float:
    """One pass, one rating at a time, float64."""
    p, q = users["factors"].astype(float), items["factors"].astype(float)
    bu, bi = users["bias"].astype(float), items["bias"].astype(float)
    su, si = users["slots"].astype(float), items["slots"].astype(float)
    tu, ti = np.zeros(len(p)), np.zeros(len(q))
    k = config.factors
    total = 0.0
    for tile in rng.permutation(len(ratings["tiles"]) - 1):
        for n in range(ratings["tiles"][tile], ratings["tiles"][tile + 1]):
            u, i = ratings["rows"][n], ratings["cols"][n]
            e = ratings["ratings"][n] - (mean + bu[u] + bi[i] + p[u] @ q[i])
            total += e * e
            gp, gq = config.reg * p[u] - e * q[i], config.reg * q[i] - e * p[u]
            gu, gi = config.reg_bias * bu[u] - e, config.reg_bias * bi[i] - e
            if config.optimizer == "sgd":
                steps = gp, gq, gu, gi
            elif config.optimizer == "adagrad":
                roots = np.sqrt([su[u, 0, 0], si[i, 0, 0], su[u, 0, 1], si[i, 0, 1]])
                steps = gp / roots[0], gq / roots[1], gu / roots[2], gi / roots[3]
                su[u, 0] += (gp @ gp / k, gu * gu)
                si[i, 0] += (gq @ gq / k, gi * gi)
            else:
                tu[u] += 1
                ti[i] += 1
                found = []
                for slots, row, t, g in ((su, u, tu[u], np.append(gp, gu)), (si, i, ti[i], np.append(gq, gi))):
                    slots[0, row] = 0.9 * slots[0, row] + 0.1 * g
                    slots[1, row] = 0.999 * slots[1, row] + 0.001 * g * g
                    m, v = slots[0, row] / (1 - 0.9**t), slots[1, row] / (1 - 0.999**t)
                    found.append(m / (np.sqrt(v) + 1e-8))
                steps = found[0][:k], found[1][:k], found[0][k], found[1][k]
            p[u] -= lr * steps[0]
            q[i] -= lr * steps[1]
            if config.bias:
                bu[u] -= lr * steps[2]
                bi[i] -= lr * steps[3]
    users["factors"], items["factors"], users["bias"], items["bias"] = p, q, bu, bi
    return total


@pytest.mark.parametrize("optimizer", list(kernels.OPTIMIZERS))
@pytest.mark.parametrize("bias", [True, False])
def test_kernel_does_the_published_updates(optimizer: str, bias: bool) -> None:
    rng = np.random.default_rng(1)
    config = LfmConfig(factors=7, optimizer=optimizer, bias=bias, init="normal:1")
    u, i = (pairs.astype(np.int32) for pairs in np.divmod(rng.permutation(12 * 9)[:80], 9))
    block = arrange(u, i, rng.uniform(1, 5, 80).astype(np.float32), 1, 9, seed=3)
    state = [initial_state(n, config, np.random.default_rng(n)) for n in (12, 9)]
    plain = [{name: values.copy() for name, values in side.items()} for side in state]
    got = train_in_place(*state, block, config, 3.0, 0.03, np.random.default_rng(5))
    wanted = _reference(*plain, block, config, 3.0, 0.03, np.random.default_rng(5))
    assert got == pytest.approx(wanted, rel=1e-4)
    for side, expected in zip(state, plain, strict=True):
        np.testing.assert_allclose(side["factors"], expected["factors"], atol=2e-5)
        np.testing.assert_allclose(side["bias"], expected["bias"], atol=2e-5)


def test_divergence_is_reported_as_nan() -> None:
    config = LfmConfig(factors=4, optimizer="sgd", init="normal:1")
    u, i = (pairs.astype(np.int32) for pairs in np.divmod(np.arange(64), 8))
    block = arrange(u, i, np.full(64, 4, np.float32), 1, 8, seed=0)
    state = [initial_state(8, config, np.random.default_rng(n)) for n in (0, 1)]
    errors = [train_in_place(*state, block, config, 0.0, 50.0, np.random.default_rng(0)) for _ in range(20)]
    assert not np.isfinite(errors[-1])


def test_unknown_rows_fall_back_to_what_is_known() -> None:
    one = np.ones((1, 2), np.float32)
    bias_u, bias_i = np.array([0.5], np.float32), np.array([0.25], np.float32)
    for u, i, guess in ((0, 0, 3 + 0.5 + 0.25 + 2), (0, -1, 3.5), (-1, 0, 3.25), (-1, -1, 3.0)):
        rows, cols = np.array([u], np.int32), np.array([i], np.int32)
        error = kernels.squared_error(
            rows,
            cols,
            np.array([3.0], np.float32),
            one,
            bias_u,
            one,
            bias_i,
            np.float32(3),
            np.float32(0),
            np.float32(9),
        )
        assert error == pytest.approx((3.0 - guess) ** 2)


def test_predictions_are_clipped_to_the_scale() -> None:
    args = [np.zeros(1, np.int32)] * 2 + [np.array([5.0], np.float32)]
    big = np.full((1, 1), 9, np.float32)
    none = np.zeros(1, np.float32)
    assert kernels.squared_error(*args, big, none, big, none, np.float32(0), np.float32(1), np.float32(5)) == 0.0


def test_arrangement_does_not_depend_on_the_order_rows_arrive_in() -> None:
    rng = np.random.default_rng(2)
    u, i = (pairs.astype(np.int32) for pairs in np.divmod(rng.permutation(9000 * 50)[:5000], 50))
    r = rng.random(5000).astype(np.float32)
    shuffled = rng.permutation(5000)
    first, second = arrange(u, i, r, 1, 50, 4), arrange(u[shuffled], i[shuffled], r[shuffled], 1, 50, 4)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert first["tiles"][0] == 0
    assert first["tiles"][-1] == 5000
    assert len(first["tiles"]) == 4  # 9000 users are three tiles of 4096
    other = arrange(u, i, r, 1, 50, 5)
    assert not np.array_equal(first["rows"], other["rows"])

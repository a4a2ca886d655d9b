"""The compiled kernel against the same mathematics written plainly in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from lakerank.recommend.latent_factors.build_blocks import arrange
from lakerank.recommend.latent_factors.config import OPTIMIZERS, LfmConfig
from lakerank.recommend.latent_factors.predictions import predict_pairs
from lakerank.recommend.latent_factors.sgd import initial_rows, initial_slots, train_in_place


def _state(rows: int, config: LfmConfig, seed: int) -> dict:
    return initial_rows(rows, config, np.random.default_rng(seed)) | initial_slots(rows, config)


def _reference(users, items, ratings, config: LfmConfig, mean: float, lr: float, rng, centres) -> float:
    """One pass, one rating at a time, float64."""
    p, q = users["factors"].astype(float), items["factors"].astype(float)
    bu, bi = users["bias"].astype(float), items["bias"].astype(float)
    su, si = users["slots"].astype(float), items["slots"].astype(float)
    tu, ti = np.zeros(len(p)), np.zeros(len(q))
    k = config.factors
    cu, ci = (np.zeros((len(side), k + 1)) if c is None else c for side, c in zip((p, q), centres, strict=True))
    total = 0.0
    for tile in rng.permutation(len(ratings["tiles"]) - 1):
        for n in range(ratings["tiles"][tile], ratings["tiles"][tile + 1]):
            u, i = ratings["rows"][n], ratings["cols"][n]
            e = ratings["ratings"][n] - (mean + bu[u] + bi[i] + p[u] @ q[i])
            total += e * e
            gp, gq = config.reg * (p[u] - cu[u, :k]) - e * q[i], config.reg * (q[i] - ci[i, :k]) - e * p[u]
            gu, gi = config.reg_bias * (bu[u] - cu[u, k]) - e, config.reg_bias * (bi[i] - ci[i, k]) - e
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


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize(("bias", "centred"), [(True, False), (False, False), (True, True)])
def test_kernel_does_the_published_updates(optimizer: str, bias: bool, centred: bool) -> None:
    rng = np.random.default_rng(1)
    config = LfmConfig(factors=7, optimizer=optimizer, bias=bias, init="normal:1")
    u, i = (pairs.astype(np.int32) for pairs in np.divmod(rng.permutation(12 * 9)[:80], 9))
    block = arrange(u, i, rng.uniform(1, 5, 80).astype(np.float32), 1, 9)
    state = [_state(n, config, n) for n in (12, 9)]
    plain = [{name: values.copy() for name, values in side.items()} for side in state]
    centres = tuple(rng.normal(size=(n, 8)).astype(np.float32) if centred else None for n in (12, 9))
    got = train_in_place(*state, block, config, 3.0, 0.03, np.random.default_rng(5), centres)
    wanted = _reference(*plain, block, config, 3.0, 0.03, np.random.default_rng(5), centres)
    assert got == pytest.approx(wanted, rel=1e-4)
    for side, expected in zip(state, plain, strict=True):
        np.testing.assert_allclose(side["factors"], expected["factors"], atol=2e-5)
        np.testing.assert_allclose(side["bias"], expected["bias"], atol=2e-5)


def test_divergence_is_reported_as_nan() -> None:
    config = LfmConfig(factors=4, optimizer="sgd", init="normal:1")
    u, i = (pairs.astype(np.int32) for pairs in np.divmod(np.arange(64), 8))
    block = arrange(u, i, np.full(64, 4, np.float32), 1, 8)
    state = [_state(8, config, n) for n in (0, 1)]
    errors = [train_in_place(*state, block, config, 0.0, 50.0, np.random.default_rng(0)) for _ in range(20)]
    assert not np.isfinite(errors[-1])


def test_unknown_rows_fall_back_to_what_is_known() -> None:
    one = np.ones((1, 2), np.float32)
    bias_u, bias_i = np.array([0.5], np.float32), np.array([0.25], np.float32)
    u, i = np.array([0, 0, -1, -1], np.int32), np.array([0, -1, 0, -1], np.int32)
    guess = np.full(4, 3, np.float32)
    predict_pairs(u, i, one, bias_u, one, bias_i, guess)
    np.testing.assert_allclose(guess, [3 + 0.5 + 0.25 + 2, 3.5, 3.25, 3.0])


def test_arrangement_does_not_depend_on_the_order_rows_arrive_in() -> None:
    rng = np.random.default_rng(2)
    u, i = (pairs.astype(np.int32) for pairs in np.divmod(rng.permutation(9000 * 50)[:5000], 50))
    r = rng.random(5000).astype(np.float32)
    shuffled = rng.permutation(5000)
    first, second = arrange(u, i, r, 1, 50), arrange(u[shuffled], i[shuffled], r[shuffled], 1, 50)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert first["tiles"][0] == 0
    assert first["tiles"][-1] == 5000
    assert len(first["tiles"]) == 4  # 9000 users are three tiles of 4096
    assert not np.array_equal(first["rows"], np.sort(first["rows"]))

"""Settings chosen on validation ratings: the search, its cost, what it holds out, and when a chain has settled."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from recommend.resident import blocks_of

from lakerank.cli.errors import UserError
from lakerank.recommend.latent_factors import auto_settings
from lakerank.recommend.latent_factors.auto_settings import (
    MOST_EPOCHS,
    OVERHEAD,
    choose_settings,
    choose_weights,
    hold_out,
    stops_falling,
    validation_share,
)
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.spark.array_store import BlockStore, in_process


def error_at(best_reg: float, settings: LfmConfig) -> tuple[list[float], int]:
    """A made-up training: the error is lowest at one L2 weight and after 0.6 / lr epochs, and rises afterwards."""
    apart = abs(np.log(settings.reg / best_reg))
    length = round(0.6 / settings.lr)
    n = settings.epochs if not settings.early_stop else min(settings.epochs, length + settings.early_stop)
    curve = [1 + 0.1 * apart + 0.01 * abs(epoch - length) for epoch in range(1, n + 1)]
    return curve, (int(np.argmin(curve)) + 1 if settings.early_stop else n)


@pytest.mark.parametrize(("best", "chosen"), [(0.05, 0.05), (0.013, 0.0125), (0.003, 0.003125), (0.1, 0.1), (0.3, 0.4)])
def test_the_search_goes_where_the_error_falls(best: float, chosen: float) -> None:
    found, trials = choose_settings(LfmConfig(factors=128), partial(error_at, best))
    assert found["reg"] == pytest.approx(chosen, rel=0.01)
    assert found["lr"] == 0.05  # as good as the higher one
    assert found["epochs"] == 12
    assert len({(t.reg, t.lr) for t in trials}) == len(trials)


@pytest.mark.parametrize("factors", [4, 16, 64, 500])
@pytest.mark.parametrize("epochs", [None, 3, 30])
def test_the_search_costs_no_more_than_a_training(factors: int, epochs: int | None) -> None:
    spent = 0.0

    def counted(settings: LfmConfig) -> tuple[list[float], int]:
        nonlocal spent
        curve, best = error_at(0.004, settings)
        spent += len(curve) * (settings.factors + OVERHEAD)
        return curve, best

    config = LfmConfig(factors=factors, epochs=epochs)
    found, _ = choose_settings(config, counted)
    assert found
    assert spent <= (epochs or 20) * (factors + OVERHEAD)
    assert ("epochs" in found) == (epochs is None)


def test_what_is_given_is_not_chosen() -> None:
    seen: list[LfmConfig] = []

    def noted(settings: LfmConfig) -> tuple[list[float], int]:
        seen.append(settings)
        return error_at(0.05, settings)

    found, _ = choose_settings(LfmConfig(factors=64, epochs=7, lr=0.2), noted)
    assert set(found) == {"reg"}
    assert {(s.lr, s.epochs, s.early_stop) for s in seen} == {(0.2, 7, 0)}
    assert LfmConfig(reg=0.1).chosen == ()
    assert LfmConfig("bayesian", reg=0.1).chosen == ("epochs",)
    assert LfmConfig("bayesian", epochs=40).chosen == ()
    assert LfmConfig(early_stop=3).chosen == ("reg", "lr")


def test_a_trial_that_diverges_is_the_worst() -> None:
    def diverging(settings: LfmConfig) -> tuple[list[float], int]:
        if settings.lr > 0.06:
            raise UserError("training diverged in epoch 2")
        return error_at(0.05, settings)

    found, trials = choose_settings(LfmConfig(factors=200), diverging)
    assert found["lr"] == 0.05
    assert trials[0].error == float("inf")

    def broken(settings: LfmConfig) -> tuple[list[float], int]:
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="disk"):
        choose_settings(LfmConfig(), broken)


@pytest.mark.parametrize("blocks", [1, 2])
def test_held_out_ratings_are_those_of_training(tmp_path: Path, blocks: int) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.choice(200 * 100, 4_000, replace=False)
    u, i, r = pairs // 100, pairs % 100, rng.integers(1, 6, 4_000).astype(np.float32)
    data = blocks_of(tmp_path / "data", {"train": (u, i, r), "test": (u[:50], i[:50], r[:50])}, blocks)

    def held(seed: int) -> tuple[dict[str, set[tuple[int, int, float]]], dict[str, int]]:
        store = BlockStore.open(str(tmp_path / f"held-{seed}"), "")
        found = hold_out(data, store, 0.1, seed, partial(in_process, blocks))
        sets: dict[str, set[tuple[int, int, float]]] = {"train": set(), "valid": set()}
        for part, rows in sets.items():
            for p in range(blocks):
                for q in range(blocks):
                    block = found.get(part, p, q)
                    if block is not None:
                        tiles = block["tiles"].tolist()
                        assert (tiles[0], tiles[-1]) == (0, len(block["ratings"]))
                        users, items = block["rows"] * blocks + p, block["cols"] * blocks + q
                        rows |= set(zip(users.tolist(), items.tolist(), block["ratings"].tolist(), strict=True))
        return sets, found.counts

    first, counts = held(1)
    assert first["train"] | first["valid"] == set(zip(u.tolist(), i.tolist(), r.tolist(), strict=True))
    assert counts == {"train": len(first["train"]), "valid": len(first["valid"])}
    assert 300 < counts["valid"] < 500
    assert held(1)[0] == first
    assert held(2)[0]["valid"] != first["valid"]


def test_more_ratings_need_a_smaller_share_for_validation() -> None:
    assert validation_share(30_000) == 0.1
    assert validation_share(20_000_000) == 0.05


def test_a_chain_has_settled_when_the_error_hardly_falls() -> None:
    falling = [1 + 0.2 / n for n in range(1, 400)]
    assert not stops_falling(falling[:60], 20)
    settled = next(n for n in range(1, 400) if stops_falling(falling[:n], 20))
    window = max(auto_settings.FEWEST_SWEEPS, settled // 5)
    assert falling[settled - 1 - window] - falling[settled - 1] < auto_settings.GAIN * falling[settled - 1]
    assert not stops_falling([1.0] * 59, 20)
    assert stops_falling([1.0] * 60, 20)
    assert stops_falling([1 + 0.01 * n for n in range(60)], 20)  # rising
    assert MOST_EPOCHS >= 20


def weights_at(best: tuple[float, float], tried: list[LfmConfig], config: LfmConfig) -> float:
    """A made-up training: nDCG falls with the distance from the best α₀ and from the best λ·α₀, by its logarithm."""
    tried.append(config)
    product = config.reg * config.unobserved / (best[0] * best[1])
    return 0.3 - 0.02 * abs(np.log2(product)) - 0.02 * abs(np.log2(config.unobserved / best[1]))


@pytest.mark.parametrize(
    ("best", "found"),
    [
        ((0.02, 0.2), (0.02, 0.2)),
        ((0.005, 0.1), (0.005, 0.1)),
        ((0.04, 0.2), (0.04, 0.2)),
        ((0.0101, 0.2), (0.01, 0.2)),
        ((0.02, 0.1), (0.02, 0.1)),
        ((0.01, 0.9), (0.01, 0.8)),
    ],
)
def test_weights_of_preferences_are_those_that_rank_best(best: tuple[float, float], found: tuple[float, float]) -> None:
    tried: list[LfmConfig] = []
    config = LfmConfig("ials", reg=0.01, unobserved=0.2)
    chosen, trials = choose_weights(config, ("reg", "unobserved"), partial(weights_at, best, tried))
    assert (chosen["reg"], chosen["unobserved"]) == pytest.approx(found)
    assert {(one.factors, one.epochs, one.auto) for one in tried} == {(32, 8, "none")}
    assert len(trials) * 8 * (32 + 8) <= 16 * (128 + 8)  # never dearer than the training
    given, _ = choose_weights(config, ("reg",), partial(weights_at, (0.01, 0.8), []))
    assert given == {"reg": 0.04, "unobserved": 0.2}


def test_hardly_better_weights_are_not_taken_and_small_trainings_search_nothing() -> None:
    config = LfmConfig("ials", reg=0.01, unobserved=0.2)
    close = choose_weights(config, ("reg",), lambda one: 0.3 * (1 + 0.003 * (one.reg > 0.01)))[0]
    assert close == {"reg": 0.01, "unobserved": 0.2}
    assert choose_weights(LfmConfig("ials", factors=32, epochs=8), ("reg",), lambda _: 1.0) == ({}, [])
    assert LfmConfig("ials").chosen == ("reg",)
    assert LfmConfig("ials", reg=0.02).chosen == ()

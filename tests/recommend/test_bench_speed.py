"""The speed benchmark's arithmetic: when each epoch ended, and what a ratio compares."""

from __future__ import annotations

import sys

import pytest
from tests_root import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from bench_lfm import compare, lowest
from lfm_speed_engines import Run, _ends


def run(engine: str, factors: int, curve: list[tuple[float, float]]) -> Run:
    return Run(engine, {"factors": factors, "epochs": len(curve)}, *curve[-1], curve=curve)


OURS = [run("ours", 32, [(10.0, 0.9), (12.0, 0.8), (14.0, 0.85)]), run("ours", 64, [(30.0, 0.7)])]


def test_epochs_told_one_by_one_end_when_they_are_told() -> None:
    assert _ends([10.0, 12.0, 14.0], [2.0, 1.5, 1.9]) == [10.0, 12.0, 14.0]


def test_epochs_told_together_are_told_apart_by_their_own_seconds() -> None:
    assert _ends([10.0, 10.0, 10.0, 15.0, 15.0], [1.0, 2.0, 3.0, 2.0, 2.5]) == [5.0, 7.0, 10.0, 12.5, 15.0]


def test_the_first_epoch_that_is_good_enough_counts() -> None:
    assert OURS[0].seconds_to(0.85) == 12.0
    assert OURS[0].seconds_to(0.9) == 10.0
    assert OURS[0].seconds_to(0.79) is None


def test_a_ratio_compares_runs_with_as_many_factors() -> None:
    lines = compare("als", [*OURS, run("als", 32, [(120.0, 0.8)]), run("als", 64, [(60.0, 0.8)])])
    assert [(line["seconds_ours"], line["ratio"]) for line in lines] == [(12.0, 10.0), (30.0, 2.0)]
    assert lowest(lines) == 2.0


def test_a_number_of_factors_that_ours_did_not_run_is_compared_with_the_quickest() -> None:
    (line,) = compare("libmf", [*OURS, run("libmf", 24, [(6.0, 0.8)])])
    assert line["ratio"] == pytest.approx(0.5)


def test_an_error_that_ours_never_reached_leaves_no_ratio() -> None:
    lines = compare("als", [*OURS, run("als", 32, [(1.0, 0.6)]), run("als", 64, [(60.0, 0.8)])])
    assert (lines[0]["seconds_ours"], lines[0]["ratio"]) == (None, None)
    assert lowest(lines) is None

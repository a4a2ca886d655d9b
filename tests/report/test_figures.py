"""Figures: known captions, sound and self-contained SVG, whatever the numbers and names."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from lakerank.report import figures
from lakerank.report.page import Figure

HOSTILE = [
    "<script>alert('x')</script>",
    "5 $ & 6 $",
    "a\x00b\x0b\ufffec",
    "日本語の題名",
    "a\u202ebc",
    'id="x" url(#y)',
    "",
]

BEFORE = dict(matplotlib.rcParams)


def every_figure() -> list[Figure]:
    rng = np.random.default_rng(0)
    return [
        figures.learning_curve([1, 2, 3], {"train": [1.0, 0.8, 0.6], "test": [1.1, 0.9, 0.95]}, kept=2),
        figures.epoch_seconds([1, 2, 3], [3.0, 1.0, 1.0], [10.0, 30.0, 20.0]),
        figures.rating_histogram([(1.0, 1.0, 10), (2.0, 2.0, 30)], 1.75),
        figures.activity([(1, 5), (10, 2)], [(3, 4), (13, 1)]),
        figures.degrees([(1, 90), (700, 1)], [(2, 50)]),
        figures.sr_curve([1.0, 2.0, 3.0], [28.0, 30.5, 30.0]),
        figures.top_ranks(HOSTILE, np.linspace(0.3, 0.1, len(HOSTILE)).tolist(), 50),
        figures.convergence(list(range(1, 41)), [0.85**i for i in range(40)]),
        figures.factor_map(HOSTILE * 4, rng.normal(size=(4 * len(HOSTILE), 6)), rng.random(4 * len(HOSTILE)) + 0.1),
    ]


@pytest.fixture(scope="module")
def drawn() -> list[Figure]:
    return every_figure()


def texts(figure: Figure) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(figure.svg).iter() if node.tag == "text"]


def test_ids_are_unique_on_a_page_with_all_figures_and_references_stay_in_their_figure(drawn: list[Figure]) -> None:
    everywhere: list[str] = []
    for figure in drawn:
        ids = [node.get("id", "") for node in ElementTree.fromstring(figure.svg).iter() if node.get("id")]
        attributes = " ".join(v for node in ElementTree.fromstring(figure.svg).iter() for v in node.attrib.values())
        used = set(re.findall(r"url\(#([^)]+)\)", attributes)) | set(re.findall(r'href="#([^"]+)"', figure.svg))
        assert used
        assert used <= set(ids)
        everywhere += ids
    assert len(everywhere) == len(set(everywhere))


def test_svg_needs_nothing_from_outside_and_styles_nothing_but_itself(drawn: list[Figure]) -> None:
    for figure in drawn:
        assert "http" not in figure.svg
        assert "font-family" not in figure.svg
        tags = {node.tag for node in ElementTree.fromstring(figure.svg).iter()}
        assert not tags & {"style", "metadata", "script", "image"}
        root = ElementTree.fromstring(figure.svg)
        assert root.get("role") == "img"
        assert root.get("aria-label") == figure.title
        assert root.get("viewBox")
        assert root.get("width") is None


def test_every_colour_follows_the_page(drawn: list[Figure]) -> None:
    for figure in drawn:
        colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", figure.svg))
        assert colours <= {"none", "currentColor", "var(--series-1)", "var(--series-2)", "var(--series-3)"}
        assert all("fill" in (node.get("style") or "") for node in ElementTree.fromstring(figure.svg).iter("text"))


def test_the_same_data_give_the_same_svg_and_no_setting_is_left_behind(drawn: list[Figure]) -> None:
    assert [figure.svg for figure in every_figure()] == [figure.svg for figure in drawn]
    assert dict(matplotlib.rcParams) == BEFORE


@pytest.mark.filterwarnings("error")
def test_hostile_names_are_text(drawn: list[Figure]) -> None:
    bars = figures.top_ranks(HOSTILE, [1.0] * len(HOSTILE), 50)
    said = texts(bars)
    assert "<script>alert('x')</script>" in said
    assert "<script" not in bars.svg
    assert {"5 $ & 6 $", "abc", "日本語の題名", 'id="x" url(#y)'} <= set(said)
    tips = [node.text for node in ElementTree.fromstring(drawn[-1].svg).iter("title")]
    assert len(tips) == 4 * (len(HOSTILE) - 1)  # a name without letters has none
    assert "<script>alert('x')</script>" in tips


def test_learning_curve_says_what_is_best_and_leaves_out_what_is_unknown() -> None:
    curves = {"train": [1.0, 0.8, 0.6], "valid": [None, None, None], "test": [1.1, 0.9, 0.95]}
    figure = figures.learning_curve([1, 2, 3], curves, kept=2)
    assert "train 0.6 at the end, lowest 0.6 in epoch 3" in figure.caption
    assert "test 0.95 at the end, lowest 0.9 in epoch 2" in figure.caption
    assert "turned up" in figure.caption
    assert "marks epoch 2" in figure.caption
    assert {"train", "test"} <= set(texts(figure))
    assert "valid" not in texts(figure)


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_values_that_are_no_numbers_are_not_drawn(bad: float | None) -> None:
    figure = figures.learning_curve([1, 2], {"train": [1.0, bad], "test": [bad, bad]}, None)
    assert "train no number at the end, lowest 1 in epoch 1." in figure.caption
    assert "test" not in figure.caption
    assert not re.search(r"\b(nan|inf)\b", figure.svg)
    assert figures.learning_curve([1], {"train": [bad]}, None).caption.startswith("RMSE: no value")


def test_a_curve_that_falls_a_lot_is_logarithmic_and_a_long_one_stays_small() -> None:
    steep = figures.learning_curve([1, 2, 3], {"train": [300.0, 20.0, 0.9]}, None)
    assert {"1", "10", "100"} <= set(texts(steep))
    epochs = list(range(1, 10_001))
    long = figures.learning_curve(epochs, {"train": [1 + 1 / e for e in epochs]}, None)
    assert len(long.svg) < 100_000
    assert len(figures.epoch_seconds(epochs, [1.0] * 10_000, [5.0] * 10_000).svg) < 100_000


def test_histogram_names_the_most_frequent_rating_or_bin() -> None:
    values = figures.rating_histogram([(1.0, 1.0, 10), (2.0, 2.0, 30)], 1.75)
    assert "most frequent rating is 2, 75 % of all; the mean is 1.75" in values.caption
    bins = figures.rating_histogram([(0.0, 0.5, 1), (0.5, 1.0, 3)], 0.6)
    assert "0.5 to 1, 75 %" in bins.caption
    assert "rating is 3, 100 %" in figures.rating_histogram([(3.0, 3.0, 7)], 3.0).caption


@pytest.mark.parametrize("seed", range(3))
def test_activity_agrees_with_counting_one_by_one(seed: int) -> None:
    counts = np.random.default_rng(seed).zipf(1.7, size=500).clip(max=5000)
    pairs = list(zip(*(column.tolist() for column in np.unique(counts, return_counts=True)), strict=True))
    caption = figures.activity(pairs, [(4, 3)]).caption
    ordered = np.sort(counts)
    share = ordered[-5:].sum() / ordered.sum()  # 1 % of 500
    said = f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"
    assert f"Half of the users gave {ordered[249]:,} ratings or more, half of the items got 4 or more" in caption
    assert f"busiest 1 % of users gave {said} of all" in caption
    assert "items got 33 %" in caption  # of three items the top one


def test_convergence_tells_the_pace_and_bears_zeros() -> None:
    assert "leaves 85 % of the change" in figures.convergence(range(1, 41), [0.85**i for i in range(40)]).caption
    ended = figures.convergence([1, 2, 3], [0.5, 0.1, 0.0])
    assert "still changed by 0 in sum" in ended.caption
    assert "leaves" not in ended.caption
    assert figures.convergence([1], [0.0]).svg


def test_top_ranks_say_their_share() -> None:
    caption = figures.top_ranks(["a", "b"], [0.3, 0.2], 1000).caption
    assert "The 2 highest of 1,000 nodes hold 50 % of all rank" in caption
    assert "the average node has 0.001" in caption


@pytest.mark.parametrize("shape", [(50, 8), (5, 20), (3, 2)])
def test_principal_axes_agree_with_the_covariance(shape: tuple[int, int]) -> None:
    factors = np.random.default_rng(1).normal(size=shape) * np.arange(1, shape[1] + 1)
    points, shares = figures.principal_axes(factors)
    values, vectors = np.linalg.eigh(np.cov(factors.T))
    assert shares == pytest.approx((values[::-1] / values.sum())[:2])
    expected = (factors - factors.mean(axis=0)) @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-9)
    again, _ = figures.principal_axes(factors[::-1])
    np.testing.assert_allclose(again[::-1], points, atol=1e-9)  # the order of items does not turn the map


def test_maps_of_one_factor_and_of_equal_items() -> None:
    points, shares = figures.principal_axes(np.array([[1.0], [2.0], [4.0]]))
    assert shares == (1.0, 0.0)
    assert points[:, 0] == pytest.approx([-4 / 3, -1 / 3, 5 / 3])
    assert (points[:, 1] == 0).all()
    figure = figures.factor_map(["a", "b", "c"], np.ones((3, 4)), [1, 1, 1])
    assert "nan" not in figure.svg


def test_labels_that_would_overlap_are_left_out_but_the_extremes_are_named() -> None:
    crowd = np.full((60, 2), 0.5) + np.random.default_rng(0).normal(size=(60, 2)) * 1e-3
    corners = np.array([[-9.0, 0.0], [9.0, 0.1], [0.0, -3.0], [0.1, 3.0]])
    names = [f"crowd {i}" for i in range(60)] + ["west", "east", "south", "north"]
    figure = figures.factor_map(names, np.vstack([crowd, corners]), np.ones(64))
    said = set(texts(figure))
    assert {"west", "east", "south", "north"} <= said
    assert 0 < sum(text.startswith("crowd") for text in said) < 10
    for direction in ("left", "right"):
        assert re.search(rf"far {direction}: (west|east)", figure.caption, re.IGNORECASE)

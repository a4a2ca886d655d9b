"""The picture of a search: a PNG whatever became of the trials."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lakerank.report.png_plots import trials_png


@pytest.mark.parametrize(
    ("states", "values"),
    [
        (["complete", "pruned", "failed", "complete"], [0.9, 1.4, 0.8, 0.87]),
        (["failed"], [None]),
        (["complete"], [0.9]),
        (["failed", "complete", "complete"], [None, 0.9, 0.9]),
    ],
)
def test_every_outcome_can_be_drawn(states: list[str], values: list[float | None]) -> None:
    n = len(states)
    settings = {"lr": [0.01 * (i + 1) for i in range(n)], "lr_decay": [1.0] * n, "factors": [16] * n, "reg": [0.1] * n}
    picture = Image.open(io.BytesIO(trials_png(states, values, settings, ["lr", "factors"])))
    assert picture.format == "PNG"
    assert picture.height > 2 * 250  # five panels are two rows
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10  # something is drawn


def test_a_search_without_free_settings_is_one_panel() -> None:
    picture = Image.open(io.BytesIO(trials_png(["complete"] * 3, [1.0, 0.9, 0.95], {}, [])))
    assert picture.height < 400

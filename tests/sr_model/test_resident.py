"""Patches held on the device: the same batches as from the stream, to the byte."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lakerank.cli.errors import UserError
from sr_model.data import resident
from sr_model.data.augment import turned
from sr_model.data.format import PatchRow
from sr_model.data.open_stream import open_stream
from sr_model.data.stream import Batch
from sr_model.data.writer import finish, write_part
from sr_model.device import Degrade, to_device

ROWS = 61


@pytest.fixture(scope="module", params=[False, True], ids=["hr", "hr and lr"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patches")
    random = np.random.default_rng(0)

    def image(side: int) -> np.ndarray:
        return random.integers(0, 256, (side, side, 3), dtype=np.uint8)

    rows = [PatchRow(image(24), image(6) if request.param else None, "a", i, 0) for i in range(ROWS)]
    parts = [
        write_part(folder / f"{n}.parquet", rows[n::2], patch=24, store_lr=request.param, row_group_rows=7)
        for n in range(2)
    ]
    finish(folder, [part for part in parts if part], patch=24, store_lr=request.param)
    return folder


def bytes_of(batch: Batch) -> list[bytes | None]:
    return [None if image is None else np.asarray(image).tobytes() for image in (batch.hr, batch.lr, batch.rows)]


@pytest.mark.parametrize(
    "settings",
    [
        {"crop": 12, "epochs": 2},
        {"epochs": 2},
        {"crop": 16, "epochs": 2, "rank": 1, "world": 3},
        {"crop": 8, "augment": False, "shuffle": False, "epochs": 1},
    ],
)
def test_the_batches_are_those_of_the_stream(data: Path, settings: dict[str, Any]) -> None:
    base = {"batch": 5, "seed": 3, "window_rows": 16, **settings}
    with open_stream(data, **base) as stream:
        wanted = [bytes_of(batch) for batch in stream]
    with open_stream(data, cache="device", **base) as stream:
        found = list(stream)
    assert all(isinstance(batch.hr, torch.Tensor) for batch in found)
    assert [bytes_of(batch) for batch in found] == wanted


def test_one_goes_on_where_the_other_stopped(data: Path) -> None:
    base: dict[str, Any] = {"batch": 5, "crop": 12, "window_rows": 16, "epochs": 2}
    with open_stream(data, **base) as stream:
        whole = [bytes_of(batch) for batch in stream]
    with open_stream(data, **base) as stream:
        first = [bytes_of(batch) for batch in islice(stream, 9)]
        state = stream.state_dict()
    with open_stream(data, cache="device", **base) as stream:
        stream.load_state_dict(state)
        assert first + [bytes_of(batch) for batch in stream] == whole


def test_the_networks_get_the_same(data: Path) -> None:
    device, degrade = torch.device("cpu"), Degrade(4)
    pairs = []
    for cache in ("none", "device"):
        with open_stream(data, batch=4, crop=16, cache=cache) as stream:
            pairs.append(to_device(next(iter(stream)), device, degrade))
    for a, b in zip(*pairs, strict=True):
        assert torch.equal(a, b)
    lr_NCHW, hr_NCHW = pairs[1]
    assert lr_NCHW.shape == (4, 3, 4, 4)
    assert hr_NCHW.shape == (4, 3, 16, 16)
    assert hr_NCHW.dtype == torch.float32
    assert -1 <= float(hr_NCHW.min()) < -0.9 < 0.9 < float(hr_NCHW.max()) <= 1


def test_crops_are_turned_like_arrays() -> None:
    images = torch.randint(0, 256, (5, 11, 13, 3), dtype=torch.uint8)
    random = np.random.default_rng(0)
    ids, y, x = random.integers(0, 5, 24), random.integers(0, 5, 24), random.integers(0, 7, 24)
    turn = np.arange(24) % 8
    found = resident.gather_crops(images, *(torch.from_numpy(numbers) for numbers in (ids, y, x, turn)), 7)
    for i in range(24):
        wanted = turned(images[ids[i], y[i] : y[i] + 7, x[i] : x[i] + 7].numpy(), int(turn[i]))
        assert np.array_equal(found[i].numpy(), wanted)


def test_another_cache_is_refused(data: Path) -> None:
    with pytest.raises(UserError, match="cache disk: must be one of none, device"):
        open_stream(data, cache="disk")

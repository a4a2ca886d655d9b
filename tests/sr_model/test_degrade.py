"""The bicubic degradation against its definition, against the field's files, and on a device."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import SHARED
from numpy.typing import NDArray
from PIL import Image

from lakerank.cli.errors import UserError
from sr_model.degrade import bicubic_upscale, downscale, imresize, modcrop, resize_weights
from sr_model.device import Degrade


def literal(line: list[float], n_out: int) -> list[float]:
    """The definition, pixel by pixel: Keys' kernel, stretched when shrinking, mirrored ends, weights of sum 1."""

    def keys(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    def mirrored(i: int) -> int:
        while not 0 <= i < len(line):
            i = -1 - i if i < 0 else 2 * len(line) - 1 - i
        return i

    factor = n_out / len(line)
    stretch = min(factor, 1.0)
    out = []
    for k in range(n_out):
        centre = (k + 0.5) / factor - 0.5
        reach = math.ceil(2 / stretch) + 1
        positions = range(math.floor(centre) - reach, math.floor(centre) + reach + 1)
        weights = [keys(stretch * (centre - i)) for i in positions]
        out.append(sum(w * line[mirrored(i)] for w, i in zip(weights, positions, strict=True)) / sum(weights))
    return out


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("n_in", "n_out"), [(24, 6), (25, 6), (6, 24), (7, 29), (40, 13), (3, 12), (12, 3), (5, 5), (1, 4)]
)
def test_a_line_is_resized_as_the_definition_says(n_in: int, n_out: int) -> None:
    line = np.random.default_rng(n_in).uniform(0, 255, n_in)
    expected = literal(list(line), n_out)
    np.testing.assert_allclose(resize_weights(n_in, n_out) @ line, expected, rtol=0, atol=1e-11)
    image = np.broadcast_to(line[:, None, None], (n_in, 4, 1))
    np.testing.assert_allclose(imresize(image.copy(), n_out, 4)[:, 1, 0], expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(imresize(image.transpose(1, 0, 2).copy(), 4, n_out)[1, :, 0], expected, atol=1e-11)


def test_both_axes_are_resized_and_no_other() -> None:
    image = picture(20, 28).astype(np.float64)
    rows = np.array([[literal(list(image[:, x, c]), 5) for c in range(3)] for x in range(28)]).transpose(2, 0, 1)
    both = np.array([[literal(list(rows[y, :, c]), 7) for c in range(3)] for y in range(5)]).transpose(0, 2, 1)
    np.testing.assert_allclose(imresize(image, 5, 7), both, rtol=0, atol=1e-11)


def test_uint8_is_rounded_after_each_pass_the_stronger_shrinking_first() -> None:
    image = picture(32, 32).astype(np.float64)

    def rounded(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(np.floor(x + 0.5), 0, 255)

    rows, columns = resize_weights(32, 8), resize_weights(32, 16).T
    columns_last = rounded(np.einsum("ywc,wx->yxc", rounded(np.einsum("yh,hwc->ywc", rows, image)), columns))
    np.testing.assert_array_equal(imresize(image, 8, 16, round_uint8=True), columns_last)
    np.testing.assert_array_equal(
        imresize(image.transpose(1, 0, 2), 16, 8, round_uint8=True), columns_last.transpose(1, 0, 2)
    )


def test_one_colour_stays_that_colour() -> None:
    for value in (0, 1, 128, 255):
        image = np.full((16, 24, 3), value, np.uint8)
        for method in ("matlab", "pillow"):
            assert (downscale(image, 4, method) == value).all()
        assert (bicubic_upscale(image, 4) == value).all()


@pytest.mark.parametrize("folder", ["Set5", "Set14"])
def test_the_field_s_lr_files_come_out(folder: str) -> None:
    files = sorted((SHARED / "images" / folder).glob("*_HR.png"))
    if not files:
        pytest.skip(f"{folder} is not in {SHARED}")
    equal = []
    for file in files:
        hr = modcrop(np.asarray(Image.open(file).convert("RGB")))
        theirs = np.asarray(Image.open(str(file).replace("_HR", "_LR")).convert("RGB"))
        equal.append(np.mean(downscale(hr) == theirs))
        # An older MATLAB made these files, which repeated the edge pixel instead of mirroring. Done so, all are equal.
        repeated = np.pad(hr, ((16, 16), (16, 16), (0, 0)), mode="edge")
        np.testing.assert_array_equal(downscale(repeated)[4:-4, 4:-4], theirs)
    assert np.mean(equal) >= 0.98


def test_a_batch_on_a_device_is_degraded_as_one_picture() -> None:
    images = [picture(48, 64, seed) for seed in range(3)]
    expected = np.stack([downscale(image) for image in images]).transpose(0, 3, 1, 2)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    module = Degrade(4)
    np.testing.assert_array_equal(module(batch.double()).numpy(), expected)
    single = module(batch)
    assert single.dtype == torch.float32
    off = np.abs(single.numpy() - expected)
    assert off.max() <= 1  # a sum that ends at half a level may be rounded the other way
    assert (off > 0).mean() < 1e-3
    np.testing.assert_array_equal(module(batch.float()).numpy(), single.numpy())


@pytest.mark.parametrize("method", ["inter_cubic", "cv2", "opencv", "INTER_CUBIC"])
def test_interpolation_without_antialiasing_is_refused_by_name(method: str) -> None:
    with pytest.raises(UserError, match=rf"degradation {method}: .*no antialiasing.*use matlab or pillow"):
        downscale(picture(8, 8), 4, method)


def test_other_mistakes() -> None:
    with pytest.raises(UserError, match="degradation lanczos: must be matlab or pillow"):
        downscale(picture(8, 8), 4, "lanczos")
    with pytest.raises(ValueError, match="9 × 8 is no multiple of 4"):
        downscale(picture(9, 8))
    assert modcrop(picture(11, 14)).shape == (8, 12, 3)

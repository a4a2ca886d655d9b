"""Finds pictures in other pictures, however they were cut, rescaled, turned, mirrored or encoded.

SIFT keypoints (Lowe 2004) of a training picture are compared with those of all evaluation pictures and of their
mirror images. Where several agree on one shift, scale and turn, both pictures are laid on each other and correlated;
only that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from sr_model.scoring.read_pictures import NamedPicture

try:
    import cv2

    _NO_CV2 = ""
except ImportError as error:  # training imports this module also where OpenCV is not installed
    _NO_CV2 = str(error)

Grey = NDArray[np.uint8]

_VIEW = 1024  # longest side in pixels at which training pictures are looked at
_TRAIN_DENSITY = 600  # pixels for each keypoint of a training picture …
_TRAIN_LEAST, _TRAIN_MOST = 60, 1000  # … within these bounds
_EVAL_MOST, _EVAL_LEAST, _EVAL_ALL = 2000, 200, 30_000  # keypoints of an evaluation picture, and of all of them
_CELL = 128  # pixels; keypoints are taken from each such square
_ALIKE = 0.85  # cosine of two descriptors that may show the same
_AGREE = 4  # keypoints that must agree; two define the transform
_COMMON = 32 * 32  # pixels both pictures must share when they are laid on each other
_CORRELATED = 0.8


@dataclass(frozen=True)
class Leak:
    """Describe a training picture that shows what an evaluation picture shows.

    Attributes:
        train: its name.
        eval: the evaluation picture's.
        how: in words: mirrored or not, its scale, how much of the evaluation picture.
        score: normalised correlation where both overlap, at most 1.
    """

    train: str
    eval: str
    how: str
    score: float


@dataclass(frozen=True)
class _Known:
    """Hold the keypoints of all evaluation pictures and their mirror images."""

    names: list[str]
    greys: list[Grey]
    points: NDArray[np.float32]
    descriptors: NDArray[np.float32]
    owner: NDArray[np.intp]  # 2·i for picture i, 2·i + 1 for its mirror image


def find_leaks(
    train_images: Iterable[NamedPicture], eval_images: Sequence[NamedPicture], meter: Any = None
) -> list[Leak]:
    """Find the training pictures that show an evaluation picture or a part of it.

    Args:
        train_images: name and pixels, (H, W, 3) uint8 RGB; read one at a time.
        eval_images: the same of the evaluation.
        meter: told of every training picture (`.update(1)`).

    Returns:
        One for each such pair, in the order of the training pictures. Parts without texture, such as a piece of
        sky, have no keypoints and are not found.

    Raises:
        UserError: OpenCV is not installed.
    """
    if _NO_CV2:
        raise UserError(
            f"the leak check needs OpenCV ({_NO_CV2}); pip install 'lakerank[sr]', or check the data elsewhere by "
            "`python -m sr_model.leaks` and give leak_check=false"
        )
    if not eval_images:
        return []
    most = int(np.clip(_EVAL_ALL // len(eval_images), _EVAL_LEAST, _EVAL_MOST))
    known = _known(eval_images, most)
    leaks: list[Leak] = []
    for name, image in train_images:
        leaks += _leaks_of(name, _view(_grey(image)), known)
        if meter is not None:
            meter.update(1)
    return leaks


def _grey(image_HWC: NDArray[np.uint8]) -> Grey:
    return np.asarray(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY), np.uint8)


def _view(grey: Grey) -> Grey:
    scale = _VIEW / max(grey.shape)
    return _resized(grey, scale) if scale < 1 else grey


def _resized(grey: Grey, scale: float) -> Grey:
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _keypoints(grey: Grey, most: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute positions (n, 2) as x, y, and descriptors (n, 128) of length 1.

    In each cell the strongest are taken, `most` in all if every cell has enough: one busy corner does not take the
    places of all others.
    """
    sift = cv2.SIFT_create()  # type: ignore[attr-defined]
    rows, columns = (-(-side // _CELL) for side in grey.shape)
    quota = -(-most // (rows * columns))
    taken: dict[tuple[int, int], int] = {}
    chosen = []
    for point in sorted(sift.detect(grey, None), key=lambda point: (-point.response, point.pt)):
        cell = (int(point.pt[1]) // _CELL, int(point.pt[0]) // _CELL)
        taken[cell] = taken.get(cell, 0) + 1
        if taken[cell] <= quota:
            chosen.append(point)
    points, found = sift.compute(grey, chosen)
    if found is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    # Square roots of shares: RootSIFT (Arandjelović and Zisserman 2012), in which the cosine tells more.
    shares = found / np.maximum(found.sum(axis=1, keepdims=True), 1)
    return np.array([point.pt for point in points], np.float32), np.sqrt(shares).astype(np.float32)


def _known(pictures: Sequence[NamedPicture], most: int) -> _Known:
    greys: list[Grey] = []
    for _, image in pictures:
        grey = _grey(image)
        greys += [grey, np.ascontiguousarray(grey[:, ::-1])]
    found = [_keypoints(grey, most) for grey in greys]
    owner = np.repeat(np.arange(len(greys)), [len(points) for points, _ in found])
    points = np.concatenate([points for points, _ in found])
    return _Known([name for name, _ in pictures], greys, points, np.concatenate([d for _, d in found]), owner)


def _leaks_of(name: str, train: Grey, known: _Known) -> list[Leak]:
    most = int(np.clip(train.size // _TRAIN_DENSITY, _TRAIN_LEAST, _TRAIN_MOST))
    points, descriptors = _keypoints(train, most)
    if len(points) < _AGREE or not len(known.points):
        return []
    nearest, alike = _nearest(descriptors, known.descriptors)
    leaks: dict[int, Leak] = {}
    for owner in np.unique(known.owner[nearest[alike]]):
        chosen = alike & (known.owner[nearest] == owner)
        if chosen.sum() < _AGREE:
            continue
        matrix = _agreed(points[chosen], known.points[nearest[chosen]])
        if matrix is None:
            continue
        score, share = _laid_on(train, known.greys[owner], matrix)
        if score >= _CORRELATED and (owner // 2 not in leaks or leaks[owner // 2].score < score):
            scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
            mirrored = "mirrored, " if owner % 2 else ""
            how = f"{mirrored}at {1 / scale:.2f} of its size, {100 * share:.0f} % of it"
            leaks[owner // 2] = Leak(name, known.names[owner // 2], how, round(score, 3))
    return list(leaks.values())


def _nearest(
    ours: NDArray[np.float32], theirs: NDArray[np.float32], rows: int = 512
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Find for each of ours the nearest of theirs, and whether it is near enough."""
    nearest = np.empty(len(ours), np.intp)
    alike = np.empty(len(ours), np.bool_)
    for start in range(0, len(ours), rows):  # the table of all cosines would be large
        cosines = ours[start : start + rows] @ theirs.T
        best = cosines.argmax(axis=1)
        nearest[start : start + rows] = best
        alike[start : start + rows] = np.take_along_axis(cosines, best[:, None], axis=1)[:, 0] >= _ALIKE
    return nearest, alike


def _agreed(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Estimate shift, scale and turn (2, 3) from ours to theirs that enough keypoints agree on."""
    cv2.setRNGSeed(0)  # OpenCV draws its samples from a state of its own
    matrix, inside = cv2.estimateAffinePartial2D(ours, theirs, ransacReprojThreshold=3.0, maxIters=500)
    if matrix is None or int(inside.sum()) < _AGREE:
        return None
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    return np.asarray(matrix, np.float64) if 0.05 < scale < 20 else None


def _laid_on(train: Grey, truth: Grey, matrix: NDArray[np.float64]) -> tuple[float, float]:
    """Correlate both where they overlap, at the coarser one's resolution, and the overlap's share of `truth`."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:  # the training picture is finer: averaged first, so that it does not alias
        small = _resized(train, scale)
        ratio = np.array([train.shape[1] / small.shape[1], train.shape[0] / small.shape[0]])
        matrix = matrix.copy()
        matrix[:, :2] *= ratio
        train = small
    size = (truth.shape[1], truth.shape[0])
    laid = np.asarray(cv2.warpAffine(train, matrix, size), np.uint8)
    inside = np.asarray(cv2.warpAffine(np.full_like(train, 255), matrix, size), np.uint8)
    coarser = min(1.0, 1 / scale)
    smooth = (np.asarray(cv2.GaussianBlur(x, (0, 0), 1.0), np.uint8) for x in (laid, truth))
    a, b = (_resized(x, coarser).astype(np.float64) for x in smooth)
    both = _resized(inside, coarser) >= 255
    share = float(np.mean(inside == 255))
    if both.sum() < _COMMON:
        return 0.0, share
    a, b = a[both] - a[both].mean(), b[both] - b[both].mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return (float((a * b).sum()) / spread if spread else 0.0), share

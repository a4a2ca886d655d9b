"""Leak guard: pictures of the evaluation that are also, whole or in part, in the training data.

`python -m sr_model.leaks --train path/to/images.tar --against path/to/Set5` finds copies, crops, rescaled, turned,
mirrored and re-encoded ones.

How: SIFT keypoints (Lowe 2004) of a training picture are compared with those of all evaluation pictures, and of
their mirror images. Where several agree on one shift, scale and turn, both pictures are laid on each other and
correlated; only that decides.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spark_jobs.lake.args import Settings, flag
from spark_jobs.lake.command import run_command
from spark_jobs.lake.errors import UserError
from spark_jobs.lake.progress import progress
from sr_model.pictures_of import NamedPicture, pictures_of

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
_VERSION = 1  # raise it when the search changes: kept results are forgotten


@dataclass(frozen=True)
class Leak:
    """A training picture that shows what an evaluation picture shows.

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
    """Keypoints of all evaluation pictures and their mirror images."""

    names: list[str]
    greys: list[Grey]
    points: NDArray[np.float32]
    descriptors: NDArray[np.float32]
    owner: NDArray[np.intp]  # 2·i for picture i, 2·i + 1 for its mirror image


def find_leaks(
    train_images: Iterable[NamedPicture], eval_images: Sequence[NamedPicture], meter: Any = None
) -> list[Leak]:
    """Which training pictures show an evaluation picture or a part of it.

    Args:
        train_images: name and pixels, (H, W, 3) uint8 RGB; read one at a time.
        eval_images: the same of the evaluation.
        meter: told of every training picture (`.update(1)`).

    Returns:
        One for each such pair, in the order of the training pictures. Parts without texture, such as a piece of
        sky, have no keypoints and are not found.
    """
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
    """Places (n, 2) as x, y, and descriptors (n, 128) of length 1.

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
    """For each of ours the nearest of theirs, and whether it is near enough."""
    nearest = np.empty(len(ours), np.intp)
    alike = np.empty(len(ours), np.bool_)
    for start in range(0, len(ours), rows):  # the table of all cosines would be large
        cosines = ours[start : start + rows] @ theirs.T
        best = cosines.argmax(axis=1)
        nearest[start : start + rows] = best
        alike[start : start + rows] = np.take_along_axis(cosines, best[:, None], axis=1)[:, 0] >= _ALIKE
    return nearest, alike


def _agreed(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Shift, scale and turn (2, 3) from ours to theirs that enough keypoints agree on."""
    cv2.setRNGSeed(0)  # OpenCV draws its samples from a state of its own
    matrix, inside = cv2.estimateAffinePartial2D(ours, theirs, ransacReprojThreshold=3.0, maxIters=500)
    if matrix is None or int(inside.sum()) < _AGREE:
        return None
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    return np.asarray(matrix, np.float64) if 0.05 < scale < 20 else None


def _laid_on(train: Grey, truth: Grey, matrix: NDArray[np.float64]) -> tuple[float, float]:
    """Correlation where both overlap, at the coarser one's resolution, and the overlap's share of `truth`."""
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


def refuse_leaks(data: Path, valid: Path) -> None:
    """Raise if training data shows the pictures it would be validated on. A result is kept for the same data.

    Args:
        data: patches, or anything `pictures_of` reads.
        valid: folder of evaluation pictures.

    Raises:
        UserError: it does; the message names the first few.
    """
    leaks = _kept(data, valid)
    if leaks:
        some = "; ".join(f"{leak.train} shows {leak.eval} ({leak.how})" for leak in leaks[:3])
        more = f" and {len(leaks) - 3} more" if len(leaks) > 3 else ""
        raise UserError(
            f"{data}: the training data holds pictures of {valid}, so its scores would say nothing: {some}{more}; "
            "make patches without them, or give leak_check=false if you do not report these scores"
        )


def _kept(data: Path, valid: Path) -> list[Leak]:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lakerank" / "leaks"
    path = folder / f"{_fingerprint(data, valid)}.json"
    with suppress(OSError, ValueError, TypeError):
        return [Leak(**leak) for leak in json.loads(path.read_text(encoding="utf-8"))]
    leaks = _search(data, valid)
    with suppress(OSError):  # a machine without a writable home searches each time
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps([asdict(leak) for leak in leaks]), encoding="utf-8")
        part.replace(path)
    return leaks


def _search(data: Path, valid: Path) -> list[Leak]:
    truths = _evaluation_pictures(valid)
    with progress(None, "leaks", "picture") as meter:
        return find_leaks(pictures_of(data), truths, meter)


def _evaluation_pictures(path: Path) -> list[NamedPicture]:
    """All but the LR ones: they show the same as their HR picture."""
    found = [(name, image) for name, image in pictures_of(path) if not _is_lr(name)]
    if not found:
        raise UserError(f"{path}: holds no pictures to guard")
    return found


def _is_lr(name: str) -> bool:
    path = Path(name)
    folders = (part for folder in path.parts[:-1] for part in folder.split("_"))
    return path.stem.endswith("_LR") or "LR" in folders


def _fingerprint(*paths: Path) -> str:
    """Of the files' names, sizes and times: reading the data again would cost as much as the search."""
    digest = hashlib.sha256(str(_VERSION).encode())
    for path in paths:
        for name, status in _files(path):
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if file.exists():
            yield str(file.resolve()), file.stat()


@dataclass(frozen=True)
class LeakArgs(Settings):
    """Settings of the search."""

    train: str = flag(
        "", "training pictures or patches: folders, tar or zip files, separated by commas", metavar="PATH"
    )
    against: str = flag("", "folders of evaluation pictures, separated by commas", metavar="DIR")


def run(args: LeakArgs) -> dict[str, Any]:
    """Search, list, and fail if there is anything."""
    trains = [Path(word.strip()) for word in args.train.split(",") if word.strip()]
    against = [Path(word.strip()) for word in args.against.split(",") if word.strip()]
    if not trains or not against:
        raise UserError("--train and --against: give both, what is trained on and what must not be in it")
    started = time.perf_counter()
    truths = [(f"{path.name}/{name}", image) for path in against for name, image in _evaluation_pictures(path)]
    leaks: list[Leak] = []
    with progress(None, "leaks", "picture") as meter:
        for path in trains:
            leaks += find_leaks(pictures_of(path), truths, meter)
        searched = int(meter.n)
    for leak in leaks:
        print(f"leak: {leak.train} shows {leak.eval} ({leak.how}, correlation {leak.score:.3f})")
    if leaks:
        raise UserError(f"{args.train}: {len(leaks)} leaks of {args.against}; remove the pictures named above")
    seconds = round(time.perf_counter() - started, 1)
    print(f"leaks: none in {searched} pictures against {len(truths)}, {seconds} s")
    return {"leaks": 0, "pictures": searched, "against": len(truths), "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code: 2 if there are leaks."""
    return run_command(run, LeakArgs, "leaks", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

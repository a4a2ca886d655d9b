"""Score a generator ×4 on folders of pictures, with the bicubic baseline beside it.

`python -m sr_model.evaluate --checkpoint build/sr/gan.safetensors --data path/to/Set5,path/to/Set14 --out build/scores`
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from lakerank.cli.progress import progress
from lakerank.cli.settings import Range, Settings, flag
from lakerank.cli.stores import at_hand
from sr_model.degrade import METHODS, bicubic_upscale, check_method
from sr_model.device import pick_device
from sr_model.metrics import METRICS, MetricSettings, Score, make_metrics
from sr_model.scoring.comparison import comparison
from sr_model.scoring.validation import Pair, load_pairs, mean_scores, score_one, super_resolve
from sr_model.weights import load_generator
from sr_model.zoo import CHECKPOINT_HELP

Upscaler = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
_MODEL, _ENSEMBLE = "model", "model_x8"
_CAPTIONS = {"bicubic": "bicubic", _MODEL: "SR", _ENSEMBLE: "SR, mean of 8 turned"}


@dataclass(frozen=True)
class EvaluateArgs(Settings):
    """Settings of the evaluation."""

    data: str = flag("", "folders of HR pictures (or HR and LR), separated by commas", metavar="DIR[,DIR]")
    checkpoint: str = flag("", f"{CHECKPOINT_HELP}; empty: the bicubic baseline alone", metavar="NAME|FILE")
    out: str = flag("build/evaluation", "where scores.csv, scores.json and pictures go", metavar="DIR")
    scale: int = flag(4, "the factor", within=Range(2))
    metrics: str = flag("psnr_y,ssim_y,niqe,gmsd,lpips", f"of {', '.join(METRICS)}", metavar="NAME,…")
    degradation: str = flag("matlab", f"how LR is made where it is not given: {' or '.join(METHODS)}")
    border: int = flag(-1, "pixels cut off on each side before measuring; -1: the scale, as the field does")
    self_ensemble: bool = flag(False, "score the mean of 8 turned and mirrored inputs too, as model_x8")
    device: str = flag("auto", "auto takes the GPU if there is one", choices=("auto", "cpu", "cuda"))
    pictures: bool = flag(True, "write a side-by-side picture for each image")
    lpips_weights: str = flag("", "AlexNet's weights for lpips; empty: torchvision's cache", metavar="FILE")
    niqe_model: str = flag("", "published statistics for niqe: .mat, .npz or mmagic's wheel", metavar="FILE")


@dataclass(frozen=True)
class Scored:
    """Hold one picture: what each upscaler made of it, and how good that is.

    Attributes:
        pair: the picture.
        made: upscaler → (H, W, 3) uint8.
        scores: upscaler → metric → value.
    """

    pair: Pair
    made: Mapping[str, NDArray[np.uint8]]
    scores: Mapping[str, Mapping[str, float]]


def evaluate_pairs(
    upscalers: Mapping[str, Upscaler], pairs: Sequence[Pair], scores: Mapping[str, Score]
) -> Iterator[Scored]:
    """Score every upscaler on every pair, one pair after the other.

    Args:
        upscalers: name → function from LR to SR, (h, w, 3) uint8 to (H, W, 3) uint8.
        pairs: from `load_pairs`.
        scores: from `make_metrics`.
    """
    for pair in pairs:
        made = {name: upscale(pair.lr) for name, upscale in upscalers.items()}
        yield Scored(pair, made, {name: score_one(scores, pair.hr, picture) for name, picture in made.items()})


def evaluate_folder(
    generator: nn.Module | None,
    folder: Path | str,
    metrics: Sequence[str] = ("psnr_y", "ssim_y"),
    scale: int = 4,
    degradation: str = "matlab",
) -> dict[str, dict[str, float]]:
    """Compute the mean scores of a folder: `{"bicubic": {metric: value}, "model": {…}}`, for notebooks and scripts.

    Args:
        generator: in evaluation mode; None: bicubic alone.
        folder: see `load_pairs`.
        metrics: keys of `METRICS`; those that cannot be had here are left out.
        scale: the factor.
        degradation: how LR is made where it is not given.

    Raises:
        UserError: as `load_pairs` and `make_metrics`.
    """
    scores, _ = make_metrics(metrics, MetricSettings(scale))
    rows = list(evaluate_pairs(make_upscalers(generator, scale, False), load_pairs(folder, scale, degradation), scores))
    return means_of(rows)


def means_of(rows: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """Compute upscaler → metric → mean over the pictures."""
    return {name: mean_scores([row.scores[name] for row in rows]) for name in rows[0].scores}


def make_upscalers(generator: nn.Module | None, scale: int, self_ensemble: bool) -> dict[str, Upscaler]:
    """Make the baseline, and the generator's if there is one."""
    upscalers: dict[str, Upscaler] = {"bicubic": lambda lr: bicubic_upscale(lr, scale)}
    if generator is not None:
        upscalers[_MODEL] = lambda lr: super_resolve(generator, lr)
        if self_ensemble:
            upscalers[_ENSEMBLE] = lambda lr: super_resolve(generator, lr, self_ensemble=True)
    return upscalers


def run(args: EvaluateArgs) -> dict[str, Any]:
    """Score, write, print; return the summary."""
    with at_hand(args, ("data", "checkpoint", "lpips_weights", "niqe_model"), ("out",)) as here:
        return score_folders(here)


def score_folders(args: EvaluateArgs) -> dict[str, Any]:
    """Do what `run` does, with all files on this machine."""
    check_method(args.degradation)
    folders = _folders(args.data)
    generator = _generator(args)
    border = args.scale if args.border < 0 else args.border
    settings = MetricSettings(border, args.lpips_weights, args.niqe_model)
    names = [name.strip() for name in args.metrics.split(",") if name.strip()]
    scores, missing = make_metrics(names, settings)
    for name, reason in missing.items():
        print(f"evaluate: {name} is left out: {reason}")
    if not scores:
        raise UserError(f"--metrics {args.metrics}: none of them can be computed here; give others")
    sets = {name: load_pairs(folder, args.scale, args.degradation) for name, folder in folders.items()}
    for name, pairs in sets.items():
        for pair in pairs:
            if min(pair.hr.shape[:2]) <= 2 * border:
                raise UserError(f"{name}/{pair.name}: too small to cut {border} pixels on each side; remove it")
    upscalers = make_upscalers(generator, args.scale, args.self_ensemble)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Scored]] = {}
    with progress(sum(map(len, sets.values())), "evaluate", "picture") as meter:
        for name, pairs in sets.items():
            results[name] = []
            for scored in evaluate_pairs(upscalers, pairs, scores):
                if args.pictures:
                    _draw(scored, args.scale, out / name / f"{scored.pair.name}.png")
                results[name].append(Scored(Pair(scored.pair.name, *_NO_PIXELS), {}, scored.scores))
                meter.update()
    for name, rows in results.items():
        print(table(name, rows, args.degradation))
    summary = _summary(results) | {"skipped": missing}
    _write_csv(results, out / "scores.csv")
    images = {name: {row.pair.name: _plain(row.scores) for row in rows} for name, rows in results.items()}
    settings_used = {
        "scale": args.scale,
        "border": border,
        "degradation": args.degradation,
        "checkpoint": args.checkpoint,
    }
    whole = {**summary, "settings": settings_used, "images": images}
    write_file(out / "scores.json", json.dumps(whole, indent=1) + "\n", "--out")
    print(f"evaluate: scores.csv, scores.json{' and pictures' if args.pictures else ''} are in {out}")
    return summary


# Pictures are not kept once they are scored and drawn.
_NO_PIXELS = (np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0, 3), np.uint8))


def _folders(data: str) -> dict[str, Path]:
    """List name → folder; two folders of one name get their parents' too."""
    paths = [Path(word.strip()) for word in data.split(",") if word.strip()]
    if not paths:
        raise UserError("--data: give at least one folder of HR pictures")
    found: dict[str, Path] = {}
    for path in paths:
        name = path.resolve().name
        if name in found:
            name = f"{path.resolve().parent.name}-{name}"
        if name in found:
            raise UserError(f"--data {data}: {path} is given twice; name each folder once")
        found[name] = path
    return found


def _generator(args: EvaluateArgs) -> nn.Module | None:
    if not args.checkpoint:
        if args.self_ensemble:
            raise UserError("--self-ensemble: needs --checkpoint, a generator")
        return None
    generator = load_generator(args.checkpoint, pick_device(args.device))
    held = int(getattr(generator, "scale", 4))
    if held == 1:
        raise UserError(
            f"--checkpoint {args.checkpoint}: does not enlarge, so there is no bicubic picture to compare with"
        )
    if held != args.scale:
        raise UserError(f"--scale {args.scale}: {args.checkpoint} enlarges by {held}; give --scale {held}")
    return generator


def _draw(scored: Scored, scale: int, path: Path) -> None:
    pair = scored.pair
    pixels = pair.lr.repeat(scale, axis=0).repeat(scale, axis=1)
    made = [(_CAPTIONS[name], image, scored.scores[name].get("psnr_y")) for name, image in scored.made.items()]
    page = comparison([("LR", pixels, None), *made, ("HR", pair.hr, None)])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page).save(path)
    for name, image in scored.made.items():  # by itself: the report puts them under a slider
        Image.fromarray(image).save(path.with_stem(f"{path.stem}-{name}"))


def table(name: str, rows: Sequence[Scored], degradation: str = "matlab") -> str:
    """Format one line for each picture and upscaler, and the means."""
    metrics = list(next(iter(rows[0].scores.values())))
    widths = [max(9, len(METRICS[metric].title)) for metric in metrics]
    first = max([len("picture"), len("mean"), *(len(row.pair.name) for row in rows)])
    head = f"{'picture':<{first}}  {'upscaler':<8}"
    lines = [f"\n{name}: {len(rows)} pictures, LR made by {degradation} where it was not given", head]
    lines[1] += "".join(f"  {METRICS[m].title:>{width}}" for m, width in zip(metrics, widths, strict=True))
    for title, scores in [*((row.pair.name, row.scores) for row in rows), ("mean", means_of(rows))]:
        for upscaler, values in scores.items():
            cells = (f"{values[m]:>{w}.{METRICS[m].digits}f}" for m, w in zip(metrics, widths, strict=True))
            lines.append(f"{title:<{first}}  {upscaler:<8}  " + "  ".join(cells))
            title = ""
    return "\n".join(lines)


def _summary(results: Mapping[str, Sequence[Scored]]) -> dict[str, Any]:
    """Summarize the sets: `bicubic` and `model` of the first one at the top, and all of them in `sets`."""
    sets = {name: {**_plain(means_of(rows)), "pictures": len(rows)} for name, rows in results.items()}
    first = next(iter(sets.values()))
    return {**{key: value for key, value in first.items() if key != "pictures"}, "sets": sets}


def _plain(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Replace NaN (not measurable) and infinity (PSNR of equal pictures), which JSON has not."""
    return {
        name: {metric: value if math.isfinite(value) else None for metric, value in values.items()}
        for name, values in scores.items()
    }


def _write_csv(results: Mapping[str, Sequence[Scored]], path: Path) -> None:
    metrics = list(next(iter(next(iter(results.values()))[0].scores.values())))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["set", "picture", "upscaler", *metrics])
    for name, rows in results.items():
        for row in rows:
            for upscaler, values in row.scores.items():
                writer.writerow([name, row.pair.name, upscaler, *(f"{values[m]:.6f}" for m in metrics)])
    write_file(path, text.getvalue(), "--out")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(run, EvaluateArgs, "evaluate", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

"""What a training run and an evaluation of super-resolution left in a folder, for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lakerank.cli.errors import UserError

MOST_PICTURES = 3
MOST_BYTES = 1_500_000  # of one picture on the page
BEFORE, AFTER = "-bicubic", "-model"


@dataclass(frozen=True)
class Enlarged:
    """A picture enlarged twice: by bicubic interpolation and by the network; both PNG."""

    name: str
    before: bytes
    after: bytes


@dataclass(frozen=True)
class SrResults:
    """Results of super-resolution.

    Attributes:
        history: lines of `history.jsonl`: `step`, `seconds`, losses, `psnr_y` (dB) where there was a validation.
        sets: name → upscaler (`bicubic`, `model`) → metric → mean; and `pictures`, how many.
        pictures: some of those that were scored.
    """

    history: Sequence[Mapping[str, float]] = ()
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pictures: Sequence[Enlarged] = ()


def read_sr_results(folder: Path) -> SrResults:
    """The results in `folder` (what `train --out` or `evaluate --out` named) and its `evaluation`; empty if none.

    Raises:
        UserError: a file in it is not what the commands write.
    """
    history: list[dict[str, float]] = []
    path = folder / "history.jsonl"
    try:
        if path.is_file():
            history = [dict(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        scores = next((p for p in (folder / "scores.json", folder / "evaluation" / "scores.json") if p.is_file()), None)
        if scores is None:
            return SrResults(history)
        path = scores
        sets = dict(json.loads(path.read_text(encoding="utf-8"))["sets"])
        pictures = [_enlarged(file, scores.parent) for file in sorted(scores.parent.glob(f"*/*{AFTER}.png"))]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {error}); is it from sr_model?") from error
    return SrResults(history, sets, [picture for picture in pictures if picture is not None][:MOST_PICTURES])


def _enlarged(after: Path, folder: Path) -> Enlarged | None:
    before = after.with_name(after.name.replace(f"{AFTER}.png", f"{BEFORE}.png"))
    if not before.is_file() or max(before.stat().st_size, after.stat().st_size) > MOST_BYTES:
        return None
    name = after.relative_to(folder).as_posix().removesuffix(f"{AFTER}.png")
    return Enlarged(name, before.read_bytes(), after.read_bytes())

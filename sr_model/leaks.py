"""Leak guard: pictures of the evaluation that are also, whole or in part, in the training data.

`python -m sr_model.leaks --train path/to/images.tar --against path/to/Set5` finds copies, crops, rescaled, turned,
mirrored and re-encoded ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from lakerank.cli.progress import progress
from lakerank.cli.settings import Settings, flag
from sr_model.scoring.leak_search import Leak, find_leaks
from sr_model.scoring.read_pictures import NamedPicture, read_pictures

_VERSION = 1  # raise it when the search changes: kept results are forgotten


def refuse_leaks(data: Path, valid: Path) -> None:
    """Refuse training data that shows the pictures it would be validated on; a result is kept for the same data.

    Args:
        data: patches, or anything `read_pictures` reads.
        valid: folder of evaluation pictures.

    Raises:
        UserError: it does; the message names the first few.
    """
    leaks = _cached_leaks(data, valid)
    if leaks:
        some = "; ".join(f"{leak.train} shows {leak.eval} ({leak.how})" for leak in leaks[:3])
        more = f" and {len(leaks) - 3} more" if len(leaks) > 3 else ""
        raise UserError(
            f"{data}: the training data holds pictures of {valid}, so its scores would say nothing: {some}{more}; "
            "make patches without them, or give leak_check=false if you do not report these scores"
        )


def _cached_leaks(data: Path, valid: Path) -> list[Leak]:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lakerank" / "leaks"
    path = folder / f"{_fingerprint(data, valid)}.json"
    with suppress(OSError, ValueError, TypeError):
        return [Leak(**leak) for leak in json.loads(path.read_text(encoding="utf-8"))]
    leaks = _search(data, valid)
    with suppress(OSError):  # a machine without a writable home searches each time
        write_file(path, json.dumps([asdict(leak) for leak in leaks]))
    return leaks


def _search(data: Path, valid: Path) -> list[Leak]:
    truths = _evaluation_pictures(valid)
    with progress(None, "leaks", "picture") as meter:
        return find_leaks(read_pictures(data), truths, meter)


def _evaluation_pictures(path: Path) -> list[NamedPicture]:
    """Read all but the LR ones: they show the same as their HR picture."""
    found = [(name, image) for name, image in read_pictures(path) if not _is_lr(name)]
    if not found:
        raise UserError(f"{path}: holds no pictures to guard")
    return found


def _is_lr(name: str) -> bool:
    path = Path(name)
    folders = (part for folder in path.parts[:-1] for part in folder.split("_"))
    return path.stem.endswith("_LR") or "LR" in folders


def _fingerprint(*paths: Path) -> str:
    """Hash the files' names, sizes and times: reading the data again would cost as much as the search."""
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
    """Search, list the leaks, and fail if there are any."""
    trains = [Path(word.strip()) for word in args.train.split(",") if word.strip()]
    against = [Path(word.strip()) for word in args.against.split(",") if word.strip()]
    if not trains or not against:
        raise UserError("--train and --against: give both, what is trained on and what must not be in it")
    started = time.perf_counter()
    truths = [(f"{path.name}/{name}", image) for path in against for name, image in _evaluation_pictures(path)]
    leaks: list[Leak] = []
    with progress(None, "leaks", "picture") as meter:
        for path in trains:
            leaks += find_leaks(read_pictures(path), truths, meter)
        searched = int(meter.n)
    for leak in leaks:
        print(f"leak: {leak.train} shows {leak.eval} ({leak.how}, correlation {leak.score:.3f})")
    if leaks:
        raise UserError(f"{args.train}: {len(leaks)} leaks of {args.against}; remove the pictures named above")
    seconds = round(time.perf_counter() - started, 1)
    print(f"leaks: none in {searched} pictures against {len(truths)}, {seconds} s")
    return {"leaks": 0, "pictures": searched, "against": len(truths), "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 2 if there are leaks."""
    return run_command(run, LeakArgs, "leaks", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

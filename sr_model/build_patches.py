"""Cut pictures into a data set of training patches without Spark, with a pool of processes.

`python -m sr_model.build_patches --source path/to/images --out patches` writes what `spark_jobs/make_patches.py`
writes, to the byte, for machines that have no Spark.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.progress import progress
from lakerank.cli.settings import flag
from sr_model.patching.dataset import (
    Build,
    Made,
    PatchSettings,
    begin,
    chunks,
    finish_build,
    forget,
    make_part,
    no_patches,
    notes,
    summary,
)
from sr_model.patching.sources import Item, list_items


@dataclass(frozen=True)
class BuildArgs(PatchSettings):
    """Settings of the command."""

    source: str = flag("", "folders, tars, zips or pictures, separated by commas", metavar="PATH[,PATH]")
    out: str = flag("build/patches", "folder of the data set; train/ and valid/ are made in it", metavar="DIR")
    workers: int = flag(2, "processes", check=lambda v: v >= 1, must="be at least 1")


def _make(out: Path, parts: Sequence[Sequence[Item]], build: Build, workers: int) -> None:
    with ProcessPoolExecutor(workers) as pool, progress(len(parts), "cut", "part") as meter:
        running: list[Future[Made]] = [pool.submit(make_part, out, n, part, build) for n, part in enumerate(parts)]
        try:
            for future in as_completed(running):
                future.result()
                meter.update(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or the other parts would be made before anyone hears of it
            raise


def in_words(facts: Mapping[str, Any], others: int) -> str:
    """The outcome in one line."""
    words = f"{facts['patches']} patches of {facts['images']} pictures ({facts['train']} train, {facts['valid']} valid)"
    return f"{words}, {facts['filtered']} too flat, {facts['rejected']} pictures rejected, {others} other files"


def outcome(name: str, out: Path, build: Build, others: int) -> dict[str, Any]:
    """Say what a build gave, and return it.

    Raises:
        UserError: not a single patch; the folder is free again then.
    """
    made = notes(out)
    facts = summary(made)
    if not facts["patches"]:
        forget(out)
        raise no_patches(made)
    print(f"{name}: {in_words(facts, others)}, in {out}")
    if said := advice(facts, build):
        print(f"{name}: {said}")
    return facts


def advice(facts: Mapping[str, Any], build: Build) -> str:
    """What to do if all pictures fell to one side of a draw that was to give two; else empty."""
    if facts["train"] and (facts["valid"] or not build.valid_fraction):
        return ""
    missing, change = ("validation", "raise") if facts["train"] else ("training", "lower")
    return f"no patch fell to the {missing} set; {change} --valid-fraction or change --seed, with --overwrite"


def run(args: BuildArgs) -> Mapping[str, Any]:
    """Cut what is not cut yet; returns the summary."""
    started = time.perf_counter()
    if not args.source:
        raise UserError("--source: give a folder, a tar, a zip or a picture")
    build, out = args.build(), Path(args.out)
    listing = list_items(args.source)
    items = listing.items[: args.limit or None]
    fingerprint = build.fingerprint([(item.name, item.size) for item in items])
    if begin(out, fingerprint, args.overwrite):
        print(f"build_patches: {out} holds these patches already")
        return {**summary(notes(out)), "seconds": 0.0}
    parts = chunks(items)
    try:
        _make(out, parts, build, args.workers)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror or error})") from error
    finish_build(out, len(parts), build, fingerprint)
    for name, reason in (pair for one in notes(out) for pair in one.rejected):
        print(f"build_patches: {name}: {reason}", file=sys.stderr)
    return {**outcome("build_patches", out, build, listing.others), "seconds": round(time.perf_counter() - started, 3)}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_command(run, BuildArgs, "build_patches", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())

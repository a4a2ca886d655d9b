"""A data set of patches made of parts: begun, watched, finished and reported, and the settings of it all."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from lakerank.cli.progress import progress
from lakerank.cli.settings import FRACTION_BELOW_ONE, NOT_NEGATIVE, Range, Settings, flag
from sr_model.data.format import MANIFEST, read_manifest
from sr_model.data.writer import finish
from sr_model.patching.extract import PatchPlan
from sr_model.patching.parts import (
    RESULTS,
    SPLITS,
    Build,
    BuildPlan,
    PartResult,
    count_done_parts,
    read_results,
)

_LOOK_SECONDS = 1.0


def build_dataset(
    command: str, out: Path, build: Build, plan: BuildPlan, make: Callable[[Path], int], overwrite: bool
) -> list[PartResult]:
    """Make the parts of a data set that are not made yet, and finish it.

    What is replaced stays until the new data set is whole: that is made in a hidden folder beside it.

    Args:
        command: named in what is printed.
        out: folder of the data set; `train` and `valid` are made in it.
        build: the settings.
        plan: of its parts.
        make: makes them in a folder by whatever processes, and returns how many there must be.
        overwrite: replace patches of another build.

    Returns:
        The result of each part.

    Raises:
        UserError: see `begin` and `finish_build`.
    """
    beside = _building_folder(out, plan.fingerprint)
    where = beside if overwrite and (out.exists() or beside.exists()) else out
    if where != out:
        begin(out, "", overwrite)  # refuses what is not ours
    if begin(where, plan.fingerprint, overwrite=False):
        print(f"{command}: {where} holds these patches already")
    else:
        with _watched(where, plan.count):
            count = make(where)
        finish_build(where, count, build, plan.fingerprint)
    results = read_results(where)
    if where != out:
        _put_in_place(where, out, results)
    return results


def _building_folder(out: Path, fingerprint: str) -> Path:
    """Name the folder that a data set is made in while another one is in its place; found again by a second run."""
    return out.parent / f".{out.name}-building-{fingerprint[:16]}"


def _put_in_place(made: Path, out: Path, results: Sequence[PartResult]) -> None:
    """Put a new data set where another one is; without a single patch the old one stays."""
    if not any(one.parts for one in results):
        shutil.rmtree(made)
        return
    old = out.parent / f".{out.name}-replaced-{uuid.uuid4().hex}"
    if out.exists():  # not if a run was killed between these two steps
        out.replace(old)
    made.replace(out)
    for leftover in (*out.parent.glob(f".{out.name}-replaced-*"), *out.parent.glob(f".{out.name}-building-*")):
        shutil.rmtree(leftover, ignore_errors=True)


def report_build(
    command: str, out: Path, build: Build, plan: BuildPlan, results: Sequence[PartResult]
) -> dict[str, Any]:
    """Print what a build gave, and return it.

    Raises:
        UserError: not a single patch; the folder is free again then.
    """
    counts = summary(results)
    if not counts["patches"]:
        forget(out, plan.fingerprint)
        raise no_patches_error(results)
    print(f"{command}: {describe(counts, plan.others)}, in {out}")
    if advice := _advice(counts, build):
        print(f"{command}: {advice}")
    return counts


def describe(counts: Mapping[str, Any], others: int) -> str:
    """Describe the outcome in one line."""
    words = f"{counts['patches']} patches of {counts['images']} pictures"
    words += f" ({counts['train']} train, {counts['valid']} valid), {counts['filtered']} too flat"
    return f"{words}, {counts['rejected']} pictures rejected, {others} other files"


def _advice(counts: Mapping[str, Any], build: Build) -> str:
    """Say what to do if all pictures fell to one side of a draw that was to give two; else nothing."""
    if counts["train"] and (counts["valid"] or not build.valid_fraction):
        return ""
    missing, change = ("validation", "raise") if counts["train"] else ("training", "lower")
    return f"no patch fell to the {missing} set; {change} --valid-fraction or change --seed, with --overwrite"


@contextmanager
def _watched(out: Path, parts: int) -> Iterator[None]:
    """Show a progress meter that counts the parts as they are done, whoever makes them."""
    over = threading.Event()

    def watch() -> None:
        with progress(parts, "patches", "part") as meter:
            while not over.wait(_LOOK_SECONDS):
                meter.update(count_done_parts(out) - meter.n)
            meter.update(count_done_parts(out) - meter.n)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def begin(out: Path, fingerprint: str, overwrite: bool) -> bool:
    """Make sure the folder is free, or holds the beginning of this very build; True if that is finished already.

    With `overwrite` only see that it is ours.

    Raises:
        UserError: it holds patches of another build, and `overwrite` was not given; or something that is not ours; or
            it cannot be written.
    """
    stamp = out / RESULTS / "build"
    try:
        held = stamp.read_text(encoding="utf-8") if stamp.is_file() else ""
        there = [split for split in SPLITS if (out / split).exists()]
        if there and not held:
            raise UserError(f"--out {out}: its `{there[0]}` was not made by this command; choose another folder")
        if overwrite:
            return False
        if held not in ("", fingerprint):
            raise UserError(f"--out {out}: holds patches of other pictures or settings; choose another, or --overwrite")
        if _is_finished(out):
            return True
        for name, hidden in ((RESULTS, ".*.part"), *((split, ".*.tmp") for split in SPLITS)):
            for leftover in (out / name).glob(hidden):
                leftover.unlink()
        write_file(stamp, fingerprint)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror or error}); choose another folder") from error
    return False


def finish_build(out: Path, parts_made: int, build: Build, fingerprint: str) -> None:
    """Make the folders data sets: their manifests come last. A split without a patch gets none.

    Args:
        out: folder of the data set.
        parts_made: how many parts there must be.
        build: the settings.
        fingerprint: of the build.

    Raises:
        UserError: parts that were made elsewhere cannot be seen here.
    """
    made = read_results(out)
    if len(made) != parts_made:
        raise UserError(
            f"--out {out}: {len(made)} of {parts_made} parts are here; it must be a folder that this machine and all "
            "workers share"
        )
    for split in SPLITS:
        parts = [one.parts[split] for one in made if split in one.parts]
        if parts:
            facts = {"split": split, "fingerprint": fingerprint, **asdict(build), "summary": summary(made)}
            plan = build.plan
            finish(out / split, parts, patch=plan.patch, scale=plan.scale, store_lr=plan.store_lr, facts=facts)
        elif (out / split).is_dir():
            shutil.rmtree(out / split)


def summary(made: Sequence[PartResult]) -> dict[str, Any]:
    """Sum the counts over all parts."""
    return {
        "images": sum(one.images for one in made),
        "megapixels": round(sum(one.pixels for one in made) / 1e6, 3),
        "patches": sum(part.rows for one in made for part in one.parts.values()),
        "filtered": sum(one.filtered for one in made),
        "rejected": sum(len(one.rejected) for one in made),
        "bytes": sum(part.size for one in made for part in one.parts.values()),
        **{split: sum(one.parts[split].rows for one in made if split in one.parts) for split in SPLITS},
    }


def forget(out: Path, fingerprint: str) -> None:
    """Remove what a build without a single patch left, so that it is tried anew when the cause is gone."""
    stamp = out / RESULTS / "build"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint:
        shutil.rmtree(out / RESULTS, ignore_errors=True)


def no_patches_error(made: Sequence[PartResult]) -> UserError:
    """Return the error of a build in which no picture gave a patch."""
    reasons = Counter(reason for one in made for _, reason in one.rejected)
    filtered = sum(one.filtered for one in made)
    if not reasons:
        return UserError(f"--filter: all {filtered} patches are too flat; give a lower one, or 0")
    reason, times = reasons.most_common(1)[0]
    return UserError(f"--source: no picture gave a patch; {times} were rejected as: {reason}")


def _is_finished(out: Path) -> bool:
    """Return whether each split that has parts is a whole data set; a run may have been killed between the two."""
    made = {split for one in read_results(out) for split in one.parts}
    try:
        return bool(made) and all(read_manifest(out / split).rows for split in made)
    except UserError:  # not finished, or a file of it is lost or cut short: made again
        for split in SPLITS:
            (out / split / MANIFEST).unlink(missing_ok=True)
        return False


@dataclass(frozen=True)
class PatchSettings(Settings):
    """Settings of patching, for the command and for the Spark job."""

    scale: int = flag(4, "HR pixels per LR pixel", within=Range(2))
    patch: int = flag(96, "side of the HR patches in pixels")
    stride: int = flag(0, "from one patch to the next; 0: the patch's side")
    filter: float = flag(3.0, "leave out patches whose luma changes less per pixel; 0: keep all")
    multiscale: str = flag(
        "1",
        "sizes at which each picture is cut, separated by commas: 1,0.7,0.5,0.35 teaches more",
        metavar="SIZE[,SIZE]",
    )
    store_lr: bool = flag(False, "store LR patches too, cut from the LR of the whole picture")
    valid_fraction: float = flag(0.02, "share of the pictures set apart", within=FRACTION_BELOW_ONE)
    seed: int = flag(0, "of that draw", check=lambda v: 0 <= v < 1 << 63, must="be 0 to below 2^63")
    image_column: str = flag("", "of Parquet in --source: the column of pictures (default: found)", metavar="NAME")
    where: str = flag("", "of Parquet in --source: conditions on rows, e.g. split=train,label>=3", metavar="CONDITIONS")
    row_group_rows: int = flag(0, "patches read and shuffled at once; 0: some megabytes", within=NOT_NEGATIVE)
    limit: int = flag(0, "take so many pictures only, for a trial; 0: all", within=NOT_NEGATIVE)
    overwrite: bool = flag(False, "replace patches of other pictures or settings in --out")

    def build(self) -> Build:
        """Return the settings that decide the content of the data set."""
        sizes = parse_sizes(self.multiscale)
        plan = PatchPlan(self.patch, self.stride or self.patch, self.scale, self.filter, self.store_lr, sizes)
        return Build(plan, self.valid_fraction, self.seed, self.row_group_rows)


def parse_sizes(text: str) -> tuple[float, ...]:
    """Parse the numbers of `--multiscale`.

    Raises:
        UserError: one is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--multiscale {text}: give numbers separated by commas, as 1,0.5") from error

"""A data set of patches made of parts: begun, watched, finished and reported, and the settings of it all."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lakerank.cli.errors import UserError
from lakerank.cli.files import (
    LOCK,
    Lock,
    alone_in,
    exchange,
    flush_to_disk,
    read_bytes,
    remove_file,
    remove_parts,
    try_lock,
    write_file,
)
from lakerank.cli.progress import progress
from lakerank.cli.settings import FRACTION_BELOW_ONE, NOT_NEGATIVE, Range, Settings, flag
from lakerank.cli.stores import download, is_stored_folder, remove_folder, stored_file_exists, upload
from sr_model.data.format import MANIFEST, read_manifest
from sr_model.data.writer import COMMON_METADATA, finish
from sr_model.patching.extract import PatchPlan
from sr_model.patching.parts import (
    RESULTS,
    SPLITS,
    Build,
    BuildPlan,
    PartResult,
    count_done_parts,
    read_results,
    remove_damaged_results,
)

_LOOK_SECONDS = 1.0


def build_dataset(
    command: str, out: Path, build: Build, plan: BuildPlan, make: Callable[[Path], int], overwrite: bool
) -> list[PartResult]:
    """Make the parts of a data set that are not made yet, and finish it.

    What is replaced stays until the new data set is whole: that is made in a hidden folder beside it, and they change
    places. Nobody else builds there meanwhile.

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
        UserError: another build is at work there; see `begin` and `finish_build`.
    """
    out = out.resolve() if out.is_symlink() else out
    refusal = f"--out {out}: another build is at work there; wait for it, or choose another folder"
    with ExitStack() as held:
        with _writable(out):
            _restore(out, refusal)
            held.callback(_remove_if_empty, out)
            lock = held.enter_context(alone_in(out, refusal))
        where = out
        if overwrite and any((out / name).exists() for name in (RESULTS, *SPLITS)):
            begin(out, "", overwrite)  # refuses what is not ours
            where = _building_folder(out, plan.fingerprint)
            with _writable(out):
                held.enter_context(alone_in(where, refusal))
        if begin(where, plan.fingerprint, False, lock):
            print(f"{command}: {where} holds these patches already")
        else:
            with _watched(where, plan.count):
                count = make(where)
            finish_build(where, count, build, plan.fingerprint)
        results = read_results(where)
        if where != out:
            _put_in_place(where, out, results)
        if lock.is_sure:
            for leftover in (*_beside(out, "building"), *_beside(out, "replaced")):
                shutil.rmtree(leftover, ignore_errors=True)
    return results


def build_in_store(
    command: str, place: str, build: Build, plan: BuildPlan, make: Callable[[str], int], overwrite: bool
) -> list[PartResult]:
    """Make the parts of a data set in an object store that are not made yet, and finish it.

    There is no folder to rename there: with `overwrite` the old data set goes first, manifest before all, and until the
    new one's manifests are written readers are told that it is not finished.

    Args:
        command, build, plan, overwrite: see `build_dataset`.
        place: of the data set, with a scheme.
        make: makes the parts there by whatever processes, and returns how many there must be.

    Returns:
        The result of each part.

    Raises:
        UserError: it holds patches of another build, and `overwrite` was not given; or something that is not ours.
    """
    stamp = f"{place}/{RESULTS}/build"
    held = read_bytes(stamp, "--out").decode() if stored_file_exists(stamp) else ""
    there = [split for split in SPLITS if is_stored_folder(f"{place}/{split}")]
    if there and not held:
        raise UserError(f"--out {place}: its `{there[0]}` was not made by this command; choose another place")
    if held not in ("", plan.fingerprint):
        if not overwrite:
            raise UserError(
                f"--out {place}: holds patches of other pictures or settings; choose another, or --overwrite"
            )
        for split in SPLITS:
            remove_file(f"{place}/{split}/{MANIFEST}")
        for name in (*SPLITS, RESULTS):
            remove_folder(f"{place}/{name}")
        held = ""
    with TemporaryDirectory(prefix="lakerank-patches-") as folder:
        local = Path(folder)
        if held and any(stored_file_exists(f"{place}/{split}/{MANIFEST}") for split in SPLITS):
            print(f"{command}: {place} holds these patches already")
            download(f"{place}/{RESULTS}", local / RESULTS)
            return read_results(local)
        write_file(stamp, plan.fingerprint)
        count = make(place)
        download(f"{place}/{RESULTS}", local / RESULTS)
        finish_build(local, count, build, plan.fingerprint)
        for split in SPLITS:
            for name in (COMMON_METADATA, MANIFEST):  # the manifest last: without it a data set is unfinished
                if (local / split / name).is_file():
                    upload(local / split / name, f"{place}/{split}/{name}")
        results = read_results(local)
        if not any(one.parts for one in results):
            remove_folder(f"{place}/{RESULTS}")  # so that it is tried anew when the cause is gone
        return results


def _beside(out: Path, what: str) -> list[Path]:
    """List the hidden folders beside a data set in which it is being made, or to which the one before it was moved."""
    return sorted(path for path in out.parent.iterdir() if path.name.startswith(f".{out.name}-{what}-"))


def _building_folder(out: Path, fingerprint: str) -> Path:
    """Find the folder beside a data set in which a run that was killed has begun these patches; else name one.

    Whoever calls holds the lock on `out`, so nobody is at work in them.
    """
    for path in _beside(out, "building"):
        stamp = path / RESULTS / "build"
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint:
            return path
    return out.parent / f".{out.name}-building-{uuid.uuid4().hex}"


def _restore(out: Path, refusal: str) -> None:
    """Put a data set back that a run was about to replace when it was killed, where folders cannot change places.

    Raises:
        UserError: with the refusal, if that run is still at work.
    """
    if not out.parent.is_dir() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        return
    for old in _beside(out, "replaced"):
        lock = try_lock(old / LOCK)
        if lock is None:
            raise UserError(refusal)
        old.replace(out)
        lock.release()
        return


def _put_in_place(made: Path, out: Path, results: Sequence[PartResult]) -> None:
    """Put a new data set where another one is; without a single patch the old one stays."""
    if any(one.parts for one in results):
        if not exchange(made, out):
            out.replace(out.parent / f".{out.name}-replaced-{uuid.uuid4().hex}")
            made.replace(out)
        flush_to_disk(out.parent)
    shutil.rmtree(made, ignore_errors=True)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    """Say in a sentence that a folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror or error}); choose another folder") from error


def report_build(
    command: str, out: Path | str, build: Build, plan: BuildPlan, results: Sequence[PartResult]
) -> dict[str, Any]:
    """Print what a build gave, and return it.

    Raises:
        UserError: not a single patch; the folder is free again then.
    """
    counts = summary(results)
    if not counts["patches"]:
        if isinstance(out, Path):
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


def begin(out: Path, fingerprint: str, overwrite: bool, lock: Lock | None = None) -> bool:
    """Make sure the folder is free, or holds the beginning of this very build; True if that is finished already.

    With `overwrite` only see that it is ours. With the lock that all builders hold, what is half written is removed.

    Raises:
        UserError: it holds patches of another build, and `overwrite` was not given; or something that is not ours; or
            it cannot be written.
    """
    stamp = out / RESULTS / "build"
    with _writable(out):
        held = stamp.read_text(encoding="utf-8") if stamp.is_file() else ""
        there = [split for split in SPLITS if (out / split).exists()]
        if there and not held:
            raise UserError(f"--out {out}: its `{there[0]}` was not made by this command; choose another folder")
        if overwrite:
            return False
        if held not in ("", fingerprint):
            raise UserError(f"--out {out}: holds patches of other pictures or settings; choose another, or --overwrite")
        remove_damaged_results(out)
        if _is_finished(out):
            return True
        for name in (RESULTS, *SPLITS):
            remove_parts(out / name, lock)
        write_file(stamp, fingerprint)
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
    results = read_results(out)
    try:
        for split in SPLITS:
            made = {one.parts[split].name for one in results if split in one.parts}
            if made or (out / split / MANIFEST).is_file():
                manifest = read_manifest(out / split)
                if made != {part.name for part in manifest.parts}:
                    raise UserError(f"{out / RESULTS}: the result of a part is missing")
                manifest.compare(out / split)
        return any(one.parts for one in results)
    except UserError:  # not finished, or a file of it is lost, cut short or altered: made again
        for split in SPLITS:
            (out / split / MANIFEST).unlink(missing_ok=True)
        return False


@dataclass(frozen=True)
class PatchSettings(Settings):
    """Settings of patching, for the command and for the Spark job."""

    AFTER_STOP = "the same command goes on: parts that are done are kept"

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

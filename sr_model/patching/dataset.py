"""A data set of patches, part by part: planned once, made by any processes in any order, finished at the end.

Parts depend on the sources and the settings alone, so whoever makes them, and however often, the files are the same.
A part that is done has its result in a file; a run that was killed goes on with those that have none.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakerank.cli.errors import UserError
from lakerank.cli.progress import progress
from lakerank.cli.settings import Settings, flag
from sr_model.data.format import MANIFEST, PartInfo, PatchRow, read_manifest
from sr_model.data.writer import default_row_group_rows, finish, write_part
from sr_model.images import BrokenImage, decode_rgb
from sr_model.patching.extract import PatchPlan, TooSmall, extract_patches
from sr_model.patching.sources import Item, list_items, read_items

SPLITS = ("train", "valid")
_RESULTS = "_parts"
_TABLE_PART_BYTES = 32 << 20  # of a table's pictures in one part
_LOOK_SECONDS = 1.0
_PARTS = 32  # enough for many processes to share; what a part holds is bounded by what follows
_LEAST_BYTES, _MOST_BYTES = 2 << 20, 64 << 20  # of picture files in one part
_MOST_ROW_GROUP_BYTES = 1 << 29  # what a reader can hold several of


@dataclass(frozen=True)
class Build:
    """Hold what decides the data set, besides the pictures.

    Attributes:
        plan: how pictures are cut.
        valid_fraction: share of the pictures that are set apart for validation.
        seed: of that draw.
        row_group_rows: rows of a row group; 0: some megabytes.
    """

    plan: PatchPlan
    valid_fraction: float = 0.02
    seed: int = 0
    row_group_rows: int = 0

    def __post_init__(self) -> None:
        """Refuse row groups that no reader could hold.

        Raises:
            UserError: they are too large.
        """
        rows = self.row_group_rows or default_row_group_rows(self.plan.patch)
        if rows * self.plan.patch**2 * 3 > _MOST_ROW_GROUP_BYTES:
            most = _MOST_ROW_GROUP_BYTES // (self.plan.patch**2 * 3)
            advice = f"at most {most} of --patch {self.plan.patch} fit" if most else "choose a smaller --patch"
            raise UserError(f"--row-group-rows {rows}: a row group must stay below 512 MiB; {advice}")

    def fingerprint(self, items: Sequence[tuple[str, int]], kind: str = "files") -> str:
        """Hash the settings, the pictures' names and sizes, and how they are divided into parts (`kind`)."""
        text = json.dumps([kind, asdict(self), [list(item) for item in items]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class PartResult:
    """Count what became of the pictures of a part."""

    images: int = 0
    pixels: int = 0
    filtered: int = 0
    parts: dict[str, PartInfo] = field(default_factory=dict)
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def as_json(self) -> str:
        """Return it as its file holds it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PartResult:
        """Parse a result's file."""
        found = json.loads(text)
        parts = {
            split: PartInfo(p["name"], p["size"], tuple(p["row_groups"])) for split, p in found.pop("parts").items()
        }
        rejected = [(name, reason) for name, reason in found.pop("rejected")]
        return cls(parts=parts, rejected=rejected, **found)


@dataclass(frozen=True)
class BuildPlan:
    """Divide the pictures into parts.

    Attributes:
        count: how many parts there are, at most.
        fingerprint: of the build (`Build.fingerprint`).
        parts: the pictures of each part; empty if they lie in a table.
        others: how many files beside them are no pictures.
    """

    count: int
    fingerprint: str
    parts: tuple[tuple[Item, ...], ...] = ()
    others: int = 0


def plan_files(source: str, limit: int, build: Build) -> BuildPlan:
    """Plan the parts of picture files.

    Args:
        source: see `list_items`.
        limit: take so many pictures only; 0: all.
        build: the settings.

    Raises:
        UserError: see `list_items`.
    """
    listing = list_items(source)
    items = listing.items[: limit or None]
    parts = tuple(group_items(items))
    fingerprint = build.fingerprint([(item.name, item.size) for item in items])
    return BuildPlan(len(parts), fingerprint, parts, listing.others)


def plan_table(sizes: Sequence[tuple[str, int]], build: Build) -> BuildPlan:
    """Plan the parts of a table of pictures: path and bytes of each."""
    count = max(1, math.ceil(sum(size for _, size in sizes) / _TABLE_PART_BYTES))
    return BuildPlan(count, build.fingerprint(sizes, "table"))


def build_dataset(
    command: str, out: Path, build: Build, plan: BuildPlan, make: Callable[[], int], overwrite: bool
) -> list[PartResult]:
    """Make the parts of a data set that are not made yet, and finish it.

    Args:
        command: named in what is printed.
        out: folder of the data set; `train` and `valid` are made in it.
        build: the settings.
        plan: of its parts.
        make: makes them by whatever processes, and returns how many there must be.
        overwrite: replace patches of another build.

    Returns:
        The result of each part.

    Raises:
        UserError: see `begin` and `finish_build`.
    """
    if begin(out, plan.fingerprint, overwrite):
        print(f"{command}: {out} holds these patches already")
    else:
        with _watched(out, plan.count):
            count = make()
        finish_build(out, count, build, plan.fingerprint)
    return read_results(out)


def report_build(
    command: str, out: Path, build: Build, plan: BuildPlan, results: Sequence[PartResult]
) -> dict[str, Any]:
    """Print what a build gave, and return it.

    Raises:
        UserError: not a single patch; the folder is free again then.
    """
    counts = summary(results)
    if not counts["patches"]:
        forget(out)
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

    def look() -> None:
        with progress(parts, "patches", "part") as meter:
            while not over.wait(_LOOK_SECONDS):
                meter.update(count_done_parts(out) - meter.n)
            meter.update(count_done_parts(out) - meter.n)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def parts_table(plan: BuildPlan) -> pa.Table:
    """Return `number int, items string` of each part, for `make_parts`: a list of names travels, not the pictures."""
    items = [json.dumps([asdict(item) for item in part]) for part in plan.parts]
    return pa.table({"number": pa.array(range(len(items)), pa.int32()), "items": items})


def make_parts(out: Path, build: Build) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the Arrow function that makes the parts of a `parts_table` and gives their numbers, `number int`."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for part in batch.to_pylist():
                make_part(out, part["number"], [Item(**item) for item in json.loads(part["items"])], build)
                yield pa.RecordBatch.from_pydict({"number": pa.array([part["number"]], pa.int32())})

    return work


def make_table_part(out: Path, build: Build) -> Callable[[pa.Table], pa.Table]:
    """Return the Arrow function that makes one part of `number int, path string, content binary`, all of its rows."""

    def work(table: pa.Table) -> pa.Table:
        number = table.column("number")[0].as_py()
        pairs = zip(table.column("path").to_pylist(), table.column("content").to_pylist(), strict=True)
        rows = sorted((path, content or b"") for path, content in pairs)
        make_part_from(out, number, [(path, "", content or BrokenImage("no content")) for path, content in rows], build)
        return pa.table({"number": pa.array([number], pa.int32())})

    return work


def group_items(items: Sequence[Item]) -> list[tuple[Item, ...]]:
    """Group pictures into parts, in order, some megabytes together."""
    made: list[tuple[Item, ...]] = []
    waiting: list[Item] = []
    held = 0
    most = min(max(sum(item.size for item in items) // _PARTS, _LEAST_BYTES), _MOST_BYTES)
    for item in items:
        waiting.append(item)
        held += item.size
        if held >= most:
            made.append(tuple(waiting))
            waiting, held = [], 0
    return [*made, tuple(waiting)] if waiting else made


def split_of(data: bytes, build: Build) -> str:
    """Draw the split of a picture from its bytes, so that copies of a picture are never on both sides."""
    digest = hashlib.sha256(build.seed.to_bytes(8, "big") + data).digest()
    return "valid" if int.from_bytes(digest[:8], "big") / 2**64 < build.valid_fraction else "train"


def make_part(out: Path, number: int, items: Sequence[Item], build: Build) -> PartResult:
    """Read and cut the pictures of one part and write its files, unless that was done before.

    Args:
        out: folder of the data set; `train` and `valid` are made in it.
        number: of the part; names its files.
        items: its pictures.
        build: the settings.
    """
    if done := _done(out, number):
        return done
    contents = zip(items, read_items(items), strict=True)
    return make_part_from(out, number, [(item.name, item.split, content) for item, content in contents], build)


def make_part_from(
    out: Path, number: int, pictures: Sequence[tuple[str, str, bytes | BrokenImage]], build: Build
) -> PartResult:
    """Make a part from pictures that were read already: (name, split or empty, content)."""
    if done := _done(out, number):
        return done
    made = PartResult()
    chosen: dict[str, list[tuple[str, bytes]]] = {split: [] for split in SPLITS}
    for name, split, content in pictures:
        if isinstance(content, BrokenImage):
            made.rejected.append((name, str(content)))
        else:
            chosen[split or split_of(content, build)].append((name, content))
    for split, contents in chosen.items():
        part = write_part(
            out / split / f"part-{number:05}.parquet",
            _rows(contents, build.plan, made),
            patch=build.plan.patch,
            scale=build.plan.scale,
            store_lr=build.plan.store_lr,
            row_group_rows=build.row_group_rows or None,
        )
        if part:
            made.parts[split] = part
    _write(_result_file(out, number), made.as_json())
    return made


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


def begin(out: Path, fingerprint: str, overwrite: bool) -> bool:
    """Make sure the folder is free, or holds the beginning of this very build; True if that is finished already.

    Raises:
        UserError: it holds patches of another build, and `overwrite` was not given; or something that is not ours; or
            it cannot be written.
    """
    stamp = out / _RESULTS / "build"
    try:
        held = stamp.read_text(encoding="utf-8") if stamp.is_file() else ""
        there = [split for split in SPLITS if (out / split).exists()]
        if there and not held:
            raise UserError(f"--out {out}: its `{there[0]}` was not made by this command; choose another folder")
        if held not in ("", fingerprint) and not overwrite:
            raise UserError(f"--out {out}: holds patches of other pictures or settings; choose another, or --overwrite")
        if overwrite:
            # The stamp goes last, so that a removal that was cut short is still known as ours.
            for name in (*SPLITS, _RESULTS):
                shutil.rmtree(out / name, ignore_errors=True)
        if _is_finished(out):
            return True
        for leftover in (path for name in (*SPLITS, _RESULTS) for path in (out / name).glob(".*.tmp")):
            leftover.unlink()
        _write(stamp, fingerprint)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror or error}); choose another folder") from error
    return False


def forget(out: Path) -> None:
    """Remove what a build without a single patch left, so that it is tried anew when the cause is gone."""
    shutil.rmtree(out / _RESULTS, ignore_errors=True)


def no_patches_error(made: Sequence[PartResult]) -> UserError:
    """Return the error of a build in which no picture gave a patch."""
    reasons = Counter(reason for one in made for _, reason in one.rejected)
    filtered = sum(one.filtered for one in made)
    if not reasons:
        return UserError(f"--filter: all {filtered} patches are too flat; give a lower one, or 0")
    reason, times = reasons.most_common(1)[0]
    return UserError(f"--source: no picture gave a patch; {times} were rejected as: {reason}")


def read_results(out: Path) -> list[PartResult]:
    """Read the results of the parts that are done, in order."""
    files = sorted((out / _RESULTS).glob("*.json"))
    return [PartResult.from_json(file.read_text(encoding="utf-8")) for file in files]


def count_done_parts(out: Path) -> int:
    """Count the parts that are done, for a progress bar."""
    return sum(1 for _ in (out / _RESULTS).glob("*.json"))


def _rows(contents: Sequence[tuple[str, bytes]], plan: PatchPlan, made: PartResult) -> Iterator[PatchRow]:
    for name, content in contents:
        try:
            image = decode_rgb(content, name)
            for row in extract_patches(image, name, plan):
                if row is None:
                    made.filtered += 1
                else:
                    yield row
        except (BrokenImage, TooSmall) as error:
            made.rejected.append((name, str(error)))
        else:
            made.images += 1
            made.pixels += image.shape[0] * image.shape[1]


def _is_finished(out: Path) -> bool:
    """Whether each split that has parts is a whole data set; a run may have been killed between the two."""
    made = {split for one in read_results(out) for split in one.parts}
    try:
        return bool(made) and all(read_manifest(out / split).rows for split in made)
    except UserError:  # not finished, or a file of it is lost or cut short: made again
        for split in SPLITS:
            (out / split / MANIFEST).unlink(missing_ok=True)
        return False


def _result_file(out: Path, number: int) -> Path:
    return out / _RESULTS / f"{number:05}.json"


def _done(out: Path, number: int) -> PartResult | None:
    note = _result_file(out, number)
    if not note.is_file():
        return None
    made = PartResult.from_json(note.read_text(encoding="utf-8"))
    files = [(out / split / part.name, part.size) for split, part in made.parts.items()]
    return made if all(file.is_file() and file.stat().st_size == size for file, size in files) else None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    hidden.write_text(text, encoding="utf-8")
    hidden.replace(path)


@dataclass(frozen=True)
class PatchSettings(Settings):
    """Settings of patching, for the command and for the Spark job."""

    scale: int = flag(4, "HR pixels per LR pixel", check=lambda v: v >= 2, must="be at least 2")
    patch: int = flag(96, "side of the HR patches in pixels")
    stride: int = flag(0, "from one patch to the next; 0: the patch's side")
    filter: float = flag(3.0, "leave out patches whose luma changes less per pixel; 0: keep all")
    multiscale: str = flag(
        "1",
        "sizes at which each picture is cut, separated by commas: 1,0.7,0.5,0.35 teaches more",
        metavar="SIZE[,SIZE]",
    )
    store_lr: bool = flag(False, "store LR patches too, cut from the LR of the whole picture")
    valid_fraction: float = flag(
        0.02, "share of the pictures set apart", check=lambda v: 0 <= v < 1, must="be 0 to below 1"
    )
    seed: int = flag(0, "of that draw", check=lambda v: 0 <= v < 1 << 63, must="be 0 to below 2^63")
    row_group_rows: int = flag(
        0, "patches read and shuffled at once; 0: some megabytes", check=lambda v: v >= 0, must="be at least 0"
    )
    limit: int = flag(
        0, "take so many pictures only, for a trial; 0: all", check=lambda v: v >= 0, must="be at least 0"
    )
    overwrite: bool = flag(False, "replace patches of other pictures or settings in --out")

    def build(self) -> Build:
        """Return what of it decides the data set."""
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

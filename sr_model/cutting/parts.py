"""A data set of patches, part by part: planned once, made by any processes in any order, finished at the end.

Parts depend on the sources and the settings alone, so whoever makes them, and however often, the files are the same.
A part that is done has a note beside it; a run that was killed goes on with those that have none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from sr_model.cutting.cut import PatchPlan, TooSmall, cut
from sr_model.cutting.sources import Item, read_items
from sr_model.data.manifest import MANIFEST, PartInfo, read_manifest
from sr_model.data.schema import PatchRow
from sr_model.data.writer import default_row_group_rows, finish, write_part
from sr_model.images import BrokenImage, decode_rgb

SPLITS = ("train", "valid")
_NOTES = "_parts"
_PARTS = 32  # enough for many processes to share; what a part holds is bounded by what follows
_LEAST_BYTES, _MOST_BYTES = 2 << 20, 64 << 20  # of picture files in one part
_MOST_ROW_GROUP_BYTES = 1 << 29  # what a reader can hold several of


@dataclass(frozen=True)
class Build:
    """What decides the data set, besides the pictures.

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
        """Of the settings, of the pictures' names and sizes, and of how they are divided into parts (`kind`)."""
        text = json.dumps([kind, asdict(self), [list(item) for item in items]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Made:
    """What became of the pictures of a part."""

    images: int = 0
    pixels: int = 0
    filtered: int = 0
    parts: dict[str, PartInfo] = field(default_factory=dict)
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def as_json(self) -> str:
        """For a note."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Made:
        """Back from a note."""
        found = json.loads(text)
        parts = {
            split: PartInfo(p["name"], p["size"], tuple(p["row_groups"])) for split, p in found.pop("parts").items()
        }
        rejected = [(name, reason) for name, reason in found.pop("rejected")]
        return cls(parts=parts, rejected=rejected, **found)


def chunks(items: Sequence[Item]) -> list[tuple[Item, ...]]:
    """The pictures of each part, in order, some megabytes together."""
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
    """Which split a picture belongs to: by its bytes, so that copies of a picture are never on both sides."""
    digest = hashlib.sha256(build.seed.to_bytes(8, "big") + data).digest()
    return "valid" if int.from_bytes(digest[:8], "big") / 2**64 < build.valid_fraction else "train"


def make_part(out: Path, number: int, items: Sequence[Item], build: Build) -> Made:
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
    return make_part_of(out, number, [(item.name, item.split, content) for item, content in contents], build)


def make_part_of(
    out: Path, number: int, pictures: Sequence[tuple[str, str, bytes | BrokenImage]], build: Build
) -> Made:
    """`make_part` for pictures that were read already: (name, split or empty, content)."""
    if done := _done(out, number):
        return done
    made = Made()
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
    write_file(_note(out, number), made.as_json())
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
    made = notes(out)
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


def summary(made: Sequence[Made]) -> dict[str, Any]:
    """Counts over all parts."""
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
    stamp = out / _NOTES / "build"
    try:
        held = stamp.read_text(encoding="utf-8") if stamp.is_file() else ""
        there = [split for split in SPLITS if (out / split).exists()]
        if there and not held:
            raise UserError(f"--out {out}: its `{there[0]}` was not made by this command; choose another folder")
        if held not in ("", fingerprint) and not overwrite:
            raise UserError(f"--out {out}: holds patches of other pictures or settings; choose another, or --overwrite")
        if overwrite:
            # The stamp goes last, so that a removal that was cut short is still known as ours.
            for name in (*SPLITS, _NOTES):
                shutil.rmtree(out / name, ignore_errors=True)
        if _is_finished(out):
            return True
        for leftover in (path for name in (*SPLITS, _NOTES) for path in (out / name).glob(".*.tmp")):
            leftover.unlink()
        write_file(stamp, fingerprint)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror or error}); choose another folder") from error
    return False


def forget(out: Path) -> None:
    """Remove what a build without a single patch left, so that it is tried anew when the cause is gone."""
    shutil.rmtree(out / _NOTES, ignore_errors=True)


def no_patches(made: Sequence[Made]) -> UserError:
    """What to say when no picture gave a patch."""
    reasons = Counter(reason for one in made for _, reason in one.rejected)
    filtered = sum(one.filtered for one in made)
    if not reasons:
        return UserError(f"--filter: all {filtered} patches are too flat; give a lower one, or 0")
    reason, times = reasons.most_common(1)[0]
    return UserError(f"--source: no picture gave a patch; {times} were rejected as: {reason}")


def notes(out: Path) -> list[Made]:
    """The parts that are done, in order."""
    files = sorted((out / _NOTES).glob("*.json"))
    return [Made.from_json(file.read_text(encoding="utf-8")) for file in files]


def done_parts(out: Path) -> int:
    """How many parts are done; what a progress bar asks."""
    return sum(1 for _ in (out / _NOTES).glob("*.json"))


def _rows(contents: Sequence[tuple[str, bytes]], plan: PatchPlan, made: Made) -> Iterator[PatchRow]:
    for name, content in contents:
        try:
            image = decode_rgb(content, name)
            for row in cut(image, name, plan):
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
    made = {split for one in notes(out) for split in one.parts}
    try:
        return bool(made) and all(read_manifest(out / split).rows for split in made)
    except UserError:  # not finished, or a file of it is lost or cut short: made again
        for split in SPLITS:
            (out / split / MANIFEST).unlink(missing_ok=True)
        return False


def _note(out: Path, number: int) -> Path:
    return out / _NOTES / f"{number:05}.json"


def _done(out: Path, number: int) -> Made | None:
    note = _note(out, number)
    if not note.is_file():
        return None
    made = Made.from_json(note.read_text(encoding="utf-8"))
    files = [(out / split / part.name, part.size) for split, part in made.parts.items()]
    return made if all(file.is_file() and file.stat().st_size == size for file, size in files) else None

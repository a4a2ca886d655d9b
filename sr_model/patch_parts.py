"""A data set of patches, part by part: planned once, made by any processes in any order, finished at the end.

Parts depend on the sources and the settings alone, so whoever makes them, and however often, the files are the same.
A part that is done has a note beside it; a run that was killed goes on with those that have none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spark_jobs.lake.errors import UserError
from sr_model.data.manifest import MANIFEST, PartInfo
from sr_model.data.schema import PatchRow
from sr_model.data.writer import finish, write_part
from sr_model.images import BrokenImage, decode_rgb
from sr_model.patches import PatchPlan, TooSmall, cut
from sr_model.sources import Item, read_item

SPLITS = ("train", "valid")
_NOTES = "_parts"
_PARTS = 32  # enough for many processes to share; what a part holds is bounded by what follows
_LEAST_BYTES, _MOST_BYTES = 2 << 20, 64 << 20  # of picture files in one part


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

    def fingerprint(self, items: Sequence[tuple[str, int]]) -> str:
        """Of the settings and of the pictures' names and sizes."""
        text = json.dumps([asdict(self), [list(item) for item in items]], sort_keys=True)
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
    done = _done(out, number)
    return done or make_part_of(out, number, [(item.name, item.split, _content(item)) for item in items], build)


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
    _write(_note(out, number), made.as_json())
    return made


def finish_build(out: Path, made: Sequence[Made], build: Build, fingerprint: str) -> None:
    """Make the folders data sets: their manifests come last. A split without a patch gets none."""
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
        UserError: it holds patches of another build, and `overwrite` was not given.
    """
    stamp = out / _NOTES / "build"
    held = stamp.read_text(encoding="utf-8") if stamp.is_file() else ""
    foreign = held != fingerprint and any((out / name).exists() for name in (*SPLITS, _NOTES))
    if foreign and not overwrite:
        raise UserError(f"--out {out}: holds patches of other pictures or settings; choose another, or --overwrite")
    if foreign or overwrite:
        for name in (*SPLITS, _NOTES):
            shutil.rmtree(out / name, ignore_errors=True)
    finished = any((out / split / MANIFEST).is_file() for split in SPLITS)
    if not finished:
        for leftover in (path for split in SPLITS for path in (out / split).glob(".*.tmp")):
            leftover.unlink()
        _write(stamp, fingerprint)
    return finished


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


def _content(item: Item) -> bytes | BrokenImage:
    try:
        return read_item(item)
    except BrokenImage as error:
        return error


def _note(out: Path, number: int) -> Path:
    return out / _NOTES / f"{number:05}.json"


def _done(out: Path, number: int) -> Made | None:
    note = _note(out, number)
    return Made.from_json(note.read_text(encoding="utf-8")) if note.is_file() else None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    hidden.write_text(text, encoding="utf-8")
    hidden.replace(path)

"""The parts of a data set of patches: planned once, made by any processes in any order.

Parts depend on the sources and the settings alone, so whoever makes them, and however often, the files are the same.
A part that is done has its result in a file; a run that was killed goes on with those that have none.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from lakerank.cli.stores import stored_file_exists, upload
from sr_model.data.format import PartInfo, PatchRow, part_from
from sr_model.data.writer import default_row_group_rows, write_part
from sr_model.images import BrokenImage, decode_rgb, reason_of
from sr_model.patching.extract import PatchPlan, TooSmall, extract_patches
from sr_model.patching.sources import Item, list_items, read_items

SPLITS = ("train", "valid")
RESULTS = "_parts"  # the folder of the parts' results
_TABLE_PART_BYTES = 32 << 20  # of a table's pictures in one part
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
        """Return the part as a mapping, as its file holds it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PartResult:
        """Parse a result's file."""
        found = json.loads(text)
        parts = {split: part_from(part) for split, part in found.pop("parts").items()}
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


def plan_files(source: str, limit: int, build: Build, image_column: str = "", where: str = "") -> BuildPlan:
    """Plan the parts of picture files.

    Args:
        source: see `list_items`.
        limit: take so many pictures only; 0: all.
        build: the settings.
        image_column, where: see `list_items`.

    Raises:
        UserError: see `list_items`.
    """
    listing = list_items(source, image_column, where)
    items = listing.items[: limit or None]
    parts = tuple(group_items(items))
    fingerprint = build.fingerprint([(item.name, item.size) for item in items])
    return BuildPlan(len(parts), fingerprint, parts, listing.others)


def plan_table(sizes: Sequence[tuple[str, int]], build: Build) -> BuildPlan:
    """Plan the parts of a table of pictures: path and bytes of each."""
    count = max(1, math.ceil(sum(size for _, size in sizes) / _TABLE_PART_BYTES))
    return BuildPlan(count, build.fingerprint(sizes, "table"))


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
    write_file(_result_file(out, number), made.as_json())
    return made


def parts_table(plan: BuildPlan) -> pa.Table:
    """Return `number int, items string` of each part, for `make_parts`: a list of names travels, not the pictures."""
    items = [json.dumps([asdict(item) for item in part]) for part in plan.parts]
    return pa.table({"number": pa.array(range(len(items)), pa.int32()), "items": items})


def make_parts_in_store(place: str, build: Build) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function that `make_parts` returns, for a data set in an object store: each part is made on the
    worker's disk and copied there, its result last; one whose result is there is done."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for part in batch.to_pylist():
                number = part["number"]
                if not stored_file_exists(f"{place}/{RESULTS}/{number:05}.json"):
                    items = [Item(**item) for item in json.loads(part["items"])]
                    with TemporaryDirectory(prefix="lakerank-part-") as folder:
                        make_part(Path(folder), number, items, build)
                        _store_part(Path(folder), place, number)
                yield pa.RecordBatch.from_pydict({"number": pa.array([number], pa.int32())})

    return work


def make_table_part_in_store(place: str, build: Build) -> Callable[[pa.Table], pa.Table]:
    """Return the function that `make_table_part` returns, for a data set in an object store."""

    def work(table: pa.Table) -> pa.Table:
        number = table.column("number")[0].as_py()
        if stored_file_exists(f"{place}/{RESULTS}/{number:05}.json"):
            return pa.table({"number": pa.array([number], pa.int32())})
        with TemporaryDirectory(prefix="lakerank-part-") as folder:
            made: pa.Table = make_table_part(Path(folder), build)(table)
            _store_part(Path(folder), place, number)
        return made

    return work


def _store_part(folder: Path, place: str, number: int) -> None:
    for split in SPLITS:
        if (folder / split).is_dir():
            upload(folder / split, f"{place}/{split}")
    upload(_result_file(folder, number), f"{place}/{RESULTS}/{number:05}.json")


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


def read_results(out: Path) -> list[PartResult]:
    """Read the results of the parts that are done, in order."""
    files = sorted((out / RESULTS).glob("*.json"))
    return [PartResult.from_json(file.read_text(encoding="utf-8")) for file in files]


def remove_damaged_results(out: Path) -> None:
    """Remove results that cannot be read: their parts are made again."""
    for note in (out / RESULTS).glob("*.json"):
        if _parsed(note) is None:
            note.unlink()


def _parsed(note: Path) -> PartResult | None:
    try:
        return PartResult.from_json(note.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def count_done_parts(out: Path) -> int:
    """Count the parts that are done, for a progress bar."""
    return sum(1 for _ in (out / RESULTS).glob("*.json"))


def _rows(contents: Sequence[tuple[str, bytes]], plan: PatchPlan, made: PartResult) -> Iterator[PatchRow]:
    for name, content in contents:
        try:
            image = decode_rgb(content)
            for row in extract_patches(image, name, plan):
                if row is None:
                    made.filtered += 1
                else:
                    yield row
        except (BrokenImage, TooSmall) as error:
            made.rejected.append((name, str(error)))
        except MemoryError as error:
            made.rejected.append((name, reason_of(error)))
        else:
            made.images += 1
            made.pixels += image.shape[0] * image.shape[1]


def _result_file(out: Path, number: int) -> Path:
    return out / RESULTS / f"{number:05}.json"


def _done(out: Path, number: int) -> PartResult | None:
    note = _result_file(out, number)
    if not note.is_file():
        return None
    made = _parsed(note)
    if made is None:
        return None
    return made if all(part.is_intact(out / split) for split, part in made.parts.items()) else None

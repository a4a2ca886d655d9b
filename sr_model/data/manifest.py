"""What a finished folder of patches says about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakerank.cli.errors import UserError

MANIFEST = "_lakerank.json"
FORMAT = 1


@dataclass(frozen=True)
class PartInfo:
    """A part file.

    Attributes:
        name: relative to the data set's folder.
        size: bytes.
        row_groups: rows in each row group.
    """

    name: str
    size: int
    row_groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(self.row_groups)


@dataclass(frozen=True)
class Manifest:
    """Of one data set (a split).

    Attributes:
        patch: side of the HR patches in pixels.
        scale: HR pixels per LR pixel.
        store_lr: LR patches are stored beside the HR ones.
        parts: the files, by name.
        facts: what they were made from and how.
    """

    patch: int
    scale: int
    store_lr: bool
    parts: tuple[PartInfo, ...]
    facts: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Patches in all files."""
        return sum(part.rows for part in self.parts)


def manifest_json(manifest: Manifest) -> str:
    """As it stands in the folder."""
    fields = {
        "format": FORMAT,
        "rows": manifest.rows,
        "patch": manifest.patch,
        "scale": manifest.scale,
        "store_lr": manifest.store_lr,
        "facts": dict(manifest.facts),
        "files": [
            {"name": part.name, "size": part.size, "row_groups": list(part.row_groups)} for part in manifest.parts
        ],
    }
    return json.dumps(fields, indent=1) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of patches.

    Raises:
        UserError: no such folder, not finished, not ours, or a file of it is missing or has another size.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(_why_not(folder))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise UserError(f"{path}: format {found['format']}, but this version reads {FORMAT}; make the patches anew")
        parts = tuple(PartInfo(part["name"], part["size"], tuple(part["row_groups"])) for part in found["files"])
        manifest = Manifest(found["patch"], found["scale"], found["store_lr"], parts, found["facts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not readable ({error!r}); make the patches anew") from error
    for part in manifest.parts:
        file = folder / part.name
        if not file.is_file() or file.stat().st_size != part.size:
            what = "is missing" if not file.is_file() else f"has {file.stat().st_size} bytes instead of {part.size}"
            raise UserError(f"{file}: {what}; copy it again or make the patches anew")
    return manifest


def _why_not(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}: no such folder of patches; make one with spark_jobs/make_patches.py"
    if (folder / "train" / MANIFEST).is_file():
        return f"{folder}: holds train and valid patches; give {folder / 'train'}"
    return f"{folder}: no finished patches here ({MANIFEST} is missing); run make_patches to the end"

"""The log of a Delta table: which commits changed rows, and whose they are. Read from its files, or through Spark.

OPTIMIZE, VACUUM, SET TBLPROPERTIES and their like make new versions with the same rows; who reads "the rows of version
5" may read any later version up to the first commit that changed some.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from pyarrow import fs

from lakerank.cli.errors import UserError
from lakerank.cli.stores import file_system
from lakerank.lake.delta_arrow import GetSpark
from lakerank.lake.delta_table import TableRef, is_catalog_name

_COMMIT = re.compile(r"^(\d{20})\.json$")
# By name where the actions cannot be seen; whatever is not here is taken for a change of rows.
_KEEP_ROWS = frozenset(
    (
        *("OPTIMIZE", "REORG", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES"),
        *("CHANGE COLUMN", "UPGRADE PROTOCOL", "ADD CONSTRAINT", "DROP CONSTRAINT", "CLUSTER BY", "COMPUTE STATS"),
        *("UPDATE COLUMN METADATA", "ADD FEATURE", "DROP FEATURE", "FSCK REPAIR", "SET TABLE COMMENT", "TRUNCATE LOGS"),
    )
)


@dataclass(frozen=True)
class Commit:
    """One commit: the version it made, whether it changed rows, what it was, and what its writer said of itself.

    Attributes:
        restored: the version whose rows it gave the table again, or −1.
    """

    version: int
    changed_rows: bool
    operation: str = "?"
    stamp: str = ""
    restored: int = -1


class TableLog:
    """The commits of a table, as far as they are kept; of a table that is not there none.

    Args:
        ref: where the table is.
        get_spark: gives a session for tables of a catalog.
    """

    def __init__(self, ref: TableRef, get_spark: GetSpark) -> None:
        self._ref, self._get_spark = ref, get_spark
        self._known: dict[int, Commit] = {}

    @property
    def newest(self) -> int:
        """The newest version; −1 if there is no table."""
        return max(self._versions, default=-1)

    def commit(self, version: int) -> Commit:
        """Return one commit; of one that is not kept any more nothing is known, so it may have changed rows."""
        if version not in self._known:
            self._known[version] = self._read(version) if version in self._versions else Commit(version, True)
        return self._known[version]

    def since(self, version: int) -> Iterator[Commit]:
        """Return the commits after a version, in order."""
        return map(self.commit, range(version + 1, self.newest + 1))

    def rows_since(self, version: int) -> int:
        """Return the version that made the rows of `version`: the last one up to it that changed any."""
        while version > 0 and version in self._versions and not self.commit(version).changed_rows:
            version -= 1
        return version

    def mark(self, version: int) -> str:
        """Return what tells a commit from another of the same table and version, as copies of a lake may have.

        Returns:
            Eight hexadecimal digits, of zeros if the commit is not kept any more.
        """
        if version not in self._versions:
            return "0" * 8
        if self._files is None:
            what = repr(self._history[version]).encode()
        else:
            system, folder = self._files
            with system.open_input_stream(f"{folder}/{version:020}.json") as stream:
                what = stream.read()
        return hashlib.sha256(what).hexdigest()[:8]

    def added(self, version: int) -> list[str] | None:
        """Return the files of rows that a commit has added, seen from the table; None if it did anything else to rows,
        or if its actions cannot be seen."""
        if self._files is None or version not in self._versions:
            return None
        added = []
        for action in self._actions(version):
            if "remove" in action or action.get("add", {}).get("deletionVector"):
                return None
            if "add" in action:
                added.append(unquote(action["add"]["path"]))
        return added

    def find(self, stamp: str) -> Commit | None:
        """Return the newest commit with this stamp."""
        for version in range(self.newest, min(self._versions, default=0) - 1, -1):
            if self.commit(version).stamp == stamp:
                return self.commit(version)
        return None

    @cached_property
    def _files(self) -> tuple[Any, str] | None:
        """File system and folder of the log; None where it is Spark's business."""
        if (local := self._ref.folder) is not None:
            return fs.LocalFileSystem(), f"{local}/_delta_log"
        if is_catalog_name(self._ref.location) or self._ref.path.startswith("dbfs:"):
            return None
        try:
            system, place = file_system(self._ref.path)
        except (OSError, ValueError):  # a store that pyarrow does not know, as Spark may
            return None
        return system, f"{place.rstrip('/')}/_delta_log"

    @cached_property
    def _versions(self) -> frozenset[int]:
        if self._files is None:
            return frozenset(self._history)
        system, folder = self._files
        try:
            names = [info.base_name for info in system.get_file_info(fs.FileSelector(folder, allow_not_found=True))]
        except OSError as error:
            raise UserError(f"{self._ref.location}: cannot list its log ({_short(error)})") from error
        return frozenset(int(found[1]) for name in names if (found := _COMMIT.match(name)))

    @cached_property
    def _history(self) -> dict[int, Commit]:
        spark = self._get_spark()
        if not self._ref.exists(spark):
            return {}
        rows = (
            spark.sql(f"DESCRIBE HISTORY {self._ref.sql}")
            .select("version", "operation", "userMetadata", "operationParameters")
            .collect()
        )
        return {
            row["version"]: Commit(
                row["version"],
                row["operation"] not in _KEEP_ROWS,
                row["operation"],
                row["userMetadata"] or "",
                _restored(row["operation"], row["operationParameters"]),
            )
            for row in rows
        }

    def _read(self, version: int) -> Commit:
        if self._files is None:
            return self._history[version]
        changed, operation, stamp, restored = False, "?", "", -1
        for action in self._actions(version):
            if info := action.get("commitInfo"):
                operation, stamp = str(info.get("operation", "?")), str(info.get("userMetadata") or "")
                restored = _restored(operation, info.get("operationParameters"))
            changed = changed or any(
                action[kind].get("dataChange", True) for kind in ("add", "remove") if kind in action
            )
        return Commit(version, changed, operation, stamp, restored)

    def _actions(self, version: int) -> list[dict[str, Any]]:
        assert self._files is not None
        system, folder = self._files
        path = f"{folder}/{version:020}.json"
        try:
            with system.open_input_stream(path) as stream:
                return [json.loads(line) for line in stream.read().decode().splitlines() if line]
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({_short(error)}); the table's log is damaged") from error


def _restored(operation: str, parameters: Any) -> int:
    """Return the version that a RESTORE went back to; −1 if it is none, or went to a moment."""
    asked = str((parameters or {}).get("version")) if operation == "RESTORE" else ""
    return int(asked) if asked.isdecimal() and len(asked) < 20 else -1


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

"""What a reader is told: which row groups, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sr_model.data.buffers import Buffers
from sr_model.data.order import RowGroup
from sr_model.data.row_groups import Rows, read_rows


@dataclass(frozen=True)
class Task:
    """A row group to read.

    Attributes:
        group: which.
        wanted: only these of its rows are needed; None: all.
    """

    group: RowGroup
    wanted: NDArray[np.intp] | None = None


@dataclass(frozen=True)
class ReadSettings:
    """How row groups are read; the result does not depend on `workers` and `ahead`.

    Attributes:
        folder: of the data set.
        store_lr: it has LR pictures.
        workers: threads.
        ahead: how many row groups are read before they are asked for.
        buffers: where memory comes from.
    """

    folder: Path
    store_lr: bool
    workers: int
    ahead: int
    buffers: Buffers

    def read(self, task: Task) -> Rows:
        """Read one."""
        return read_rows(self.folder, task.group, self.store_lr, task.wanted, self.buffers)

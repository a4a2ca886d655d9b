"""In which order rows are read: one order for each seed and epoch, whoever reads, and with how many workers.

Row groups are permuted; some at a time make a window; the rows of a window are permuted. So a row can move as far
as a window is long, memory holds two windows, and the place in an epoch is one number. Random numbers are drawn
from a counter-based generator with (seed, epoch, window) as its counter: any window can be had without those before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sr_model.data.manifest import Manifest

_ORDER_OF_GROUPS = 0xFFFF_FFFF  # the counter's window for the permutation of the row groups


@dataclass(frozen=True)
class RowGroup:
    """A row group: its file, its place in it, its rows."""

    file: str
    index: int
    rows: int


@dataclass(frozen=True)
class Window:
    """Some row groups that are read together.

    Attributes:
        index: from 0, in the epoch.
        start: rows of the epoch before it.
        groups: what to read.
    """

    index: int
    start: int
    groups: tuple[RowGroup, ...]

    @property
    def rows(self) -> int:
        """Rows in all its row groups."""
        return sum(group.rows for group in self.groups)


@dataclass(frozen=True)
class Draw:
    """The random numbers of a window; one entry for each row, in the order they are read.

    Attributes:
        order: (rows,) which row of the window comes; rows are counted through its row groups.
        crop: (rows, 2) in [0, 1): where the crop lies, vertically and horizontally.
        turn: (rows,) 0 to 7: 1 mirrors left and right, 2 up and down, 4 swaps the axes.
    """

    order: NDArray[np.intp]
    crop: NDArray[np.float64]
    turn: NDArray[np.uint8]


def row_groups(manifest: Manifest) -> list[RowGroup]:
    """All row groups of a data set, in the order of the files."""
    return [RowGroup(part.name, i, rows) for part in manifest.parts for i, rows in enumerate(part.row_groups)]


def windows(groups: Sequence[RowGroup], seed: int, epoch: int, shuffle: bool, window_rows: int) -> list[Window]:
    """How one epoch is read.

    Args:
        groups: of the whole data set.
        seed: of the run.
        epoch: from 0; each has an order of its own.
        shuffle: permute the row groups.
        window_rows: a window is complete when it has at least so many rows.
    """
    bits = _bits(seed, epoch, _ORDER_OF_GROUPS)
    order = _permutation(bits, len(groups)) if shuffle else np.arange(len(groups))
    made: list[Window] = []
    waiting: list[RowGroup] = []
    start = held = 0
    for i in order:
        waiting.append(groups[i])
        held += groups[i].rows
        if held >= window_rows:
            made.append(Window(len(made), start, tuple(waiting)))
            start, held, waiting = start + held, 0, []
    if waiting:
        made.append(Window(len(made), start, tuple(waiting)))
    return made


def draw(window: Window, seed: int, epoch: int, shuffle: bool, augment: bool, square: bool = True) -> Draw:
    """The random numbers of a window.

    Args:
        window: which.
        seed: of the run.
        epoch: from 0.
        shuffle: permute the rows.
        augment: draw crops and turns; else the middle is cropped and nothing is turned.
        square: the axes may be swapped.
    """
    bits = _bits(seed, epoch, window.index)
    rows = window.rows
    order = _permutation(bits, rows) if shuffle else np.arange(rows)
    if not augment:
        return Draw(order, np.full((rows, 2), 0.5), np.zeros(rows, np.uint8))
    crop = (bits.random_raw(2 * rows) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    turn = (bits.random_raw(rows) >> np.uint64(61 if square else 62)).astype(np.uint8)
    return Draw(order, crop.reshape(rows, 2), turn)


def _bits(seed: int, epoch: int, window: int) -> np.random.Philox:
    return np.random.Philox(key=seed, counter=[0, 0, window, epoch])


def _permutation(bits: np.random.Philox, n: int) -> NDArray[np.intp]:
    """From the raw bits: what numpy's own `permutation` makes of them may change from version to version."""
    return np.argsort(bits.random_raw(n), kind="stable")

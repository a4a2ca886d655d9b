"""In which order rows are read: one order for each seed and epoch, whoever reads, and with how many workers.

Row groups are permuted; some at a time make a window; the rows of a window are permuted. So a row can move as far
as a window is long, memory holds two windows, and the position in an epoch is one number. Random numbers are drawn
from a counter-based generator with (seed, epoch, window) as its counter: any window can be had without those before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sr_model.data.format import Manifest

_ORDER_OF_GROUPS = 0xFFFF_FFFF  # the counter's window for the permutation of the row groups


@dataclass(frozen=True)
class RowGroup:
    """Describe a row group: its file, its index in it, its rows."""

    file: str
    index: int
    rows: int


@dataclass(frozen=True)
class Window:
    """Describe row groups that are read together.

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
        """Count the rows in all its row groups."""
        return sum(group.rows for group in self.groups)


@dataclass(frozen=True)
class Draw:
    """Hold the random numbers of a window; one entry for each row, in the order they are read.

    Attributes:
        order: (rows,) which row of the window comes; rows are counted through its row groups.
        crop: (rows, 2) in [0, 1): where the crop lies, vertically and horizontally.
        turn: (rows,) 0 to 7: 1 mirrors left and right, 2 up and down, 4 swaps the axes.
    """

    order: NDArray[np.intp]
    crop: NDArray[np.float64]
    turn: NDArray[np.uint8]


def row_groups(manifest: Manifest) -> list[RowGroup]:
    """List all row groups of a data set, in the order of the files."""
    return [RowGroup(part.name, i, rows) for part in manifest.parts for i, rows in enumerate(part.row_groups)]


def windows(groups: Sequence[RowGroup], seed: int, epoch: int, shuffle: bool, window_rows: int) -> list[Window]:
    """Plan how one epoch is read.

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
    """Draw the random numbers of a window.

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
    """Permute by the raw bits: what numpy's own `permutation` makes of them may change from version to version."""
    return np.argsort(bits.random_raw(n), kind="stable")


@dataclass(frozen=True)
class OrderSettings:
    """Hold what decides the order of all rows.

    Attributes:
        seed: of order and augmentation.
        shuffle: an order of its own for every epoch.
        augment: draw crops, mirror and turn.
        window_rows: how far rows are mixed.
    """

    seed: int
    shuffle: bool
    augment: bool
    window_rows: int


@dataclass(frozen=True)
class Share:
    """Decide which positions of the order are this process's. Positions are counted on over epochs.

    In each step the processes take `batch` positions each, one process after the other; in the last step of a stream
    that ends they share what is left as evenly as it goes.

    Attributes:
        position: where all processes began.
        batch: positions per step and process.
        rank: this process's number.
        world: how many processes there are.
        end: the position after the last; None: there is none.
    """

    position: int
    batch: int
    rank: int
    world: int
    end: int | None

    def steps(self) -> Iterator[tuple[int, int, int]]:
        """Iterate over this process's positions `first` to `last` (excluded), and `after`, where the step ends."""
        at = self.position
        while self.end is None or at < self.end:
            rows = self._step if self.end is None else min(self._step, self.end - at)
            yield at + rows * self.rank // self.world, at + rows * (self.rank + 1) // self.world, at + rows
            at += rows

    def rows_between(self, start: int, end: int) -> int:
        """Count how many positions from `start` to `end` (excluded) are this process's."""
        return self._rows_before(end) - self._rows_before(start)

    def mine(self, first: int, rows: int) -> NDArray[np.bool_]:
        """Tell for `rows` positions from `first` on whether they are this process's."""
        positions = np.arange(first, first + rows) - self.position
        within = positions % self._step
        mine: NDArray[np.bool_] = (within // self.batch == self.rank) & (positions >= 0)
        if self.end is not None:
            tail, left = self._tail()
            low, high = left * self.rank // self.world, left * (self.rank + 1) // self.world
            mine = np.where(positions >= tail, (within >= low) & (within < high), mine)
        return mine

    @property
    def _step(self) -> int:
        return self.batch * self.world

    def _tail(self) -> tuple[int, int]:
        """Return the start of the last, smaller step, counted from `position`, and its number of positions."""
        assert self.end is not None
        length = max(self.end - self.position, 0)
        return length // self._step * self._step, length % self._step

    def _rows_before(self, at: int) -> int:
        steps, rest = divmod(max(at - self.position, 0), self._step)
        low, high = self.rank * self.batch, (self.rank + 1) * self.batch
        if self.end is not None and steps * self._step == self._tail()[0]:
            left = self._tail()[1]
            low, high = left * self.rank // self.world, left * (self.rank + 1) // self.world
        return steps * self.batch + min(max(rest - low, 0), high - low)


@dataclass(frozen=True)
class Task:
    """Describe a row group to read.

    Attributes:
        group: which.
        wanted: only these of its rows are needed; None: all.
    """

    group: RowGroup
    wanted: NDArray[np.intp] | None = None


@dataclass(frozen=True)
class PlannedWindow:
    """Hold a window, with what this process needs of it.

    Attributes:
        epoch: in which it is read.
        first: position of its first row.
        groups: its row groups.
        part: (rows,) for each position: which of the row groups it comes from.
        inner: (rows,) which row of that row group.
        draw: its random numbers.
        tasks: one for each row group; None where nothing of it is this process's.
    """

    epoch: int
    first: int
    groups: tuple[RowGroup, ...]
    part: NDArray[np.intp]
    inner: NDArray[np.intp]
    draw: Draw
    tasks: tuple[Task | None, ...]


def planned(groups: Sequence[RowGroup], order: OrderSettings, share: Share) -> Iterator[PlannedWindow]:
    """Plan all windows with a row of this process from its position on, without end if the share has none."""
    rows = sum(group.rows for group in groups)
    epoch = share.position // rows
    while share.end is None or epoch * rows < share.end:
        for window in windows(groups, order.seed, epoch, order.shuffle, order.window_rows):
            first = epoch * rows + window.start
            if first + window.rows > share.position:
                plan = _plan(window, epoch, first, order, share)
                if any(task is not None for task in plan.tasks):
                    yield plan
        epoch += 1


def _plan(window: Window, epoch: int, first: int, order: OrderSettings, share: Share) -> PlannedWindow:
    numbers = draw(window, order.seed, epoch, order.shuffle, order.augment)
    bounds = np.cumsum([0, *(group.rows for group in window.groups)])
    part = np.searchsorted(bounds, numbers.order, side="right") - 1
    inner = numbers.order - bounds[part]
    mine = share.mine(first, window.rows)
    tasks = (_task(group, inner[mine & (part == i)]) for i, group in enumerate(window.groups))
    return PlannedWindow(epoch, first, window.groups, part, inner, numbers, tuple(tasks))


def _task(group: RowGroup, wanted: NDArray[np.intp]) -> Task | None:
    if len(wanted) == 0:
        return None
    return Task(group, None if len(wanted) == group.rows else np.sort(wanted))

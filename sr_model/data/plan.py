"""What one process reads, and when: its share of every step, and the windows in which those rows lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sr_model.data.order import Draw, RowGroup, Window, draw, windows
from sr_model.data.tasks import Task


@dataclass(frozen=True)
class OrderSettings:
    """What decides the order of all rows.

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
    """Which places of the order are this process's. Places are counted on over epochs.

    In each step the processes take `batch` places each, one process after the other; in the last step of a stream
    that ends they share what is left as evenly as it goes.

    Attributes:
        position: where all processes began.
        batch: places per step and process.
        rank: this process's number.
        world: how many processes there are.
        end: the place after the last; None: there is none.
    """

    position: int
    batch: int
    rank: int
    world: int
    end: int | None

    def steps(self) -> Iterator[tuple[int, int, int]]:
        """(first, last, after): this process's places `first` to `last` (excluded), and where the step ends."""
        at = self.position
        while self.end is None or at < self.end:
            rows = self._step if self.end is None else min(self._step, self.end - at)
            yield at + rows * self.rank // self.world, at + rows * (self.rank + 1) // self.world, at + rows
            at += rows

    def rows_between(self, start: int, end: int) -> int:
        """How many places from `start` to `end` (excluded) are this process's."""
        return self._rows_before(end) - self._rows_before(start)

    def mine(self, first: int, rows: int) -> NDArray[np.bool_]:
        """For `rows` places from `first` on: whether they are this process's."""
        places = np.arange(first, first + rows) - self.position
        within = places % self._step
        mine: NDArray[np.bool_] = (within // self.batch == self.rank) & (places >= 0)
        if self.end is not None:
            tail, left = self._tail()
            low, high = left * self.rank // self.world, left * (self.rank + 1) // self.world
            mine = np.where(places >= tail, (within >= low) & (within < high), mine)
        return mine

    @property
    def _step(self) -> int:
        return self.batch * self.world

    def _tail(self) -> tuple[int, int]:
        """Where the last, smaller step begins, counted from `position`, and how many places it has."""
        assert self.end is not None
        length = max(self.end - self.position, 0)
        return length // self._step * self._step, length % self._step

    def _rows_before(self, place: int) -> int:
        steps, rest = divmod(max(place - self.position, 0), self._step)
        low, high = self.rank * self.batch, (self.rank + 1) * self.batch
        if self.end is not None and steps * self._step == self._tail()[0]:
            left = self._tail()[1]
            low, high = left * self.rank // self.world, left * (self.rank + 1) // self.world
        return steps * self.batch + min(max(rest - low, 0), high - low)


@dataclass(frozen=True)
class PlannedWindow:
    """A window, with what this process needs of it.

    Attributes:
        epoch: in which it is read.
        first: place of its first row.
        groups: its row groups.
        part: (rows,) for each place: which of the row groups it comes from.
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
    """All windows with a row of this process, from the place where it begins; without end if the share has none."""
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

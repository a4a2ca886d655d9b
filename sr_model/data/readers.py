"""Two ways to read row groups in a given order, by name: through Petastorm's workers, or with pyarrow alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
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


# Tasks in the order they are wanted, which may have no end → their rows, in that order.
Reader = Callable[[ReadSettings, Iterator[Task]], Generator[Rows, None, None]]


def read_with_arrow(settings: ReadSettings, tasks: Iterator[Task]) -> Generator[Rows, None, None]:
    """Python's own pool of threads; needs no Petastorm."""
    with ThreadPoolExecutor(settings.workers, "patches") as pool:
        running: deque[Future[Rows]] = deque()
        try:
            for task in tasks:
                running.append(pool.submit(settings.read, task))
                if len(running) > settings.ahead:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def read_with_petastorm(settings: ReadSettings, tasks: Iterator[Task]) -> Generator[Rows, None, None]:
    """Petastorm's worker threads, with a worker that reads a row group at once."""
    from sr_model.data.petastorm_reader import read

    with closing(read(settings, tasks)) as rows:
        yield from rows


READERS: dict[str, Reader] = {"petastorm": read_with_petastorm, "arrow": read_with_arrow}

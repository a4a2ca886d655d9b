"""Two ways to read row groups in a given order, by name: through Petastorm's workers, or with pyarrow alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from sr_model.data.order import Task
from sr_model.data.row_groups import ReadSettings, Rows

# Tasks in the order they are wanted, which may have no end → their rows, in that order.
Reader = Callable[[ReadSettings, Iterator[Task]], Generator[Rows, None, None]]


def read_with_arrow(settings: ReadSettings, tasks: Iterator[Task]) -> Generator[Rows, None, None]:
    """Read by Python's own pool of threads; needs no Petastorm."""
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
    """Read by Petastorm's worker threads, with a worker that reads a row group at once."""
    from sr_model.data.petastorm_reader import read

    with closing(read(settings, tasks)) as rows:
        yield from rows


READERS: dict[str, Reader] = {"petastorm": read_with_petastorm, "arrow": read_with_arrow}

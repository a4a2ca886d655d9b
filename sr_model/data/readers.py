"""Two ways to read row groups in a given order, by name: through Petastorm's workers, or with pyarrow alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from sr_model.data.order import RowGroup
from sr_model.data.row_groups import Rows, read_rows

# (folder, row groups in the order they are wanted, store_lr, workers) → their rows, in that order.
Reader = Callable[[Path, Sequence[RowGroup], bool, int], Generator[Rows, None, None]]
_AHEAD = 2  # row groups that are read beyond those in the workers' hands; more would only hold memory


def read_with_arrow(
    folder: Path, groups: Sequence[RowGroup], store_lr: bool, workers: int
) -> Generator[Rows, None, None]:
    """pyarrow in a pool of threads."""
    with ThreadPoolExecutor(workers, "patches") as pool:
        running: deque[Future[Rows]] = deque()
        try:
            for group in groups:
                running.append(pool.submit(read_rows, folder, group, store_lr))
                if len(running) >= workers + _AHEAD:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def read_with_petastorm(
    folder: Path, groups: Sequence[RowGroup], store_lr: bool, workers: int
) -> Generator[Rows, None, None]:
    """Petastorm's worker threads and ventilator, with a worker that decodes a row group at once."""
    from sr_model.data.petastorm_reader import read

    with closing(read(folder, groups, store_lr, workers)) as rows:
        yield from rows


READERS: dict[str, Reader] = {"petastorm": read_with_petastorm, "arrow": read_with_arrow}

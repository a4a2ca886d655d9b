"""Row groups through Petastorm: its worker pool, its stored schema; what is handed out when, and decoding, are ours."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sr_model.data.order import Task
from sr_model.data.petastorm_compat import (
    EmptyResultError,
    ThreadPool,
    VentilatorBase,
    WorkerBase,
)
from sr_model.data.row_groups import ReadError, ReadSettings, Rows
from sr_model.data.stored_schema import UNISCHEMA_KEY, StoredField, read_schema


class RowGroupWorker(WorkerBase):  # type: ignore[misc]
    """Reads whole row groups. Petastorm's own worker decodes row by row, through pandas and a list of dicts."""

    def process(self, position: int, task: Task) -> None:
        """Publish (position, rows)."""
        self.publish_func((position, self.args.read(task)))


class Handout(VentilatorBase):  # type: ignore[misc]
    """Hands tasks to the pool whenever one has come back, so that a fixed number is under way.

    Petastorm's own ventilator does it in a thread that looks every 10 ms whether there is room, and walks through
    one list again and again; here each epoch has its order, and there is no end.
    """

    _stop_requested = False

    def __init__(self, send: Any, tasks: Iterator[Task], under_way: int) -> None:
        super().__init__(send)
        self._items = ({"position": position, "task": task} for position, task in enumerate(tasks))
        self._most, self.sent, self._back = under_way, 0, 0
        self.all_sent = False

    def start(self) -> None:
        """Hand out the first tasks."""
        while not self.all_sent and self.sent - self._back < self._most:
            item = next(self._items, None)
            if item is None:
                self.all_sent = True
            else:
                self.sent += 1
                self._ventilate_fn(**item)

    def processed_item(self) -> None:
        """Count a result that came back, and hand out the next task."""
        self._back += 1
        if not self._stop_requested:
            self.start()

    def completed(self) -> bool:
        """Return whether nothing is to be expected any more."""
        return self._stop_requested or (self.all_sent and self.sent == self._back)

    def stop(self) -> None:
        """Hand out nothing more."""
        self._stop_requested = True


def stored_schema(folder: Path) -> dict[str, StoredField]:
    """Read the fields of the Unischema stored in the data set.

    Raises:
        ReadError: there is none, it is more than a schema, or its images are not arrays as `np.save` writes them.
    """
    path = folder / "_common_metadata"
    try:
        metadata = pq.read_metadata(path).metadata
        fields = read_schema(metadata[UNISCHEMA_KEY])
    except Exception as error:  # reading foreign metadata and unpickling it raises nearly anything
        told = repr(error)[:200]
        raise ReadError(f"{path}: no readable Petastorm schema ({told}); make the patches anew") from error
    for name in ("hr", "lr"):
        if name in fields and fields[name].codec != "NdarrayCodec":
            raise ReadError(f"{path}: `{name}` is stored by {fields[name].codec or 'no codec'}, not by NdarrayCodec")
    return fields


def read(settings: ReadSettings, tasks: Iterator[Task]) -> Generator[Rows, None, None]:
    """Yield the rows of each task, in the order given; an error of a worker is raised here.

    Raises:
        ReadError: something cannot be read, or the pool ended before everything had come.
    """
    stored_schema(settings.folder)
    under_way = settings.ahead + settings.workers
    # Each task sends two messages, its rows and that it is done. Room for all of them: a worker that finds its queue
    # full asks again every millisecond, and takes the interpreter from the consumer each time.
    pool = ThreadPool(settings.workers, results_queue_size=2 * (under_way + settings.workers))
    handout = Handout(pool.ventilate, tasks, under_way)
    pool.start(RowGroupWorker, settings, handout)
    early: dict[int, Rows] = {}
    position = 0
    try:
        while True:
            while position not in early:
                try:
                    found, rows = pool.get_results()
                except EmptyResultError:
                    if handout.all_sent and position == handout.sent:
                        return
                    raise ReadError(f"{settings.folder}: the pool ended after {position} row groups") from None
                early[found] = rows
                del rows  # its memory is used again as soon as the consumer lets go of it
            yield early.pop(position)
            position += 1
    finally:
        pool.stop()
        pool.join()

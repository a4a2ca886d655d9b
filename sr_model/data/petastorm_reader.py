"""Row groups through Petastorm: its worker pool, its stored schema; what is handed out when, and decoding, are ours."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sr_model.data.order import Task
from sr_model.data.petastorm_compat import (
    EmptyResultError,
    ThreadPool,
    VentilatorBase,
    WorkerBase,
    dataset_metadata,
)
from sr_model.data.row_groups import ReadError, ReadSettings, Rows


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


_LARGEST_SCHEMA = 1 << 20  # bytes; ours has some hundred
_INTS = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
_SPARK_TYPES = (
    "String",
    "Binary",
    "Boolean",
    "Byte",
    "Short",
    "Integer",
    "Long",
    "Float",
    "Double",
    "Date",
    "Timestamp",
)
_SCHEMA_PARTS = {
    "collections": {"OrderedDict"},
    "numpy": {"dtype", "str_", "bytes_", "bool_", "float16", "float32", "float64"} | _INTS,
    "petastorm.unischema": {"Unischema", "UnischemaField"},
    "petastorm.codecs": {"NdarrayCodec", "CompressedNdarrayCodec", "CompressedImageCodec", "ScalarCodec"},
    "pyspark.sql.types": {f"{name}Type" for name in _SPARK_TYPES},
}


class _Part:
    """Stands for an object of a schema; what the pickle gave it is only kept.

    The real classes do not serve: `numpy.bytes_(10**10)`, which a pickle may ask for, fills 10 GB.
    """

    name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Part:
        """Keep the arguments."""
        part = super().__new__(cls)
        part.args, part.state = args, None
        return part

    args: tuple[Any, ...]
    state: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing more."""

    def __setstate__(self, state: Any) -> None:
        """Keep the state."""
        self.state = state

    def __call__(self, *args: Any) -> _Part:
        """Raise: no part of a schema is a function.

        Raises:
            UnpicklingError: always.
        """
        raise pickle.UnpicklingError(f"it calls a {self.name}, which no schema does")


class _SchemaOnly(pickle.Unpickler):
    """Makes stand-ins for what a Unischema is made of and nothing else.

    A pickle can name any function, and it would be called.
    """

    def find_class(self, module: str, name: str) -> Any:
        if name not in _SCHEMA_PARTS.get(module, ()):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no schema needs")
        return OrderedDict if name == "OrderedDict" else type(name, (_Part,), {"name": name})


@dataclass(frozen=True)
class StoredField:
    """A field of a stored schema: the name of its codec's class, empty for none."""

    codec: str


def read_schema(pickled: bytes) -> dict[str, StoredField]:
    """Read the fields of a pickled Unischema by name, without running or making anything that is named in it.

    Raises:
        UnpicklingError: it is more than a schema, or asks for more memory than its own size.
        Exception: what unpickling foreign bytes raises, which is nearly anything.
    """
    if len(pickled) > _LARGEST_SCHEMA:
        raise pickle.UnpicklingError(f"it has more than {_LARGEST_SCHEMA} bytes")
    for code, value, _ in pickletools.genops(pickled):  # says so if the bytes announced are not there
        # The table that these numbers are places of is made as large as the number: five bytes ask for 34 GB.
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(value or 0) > len(pickled):
            raise pickle.UnpicklingError("it asks for more memory than a schema needs")
    found = _SchemaOnly(io.BytesIO(pickled)).load()
    if getattr(found, "name", "") != "Unischema" or not isinstance(found.state, dict):
        raise pickle.UnpicklingError("it is no Unischema")
    fields = {}
    for name, field in dict(found.state["_fields"]).items():
        codec = field.args[3]
        fields[str(name)] = StoredField(codec.name if isinstance(codec, _Part) else "")
    return fields


def stored_schema(folder: Path) -> dict[str, StoredField]:
    """Read the fields of the Unischema stored in the data set.

    Raises:
        ReadError: there is none, it is more than a schema, or its images are not arrays as `np.save` writes them.
    """
    path = folder / "_common_metadata"
    try:
        metadata = pq.read_metadata(path).metadata
        fields = read_schema(metadata[dataset_metadata.UNISCHEMA_KEY])
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

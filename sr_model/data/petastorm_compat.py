"""The one door to Petastorm 0.13.1, whose maintenance has ended: what it misses today, and two of its faults mended.

Petastorm wants parts of pyarrow and numpy that are gone. They are supplied **inside Petastorm's own modules**:
nothing of pyarrow, numpy or pandas is changed for anybody else. Mended are:

* **Lost rows.** Its pools ask first whether all that was handed out is done, then whether handing out has ended.
  If it ends between the two questions, a read stops early without an error. Here handing out has ended only when
  everything has come back too (`Ventilator.completed`).
* **Order.** The thread pool passed over workers that had not been given anything yet, so that the same seed gave
  one order or another; and row groups were shuffled once instead of for each epoch.

Import Petastorm from here only; processes that decode or encode rows must import this module first.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lakerank.cli.errors import UserError

VERSION = "0.13.1"


class _With:
    """A module with some names added, for one user of it: everything else is the module's own."""

    def __init__(self, module: types.ModuleType, **added: Any) -> None:
        self.__dict__.update(added)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class Piece:
    """pyarrow's former `ParquetDatasetPiece`: a file, or one row group of it.

    Args:
        path: the file.
        open_file_func: opens it for reading.
        row_group: which of its row groups; None: all.
        partition_keys: of Hive-style folders; none here.
    """

    def __init__(
        self, path: str, open_file_func: Any, row_group: int | None = None, partition_keys: Sequence[Any] = ()
    ) -> None:
        self.path, self.open_file_func, self.row_group = path, open_file_func, row_group
        self.partition_keys = list(partition_keys)

    def get_metadata(self) -> pq.FileMetaData:
        """Read the file's footer."""
        with self.open_file_func(self.path) as file:
            return pq.read_metadata(file)

    def read(self, columns: Any = None, partitions: object = None) -> pa.Table:
        """Read the rows.

        Raises:
            OSError: the file is damaged; the message names it.
        """
        chosen = sorted(columns) if columns is not None else None
        with self.open_file_func(self.path) as file:
            try:
                parquet = pq.ParquetFile(file)
                if self.row_group is None:
                    return parquet.read(columns=chosen)
                return parquet.read_row_group(self.row_group, columns=chosen)
            except (OSError, pa.ArrowException) as error:
                raise OSError(f"{self.path}: cannot be read ({error})") from error


class Dataset:
    """pyarrow's former `ParquetDataset`, as far as Petastorm asks it: a folder of Parquet files without partitions."""

    partitions = None

    def __init__(
        self,
        path_or_paths: str | list[str],
        filesystem: Any = None,
        validate_schema: bool = False,
        metadata_nthreads: int = 1,
        filters: object = None,
    ) -> None:
        if filters:
            raise NotImplementedError("filters are not supported by this compatibility layer; use a predicate")
        self.paths = path_or_paths
        self.fs = filesystem or fsspec.filesystem("file")
        self.metadata: pq.FileMetaData | None = None
        self.metadata_path = ""
        self.common_metadata: pq.FileMetaData | None = None
        files = path_or_paths if isinstance(path_or_paths, list) else self._list(path_or_paths)
        self.pieces = [Piece(file, self.fs.open) for file in files]

    def _list(self, folder: str) -> list[str]:
        found = sorted(self.fs.find(folder))
        for path in found:
            if path.rpartition("/")[2] == "_common_metadata":
                with self.fs.open(path) as file:
                    self.common_metadata = pq.read_metadata(file)
        return [path for path in found if not path.rpartition("/")[2].startswith(("_", "."))]


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Provide names that Petastorm imports from pyarrow and the standard library, while it is imported."""

    def module(name: str, **names: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        vars(made).update(names)
        return made

    wanted = {
        "pyarrow.filesystem": module("pyarrow.filesystem", LocalFileSystem=type(fsspec.filesystem("file"))),
        "pyarrow.hdfs": module("pyarrow.hdfs", HadoopFileSystem=type("HadoopFileSystem", (), {})),
    }
    if importlib.util.find_spec("distutils") is None:  # gone in Python 3.12
        from packaging.version import Version

        wanted["distutils"] = module("distutils")
        wanted["distutils.version"] = module("distutils.version", LooseVersion=Version)
    missing = {name: made for name, made in wanted.items() if name not in sys.modules}
    error_was_there = hasattr(pa.lib, "ArrowIOError")
    sys.modules.update(missing)
    if not error_was_there:
        pa.lib.ArrowIOError = OSError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations of things we can do nothing about
            yield
    finally:
        for name in missing:
            del sys.modules[name]
        if not error_was_there:
            del pa.lib.ArrowIOError


def _check_version() -> None:
    try:
        found = importlib.metadata.version("petastorm")
    except importlib.metadata.PackageNotFoundError:
        raise UserError("petastorm is not installed: pip install 'lakerank[sr]', or use reader=arrow") from None
    if found != VERSION:
        raise UserError(f"petastorm {found}: only {VERSION} is supported; pip install petastorm=={VERSION}")


_check_version()
with _stand_ins():
    from petastorm import arrow_reader_worker, fs_utils, py_dict_reader_worker, reader, unischema, utils
    from petastorm.codecs import NdarrayCodec
    from petastorm.etl import dataset_metadata, rowgroup_indexing
    from petastorm.reader import make_reader
    from petastorm.unischema import Unischema, UnischemaField
    from petastorm.workers_pool import EmptyResultError, process_pool
    from petastorm.workers_pool import thread_pool as _thread_pool
    from petastorm.workers_pool.process_pool import ProcessPool
    from petastorm.workers_pool.thread_pool import ThreadPool
    from petastorm.workers_pool.ventilator import ConcurrentVentilator
    from petastorm.workers_pool.ventilator import Ventilator as VentilatorBase
    from petastorm.workers_pool.worker_base import WorkerBase

_parquet = _With(pq, ParquetDataset=Dataset, ParquetDatasetPiece=Piece)
for _user in (arrow_reader_worker, py_dict_reader_worker, reader, dataset_metadata, rowgroup_indexing):
    _user.pq = _parquet
for _user in (arrow_reader_worker, py_dict_reader_worker):
    _user.ParquetFile = lambda file: file.close()  # opened for each row group, never read: `Piece.read` does that
fs_utils.pyarrow = _With(pa, localfs=fsspec.filesystem("file"))
unischema.np = _With(np, unicode_=np.str_, string_=np.bytes_)
arrow_reader_worker.np = unischema.np


class Ventilator(ConcurrentVentilator):  # type: ignore[misc]
    """Hands out work items; ends only when all of them have come back.

    Args are those of Petastorm's `ConcurrentVentilator`. With `randomize_item_order` every iteration has an order
    of its own, which `random_seed` decides.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.all_sent = not self._items_to_ventilate

    def completed(self) -> bool:
        """Return whether no result is to be expected any more, now or later."""
        sent = self.all_sent  # asked first: what is sent after the comparison below would otherwise be missed
        return bool(self._stop_requested or (sent and self._processed_items_count == self._ventilated_items_count))

    def reset(self) -> None:
        """Begin again."""
        self.all_sent = not self._items_to_ventilate
        super().reset()

    def _ventilate(self) -> None:
        rounds = 0
        while self._iterations is None or rounds < self._iterations:
            rounds += 1
            items = self._items_to_ventilate
            if self._randomize_item_order:
                items = [items[i] for i in self._rng.permutation(len(items))]
            for position, item in enumerate(items, 1):
                while self._ventilated_items_count - self._processed_items_count >= self._max_ventilation_queue_size:
                    if self._stop_requested:
                        return
                    time.sleep(_PAUSE_SECONDS)
                if self._stop_requested:
                    return
                # Counted and announced before it is sent: the last one cannot come back before that is known.
                self._ventilated_items_count += 1
                self.all_sent = rounds == self._iterations and position == len(items)
                self._ventilate_fn(**item)


_PAUSE_SECONDS = 0.001
reader.ConcurrentVentilator = Ventilator

_worker_done = ThreadPool.current_worker_done


def _worker_done_for_good(pool: Any, worker_id: int) -> bool:
    """Return whether a worker is done for good: one without work is passed over only then, so that results keep their
    order."""
    ventilator = pool._ventilator
    sent = ventilator is None or getattr(ventilator, "all_sent", True) or ventilator._stop_requested
    return bool(sent and _worker_done(pool, worker_id))


ThreadPool.current_worker_done = _worker_done_for_good


def _raise_where_it_is_seen(thread: Any) -> None:
    """Run a worker's loop, passing on any error with its message instead of printing a stack trace as well."""
    while not thread._stop_event.is_set():
        try:
            args, kwargs = thread._ventilator_queue.get(timeout=_POLL_SECONDS)
        except _thread_pool.queue.Empty:
            continue
        try:
            thread._worker_impl.process(*args, **kwargs)
            thread._worker_impl.publish_func(_thread_pool.VentilatedItemProcessedMessage())
        except _thread_pool.WorkerTerminationRequested:
            continue
        except Exception as error:
            # Past the bound of the queue: a consumer that is slow must still get to see it.
            thread._results_queue.put(error)
            return


_POLL_SECONDS = 0.01
_thread_pool.WorkerThread.run = _raise_where_it_is_seen


def _exec_in_new_process(func: Any, *args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
    """Start a worker as Petastorm does, with this module imported in it first."""
    import dill

    handle, name = tempfile.mkstemp(suffix="runnable")
    with os.fdopen(handle, "wb") as file:
        dill.dump((func, args, kwargs), file)
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    script = f"from sr_model.data import petastorm_compat; petastorm_compat._run_pickled({name!r})"
    return subprocess.Popen([sys.executable, "-c", script], env=environment)


def _run_pickled(name: str) -> None:
    import dill

    file = Path(name)
    func, args, kwargs = dill.loads(file.read_bytes())
    file.unlink()
    func(*args, **kwargs)


process_pool.exec_in_new_process = _exec_in_new_process
# Starting Python and importing pyarrow takes longer than its 20 s where several do it on a busy machine.
process_pool._KEEP_TRYING_WHILE_ZMQ_AGAIN_IS_RAIZED_TIMEOUT_S = 180


class SerialPool:
    """Petastorm's pool without workers: everything is done by who asks for results."""

    workers_count = 1
    diagnostics: Mapping[str, Any] = types.MappingProxyType({})

    def __init__(self, workers: object = None) -> None:
        self._waiting: list[tuple[Any, Any]] = []
        self._results: list[Any] = []
        self._arrived = threading.Condition()
        self._ventilator: Any = None

    def start(self, worker_class: Any, worker_args: Any = None, ventilator: Any = None) -> None:
        """Make the one worker, and begin to hand out work."""
        self._worker = worker_class(0, self._results.append, worker_args)
        self._ventilator = ventilator
        if ventilator:
            ventilator.start()

    def ventilate(self, *args: Any, **kwargs: Any) -> None:
        """Take a work item."""
        with self._arrived:
            self._waiting.append((args, kwargs))
            self._arrived.notify()

    def get_results(self) -> Any:
        """Return the next result.

        Raises:
            EmptyResultError: there are no more.
        """
        while not self._results:
            with self._arrived:
                if not self._waiting:
                    if not self._ventilator or self._ventilator.completed():
                        raise EmptyResultError
                    self._arrived.wait(_POLL_SECONDS)
                    continue
                args, kwargs = self._waiting.pop(0)
            self._worker.process(*args, **kwargs)
            if self._ventilator:
                self._ventilator.processed_item()
        return self._results.pop(0)

    def stop(self) -> None:
        """Hand out nothing more."""
        if self._ventilator:
            self._ventilator.stop()

    def join(self) -> None:
        """Do nothing: there is no thread to wait for."""


reader.DummyPool = SerialPool

__all__ = [
    "VERSION",
    "EmptyResultError",
    "NdarrayCodec",
    "ProcessPool",
    "SerialPool",
    "ThreadPool",
    "Unischema",
    "UnischemaField",
    "Ventilator",
    "VentilatorBase",
    "WorkerBase",
    "dataset_metadata",
    "make_reader",
    "utils",
]

"""Patches as an endless stream of batches: shuffled, cropped, turned, shared among processes, resumable anywhere.

All processes walk through the same order of rows; step by step each takes its share of the next `world · batch`
rows. So the position of all of them is one number, and others, in another number, can go on from it.
"""

from __future__ import annotations

import hashlib
import math
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

from lakerank.cli.errors import UserError
from sr_model.data.augment import turn_into
from sr_model.data.format import read_manifest
from sr_model.data.order import Draw, OrderSettings, PlannedWindow, Share, Task, planned, row_groups
from sr_model.data.readers import READERS
from sr_model.data.row_groups import Buffers, ReadError, ReadSettings, Rows

WINDOW_ROWS = 2048  # 57 MB of 96² patches; two windows are held at a time
_ROWS_AT_ONCE = 128  # handed from thread to thread together: waking a thread costs more than a small batch
_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """Hold the patches of one step.

    Attributes:
        hr: (N, C, C, 3) uint8; an array, or with cache="device" a tensor there. Its memory is used again when the
            last reference to it is gone.
        lr: (N, C/scale, C/scale, 3) uint8, or None where LR is made on the device.
        rows: (N,) int64: their positions in the order; counted on over epochs.
    """

    hr: NDArray[np.uint8] | Tensor
    lr: NDArray[np.uint8] | Tensor | None
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class StreamSettings:
    """Hold what decides the batches.

    Attributes:
        batch: rows per step and process.
        crop: side of the crop; the patch's where it is not cropped.
        seed: of order and augmentation.
        rank: this process's number.
        world: how many processes there are.
        augment: draw crops, mirror and turn.
        shuffle: an order of its own for every epoch.
        epochs: how many; None: without end.
        window_rows: how far rows are mixed.
    """

    batch: int
    crop: int
    seed: int
    rank: int
    world: int
    augment: bool
    shuffle: bool
    epochs: int | None
    window_rows: int


class PatchStream:
    """Stream batches of patches from a folder; iterate over it, then close it or use it as a context manager.

    Iterating goes on from the present position, which is one number for all processes (`state_dict`).

    Args:
        path: a folder that make_patches finished (its `train` or `valid`).
        reader: `petastorm` or `arrow`; the batches are the same to the byte.
        batch: rows per step and process.
        crop: side of the crop in HR pixels, a multiple of the scale; None: the whole patch.
        seed: of order and augmentation.
        rank: this process's number, from 0.
        world: how many processes share the rows.
        augment: random crop, mirroring and quarter turns; else the middle, as it is.
        shuffle: an order of its own for every epoch.
        workers: reading threads.
        epochs: how often through the data; None: without end. In the last step of a finite stream what is left is
            shared as evenly as it goes.
        window_rows: how far rows are mixed; memory holds twice as many.

    Attributes:
        rows_per_epoch: rows in the data set.
        steps_per_epoch: steps of all processes in one epoch, a fraction if the last one is shared with the next.
        patch: side in pixels of the HR patches it gives.
        scale: HR pixels per LR pixel.

    Raises:
        UserError: no finished patches there, no rows, or a setting that does not fit.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        reader: str = "petastorm",
        batch: int = 16,
        crop: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        augment: bool = True,
        shuffle: bool = True,
        workers: int = 2,
        epochs: int | None = None,
        window_rows: int = WINDOW_ROWS,
    ) -> None:
        self.folder = Path(path)
        self.manifest = read_manifest(self.folder)
        side = self.manifest.patch if crop is None else crop
        self.settings = StreamSettings(batch, side, seed, rank, world, augment, shuffle, epochs, window_rows)
        self._check(reader, workers)
        self.read, self.workers = READERS[reader], workers
        self.groups = row_groups(self.manifest)
        self.buffers = Buffers()
        self.rows_per_epoch, self.patch, self.scale = self.manifest.rows, side, self.manifest.scale
        self.steps_per_epoch = self.rows_per_epoch / (batch * world)
        self._position = 0  # rows given out by all processes together
        self._running: _Producer | None = None

    def _check(self, reader: str, workers: int) -> None:
        s, m = self.settings, self.manifest
        if m.rows == 0:
            raise UserError(f"{self.folder}: holds no patches")
        if s.crop > m.patch or s.crop % m.scale or s.crop < m.scale:
            raise UserError(f"crop {s.crop}: must be a multiple of {m.scale} up to the patches' {m.patch}")
        if reader not in READERS:
            raise UserError(f"reader {reader}: must be one of {', '.join(READERS)}")
        counts = {"batch": s.batch, "world": s.world, "workers": workers, "window_rows": s.window_rows}
        for name, value in counts.items():
            if value < 1:
                raise UserError(f"{name} {value}: must be at least 1")
        if s.epochs is not None and s.epochs < 1:
            raise UserError(f"epochs {s.epochs}: must be at least 1, or None for a stream without end")
        if not 0 <= s.rank < s.world:
            raise UserError(f"rank {s.rank}: must be 0 to {s.world - 1}, below world")
        if not 0 <= s.seed < 1 << 64:
            raise UserError(f"seed {s.seed}: must be 0 to below 2^64")

    def __len__(self) -> int:
        """Return the number of batches this process gets from the present position to the end of the last epoch.

        Raises:
            TypeError: the stream has no end (`epochs=None`).
        """
        s = self.settings
        if self._end is None:
            raise TypeError("a stream without end has no length; give epochs=N, or use steps_per_epoch")
        full, left = divmod(max(self._end - self._position, 0), s.batch * s.world)
        return full + (left * (s.rank + 1) // s.world > left * s.rank // s.world)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over batches from the present position on.

        Raises:
            ReadError: a file cannot be read, or an epoch has not given every row.
        """
        self.close()
        self._running = _Producer(self._batches(self._position), max(1, _ROWS_AT_ONCE // self.settings.batch))
        for batch, after in self._running:
            self._position = after
            yield batch

    @property
    def position(self) -> int:
        """The rows that all processes together were given so far."""
        return self._position

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch that was given out; prefetched ones do not count."""
        s = self.settings
        shape = {"seed": s.seed, "shuffle": s.shuffle, "window_rows": s.window_rows, "augment": s.augment}
        return {"position": self._position, "data": self.fingerprint(), **shape}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the position to go on from, with as many processes and as large batches as this stream has.

        Raises:
            UserError: the position is one of other data or of another order, or the state is none of a stream's.
        """
        mine = self.state_dict()
        if missing := mine.keys() - state.keys():
            raise UserError(f"{self.folder}: this is no state of a patch stream ({', '.join(sorted(missing))} missing)")
        for key in ("data", "seed", "shuffle", "window_rows", "augment"):
            if state[key] != mine[key]:
                what = "other patches" if key == "data" else f"{key} {state[key]}, not {mine[key]}"
                raise UserError(f"{self.folder}: the run to resume was made with {what}")
        self.close()
        self._position = int(state["position"])

    def fingerprint(self) -> str:
        """Return a hash of the files' names and sizes in rows: equal for equal data sets."""
        text = ";".join(f"{g.file}:{g.index}:{g.rows}" for g in self.groups)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def close(self) -> None:
        """End reading; the position is kept."""
        if self._running:
            self._running.close()
            self._running = None

    def __enter__(self) -> PatchStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _batches(self, position: int) -> Generator[tuple[Batch, int], None, None]:
        """Make batches of this process, each with the position after it."""
        s = self.settings
        share = Share(position, s.batch, s.rank, s.world, self._end)
        with closing(_Cursor(self, share)) as rows:
            for first, last, after in share.steps():
                if last > first:
                    yield rows.take(first, last), after
            rows.finish()

    def corners(self, numbers: Draw) -> NDArray[np.intp]:
        """Return the upper left corners (rows, 2) of a window's crops in HR pixels, on whole LR pixels."""
        room = (self.manifest.patch - self.patch) // self.scale + 1
        return (numbers.crop * room).astype(np.intp) * self.scale

    @property
    def order_settings(self) -> OrderSettings:
        """Return the settings that decide the order of all rows."""
        s = self.settings
        return OrderSettings(s.seed, s.shuffle, s.augment, s.window_rows)

    @property
    def _end(self) -> int | None:
        epochs = self.settings.epochs
        return None if epochs is None else epochs * self.rows_per_epoch


class _LoadedWindow:
    """A window whose rows are in memory, and what becomes of each: lists, because they are looked at one by one."""

    def __init__(self, plan: PlannedWindow, parts: list[Rows | None], stream: PatchStream) -> None:
        self.first = plan.first
        self.hr = [None if rows is None else rows.hr for rows in parts]
        self.lr = [None if rows is None else rows.lr for rows in parts]
        self.part: list[int] = plan.part.tolist()
        self.inner: list[int] = plan.inner.tolist()
        self.corners: list[list[int]] = stream.corners(plan.draw).tolist()
        self.turn: list[int] = plan.draw.turn.tolist()
        self.after = plan.first + len(self.part)


def _crop_rows(
    out: NDArray[np.uint8],
    parts: Sequence[NDArray[np.uint8] | None],
    window: _LoadedWindow,
    start: int,
    end: int,
    side: int,
    scale: int,
) -> None:
    """Write rows `start` to `end` (excluded) of a window, cropped and turned, to the front of `out`.

    The loop runs for each row; what it does besides copying is as short as it can be.
    """
    rows = zip(
        window.part[start:end], window.inner[start:end], window.corners[start:end], window.turn[start:end], strict=True
    )
    for i, (part, inner, (y, x), turn) in enumerate(rows):
        images = parts[part]
        assert images is not None
        if images.shape[1] == side:
            image = images[inner]
        else:
            image = images[inner, y // scale : y // scale + side, x // scale : x // scale + side]
        if turn:
            turn_into(out[i], image, turn)
        else:
            out[i] = image


class _Cursor:
    """Walk through the windows of all epochs and crop rows out of them; count them."""

    def __init__(self, stream: PatchStream, share: Share) -> None:
        self._stream, self._share = stream, share
        self._planned: deque[PlannedWindow] = deque()
        s = stream.settings
        # All of the next window is read while this one is given out.
        share_of_all = min(1.0, s.window_rows / stream.rows_per_epoch)
        ahead = math.ceil(share_of_all * len(stream.groups)) + 1
        settings = ReadSettings(stream.folder, stream.manifest.store_lr, stream.workers, ahead, stream.buffers)
        self._reading = stream.read(settings, self._tasks())
        self._now: _LoadedWindow | None = None
        self._given = 0
        self._counted_from = share.position

    def take(self, first: int, last: int) -> Batch:
        """Return rows `first` to `last` (excluded), counted over epochs."""
        stream = self._stream
        n, side, scale = last - first, stream.patch, stream.scale
        hr = stream.buffers.take((n, side, side, 3))
        lr = stream.buffers.take((n, side // scale, side // scale, 3)) if stream.manifest.store_lr else None
        done = 0
        while done < n:
            window = self._window_of(first + done)
            start, end = first + done - window.first, min(last, window.after) - window.first
            _crop_rows(hr[done:], window.hr, window, start, end, side, 1)
            if lr is not None:
                _crop_rows(lr[done:], window.lr, window, start, end, side // scale, scale)
            done += end - start
            self._given += end - start
        return Batch(hr, lr, np.arange(first, last, dtype=np.int64))

    def finish(self) -> None:
        """Count the last epoch too, at the end of a finite stream.

        Raises:
            ReadError: rows are missing, or there are more than there should be.
        """
        self._count(self._stream.rows_per_epoch * (self._stream.settings.epochs or 0))
        if next(self._reading, None) is not None:
            raise ReadError(f"{self._stream.folder}: more row groups came than the epochs have")

    def close(self) -> None:
        """End reading."""
        self._reading.close()

    def _window_of(self, position: int) -> _LoadedWindow:
        while self._now is None or position >= self._now.after:
            before, self._now = self._now, None  # let go of its memory before the next one is gathered
            del before
            self._now = self._load()
        return self._now

    def _load(self) -> _LoadedWindow:
        """Read the next window."""
        first: Rows | None = self._next()  # and with it `_tasks` has noted the window it belongs to
        plan = self._planned.popleft()
        if plan.epoch > self._epoch():
            self._count(plan.epoch * self._stream.rows_per_epoch)
        parts: list[Rows | None] = []
        for task in plan.tasks:
            parts.append(None if task is None else first or self._next())
            first = None if task is not None else first
        return _LoadedWindow(plan, parts, self._stream)

    def _next(self) -> Rows:
        rows = next(self._reading, None)
        if rows is None:
            raise ReadError(f"{self._stream.folder}: the reader ended in the middle of epoch {self._epoch()}")
        return rows

    def _epoch(self) -> int:
        return self._counted_from // self._stream.rows_per_epoch

    def _count(self, end: int) -> None:
        """Check, at the end of an epoch, that everything has been given out that is this process's."""
        wanted = self._share.rows_between(self._counted_from, end)
        if self._given != wanted:
            raise ReadError(f"{self._stream.folder}: epoch {self._epoch()} gave {self._given} of {wanted} rows")
        self._given, self._counted_from = 0, end

    def _tasks(self) -> Iterator[Task]:
        """Make the tasks to read, without end unless the epochs have one; note the windows they belong to."""
        for plan in planned(self._stream.groups, self._stream.order_settings, self._share):
            self._planned.append(plan)
            yield from (task for task in plan.tasks if task is not None)


class _Producer:
    """Make batches in a thread, some ahead; pass on what goes wrong there."""

    def __init__(self, batches: Generator[tuple[Batch, int], None, None], at_once: int) -> None:
        self._batches, self._at_once = batches, at_once
        self._made: queue.Queue[list[tuple[Batch, int]] | BaseException | None] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[Batch, int]]:
        while not self._stop.is_set():
            found = self._made.get()
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            found.reverse()
            while found:  # popped, so that memory is free when the consumer lets go of it
                yield found.pop()

    def close(self) -> None:
        """Stop, and wait until the readers have stopped."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        last: BaseException | None = None
        try:
            while made := list(islice(self._batches, self._at_once)):
                if not self._put(made):
                    break
                del made
        except BaseException as error:
            last = error
        finally:
            self._batches.close()
        self._put(last)

    def _put(self, thing: list[tuple[Batch, int]] | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._made.put(thing, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

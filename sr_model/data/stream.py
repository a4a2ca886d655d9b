"""Patches as an endless stream of batches: shuffled, cropped, turned, shared among processes, resumable anywhere.

All processes walk through the same order of rows; step by step each takes its share of the next `world · batch`
rows. So the place of all of them is one number, and others, in another number, can go on from it.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_jobs.lake.errors import UserError
from sr_model.data.augment import turn_into
from sr_model.data.manifest import read_manifest
from sr_model.data.order import Draw, Window, draw, row_groups, windows
from sr_model.data.readers import READERS
from sr_model.data.row_groups import ReadError, Rows

WINDOW_ROWS = 2048  # 57 MB of 96² patches; two windows are held at a time
_BATCHES_AHEAD = 4


@dataclass(frozen=True)
class Batch:
    """Patches for one step.

    Attributes:
        hr: (N, C, C, 3) uint8.
        lr: (N, C/scale, C/scale, 3) uint8, or None where LR is made on the device.
        rows: (N,) int64: which rows of the epoch's order they are; counted on over epochs.
    """

    hr: NDArray[np.uint8]
    lr: NDArray[np.uint8] | None
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class StreamSettings:
    """What decides the batches.

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
    """Iterate over it for batches; close it, or use it as a context manager.

    Attributes:
        rows_per_epoch: rows in the data set.
        patch: side of the HR patches it gives.
        scale: HR pixels per LR pixel.
    """

    def __init__(self, folder: Path, reader: str, workers: int, settings: StreamSettings) -> None:
        self.folder, self.settings = folder, settings
        self.manifest = read_manifest(folder)
        self._read, self._workers = READERS[reader], workers
        self._groups = row_groups(self.manifest)
        self.rows_per_epoch, self.patch, self.scale = self.manifest.rows, settings.crop, self.manifest.scale
        self._position = 0  # rows given out by all processes together
        self._running: _Producer | None = None

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the present place on.

        Raises:
            ReadError: a file cannot be read, or an epoch has not given every row.
        """
        self.close()
        self._running = _Producer(self._batches(self._position))
        for batch, after in self._running:
            self._position = after
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch that was given out; prefetched ones do not count."""
        s = self.settings
        shape = {"seed": s.seed, "shuffle": s.shuffle, "window_rows": s.window_rows, "augment": s.augment}
        return {"position": self._position, "data": self.fingerprint(), **shape}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at a place, with as many processes and as large batches as this stream has.

        Raises:
            UserError: the place is one of other data or of another order.
        """
        mine = self.state_dict()
        for key in ("data", "seed", "shuffle", "window_rows", "augment"):
            if state[key] != mine[key]:
                what = "other patches" if key == "data" else f"{key} {state[key]}, not {mine[key]}"
                raise UserError(f"{self.folder}: the run to resume was made with {what}")
        self.close()
        self._position = int(state["position"])

    def fingerprint(self) -> str:
        """Of the files' names and sizes in rows: equal for equal data sets."""
        text = ";".join(f"{g.file}:{g.index}:{g.rows}" for g in self._groups)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def close(self) -> None:
        """End reading; the place is kept."""
        if self._running:
            self._running.close()
            self._running = None

    def __enter__(self) -> PatchStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _batches(self, position: int) -> Generator[tuple[Batch, int], None, None]:
        """Batches of this process, each with the place after it."""
        s = self.settings
        end = None if s.epochs is None else s.epochs * self.rows_per_epoch
        rows = _Cursor(self, position)
        try:
            while end is None or position < end:
                step = s.world * s.batch if end is None else min(s.world * s.batch, end - position)
                first, last = position + step * s.rank // s.world, position + step * (s.rank + 1) // s.world
                if last > first:
                    yield rows.take(first, last), position + step
                position += step
            rows.finish(position)
        finally:
            rows.close()


class _Cursor:
    """Walks through the windows of all epochs and cuts rows out of them."""

    def __init__(self, stream: PatchStream, position: int) -> None:
        self._stream = stream
        self._windows = self._walk(position)
        self._now: tuple[int, Window, Draw, list[Rows], NDArray[np.intp]] | None = None

    def take(self, first: int, last: int) -> Batch:
        """Rows `first` to `last` (excluded), counted over epochs."""
        s, manifest = self._stream.settings, self._stream.manifest
        n, small = last - first, s.crop // manifest.scale
        hr = np.empty((n, s.crop, s.crop, 3), np.uint8)
        lr = np.empty((n, small, small, 3), np.uint8) if manifest.store_lr else None
        for place in range(first, last):
            start, _, numbers, parts, bounds = self._window_of(place)
            here = place - start
            row = int(numbers.order[here])
            part = int(np.searchsorted(bounds, row, side="right")) - 1
            y, x = self._corner(numbers.crop[here])
            turn = int(numbers.turn[here])
            rows, inner = parts[part], row - int(bounds[part])
            turn_into(hr[place - first], rows.hr[inner, y : y + s.crop, x : x + s.crop], turn)
            if lr is not None and rows.lr is not None:
                v, u = y // manifest.scale, x // manifest.scale
                turn_into(lr[place - first], rows.lr[inner, v : v + small, u : u + small], turn)
        return Batch(hr, lr, np.arange(first, last, dtype=np.int64))

    def finish(self, position: int) -> None:
        """Walk to the end, so that the last epoch is counted too."""
        for _ in self._windows:
            pass

    def close(self) -> None:
        """End reading."""
        self._windows.close()

    def _corner(self, share: NDArray[np.float64]) -> tuple[int, int]:
        """Upper left corner of the crop, on LR pixels."""
        scale = self._stream.manifest.scale
        room = (self._stream.manifest.patch - self._stream.settings.crop) // scale + 1
        y, x = (share * room).astype(int)
        return int(y) * scale, int(x) * scale

    def _window_of(self, place: int) -> tuple[int, Window, Draw, list[Rows], NDArray[np.intp]]:
        while self._now is None or place >= self._now[0] + self._now[1].rows:
            self._now = next(self._windows)
        return self._now

    def _walk(self, position: int) -> Generator[tuple[int, Window, Draw, list[Rows], NDArray[np.intp]], None, None]:
        """(first row, window, numbers, rows, bounds) from the window that holds `position` on."""
        stream, s = self._stream, self._stream.settings
        epoch = position // stream.rows_per_epoch
        while s.epochs is None or epoch < s.epochs:
            base = epoch * stream.rows_per_epoch
            plan = windows(stream._groups, s.seed, epoch, s.shuffle, s.window_rows)
            plan = [window for window in plan if base + window.start + window.rows > position]
            wanted = [group for window in plan for group in window.groups]
            reading = stream._read(stream.folder, wanted, stream.manifest.store_lr, stream._workers)
            seen = plan[0].start
            try:
                for window in plan:
                    parts = [next(reading) for _ in window.groups]
                    counts = [len(part.hr) for part in parts]
                    numbers = draw(window, s.seed, epoch, s.shuffle, s.augment)
                    yield base + window.start, window, numbers, parts, np.cumsum([0, *counts])[:-1]
                    seen += sum(counts)
            except StopIteration:
                raise ReadError(f"{stream.folder}: the reader ended in the middle of epoch {epoch}") from None
            finally:
                reading.close()
            if seen != stream.rows_per_epoch:
                raise ReadError(f"{stream.folder}: epoch {epoch} gave {seen} of {stream.rows_per_epoch} rows")
            epoch += 1


class _Producer:
    """Makes batches in a thread, a few ahead; passes on what goes wrong there."""

    def __init__(self, batches: Generator[tuple[Batch, int], None, None]) -> None:
        self._batches = batches
        self._made: queue.Queue[tuple[Batch, int] | BaseException | None] = queue.Queue(_BATCHES_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[Batch, int]]:
        while (found := self._made.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    def close(self) -> None:
        """Stop, and wait until the readers have stopped."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        last: BaseException | None = None
        try:
            for made in self._batches:
                if not self._give(made):
                    break
        except BaseException as error:
            last = error
        finally:
            self._batches.close()
        self._give(last)

    def _give(self, thing: tuple[Batch, int] | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._made.put(thing, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False


def open_stream(
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
) -> PatchStream:
    """A stream of batches from a folder of patches.

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

    Raises:
        UserError: no finished patches there, no rows, or a crop that does not fit.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if manifest.rows == 0:
        raise UserError(f"{folder}: holds no patches")
    side = manifest.patch if crop is None else crop
    if side > manifest.patch or side % manifest.scale or side < manifest.scale:
        raise UserError(f"crop {side}: must be a multiple of {manifest.scale} up to the patches' {manifest.patch}")
    if reader not in READERS:
        raise UserError(f"reader {reader}: must be one of {', '.join(READERS)}")
    settings = StreamSettings(batch, side, seed, rank, world, augment, shuffle, epochs, window_rows)
    return PatchStream(folder, reader, workers, settings)

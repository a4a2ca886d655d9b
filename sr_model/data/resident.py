"""The whole data set in the device's memory, as bytes: batches are cropped there, the same to the byte.

A small net on a fast GPU takes more patches a second than a CPU can hand over. A patch of 128² is 48 KiB; 100,000 of
them are 4.6 GiB.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lakerank.cli.errors import UserError
from sr_model.data.augment import LEFT_RIGHT, SWAP, UP_DOWN
from sr_model.data.order import PlannedWindow, RowGroup, Share, Task, planned
from sr_model.data.row_groups import Buffers, ReadError, ReadSettings
from sr_model.data.stream import Batch, PatchStream


@dataclass(frozen=True)
class _ResidentPatches:
    """Hold all patches in the order of the files: (rows, P, P, 3) uint8, and LR if it is stored."""

    hr: Tensor
    lr: Tensor | None


class ResidentStream(PatchStream):
    """Stream batches that are tensors on a device; everything is read once, before the first batch.

    Args:
        path: of the folder of patches.
        device: where; several processes each hold all patches.
        settings: as `PatchStream` takes them.
    """

    def __init__(self, path: str | Path, *, device: torch.device, **settings: Any) -> None:
        super().__init__(path, **settings)
        self.device = device
        self._held: _ResidentPatches | None = None
        starts = np.cumsum([0, *(group.rows for group in self.groups)])
        self._start = {(g.file, g.index): int(s) for g, s in zip(self.groups, starts, strict=False)}

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over batches from the present position on.

        Raises:
            UserError: the device's memory is too small.
            ReadError: a file cannot be read, or not every row came.
        """
        if self._held is None:
            self._held = self._load()
        for batch, after in self._batches(self._position):
            self._position = after
            yield batch

    def start_of(self, group: RowGroup) -> int:
        """Return the number of rows before a row group, in the order of the files."""
        return self._start[group.file, group.index]

    def close(self) -> None:
        """Give the memory back; the position is kept."""
        self._held = None

    def _load(self) -> _ResidentPatches:
        m = self.manifest
        small = m.patch // m.scale
        size = m.rows * 3 * (m.patch**2 + (small**2 if m.store_lr else 0))
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            if size > free:
                raise UserError(
                    f"cache device: {self.folder} is {size / 2**30:.1f} GiB, but {self.device} has "
                    f"{free / 2**30:.1f} GiB free; use cache none"
                )
        hr = torch.empty((m.rows, m.patch, m.patch, 3), dtype=torch.uint8, device=self.device)
        lr = torch.empty((m.rows, small, small, 3), dtype=torch.uint8, device=self.device) if m.store_lr else None
        settings = ReadSettings(self.folder, m.store_lr, self.workers, self.workers + 1, Buffers())
        at = 0
        tasks = (Task(group) for group in self.groups)
        with closing(self.read(settings, tasks)) as reading:
            for rows in reading:
                n = len(rows.hr)
                hr[at : at + n] = torch.from_numpy(rows.hr).to(self.device)
                if lr is not None and rows.lr is not None:
                    lr[at : at + n] = torch.from_numpy(rows.lr).to(self.device)
                at += n
        if at != m.rows:
            raise ReadError(f"{self.folder}: {at} of {m.rows} rows came")
        return _ResidentPatches(hr, lr)

    def _batches(self, position: int) -> Generator[tuple[Batch, int], None, None]:
        s = self.settings
        share = Share(position, s.batch, s.rank, s.world, self._end)
        windows = planned(self.groups, self.order_settings, share)
        now: _WindowCrops | None = None
        for first, last, after in share.steps():
            pieces = []
            at = first
            while at < last:
                while now is None or at >= now.after:
                    now = _WindowCrops(next(windows), self)
                end = min(last, now.after)
                pieces.append(now.numbers[:, at - now.first : end - now.first])
                at = end
            if pieces:
                yield self._crop(torch.cat(pieces, dim=1), first, last), after

    def _crop(self, numbers: Tensor, first: int, last: int) -> Batch:
        """Make the batch whose rows, corners and turns are given, (4, N)."""
        held, scale = self._held, self.scale
        assert held is not None
        ids, y, x, turn = numbers
        hr = gather_crops(held.hr, ids, y, x, turn, self.patch)
        lr = None if held.lr is None else gather_crops(held.lr, ids, y // scale, x // scale, turn, self.patch // scale)
        return Batch(hr, lr, np.arange(first, last, dtype=np.int64))


class _WindowCrops:
    """Hold a window's rows, corners and turns on the device: (4, rows) int64."""

    def __init__(self, plan: PlannedWindow, stream: ResidentStream) -> None:
        starts = np.array([stream.start_of(group) for group in plan.groups])
        corners = stream.corners(plan.draw)
        made = np.stack([starts[plan.part] + plan.inner, corners[:, 0], corners[:, 1], plan.draw.turn])
        self.first, self.after = plan.first, plan.first + len(plan.part)
        self.numbers = torch.from_numpy(made.astype(np.int64)).to(stream.device)


def gather_crops(images_NHWC: Tensor, ids: Tensor, y: Tensor, x: Tensor, turn: Tensor, side: int) -> Tensor:
    """Gather crops of some images, turned as `augment.turned` does.

    Args:
        images_NHWC: (rows, H, W, 3).
        ids: (N,) which of them.
        y: (N,) upper edges.
        x: (N,) left edges.
        turn: (N,) 0 to 7.
        side: of the crops.

    Returns:
        (N, side, side, 3), contiguous.
    """
    along = torch.arange(side, device=images_NHWC.device)
    back = side - 1 - along
    down = y[:, None] + torch.where((turn & UP_DOWN > 0)[:, None], back, along)
    right = x[:, None] + torch.where((turn & LEFT_RIGHT > 0)[:, None], back, along)
    made = images_NHWC[ids[:, None, None], down[:, :, None], right[:, None, :]]
    return torch.where((turn & SWAP > 0)[:, None, None, None], made.transpose(1, 2), made).contiguous()

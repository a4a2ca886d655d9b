"""Batches on their way from the stream to the device, and how long the device waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sr_model.data.stream import Batch, PatchStream
from sr_model.device import to_device


class Batches(Iterator[tuple[Tensor, Tensor]]):
    """Give a stream's batches on the device; a GPU gets the next one while it computes on the last.

    Args:
        stream: from its present position on.
        device: where to.
        degrade: see `to_device`.

    Attributes:
        position: the stream's after the batch given out last; the one that is fetched ahead does not count.
    """

    def __init__(self, stream: PatchStream, device: torch.device, degrade: nn.Module) -> None:
        self.position = stream.position
        self._stream, self._device, self._degrade = stream, device, degrade
        self._source: Iterator[Batch] = iter(stream)
        self._copies: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._ahead: tuple[Tensor, Tensor, int] | None = None
        self._host_waited = 0.0
        self._begun: torch.cuda.Event | None = None
        self._gaps: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Return LR and HR, (N, 3, ·, ·) in [-1, 1]."""
        if self._copies is None:
            begun = time.perf_counter()
            lr_NCHW, hr_NCHW = to_device(next(self._source), self._device, self._degrade)
            self._host_waited += time.perf_counter() - begun
            self.position = self._stream.position
            return lr_NCHW, hr_NCHW
        if self._ahead is None:
            self.fetch_ahead()
        assert self._ahead is not None
        lr_NCHW, hr_NCHW, self.position = self._ahead
        self._ahead = None
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._copies)
        for tensor in (lr_NCHW, hr_NCHW):
            tensor.record_stream(computing)  # or its memory might be given to a batch that comes later
        if self._begun is not None:
            self._gaps.append((self._begun, self._event()))
            self._begun = None
        return lr_NCHW, hr_NCHW

    def fetch_ahead(self) -> None:
        """Begin to copy the next batch, beside what the GPU computes; call it when a step is under way."""
        if self._copies is None or self._ahead is not None:
            return
        self._begun = self._event()
        with torch.cuda.stream(self._copies):
            lr_NCHW, hr_NCHW = to_device(next(self._source), self._device, self._degrade)
        self._ahead = lr_NCHW, hr_NCHW, self._stream.position

    def pause(self) -> None:
        """Leave out of `waited` what comes before the next batch is asked for: something else is computed."""
        self._begun = None

    def waited(self) -> float:
        """Return the seconds in which the device had no batch to compute on.

        On a GPU they lie between the end of a step and the moment its next batch is there, by the GPU's own clock;
        reading that waits for the step under way.
        """
        if self._copies is not None and self._gaps:
            self._gaps[-1][1].synchronize()
            self._host_waited += sum(begun.elapsed_time(end) for begun, end in self._gaps) / 1000
            self._gaps.clear()
        return self._host_waited

    def close(self) -> None:
        """End; the stream goes on behind the batch given out last."""
        if self._ahead is not None:
            self._ahead = None
            self._stream.load_state_dict(self._stream.state_dict() | {"position": self.position})

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

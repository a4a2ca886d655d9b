"""Resident memory of a benchmark: this process, its Spark driver and all Python workers below it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_INTERVAL = 0.2  # seconds


def resident_mib() -> float:
    """Sum of the resident sets of this process and its descendants, MiB.

    Pages that several processes share (forked workers, mapped block files) count once for each: an upper bound.
    """
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()[1])
            except OSError:  # it ended meanwhile
                continue
            children.setdefault(parent, []).append(int(folder.name))
    total, waiting = 0, [os.getpid()]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        try:
            total += int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
        except OSError:
            continue
    return total * _PAGE / 2**20


class PeakMemory:
    """`with PeakMemory() as memory: …`; afterwards `memory.mib` is the highest of the samples."""

    def __init__(self) -> None:
        self.mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self.mib = max(self.mib, resident_mib())

    def __enter__(self) -> PeakMemory:
        self.mib = resident_mib()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

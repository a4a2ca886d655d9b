"""The cost of a run: seconds, processor seconds and peak memory of this process, its Spark driver and its workers.

On a machine that others use, seconds say little and processor seconds much: both are kept.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_INTERVAL = 0.2  # seconds between looks


def _tree() -> dict[int, tuple[str, float, int]]:
    """Return name, processor seconds (those of ended children among them) and resident bytes of us and all below us."""
    parents: dict[int, int] = {}
    facts: dict[int, tuple[str, float, int]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            head, _, tail = (folder / "stat").read_text(encoding="latin-1").rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        words = tail.split()
        parents[int(folder.name)] = int(words[1])
        name = head.partition("(")[2]
        # Java's ended children are Python's workers: those are counted with nobody, they last as long as the session.
        used = sum(map(int, words[11 : 13 if name == "java" else 15])) / _TICK
        facts[int(folder.name)] = (name, used, int(words[21]) * _PAGE)
    found, waiting = {}, [os.getpid()]
    while waiting:
        process = waiting.pop()
        found[process] = facts[process]
        waiting += [child for child, parent in parents.items() if parent == process]
    return found


def _used() -> tuple[float, float]:
    """Return processor seconds of all, and of Java."""
    tree = _tree().values()
    return sum(used for _, used, _ in tree), sum(used for name, used, _ in tree if name == "java")


class Cost:
    """The cost of a block of code: `with Cost() as cost: …`, read afterwards.

    Attributes:
        seconds: on the clock.
        cpu_seconds: of all processes.
        java_cpu_seconds: of Java, its compilers among them.
        mib: highest sum of resident memory; forked workers count shared pages once each.
        worker_mib: highest resident memory of any one process that is neither this one nor Java.
        java_mib: highest resident memory of Java.
    """

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = self.java_cpu_seconds = self.mib = self.worker_mib = self.java_mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _look(self) -> None:
        tree = _tree()
        self.mib = max(self.mib, sum(size for _, _, size in tree.values()) / 2**20)
        for process, (name, _, size) in tree.items():
            if name == "java":
                self.java_mib = max(self.java_mib, size / 2**20)
            elif process != os.getpid():
                self.worker_mib = max(self.worker_mib, size / 2**20)

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._look()

    def __enter__(self) -> Cost:
        self._began, self._used = time.perf_counter(), _used()
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        all_used, java_used = _used()
        self.cpu_seconds, self.java_cpu_seconds = all_used - self._used[0], java_used - self._used[1]
        self._stop.set()
        self._thread.join()

    def facts(self) -> dict[str, float]:
        """Return the figures, rounded."""
        return {
            "seconds": round(self.seconds, 2), "cpu_seconds": round(self.cpu_seconds, 2),
            "java_cpu_seconds": round(self.java_cpu_seconds, 2), "peak_mib": round(self.mib),
            "peak_worker_mib": round(self.worker_mib), "peak_java_mib": round(self.java_mib),
        }  # fmt: skip

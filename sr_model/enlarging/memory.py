"""How much memory there is to be had, so that too large a picture is refused at once instead of killed late."""

from __future__ import annotations

from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Free memory of the machine or, where that is less, of the container; None where it cannot be told.

    Linux only: /proc/meminfo's MemAvailable, and memory.max of control groups, version 2.
    """
    found = [value for value in (_of_machine(), _of_container()) if value is not None]
    return min(found) if found else None


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _of_container() -> int | None:
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        stats = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        # Cached files count as used, but give way.
        cache = sum(int(line.split()[1]) for line in stats if line.startswith(("inactive_file ", "active_file ")))
        return max(0, int(limit) - used + cache)
    except (OSError, ValueError):  # no control groups, or `max`: no limit
        return None

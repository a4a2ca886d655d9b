"""What a worker has used, asked of the operating system."""

from __future__ import annotations

import resource
import sys


def peak_mib() -> float:
    """Highest resident memory of this process so far, MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)

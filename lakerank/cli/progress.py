"""Long work shows how far it is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LOG_EVERY_SECONDS = 10.0  # a log wants a line now and then, a terminal a moving bar


def progress(total: float | None, label: str, unit: str = "it", scale: bool = False) -> tqdm[Any]:
    """Return a progress meter on standard error with rate and time left; call `.update(n)`, use as a context.

    Args:
        total: how much there is to do, in `unit`; None if unknown.
        label: what is being done.
        unit: what is counted, e.g. `epoch`, `B`.
        scale: print k/M/G prefixes (for bytes and rows).
    """
    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=label,
        unit=unit,
        unit_scale=scale,
        file=sys.stderr,
        mininterval=0.2 if live else LOG_EVERY_SECONDS,
        ascii=not live,
        dynamic_ncols=live,
    )


def print_above(line: str) -> None:
    """Print a line to standard output; the bars of progress meters stay below it."""
    tqdm.write(line, file=sys.stdout)
